//! What HTTP messages mean, as far as a server must know it (RFC 9110).
//!
//! Knows no wire format, socket or Perl: the network core and the workers both speak in these types.

#![forbid(unsafe_code)]

pub mod accept;
pub mod access;
pub mod code;
pub mod conditional;
pub(crate) mod date;
pub mod field;
pub mod forwarded;
pub mod mapping;
pub mod message;
pub mod networks;
pub mod proxy_header;
pub mod range;
pub mod source;
pub(crate) mod status;
pub mod target;
pub(crate) mod wording;
