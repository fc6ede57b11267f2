//! HTTP/2 with prior knowledge: told from HTTP/1 by what the client sends first (RFC 9113 section 3.4).

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::sleep;

use crate::http::context::Context;
use crate::net::stream::Stream;

/// What a client of HTTP/2 sends first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the client's first bytes into `buffer` until they tell the version. True if it is HTTP/2.
pub(crate) async fn begins(stream: &mut Stream, buffer: &mut BytesMut, context: &Context) -> bool {
    let reading = async {
        loop {
            let known = buffer.len().min(PREFACE.len());
            if buffer[..known] != PREFACE[..known] {
                return false;
            }
            if known == PREFACE.len() {
                return true;
            }
            if !matches!(context.scratch.read(stream, buffer).await, Ok(1..)) {
                return false;
            }
        }
    };
    // HTTP/1 says what becomes of a client that sends nothing.
    let limit = async {
        match context.settings.header_timeout {
            Duration::ZERO => std::future::pending().await,
            limit => sleep(limit).await,
        }
    };
    tokio::select! {
        biased;
        begins = reading => begins,
        () = context.drained() => false,
        () = limit => false,
    }
}
