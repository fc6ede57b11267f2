//! Which worker runs which request: any idle worker, else a quick one ahead of its time, else one queue for all, in which clients
//! take turns.
//!
//! Knows no Perl, no HTTP wire and no sockets but the channels. One thread: cells, no locks.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;

use self::backlog::Backlog;
use self::call::Call;
use self::changes::Changes;
use self::deadline::Deadlines;
use self::exchange::{InFlight, Place};
use self::fair_queue::FairQueue;
use self::load::LoadWindow;
use self::memory::Memory;
use self::readers::Readers;
use self::spare::Spare;
use self::verify::Accepted;
use self::worker::{Stage, UNCLAIMED, Worker};
use self::workers::Workers;
use crate::body::FileSlice;
use crate::channel::CREDIT;
use crate::channel::claim::SLOTS;
use crate::channel::core_end::CoreEnd;
use crate::channel::message::Message;
use crate::channel::progress::{FILE_COST, Progress, interim_cost};
use crate::channel::violation::Violation;
use crate::log::limited;
use crate::scoreboard::Board;
use crate::semantics::message::{Request, Timestamp};
use crate::spool::Room;

mod backlog;
mod call;
mod changes;
mod credit;
mod deadline;
mod event;
mod exchange;
mod fair_queue;
mod flow;
mod generation;
mod load;
mod lost;
mod memory;
mod open;
mod queue;
mod reader;
mod readers;
mod receive;
mod report;
#[cfg(test)]
pub(crate) mod simulation;
mod spare;
mod verify;
#[cfg(test)]
mod violations;
mod worker;
mod workers;

pub use self::event::{Event, Piece};
pub use self::exchange::{Exchange, Witness};
pub use self::flow::Flow;
pub use self::report::Report;

/// The longest interval at which the core looks again at a call that no worker begins.
const LONGEST_LOOK: Duration = Duration::from_millis(50);

/// How requests are dispatched.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long the app may be silent on a request; nothing: for ever.
    pub request_timeout: Option<Duration>,
    /// How long the app may judge a client's certificate; nothing: for ever.
    pub verify_timeout: Option<Duration>,
    /// Where requests are counted.
    pub board: Option<Arc<Board>>,
    /// Whether somebody wants to know how busy the workers are.
    pub tell_load: bool,
    /// Requests that may wait for a worker; none: no limit.
    pub queue: Option<usize>,
    /// How long each of them may; none: no limit.
    pub queue_time: Option<Duration>,
    /// Bytes a second at which clients must take responses; 0 is no limit.
    pub response_rate: u64,
}

/// The workers and the requests that wait for one.
#[derive(Debug)]
pub struct Dispatch {
    settings: Settings,
    /// The receiver of reports about the workers.
    reports: UnboundedSender<Report>,
    workers: RefCell<Workers>,
    /// Calls that wait for a worker.
    queue: RefCell<FairQueue>,
    /// Certificates that the app has accepted.
    accepted: RefCell<Accepted>,
    load_window: LoadWindow,
    changes: Changes,
    /// The watch over requests that wait is running.
    queue_watched: Cell<bool>,
    /// When the oldest call that waits at a worker had been received, as [`watch`](Self::watch) has last seen it.
    oldest_at_worker: Cell<Option<Timestamp>>,
    /// [`watch`](Self::watch) is running.
    watching: Cell<bool>,
    /// The watch over calls whose time is limited.
    deadlines: Deadlines,
    /// [`audit`](Self::audit) is running.
    auditing: Cell<bool>,
    /// Workers were told to leave; new ones are told at once.
    stopped: Cell<bool>,
    /// No worker will come any more.
    deserted: Cell<bool>,
    /// Memory that responses hold.
    memory: Rc<Memory>,
    /// Where responses wait that are too large for memory.
    room: Rc<Room>,
    readers: Readers,
    spare: Spare,
    /// Whether times are kept for the access log.
    timed: Cell<bool>,
}

/// The time. In the simulation the clock is virtual.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Dispatch {
    /// Without workers yet. Responses that their clients take too slowly wait in `room`; `reports` gets what becomes of workers.
    /// With `timed`, [`Witness::call`] tells when responses were complete.
    pub fn new(
        settings: Settings,
        room: Rc<Room>,
        reports: UnboundedSender<Report>,
        timed: bool,
    ) -> Self {
        Dispatch {
            settings,
            reports,
            workers: RefCell::default(),
            queue: RefCell::default(),
            accepted: RefCell::default(),
            load_window: LoadWindow::default(),
            changes: Changes::default(),
            queue_watched: Cell::new(false),
            oldest_at_worker: Cell::new(None),
            watching: Cell::new(false),
            deadlines: Deadlines::default(),
            auditing: Cell::new(false),
            stopped: Cell::new(false),
            deserted: Cell::new(false),
            memory: Memory::of_all(),
            room,
            readers: Readers::default(),
            spare: Spare::default(),
            timed: Cell::new(timed),
        }
    }

    /// Workers that come, work, rest and go.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What the requests of a connection share that may carry several at a time.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.memory)
    }

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

    /// Sends a new call to a worker, or queues it.
    fn admit_call(self: &Rc<Self>, call: Call, now: Instant) {
        let others_first = self.queue.borrow().len() > 0 || self.workers.borrow().can_reclaim();
        match (!others_first)
            .then(|| self.worker_for(&call, now))
            .flatten()
        {
            // The usual case is without the queue.
            Some(number) => self.send(call, number, now),
            None => self.queue.borrow_mut().push(call),
        }
    }

    /// Sends a call to a worker; to the front of the queue where that can't be done.
    fn send(self: &Rc<Self>, call: Call, number: u32, now: Instant) {
        let sent = self.workers.borrow_mut().change(number, |worker| {
            let sent = worker.send(&call, number, now);
            sent.map(|()| worker.only_call())
        });
        self.load_window.idle(self.workers.borrow().idle());
        match sent {
            Some(Ok(begun)) => {
                if let Call::Request(state) = &call {
                    self.waited(state, begun.unwrap_or(now));
                }
                self.watch_calls(&call, now);
                self.watch();
                self.audit();
            }
            // Dead or dying; the master will tell. The call was never sent whole.
            Some(Err(_)) | None => self.queue.borrow_mut().push_front(call),
        }
    }

    /// A new worker: it gets calls when it says that it is ready, a candidate when it is admitted as well.
    fn add_worker(&self, number: u32, pid: i32, end: Rc<CoreEnd>, candidate: bool) {
        if self.stopped.get() {
            let _ = end.send_stop();
        }
        self.changes.note();
        let stage = match candidate {
            true => Stage::Candidate { loaded: false },
            false => Stage::Loading,
        };
        let worker = Worker::new(pid, end, stage);
        self.workers.borrow_mut().insert(number, worker);
    }

    /// Whether [`Witness::call`] tells when responses were complete, from now on.
    pub fn set_timed(&self, timed: bool) {
        self.timed.set(timed);
    }

    /// Tells all workers to leave when they are done.
    pub fn stop_workers(&self) {
        self.stopped.set(true);
        for (_, worker) in self.workers.borrow().iter() {
            // A broken channel belongs to a worker that is leaving already.
            let _ = worker.end.send_stop();
        }
    }

    /// The last worker is gone, and none will come: calls that wait for one fail, now and later.
    pub fn no_workers(&self) {
        self.deserted.set(true);
        let waiting = self.queue.take();
        waiting.fail_all();
        self.show_queue();
    }

    /// Sends calls that wait to idle workers, then some to quick ones that are busy.
    fn distribute(self: &Rc<Self>, now: Instant) {
        self.changes.note();
        if self.queue.borrow().len() > 0 {
            self.reclaim(now);
        }
        loop {
            let Some(call) = self.queue.borrow_mut().peek().cloned() else {
                if self.reclaim(now) {
                    continue;
                }
                break;
            };
            let Some(number) = self.worker_for(&call, now) else {
                break;
            };
            self.queue.borrow_mut().pop();
            self.send(call, number, now);
        }
        if self.give_up_broken() {
            return self.distribute(now);
        }
        let waiting = self.waiting();
        if waiting > 0 {
            self.watch_queue();
        }
        self.load_window.waiting(waiting);
        self.show_queue();
    }

    /// The worker that gets a call: an idle one, else the one that holds least where it may wait.
    fn worker_for(&self, call: &Call, now: Instant) -> Option<u32> {
        let workers = self.workers.borrow();
        workers.next_idle().or_else(|| {
            let may_wait = call.may_wait_at_worker();
            may_wait.then(|| workers.least_loaded(now)).flatten()
        })
    }

    /// Calls that wait: in the queue, or at busy workers.
    fn waiting(&self) -> usize {
        self.queue.borrow().len() + self.workers.borrow().waiting()
    }

    /// While workers are idle, no call waits at a busy one: puts what they take over to the front of the queue. Returns whether
    /// there is any.
    fn reclaim(&self, now: Instant) -> bool {
        if !self.workers.borrow().can_reclaim() {
            return false;
        }
        let others_wait = self.queue.borrow().len() > 0;
        let taken = self.workers.borrow_mut().reclaim(others_wait, now);
        let any = !taken.is_empty();
        self.requeue(taken);
        any
    }

    /// Looks again while something can happen of which no worker tells:
    ///
    /// - A worker that finds further calls in its channel does not ring for the end of a quick one. Should the next call take
    ///   long, the response before it is in the ring and the core asleep.
    /// - A worker that is idle by its word may be kept by the destruction of the last env, or be stopped. Its call may then
    ///   be another worker's.
    fn watch(self: &Rc<Self>) {
        if self.watching.get() || !self.workers.borrow().may_need_watching() {
            return;
        }
        self.watching.set(true);
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            let mut wait = UNCLAIMED;
            while dispatch.workers.borrow().are_to_be_watched() {
                tokio::time::sleep(wait).await;
                let busy = dispatch.workers.borrow().look();
                dispatch.note_oldest();
                let stuck = dispatch.workers.borrow_mut().take_stuck(now());
                dispatch.requeue(stuck);
                dispatch.distribute(now());
                wait = match busy {
                    true => UNCLAIMED,
                    false => LONGEST_LOOK.min(2 * wait),
                };
            }
            dispatch.watching.set(false);
        });
    }

    /// Puts calls that were not run to the front of the queue, in their order, unless nobody waits for them.
    fn requeue(&self, calls: Vec<Call>) {
        for call in calls.into_iter().rev() {
            if call.is_pinned() {
                call.fail(Event::Failed);
            } else if !matches!(call.place(), Place::Complete { .. } | Place::Over) {
                call.set_place(Place::Queued);
                self.queue.borrow_mut().push_front(call);
            }
        }
    }

    /// What worker `number` said.
    ///
    /// # Errors
    /// When it may not say that: nothing that it says is taken any more then.
    fn message(self: &Rc<Self>, number: u32, message: Message) -> Result<(), Violation> {
        if self.has_deadlines() {
            self.workers.borrow_mut().change(number, Worker::heard);
        }
        match message {
            Message::Informational(id, head, size) => {
                let cost = interim_cost(size);
                let state = self.advance(number, id, |progress| progress.interim(id, cost))?;
                self.costly(number, id, &state, Event::Informational(head), cost);
            }
            Message::Trailers(id, fields, size) => {
                let cost = interim_cost(size);
                let state = self.advance(number, id, |progress| progress.trailers(id, cost))?;
                self.costly(number, id, &state, Event::Trailers(fields), cost);
            }
            Message::Head(id, head, length) => {
                let state = self.advance(number, id, |progress| progress.head(id))?;
                if state.is_read() {
                    state.tell(Event::Head(head, length));
                }
            }
            Message::Chunk(id, content) => self.chunk(number, id, content)?,
            Message::File(id, file, offset, length) => {
                let state = self.advance(number, id, |progress| progress.content(id, FILE_COST))?;
                let slice = FileSlice::new(Arc::new(file.into()), offset, length);
                self.costly(number, id, &state, Event::File(slice), FILE_COST);
            }
            Message::LostFile(id) => {
                let state = self.advance(number, id, |progress| progress.content(id, FILE_COST))?;
                limited!(
                    Error,
                    "a response is cut: no descriptor is left for its file"
                );
                state.finish(Event::Failed);
                self.let_go(&state, number, id);
            }
            Message::Take(id) => self.take(number, id)?,
            Message::Verdict(id, good) => self.verdict(number, id, good)?,
            Message::End(id) => self.finish(number, id, true)?,
            Message::Abort(id) => self.finish(number, id, false)?,
            Message::Idle => self.ready(number)?,
            Message::Leaving => {
                let left = self.workers.borrow_mut().change(number, Worker::leaves);
                left.unwrap_or(Ok(()))?;
                self.worker_leaves(number);
                self.report(Report::Leaving(number));
            }
            Message::Wake => {
                let wakes = self.workers.borrow_mut().change(number, |worker| {
                    let _ = worker.end.send_wake();
                    worker.wakes()
                });
                wakes.unwrap_or(Ok(()))?;
            }
        }
        Ok(())
    }

    /// Worker `number` has sent another part of response `id`: `step` judges whether it may come now.
    fn advance(
        &self,
        number: u32,
        id: u64,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<Rc<InFlight>, Violation> {
        let workers = self.workers.borrow();
        let worker = workers.get(number).ok_or(Violation::NotOpen(id))?;
        worker.advance(id, step).map(Rc::clone)
    }

    /// The app of worker `number` wants the client's socket.
    fn take(&self, number: u32, id: u64) -> Result<(), Violation> {
        let state = self.advance(number, id, |progress| {
            progress.take();
            Ok(())
        })?;
        if !state.is_read() {
            self.reply(number, id, None);
        } else if !state.ask() {
            return Err(Violation::SecondTake(id));
        }
        Ok(())
    }

    /// Worker `number` is ready for a call.
    fn ready(self: &Rc<Self>, number: u32) -> Result<(), Violation> {
        self.load_window.call_over();
        let now = now();
        let mut workers = self.workers.borrow_mut();
        let ready = workers.change(number, |worker| (worker.ready(now), worker.is_starved()));
        self.load_window.idle(workers.idle());
        drop(workers);
        let Some((loaded, starved)) = ready else {
            return Ok(());
        };
        if loaded? {
            self.watch_load();
        }
        if starved {
            limited!(
                Warn,
                "worker {number}: its app keeps {SLOTS} writers, so that it can take no request"
            );
        }
        self.distribute(now);
        Ok(())
    }

    /// Worker `number` has ended a response: it is complete, or never will be.
    fn finish(self: &Rc<Self>, number: u32, id: u64, complete: bool) -> Result<(), Violation> {
        let closed = self.workers.borrow_mut().change(number, |worker| {
            let starved = worker.is_starved();
            let state = worker.close(id, self.timed.get(), |progress| match complete {
                true => progress.end(id),
                false => Ok(()),
            });
            (state, starved)
        });
        let Some((state, starved)) = closed else {
            return Ok(());
        };
        state?.finish(match complete {
            true => Event::End,
            false => Event::Failed,
        });
        if starved {
            self.distribute(now());
        }
        Ok(())
    }

    fn reply(&self, number: u32, id: u64, socket: Option<OwnedFd>) {
        if let Some(worker) = self.workers.borrow().get(number) {
            let _ = worker.end.send_reply(id, socket);
        }
    }

    /// Reports to the receiver. If there is none any more, the core is ending.
    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// Worker `number` takes no more calls: what it has not claimed goes to the front of the queue.
    fn worker_leaves(self: &Rc<Self>, number: u32) {
        let taken = self.workers.borrow_mut().change(number, Worker::retire);
        self.requeue(taken.unwrap_or_default());
        self.distribute(now());
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
    fn let_go(&self, state: &InFlight, number: u32, id: u64) {
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
    fn withdraw(self: &Rc<Self>, call: &Call) -> Option<(u32, u64)> {
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
