//! The bytes of a connection of HTTP/2: its reader takes turns with other connections, and stops before a frame that the `h2` crate
//! would misread.

use std::io;
use std::pin::Pin;
use std::task::{Context as Waking, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::preface::PREFACE;

/// Bytes that are read before others have their turn. The `h2` crate reads as long as there is something, and a frame of a few bytes
/// can be a thousand fields.
const TURN: usize = 16 * 1024;

/// The kind of error by which a read ends at a frame that ends the connection. No socket and no TLS stream gives it.
const VIOLATION: io::ErrorKind = io::ErrorKind::InvalidInput;

/// Reads up to [`TURN`] bytes at a time.
#[derive(Debug)]
pub(super) struct Transport<S> {
    stream: S,
    /// What was read before, to tell the version.
    begun: BytesMut,
    /// Bytes that were read in this turn.
    read: usize,
    frames: Frames,
}

impl<S> Transport<S> {
    /// For a connection whose first bytes were read already.
    pub(super) fn new(begun: BytesMut, stream: S) -> Self {
        Transport {
            stream,
            begun,
            read: 0,
            frames: Frames::new(),
        }
    }
}

/// Whether a connection ends because of a frame at which its reader stops.
pub(super) fn is_violation(error: &::h2::Error) -> bool {
    error.get_io().is_some_and(|io| io.kind() == VIOLATION)
}

impl<S: AsyncRead + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.refused {
            return Poll::Ready(Err(io::Error::new(
                VIOLATION,
                "HEADERS that depend on their own stream",
            )));
        }
        if self.read >= TURN {
            self.read = 0;
            waking.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if self.begun.is_empty() {
            let polled = Pin::new(&mut self.stream).poll_read(waking, buffer);
            if !matches!(polled, Poll::Ready(Ok(()))) {
                self.read = 0;
                return polled;
            }
        } else {
            let count = self.begun.len().min(buffer.remaining());
            buffer.put_slice(&self.begun[..count]);
            self.begun.advance(count);
            if self.begun.is_empty() {
                self.begun = BytesMut::new();
            }
        }
        self.read += buffer.filled().len() - before;
        if let Some(passed) = self.frames.pass(&buffer.filled()[before..]) {
            buffer.set_filled(before + passed);
            if passed == 0 {
                return self.poll_read(waking, buffer);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Transport<S> {
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
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(waking)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(waking)
    }
}

/// Bytes of a frame's head (RFC 9113 section 4.1).
const HEAD: usize = 9;

/// Bytes of a stream's number.
const NUMBER: usize = 4;

/// The type of HEADERS, and its flags PADDED and PRIORITY (RFC 9113 section 6.2).
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Follows the client's frames, to find HEADERS that depend on their own stream.
///
/// The crate resets such a stream without decoding the header block. The compression's state would then differ from the client's, so
/// that a later block is misread: the connection must end (RFC 9113 section 4.3).
#[derive(Debug)]
struct Frames {
    /// Bytes to skip: the rest of a frame, or the preface.
    skip: usize,
    /// The head of a frame, and the beginning of its payload as far as it matters.
    start: [u8; HEAD + 1 + NUMBER],
    /// How much of it has come.
    have: usize,
    /// The frame was found.
    refused: bool,
}

impl Frames {
    fn new() -> Self {
        Frames {
            skip: PREFACE.len(),
            start: [0; HEAD + 1 + NUMBER],
            have: 0,
            refused: false,
        }
    }

    /// Follows more of the client's bytes. Returns how many may pass, if not all: without the rest the frame is never whole.
    fn pass(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            if at == bytes.len() {
                return None;
            }
            let taken = (self.wanted() - self.have).min(bytes.len() - at);
            self.start[self.have..][..taken].copy_from_slice(&bytes[at..][..taken]);
            self.have += taken;
            at += taken;
            if self.have < self.wanted() {
                continue;
            }
            if self.depends_on_itself() {
                self.refused = true;
                return Some(at - 1);
            }
            self.skip = HEAD + self.length() - self.have;
            self.have = 0;
        }
    }

    /// How much of the frame's start is to be looked at.
    fn wanted(&self) -> usize {
        let [_, _, _, kind, flags, ..] = self.start;
        match self.have < HEAD || kind != HEADERS || flags & PRIORITY == 0 {
            true => HEAD,
            false => HEAD + self.length().min(self.padding() + NUMBER),
        }
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.start;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    /// Bytes of the padding's length.
    fn padding(&self) -> usize {
        usize::from(self.start[4] & PADDED != 0)
    }

    fn depends_on_itself(&self) -> bool {
        let number = |at: usize| {
            let mut bytes = [0; NUMBER];
            bytes.copy_from_slice(&self.start[at..][..NUMBER]);
            u32::from_be_bytes(bytes) & !(1 << 31)
        };
        let dependency = HEAD + self.padding();
        self.have == dependency + NUMBER && number(HEAD - NUMBER) == number(dependency)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// Protects: a client that sends without end leaves the others their turn.
    #[tokio::test]
    async fn others_have_their_turn() {
        let mut stream = Transport::new(BytesMut::new(), tokio::io::repeat(0));
        let mut piece = [0; 1024];
        let mut turns = 0;
        for _ in 0..4 * TURN / piece.len() {
            let mut reading = pin!(stream.read(&mut piece));
            while poll_fn(|waking| Poll::Ready(reading.as_mut().poll(waking).is_pending())).await {
                turns += 1;
            }
        }
        assert_eq!(turns, 3, "one after each {TURN} bytes, but for the last");
    }

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Protects: wherever a read is cut, all that precedes the frame passes, and the frame never becomes whole.
    #[tokio::test]
    #[rustfmt::skip] // A table.
    async fn headers_that_depend_on_their_stream() {
        let before = [PREFACE.to_vec(), frame(4, 0, 0, b""), frame(1, 5, 1, b"\x82\x84"), frame(2, 0, 3, b"\0\0\0\x03\x0f")].concat();
        for (flags, payload, refused) in [
            (0x25, &b"\0\0\0\x05\x0f\x82"[..], true),
            // The highest bit is no part of the number.
            (0x25, b"\x80\0\0\x05\x0f\x82", true),
            (0x2d, b"\x01\0\0\0\x05\x0f\x82\0", true),
            (0x25, b"\0\0\0\x05", true),
            (0x25, b"\0\0\0\x03\x0f\x82", false),
            (0x2d, b"\x05\0\0\0\0\x05\x82\0", false),
            (0x25, b"\0\0\x05", false),
            (0x25, b"", false),
            (0x05, b"\0\0\0\x05\x0f\x82", false),
        ] {
            let last = frame(1, flags, 5, payload);
            let all = [&before[..], &last, &frame(6, 0, 0, b"12345678")].concat();
            for cut in 0..=all.len() {
                let (first, second) = all.split_at(cut);
                let mut stream = Transport::new(BytesMut::from(first), second);
                let mut seen = Vec::new();
                let read = stream.read_to_end(&mut seen).await;
                assert_eq!(read.is_err_and(|error| error.kind() == VIOLATION), refused, "{payload:x?}");
                match refused {
                    true => assert!(seen.len() >= before.len() && seen.len() < before.len() + last.len() && all.starts_with(&seen)),
                    false => assert!(seen == all),
                }
            }
        }
    }
}
