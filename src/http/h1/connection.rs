//! One connection: read a request, have it answered, again, until one side closes.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::account::{Account, Known, Whence};
use super::framing::{Facts, Method};
use super::parse::HeadReader;
use super::respond::Response;
use crate::dispatch::{Dispatch, Exchange};
use crate::http::limits::Limits;
use crate::http::timer::Timer;
use crate::log::access::AccessLog;
use crate::log::limited;
use crate::net::accept::Phase;
use crate::net::scratch::Scratch;
use crate::net::stream::Stream;
use crate::net::ticks::Ticks;
use crate::net::waiters::Waiters;
use crate::scoreboard::connections::{Connection as Shown, State};
use crate::scoreboard::refusals::Refusal;
use crate::semantics::date::{DateCache, seconds_now};
use crate::semantics::message::{Endpoints, Request, RequestHead, Timestamp, Tls};
use crate::semantics::status;
use crate::share::Taken;
use crate::site::{self, Decision, Site};
use crate::spool::Room;

/// Bytes of content that one read asks for.
pub(super) const READ: usize = 16 * 1024;

/// A refused client may still be sending; it must read our answer before a reset reaches it.
const LINGER: Duration = Duration::from_secs(2);

/// A head that has begun when the server drains may take this long: a slow client must not hold up a stop. So long an
/// idle connection stays open where a successor serves.
const LAST_HEAD: Duration = Duration::from_secs(1);

/// What all connections share.
#[derive(Debug)]
pub struct Context {
    /// Where requests go.
    pub site: Site,
    /// Who has the app answer requests.
    pub dispatch: Rc<Dispatch>,
    /// How connections behave.
    pub settings: Settings,
    /// Room for content that is too large for memory.
    pub room: Rc<Room>,
    /// The current date, formatted.
    pub date: RefCell<DateCache>,
    /// Who is told of each request.
    pub log: Option<AccessLog>,
    /// Whether the server drains: connections end as soon as their request is answered.
    pub drain: watch::Receiver<Phase>,
    /// The connections that wait for it; to be woken when it changes.
    pub draining: Waiters,
    /// Where connections read heads to: what has come is copied from here, so that an idle one holds no memory for it.
    pub scratch: Scratch,
    /// What responses wait for that are not quick.
    pub ticks: Rc<Ticks>,
}

/// How connections behave. Durations of zero are no limit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes beyond which a request is refused.
    pub limits: Limits,
    /// Longest time without progress on the socket, apart from the times below.
    pub timeout: Duration,
    /// Longest time for a whole request head.
    pub header_timeout: Duration,
    /// Longest time between two requests; zero allows one request per connection.
    pub keepalive_timeout: Duration,
    /// Requests per connection; 0 is no limit.
    pub max_keepalive_reqs: u32,
    /// Value of the Server field, if there is to be one.
    pub server: Option<Bytes>,
    /// Whether apps may have a client's socket (`psgix.io`).
    pub psgix_io: bool,
    /// Whether files that apps send get conditional requests and ranges.
    pub file_ranges: bool,
    /// Bytes a second that content must come at, from the 20th second on; 0 is no limit.
    pub content_rate: u64,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// All is said.
    Done,
    /// The client was refused and may still be sending.
    Refused,
    /// The client has gone, or learns by the close that its response is not whole.
    Lost,
    /// A response was cut; the client must not take it for whole.
    Cut,
    /// The app keeps the connection.
    HandedOver,
}

/// Where a connection comes from.
#[derive(Debug)]
pub struct Origin {
    /// Number of the listener that accepted it.
    pub listener: u16,
    /// Its two ends.
    pub endpoints: Endpoints,
    /// What its TLS is like; none for plain HTTP.
    pub tls: Option<Rc<Tls>>,
}

/// Serves `stream` until it closes.
pub async fn serve(stream: Stream, origin: Origin, shown: Shown, context: Rc<Context>) {
    let mut connection = Connection::new(stream, origin, shown, context);
    let close = loop {
        if let Err(close) = connection.exchange().await {
            break close;
        }
    };
    connection.close(close).await;
}

/// Tells a client that it has spoken plain HTTP where TLS is spoken.
pub async fn refuse_plain(stream: Stream, origin: Origin, shown: Shown, context: Rc<Context>) {
    let mut connection = Connection::new(stream, origin, shown, context);
    connection.account.begin(Timestamp::now(), 0);
    let text = "This port speaks HTTPS, and the request came as plain HTTP: use https://\n";
    let close = connection.refuse_with(400, text, "plain HTTP on a port for HTTPS");
    let close = close.await;
    connection.log(&Known::Nothing, Err(close));
    connection.close(close).await;
}

/// Waits for a drain, and then for one more look at the sockets: of a connection that was accepted a
/// moment ago we may not know yet that its request has come.
pub(super) async fn drained(context: &Context) {
    let is_last = || context.drain.borrow().is_last();
    context.draining.until(is_last).await;
    tokio::task::yield_now().await;
}

pub(super) struct Connection {
    pub(super) stream: Stream,
    /// Bytes read and not yet understood.
    pub(super) buffer: BytesMut,
    reader: HeadReader,
    pub(super) timer: Timer,
    pub(super) context: Rc<Context>,
    pub(super) account: Account,
    /// What it does, for whoever looks.
    pub(super) shown: Shown,
    origin: Origin,
    connected: Timestamp,
    served: u32,
    /// Responses that are complete and whose app runs on: it learns when the connection ends.
    running_on: Vec<Exchange>,
    /// A process of the app may have a copy of the socket: closing ours is not the connection's end.
    pub(super) lent: bool,
    /// The method of the request that is being read: what refuses a HEAD has no content.
    method: Method,
    /// Memory of a head that has come in part.
    head_memory: Option<Taken>,
}

impl Connection {
    fn new(stream: Stream, origin: Origin, shown: Shown, context: Rc<Context>) -> Self {
        Connection {
            stream,
            buffer: BytesMut::new(),
            reader: HeadReader::new(),
            timer: Timer::new(Instant::now()),
            account: Account::new(context.log.as_ref()),
            context,
            shown,
            origin,
            connected: Timestamp::now(),
            served: 0,
            running_on: Vec::new(),
            lent: false,
            method: Method::Other,
            head_memory: None,
        }
    }

    /// One request and its response; `Ok` means that another may follow.
    async fn exchange(&mut self) -> Result<(), Close> {
        let mut known = Known::Nothing;
        let ended = self.answer(&mut known).await;
        self.log(&known, ended);
        ended
    }

    fn log(&mut self, known: &Known, ended: Result<(), Close>) {
        if let Some(log) = &self.context.log {
            let whence = Whence {
                listener: self.origin.listener,
                endpoints: &self.origin.endpoints,
                tls: self.origin.tls.as_deref(),
                served: self.served,
            };
            let waiting = self.buffer.len();
            self.account.tell(log, known, &whence, ended, waiting);
        }
    }

    /// Reads a request and answers it. What is understood of it comes to stand in `known`.
    async fn answer(&mut self, known: &mut Known) -> Result<(), Close> {
        self.method = Method::Other;
        let (head, started) = self.read_head().await?;
        self.method = Method::of(&head);
        let mut facts = match super::examine(&head, &self.context.settings.limits) {
            Ok(facts) => facts,
            Err(error) => {
                *known = Known::Head(head);
                return Err(self.refuse(error.status(), &error).await);
            }
        };
        self.served += 1;
        facts.persistent &= self.may_persist();
        if let Decision::Server(responder) = self.context.site.route(&head) {
            self.shown.does(State::Processing);
            let response = responder.answer(&head, &self.origin.endpoints).await;
            if let Some(response) = response {
                let answered = self.answer_itself(response, facts).await;
                *known = Known::Head(head);
                return answered;
            }
        }
        let (content, content_length, _kept) = match self.read_content(&facts).await {
            Ok(read) => read,
            Err(close) => {
                *known = Known::Head(head);
                return Err(close);
            }
        };
        let request = Request {
            head,
            content,
            content_length,
            listener: self.origin.listener,
            endpoints: self.origin.endpoints.clone(),
            tls: self.origin.tls.clone(),
            connected: self.connected,
            started,
            finished: if self.account.came_at_once() {
                started
            } else {
                Timestamp::now()
            },
        };
        self.shown.does(State::Processing);
        let exchange = self.context.dispatch.submit(request);
        exchange.is_counted_by(Rc::clone(&self.account.taken));
        if self.account.kept {
            *known = Known::Whole(exchange.witness());
        }
        let persistent = Response::new(self, facts).write(&exchange).await?;
        if exchange.is_running_on() {
            self.running_on.retain(Exchange::is_running_on);
            self.running_on.push(exchange);
        }
        persistent.then_some(()).ok_or(Close::Done)
    }

    /// Answers a request without the app. Its content is not read, so that what is large is refused before it comes.
    async fn answer_itself(
        &mut self,
        response: site::Response,
        mut facts: Facts,
    ) -> Result<(), Close> {
        let skipped = self.skip_content(&facts);
        facts.persistent &= skipped;
        let persistent = Response::new(self, facts).own(response).await?;
        match (persistent, skipped) {
            (true, _) => Ok(()),
            (false, true) => Err(Close::Done),
            // The client may still be sending.
            (false, false) => Err(Close::Refused),
        }
    }

    pub(super) fn may_persist(&self) -> bool {
        let settings = &self.context.settings;
        let more = settings.max_keepalive_reqs == 0 || self.served < settings.max_keepalive_reqs;
        more && !settings.keepalive_timeout.is_zero() && !self.context.drain.borrow().is_last()
    }

    /// The next request's head, and when its first byte came.
    async fn read_head(&mut self) -> Result<(RequestHead, Timestamp), Close> {
        let first = self.served == 0;
        let settings = &self.context.settings;
        let wait = if first {
            settings.header_timeout
        } else {
            settings.keepalive_timeout
        };
        self.timer.set(wait);
        if self.buffer.is_empty() {
            // What the last head has left of its memory.
            self.buffer = BytesMut::new();
        }
        let mut started = Timestamp::default();
        let mut hurried = false;
        let mut begins = false;
        loop {
            if started == Timestamp::default() && !self.buffer.is_empty() {
                started = Timestamp::now();
                self.account.begin(started, self.buffer.len());
                begins = !hurried && !first;
                if hurried {
                    self.timer.set(LAST_HEAD);
                }
            }
            match self
                .reader
                .read(&mut self.buffer, &self.context.settings.limits)
            {
                Ok(Some(head)) => {
                    self.head_memory = None;
                    return Ok((head, started));
                }
                // Nothing but empty lines came: no request has begun.
                Ok(None) if self.buffer.is_empty() && started != Timestamp::default() => {
                    started = Timestamp::default();
                    begins = false;
                    if !first {
                        self.timer.set(wait);
                    }
                }
                Ok(None) if self.keeps_head() => {}
                Ok(None) => return Err(self.refuse_head().await),
                Err(error) => return Err(self.refuse(error.status(), &error).await),
            }
            let idle = started == Timestamp::default();
            // Not before it turns out that there is something to wait for: most heads are there at once.
            if std::mem::take(&mut begins) {
                self.timer.set(self.context.settings.header_timeout);
            }
            self.shown
                .does(if idle { State::Idle } else { State::Reading });
            let context = &self.context;
            let read = self.timer.limit(async {
                tokio::select! {
                    biased;
                    read = context.scratch.read(&mut self.stream, &mut self.buffer) => Some(read),
                    () = drained(context), if !hurried => None,
                }
            });
            match read.await {
                Ok(Some(Ok(0) | Err(_))) => return Err(Close::Done),
                Ok(Some(Ok(some))) => self.account.read += some as u64,
                Ok(None) if idle && *self.context.drain.borrow() == Phase::Draining => {
                    return Err(Close::Done);
                }
                // Where a successor serves, the next request may be on its way: it is answered.
                Ok(None) => {
                    hurried = true;
                    self.timer.set(LAST_HEAD);
                }
                Err(_) if idle || hurried => return Err(Close::Done),
                Err(_) => return Err(self.refuse(408, "the head took too long").await),
            }
        }
    }

    /// Whose connection it is, where clients have shares.
    pub(super) fn client(&self) -> Option<IpAddr> {
        self.origin.endpoints.client()
    }

    /// Whether there is memory for the part of a head that has come.
    fn keeps_head(&mut self) -> bool {
        let needed = self.buffer.capacity() as u64;
        if self.buffer.is_empty() {
            return true;
        }
        let memory = self.head_memory.get_or_insert_with(|| {
            let holder = self.context.room.heads().holder(None);
            Taken::nothing(&holder)
        });
        memory.grow(needed.saturating_sub(memory.amount()))
    }

    /// Heads that do not end have taken their memory: those that want most of it are refused.
    async fn refuse_head(&mut self) -> Close {
        self.shown.counts(Refusal::Request);
        limited!(
            Warn,
            "heads that do not end have taken their memory: 503 to the largest"
        );
        self.head_memory = None;
        self.refuse(503, "heads have taken their memory").await
    }

    /// Answers what can't be served, and ends the connection.
    pub(super) async fn refuse(&mut self, status: u16, why: impl std::fmt::Display) -> Close {
        self.refuse_with(status, status::reason(status), why).await
    }

    /// As `refuse`, with a text for the client.
    async fn refuse_with(&mut self, status: u16, text: &str, why: impl std::fmt::Display) -> Close {
        limited!(Info, "refused with {status}: {why}");
        self.account.refuses(&self.buffer);
        self.shown.does(State::Writing);
        let mut out = Vec::new();
        let facts = Facts {
            method: self.method,
            ..Facts::UNREAD
        };
        self.canned(&mut out, &facts, status, text);
        match self.write_all(&mut [IoSlice::new(&out)]).await {
            Ok(()) => Close::Refused,
            Err(close) => close,
        }
    }

    pub(super) fn date(&self) -> [u8; crate::semantics::date::LENGTH] {
        *self.context.date.borrow_mut().at(seconds_now())
    }

    /// Writes of `pieces` what the client takes at once. Returns how many bytes that were.
    pub(super) async fn write_now(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<usize, Close> {
        let mut pieces = pieces;
        let mut total = 0;
        IoSlice::advance_slices(&mut pieces, 0);
        poll_fn(|context| {
            while !pieces.is_empty() {
                match Pin::new(&mut self.stream).poll_write_vectored(context, pieces) {
                    Poll::Ready(Ok(written)) if written > 0 => {
                        self.account.wrote(written as u64);
                        total += written;
                        IoSlice::advance_slices(&mut pieces, written);
                    }
                    Poll::Ready(_) => return Poll::Ready(Err(Close::Lost)),
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(total))
        })
        .await
    }

    /// Writes all of `pieces`. A client that takes nothing for too long has gone.
    pub(super) async fn write_all(&mut self, pieces: &mut [IoSlice<'_>]) -> Result<(), Close> {
        let mut pieces = pieces;
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            self.timer.set(self.context.settings.timeout);
            match self.timer.limit(self.stream.write_vectored(pieces)).await {
                Ok(Ok(written)) if written > 0 => {
                    self.account.wrote(written as u64);
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

    /// Reads what nobody wants, until the client ends.
    async fn discard(&mut self) {
        // What was refused may be large.
        self.buffer = BytesMut::new();
        loop {
            self.buffer.clear();
            self.buffer.reserve(READ);
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(1..)) {
                break;
            }
        }
    }

    async fn close(mut self, close: Close) {
        match close {
            Close::HandedOver => return,
            Close::Cut if self.lent => return self.stream.reset_everywhere(),
            Close::Cut => return self.stream.reset_on_close(),
            Close::Done | Close::Refused | Close::Lost => {}
        }
        // Bytes that nobody reads would turn our close into a reset, which may overtake the response.
        let unread = close == Close::Refused || self.lent || !self.buffer.is_empty();
        // TLS has a word for a good end, which a client must not hear behind half a response.
        let says_so = self.stream.is_tls() && close != Close::Lost;
        if unread || says_so {
            self.shown.does(State::Closing);
            let end = async {
                if says_so || !self.stream.is_tls() {
                    let _ = self.stream.shutdown().await;
                }
                if unread {
                    self.discard().await;
                }
            };
            let _ = tokio::time::timeout(LINGER, end).await;
        }
        if self.lent {
            self.stream.end_everywhere();
        }
    }
}
