//! Connections: accepted on each listener, secured where TLS is spoken, then served.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::malloc_trim::MallocTrim;
use crate::http::context::{ConnectionInfo, Context};
use crate::http::forwarding::{self, Forwarding};
use crate::http::h2::preface;
use crate::http::{h1, h2};
use crate::log::limited;
use crate::net::accept::{Acceptor, Phase};
use crate::net::admission::{Admission, Admitted};
use crate::net::listen::Listening;
use crate::net::proxy_protocol;
use crate::net::stream::Stream;
use crate::net::tls::{self, Accepted};
use crate::scoreboard::Board;
use crate::scoreboard::connections::{self, State};
use crate::scoreboard::refusals::Refusal;
use crate::semantics::message::Timestamp;
use crate::semantics::proxy_header::Sender;
use crate::semantics::source::{Endpoints, Proxied, Source};

/// A handshake that has begun when the server drains may take this long.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// How long a PROXY header may take where heads have no limit.
const HEADER: Duration = Duration::from_secs(10);

/// Counts what must be over before the core is drained.
#[derive(Debug, Default)]
pub(super) struct Live {
    count: Cell<usize>,
    malloc_trim: MallocTrim,
    changed: Notify,
}

impl Live {
    fn enter(self: &Rc<Self>) -> Entered {
        self.count.set(self.count.get() + 1);
        self.malloc_trim.connected(self.count.get());
        Entered(Rc::clone(self))
    }

    pub(super) async fn none(&self) {
        while self.count.get() > 0 {
            self.changed.notified().await;
        }
    }
}

struct Entered(Rc<Live>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.malloc_trim.disconnected(self.0.count.get());
        self.0.changed.notify_one();
    }
}

/// What all listeners share.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) context: Rc<Context>,
    pub(super) tls: Option<Rc<tls::Server>>,
    pub(super) admission: Rc<Admission>,
    pub(super) board: Option<Arc<Board>>,
    pub(super) live: Rc<Live>,
}

impl Service {
    /// Accepts connections on listener `number` until the server drains.
    ///
    /// # Errors
    /// When the socket can't be polled.
    pub(super) fn accept_on(mut self, number: u16, listening: Listening) -> io::Result<()> {
        self.tls = self.tls.filter(|_| listening.tls);
        let proxy = listening.proxy;
        let acceptor = Acceptor::new(listening, Rc::clone(&self.admission))?;
        spawn_local(async move {
            let accepting = self.live.enter();
            let mut drain = self.context.drain.clone();
            if let Some(tls) = &self.tls {
                tokio::select! {
                    () = tls.ready() => {}
                    _ = drain.wait_for(|phase| phase.is_last()) => {}
                }
            }
            acceptor
                .run(drain, |stream, endpoints, mut admitted| {
                    let entered = self.live.enter();
                    let state = match &self.tls {
                        None if !proxy => State::Idle,
                        _ => State::Handshake,
                    };
                    let shown = connections::Connection::new(self.board.clone(), state);
                    let source = Source::from(endpoints);
                    let trusted = self.context.settings.forwarding.as_ref();
                    let info = ConnectionInfo {
                        listener: number,
                        forwarding: forwarding::Settings::of(trusted, &source),
                        source,
                        tls: None,
                        certificates: None,
                        connected: Timestamp::now(),
                        flow: None,
                    };
                    let (tls, context) = (self.tls.clone(), Rc::clone(&self.context));
                    spawn_local(async move {
                        if proxy {
                            let named =
                                named(stream, info, (&mut admitted, &shown), &context).await;
                            if let Some((stream, info)) = named {
                                serve(stream, info, shown, tls, context).await;
                            }
                            drop((admitted, entered));
                            return;
                        }
                        // Made here: a future that is moved into another takes its space twice.
                        serve(stream, info, shown, tls, context).await;
                        drop((admitted, entered));
                    });
                })
                .await;
            drop(accepting);
        });
        Ok(())
    }
}

/// Reads the PROXY header, and has the connection be that of whom it names. Nothing where it is to be closed.
async fn named(
    mut stream: Stream,
    mut info: ConnectionInfo,
    (admitted, shown): (&mut Admitted, &connections::Connection),
    context: &Context,
) -> Option<(Stream, ConnectionInfo)> {
    let trusted = context.settings.forwarding.as_ref();
    let proxy = info.source.peer();
    let from = proxy.map_or_else(|| "unix:".to_owned(), |address| address.to_string());
    // Without a list only this machine can connect: the server does not start otherwise.
    if trusted.is_some_and(|settings| !settings.trusted.has(proxy)) {
        shown.counts(Refusal::Connection);
        limited!(
            Warn,
            "a connection from {from} is closed: no trusted proxy, on a port for the PROXY protocol"
        );
        return None;
    }
    let limit = match context.settings.header_timeout {
        Duration::ZERO => HEADER,
        limit => limit,
    };
    let mut drain = context.drain.clone();
    let read = tokio::select! {
        biased;
        read = tokio::time::timeout(limit, proxy_protocol::read(&mut stream)) => read,
        () = async {
            let _ = drain.wait_for(|&phase| phase == Phase::Draining).await;
            tokio::time::sleep(LAST_HANDSHAKE).await;
        } => return None,
    };
    let header = match read {
        Ok(Ok(header)) => header,
        Ok(Err(proxy_protocol::Failure::Nothing)) => return None,
        Ok(Err(failure)) => {
            shown.counts(Refusal::Connection);
            limited!(
                Warn,
                "a connection from {from} is closed: no valid PROXY header: {failure}"
            );
            return None;
        }
        Err(_) => {
            shown.counts(Refusal::Connection);
            limited!(
                Warn,
                "a connection from {from} is closed: no PROXY header in {limit:?}"
            );
            return None;
        }
    };
    let https = header.tlvs.tls().map(|_| true);
    match header.sender {
        Sender::Proxy => {}
        // Whatever such a client sends comes by a trusted proxy's address.
        Sender::Unknown => {
            if info.forwarding == Forwarding::Read {
                info.forwarding = Forwarding::Relayed;
            }
        }
        Sender::Client {
            source,
            destination,
        } => {
            info.source.endpoints = Endpoints::Ip {
                peer: source,
                local: destination,
            };
            info.forwarding = forwarding::Settings::of(trusted, &info.source);
        }
    }
    if header.sender != Sender::Proxy {
        info.source.proxied = Some(Rc::new(Proxied {
            peer: proxy,
            https,
            tlvs: header.tlvs,
            ..Proxied::default()
        }));
    }
    if !admitted.count(&info.source.endpoints) {
        return None;
    }
    stream = match stream.unregister() {
        Ok(stream) => stream,
        Err(_) => return None,
    };
    Some((stream, info))
}

/// Serves a connection: HTTP, after a handshake where TLS is spoken.
async fn serve(
    stream: Stream,
    mut info: ConnectionInfo,
    shown: connections::Connection,
    tls: Option<Rc<tls::Server>>,
    context: Rc<Context>,
) {
    let Some(tls) = tls else {
        return serve_plain(stream, info, shown, context).await;
    };
    let mut drain = context.drain.clone();
    let accepted = tokio::select! {
        biased;
        accepted = accept(&tls, stream, &info, &context) => accepted,
        () = async {
            let _ = drain.wait_for(|&phase| phase == Phase::Draining).await;
            tokio::time::sleep(LAST_HANDSHAKE).await;
        } => return,
    };
    match accepted {
        Accepted::Secure(stream, facts) => {
            info.tls = Some(facts.tls);
            info.certificates = facts.certificates;
            let buffer = BytesMut::new();
            match stream.speaks_h2() {
                // Apart, so that connections of HTTP/1 need no memory for it.
                true => Box::pin(h2::connection::serve(stream, buffer, info, shown, context)).await,
                false => h1::connection::serve(stream, buffer, info, shown, context).await,
            }
        }
        Accepted::Plain(stream) => h1::connection::refuse_plain(stream, info, shown, context).await,
        Accepted::Gone => {}
    }
}

/// Serves a connection without TLS.
async fn serve_plain(
    mut stream: Stream,
    info: ConnectionInfo,
    shown: connections::Connection,
    context: Rc<Context>,
) {
    let mut buffer = BytesMut::new();
    if context.settings.h2c && preface::begins(&mut stream, &mut buffer, &context).await {
        return Box::pin(h2::connection::serve(stream, buffer, info, shown, context)).await;
    }
    h1::connection::serve(stream, buffer, info, shown, context).await;
}

/// Shakes hands, and asks the app about the client's certificate where it has the last word. Its time is that of the
/// handshake.
async fn accept(
    tls: &tls::Server,
    stream: Stream,
    info: &ConnectionInfo,
    context: &Context,
) -> Accepted {
    let begun = Instant::now();
    let (stream, facts) = match tls.accept(stream).await {
        Accepted::Secure(stream, facts) if tls.settings().asks_app() => (stream, facts),
        other => return other,
    };
    if facts.tls.certificates.is_empty() {
        return Accepted::Secure(stream, facts);
    }
    let verdict = context.dispatch.verify(&facts.tls, info.source.client());
    let limit = tls.settings().handshake_timeout;
    let verdict = match limit.is_zero() {
        true => Ok(verdict.await),
        false => tokio::time::timeout_at(begun + limit, verdict).await,
    };
    let why = match verdict {
        Ok(Some(true)) => return Accepted::Secure(stream, facts),
        Ok(Some(false)) => "it has refused the certificate",
        Ok(None) => "it gave no verdict",
        Err(_) => "it took too long",
    };
    if let Endpoints::Ip { peer, .. } = &info.source.endpoints {
        limited!(
            Warn,
            "ssl_verify_callback: the connection from {peer} is closed: {why}"
        );
    }
    stream.turn_away().await;
    Accepted::Gone
}
