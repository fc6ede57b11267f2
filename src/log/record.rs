//! What is known of a request when its line in the access log is written. Plain data.

use std::time::Duration;

use crate::semantics::message::{RequestHead, Timestamp, Tls};
use crate::semantics::source::Source;

/// One request, and what became of it.
#[derive(Debug)]
pub struct Record<'a> {
    /// Number of the listener that accepted the connection.
    pub listener: u16,
    /// Where it comes from.
    pub source: &'a Source,
    /// What the TLS handshake told; nothing on plain HTTP.
    pub tls: Option<&'a Tls>,
    /// The request's head; nothing where it was refused before it was understood.
    pub head: Option<&'a RequestHead>,
    /// The name of its virtual host, where there is one.
    pub host: Option<&'a [u8]>,
    /// The request line as far as it came.
    pub line: &'a [u8],
    /// When its first byte was read.
    pub started: Timestamp,
    /// From its first byte until it was complete; nothing where it never was.
    pub receiving: Option<Duration>,
    /// From its first byte to the response's first.
    pub first_byte: Option<Duration>,
    /// From its first byte to the response's last.
    pub duration: Duration,
    /// The response's status; nothing where none was sent.
    pub status: Option<u16>,
    /// The response's head as it was sent; empty unless the format asks for fields of it.
    pub response: &'a [u8],
    /// Bytes of the request, on the wire but within TLS.
    pub received: u64,
    /// Bytes of the response that the client's socket has taken, on the wire but within TLS.
    pub sent: u64,
    /// Those of them that are content.
    pub content: u64,
    /// Number of the request on its connection, from 1.
    pub number: u32,
    /// The stream that it was, on a connection of HTTP/2.
    pub stream: Option<u32>,
    /// How the connection went on.
    pub ending: Ending,
    /// What the worker did; nothing where the request came to none.
    pub call: Option<Call>,
}

/// What became of a connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It may bring another request.
    Persists,
    /// It was closed.
    Closes,
    /// It was lost before the response was whole, by the client or by us.
    Aborted,
}

/// A request at its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The worker's process.
    pub pid: i32,
    /// The request's number in that process.
    pub id: u64,
    /// From the request's completeness until its call began.
    pub queued: Duration,
    /// From there until its response was complete; nothing where the call's end is not known.
    pub called: Option<Duration>,
}
