//! Calls that take too long (`request_timeout`, and the time for a verdict on a certificate): they end, and their workers are
//! given up.
//!
//! A worker is judged by the call being served alone. Its time runs from the beginning of the call, and again from each part of
//! the response. It does not run while the worker waits for its client, while the app has the client's socket, nor after the
//! worker has ended the response.

use std::rc::Rc;
use std::time::Instant;

use tokio::task::spawn_local;

use super::Dispatch;
use super::call::Call;
use super::event::Event;
use super::exchange::Place;
use super::report::Report;
use super::worker::{Stage, Worker};

impl Dispatch {
    /// Looks after calls as long as there are any whose time is limited.
    pub(super) fn watch_calls(self: &Rc<Self>, call: &Call) {
        if call.timeout(&self.settings).is_none() || self.timing.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while let Some(due) = dispatch.next_due() {
                tokio::time::sleep_until(due.into()).await;
                for number in dispatch.overdue() {
                    dispatch.give_up(number);
                }
            }
            dispatch.timing.set(false);
        });
    }

    /// When the call of this worker is to be looked at.
    fn due(&self, worker: &Worker, now: Instant) -> Option<Instant> {
        let timeout = worker.first()?.timeout(&self.settings)?;
        (worker.stage != Stage::Hung).then(|| worker.due(timeout, now))?
    }

    fn next_due(&self) -> Option<Instant> {
        let now = super::now();
        let workers = self.workers.borrow();
        let dues = workers.iter().filter_map(|(_, w)| self.due(w, now));
        dues.min()
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
