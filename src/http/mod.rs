//! HTTP on the wire (RFC 9112). Knows no Perl and no processes.

#![forbid(unsafe_code)]

pub mod error;
pub mod h1;
pub mod limits;
pub(crate) mod timer;
