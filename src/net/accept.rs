//! The accept loop of one listening socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream, UnixListener};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::socket::setsockopt;
use nix::{setsockopt_impl, sockopt_impl};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::admission::{Admission, Admitted, Permit};
use super::listen::Listening;
use super::stream::Stream;
use crate::log::limited;
use crate::semantics::source::Endpoints;

/// Pause when descriptors have run out: connections wait in the backlog meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Bytes that wait in the kernel for a client to have room for them. Without a bound they fill the whole send buffer: 2.5 MiB
/// for one client that reads slowly by small windows, and a thousand of them use up the TCP memory of the machine.
const UNSENT: u32 = 128 * 1024;

/// Descriptors that clients may not take: for the channels of new workers, and for content in files.
const RESERVE: u64 = 16;

/// A client that sends nothing is accepted this many seconds later than others.
const SILENCE: usize = 1;

sockopt_impl!(
    /// TCP_DEFER_ACCEPT of tcp(7): a connection is accepted when its first bytes have come.
    DeferAccept,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_DEFER_ACCEPT,
    usize
);

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The sockets listen; what comes waits in their backlog.
    Waiting,
    /// It accepts and serves.
    Serving,
    /// Nothing more is accepted; idle connections end, the others after their response.
    Draining,
    /// A successor listens on the same sockets. Connections end after their next response, which says so, and idle
    /// ones a moment later: so no request meets a connection that is being closed.
    GivingWay,
}

impl Phase {
    /// Whether connections are to end.
    pub fn is_last(self) -> bool {
        matches!(self, Phase::Draining | Phase::GivingWay)
    }
}

#[derive(Debug)]
enum Listener {
    Tcp {
        listener: AsyncFd<TcpListener>,
        /// Where its connections arrive, unless it listens on several addresses.
        local: Option<SocketAddr>,
    },
    Unix(AsyncFd<UnixListener>),
}

/// Accepts connections.
#[derive(Debug)]
pub struct Acceptor {
    listener: Listener,
    admission: Rc<Admission>,
    /// Whether a PROXY header says whose a connection is.
    proxy: bool,
    /// From this number on, descriptors are not for clients.
    reserved: RawFd,
}

impl Acceptor {
    /// Makes an acceptor of a listening socket; to be called within the runtime.
    ///
    /// # Errors
    /// When the socket can't be polled.
    pub fn new(listening: Listening, admission: Rc<Admission>) -> io::Result<Self> {
        let proxy = listening.proxy;
        let listener = if listening.unix {
            let socket = std::os::unix::net::UnixListener::from(listening.socket);
            socket.set_nonblocking(true)?;
            let listener = UnixListener::from_std(socket);
            // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
            Listener::Unix(unsafe {
                AsyncFd::register_with_interest(listener, Interest::READABLE)
            }?)
        } else {
            let socket = std::net::TcpListener::from(listening.socket);
            socket.set_nonblocking(true)?;
            // Its connections inherit these two. A small response must not wait for the acknowledgement of the one before.
            SockRef::from(&socket).set_tcp_nodelay(true)?;
            SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT)?;
            let patience = if listening.deferred { SILENCE } else { 0 };
            setsockopt(&socket, DeferAccept, &patience)?;
            let local = socket.local_addr()?;
            // This kind makes what it accepts non-blocking without a further system call.
            let listener = TcpListener::from_std(socket);
            Listener::Tcp {
                // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
                listener: unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?,
                local: (!local.ip().is_unspecified()).then(|| canonical(local)),
            }
        };
        let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
        let reserved = limit.saturating_sub(RESERVE).max(limit / 2);
        Ok(Acceptor {
            listener,
            admission,
            proxy,
            reserved: reserved.try_into().unwrap_or(RawFd::MAX),
        })
    }

    /// Accepts from when the server serves until it drains, then what waits in the backlog already.
    pub async fn run(
        self,
        mut drain: watch::Receiver<Phase>,
        mut serve: impl FnMut(Stream, Endpoints, Admitted),
    ) {
        // A core that is gone accepts nothing.
        let _ = drain.wait_for(|&phase| phase != Phase::Waiting).await;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = drain.wait_for(|phase| phase.is_last()) => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((permit, stream, endpoints)) => {
                    let crowded = stream.number() >= self.reserved;
                    if let Some(admitted) = admit(&self.admission, self.proxy, permit, &endpoints) {
                        serve(stream, endpoints, admitted);
                    }
                    if crowded {
                        self.wait_for_room(&mut drain).await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    limited!(Error, "can't accept connections for now: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        self.sweep(serve);
    }

    /// While all but the last descriptors are in use, new clients wait in the backlog.
    async fn wait_for_room(&self, drain: &mut watch::Receiver<Phase>) {
        if !self.has_room() {
            limited!(Warn, "clients have taken all descriptors: new ones wait");
        }
        while !drain.borrow().is_last() && !self.has_room() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The kernel gives the lowest number that is free.
    fn has_room(&self) -> bool {
        let listener = match &self.listener {
            Listener::Tcp { listener, .. } => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        };
        let next = listener.try_clone_to_owned();
        next.is_ok_and(|next| next.as_raw_fd() < self.reserved)
    }

    async fn accept(&self) -> io::Result<(Permit, Stream, Endpoints)> {
        match &self.listener {
            Listener::Tcp { listener, local } => {
                self.accept_on(listener, |listener| tcp(listener.accept()?, *local))
                    .await
            }
            Listener::Unix(listener) => {
                self.accept_on(listener, |listener| unix(listener.accept()?.0))
                    .await
            }
        }
    }

    /// Accepts a connection when one waits and has a permit.
    async fn accept_on<L: AsRawFd>(
        &self,
        listener: &AsyncFd<L>,
        mut accept: impl FnMut(&L) -> io::Result<(Stream, Endpoints)>,
    ) -> io::Result<(Permit, Stream, Endpoints)> {
        loop {
            let mut ready = listener.readable().await?;
            let permit = self.admission.permit().await;
            // Another process of the server may have taken it meanwhile: the permit is given back.
            if let Ok(accepted) = ready.try_io(|listener| accept(listener.get_ref())) {
                return accepted.map(|(stream, endpoints)| (permit, stream, endpoints));
            }
        }
    }

    /// Takes what the kernel has accepted already: those clients have been promised an answer.
    fn sweep(self, mut serve: impl FnMut(Stream, Endpoints, Admitted)) {
        let accepted: Box<dyn Fn() -> io::Result<(Stream, Endpoints)>> = match self.listener {
            Listener::Tcp { listener, local } => {
                let listener = listener.into_inner();
                Box::new(move || tcp(listener.accept()?, local))
            }
            Listener::Unix(listener) => {
                let listener = listener.into_inner();
                Box::new(move || unix(listener.accept()?.0))
            }
        };
        loop {
            match accepted() {
                Ok((stream, endpoints)) => {
                    let permit = self.admission.beyond();
                    if let Some(admitted) = admit(&self.admission, self.proxy, permit, &endpoints) {
                        serve(stream, endpoints, admitted);
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(_) => return,
            }
        }
    }
}

fn admit(
    admission: &Rc<Admission>,
    proxy: bool,
    permit: Permit,
    endpoints: &Endpoints,
) -> Option<Admitted> {
    match proxy {
        true => Some(admission.admit_unnamed(permit)),
        false => admission.admit(permit, endpoints),
    }
}

fn tcp(
    (stream, peer): (TcpStream, SocketAddr),
    local: Option<SocketAddr>,
) -> io::Result<(Stream, Endpoints)> {
    let local = match local {
        Some(local) => local,
        None => canonical(stream.local_addr()?),
    };
    let peer = canonical(peer);
    Ok((
        Stream::Unregistered(stream.into()),
        Endpoints::Ip { peer, local },
    ))
}

fn unix(stream: mio::net::UnixStream) -> io::Result<(Stream, Endpoints)> {
    let stream = UnixStream::from_std(stream.into())?;
    let cred = stream.peer_cred()?;
    let endpoints = Endpoints::Unix {
        pid: cred.pid().unwrap_or(0),
        uid: cred.uid(),
        gid: cred.gid(),
    };
    Ok((Stream::Unix(stream), endpoints))
}

/// An IPv4 address that came through an IPv6 socket, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether only the connection that was being accepted is at fault (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, InvalidInput,
        NetworkDown, NetworkUnreachable, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | InvalidInput
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
    )
}
