//! What the access log tells of the request in work: counted on its way in and out.

use std::cell::Cell;
use std::mem;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::connection::Close;
use crate::dispatch::Witness;
use crate::log::access::AccessLog;
use crate::log::record::{Ending, Record};
use crate::semantics::message::{Endpoints, RequestHead, Timestamp, Tls};

/// The status that stands for a client that left before there was one, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// Numbers of one connection and of its request in work.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Whether there is a log to tell: without one, only bytes are counted.
    pub(super) kept: bool,
    /// Whether the response's head is kept.
    pub(super) keeps_head: bool,
    /// Bytes read from the client, in all.
    pub(super) read: u64,
    /// Those of them that came before this request.
    before: u64,
    /// Those that were there when it began.
    at_begin: u64,
    started: Timestamp,
    /// The same moment by a clock that nobody sets.
    began: Option<Instant>,
    first_byte: Option<Instant>,
    /// Bytes that the client's socket has taken.
    sent: u64,
    /// The same of all requests, for the code that looks after slow readers.
    pub(super) taken: Rc<Cell<u64>>,
    /// Bytes of heads and framing.
    framing: u64,
    status: Option<u16>,
    head: Vec<u8>,
    /// The request line of what was refused.
    line: Vec<u8>,
    /// The app answers by the client's socket.
    pub(super) handed_over: bool,
}

/// What is known of a request.
#[derive(Debug)]
pub(super) enum Known {
    /// Nothing that could be understood.
    Nothing,
    /// Its head.
    Head(RequestHead),
    /// All of it, and what became of it.
    Whole(Witness),
}

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct Whence<'a> {
    pub(super) listener: u16,
    pub(super) endpoints: &'a Endpoints,
    pub(super) tls: Option<&'a Tls>,
    /// Requests that it has brought, this one included.
    pub(super) served: u32,
}

impl Account {
    pub(super) fn new(log: Option<&AccessLog>) -> Self {
        Account {
            kept: log.is_some(),
            keeps_head: log.is_some_and(|log| log.wants_response),
            ..Account::default()
        }
    }

    /// A request's first byte is there; `waiting` bytes have been read and not yet understood.
    pub(super) fn begin(&mut self, started: Timestamp, waiting: usize) {
        self.before = self.read - waiting as u64;
        self.at_begin = self.read;
        if self.kept {
            *self = Account {
                kept: true,
                keeps_head: self.keeps_head,
                read: self.read,
                before: self.before,
                at_begin: self.at_begin,
                taken: mem::take(&mut self.taken),
                started,
                began: Some(Instant::now()),
                ..Account::default()
            };
        }
    }

    /// Whether nothing was read since the request began: it came in one piece.
    pub(super) fn came_at_once(&self) -> bool {
        self.read == self.at_begin
    }

    /// Bytes were written to the client.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.sent += bytes;
        self.taken.set(self.taken.get() + bytes);
        if self.kept && self.first_byte.is_none() {
            self.first_byte = Some(Instant::now());
        }
    }

    /// Bytes that are no content are going to be written.
    pub(super) fn frames(&mut self, bytes: usize) {
        self.framing += bytes as u64;
    }

    /// The final response's head is going to be written.
    pub(super) fn answers(&mut self, status: u16, head: &[u8]) {
        self.status = Some(status);
        self.frames(head.len());
        if self.keeps_head {
            self.head = head.to_vec();
        }
    }

    /// What is refused begins with these bytes.
    pub(super) fn refuses(&mut self, bytes: &[u8]) {
        if self.kept && self.line.is_empty() {
            self.line = first_line(bytes).to_vec();
        }
    }

    /// Tells the log of a request that has come to its end; `waiting` bytes do not belong to it.
    pub(super) fn tell(
        &mut self,
        log: &AccessLog,
        known: &Known,
        whence: &Whence<'_>,
        ended: Result<(), Close>,
        waiting: usize,
    ) {
        // A connection that ends without another request is not worth a line.
        let Some(began) = self.began.take() else {
            return;
        };
        if self.status.is_none() && matches!(known, Known::Nothing) {
            return;
        }
        let (head, call, receiving) = match known {
            Known::Nothing => (None, None, None),
            Known::Head(head) => (Some(head), None, None),
            Known::Whole(witness) => (
                Some(&witness.request().head),
                witness.call(),
                Some(witness.submitted().saturating_duration_since(began)),
            ),
        };
        let waiting = match known {
            // What is refused was not taken off the buffer.
            Known::Nothing => 0,
            Known::Head(_) | Known::Whole(_) => waiting as u64,
        };
        let ending = match ended {
            Ok(()) => Ending::Persists,
            Err(Close::Done | Close::Refused | Close::HandedOver) => Ending::Closes,
            Err(Close::Lost | Close::Cut) => Ending::Aborted,
        };
        let left = ending == Ending::Aborted && !self.handed_over;
        log.write(&Record {
            listener: whence.listener,
            endpoints: whence.endpoints,
            tls: whence.tls,
            head,
            line: match head {
                Some(head) => first_line(head.fields.bytes()),
                None => &self.line,
            },
            started: self.started,
            receiving,
            first_byte: self.first_byte.map(|at| since(began, at)),
            duration: began.elapsed(),
            status: self.status.or(left.then_some(CLIENT_LEFT)),
            response: &self.head,
            received: (self.read - self.before).saturating_sub(waiting),
            sent: self.sent,
            content: self.sent.saturating_sub(self.framing),
            number: whence.served,
            ending,
            call,
        });
    }
}

fn since(began: Instant, at: Instant) -> Duration {
    at.saturating_duration_since(began)
}

/// A message's first line, without its end.
fn first_line(bytes: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let line = &bytes[..end];
    line.strip_suffix(b"\r").unwrap_or(line)
}
