//! A client's connection as a stream of bytes, whatever carries it.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::sendfile::FileSending;

/// A connection's socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP
    Tcp(TcpStream),
    /// Unix socket
    Unix(UnixStream),
}

impl Stream {
    /// Makes closing tell the client that the message was cut: a reset, where TCP carries it.
    pub fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = self {
            // A connection that is gone already can't be reset any more.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Sends some more of a file.
    ///
    /// # Errors
    /// UnexpectedEof where the file has become too short; else as for writing.
    pub async fn send_file(&self, sending: &mut FileSending) -> io::Result<()> {
        sending.warm_up().await?;
        match self {
            Stream::Tcp(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
            Stream::Unix(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
        }
    }
}

/// Calls a method of whichever socket it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
