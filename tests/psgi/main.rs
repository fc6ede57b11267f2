//! The boundary to Perl and PSGI on top of it, in interpreters of the tests' own and with a recording `Respond`.
#![cfg(feature = "perl")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod response;
mod world;
