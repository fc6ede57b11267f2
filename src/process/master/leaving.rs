//! Workers that serve no more: their successors are started at once, and they have a limited time to exit.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::backtrace::BacktraceRequest;
use super::Master;
use super::worker::{Ending, State, Worker};

impl Master<'_> {
    pub(super) fn worker(&mut self, number: u32) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|w| w.number == number)
    }

    pub(super) fn worker_leaves(&mut self, number: u32) {
        let until = Instant::now() + self.settings.graceful_timeout;
        let Some(worker) = self.worker(number) else {
            return;
        };
        let tried = worker.is_candidate();
        worker.state = State::Leaving;
        worker.ending.get_or_insert(Ending::Leaving(until));
        if tried {
            self.candidate_failed("a new worker has left before it served");
        }
    }

    /// The core can't open a worker's channel: the worker is given up, and another one is started later.
    pub(super) fn worker_unconnected(&mut self, number: u32, why: &str) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        let tried = worker.is_candidate();
        ::log::error!("a new worker can't serve: {why}");
        self.births.pause(self.settings.err_respawn_interval);
        self.abandon(number);
        if tried {
            self.candidate_failed(why);
        }
    }

    pub(super) fn worker_hangs(&mut self, number: u32, call: &str) {
        let mut tried = false;
        if let Some(worker) = self.worker(number) {
            tried = worker.is_candidate();
            ::log::error!(
                "{call} makes no progress, and worker {} is killed for it",
                worker.pid
            );
            worker.state = State::Leaving;
            worker.ending = Some(Ending::Hung(BacktraceRequest::send(worker.pid)));
        }
        if tried {
            self.candidate_failed("a new worker hangs");
        }
    }

    /// The worker has broken its channel; the core has logged how.
    pub(super) fn worker_broken(&mut self, number: u32) {
        let until = Instant::now() + self.settings.graceful_timeout;
        let Some(worker) = self.worker(number) else {
            return;
        };
        let tried = worker.is_candidate();
        worker.state = State::Leaving;
        worker.ending = Some(Ending::Leaving(until));
        let _ = kill(worker.pid, Signal::SIGKILL);
        if tried {
            self.candidate_failed("a new worker has broken its channel");
        }
    }

    /// When the next one is to be killed.
    pub(super) fn next_ending(&self) -> Option<Instant> {
        let endings = self.workers.iter().filter_map(|w| w.ending.as_ref());
        endings.map(Ending::until).min()
    }

    pub(super) fn kill_overdue(&mut self) {
        let now = Instant::now();
        for worker in &mut self.workers {
            match &worker.ending {
                Some(ending) if ending.until() > now => continue,
                Some(Ending::Hung(hung)) => hung.kill(),
                Some(Ending::Abandoned(_)) => {
                    let _ = kill(worker.pid, Signal::SIGKILL);
                }
                Some(Ending::Leaving(_)) => {
                    ::log::error!("worker {} does not exit, and is killed", worker.pid);
                    let _ = kill(worker.pid, Signal::SIGKILL);
                }
                None => continue,
            }
            // Once is enough: it is reaped soon.
            worker.ending = Some(Ending::Leaving(now + self.settings.graceful_timeout));
        }
    }
}
