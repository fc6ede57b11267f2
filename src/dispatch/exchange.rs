//! One request in flight: where it is, and the parts of its response on their way to the client.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::Dispatch;
use super::backlog::{Backlog, Part};
use super::event::{Event, Piece};
use super::flow::{Flow, InFlow};
use super::reader::Reader;
use crate::channel::{CREDIT, Chunk};
use crate::log::record::Call;
use crate::semantics::message::{Request, RequestHead};
use crate::share::TakenOnce;

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queued,
    Worker {
        number: u32,
        id: u64,
    },
    /// Its client has all that it may get; the worker has not ended the response, and what it still sends is discarded.
    Complete {
        number: u32,
        id: u64,
    },
    Over,
}

/// When a request was where. Only an access log that shows it has it kept.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The process that it was sent to last, and its number there.
    pub(super) worker: Cell<Option<(i32, u64)>>,
    /// Its call began.
    pub(super) begun: Cell<Option<Instant>>,
    /// Its response was complete.
    pub(super) over: Cell<Option<Instant>>,
}

/// What connection and dispatch share of a request.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) request: Request,
    pub(super) place: Cell<Place>,
    pub(super) backlog: Backlog,
    /// When it came.
    pub(super) submitted: Instant,
    pub(super) course: Course,
    pub(super) reader: Reader,
    /// Memory that the request holds.
    _memory: Option<TakenOnce>,
    /// The connection that it came by, where that carries several requests.
    pub(super) flow: Option<InFlow>,
    /// It is for one worker only.
    pinned: bool,
    /// It may have been run by a worker that has broken its channel, though the claim word says that it was not. It may go to one
    /// more worker, and to no third: it would break one after the other.
    pub(super) is_suspect: Cell<bool>,
    /// The app waits for the client's socket.
    asked: Cell<bool>,
    /// The app has asked for it.
    taken: Cell<bool>,
    /// The client does not take what there is at once.
    slow: Cell<bool>,
    parts: RefCell<VecDeque<Part>>,
    waker: RefCell<Option<Waker>>,
}

impl AsRef<Request> for InFlight {
    fn as_ref(&self) -> &Request {
        &self.request
    }
}

impl InFlight {
    /// `parts` is empty, and may have room from an earlier request.
    pub(super) fn new(
        request: Request,
        flow: Option<&Flow>,
        backlog: Backlog,
        memory: Option<TakenOnce>,
        parts: VecDeque<Part>,
    ) -> Self {
        InFlight {
            request,
            place: Cell::new(Place::Queued),
            backlog,
            submitted: super::now(),
            course: Course::default(),
            reader: Reader::default(),
            _memory: memory,
            flow: flow.map(InFlow::new),
            pinned: false,
            is_suspect: Cell::new(false),
            asked: Cell::new(false),
            taken: Cell::new(false),
            slow: Cell::new(false),
            parts: RefCell::new(parts),
            waker: RefCell::default(),
        }
    }

    /// A request that no other worker shall run than the one that gets it.
    pub(super) fn pinned(request: Request, backlog: Backlog) -> Self {
        InFlight {
            pinned: true,
            ..InFlight::new(request, None, backlog, None, VecDeque::new())
        }
    }

    pub(super) fn is_pinned(&self) -> bool {
        self.pinned
    }

    pub(super) fn push(&self, part: Part) {
        self.parts.borrow_mut().push_back(part);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn tell(&self, event: Event) {
        self.push(Part::Event(event, 0));
    }

    /// The app asks for the client's socket. False if it has asked, and has no answer yet.
    pub(super) fn ask(&self) -> bool {
        if self.asked.replace(true) {
            return false;
        }
        self.taken.set(true);
        self.tell(Event::Take);
        true
    }

    /// Whether the app waits for a socket; a caller that gets true must answer.
    pub(super) fn answer(&self) -> bool {
        self.asked.replace(false)
    }

    /// Whether the app may be silent: it has the client's socket, or waits until the client takes what it has sent.
    pub(super) fn is_excused(&self) -> bool {
        self.taken.get() || self.waits_for_client()
    }

    /// Whether the worker has sent as much as it may until the client takes some of it.
    pub(super) fn waits_for_client(&self) -> bool {
        self.is_read() && self.backlog.ahead.get() >= CREDIT
    }

    /// Whether somebody reads what its worker sends.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.place.get(), Place::Worker { .. })
    }

    /// Ends it by this event, unless it has ended.
    pub(super) fn finish(&self, event: Event) {
        if self.place.replace(Place::Over) != Place::Over {
            self.tell(event);
        }
    }

    /// Whether content has to wait for the client.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.get()
    }

    /// Appends content to the last part, if both are small: what is credited now.
    pub(super) fn gather(&self, content: &Chunk) -> Option<u64> {
        let mut parts = self.parts.borrow_mut();
        self.backlog.gather(parts.back_mut()?, content)
    }

    /// Nobody reads any more: what came and was not taken.
    pub(super) fn take_parts(&self) -> VecDeque<Part> {
        self.slow.set(false);
        self.parts.take()
    }

    /// Nobody reads any more.
    pub(super) fn forget_parts(&self) {
        self.slow.set(false);
        self.parts.borrow_mut().clear();
    }
}

/// A request in flight, held by its connection. Dropping it means that the client has gone.
#[derive(Debug)]
pub struct Exchange {
    pub(super) state: Rc<InFlight>,
    pub(super) dispatch: Rc<Dispatch>,
}

impl Exchange {
    /// The next part of the response. After `End`, `Failed` or `TimedOut` nothing comes.
    pub async fn next(&self) -> Event {
        poll_fn(|context| match self.try_next() {
            Some(event) => Poll::Ready(event),
            None => {
                *self.state.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// The next part, if it is here already. Taking content lets the worker send more.
    pub fn try_next(&self) -> Option<Event> {
        let Some(part) = self.state.parts.borrow_mut().pop_front() else {
            self.state.slow.set(false);
            return None;
        };
        let (event, credit) = part.take();
        if credit > 0 {
            self.dispatch.credit(&self.state, credit);
        }
        Some(event)
    }

    /// Whether the app has had the client's socket.
    pub fn has_lent_socket(&self) -> bool {
        self.state.taken.get()
    }

    /// The next part, if it is content that may stay in memory. Other content is on its way to the disk, should its client take
    /// its time.
    pub fn try_next_chunk(&self) -> Option<Piece> {
        let in_memory = matches!(
            self.state.parts.borrow().front(),
            Some(Part::Event(Event::Chunk(_), _))
        );
        match in_memory.then(|| self.try_next())? {
            Some(Event::Chunk(piece)) => Some(piece),
            _ => None,
        }
    }

    /// The writer of the response waits. If not for the next part, then for the client: queued content is copied out of the shared memory, so that
    /// a slow client does not keep the worker from using it.
    pub fn on_write_blocked(&self, writer: &Waker) {
        if self.state.waker.borrow().is_some() {
            return;
        }
        self.state.reader.waits(writer);
        if self.state.slow.replace(true) {
            return;
        }
        self.dispatch.reads_slowly(&self.state);
        for part in self.state.parts.borrow_mut().iter_mut() {
            part.make_owned();
        }
    }

    /// Where the connection counts the bytes that it takes.
    pub fn is_counted_by(&self, taken: Rc<Cell<u64>>) {
        self.state.reader.is_counted_by(taken);
    }

    /// Whether the response ends here, because its client takes it too slowly.
    pub fn is_cut(&self) -> bool {
        self.state.reader.is_cut()
    }

    /// Gives the app the client's socket, as it asked by `Take`.
    pub fn hand_over(&self, socket: Option<OwnedFd>) {
        if let Place::Worker { number, id } = self.state.place.get()
            && self.state.answer()
        {
            self.dispatch.reply(number, id, socket);
        }
    }
}

impl Exchange {
    /// The client has all that it may get of this response. No further part is wanted; dropping the exchange still means that
    /// the client has gone.
    pub fn complete(&self) {
        self.dispatch.complete(&self.state);
    }

    /// Whether the response is complete for its client and its worker has not ended it.
    pub fn is_running_on(&self) -> bool {
        matches!(self.state.place.get(), Place::Complete { .. })
    }

    /// The head of the request.
    pub fn head(&self) -> &RequestHead {
        &self.state.request.head
    }

    /// Something that tells of the request when all is over.
    pub fn witness(&self) -> Witness {
        Witness(Rc::clone(&self.state))
    }
}

/// Tells of a request, also when its exchange is over.
#[derive(Debug)]
pub struct Witness(Rc<InFlight>);

impl Witness {
    /// The request.
    pub fn request(&self) -> &Request {
        &self.0.request
    }

    /// When it was complete.
    pub fn submitted(&self) -> Instant {
        self.0.submitted
    }

    /// What its worker did; nothing where none has taken it, or where nobody asked for that to be kept.
    pub fn call(&self) -> Option<Call> {
        let course = &self.0.course;
        let (pid, id) = course.worker.get()?;
        let begun = course.begun.get()?;
        let over = course.over.get();
        Some(Call {
            pid,
            id,
            queued: begun.saturating_duration_since(self.0.submitted),
            called: over.map(|over| over.saturating_duration_since(begun)),
        })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.dispatch.client_gone(&self.state);
    }
}
