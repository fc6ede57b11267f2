//! Calls that take too long (`request_timeout`, and the time for a verdict on a certificate): they end, and their workers are
//! given up.
//!
//! A worker with an event loop is asked whether that turns, as long as it holds calls: it owes the answer within the same time.
//!
//! Else a worker is judged by the call being served alone. Its time runs from the beginning of the call, and again from each part of
//! the response. It does not run while the worker waits for its client, while the app has the client's socket, nor after the
//! worker has ended the response.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::Dispatch;
use super::call::Call;
use super::event::Event;
use super::in_flight::Place;
use super::report::Report;
use super::worker::{Stage, Worker};

/// How often a worker with an event loop is asked whether that turns.
const ASK: Duration = Duration::from_millis(500);

/// The watch over calls whose time is limited.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// When it looks at them next; none while there are no such calls.
    next_look: Cell<Option<Instant>>,
    /// It is to look before that.
    sooner: Notify,
}

impl Dispatch {
    /// Looks after event loops of workers that hold calls.
    pub(super) fn watch_loops(self: &Rc<Self>) {
        let Some(timeout) = self.settings.request_timeout else {
            return;
        };
        if self.settings.worker_requests.is_none() || self.asking.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while dispatch.workers.borrow().hold_calls() {
                tokio::time::sleep(ASK).await;
                let now = super::now();
                dispatch.workers.borrow_mut().ask(now);
                dispatch.look_at(now + timeout);
            }
            dispatch.asking.set(false);
        });
    }

    /// Looks after calls as long as there are any whose time is limited. This one was sent to a worker `now`.
    pub(super) fn watch_calls(self: &Rc<Self>, call: &Call, now: Instant) {
        if let Some(timeout) = call.timeout(&self.settings) {
            self.look_at(now + timeout);
        }
    }

    /// Looks for what is due, at this time or before.
    fn look_at(self: &Rc<Self>, due: Instant) {
        if let Some(look) = self.deadlines.next_look.get() {
            if due < look {
                self.deadlines.sooner.notify_one();
            }
            return;
        }
        self.deadlines.next_look.set(Some(due));
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while let Some(look) = dispatch.next_look() {
                dispatch.deadlines.next_look.set(Some(look));
                tokio::select! {
                    () = tokio::time::sleep_until(look.into()) => {}
                    () = dispatch.deadlines.sooner.notified() => {}
                }
                for number in dispatch.overdue() {
                    dispatch.give_up(number);
                }
            }
            dispatch.deadlines.next_look.set(None);
        });
    }

    /// Whether the time of some call is limited.
    pub(super) fn has_deadlines(&self) -> bool {
        self.deadlines.next_look.get().is_some()
    }

    /// When the call of this worker is to be looked at.
    fn due(&self, worker: &Worker, now: Instant) -> Option<Instant> {
        if worker.stage == Stage::Hung {
            return None;
        }
        let first = || {
            let timeout = worker.first()?.timeout(&self.settings)?;
            worker.due(timeout, now)
        };
        let turn = || Some(worker.asked()? + self.settings.request_timeout?);
        first().into_iter().chain(turn()).min()
    }

    /// When the next call may be due: one that is being served, or one that waits for it and is served at once.
    fn next_look(&self) -> Option<Instant> {
        let now = super::now();
        let workers = self.workers.borrow();
        let looks = workers.iter().filter(|(_, w)| w.stage != Stage::Hung);
        let looks = looks.flat_map(|(_, worker)| {
            let waiting = worker.waiting_calls();
            let waiting = waiting.filter_map(|call| Some(now + call.timeout(&self.settings)?));
            self.due(worker, now).into_iter().chain(waiting)
        });
        looks.min()
    }

    fn overdue(&self) -> Vec<u32> {
        let now = super::now();
        let workers = self.workers.borrow();
        workers
            .iter()
            .filter(|(_, worker)| self.due(worker, now).is_some_and(|due| due <= now))
            .map(|(number, _)| number)
            .collect()
    }

    /// Worker `number` makes no progress: its call ends, what it has not claimed goes to others, and the master is notified. A
    /// client whose certificate it should judge is turned away, since another worker would hang as well.
    fn give_up(self: &Rc<Self>, number: u32) {
        let call = self.workers.borrow_mut().change(number, |worker| {
            worker.stage = Stage::Hung;
            worker.first().cloned()
        });
        let Some(call) = call.flatten() else {
            // Its event loop does not turn, and no call is being served. Those that are open fail when it is dead.
            self.worker_leaves(number);
            let call = "request_timeout: the event loop does not turn".to_owned();
            self.report(Report::Hung { number, call });
            return;
        };
        if let Call::Verify(_) = call {
            call.fail(Event::TimedOut);
        }
        self.worker_leaves(number);
        // A request that it had not even claimed is another worker's by now.
        if matches!(call.place(), Place::Worker { number: at, .. } if at == number) {
            call.fail(Event::TimedOut);
        }
        let call = call.describe();
        self.report(Report::Hung { number, call });
    }
}
