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

use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

use super::sendfile::FileSending;
use super::ticks::Ticks;
use super::tls::Carrier;

/// A client that is turned away may take this long to hear it.
const LINGER: Duration = Duration::from_secs(1);

/// So often a client is probed that has sent a FIN and can't be asked otherwise.
const PROBES: Duration = Duration::from_secs(5);

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It sends nothing more, but may still read; or it has closed, which looks the same.
    HalfClosed,
    /// It neither reads nor sends.
    Broken,
}

/// A connection's socket.
#[derive(Debug)]
pub enum Stream {
    /// TCP, just accepted and not polled by the runtime. Mostly the first request is here already and the response finds
    /// room: then a connection that closes behind it is never polled at all.
    Fresh(std::net::TcpStream),
    /// TCP
    Tcp(TcpStream),
    /// Unix socket
    Unix(UnixStream),
    /// TLS over TCP
    Tls(Box<TlsStream<Carrier>>),
    /// Not polled by the runtime: another process is using it.
    Away(OwnedFd),
    /// The runtime could not poll it.
    Lost,
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

/// How many bytes there are to read, at most one; they stay there.
fn peek(socket: RawFd) -> io::Result<usize> {
    let mut byte = [0];
    Ok(recv(
        socket,
        &mut byte,
        MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT,
    )?)
}

impl Stream {
    /// The socket's number in this process.
    pub fn number(&self) -> RawFd {
        match self {
            Stream::Fresh(stream) => stream.as_raw_fd(),
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
            Stream::Tls(stream) => stream.get_ref().0.as_raw_fd(),
            Stream::Away(socket) => socket.as_raw_fd(),
            Stream::Lost => -1,
        }
    }

    /// Makes closing tell the client that the message was cut: a reset, where TCP carries it.
    pub fn reset_on_close(&self) {
        if let Some(socket) = self.tcp() {
            // A connection that is gone already can't be reset any more.
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends the connection for every process that has a copy of the socket; what was written before still arrives.
    pub fn end_everywhere(&self) {
        if let Some(socket) = self.socket() {
            // A connection that is gone already has ended.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// As [`Stream::reset_on_close`], at once and for every process that has a copy of the socket. A Unix socket has no reset.
    pub fn reset_everywhere(&self) {
        let Some(socket) = self.tcp() else {
            return self.end_everywhere();
        };
        let unspecified = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        // SAFETY: the address is a whole `sockaddr` that lives during the call, and its size is told. Connecting to
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

    /// Has the kernel ask the client's kernel from time to time whether it knows the connection. One whose process has closed
    /// it forgets it a minute after its FIN, and answers with a reset from then on; one that only sends no more never does.
    pub fn probe(&self) {
        if let Some(socket) = self.tcp() {
            let often = TcpKeepalive::new().with_time(PROBES).with_interval(PROBES);
            // A connection that is gone already needs no probe.
            let _ = socket.set_tcp_keepalive(&often);
        }
    }

    /// The TCP socket below, where it is one and here.
    fn tcp(&self) -> Option<SockRef<'_>> {
        match self {
            Stream::Fresh(stream) => Some(SockRef::from(stream)),
            Stream::Tcp(stream) => Some(SockRef::from(stream)),
            Stream::Tls(stream) => stream.get_ref().0.here().ok().map(SockRef::from),
            Stream::Unix(_) | Stream::Away(_) | Stream::Lost => None,
        }
    }

    /// The socket below, whatever it is.
    fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Stream::Unix(stream) => Some(SockRef::from(stream)),
            Stream::Away(socket) => Some(SockRef::from(socket)),
            _ => self.tcp(),
        }
    }

    /// Whether bytes go through TLS: only this process can read and write them, and the end of the stream has a
    /// message of its own, which is sent by shutting down.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Closes the connection of a client that may be sending: it shall read the end before a reset reaches it.
    pub async fn turn_away(mut self) {
        let discard = async {
            let _ = self.shutdown().await;
            let mut scratch = [0; 1024];
            while matches!(self.read(&mut scratch).await, Ok(1..)) {}
        };
        let _ = tokio::time::timeout(LINGER, discard).await;
    }

    /// Takes the socket from the runtime and gives a copy for another process, whose reads wait.
    ///
    /// # Errors
    /// When descriptors have run out, or for TLS.
    pub fn leave_home(&mut self) -> io::Result<OwnedFd> {
        let ours = match self {
            Stream::Fresh(stream) => stream.as_fd().try_clone_to_owned()?,
            Stream::Tcp(stream) => stream.as_fd().try_clone_to_owned()?,
            Stream::Unix(stream) => stream.as_fd().try_clone_to_owned()?,
            Stream::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
            Stream::Away(socket) => socket.try_clone()?,
            Stream::Lost => return Err(away()),
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

    /// Has the runtime poll it, if it does not yet.
    ///
    /// # Errors
    /// When it can't be polled.
    fn settle(&mut self) -> io::Result<()> {
        if matches!(self, Stream::Fresh(_))
            && let Stream::Fresh(stream) = mem::replace(self, Stream::Lost)
        {
            *self = Stream::Tcp(TcpStream::from_std(stream)?);
        }
        Ok(())
    }

    /// What the socket says at once, where it is not polled yet; else, and where it would block, nothing: it is polled then.
    fn at_once<T>(
        &mut self,
        act: impl FnOnce(&mut std::net::TcpStream) -> io::Result<T>,
    ) -> io::Result<Option<T>> {
        let Stream::Fresh(stream) = self else {
            return Ok(None);
        };
        match act(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.settle()?;
                Ok(None)
            }
            done => done.map(Some),
        }
    }

    /// Waits until the client closes its side, and takes no byte that it has sent. Where such bytes wait, only a broken
    /// connection shows (or, below TLS, its FIN).
    pub async fn leaving(&mut self, ticks: &Rc<Ticks>) -> Leaving {
        if matches!(self, Stream::Fresh(_)) {
            // Most responses are there before, so that the runtime need not poll a fresh connection.
            ticks.whole().await;
            if self.settle().is_err() {
                return Leaving::Broken;
            }
        }
        match self {
            Stream::Tcp(stream) => left!(stream),
            Stream::Unix(stream) => left!(stream),
            Stream::Tls(stream) => match stream.get_ref().0.here() {
                Ok(stream) => left!(stream),
                Err(_) => pending().await,
            },
            Stream::Fresh(_) | Stream::Away(_) | Stream::Lost => pending().await,
        }
    }

    /// Waits until the connection is broken: a reset has come, or what was sent could not be delivered.
    pub async fn broken(&self) {
        // An error is as good as what was waited for.
        let _ = match self {
            Stream::Tcp(stream) => stream.ready(Interest::ERROR).await,
            Stream::Unix(stream) => stream.ready(Interest::ERROR).await,
            Stream::Tls(stream) => match stream.get_ref().0.here() {
                Ok(stream) => stream.ready(Interest::ERROR).await,
                Err(_) => pending().await,
            },
            Stream::Fresh(_) | Stream::Away(_) | Stream::Lost => pending().await,
        };
    }

    /// Whether bytes that were written are not with the kernel yet: TLS keeps some records.
    pub fn holds_back(&self) -> bool {
        matches!(self, Stream::Tls(stream) if stream.get_ref().1.wants_write())
    }

    /// Hands over some of what it holds back, as much as the kernel takes at once.
    ///
    /// # Errors
    /// As for writing.
    pub async fn hand_over(&mut self) -> io::Result<()> {
        let Stream::Tls(stream) = self else {
            return Ok(());
        };
        poll_fn(|context| {
            let (carrier, session) = stream.get_mut();
            match session.write_tls(&mut NowOrNever { carrier, context }) {
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
    /// UnexpectedEof where the file has become too short; else as for writing.
    pub async fn send_file(&mut self, sending: &mut FileSending) -> io::Result<()> {
        sending.warm_up().await?;
        self.settle()?;
        match self {
            Stream::Tls(stream) => {
                let sent = stream.write(sending.read()?).await?;
                sending.advance(sent);
                Ok(())
            }
            Stream::Tcp(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
            Stream::Fresh(_) | Stream::Away(_) | Stream::Lost => Err(away()),
            Stream::Unix(stream) => {
                stream
                    .async_io(Interest::WRITABLE, || sending.send(stream.as_fd()))
                    .await
            }
        }
    }
}

/// A socket to write to now or never, as rustls wants it.
struct NowOrNever<'a, 'b> {
    carrier: &'a mut Carrier,
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
        Self::now(Pin::new(&mut *self.carrier).poll_write(self.context, bytes))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.carrier).poll_write_vectored(self.context, pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn away() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket is not here")
}

/// Calls a method of whichever socket it is.
macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => $call,
            Stream::Unix($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Fresh(_) | Stream::Away(_) | Stream::Lost => Poll::Ready(Err(away())),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(count) = self.at_once(|stream| stream.read(buffer.initialize_unfilled()))? {
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
        if let Some(count) = self.at_once(|stream| stream.write(bytes))? {
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
        if let Some(count) = self.at_once(|stream| stream.write_vectored(pieces))? {
            return Poll::Ready(Ok(count));
        }
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(*self, Stream::Fresh(_)) {
            return Poll::Ready(Ok(()));
        }
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.settle()?;
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
