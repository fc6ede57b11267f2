//! A new generation of workers: it is tried while the old one serves, and replaces it, or not.
//!
//! Workers of the new generation are candidates: the core keeps clients' requests from them until they have loaded the
//! app and answered `check_path`. Then they are admitted, and old ones retire. If one fails, its like are given up and the
//! old generation serves on.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::control::ToCore;
use super::super::notify::Notifier;
use super::leaving::Ending;
use super::workers::{State, Worker};
use super::{FAST_STOP, Master};

/// A generation that is being tried.
#[derive(Debug)]
pub(super) struct Change {
    /// Its number.
    pub(super) generation: u32,
    /// The last of those reloads that it stands for, by its number on the scoreboard.
    pub(super) asked: u64,
}

impl Worker {
    /// Whether it is tried, and no client's request comes to it yet.
    pub(super) fn is_candidate(&self) -> bool {
        self.candidate && !matches!(self.state, State::Serving | State::Leaving)
    }
}

impl Master<'_> {
    /// Begins a new generation, or notes that one more is wanted behind that which is being tried.
    pub(super) fn reload(&mut self) {
        self.tell(Notifier::reloading);
        self.settings.board.reload_asked();
        self.not_reread = self.reread();
        if self.change.is_some() {
            self.reload_again = true;
        } else {
            self.begin_change();
        }
    }

    fn begin_change(&mut self) {
        self.reload_again = false;
        self.change = Some(Change {
            generation: self.generation + 1,
            asked: self.settings.board.last_asked(),
        });
    }

    /// How many candidates there are to be now.
    pub(super) fn candidates_wanted(&self) -> usize {
        match &self.change {
            None => 0,
            Some(_) if self.settings.spawn_interval.is_zero() => self.wanted,
            Some(_) => 1,
        }
    }

    /// A worker has loaded its app.
    pub(super) fn serves(&mut self, number: u32) {
        let check = self.settings.check_path.clone();
        let Some(worker) = self.worker(number) else {
            return;
        };
        if worker.state != State::Loading {
            return;
        }
        worker.words = None;
        if !worker.candidate {
            worker.state = State::Serving;
            self.begin();
            self.take_over();
        } else if let Some(path) = check {
            worker.state = State::Checking;
            self.core.tell(ToCore::Check(number, path));
        } else {
            self.passed(number);
        }
    }

    /// A worker has loaded the app. The first one to do so ends the start.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        match self.roles.serving(&mut self.core.control) {
            Ok(()) => {
                self.settings.board.reload_ended(self.generation, None, 0);
                self.tell(Notifier::ready);
            }
            Err(message) => self.fail(message),
        }
    }

    /// A candidate has been asked.
    pub(super) fn checked(&mut self, number: u32, checked: Result<(), String>) {
        match checked {
            Ok(()) => self.passed(number),
            Err(why) => {
                let worker = self.workers.iter().find(|w| w.number == number);
                if worker.is_some_and(Worker::is_candidate) {
                    self.abandon(number);
                    self.change_failed(&why);
                }
            }
        }
    }

    /// A candidate is good. When all that are tried together are, they replace as many old ones.
    fn passed(&mut self, number: u32) {
        let Some(worker) = self.worker(number) else {
            return;
        };
        if worker.state == State::Leaving {
            return;
        }
        worker.state = State::Passed;
        let passed: Vec<u32> = self
            .workers
            .iter()
            .filter(|worker| worker.state == State::Passed)
            .map(|worker| worker.number)
            .collect();
        let Some(Change { generation, .. }) = self.change else {
            return;
        };
        if passed.len() < self.candidates_wanted() {
            return;
        }
        if self.tell_verdict() {
            return;
        }
        self.generation = generation;
        for &number in &passed {
            self.core.tell(ToCore::Admit(number));
        }
        for worker in &mut self.workers {
            if worker.state == State::Passed {
                worker.state = State::Serving;
            }
        }
        self.begin();
        self.take_over();
        let mut old: Vec<u32> = self.old_ones().map(|worker| worker.number).collect();
        if !self.settings.spawn_interval.is_zero() {
            old.truncate(passed.len());
        }
        old.into_iter().for_each(|number| self.retire(number));
        if self.old_ones().next().is_none() {
            self.end_change();
        }
        // The number may have become less meanwhile.
        self.want(self.wanted);
    }

    /// Workers that are to make way for the generation that serves now.
    fn old_ones(&self) -> impl Iterator<Item = &Worker> {
        self.active()
            .filter(|worker| worker.generation < self.generation && !worker.is_candidate())
    }

    fn end_change(&mut self) {
        let asked = self.change.take().map_or(0, |change| change.asked);
        ::log::info!("generation {} serves", self.generation);
        let not_reread = self.not_reread.as_deref();
        let board = &self.settings.board;
        board.reload_ended(self.generation, not_reread, asked);
        self.change_over();
    }

    /// A candidate has failed, which is dead or has been given up.
    pub(super) fn change_failed(&mut self, why: &str) {
        self.not_before = Instant::now() + self.settings.err_respawn_interval;
        let Some(change) = &self.change else {
            return;
        };
        if self.settings.verdict.is_some() {
            return self.fail(format!("the app can't serve: {why}"));
        }
        // Behind the first workers that are good, one that fails is an accident of its own.
        if self.generation == change.generation {
            ::log::error!("a new worker failed: {why}");
            return;
        }
        let asked = change.asked;
        ::log::error!("the reload failed, and nothing has changed: {why}");
        self.tell_failure("reload", why, asked);
        self.give_up_change();
        self.change_over();
    }

    fn change_over(&mut self) {
        if self.reload_again {
            self.begin_change();
        } else {
            self.tell(Notifier::ready);
        }
    }

    /// Shows others why a reload or a restart has failed, and all that were asked for up to this number.
    pub(super) fn tell_failure(&self, what: &str, why: &str, asked: u64) {
        let why = format!("the {what} failed: {why}");
        let board = &self.settings.board;
        board.reload_ended(self.generation, Some(&why), asked);
    }

    /// Ends those that are being tried.
    pub(super) fn give_up_change(&mut self) {
        self.change = None;
        let candidates = self.workers.iter().filter(|worker| worker.is_candidate());
        let candidates: Vec<u32> = candidates.map(|worker| worker.number).collect();
        candidates
            .into_iter()
            .for_each(|number| self.abandon(number));
    }

    /// Has a worker leave that no client waits for.
    pub(super) fn abandon(&mut self, number: u32) {
        self.retire(number);
        let until = Instant::now() + FAST_STOP;
        if let Some(worker) = self.worker(number) {
            worker.ending = Some(Ending::Abandoned(until));
            let _ = kill(worker.pid, Signal::SIGTERM);
        }
    }
}
