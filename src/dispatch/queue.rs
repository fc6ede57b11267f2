//! Calls that wait for a worker: how many may, and how long. What is too much is answered at once.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::Dispatch;
use super::call::Call;
use super::event::Event;
use super::in_flight::InFlight;
use crate::log::limited;
use crate::scoreboard::refusals::Refusal;

impl Dispatch {
    /// Whether one more request may wait, if no worker is idle; `fits`: there is memory for it.
    pub(super) fn has_place(&self, fits: bool) -> bool {
        if self.workers.borrow().idle() > 0 {
            return true;
        }
        if self
            .settings
            .queue
            .is_some_and(|most| self.waiting() >= most)
        {
            self.overloaded();
            limited!(
                Warn,
                "too many requests wait for a worker: 503 until there are fewer"
            );
            return false;
        }
        if !fits {
            self.overloaded();
            limited!(
                Warn,
                "requests that wait for a worker have taken their memory: 503 to the largest"
            );
        }
        fits
    }

    /// While requests wait: answers those that have waited too long.
    pub(super) fn watch_queue(self: &Rc<Self>) {
        let Some(longest) = self.settings.queue_time else {
            return;
        };
        if self.queue_watched.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while let Some(wait) = dispatch.refuse_late(longest) {
                tokio::time::sleep(wait).await;
            }
            dispatch.queue_watched.set(false);
        });
    }

    /// Refuses requests that have waited too long. Returns when to look again; `None` when no request waits.
    fn refuse_late(&self, longest: Duration) -> Option<Duration> {
        let now = super::now();
        let before = now.checked_sub(longest)?;
        let mut late = self.queue.borrow_mut().take_submitted_before(before);
        late.extend(self.workers.borrow_mut().take_submitted_before(before));
        for state in late {
            self.waited(&state, now);
            self.overloaded();
            limited!(
                Warn,
                "a request has waited too long for a worker: 503 until there are fewer"
            );
            state.finish(Event::Overloaded);
        }
        self.show_queue();
        let (mut queue, workers) = (self.queue.borrow_mut(), self.workers.borrow());
        let queued = queue.oldest_request().map(|state| state.submitted);
        let at_worker = workers.oldest_waiting().map(Call::submitted);
        let oldest = queued.into_iter().chain(at_worker).min()?;
        // A request that its worker has just claimed is late and not to be taken back.
        let left = (oldest + longest).saturating_duration_since(now);
        Some(left.max(Duration::from_millis(1)))
    }

    /// A request waits no more, from this time on.
    pub(super) fn waited(&self, state: &InFlight, until: Instant) {
        if let Some(board) = &self.settings.board {
            let wait = until.saturating_duration_since(state.submitted);
            board.waited(state.request.finished, wait);
        }
    }

    /// Shows how many calls wait, and since when the first request does.
    pub(super) fn show_queue(&self) {
        if let Some(board) = &self.settings.board {
            let (mut queue, at_workers) =
                (self.queue.borrow_mut(), self.workers.borrow().waiting());
            let queued = queue.oldest_request().map(|state| state.request.finished);
            let first = match at_workers {
                0 => queued,
                _ => self.oldest_at_worker.get().or(queued),
            };
            board.queued(queue.len() + at_workers, first);
        }
    }

    /// Notes since when the first request waits at a worker. A look at all workers for each call would cost more than it
    /// tells: a call waits there for a few milliseconds.
    pub(super) fn note_oldest(&self) {
        let workers = self.workers.borrow();
        self.oldest_at_worker.set(match workers.oldest_waiting() {
            Some(Call::Request(state)) => Some(state.request.finished),
            Some(Call::Verify(_)) | None => None,
        });
    }

    /// A request is answered with 503, because too many wait.
    fn overloaded(&self) {
        if let Some(board) = &self.settings.board {
            board.counts(Refusal::Request);
        }
    }
}
