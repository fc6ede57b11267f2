//! A stream whose reader takes turns with other connections.

use std::io;
use std::pin::Pin;
use std::task::{Context as Waking, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are read before others have their turn. The `h2` crate reads as long as there is something, and a frame of a few bytes
/// can be a thousand fields.
const TURN: usize = 16 * 1024;

/// Reads up to [`TURN`] bytes at a time.
#[derive(Debug)]
pub(super) struct Turns<S> {
    stream: S,
    /// Bytes that were read in this turn.
    read: usize,
}

impl<S> Turns<S> {
    pub(super) fn new(stream: S) -> Self {
        Turns { stream, read: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN {
            self.read = 0;
            waking.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(waking, buffer);
        match polled {
            Poll::Ready(_) => self.read += buffer.filled().len() - before,
            Poll::Pending => self.read = 0,
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Turns<S> {
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// Protects: a client that sends without end leaves the others their turn.
    #[tokio::test]
    async fn others_have_their_turn() {
        let mut stream = Turns::new(tokio::io::repeat(0));
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
}
