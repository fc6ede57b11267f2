//! Which worker runs which request: any idle worker, else a quick one ahead of its time, else one queue for all, in which clients
//! take turns.
//!
//! [`distribution`] decides that, [`messages`] takes what workers say, [`receive`] reads it from their channels. The clients' side is
//! in [`exchange`]: calls are submitted and withdrawn.
//!
//! Knows no Perl, no HTTP wire and no sockets but the channels. One thread: cells, no locks.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;

use self::changes::Changes;
use self::clock::now;
use self::deadline::Deadlines;
use self::fair_queue::FairQueue;
use self::load::LoadWindow;
use self::memory::Memory;
use self::readers::Readers;
use self::spare::Spare;
use self::verify::Accepted;
use self::worker::{Stage, Worker};
use self::workers::Workers;
use crate::channel::claim::SLOTS;
use crate::channel::core_end::CoreEnd;
use crate::semantics::message::Timestamp;
use crate::spool::Room;

mod backlog;
mod call;
mod changes;
mod clock;
mod credit;
mod deadline;
mod distribution;
mod event;
mod exchange;
mod fair_queue;
mod flow;
mod generation;
mod in_flight;
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
mod settings;
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
pub use self::settings::Settings;

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
    /// The watch over event loops is running.
    asking: Cell<bool>,
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
    /// Whether the times of responses are kept.
    timed: Cell<bool>,
}

impl Dispatch {
    /// Without workers yet. Responses that their clients take too slowly wait in `room`; `reports` gets what becomes of workers.
    pub fn new(settings: Settings, room: Rc<Room>, reports: UnboundedSender<Report>) -> Self {
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
            asking: Cell::new(false),
            auditing: Cell::new(false),
            stopped: Cell::new(false),
            deserted: Cell::new(false),
            memory: Memory::of_all(),
            room,
            readers: Readers::default(),
            spare: Spare::default(),
            timed: Cell::new(false),
        }
    }

    /// Whether [`Witness::call`] tells when responses were complete.
    pub fn keep_times(&self, keep: bool) {
        self.timed.set(keep);
    }

    /// Workers that come, work, rest and go.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// What the requests of a connection share that may carry several at a time.
    pub fn flow(&self) -> Flow {
        Flow::new(&self.memory)
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
        let most = self.settings.worker_requests.unwrap_or(SLOTS);
        let worker = Worker::new(pid, end, stage, most);
        self.workers.borrow_mut().insert(number, worker);
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
}
