//! The boundary to Perl and PSGI on top of it, in interpreters of the tests' own and with a recording `Respond`.
#![cfg(feature = "perl")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod bench;
mod entry;
mod env;
// Asks glibc's malloc.
#[cfg(target_env = "gnu")]
mod leak;
mod response;
mod socket;
mod stream;
mod tls;
mod ways_out;
mod world;
