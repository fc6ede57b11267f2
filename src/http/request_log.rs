//! What the access log and the metrics tell of one request: counted while the request comes and its response leaves.

use std::time::{Duration, Instant};

use super::close::Close;
use super::context::{ConnectionInfo, Context};
use crate::dispatch::Witness;
use crate::log::host_logs::Keeps;
use crate::log::record::{Ending, Record};
use crate::semantics::message::{RequestHead, Timestamp};
use crate::semantics::source::Source;

/// The status that stands for a client that left before there was one, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// The account of one request. Where neither a log nor metrics want it, nothing but numbers is kept.
#[derive(Debug, Default)]
pub(super) struct RequestLog {
    /// What is kept; nothing where nobody wants it, or no request has begun.
    kept: Option<Kept>,
    /// Bytes of the response that the client has taken.
    sent: u64,
    /// Bytes of heads and framing.
    framing: u64,
    status: Option<u16>,
    /// The app answers by the client's socket.
    handed_over: bool,
}

/// What costs a look at the clock, or memory.
#[derive(Debug)]
struct Kept {
    started: Timestamp,
    /// The same moment by a clock that nobody sets.
    began: Instant,
    first_byte: Option<Instant>,
    /// The response's head, where the log's format asks for fields of it.
    head: Option<Vec<u8>>,
    /// The first line of what could not be parsed.
    raw_line: Vec<u8>,
}

/// What the wire has counted when a request ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct WireCounts {
    /// Bytes of the request.
    pub(super) received: u64,
    /// Its number on the connection, from 1.
    pub(super) number: u32,
    /// The stream that it is, on a connection of HTTP/2.
    pub(super) stream: Option<u32>,
}

/// How far a request was understood when it ended.
#[derive(Debug)]
pub(super) enum ParsedSoFar {
    /// Nothing could be understood.
    Nothing,
    /// Its head, and whose it is.
    Head(RequestHead, Source),
    /// All of it, and the app was asked.
    Whole(Witness),
}

impl RequestLog {
    /// A request whose first byte came at `started`.
    pub(super) fn start(context: &Context, started: Timestamp) -> Self {
        let counted = context.site.metrics().map(|_| Keeps::Facts);
        let kept = context.logs.keeps().or(counted).map(|keeps| Kept {
            started,
            began: Instant::now(),
            first_byte: None,
            head: (keeps == Keeps::Response).then(Vec::new),
            raw_line: Vec::new(),
        });
        RequestLog {
            kept,
            ..RequestLog::default()
        }
    }

    /// Whether an account is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// The client has taken bytes.
    pub(super) fn add_sent(&mut self, bytes: u64) {
        self.sent += bytes;
        if let Some(kept) = &mut self.kept {
            kept.first_byte.get_or_insert_with(Instant::now);
        }
    }

    /// Bytes that are no content are going to be written.
    pub(super) fn add_framing(&mut self, bytes: usize) {
        self.framing += bytes as u64;
    }

    /// The final response's head is going to be written.
    pub(super) fn set_response(&mut self, status: u16, head: &[u8]) {
        self.status = Some(status);
        self.add_framing(head.len());
        if let Some(Kept {
            head: Some(kept), ..
        }) = &mut self.kept
        {
            kept.clear();
            kept.extend_from_slice(head);
        }
    }

    /// The bytes that could not be parsed as a request.
    pub(super) fn set_raw_line(&mut self, bytes: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.raw_line = first_line(bytes).to_vec();
        }
    }

    /// The app has answered by the client's socket.
    pub(super) fn set_handed_over(&mut self) {
        self.handed_over = true;
    }

    /// The request has ended: its record is logged and counted, unless nothing was worth one.
    pub(super) fn finish(
        &mut self,
        context: &Context,
        parsed: &ParsedSoFar,
        connection: &ConnectionInfo,
        ended: Result<(), Close>,
        counts: WireCounts,
    ) {
        let Some(kept) = self.kept.take() else {
            return;
        };
        // A connection that ends without another request.
        if self.status.is_none() && matches!(parsed, ParsedSoFar::Nothing) {
            return;
        }
        let began = kept.began;
        let (head, call, receiving) = match parsed {
            ParsedSoFar::Nothing => (None, None, None),
            ParsedSoFar::Head(head, _) => (Some(head), None, None),
            ParsedSoFar::Whole(witness) => (
                Some(&witness.request().head),
                witness.call(),
                Some(since(began, witness.submitted())),
            ),
        };
        let host = head.and_then(|head| context.site.host(head));
        let (log, metrics) = (context.logs.of(host.as_deref()), context.site.metrics());
        if log.is_none() && metrics.is_none() {
            return;
        }
        let ending = match ended {
            Ok(()) => Ending::Persists,
            Err(Close::Done | Close::Refused | Close::HandedOver) => Ending::Closes,
            Err(Close::Lost | Close::Cut) => Ending::Aborted,
        };
        let left = ending == Ending::Aborted && !self.handed_over;
        let record = Record {
            listener: connection.listener,
            source: match parsed {
                ParsedSoFar::Nothing => &connection.source,
                ParsedSoFar::Head(_, source) => source,
                ParsedSoFar::Whole(witness) => &witness.request().source,
            },
            tls: connection.tls.as_deref(),
            head,
            host: host.as_deref(),
            line: match head {
                Some(head) => first_line(head.fields.bytes()),
                None => &kept.raw_line,
            },
            started: kept.started,
            receiving,
            first_byte: kept.first_byte.map(|at| since(began, at)),
            duration: began.elapsed(),
            status: self.status.or(left.then_some(CLIENT_LEFT)),
            response: kept.head.as_deref().unwrap_or_default(),
            received: counts.received,
            sent: self.sent,
            content: self.sent.saturating_sub(self.framing),
            number: counts.number,
            stream: counts.stream,
            ending,
            call,
        };
        if let Some(metrics) = metrics {
            metrics.count(&record);
        }
        if let Some(log) = log {
            log.write(&record);
        }
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
