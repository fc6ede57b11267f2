//! A client's connection as a stream of bytes, whatever carries it.

use std::future::{pending, poll_fn};
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::alpn;
pub use super::leaving::Leaving;
use super::leaving::{peek, peek_into};
use super::migratable::MigratableTcp;
use super::sendfile::FileSending;
use super::shared::{RegisteredSocket, SharedSocket};
use super::ticks::Ticks;
use crate::iovec::{self, IoVec, Next};

/// How long a refused client may take to read the response.
const LINGER: Duration = Duration::from_secs(1);

/// Interval of the probes to a client that has sent a FIN and can't be asked otherwise.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// A connection's socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, just accepted and not registered with the runtime. Often the first request has arrived and the response fits
    /// into the send buffer: a connection that is closed after it is never registered at all.
    Unregistered(std::net::TcpStream),
    /// TCP
    Tcp(TcpStream),
    /// Unix socket
    Unix(UnixStream),
    /// TLS over TCP
    Tls(Box<TlsStream<MigratableTcp>>),
    /// Another process has the socket too, and is using it: it is not registered with the runtime.
    Detached(SharedSocket),
    /// Another process has the socket too, but this one is using it.
    Shared(RegisteredSocket),
    /// Registering it with the runtime has failed.
    Poisoned,
}

/// [`Stream::leaving`] of a socket of either kind.
macro_rules! left {
    ($socket:ident) => {
        loop {
            match $socket.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_read_closed() && !ready.is_error() => {
                    break Leaving::HalfClosed;
                }
                Ok(ready) if !ready.is_error() => {}
                Ok(_) | Err(_) => break Leaving::Broken,
            }
            match $socket.try_io(Interest::READABLE, || peek($socket.as_raw_fd())) {
                Ok(0) => break Leaving::HalfClosed,
                Ok(_) => {
                    let _ = $socket.ready(Interest::ERROR).await;
                    break Leaving::Broken;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break Leaving::Broken,
            }
        }
    };
}

impl Stream {
    /// The socket's number in this process.
    pub fn number(&self) -> RawFd {
        match self {
            Stream::Unregistered(stream) => stream.as_raw_fd(),
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_raw_fd(),
            Stream::Detached(socket) => socket.as_raw_fd(),
            Stream::Shared(socket) => socket.as_raw_fd(),
            Stream::Poisoned => -1,
        }
    }

    /// Makes closing reset a TCP connection, so that the client knows that the message was cut.
    pub fn reset_on_close(&self) {
        if let Some(socket) = self.tcp() {
            // A connection that is gone already can't be reset any more.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends the connection in every process that has a copy of the socket. What was written before is still delivered.
    pub fn end_everywhere(&self) {
        if let Some(socket) = self.socket() {
            // A connection that is gone already has ended.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Resets the connection now, in every process that has a copy of the socket. A Unix socket is shut down instead.
    pub fn reset_everywhere(&self) {
        let Some(socket) = self.tcp() else {
            return self.end_everywhere();
        };
        let unspecified = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        // SAFETY: the address is a whole `sockaddr` that lives during the call, and its size is given. Connecting to
        // AF_UNSPEC dissolves a TCP connection by a reset (connect(2)).
        let dissolved = unsafe {
            libc::connect(
                socket.as_raw_fd(),
                &raw const unspecified,
                size_of::<libc::sockaddr>() as libc::socklen_t,
            )
        };
        if dissolved != 0 {
            self.end_everywhere();
        }
    }

    /// Turns on TCP keepalive, which finds clients that have closed: their kernel forgets the connection a minute after its
    /// FIN, and then answers a probe with a reset. The kernel of a client that has only shut down its side does not.
    pub fn probe(&self) {
        if let Some(socket) = self.tcp() {
            let often = TcpKeepalive::new()
                .with_time(PROBE_INTERVAL)
                .with_interval(PROBE_INTERVAL);
            // A connection that is gone already needs no probe.
            let _ = socket.set_tcp_keepalive(&often);
        }
    }

    /// The TCP socket below, if there is one and it is not detached.
    fn tcp(&self) -> Option<SockRef<'_>> {
        match self {
            Stream::Unregistered(stream) => Some(SockRef::from(stream)),
            Stream::Tcp(stream) => Some(SockRef::from(stream)),
            Stream::Tls(stream) => stream.get_ref().0.registered().ok().map(SockRef::from),
            // A Unix socket refuses TCP's options.
            Stream::Shared(socket) => Some(socket.socket()),
            Stream::Unix(_) | Stream::Detached(_) | Stream::Poisoned => None,
        }
    }

    /// The socket below, whatever it is.
    fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Stream::Unix(stream) => Some(SockRef::from(stream)),
            Stream::Detached(socket) => Some(socket.socket()),
            _ => self.tcp(),
        }
    }

    /// Whether bytes go through TLS: only this process can read and write them, and shutting down sends a closing alert.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Whether the handshake has chosen HTTP/2 (ALPN, RFC 7301).
    pub fn speaks_h2(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.get_ref().1.alpn_protocol() == Some(alpn::HTTP_2))
    }

    /// Closes the connection of a client that may still be sending, so that it reads the response before a reset reaches it.
    pub async fn turn_away(mut self) {
        let discard = async {
            let _ = self.shutdown().await;
            let mut scratch = [0; 1024];
            while matches!(self.read(&mut scratch).await, Ok(1..)) {}
        };
        let _ = tokio::time::timeout(LINGER, discard).await;
    }

    /// Takes the socket from the runtime and returns a blocking copy for another process.
    ///
    /// # Errors
    /// When descriptors have run out, or for TLS.
    pub fn detach(&mut self) -> io::Result<OwnedFd> {
        let socket = match mem::replace(self, Stream::Poisoned) {
            Stream::Unregistered(stream) => OwnedFd::from(stream),
            Stream::Tcp(stream) => stream.into_std()?.into(),
            Stream::Unix(stream) => stream.into_std()?.into(),
            Stream::Detached(socket) => return self.lend(socket),
            Stream::Shared(socket) => return self.lend(socket.deregister()),
            stream @ (Stream::Tls(_) | Stream::Poisoned) => {
                *self = stream;
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        self.lend(SharedSocket::new(socket))
    }

    fn lend(&mut self, socket: SharedSocket) -> io::Result<OwnedFd> {
        let copy = socket.copy();
        *self = Stream::Detached(socket);
        copy
    }

    /// Registers a detached socket with the runtime again. The other process may still have its copy.
    ///
    /// # Errors
    /// When it can't be registered.
    pub fn reattach(&mut self) -> io::Result<()> {
        *self = match mem::replace(self, Stream::Poisoned) {
            Stream::Detached(socket) => Stream::Shared(socket.register()?),
            stream => stream,
        };
        Ok(())
    }

    /// Registers the socket with the runtime, if that has not been done.
    ///
    /// # Errors
    /// When it can't be registered.
    fn register(&mut self) -> io::Result<()> {
        if matches!(self, Stream::Unregistered(_))
            && let Stream::Unregistered(stream) = mem::replace(self, Stream::Poisoned)
        {
            *self = Stream::Tcp(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// Performs `act` on a socket that is not registered yet. Returns None if it is registered, or if `act` would block:
    /// then it is registered now.
    fn try_io<T>(
        &mut self,
        act: impl FnOnce(&mut std::net::TcpStream) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Stream::Unregistered(stream) = self else {
            return Ok(None);
        };
        match act(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.register()?;
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Sends of `pieces` what the kernel takes at once. Returns how many bytes that were. Not for TLS.
    ///
    /// # Errors
    /// WouldBlock if it takes nothing now; else as for writing.
    pub fn send_now(&mut self, pieces: &[IoVec<'_>], next: Next) -> io::Result<usize> {
        if let Some(sent) = self.try_io(|stream| iovec::send(stream, pieces, next))? {
            return Ok(sent);
        }
        match self {
            Stream::Tcp(stream) => {
                stream.try_io(Interest::WRITABLE, || iovec::send(&*stream, pieces, next))
            }
            Stream::Unix(stream) => {
                stream.try_io(Interest::WRITABLE, || iovec::send(&*stream, pieces, next))
            }
            Stream::Shared(socket) => socket.send_now(pieces, next),
            Stream::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
            Stream::Unregistered(_) | Stream::Detached(_) | Stream::Poisoned => {
                Err(not_connected())
            }
        }
    }

    /// Waits for bytes and copies them without taking them off; 0 is the connection's end. Not for TLS.
    ///
    /// # Errors
    /// As for reading.
    pub async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(count) = self.try_io(|stream| stream.peek(buffer))? {
            return Ok(count);
        }
        match self {
            Stream::Tcp(stream) => stream.peek(buffer).await,
            Stream::Unix(stream) => {
                let socket = stream.as_raw_fd();
                let peek = || peek_into(socket, buffer);
                stream.async_io(Interest::READABLE, peek).await
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes a TCP connection from the runtime: what comes next may belong to another thread's.
    ///
    /// # Errors
    /// When the runtime can't let go of it.
    pub fn unregister(self) -> io::Result<Stream> {
        Ok(match self {
            Stream::Tcp(stream) => Stream::Unregistered(stream.into_std()?),
            other => other,
        })
    }

    /// Waits until the client closes its side, without consuming what it has sent. While such bytes wait, only a broken
    /// connection is noticed (or, below TLS, its FIN).
    pub async fn leaving(&mut self, ticks: &Rc<Ticks>) -> Leaving {
        if matches!(self, Stream::Unregistered(_)) {
            // Most responses come before the next tick, so that the socket need not be registered.
            ticks.whole().await;
            if self.register().is_err() {
                return Leaving::Broken;
            }
        }
        match self {
            Stream::Tcp(stream) => left!(stream),
            Stream::Unix(stream) => left!(stream),
            Stream::Tls(stream) => match stream.get_ref().0.registered() {
                Ok(stream) => left!(stream),
                Err(_) => pending().await,
            },
            Stream::Shared(socket) => return socket.leaving().await,
            Stream::Unregistered(_) | Stream::Detached(_) | Stream::Poisoned => pending().await,
        }
    }

    /// Waits until the connection is broken: a reset has come, or what was sent could not be delivered.
    pub async fn broken(&self) {
        // An error is as good as what was waited for.
        let _ = match self {
            Stream::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Stream::Unix(stream) => stream.ready(Interest::ERROR).await,
            Stream::Tls(stream) => match stream.get_ref().0.registered() {
                Ok(stream) => stream.ready(Interest::ERROR).await,
                Err(_) => pending().await,
            },
            Stream::Shared(socket) => return socket.broken().await,
            Stream::Unregistered(_) | Stream::Detached(_) | Stream::Poisoned => pending().await,
        };
    }

    /// Whether TLS keeps records that the kernel has not taken yet.
    pub fn has_unsent_records(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.get_ref().1.wants_write())
    }

    /// Sends some of these records, as many as the kernel takes at once.
    ///
    /// # Errors
    /// As for writing.
    pub async fn send_records(&mut self) -> io::Result<()> {
        let Stream::Tls(stream) = self else {
            return Ok(());
        };
        poll_fn(|context| {
            let (tcp, session) = stream.get_mut();
            match session.write_tls(&mut NowOrNever { tcp, context }) {
                Ok(0) => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
        .await
    }

    /// Sends some more of a file.
    ///
    /// # Errors
    /// UnexpectedEof if the file has become too short; else as for writing.
    pub async fn send_file(&mut self, sending: &mut FileSending) -> io::Result<()> {
        sending.warm_up().await?;
        if self
            .try_io(|stream| sending.send(stream.as_fd()))?
            .is_some()
        {
            return Ok(());
        }
        match self {
            // What encrypts needs the bytes, and sendfile has no MSG_DONTWAIT.
            Stream::Tls(_) | Stream::Shared(_) => {
                let sent = self.write(sending.read()?).await?;
                sending.advance(sent);
                Ok(())
            }
            Stream::Tcp(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
            Stream::Unregistered(_) | Stream::Detached(_) | Stream::Poisoned => {
                Err(not_connected())
            }
            Stream::Unix(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
        }
    }
}

/// The blocking interface that rustls writes to, over a socket that returns WouldBlock instead of waiting.
struct NowOrNever<'a, 'b> {
    tcp: &'a mut MigratableTcp,
    context: &'a mut Context<'b>,
}

impl NowOrNever<'_, '_> {
    fn now(polled: Poll<io::Result<usize>>) -> io::Result<usize> {
        match polled {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for NowOrNever<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.tcp).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.tcp).poll_write_vectored(self.context, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn not_connected() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is not registered")
}

/// Calls a method of whichever socket it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Shared($stream) => $call,
            Stream::Unregistered(_) | Stream::Detached(_) | Stream::Poisoned => {
                Poll::Ready(Err(not_connected()))
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(count) = self.try_io(|stream| stream.read(buffer.initialize_unfilled()))? {
            buffer.advance(count);
            return Poll::Ready(Ok(()));
        }
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(count) = self.try_io(|stream| stream.write(bytes))? {
            return Poll::Ready(Ok(count));
        }
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [piece] = pieces {
            // send costs the kernel less than writev.
            return self.poll_write(context, piece);
        }
        if let Some(count) = self.try_io(|stream| stream.write_vectored(pieces))? {
            return Poll::Ready(Ok(count));
        }
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(*self, Stream::Unregistered(_)) {
            return Poll::Ready(Ok(()));
        }
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.register()?;
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
