//! One connection: read a request, have it answered, again, until one side closes.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::framing::Method;
use super::reader::Reader;
use super::transport::Transport;
use super::wire::Wire;
use crate::http::close::Close;
use crate::http::context::{ConnectionInfo, Context};
use crate::http::error::Error;
use crate::http::request_log::ParsedSoFar;
use crate::http::transaction;
use crate::net::stream::Stream;
use crate::scoreboard::connections::{Connection as Shown, State};

/// A refused client may still be sending; it must read our answer before a reset reaches it.
const LINGER: Duration = Duration::from_secs(2);

/// Serves `stream` until it closes. What was read of it before is in `buffer`.
pub async fn serve(
    stream: Stream,
    buffer: BytesMut,
    info: ConnectionInfo,
    shown: Shown,
    context: Rc<Context>,
) {
    let mut io = Transport::new(stream, shown, Rc::clone(&context));
    io.buffer = buffer;
    let mut reader = Reader::default();
    let close = loop {
        let ended = match reader.read(&mut io).await {
            Ok((head, started)) => {
                let mut wire = Wire::new(&mut io, &head);
                transaction::run(head, started, &mut wire, &info, &context).await
            }
            Err(close) => {
                log_unparsed(&mut io, &info, close);
                Err(close)
            }
        };
        if let Err(close) = ended {
            break close;
        }
    };
    end(io, close).await;
}

/// Tells a client that it has spoken plain HTTP where TLS is spoken.
pub async fn refuse_plain(
    stream: Stream,
    info: ConnectionInfo,
    shown: Shown,
    context: Rc<Context>,
) {
    let mut io = Transport::new(stream, shown, context);
    io.start_request();
    let close = io.refuse(Method::Other, Error::PlainHttp).await;
    log_unparsed(&mut io, &info, close);
    end(io, close).await;
}

/// Logs what could not be understood as a request, and was not taken off the buffer.
fn log_unparsed(io: &mut Transport, info: &ConnectionInfo, close: Close) {
    let (counts, context) = (io.counts(0), Rc::clone(&io.context));
    let nothing = ParsedSoFar::Nothing;
    io.log.finish(&context, &nothing, info, Err(close), counts);
}

/// Closes the connection.
async fn end(mut io: Transport, close: Close) {
    match close {
        Close::HandedOver => return,
        Close::Cut if io.lent => return io.stream.reset_everywhere(),
        Close::Cut => return io.stream.reset_on_close(),
        Close::Done | Close::Refused | Close::Lost => {}
    }
    // Bytes that nobody reads would turn our close into a reset, which may overtake the response.
    let unread = close == Close::Refused || io.lent || !io.buffer.is_empty();
    // TLS has a word for a good end, which a client must not get after half a response.
    let says_so = io.stream.is_tls() && close != Close::Lost;
    if unread || says_so {
        io.shown.set_state(State::Closing);
        let end = async {
            if says_so || !io.stream.is_tls() {
                let _ = io.stream.shutdown().await;
            }
            if unread {
                io.discard().await;
            }
        };
        let _ = tokio::time::timeout(LINGER, end).await;
    }
    if io.lent {
        io.stream.end_everywhere();
    }
}
