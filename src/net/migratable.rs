//! The TCP connection under a TLS stream, which can move from one runtime to another.

#![forbid(unsafe_code)]

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection.
#[derive(Debug)]
pub enum MigratableTcp {
    /// Registered with this thread's runtime.
    Registered(TcpStream),
    /// Registered with no runtime.
    Unregistered(std::net::TcpStream),
    /// A move has failed.
    Poisoned,
}

impl MigratableTcp {
    /// Takes the connection from the runtime.
    pub(super) fn deregister(&mut self) -> io::Result<()> {
        if let MigratableTcp::Registered(stream) = mem::replace(self, MigratableTcp::Poisoned) {
            *self = MigratableTcp::Unregistered(stream.into_std()?);
        }
        Ok(())
    }

    /// Gives the connection to the runtime of this thread.
    pub(super) fn register(&mut self) -> io::Result<()> {
        if let MigratableTcp::Unregistered(stream) = mem::replace(self, MigratableTcp::Poisoned) {
            *self = MigratableTcp::Registered(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// The connection, if it is registered.
    ///
    /// # Errors
    /// NotConnected if it is not.
    pub fn registered(&self) -> io::Result<&TcpStream> {
        match self {
            MigratableTcp::Registered(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn pinned(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match self.get_mut() {
            MigratableTcp::Registered(stream) => Ok(Pin::new(stream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsRawFd for MigratableTcp {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            MigratableTcp::Registered(stream) => stream.as_raw_fd(),
            MigratableTcp::Unregistered(stream) => stream.as_raw_fd(),
            MigratableTcp::Poisoned => -1,
        }
    }
}

impl AsyncRead for MigratableTcp {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.pinned()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for MigratableTcp {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.pinned()?.poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pinned()?.poll_shutdown(context)
    }
}
