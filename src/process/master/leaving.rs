//! Workers that serve no more: their successors are started at once, and they have a limited time to be gone.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::hung::Hung;
use super::Master;
use super::workers::Worker;

/// How a worker ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has said that it leaves, and is killed if it is still there at this time.
    Leaving(Instant),
    /// It makes no progress, and is being killed.
    Hung(Hung),
}

impl Ending {
    fn until(&self) -> Instant {
        match self {
            Ending::Leaving(until) => *until,
            Ending::Hung(hung) => hung.until(),
        }
    }
}

impl Master<'_> {
    fn worker(&mut self, number: u32) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|w| w.number == number)
    }

    /// Workers that serve, or will.
    pub(super) fn standing(&self) -> usize {
        self.workers.iter().filter(|w| w.ending.is_none()).count()
    }

    pub(super) fn worker_leaves(&mut self, number: u32) {
        let until = Instant::now() + self.settings.graceful_timeout;
        if let Some(worker) = self.worker(number) {
            worker.ending.get_or_insert(Ending::Leaving(until));
        }
    }

    pub(super) fn worker_hangs(&mut self, number: u32, request: &str) {
        if let Some(worker) = self.worker(number) {
            ::log::error!(
                "request_timeout: {request} makes no progress, and worker {} is killed for it",
                worker.pid
            );
            worker.ending = Some(Ending::Hung(Hung::ask(worker.pid)));
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
