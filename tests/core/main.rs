//! The core, the channel and the worker's loop together, without Perl: threads stand for the processes.

// Helpers of tests fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod clients;
mod drain;
mod responses;
mod socket;
mod support;
mod workers;
