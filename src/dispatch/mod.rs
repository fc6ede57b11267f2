//! Which worker runs which request: any idle worker, else a quick one ahead of its time, else one queue for all.
//!
//! Knows no Perl, no HTTP wire and no sockets but the channels. One thread: cells, no locks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_local;

use self::backlog::Backlog;
use self::changes::Changes;
use self::exchange::{InFlight, Place};
use self::load::Marks;
use self::verify::{Question, Taken};
use self::worker::{Worker, may_go_ahead};
use crate::channel::CREDIT;
use crate::channel::claim::SLOTS;
use crate::channel::core_end::CoreEnd;
use crate::channel::message::Message;
use crate::scoreboard::Board;
use crate::semantics::message::Request;
use crate::spool::Room;

mod backlog;
mod changes;
mod credit;
mod deadline;
mod exchange;
mod generation;
mod load;
mod queue;
mod report;
mod verify;
mod worker;

pub use self::exchange::{Event, Exchange, FileSlice, Piece, Witness};
pub use self::report::{Load, Report};

/// How often the watch looks for calls that take long.
const TICK: Duration = Duration::from_millis(1);

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
}

/// The workers and the requests that wait for one.
#[derive(Debug)]
pub struct Dispatch {
    settings: Settings,
    /// Who hears of the workers.
    reports: UnboundedSender<Report>,
    workers: RefCell<BTreeMap<u32, Worker>>,
    /// The workers that can take a request, the one that was busy last on top: its caches are warm.
    idle: RefCell<Vec<u32>>,
    queue: RefCell<VecDeque<Rc<InFlight>>>,
    /// Clients' certificates that wait for the app's verdict.
    questions: RefCell<VecDeque<Question>>,
    /// Certificates that the app has taken.
    taken: RefCell<Taken>,
    marks: Marks,
    changes: Changes,
    /// The watch over requests that wait is running.
    queue_watched: Cell<bool>,
    overload_told: Cell<Option<Instant>>,
    /// The watch over requests that were sent ahead is running.
    watching: Cell<bool>,
    /// The watch over calls that take too long is running.
    timing: Cell<bool>,
    /// Workers were told to leave; new ones are told so at once.
    stopped: Cell<bool>,
    /// No worker will come any more.
    deserted: Cell<bool>,
    /// Memory that responses hold.
    memory: Rc<Cell<u64>>,
    /// Where responses wait that are too large for memory.
    room: Rc<Room>,
    /// Whether times are kept for the access log.
    timed: bool,
}

impl Dispatch {
    /// Without workers yet. Responses that their clients take too slowly wait in `room`; `reports` is told of workers.
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
            idle: RefCell::default(),
            queue: RefCell::default(),
            questions: RefCell::default(),
            taken: RefCell::default(),
            marks: Marks::default(),
            changes: Changes::default(),
            queue_watched: Cell::new(false),
            overload_told: Cell::new(None),
            watching: Cell::new(false),
            timing: Cell::new(false),
            stopped: Cell::new(false),
            deserted: Cell::new(false),
            memory: Rc::default(),
            room,
            timed,
        }
    }

    /// Workers that come, work, rest and go.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Hands a request to an idle worker, or queues it.
    pub fn submit(self: &Rc<Self>, request: Request) -> Exchange {
        let backlog = Backlog::new(&self.memory, &self.room);
        let state = Rc::new(InFlight::new(request, backlog));
        if self.deserted.get() {
            state.finish(Event::Failed);
        } else {
            if let Some(board) = &self.settings.board {
                board.submitted();
            }
            self.enqueue(&state);
            self.stir();
            self.match_up();
        }
        Exchange {
            state,
            dispatch: Rc::clone(self),
        }
    }

    /// A new worker: it gets requests when it says that it is idle, and is no candidate.
    pub fn add_worker(&self, number: u32, pid: i32, end: Rc<CoreEnd>, candidate: bool) {
        if self.stopped.get() {
            let _ = end.send_stop();
        }
        self.changes.note();
        let worker = Worker::new(pid, end, !candidate);
        self.workers.borrow_mut().insert(number, worker);
    }

    /// Tells all workers to leave when they are done.
    pub fn stop_workers(&self) {
        self.stopped.set(true);
        for worker in self.workers.borrow().values() {
            // A broken channel belongs to a worker that is leaving already.
            let _ = worker.end.send_stop();
        }
    }

    /// The last worker is gone, and none will come: requests that wait for one fail, now and later.
    pub fn no_workers(&self) {
        self.deserted.set(true);
        for state in self.queue.borrow_mut().drain(..) {
            state.finish(Event::Failed);
        }
        self.show_queue();
        self.questions.borrow_mut().clear();
    }

    fn match_up(self: &Rc<Self>) {
        self.changes.note();
        self.ask();
        self.send_queued();
        self.marks.waiting(self.queue.borrow().len());
        self.show_queue();
    }

    /// Sends queued requests to idle workers, then some ahead to quick ones.
    fn send_queued(self: &Rc<Self>) {
        loop {
            let Some(state) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            let idle = self.idle.borrow_mut().pop();
            self.marks.idle(self.idle.borrow().len());
            let Some(number) = idle.or_else(|| self.least_loaded(&state)) else {
                self.queue.borrow_mut().push_front(state);
                self.watch_queue();
                return;
            };
            let mut workers = self.workers.borrow_mut();
            let sent = workers.get_mut(&number).map(|worker| worker.send(&state));
            match sent {
                Some(Ok(id)) => {
                    state.place.set(Place::Worker { number, id });
                    self.watch_calls();
                    let begun = workers.get(&number).and_then(Worker::only_call);
                    drop(workers);
                    self.waited(&state, begun.unwrap_or_else(Instant::now));
                    if begun.is_none() {
                        self.watch();
                    }
                }
                // Dead or dying; the master will tell. The request was never sent whole.
                Some(Err(_)) | None => self.queue.borrow_mut().push_front(state),
            }
        }
    }

    /// The worker that holds least among those that may be sent a request ahead.
    fn least_loaded(&self, state: &InFlight) -> Option<u32> {
        if !may_go_ahead(state) {
            return None;
        }
        let workers = self.workers.borrow();
        let loads = workers
            .iter()
            .filter_map(|(&number, worker)| Some((worker.load()?, number)));
        loads.min().map(|(_, number)| number)
    }

    /// While some worker holds requests ahead: takes them back from a call that takes long.
    fn watch(self: &Rc<Self>) {
        if self.watching.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while dispatch.workers.borrow().values().any(Worker::has_ahead) {
                tokio::time::sleep(TICK).await;
                dispatch.take_back();
            }
            dispatch.watching.set(false);
        });
    }

    fn take_back(self: &Rc<Self>) {
        let now = Instant::now();
        let mut taken = Vec::new();
        for worker in self.workers.borrow_mut().values_mut() {
            if worker.has_ahead() {
                worker.end.look();
                taken.extend(worker.take_back(now));
            }
        }
        for state in taken {
            self.requeue(state);
        }
        self.match_up();
    }

    /// Puts a request that was not run to the front, unless its client has left.
    fn requeue(&self, state: Rc<InFlight>) {
        if state.is_pinned() {
            state.finish(Event::Failed);
        } else if state.place.get() != Place::Over {
            state.place.set(Place::Queued);
            self.queue.borrow_mut().push_front(state);
        }
    }

    /// What worker `number` said.
    pub fn message(self: &Rc<Self>, number: u32, message: Message) {
        if self.settings.request_timeout.is_some()
            && let Some(worker) = self.workers.borrow_mut().get_mut(&number)
        {
            worker.heard();
        }
        match message {
            Message::Informational(id, head) => self.tell(number, id, Event::Informational(head)),
            Message::Head(id, head, length) => self.tell(number, id, Event::Head(head, length)),
            Message::Chunk(id, content) => self.chunk(number, id, content),
            Message::File(id, file, offset, length) => {
                let file = Arc::new(file.into());
                let slice = FileSlice {
                    file,
                    offset,
                    length,
                    _held: None,
                };
                self.tell(number, id, Event::File(slice));
            }
            Message::Take(id) => match self.open(number, id) {
                Some(state) if state.place.get() != Place::Over => state.ask(),
                _ => self.reply(number, id, None),
            },
            Message::Verdict(id, good) => self.verdict(number, id, good),
            Message::End(id) => self.finish(number, id, Event::End),
            Message::Abort(id) => self.finish(number, id, Event::Failed),
            Message::Idle => {
                self.marks.call_over();
                let first = match self.workers.borrow_mut().get_mut(&number) {
                    Some(worker) => worker.call_over(),
                    None => false,
                };
                if first {
                    self.stir();
                }
                self.look_at(number);
                self.match_up();
            }
            Message::Leaving => {
                self.worker_leaves(number);
                self.report(Report::Leaving(number));
            }
            Message::Wake => {
                if let Some(worker) = self.workers.borrow().get(&number) {
                    let _ = worker.end.send_wake();
                }
            }
        }
    }

    /// Worker `number` has ended a call, or a response.
    fn look_at(&self, number: u32) {
        let workers = self.workers.borrow();
        let Some(worker) = workers.get(&number).filter(|worker| worker.is_idle()) else {
            return;
        };
        if worker.is_starved() {
            ::log::warn!(
                "worker {number}: its app keeps {SLOTS} writers, so that it can take no request"
            );
        } else if !self.idle.borrow().contains(&number) {
            let mut idle = self.idle.borrow_mut();
            idle.push(number);
            self.marks.idle(idle.len());
        }
    }

    fn open(&self, number: u32, id: u64) -> Option<Rc<InFlight>> {
        self.workers
            .borrow()
            .get(&number)?
            .open
            .get(id)
            .map(Rc::clone)
    }

    fn tell(&self, number: u32, id: u64, event: Event) {
        if let Some(state) = self.open(number, id) {
            state.tell(event);
        }
    }

    fn finish(self: &Rc<Self>, number: u32, id: u64, event: Event) {
        let mut workers = self.workers.borrow_mut();
        let Some(worker) = workers.get_mut(&number) else {
            return;
        };
        let was_starved = worker.is_starved();
        worker.end.claims().free(id);
        let state = worker.close(id, self.timed);
        drop(workers);
        if let Some(state) = state {
            state.finish(event);
        }
        if was_starved {
            self.look_at(number);
            self.match_up();
        }
    }

    fn reply(&self, number: u32, id: u64, socket: Option<OwnedFd>) {
        if let Some(worker) = self.workers.borrow().get(&number) {
            let _ = worker.end.send_reply(id, socket);
        }
    }

    /// Tells whoever looks after the workers. Without anybody there, the core ends.
    fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// Worker `number` takes no request any more: what it has not claimed goes to the front of the queue.
    fn worker_leaves(self: &Rc<Self>, number: u32) {
        self.idle.borrow_mut().retain(|&idle| idle != number);
        let taken = match self.workers.borrow_mut().get_mut(&number) {
            Some(worker) => worker.retire(),
            None => return,
        };
        for state in taken {
            self.requeue(state);
        }
        self.match_up();
    }

    /// Worker `number` is dead, as waitpid told the master. What it had sent is taken; what it had not
    /// claimed was not run and goes back to the front of the queue; what it had claimed has failed.
    pub fn worker_died(self: &Rc<Self>, number: u32) {
        let Some(end) = self
            .workers
            .borrow()
            .get(&number)
            .map(|worker| Rc::clone(&worker.end))
        else {
            return;
        };
        loop {
            match end.next_sent() {
                Ok(Some(message)) => self.message(number, message),
                Ok(None) => break,
                Err(error) => {
                    ::log::error!("worker {number}: {error}");
                    break;
                }
            }
        }
        // A child that the app forked may hold the other end open.
        end.close();
        self.idle.borrow_mut().retain(|&idle| idle != number);
        let Some(mut worker) = self.workers.borrow_mut().remove(&number) else {
            return;
        };
        let question = worker.unanswered();
        let left = worker.open.take().rev();
        for (id, state) in left {
            if end.claims().is_claimed(id) {
                state.finish(Event::Failed);
            } else {
                self.requeue(state);
            }
        }
        if let Some(question) = question {
            self.questions.borrow_mut().push_front(question);
        }
        self.match_up();
    }

    /// Nobody waits for this response any more.
    fn client_gone(self: &Rc<Self>, state: &Rc<InFlight>) {
        match state.place.replace(Place::Over) {
            Place::Queued => {
                let mut queue = self.queue.borrow_mut();
                queue.retain(|queued| !Rc::ptr_eq(queued, state));
                drop(queue);
                self.show_queue();
            }
            Place::Worker { number, id } => {
                let mut workers = self.workers.borrow_mut();
                let revoked = workers.get_mut(&number).is_some_and(|worker| {
                    let revoked = worker.revoke(id);
                    if revoked {
                        worker.open.remove(id);
                    } else {
                        worker.end.claims().set_gone(id);
                    }
                    revoked
                });
                drop(workers);
                if revoked {
                    // The worker has no call whose end it could report: it is idle from now on.
                    self.look_at(number);
                    self.match_up();
                }
                // Whoever waits for credit hears of it.
                self.give_credit(number, id, CREDIT);
                if state.answer() {
                    self.reply(number, id, None);
                }
                // What came in and was not taken.
                state.forget_parts();
            }
            Place::Over => {}
        }
    }
}
