//! Sockets: listening, accepting, and streams of bytes to clients.
//!
//! Knows no HTTP and no Perl.

pub(crate) mod accept;
pub(crate) mod admission;
mod alpn;
mod leaving;
pub mod listen;
mod migratable;
pub(crate) mod proxy_protocol;
pub(crate) mod scratch;
pub(crate) mod sendfile;
mod shared;
pub(crate) mod stream;
pub(crate) mod ticks;
pub(crate) mod tls;
pub(crate) mod waiters;
