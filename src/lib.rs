//! Gepok: a PSGI server. A network core in Rust, and forked workers that embed Perl.
//!
//! The modules in the order of a request's way, one straight line:
//!
//! ```text
//! net::accept → http::h1::connection → site → spool → dispatch → channel ═ process border ═
//!   worker → psgi → perl's app → psgi → channel ═ process border ═
//!   dispatch → http::h1::respond → net::stream
//! ```
//!
//! `docs/internals.md` draws the processes, the channel's frames and the boundary to Perl.

// Public is what the tests, the fuzz targets and bench/core-alone use. All else is the crate's, so that rustc tells what is
// never used. Without Perl in the build, much of it is not.
#![cfg_attr(not(feature = "perl"), allow(dead_code))]

mod body;
mod certificate;
pub mod channel;
mod coding;
pub mod config;
pub mod core;
mod disk;
mod dispatch;
mod documents;
mod files;
mod html;
pub mod http;
mod iovec;
mod lock;
pub mod log;
mod lookup;
mod metrics;
pub mod net;
mod pace;
mod precompress;
pub mod process;
mod scoreboard;
pub mod semantics;
pub mod server;
mod share;
mod site;
mod spool;
pub mod worker;

#[cfg(feature = "perl")]
pub mod entry;
#[cfg(feature = "perl")]
pub mod perl;
#[cfg(feature = "perl")]
pub mod psgi;
#[cfg(feature = "perl")]
pub mod xs;
