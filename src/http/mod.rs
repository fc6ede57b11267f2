//! HTTP (RFC 9110): what a request comes to, whatever its wire (`transaction`), and the wires of HTTP/1 (`h1`, RFC 9112) and HTTP/2 (`h2`, RFC 9113). Knows no
//! Perl and no processes.

#![forbid(unsafe_code)]

mod close;
mod content;
pub mod context;
pub mod error;
pub mod examine;
mod fields;
pub mod forwarding;
pub mod h1;
pub mod h2;

pub mod limits;
mod request_body;
mod request_log;
mod response_sink;
pub mod server_fields;
pub(crate) mod timer;
mod transaction;
