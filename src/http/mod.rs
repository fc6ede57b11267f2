//! HTTP (RFC 9110): what a request comes to, whatever its wire (`transaction`), and the wire of HTTP/1 (`h1`, RFC 9112). Knows no
//! Perl and no processes.

#![forbid(unsafe_code)]

mod close;
mod content;
pub mod context;
pub mod error;
pub mod examine;
pub mod h1;
pub mod limits;
mod request_body;
mod request_log;
mod response_sink;
pub(crate) mod timer;
mod transaction;
