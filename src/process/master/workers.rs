//! Births and deaths of workers.

use std::io;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::super::fork::{self, Forked};
use super::super::signal::{self, Saved};
use super::leaving::Ending;
use super::{Master, Phase, RESPAWN_PAUSE};
use crate::channel::{self, Descriptors};
use crate::process::control::ToCore;

/// A worker, as the master knows it.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) pid: Pid,
    /// Which loading of the app it serves: a reload begins a new one.
    pub(super) generation: u32,
    /// It has loaded its app.
    pub(super) serving: bool,
    /// Nothing while it is to serve.
    pub(super) ending: Option<Ending>,
}

/// What a new worker is born with.
pub(super) struct Birth {
    number: u32,
    channel: Descriptors,
    master: Pid,
}

/// Gives a worker the app's own dispositions, but for the signals that stop servers: Ctrl-C and a service
/// manager's stop reach every process at once, and only the master's word counts. TERM ends it until the
/// worker itself says otherwise: it has no request in hand yet.
fn worker_signals(saved: &Saved, master: Pid) -> io::Result<()> {
    signal::set_default(Signal::SIGTERM)?;
    fork::die_with(master)?;
    saved.restore(&[Signal::SIGCHLD, Signal::SIGPIPE])?;
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP]
        .into_iter()
        .try_for_each(signal::disregard)
}

impl Master<'_> {
    /// Starts the workers that are missing. In a new worker's process, returns its birth.
    pub(super) fn fill_up(&mut self) -> Option<Birth> {
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        while !stopping && self.standing() < self.wanted && Instant::now() >= self.not_before {
            match self.start_worker() {
                Ok(None) => {}
                Ok(birth) => return birth,
                Err(error) => {
                    ::log::error!("can't start a worker: {error}");
                    self.not_before = Instant::now() + RESPAWN_PAUSE;
                }
            }
        }
        None
    }

    pub(super) fn start_worker(&mut self) -> io::Result<Option<Birth>> {
        let number = self.next_number;
        let (core_side, channel) = channel::pair()?;
        let master = getpid();
        match self.roles.fork()? {
            Forked::Child => Ok(Some(Birth {
                number,
                channel,
                master,
            })),
            Forked::Parent(pid) => {
                self.next_number += 1;
                self.workers.push(Worker {
                    number,
                    pid,
                    generation: self.generation,
                    serving: false,
                    ending: None,
                });
                // A core that has just died is noticed in `wait`; its successor gets new workers.
                let word = ToCore::Worker(number, pid.as_raw(), core_side);
                let _ = self.core.control.tell(word);
                Ok(None)
            }
        }
    }

    /// A worker's life. What is the master's alone is closed first.
    pub(super) fn become_worker(self, birth: Birth) -> i32 {
        let Master {
            roles,
            saved,
            core,
            notes,
            notes_end,
            ..
        } = self;
        drop((core, notes, notes_end));
        roles.stop_listening();
        match worker_signals(&saved, birth.master) {
            Ok(()) => roles.worker(birth.number, birth.channel),
            Err(error) => {
                ::log::error!("a worker can't start: {error}");
                1
            }
        }
    }

    /// Takes the exit status of workers that are dead and tells the core.
    pub(super) fn reap(&mut self) {
        let mut dead = Vec::new();
        // By pid, not any child: the app may have children of its own.
        self.workers.retain(
            |worker| match waitpid(worker.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => true,
                status => {
                    ::log::debug!(
                        "worker {} of generation {}: {status:?}",
                        worker.number,
                        worker.generation
                    );
                    dead.push((worker.number, worker.pid, worker.serving, status));
                    false
                }
            },
        );
        for (number, pid, was_serving, status) in dead {
            let _ = self.core.control.tell(ToCore::Died(number));
            let failed = match status {
                Ok(WaitStatus::Exited(_, 0)) => false,
                Ok(WaitStatus::Exited(_, status)) => {
                    ::log::warn!("worker {pid} exited with status {status}");
                    true
                }
                Ok(WaitStatus::Signaled(_, signal, _)) => {
                    ::log::warn!("worker {pid} was ended by {signal}");
                    true
                }
                _ => true,
            };
            if failed && !was_serving {
                self.not_before = Instant::now() + RESPAWN_PAUSE;
            }
        }
    }
}
