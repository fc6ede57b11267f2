//! A client's connection as a stream of bytes, whatever carries it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket};
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
    /// Not polled by the runtime: another process is using it.
    Away(OwnedFd),
}

impl Stream {
    /// The socket's number in this process.
    pub fn number(&self) -> RawFd {
        match self {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Away(socket) => socket.as_raw_fd(),
        }
    }

    /// Makes closing tell the client that the message was cut: a reset, where TCP carries it.
    pub fn reset_on_close(&self) {
        if let Stream::Tcp(stream) = self {
            // A connection that is gone already can't be reset any more.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Takes the socket from the runtime and gives a copy for another process, whose reads wait.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn leave_home(&mut self) -> io::Result<OwnedFd> {
        let ours = match self {
            Stream::Tcp(stream) => stream.as_fd().try_clone_to_owned()?,
            Stream::Unix(stream) => stream.as_fd().try_clone_to_owned()?,
            Stream::Away(socket) => socket.try_clone()?,
        };
        let theirs = ours.try_clone()?;
        SockRef::from(&theirs).set_nonblocking(false)?;
        *self = Stream::Away(ours);
        Ok(theirs)
    }

    /// Gives the socket back to the runtime.
    ///
    /// # Errors
    /// When it can't be polled any more.
    pub fn return_home(&mut self) -> io::Result<()> {
        let Stream::Away(socket) = self else {
            return Ok(());
        };
        let socket = Socket::from(socket.try_clone()?);
        socket.set_nonblocking(true)?;
        *self = if socket.domain()? == Domain::UNIX {
            Stream::Unix(UnixStream::from_std(socket.into())?)
        } else {
            Stream::Tcp(TcpStream::from_std(socket.into())?)
        };
        Ok(())
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
            Stream::Away(_) => Err(away()),
            Stream::Unix(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
        }
    }
}

fn away() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is with the app")
}

/// Calls a method of whichever socket it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Away(_) => Poll::Ready(Err(away())),
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
