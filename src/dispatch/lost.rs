//! Workers that are lost: they have died, or have broken the rules of their channels. What they had begun fails, and what they had
//! not claimed goes to others.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::event::Event;
use super::report::Report;
use super::worker::{LostCall, Worker};
use super::{Dispatch, now};
use crate::channel::core_end::CoreEnd;
use crate::channel::violation::{ChannelError, Violation};

/// How often the core looks at what a worker that has calls could have overwritten, and would not be noticed by what it says.
const AUDIT: Duration = Duration::from_millis(500);

impl Dispatch {
    /// Looks at the claim words of all workers as long as they hold calls: one that has overwritten its own and is silent would be
    /// taken for busy. Reads what they have said as well, should they have overwritten whether the core sleeps.
    pub(super) fn audit(self: &Rc<Self>) {
        if self.auditing.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            while dispatch.workers.borrow().hold_calls() {
                tokio::time::sleep(AUDIT).await;
                let overwritten = dispatch.workers.borrow().audit();
                for (number, violation) in overwritten {
                    dispatch.worker_broken(number, violation);
                }
            }
            dispatch.auditing.set(false);
        });
    }

    /// Worker `number` is dead, as waitpid told the master. What it had sent is taken; what it had not claimed was not run and
    /// goes back to the front of the queue; what it had claimed has failed.
    pub fn worker_died(self: &Rc<Self>, number: u32) {
        let Some(end) = self
            .workers
            .borrow()
            .get(number)
            .map(|worker| Rc::clone(&worker.end))
        else {
            return;
        };
        while !self.is_broken(number) {
            match self.next_sent(number, &end) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    ::log::error!("worker {number} had broken its channel: {error}");
                    break;
                }
            }
        }
        // A child that the app forked may hold the other end open.
        end.close();
        let lost = {
            let mut workers = self.workers.borrow_mut();
            let lost = workers.change(number, Worker::take_all);
            workers.remove(number);
            lost
        };
        self.requeue_lost(lost.unwrap_or_default());
        self.distribute(now());
    }

    /// Takes one message of a dead worker. False if there is none.
    fn next_sent(self: &Rc<Self>, number: u32, end: &CoreEnd) -> Result<bool, ChannelError> {
        let Some(message) = end.next_sent()? else {
            return Ok(false);
        };
        self.message(number, message)?;
        Ok(true)
    }

    pub(super) fn is_broken(&self, number: u32) -> bool {
        let workers = self.workers.borrow();
        workers.get(number).is_some_and(Worker::is_broken)
    }

    /// Calls of a worker that is dead or broken, each with whether it has failed: the others were not run, and go back to the
    /// front of the queue.
    fn requeue_lost(&self, lost: Vec<LostCall>) {
        let mut not_run = Vec::new();
        for lost in lost {
            match lost.has_failed {
                true => lost.call.fail(Event::Failed),
                false => not_run.push(lost.call),
            }
        }
        self.requeue(not_run);
    }

    /// Worker `number` has broken the rules of its channel.
    pub(super) fn worker_broken(self: &Rc<Self>, number: u32, violation: Violation) {
        let mut workers = self.workers.borrow_mut();
        workers.change(number, |worker| worker.breaks(violation));
        drop(workers);
        self.distribute(now());
    }

    /// Gives up workers that have broken the rules of their channels: nothing that they say is taken any more, their calls go to
    /// others or fail, and the master is to kill them. Returns whether there was any.
    pub(super) fn give_up_broken(&self) -> bool {
        let mut any = false;
        loop {
            let broken = self.workers.borrow_mut().take_broken();
            let Some((number, violation, lost)) = broken else {
                return any;
            };
            any = true;
            ::log::error!("worker {number} has broken its channel: {violation}");
            self.report(Report::Broken(number));
            self.requeue_lost(lost);
        }
    }
}
