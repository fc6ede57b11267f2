//! Distribution: which worker gets which call, and which calls are taken back for others.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::call::Call;
use super::event::Event;
use super::in_flight::Place;
use super::worker::UNCLAIMED;
use super::{Dispatch, now};

/// The longest interval at which the core looks again at a call that no worker begins.
const LONGEST_LOOK: Duration = Duration::from_millis(50);

impl Dispatch {
    /// Sends a new call to a worker, or queues it.
    pub(super) fn admit_call(self: &Rc<Self>, call: Call, now: Instant) {
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
                self.watch_loops();
                self.watch();
                self.audit();
            }
            // Dead or dying; the master will tell. The call was never sent whole.
            Some(Err(_)) | None => self.queue.borrow_mut().push_front(call),
        }
    }

    /// Sends calls that wait to idle workers, then some to quick ones that are busy.
    pub(super) fn distribute(self: &Rc<Self>, now: Instant) {
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
        let idle = match self.settings.worker_requests {
            None => workers.next_idle(),
            Some(_) => workers.idle_with_fewest_open(),
        };
        idle.or_else(|| {
            let may_wait = call.may_wait_at_worker();
            may_wait.then(|| workers.least_loaded(now)).flatten()
        })
    }

    /// Calls that wait: in the queue, or at busy workers.
    pub(super) fn waiting(&self) -> usize {
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
    pub(super) fn requeue(&self, calls: Vec<Call>) {
        for call in calls.into_iter().rev() {
            if call.is_pinned() {
                call.fail(Event::Failed);
            } else if !matches!(call.place(), Place::Complete { .. } | Place::Over) {
                call.set_place(Place::Queued);
                self.queue.borrow_mut().push_front(call);
            }
        }
    }
}
