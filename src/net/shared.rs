//! A client's socket that another process has as well (psgix.io).
//!
//! Both descriptors are of one open file description, so whatever the app sets counts for us too: O_NONBLOCK and SO_LINGER
//! among them. No call here depends on them: each that could wait says MSG_DONTWAIT, and none is made through the runtime's
//! own sockets.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::{MsgFlags, recv};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

use super::leaving::{Leaving, peek};
use crate::iovec::{self, IoVec, Next};

/// The socket while the runtime does not watch it.
#[derive(Debug)]
pub struct SharedSocket(OwnedFd);

impl SharedSocket {
    /// Takes a socket of which another process is about to get a copy.
    pub(super) fn new(socket: OwnedFd) -> Self {
        SharedSocket(socket)
    }

    /// A descriptor for the other process, whose reads and writes wait.
    pub(super) fn copy(&self) -> io::Result<OwnedFd> {
        let copy = self.0.try_clone()?;
        SockRef::from(&copy).set_nonblocking(false)?;
        Ok(copy)
    }

    /// Has the runtime watch it.
    pub(super) fn register(self) -> io::Result<RegisteredSocket> {
        // SAFETY: the descriptor is one and the same, and open, as long as the value lives: it owns it, nothing changes it, and it
        // is closed by the value's drop alone.
        let socket = unsafe { AsyncFd::register(self) };
        Ok(RegisteredSocket(socket?))
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        SockRef::from(&self.0)
    }
}

impl AsFd for SharedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SharedSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for SharedSocket {
    /// With a positive SO_LINGER, closing waits for the client, also where the socket does not block (socket(7)). A reset
    /// (zero) does not.
    fn drop(&mut self) {
        let socket = self.socket();
        if !matches!(socket.linger(), Ok(None | Some(Duration::ZERO))) {
            // What is no TCP socket ignores the option.
            let _ = socket.set_linger(None);
        }
    }
}

/// The socket while the runtime watches it.
#[derive(Debug)]
pub struct RegisteredSocket(AsyncFd<SharedSocket>);

impl RegisteredSocket {
    /// Takes it from the runtime.
    pub(super) fn deregister(self) -> SharedSocket {
        self.0.into_inner()
    }

    pub(super) fn socket(&self) -> SockRef<'_> {
        self.0.get_ref().socket()
    }

    /// As [`super::stream::Stream::send_now`].
    pub(super) fn send_now(&self, pieces: &[IoVec<'_>], next: Next) -> io::Result<usize> {
        self.0.try_io(Interest::WRITABLE, |socket| {
            iovec::send(socket, pieces, next)
        })
    }

    /// As [`super::stream::Stream::leaving`].
    pub(super) async fn leaving(&self) -> Leaving {
        loop {
            let Ok(mut guard) = self.0.ready(Interest::READABLE | Interest::ERROR).await else {
                return Leaving::Broken;
            };
            let ready = guard.ready();
            if ready.is_error() {
                return Leaving::Broken;
            }
            if ready.is_read_closed() {
                return Leaving::HalfClosed;
            }
            match guard.try_io(|socket| peek(socket.as_raw_fd())) {
                Ok(Ok(0)) => return Leaving::HalfClosed,
                Ok(Ok(_)) => {
                    self.broken().await;
                    return Leaving::Broken;
                }
                Ok(Err(_)) => return Leaving::Broken,
                Err(_) => {}
            }
        }
    }

    /// Waits until the connection is broken.
    pub(super) async fn broken(&self) {
        // An error is as good as what was waited for.
        let _ = self.0.ready(Interest::ERROR).await;
    }
}

impl AsyncRead for RegisteredSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(context))?;
            let read = guard.try_io(|socket| {
                let room = buffer.initialize_unfilled();
                Ok(recv(socket.as_raw_fd(), room, MsgFlags::MSG_DONTWAIT)?)
            });
            if let Ok(read) = read {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for RegisteredSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        loop {
            let mut guard = ready!(self.0.poll_write_ready(context))?;
            let sent = guard.try_io(|socket| {
                let socket = socket.get_ref().socket();
                socket.send_vectored_with_flags(pieces, flags)
            });
            if let Ok(sent) = sent {
                return Poll::Ready(sent);
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.socket().shutdown(Shutdown::Write))
    }
}

impl AsRawFd for RegisteredSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
