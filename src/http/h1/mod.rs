//! The wire of HTTP/1.0 and 1.1 (RFC 9112).
//!
//! `parse`, `framing`, `chunked` and `write` are pure functions of bytes. `reader` reads heads, and `wire` is one request with
//! its response for `http::transaction`: `body` its reading half, `writer` its writing half. `connection` runs them one after
//! the other on a `transport`.
//!
//! Strict in, exact out: no bytes of a client may be read in two ways, by us and by a proxy before us. Options make
//! exceptions; of these only `Limits::bare_lf` is on by default.

mod body;
pub mod chunked;
pub mod connection;
pub mod digits;
pub mod framing;
mod handover;
mod liveness;
pub mod own_chunks;
pub mod parse;
mod reader;
mod state;
mod syntax;
mod transport;
mod wire;
pub mod write;
mod writer;
