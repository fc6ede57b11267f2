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

pub mod body;
pub mod certificate;
pub mod channel;
pub mod config;
pub mod core;
mod disk;
pub mod dispatch;
pub mod documents;
pub mod files;
pub mod http;
pub mod lock;
pub mod log;
pub mod net;
pub mod pace;
pub mod process;
pub mod scoreboard;
pub mod semantics;
pub mod server;
pub mod share;
pub mod site;
pub mod spool;
pub mod worker;

#[cfg(feature = "perl")]
pub mod entry;
#[cfg(feature = "perl")]
pub mod perl;
#[cfg(feature = "perl")]
pub mod psgi;
#[cfg(feature = "perl")]
pub mod xs;
