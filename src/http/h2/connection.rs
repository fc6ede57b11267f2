//! One connection: accepts streams until one side closes.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ::h2::ext::Protocol;
use ::h2::server::{Builder, Connection, SendResponse};
use ::h2::{Reason, RecvStream};
use ::http::Request;
use bytes::{Bytes, BytesMut};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

use super::request;
use super::streams::{Served, Shared};
use super::transport::{self, Transport};
use super::wire::{SEND_BUFFER, Wire};
use crate::http::context::{ConnectionInfo, Context};
use crate::http::h1::framing::Method;
use crate::http::request_log::ParsedSoFar;
use crate::http::response_sink::ResponseSink;
use crate::http::transaction;
use crate::net::stream::Stream;
use crate::scoreboard::connections::{Connection as Shown, State};
use crate::semantics::message::Timestamp;

/// Bytes of content that a client may send on one stream before they are in memory or on the disk.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same on all streams of a connection together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What a head has beside its fields: method, target and the framing of its lines.
const REST_OF_HEAD: usize = 4 * 1024;

/// How long a client without a stream has for its part of the connection's end.
const LINGER: Duration = Duration::from_secs(2);

/// A connection as the crate serves it.
type Frames = Connection<Transport<Stream>, Bytes>;

/// Serves `stream` until it closes. `buffer` has what was read of it already.
pub async fn serve(
    stream: Stream,
    buffer: BytesMut,
    info: ConnectionInfo,
    shown: Shown,
    context: Rc<Context>,
) {
    let settings = &context.settings;
    let limits = &settings.limits;
    let most = settings.max_streams;
    let list = limits.field_section + limits.target + REST_OF_HEAD;
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(most)
        .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER);
    if settings.psgix_io {
        builder.enable_connect_protocol();
    }
    let first = match settings.header_timeout {
        Duration::ZERO => Duration::MAX,
        limit => limit,
    };
    let begun = tokio::select! {
        biased;
        begun = timeout(first, builder.handshake(Transport::new(buffer, stream))) => begun,
        // A client that does not begin must not hold up a stop.
        () = async {
            context.drained().await;
            sleep(LINGER).await;
        } => return,
    };
    let Ok(Ok(mut connection)) = begun else {
        return;
    };
    let shared = Shared::new(context, info, shown);
    accept_streams(&mut connection, &shared).await;
    shared.shown.set_state(State::Closing);
    connection.graceful_shutdown();
    finish(&mut connection, &shared).await;
}

/// Serves a connection whose client was told to open no more streams, until the last one has ended.
async fn finish(connection: &mut Frames, shared: &Rc<Shared>) {
    let limit = shared.context.settings.timeout;
    let began = Instant::now();
    let mut unused = Box::pin(shared.unused_for(LINGER));
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                // It was on its way when the client was told.
                Some(Ok((request, respond))) if began.elapsed() < LINGER => {
                    start(shared, request, respond);
                }
                Some(Ok((_, mut respond))) => respond.send_reset(Reason::REFUSED_STREAM),
                Some(Err(_)) | None => return,
            },
            () = &mut unused => {
                // The ends of responses may be on their way to a slow client.
                let waits = connection.has_streams() && (limit.is_zero() || began.elapsed() < limit);
                if !waits {
                    return;
                }
                unused = Box::pin(shared.unused_for(LINGER));
            }
        }
    }
}

/// Accepts streams until the client closes, the server drains, or the connection was not used for too long.
async fn accept_streams(connection: &mut Frames, shared: &Rc<Shared>) {
    let most = shared.context.settings.max_keepalive_reqs;
    let mut drained = pin!(shared.context.drained());
    let mut unused = pin!(shared.unused());
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => start(shared, request, respond),
                Some(Err(error)) => {
                    ::log::debug!("a connection of HTTP/2 has ended: {error}");
                    if transport::is_violation(&error) {
                        connection.abrupt_shutdown(Reason::PROTOCOL_ERROR);
                    }
                    return;
                }
                None => return,
            },
            () = &mut drained => return,
            () = &mut unused => return,
        }
        if most > 0 && shared.number() >= most {
            return;
        }
    }
}

/// Serves a stream in a task.
fn start(shared: &Rc<Shared>, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    if shared.is_full() {
        respond.send_reset(Reason::REFUSED_STREAM);
        return;
    }
    // The runtime moves what it is given several times.
    spawn_local(Box::pin(serve_stream(
        Served::new(shared),
        request,
        respond,
    )));
}

async fn serve_stream(served: Served, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
    let started = Timestamp::now();
    let shared = &served.0;
    let (parts, body) = request.into_parts();
    let context = Rc::clone(&shared.context);
    let head = request::head(&parts, &context.settings.limits);
    let method = match parts.method {
        ::http::Method::HEAD => Method::Head,
        _ => Method::Other,
    };
    let size = parts
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum::<usize>();
    let mut wire = Wire::new(
        Rc::clone(shared),
        method,
        body,
        respond,
        size as u64,
        started,
    );
    wire.protocol = parts.extensions.get::<Protocol>().map(request::protocol);
    let ended = match head {
        Ok(head) => transaction::run(head, started, &mut wire, &shared.info, &context).await,
        Err(error) => {
            wire.log.set_raw_line(request::line(&parts).as_bytes());
            let close = wire.refuse(error).await;
            let (counts, nothing) = (wire.counts(), ParsedSoFar::Nothing);
            wire.log
                .finish(&context, &nothing, &shared.info, Err(close), counts);
            Err(close)
        }
    };
    wire.close(ended);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a stream's task lives as long as its client likes, and what it has room for must be cleared.
    #[test]
    fn a_stream_is_small() {
        fn size<A, B, C, F>(_: impl FnOnce(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let size = size(serve_stream);
        assert!(size <= 4608, "{size} bytes");
    }
}
