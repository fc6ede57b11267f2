//! The bytes of one connection: read, written, counted and timed.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::framing::{Facts, Method};
use super::write;
use crate::dispatch::Exchange;
use crate::http::close::Close;
use crate::http::context::Context;
use crate::http::error::{BodyError, Error};
use crate::http::request_log::{RequestLog, WireCounts};
use crate::http::timer::Timer;
use crate::iovec::{IoVec, Next};
use crate::net::stream::Stream;
use crate::pace::Pace;
use crate::scoreboard::connections::{Connection as Shown, State};
use crate::semantics::message::Timestamp;

/// Bytes of content that one read asks for.
pub(super) const READ: usize = 16 * 1024;

/// A client's connection.
pub(super) struct Transport {
    pub(super) stream: Stream,
    /// Bytes read and not yet understood.
    pub(super) buffer: BytesMut,
    pub(super) timer: Timer,
    pub(super) context: Rc<Context>,
    /// What it does, for the status.
    pub(super) shown: Shown,
    /// The account of the request in hand.
    pub(super) log: RequestLog,
    /// Bytes that the client has taken, of all responses.
    pub(super) taken: Rc<Cell<u64>>,
    /// Requests that it has brought.
    pub(super) served: u32,
    /// Bytes read since the request began, those that were there then included.
    received: u64,
    /// Nothing was read since then: the request came in one piece.
    came_at_once: bool,
    /// Responses that are complete and whose app runs on: it learns when the connection ends.
    pub(super) running_on: Vec<Exchange>,
    /// A process of the app may have a copy of the socket: closing ours is not the connection's end.
    pub(super) lent: bool,
}

impl Transport {
    pub(super) fn new(stream: Stream, shown: Shown, context: Rc<Context>) -> Self {
        Transport {
            stream,
            buffer: BytesMut::new(),
            timer: Timer::default(),
            context,
            shown,
            log: RequestLog::default(),
            taken: Rc::default(),
            served: 0,
            received: 0,
            came_at_once: true,
            running_on: Vec::new(),
            lent: false,
        }
    }

    /// A request's first byte is there: its account begins.
    pub(super) fn start_request(&mut self) -> Timestamp {
        let started = Timestamp::now();
        self.log = RequestLog::start(&self.context, started);
        self.received = self.buffer.len() as u64;
        self.came_at_once = true;
        started
    }

    /// Counts bytes that were read.
    pub(super) fn add_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
        self.came_at_once = false;
    }

    /// Counts bytes that the client has taken.
    pub(super) fn add_sent(&mut self, bytes: u64) {
        self.log.add_sent(bytes);
        self.taken.set(self.taken.get() + bytes);
    }

    /// When the request's last byte came.
    pub(super) fn finished(&self, started: Timestamp) -> Timestamp {
        match self.came_at_once {
            true => started,
            false => Timestamp::now(),
        }
    }

    /// What was counted of a request, after which `waiting` bytes are in the buffer that are not of it.
    pub(super) fn counts(&self, waiting: usize) -> WireCounts {
        WireCounts {
            received: self.received.saturating_sub(waiting as u64),
            number: self.served,
            stream: None,
        }
    }

    /// Whether another request may follow this one.
    pub(super) fn may_persist(&self) -> bool {
        let settings = &self.context.settings;
        let more = settings.max_keepalive_reqs == 0 || self.served < settings.max_keepalive_reqs;
        more && !settings.keepalive_timeout.is_zero() && !self.context.drain.borrow().is_last()
    }

    /// Reads more content into the buffer.
    pub(super) async fn read_more(&mut self, pace: &mut Pace) -> Result<(), BodyError> {
        self.shown.set_state(State::Reading);
        self.buffer.reserve(READ);
        let timeout = self.context.settings.timeout;
        self.timer.set(pace.patience(timeout, time::Instant::now()));
        let reading = self.stream.read_buf(&mut self.buffer);
        match self.timer.limit(reading).await {
            Ok(Ok(0) | Err(_)) => Err(BodyError::Lost(Close::Lost)),
            Ok(Ok(read)) => {
                self.add_received(read);
                pace.count(read as u64, time::Instant::now());
                Ok(())
            }
            Err(_) => Err(BodyError::Refused(Error::ContentTooSlow)),
        }
    }

    /// Sends of `pieces` what the client takes at once. Returns how many bytes that were. Not for TLS.
    pub(super) fn send_now(&mut self, pieces: &[IoVec<'_>], next: Next) -> Result<usize, Close> {
        match self.stream.send_now(pieces, next) {
            Ok(sent) => {
                self.add_sent(sent as u64);
                Ok(sent)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(_) => Err(Close::Lost),
        }
    }

    /// Writes all of `pieces`. A client that takes nothing for too long has gone.
    pub(super) async fn write_all(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), Close> {
        let mut pieces = pieces;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            self.timer.set(self.context.settings.timeout);
            match self.timer.limit(self.stream.write_vectored(pieces)).await {
                Ok(Ok(written)) if written > 0 => {
                    self.add_sent(written as u64);
                    IoSlice::advance_slices(&mut pieces, written);
                }
                _ => return Err(Close::Lost),
            }
        }
        while self.stream.has_unsent_records() {
            self.timer.set(self.context.settings.timeout);
            if !matches!(
                self.timer.limit(self.stream.send_records()).await,
                Ok(Ok(()))
            ) {
                return Err(Close::Lost);
            }
        }
        Ok(())
    }

    /// Appends a whole response of the server's own to `out`. Returns whether the connection persists.
    pub(super) fn canned(
        &mut self,
        out: &mut Vec<u8>,
        facts: &Facts,
        status: u16,
        text: &str,
    ) -> bool {
        self.shown.set_state(State::Writing);
        let start = out.len();
        let mut fields = self.context.server_fields.borrow_mut();
        let persistent = write::canned(out, facts, status, text, fields.now());
        drop(fields);
        let head = memchr::memmem::find(&out[start..], b"\r\n\r\n")
            .map_or(out.len(), |end| start + end + 4);
        self.log.set_response(status, &out[start..head]);
        persistent
    }

    /// Answers what is not served, and ends the connection.
    pub(super) async fn refuse(&mut self, method: Method, error: Error) -> Close {
        error.refused(&self.shown);
        let facts = Facts {
            method,
            ..Facts::UNREAD
        };
        let mut out = Vec::new();
        self.canned(&mut out, &facts, error.status(), error.text());
        match self.write_all(&mut [IoSlice::new(&out)]).await {
            Ok(()) => Close::Refused,
            Err(close) => close,
        }
    }

    /// Reads what nobody wants, until the client ends.
    pub(super) async fn discard(&mut self) {
        // A refused request may be large.
        self.buffer = BytesMut::new();
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ);
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                break;
            }
        }
    }
}
