//! How long requests wait for a worker, and how many may: what is too much is told at once, not when it is too late.

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::exchange::{Event, InFlight};
use super::{Dispatch, Place};

/// An overload is told once in this time.
const QUIET: Duration = Duration::from_secs(60);

impl Dispatch {
    /// Puts a new request behind the others, unless there are too many.
    pub(super) fn enqueue(&self, state: &Rc<InFlight>) {
        let mut queue = self.queue.borrow_mut();
        if self
            .settings
            .queue
            .is_some_and(|most| queue.len() >= most && self.idle.borrow().is_empty())
        {
            self.tell_overload("too many requests wait for a worker");
            state.finish(Event::Overloaded);
        } else {
            queue.push_back(Rc::clone(state));
        }
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

    /// How long the request may wait that is next to have waited too long; nothing when none waits.
    fn refuse_late(&self, longest: Duration) -> Option<Duration> {
        loop {
            // In the order in which they came: what was handed back stands before what is newer.
            let mut queue = self.queue.borrow_mut();
            let waited = queue.front()?.submitted.elapsed();
            if let Some(left) = longest.checked_sub(waited).filter(|left| !left.is_zero()) {
                return Some(left);
            }
            let state = queue.pop_front()?;
            drop(queue);
            debug_assert!(state.place.get() == Place::Queued);
            self.waited(&state, Instant::now());
            self.show_queue();
            self.tell_overload("a request has waited too long for a worker");
            state.finish(Event::Overloaded);
        }
    }

    /// A request waits no more, from this time on.
    pub(super) fn waited(&self, state: &InFlight, until: Instant) {
        if let Some(board) = &self.settings.board {
            let wait = until.saturating_duration_since(state.submitted);
            board.waited(state.request.finished, wait);
        }
    }

    /// Shows how many requests wait, and since when.
    pub(super) fn show_queue(&self) {
        if let Some(board) = &self.settings.board {
            let queue = self.queue.borrow();
            let first = queue.front().map(|state| state.request.finished);
            board.queued(queue.len(), first);
        }
    }

    fn tell_overload(&self, what: &str) {
        let now = Instant::now();
        let told = self.overload_told.get();
        if told.is_none_or(|told| now.duration_since(told) >= QUIET) {
            self.overload_told.set(Some(now));
            ::log::warn!("{what}: 503 until there are fewer");
        }
    }
}
