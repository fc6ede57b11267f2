//! A new generation of workers: it is tried while the old one serves, and replaces it, or not.
//!
//! Workers of the new generation are candidates: the core keeps clients' requests from them until they have loaded the
//! app and answered `check_path`. Then they are admitted, and old ones retire. If one fails, all candidates are given up and the
//! old generation serves on.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::control::ToCore;
use super::super::error::Error;
use super::super::notify::Notifier;
use super::reload::{Failure, ReloadEnd};
use super::worker::{Ending, State, Worker};
use super::{FAST_STOP, Master};

impl Master<'_> {
    /// Begins a new generation, or notes that another one is to follow the one being tried.
    pub(super) fn reload(&mut self) {
        self.tell(Notifier::reloading);
        self.settings.board.reload_asked();
        let options = self
            .roles
            .read_options()
            .err()
            .map(|error| error.to_string());
        if let Some(why) = &options {
            ::log::error!("the reload failed, and nothing has changed: {why}");
            // One that has begun goes on.
            if self.reload.candidates().is_none() {
                self.tell_failure("reload", why, self.settings.board.last_asked());
                self.tell(Notifier::ready);
                return;
            }
        }
        let not_read = options.or_else(|| self.reload_files());
        let begins = self.reload.candidates().is_none();
        self.reload.ask(self.settings.board.last_asked(), not_read);
        if begins {
            self.roles.try_options();
        }
    }

    /// How many candidates there are to be now.
    pub(super) fn candidates_wanted(&self) -> usize {
        match self.reload.candidates() {
            None => 0,
            Some(_) if self.settings.spawn_interval.is_zero() => self.size.wanted(),
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
        if !self.births.serves() {
            return;
        }
        match self.roles.serving(&mut self.core.control) {
            Ok(()) => {
                let board = &self.settings.board;
                board.reload_ended(self.reload.serving(), None, 0);
                self.tell(Notifier::ready);
            }
            Err(error) => self.fail(error),
        }
    }

    /// The check of a candidate has ended.
    pub(super) fn checked(&mut self, number: u32, checked: Result<(), String>) {
        match checked {
            Ok(()) => self.passed(number),
            Err(why) => {
                let worker = self.workers.iter().find(|w| w.number == number);
                if worker.is_some_and(Worker::is_candidate) {
                    self.abandon(number);
                    self.candidate_failed(&why);
                }
            }
        }
    }

    /// A candidate has passed. When all that are tried together have, they replace as many old ones.
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
        if self.reload.candidates().is_none() || passed.len() < self.candidates_wanted() {
            return;
        }
        if self.tell_verdict() {
            return;
        }
        // Before they serve, so that no request for a host of the file before finds them.
        if let Err(error) = self.use_options() {
            return self.candidate_failed(&error.to_string());
        }
        self.reload.admit();
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
            self.finish_reload();
        }
        // The number may have become less meanwhile.
        self.want(self.size.wanted());
    }

    /// Workers that are to make way for the generation that serves now.
    fn old_ones(&self) -> impl Iterator<Item = &Worker> {
        let serving = self.reload.serving();
        self.active()
            .filter(move |worker| worker.generation < serving && !worker.is_candidate())
    }

    fn finish_reload(&mut self) {
        let board = &self.settings.board;
        let Some(ended) = self.reload.finish(board.last_asked()) else {
            return;
        };
        let generation = self.reload.serving();
        ::log::info!("generation {generation} serves");
        board.reload_ended(generation, self.reload.not_read(), ended.asked);
        self.ended(&ended);
    }

    /// A candidate has failed, which is dead or has been given up.
    pub(super) fn candidate_failed(&mut self, why: &str) {
        self.births.pause(self.settings.err_respawn_interval);
        match self.reload.fail(self.settings.board.last_asked()) {
            Failure::NoReload => {}
            _ if self.settings.verdict.is_some() => {
                self.fail(Error::TrialWorker(why.to_owned()));
            }
            Failure::OneWorker => ::log::error!("a new worker failed: {why}"),
            Failure::Reload(ended) => {
                ::log::error!("the reload failed, and nothing has changed: {why}");
                self.tell_failure("reload", why, ended.asked);
                self.abandon_candidates();
                self.ended(&ended);
            }
        }
    }

    /// A reload has ended. The service manager waits for the last of several.
    fn ended(&mut self, ended: &ReloadEnd) {
        match ended.again {
            true => self.roles.try_options(),
            false => self.tell(Notifier::ready),
        }
    }

    /// Shows others why a reload or a restart has failed, and all that were asked for up to this number.
    pub(super) fn tell_failure(&self, what: &str, why: &str, asked: u64) {
        let why = format!("the {what} failed: {why}");
        let board = &self.settings.board;
        board.reload_ended(self.reload.serving(), Some(&why), asked);
    }

    /// Gives up the reload in progress.
    pub(super) fn give_up_reload(&mut self) {
        self.reload.cancel(self.settings.board.last_asked());
        self.abandon_candidates();
    }

    /// Ends all candidates.
    fn abandon_candidates(&mut self) {
        let candidates = self.workers.iter().filter(|worker| worker.is_candidate());
        let candidates: Vec<u32> = candidates.map(|worker| worker.number).collect();
        candidates
            .into_iter()
            .for_each(|number| self.abandon(number));
    }

    /// Has a worker exit that has no client.
    pub(super) fn abandon(&mut self, number: u32) {
        self.retire(number);
        let until = Instant::now() + FAST_STOP;
        if let Some(worker) = self.worker(number) {
            worker.ending = Some(Ending::Abandoned(until));
            let _ = kill(worker.pid, Signal::SIGTERM);
        }
    }
}
