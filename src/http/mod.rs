//! HTTP on the wire (RFC 9112). Knows no Perl, no processes and no files.

#![forbid(unsafe_code)]

pub mod error;
pub mod h1;
pub mod limits;
pub mod timer;
