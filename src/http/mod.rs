//! HTTP on the wire (RFC 9112). Knows no Perl, no processes and no files.

pub mod error;
pub mod h1;
pub mod limits;
pub mod timer;
