//! Calls of the app that take too long (`request_timeout`): their requests are given up, and their workers; so are workers
//! that give no verdict on a certificate.
//!
//! A worker is judged by the call in work alone. Its time runs from the call's begin, and again from each part of the
//! response; it does not while the worker waits for its client, while the app has the client's socket, nor behind the response.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::Dispatch;
use super::exchange::{Event, Place};
use super::report::Report;
use super::worker::Worker;

impl Worker {
    /// When its call in work is to be looked at; nothing where there is none.
    fn due(&self, timeout: Duration, now: Instant) -> Option<Instant> {
        let &id = self.held.front()?;
        let judged = self.open.get(id).is_some_and(|state| !state.is_excused());
        let from = if judged {
            self.since.max(self.progress)
        } else {
            now
        };
        Some(from + timeout)
    }
}

impl Dispatch {
    /// Looks after calls as long as there are any.
    pub(super) fn watch_calls(self: &Rc<Self>) {
        let Some(timeout) = self.settings.request_timeout else {
            return;
        };
        if self.timing.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while let Some(due) = dispatch.next_due(timeout) {
                tokio::time::sleep_until(due.into()).await;
                for number in dispatch.overdue(timeout) {
                    dispatch.give_up(number);
                }
            }
            dispatch.timing.set(false);
        });
    }

    fn next_due(&self, timeout: Duration) -> Option<Instant> {
        let now = Instant::now();
        let workers = self.workers.borrow();
        let judged = workers.values().filter(|worker| !worker.hung);
        judged.filter_map(|worker| worker.due(timeout, now)).min()
    }

    fn overdue(&self, timeout: Duration) -> Vec<u32> {
        let now = Instant::now();
        let workers = self.workers.borrow();
        let judged = workers.iter().filter(|(_, worker)| !worker.hung);
        judged
            .filter(|(_, worker)| worker.due(timeout, now).is_some_and(|due| due <= now))
            .map(|(&number, _)| number)
            .collect()
    }

    /// Gives worker `number` up where it has not answered question `id` in time.
    pub(super) fn watch_question(self: &Rc<Self>, number: u32, id: u64) {
        let Some(timeout) = self.settings.verify_timeout else {
            return;
        };
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            tokio::time::sleep(timeout).await;
            let workers = dispatch.workers.borrow();
            let unanswered = workers
                .get(&number)
                .is_some_and(|w| w.is_asked(id) && !w.hung);
            drop(workers);
            if unanswered {
                dispatch.give_up(number);
            }
        });
    }

    /// Worker `number` makes no progress: its request or question ends, what it has not claimed goes to others, and the master
    /// hears of it.
    fn give_up(self: &Rc<Self>, number: u32) {
        let (id, hung, question) = {
            let mut workers = self.workers.borrow_mut();
            let Some(worker) = workers.get_mut(&number) else {
                return;
            };
            worker.hung = true;
            let id = worker.held.front().copied();
            let hung = id.and_then(|id| worker.open.get(id).map(Rc::clone));
            (id, hung, worker.unanswered())
        };
        self.worker_leaves(number);
        // Its client is turned away: another worker would hang as well.
        if question.is_some() {
            let call = "ssl_verify_callback".to_owned();
            self.report(Report::Hung { number, call });
            return;
        }
        let (Some(id), Some(hung)) = (id, hung) else {
            return;
        };
        let head = &hung.request.head;
        let call = format!(
            "request_timeout: {} {}",
            head.method().escape_ascii(),
            head.target().escape_ascii()
        );
        // One that it had not even claimed is another's by now.
        if hung.place.get() == (Place::Worker { number, id }) {
            hung.finish(Event::TimedOut);
        }
        self.report(Report::Hung { number, call });
    }
}
