//! The wire of HTTP/2 (RFC 9113).
//!
//! The `h2` crate has frames, header compression, windows and the states of streams. What is here joins its streams to
//! `http::transaction`: `request` and `response` translate heads, `wire` is one stream for the transaction (`body` its reading
//! half, `writer` its writing half), and `connection` accepts streams and serves each in a task. A stream on which
//! the app speaks another protocol is a `tunnel`.
//! `transport` is the connection's bytes for the crate, `preface` tells HTTP/2 from HTTP/1 where TLS has not.

mod body;
pub mod connection;
pub(crate) mod preface;
mod request;
mod response;
mod socket;
mod streams;
mod transport;
mod tunnel;
mod wire;
mod writer;
