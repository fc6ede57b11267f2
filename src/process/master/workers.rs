//! Starts and deaths of workers.

use std::io;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::super::control::ToCore;
use super::super::error::Error;
use super::super::fork::{self, Forked};
use super::super::last_words::{self, LastWordsReader};
use super::super::signal::{self, Saved};
use super::signals::TAKEN;
use super::stop::Phase;
use super::worker::{State, Worker};
use super::{Master, NewWorker};
use crate::channel;

/// The first process of a system, or of a container.
const INIT: Pid = Pid::from_raw(1);

/// A worker in its own process, before its first step.
pub(super) struct Birth {
    worker: NewWorker,
    master: Pid,
}

/// Gives a worker the app's own dispositions, except for the signals that stop servers: Ctrl-C and a service
/// manager's stop reach every process at once, and the master decides what they mean. TERM kills it until the
/// worker installs its own handler: it has no request yet.
fn worker_signals(saved: &Saved, master: Pid) -> io::Result<()> {
    signal::set_default(Signal::SIGTERM)?;
    fork::die_with(master)?;
    let stops = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
    ];
    let apps = |signal: &Signal| !stops.contains(signal);
    let apps: Vec<Signal> = TAKEN.into_iter().filter(apps).collect();
    saved.restore(&apps)?;
    [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP]
        .into_iter()
        .try_for_each(signal::disregard)
}

impl Master<'_> {
    /// The workers that serve, or will.
    pub(super) fn active(&self) -> impl Iterator<Item = &Worker> {
        self.workers
            .iter()
            .filter(|worker| worker.state != State::Leaving)
    }

    fn candidates(&self) -> usize {
        self.active().filter(|worker| worker.is_candidate()).count()
    }

    /// Whether a worker is missing among those that serve. In a trial none does.
    fn is_one_missing(&self) -> bool {
        self.settings.verdict.is_none()
            && self.active().count() - self.candidates() < self.size.wanted()
    }

    /// Whether a worker is to be started as soon as possible.
    pub(super) fn is_birth_due(&self) -> bool {
        let wanted = matches!(
            self.shutdown.phase(),
            Phase::Running | Phase::Draining { .. }
        );
        self.predecessors.is_one_deserted()
            || wanted
                && self.core.serves()
                && (self.is_one_missing() || self.candidates() < self.candidates_wanted())
    }

    /// Starts the workers that are missing. In a new worker's process, returns its birth.
    pub(super) fn fill_up(&mut self) -> Option<Birth> {
        while self.is_birth_due() && Instant::now() >= self.births.due() {
            let candidate = !self.is_one_missing();
            match self.start_worker(candidate) {
                Ok(None) => self.births.pause(self.settings.spawn_interval),
                Ok(birth) => return birth,
                Err(error) => {
                    ::log::error!("can't start a worker: {error}");
                    self.births.pause(self.settings.err_respawn_interval);
                }
            }
        }
        None
    }

    fn start_worker(&mut self, candidate: bool) -> io::Result<Option<Birth>> {
        let number = self.births.next_number();
        let (core_side, channel) = channel::pair()?;
        let (heard, words) = last_words::pair()?;
        let master = getpid();
        let candidates = self.reload.candidates().filter(|_| candidate);
        let generation = candidates.unwrap_or(self.reload.serving());
        match self.roles.fork()? {
            Forked::Child => Ok(Some(Birth {
                worker: NewWorker {
                    number,
                    generation,
                    candidate,
                    channel,
                    words,
                },
                master,
            })),
            Forked::Parent(pid) => {
                self.births.started();
                if let Some(predecessor) = self.predecessors.deserted() {
                    predecessor.lend(pid, number, core_side);
                    return Ok(None);
                }
                self.workers.push(Worker {
                    number,
                    pid,
                    generation,
                    candidate,
                    state: State::Loading,
                    words: Some(heard),
                    ending: None,
                });
                let word = if candidate {
                    ToCore::Candidate(number, pid.as_raw(), core_side)
                } else {
                    ToCore::Worker(number, pid.as_raw(), core_side)
                };
                self.core.tell(word);
                Ok(None)
            }
        }
    }

    /// Runs a worker. What belongs to the master alone is closed first.
    pub(super) fn become_worker(self, birth: Birth) -> i32 {
        let Master {
            roles,
            signals,
            core,
            settings,
            predecessors,
            restart,
            ..
        } = self;
        drop((core, settings, predecessors, restart));
        roles.stop_listening();
        match worker_signals(&signals.into_saved(), birth.master) {
            Ok(()) => roles.worker(birth.worker),
            Err(error) => {
                ::log::error!("a worker can't start: {error}");
                1
            }
        }
    }

    /// Workers that still load their app are not waited for when all requests are done.
    pub(super) fn abandon_loading(&mut self) {
        let loading = self.workers.iter().filter(|w| w.state == State::Loading);
        let loading: Vec<u32> = loading.map(|worker| worker.number).collect();
        loading.into_iter().for_each(|number| self.abandon(number));
    }

    /// Sets the number of workers, at least one: surplus ones leave.
    pub(super) fn want(&mut self, wanted: usize) {
        self.size.set(wanted);
        let serving = self.active().filter(|worker| !worker.is_candidate());
        let surplus: Vec<u32> = serving
            .map(|worker| worker.number)
            .skip(self.size.wanted())
            .collect();
        surplus.into_iter().for_each(|number| self.retire(number));
    }

    /// Takes the exit status of workers that are dead and tells the core.
    pub(super) fn reap(&mut self) {
        let mut dead = Vec::new();
        // By pid, not any child: the app may have children of its own.
        let mut at = 0;
        while at < self.workers.len() {
            match waitpid(self.workers[at].pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => at += 1,
                status => dead.push((self.workers.remove(at), status)),
            }
        }
        for (worker, status) in dead {
            self.buried(worker, status);
        }
        if self.predecessors.reap() {
            self.births.pause(self.settings.err_respawn_interval);
        }
        self.reap_trial();
        if getpid() == INIT {
            self.reap_orphans();
        }
    }

    /// As the first process of a container: reaps orphans.
    fn reap_orphans(&mut self) {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else {
                return;
            };
            // One of our own that has died just now.
            if let Some(at) = self.workers.iter().position(|worker| worker.pid == pid) {
                let worker = self.workers.remove(at);
                self.buried(worker, Ok(status));
            } else if self.restart.trial() == Some(pid) {
                self.trial_ended(Ok(status));
            } else {
                self.predecessors.bury(pid, status);
            }
        }
    }

    /// What follows from a worker's death.
    fn buried(&mut self, mut worker: Worker, status: nix::Result<WaitStatus>) {
        let pid = worker.pid;
        self.core.tell(ToCore::Died(worker.number));
        let how = fork::how_it_ended(status);
        // A fast stop ends those by TERM that load the app.
        let is_meant = worker.ending.is_some()
            || self.shutdown.is_stopping()
                && matches!(status, Ok(WaitStatus::Signaled(_, Signal::SIGTERM, _)));
        let words = worker.words.take().and_then(LastWordsReader::read);
        if !matches!(status, Ok(WaitStatus::Exited(_, 0))) && !is_meant && words.is_none() {
            ::log::warn!("worker {pid} {how}");
        }
        if self.shutdown.is_stopping() || worker.state == State::Leaving {
            return;
        }
        let young = worker.state == State::Loading;
        let by_itself = matches!(status, Ok(WaitStatus::Exited(_, 0)));
        if worker.is_candidate() {
            self.candidate_failed(
                &words.unwrap_or_else(|| format!("a new worker {how} before it served")),
            );
        } else if young && self.shutdown.is_running() && self.births.died_young(by_itself) {
            let why =
                words.unwrap_or_else(|| format!("the first one {how}; its log lines say why"));
            self.fail(Error::NoWorker(why));
        } else if young && !by_itself {
            self.births.pause(self.settings.err_respawn_interval);
            if let Some(why) = words {
                ::log::error!("a new worker failed: {why}");
            }
        }
    }
}
