//! Cores that the program before has started (USR2): they serve until this program's own workers do, and then give way.

use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::control::{MasterEnd, ToCore, ToMaster};
use super::super::fork;
use super::super::handover::{Handover, OldCore, OldWorker};
use super::super::notify::Notifier;
use super::core::{ControlEvent, Core};
use super::worker::State;
use super::{FAST_STOP, Master};
use crate::channel::Descriptors;

/// A core of the program before, with its workers.
#[derive(Debug)]
pub(super) struct Predecessor {
    pub(super) core: Core,
    pub(super) workers: Vec<PredecessorWorker>,
    /// It was told to give way, and is cut at this time.
    pub(super) until: Option<Instant>,
    /// It was told to give way, by the program before.
    gave_way: bool,
    /// It serves nothing any more, and its workers leave.
    drained: bool,
}

/// One of its workers.
#[derive(Debug)]
pub(super) struct PredecessorWorker {
    pub(super) pid: Pid,
    pub(super) number: u32,
    pub(super) leaves: bool,
}

impl Predecessor {
    fn new(core: OldCore, control: OwnedFd, workers: &[OldWorker]) -> Predecessor {
        let own = workers.iter().filter(|worker| worker.core == core.pid);
        Predecessor {
            core: Core::of_predecessor(core.pid, MasterEnd::new(control)),
            workers: own
                .map(|worker| PredecessorWorker {
                    pid: worker.pid,
                    number: worker.number,
                    leaves: worker.leaves,
                })
                .collect(),
            until: None,
            gave_way: core.gives_way,
            drained: false,
        }
    }

    /// What the next program learns about it.
    pub(super) fn tell(&self, handover: &mut Handover) {
        // Without a core they have nothing to do; they exit, and only have to be reaped.
        if !self.core.serves() {
            handover.children.extend(self.pids());
            return;
        }
        handover.cores.push(OldCore {
            pid: self.core.pid,
            control: self.core.raw_control(),
            gives_way: self.until.is_some() || self.gave_way,
        });
        handover
            .workers
            .extend(self.workers.iter().map(|worker| OldWorker {
                pid: worker.pid,
                number: worker.number,
                core: self.core.pid,
                leaves: worker.leaves,
            }));
    }

    /// Its processes.
    pub(super) fn pids(&self) -> impl Iterator<Item = Pid> {
        let workers = self.workers.iter().map(|worker| worker.pid);
        workers.chain([self.core.pid])
    }

    /// Whether requests can come to it that it has no worker for.
    fn is_deserted(&self) -> bool {
        !self.drained && self.core.serves() && self.workers.iter().all(|worker| worker.leaves)
    }

    /// Gives it a worker of this program.
    pub(super) fn lend(&mut self, pid: Pid, number: u32, channel: Descriptors) {
        self.workers.push(PredecessorWorker {
            pid,
            number,
            leaves: false,
        });
        self.core
            .tell(ToCore::Worker(number, pid.as_raw(), channel));
    }

    fn give_way(&mut self, until: Instant) {
        if self.until.is_none() {
            self.until = Some(until);
            self.core.tell(ToCore::GiveWay);
        }
    }

    fn dismiss(&mut self, signal: Signal) {
        self.until = Some(Instant::now() + FAST_STOP);
        self.core.dismiss();
        for worker in &self.workers {
            let _ = kill(worker.pid, signal);
        }
    }

    /// Reads all messages that it has sent.
    fn hear_all(&mut self) {
        while self.core.has_spoken() {
            self.hear();
        }
    }

    /// Does what is due by the clock: gives up a core that does not answer, and cuts what takes too long.
    fn check(&mut self, now: Instant) {
        self.hear_all();
        if self.core.check(now).is_some() {
            ::log::error!(
                "the core of the generation before did not answer for 3 seconds and is killed"
            );
            let _ = kill(self.core.pid, Signal::SIGKILL);
            self.core.leaves();
        }
        match self.until {
            Some(until) if until <= now && self.core.serves() => {
                ::log::warn!(
                    "requests of the generation before were still being served after graceful_timeout"
                );
                self.dismiss(Signal::SIGTERM);
            }
            Some(until) if until <= now => self.dismiss(Signal::SIGKILL),
            _ => {}
        }
    }

    /// When [`Predecessor::check`] has something to do.
    fn due(&self) -> Option<Instant> {
        self.core.due().into_iter().chain(self.until).min()
    }

    /// Whether all its processes are gone.
    fn is_over(&mut self, now: Instant) -> bool {
        if self.workers.is_empty() && self.drained {
            self.core.dismiss();
        }
        self.core.reap(now) && self.workers.is_empty()
    }

    fn hear(&mut self) {
        match self.core.hear() {
            ControlEvent::Word(ToMaster::Drained) => self.drained = true,
            ControlEvent::Word(ToMaster::Leaving(number)) => {
                let mut workers = self.workers.iter_mut();
                if let Some(worker) = workers.find(|worker| worker.number == number) {
                    worker.leaves = true;
                }
            }
            ControlEvent::Word(ToMaster::Hung(number, call)) => {
                if let Some(worker) = self.workers.iter().find(|worker| worker.number == number) {
                    let pid = worker.pid;
                    ::log::error!("{call} makes no progress, and worker {pid} is killed for it");
                    let _ = kill(pid, Signal::SIGKILL);
                }
            }
            ControlEvent::Word(ToMaster::Unconnected(number, why)) => {
                ::log::error!("a worker of the generation before can't serve: {why}");
                if let Some(worker) = self.workers.iter().find(|worker| worker.number == number) {
                    let _ = kill(worker.pid, Signal::SIGTERM);
                }
            }
            ControlEvent::Word(ToMaster::Broken(number)) => {
                if let Some(worker) = self.workers.iter().find(|worker| worker.number == number) {
                    let _ = kill(worker.pid, Signal::SIGKILL);
                }
            }
            ControlEvent::Word(_) | ControlEvent::Nothing => {}
            ControlEvent::Lost(_) => {
                if !self.drained {
                    ::log::error!("the core of the generation before has died");
                }
                self.core.leaves();
            }
        }
    }

    /// A child has died: whether it was one of its workers.
    fn bury(&mut self, pid: Pid, status: WaitStatus) -> bool {
        let Some(at) = self.workers.iter().position(|worker| worker.pid == pid) else {
            return false;
        };
        let worker = self.workers.remove(at);
        self.core.tell(ToCore::Died(worker.number));
        if !matches!(status, WaitStatus::Exited(_, 0)) && self.until.is_none() {
            let how = fork::how_it_ended(Ok(status));
            ::log::warn!("worker {pid} of the generation before {how}");
        }
        true
    }
}

/// All cores that the program before has started, and its other children.
#[derive(Debug)]
pub(super) struct Predecessors {
    all: Vec<Predecessor>,
    /// Only to be reaped.
    children: Vec<Pid>,
}

impl Predecessors {
    /// Those that were handed over.
    pub(super) fn new(handover: &mut Handover) -> Self {
        let cores = handover.take_cores().into_iter();
        Predecessors {
            all: cores
                .map(|(core, control)| Predecessor::new(core, control, &handover.workers))
                .collect(),
            children: handover.children.clone(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn cores(&self) -> impl Iterator<Item = &Core> + Clone {
        self.all.iter().map(|predecessor| &predecessor.core)
    }

    /// What the next program learns about them.
    pub(super) fn tell(&self, handover: &mut Handover) {
        handover.children.extend(&self.children);
        for predecessor in &self.all {
            predecessor.tell(handover);
        }
    }

    /// The core of this process has sent a message.
    pub(super) fn hear(&mut self, pid: Pid) {
        let mut all = self.all.iter_mut();
        if let Some(predecessor) = all.find(|predecessor| predecessor.core.pid == pid) {
            predecessor.hear_all();
        }
        self.end_idle();
    }

    /// Whether one still serves as before.
    pub(super) fn is_one_serving(&self) -> bool {
        self.all
            .iter()
            .any(|predecessor| predecessor.until.is_none())
    }

    /// They answer the requests that have come, up to this time.
    pub(super) fn give_way(&mut self, until: Instant) {
        for predecessor in &mut self.all {
            predecessor.give_way(until);
        }
    }

    /// They leave at once.
    pub(super) fn dismiss(&mut self) {
        for predecessor in &mut self.all {
            predecessor.dismiss(Signal::SIGTERM);
        }
        self.end_idle();
    }

    pub(super) fn is_one_deserted(&self) -> bool {
        self.all.iter().any(Predecessor::is_deserted)
    }

    /// One that needs a worker: its own may have exited, and only this program can start others.
    pub(super) fn deserted(&mut self) -> Option<&mut Predecessor> {
        self.all
            .iter_mut()
            .find(|predecessor| predecessor.is_deserted())
    }

    /// When one has something to do by the clock.
    pub(super) fn due(&self) -> Option<Instant> {
        self.all.iter().filter_map(Predecessor::due).min()
    }

    pub(super) fn check(&mut self, now: Instant) {
        for predecessor in &mut self.all {
            predecessor.check(now);
        }
        self.end_idle();
    }

    /// Takes the exit status of those that are dead. Whether a worker has failed.
    pub(super) fn reap(&mut self) -> bool {
        let workers = self.all.iter().flat_map(|predecessor| &predecessor.workers);
        let others = self.children.iter().copied();
        let all: Vec<Pid> = workers.map(|worker| worker.pid).chain(others).collect();
        let mut failed = false;
        for pid in all {
            failed |= match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => false,
                Ok(status) => self.bury(pid, status),
                Err(_) => self.bury(pid, WaitStatus::Exited(pid, 0)),
            };
        }
        self.end_idle();
        failed
    }

    /// A child has died that is none of this program's. Whether it was a worker that has failed.
    pub(super) fn bury(&mut self, pid: Pid, status: WaitStatus) -> bool {
        self.children.retain(|&child| child != pid);
        let mut was_worker = false;
        for predecessor in &mut self.all {
            // It sends Drained before its workers exit.
            predecessor.hear_all();
            was_worker |= predecessor.bury(pid, status);
        }
        self.end_idle();
        was_worker && !matches!(status, WaitStatus::Exited(_, 0))
    }

    /// Their processes, which are the caller's to end.
    pub(super) fn forget(&mut self) -> Vec<Pid> {
        let all = self.all.drain(..);
        all.flat_map(|predecessor| predecessor.pids().collect::<Vec<_>>())
            .collect()
    }

    /// Ends those that have nothing left to do.
    fn end_idle(&mut self) {
        let now = Instant::now();
        self.all.retain_mut(|predecessor| !predecessor.is_over(now));
    }
}

impl Master<'_> {
    /// When enough workers serve, the new core accepts connections, and its predecessors give way.
    pub(super) fn take_over(&mut self) {
        let serving = self.workers.iter().filter(|w| w.state == State::Serving);
        if !self.predecessors.is_one_serving() || serving.count() < self.size.wanted() {
            return;
        }
        if let Err(message) = self.accept() {
            // It is replaced, and its successor takes over.
            ::log::error!("{message}");
            return;
        }
        let until = Instant::now() + self.settings.graceful_timeout;
        self.predecessors.give_way(until);
        let generation = self.reload.serving();
        ::log::info!("generation {generation} serves");
        let board = &self.settings.board;
        board.reload_ended(generation, None, board.last_asked());
        self.tell(Notifier::ready);
    }
}
