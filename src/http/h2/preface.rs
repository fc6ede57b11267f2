//! HTTP/2 with prior knowledge: told from HTTP/1 by what the client sends first (RFC 9113 section 3.4).

use std::io;
use std::pin::Pin;
use std::task::{Context as Waking, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use crate::http::context::Context;
use crate::net::stream::Stream;

/// What a client of HTTP/2 sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

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

/// A stream whose first bytes were read already.
#[derive(Debug)]
pub(crate) struct Begun {
    buffer: BytesMut,
    stream: Stream,
}

impl Begun {
    pub(crate) fn new(buffer: BytesMut, stream: Stream) -> Self {
        Begun { buffer, stream }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(&mut self.stream).poll_read(waking, buffer);
        }
        let count = self.buffer.len().min(buffer.remaining());
        buffer.put_slice(&self.buffer[..count]);
        self.buffer.advance(count);
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(waking, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(waking, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(waking)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(waking)
    }
}
