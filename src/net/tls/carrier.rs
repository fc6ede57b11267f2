//! The TCP connection under a TLS stream, which can move from one runtime to another.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A TCP connection.
#[derive(Debug)]
pub enum Carrier {
    /// Polled by this thread's runtime.
    Here(TcpStream),
    /// Polled by none.
    Between(std::net::TcpStream),
    /// Moving has failed.
    Lost,
}

impl Carrier {
    /// Takes the connection from the runtime.
    pub(super) fn leave(&mut self) -> io::Result<()> {
        if let Carrier::Here(stream) = mem::replace(self, Carrier::Lost) {
            *self = Carrier::Between(stream.into_std()?);
        }
        Ok(())
    }

    /// Gives the connection to the runtime of this thread.
    pub(super) fn arrive(&mut self) -> io::Result<()> {
        if let Carrier::Between(stream) = mem::replace(self, Carrier::Lost) {
            *self = Carrier::Here(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// The connection, where it is polled.
    ///
    /// # Errors
    /// NotConnected where it is not.
    pub fn here(&self) -> io::Result<&TcpStream> {
        match self {
            Carrier::Here(stream) => Ok(stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn polled(self: Pin<&mut Self>) -> io::Result<Pin<&mut TcpStream>> {
        match self.get_mut() {
            Carrier::Here(stream) => Ok(Pin::new(stream)),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl AsRawFd for Carrier {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Carrier::Here(stream) => stream.as_raw_fd(),
            Carrier::Between(stream) => stream.as_raw_fd(),
            Carrier::Lost => -1,
        }
    }
}

impl AsyncRead for Carrier {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.polled()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Carrier {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.polled()?.poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.polled()?.poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.polled()?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.polled()?.poll_shutdown(context)
    }
}
