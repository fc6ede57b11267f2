//! Reads the header by which a proxy says for whom a connection is, before anything else comes.

#![forbid(unsafe_code)]

use std::fmt;
use std::io;

use tokio::io::AsyncReadExt;

use super::stream::Stream;
use crate::semantics::proxy_header::{self, Header, LONGEST, Malformed};

/// Why there is no header.
#[derive(Debug)]
pub enum Failure {
    /// What has come is none.
    Malformed(Malformed),
    /// The connection has ended within it.
    Ended,
    /// Nothing has come at all.
    Nothing,
    /// The connection is broken.
    Broken(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Malformed(malformed) => malformed.fmt(f),
            Failure::Ended => f.write_str("the connection has ended within it"),
            Failure::Nothing => f.write_str("nothing has come"),
            Failure::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Failure {}

/// Takes the header off a connection, and nothing of what follows it: that may be for another thread.
///
/// # Errors
/// Why there is none.
pub async fn read(stream: &mut Stream) -> Result<Header, Failure> {
    // On the heap: a connection's task lives on when the header is forgotten.
    let mut bytes = vec![0; LONGEST];
    let mut have = 0;
    loop {
        let peeked = stream.peek(&mut bytes[have..]).await;
        let peeked = match (peeked.map_err(Failure::Broken)?, have) {
            (0, 0) => return Err(Failure::Nothing),
            (0, _) => return Err(Failure::Ended),
            (peeked, _) => have + peeked,
        };
        let parsed = proxy_header::parse(&bytes[..peeked]).map_err(Failure::Malformed)?;
        let (header, end) = match parsed {
            Some((header, length)) => (Some(header), length),
            // All that is here belongs to it.
            None => (None, peeked),
        };
        let taken = stream.read_exact(&mut bytes[have..end]).await;
        taken.map_err(Failure::Broken)?;
        if let Some(header) = header {
            return Ok(header);
        }
        have = end;
    }
}
