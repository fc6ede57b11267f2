//! One request in flight: where it is, and the parts of its response that its client has not taken.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use super::backlog::{Backlog, Part};
use super::event::Event;
use super::flow::{Flow, InFlow};
use super::reader::Reader;
use crate::channel::{CREDIT, Chunk};
use crate::semantics::message::Request;
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
    pub(super) taken: Cell<bool>,
    /// The client does not take what there is at once.
    pub(super) slow: Cell<bool>,
    pub(super) parts: RefCell<VecDeque<Part>>,
    pub(super) waker: RefCell<Option<Waker>>,
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
