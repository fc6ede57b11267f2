//! One stream: `body` reads its request, `writer` writes its response.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context as Waking, Poll, Waker};

use ::h2::server::SendResponse;
use ::h2::{self, Reason, RecvStream, SendStream};
use ::http::{HeaderMap, Response};
use bytes::Bytes;

use super::socket::Socket;
use super::streams::Shared;
use crate::http::close::Close;
use crate::http::h1::framing::{Facts, Method};
use crate::http::h1::write::Encoder;
use crate::http::request_log::{RequestLog, WireCounts};
use crate::http::timer::Timer;
use crate::semantics::field::Fields;
use crate::semantics::message::Timestamp;

/// Bytes of content in a frame at most: with its head it fills a record of TLS.
const FRAME: usize = 16 * 1024 - 9;

/// Bytes of one response that wait for the socket.
pub(super) const SEND_BUFFER: usize = 3 * FRAME;

/// The wire of `http::transaction` for one stream.
pub(super) struct Wire {
    pub(super) shared: Rc<Shared>,
    pub(super) request: RecvStream,
    pub(super) respond: SendResponse<Bytes>,
    pub(super) state: State,
    /// Content that has not been sent yet.
    pub(super) out: Vec<u8>,
    /// What the request's head says about its content.
    pub(super) facts: Facts,
    /// Bytes of content that the client has sent.
    pub(super) received: u64,
    /// Bytes of content that the request may have; none: no limit.
    pub(super) most: Option<u64>,
    /// Bytes of content that were taken and not yet given back to the client's window.
    pub(super) unreleased: usize,
    /// The fields after the request's content.
    pub(super) request_trailers: Fields,
    /// Those that follow the response's.
    pub(super) trailers: HeaderMap,
    /// The protocol that the client wants to speak on the stream.
    pub(super) protocol: Option<Bytes>,
    /// What the app takes for the client's socket.
    pub(super) socket: Socket,
    pub(super) timer: Timer,
    pub(super) log: RequestLog,
    /// Bytes that the client has taken.
    pub(super) taken: Rc<Cell<u64>>,
    /// Bytes of the request's head, about.
    head: u64,
    /// The request's number on the connection, from 1.
    number: u32,
    /// It was logged that the app gives more than it had announced.
    pub(super) too_long: bool,
}

/// How far a response is.
#[derive(Debug)]
pub(super) enum State {
    /// The final head is to come.
    Before,
    /// The head is known. It waits, so that it can leave together with the content, or be the stream's last frame.
    Head(Box<Response<()>>, Encoder),
    /// The head is sent, and content follows.
    Content(SendStream<Bytes>, Encoder),
    /// All is sent.
    Over,
}

impl State {
    pub(super) fn encoder(&mut self) -> Option<&mut Encoder> {
        match self {
            State::Head(_, encoder) | State::Content(_, encoder) => Some(encoder),
            State::Before | State::Over => None,
        }
    }
}

impl Wire {
    /// For a stream whose request has a head of about `head` bytes.
    pub(super) fn new(
        shared: Rc<Shared>,
        method: Method,
        request: RecvStream,
        respond: SendResponse<Bytes>,
        head: u64,
        started: Timestamp,
    ) -> Self {
        let log = RequestLog::start(&shared.context, started);
        let number = shared.number();
        Wire {
            shared,
            request,
            respond,
            state: State::Before,
            out: Vec::new(),
            facts: Facts {
                method,
                ..Facts::UNREAD
            },
            received: 0,
            most: None,
            unreleased: 0,
            request_trailers: Fields::default(),
            trailers: HeaderMap::new(),
            protocol: None,
            socket: Socket::Ours,
            timer: Timer::default(),
            log,
            taken: Rc::default(),
            head,
            number,
            too_long: false,
        }
    }

    /// Ends the stream of a response that is not complete: its client must not take it for whole.
    pub(super) fn close(&mut self, ended: Result<(), Close>) {
        match (&mut self.state, ended) {
            (State::Over, _) | (_, Ok(())) => {}
            (State::Before | State::Head(..), Err(_)) => {
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
            (State::Content(stream, _), Err(_)) => stream.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Sends an interim response, unless its client has gone, or the final one has begun. The crate would send it on a stream that was
    /// reset, too.
    pub(super) fn send_interim(&mut self, head: Response<()>) {
        let mut waking = Waking::from_waker(Waker::noop());
        if self.respond.poll_reset(&mut waking).is_pending() {
            // A connection that is broken is found elsewhere.
            let _ = self.respond.send_informational(head);
        }
    }

    pub(super) fn wire_counts(&self) -> WireCounts {
        WireCounts {
            received: self.head + self.received,
            number: self.number,
            stream: Some(self.request.stream_id().as_u32()),
        }
    }
}

pub(super) fn count(log: &mut RequestLog, taken: &Cell<u64>, bytes: usize) {
    log.add_sent(bytes as u64);
    taken.set(taken.get() + bytes as u64);
}

/// Sends as much of `content` as was granted. With `ends` the stream ends with its last byte.
pub(super) fn send_granted(
    stream: &mut SendStream<Bytes>,
    content: &mut Bytes,
    granted: usize,
    ends: bool,
) -> Result<(), h2::Error> {
    let mut now = content.split_to(granted.min(content.len()));
    let ends = ends && content.is_empty();
    while now.len() > FRAME {
        stream.send_data(now.split_to(FRAME), false)?;
    }
    stream.send_data(now, ends)
}

/// Waits until the client's window is open.
pub(super) fn poll_capacity(
    stream: &mut SendStream<Bytes>,
    waking: &mut Waking<'_>,
) -> Poll<Result<usize, ()>> {
    loop {
        match stream.capacity() {
            0 => {}
            capacity => return Poll::Ready(Ok(capacity)),
        }
        match stream.poll_capacity(waking) {
            // What was granted may have been taken back.
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(())),
            Poll::Pending => return Poll::Pending,
        }
    }
}
