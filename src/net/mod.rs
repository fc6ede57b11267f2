//! Sockets: listening, accepting, and streams of bytes to clients.
//!
//! Knows no HTTP and no Perl.

pub mod accept;
pub mod admission;
pub mod listen;
pub mod scratch;
pub mod sendfile;
mod shared;
pub mod stream;
pub mod ticks;
pub mod tls;
pub mod waiters;
