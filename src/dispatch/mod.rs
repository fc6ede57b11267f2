//! Which worker runs which request: any idle worker, else a quick one ahead of its time, else one queue for all, in which clients
//! take turns.
//!
//! [`distribution`] decides that, [`messages`] takes what workers say, [`receive`] reads it from their channels. The clients' side is
//! here: calls are submitted and withdrawn.
//!
//! Knows no Perl, no HTTP wire and no sockets but the channels. One thread: cells, no locks.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

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
use self::worker::{Stage, Worker};
use self::workers::Workers;
use crate::channel::CREDIT;
use crate::channel::core_end::CoreEnd;
use crate::scoreboard::Board;
use crate::semantics::message::{Request, Timestamp};
use crate::spool::Room;

mod backlog;
mod call;
mod changes;
mod credit;
mod deadline;
mod distribution;
mod event;
mod exchange;
mod fair_queue;
mod flow;
mod generation;
mod load;
mod lost;
mod memory;
mod messages;
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

    /// Reports to the receiver. If there is none any more, the core is ending.
    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
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
