//! A client's side of its request: it is submitted, its response is taken part by part, and the client may leave at any time.

use std::cell::Cell;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Instant;

use super::Dispatch;
use super::backlog::{Backlog, Part};
use super::call::Call;
use super::event::{Event, Piece};
use super::flow::Flow;
use super::in_flight::{InFlight, Place};
use super::now;
use crate::channel::CREDIT;
use crate::log::record;
use crate::semantics::message::{Request, RequestHead};

impl Dispatch {
    /// Hands a request to an idle worker, or queues it. `flow` is that of its connection, where it carries several requests.
    pub fn submit(self: &Rc<Self>, request: Request, flow: Option<&Flow>) -> Exchange {
        let within = flow.map_or(&self.memory, Flow::memory);
        let backlog = Backlog::new(within, &self.room, request.source.client());
        let memory = self.room.heads().take_once(request.size());
        let fits = memory.is_some();
        let parts = self.spare.take();
        let state = Rc::new(InFlight::new(request, flow, backlog, memory, parts));
        if self.deserted.get() {
            state.finish(Event::Failed);
        } else {
            if let Some(board) = &self.settings.board {
                board.submitted();
            }
            if self.has_place(fits) {
                self.admit_call(Call::Request(Rc::clone(&state)), state.submitted);
            } else {
                state.finish(Event::Overloaded);
            }
            self.watch_load();
            self.distribute(state.submitted);
        }
        Exchange {
            state,
            dispatch: Rc::clone(self),
        }
    }

    /// The client has all that it may get of this response: its worker learns that nothing more is sent.
    fn complete(&self, state: &Rc<InFlight>) {
        let Place::Worker { number, id } = state.place.get() else {
            return;
        };
        state.place.set(Place::Complete { number, id });
        state.forget_parts();
        if let Some(worker) = self.workers.borrow().get(number) {
            worker.complete(id, state, self.timed.get());
        }
    }

    /// Nobody waits for this response any more.
    fn client_gone(self: &Rc<Self>, state: &Rc<InFlight>) {
        self.spare.give(state.take_parts());
        let Some((number, id)) = self.withdraw(&Call::Request(Rc::clone(state))) else {
            return;
        };
        self.let_go(state, number, id);
    }

    /// Nobody reads this response any more: its worker learns it, whatever it waits for.
    pub(super) fn let_go(&self, state: &InFlight, number: u32, id: u64) {
        if let Some(worker) = self.workers.borrow().get(number) {
            worker.end.set_gone(id);
        }
        // A writer that waits for credit looks again.
        self.give_credit(number, id, CREDIT);
        if state.answer() {
            self.reply(number, id, None);
        }
    }

    /// Nobody waits for the end of this call any more. Returns the worker that has claimed it, and its id there.
    pub(super) fn withdraw(self: &Rc<Self>, call: &Call) -> Option<(u32, u64)> {
        match call.set_place(Place::Over) {
            Place::Queued => {
                self.queue.borrow_mut().remove(call);
                self.show_queue();
                None
            }
            Place::Worker { number, id } => {
                let mut workers = self.workers.borrow_mut();
                let revoked = workers.change(number, |worker| worker.revoke(id));
                drop(workers);
                if revoked != Some(true) {
                    return Some((number, id));
                }
                // The worker may be idle from now on: it has no call whose end it could report.
                self.distribute(now());
                None
            }
            Place::Complete { number, id } => Some((number, id)),
            Place::Over => None,
        }
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
    pub fn call(&self) -> Option<record::Call> {
        let course = &self.0.course;
        let (pid, id) = course.worker.get()?;
        let begun = course.begun.get()?;
        let over = course.over.get();
        Some(record::Call {
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
