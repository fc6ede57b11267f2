//! USR2: the master becomes a new program in place, with the same pid, sockets and children, after a successful trial.

use std::env;
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::mem;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::Instant;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::super::error::Error;
use super::super::fork::{self, Forked};
use super::super::handover::{Handover, OldCore, OldWorker, Program};
use super::super::notify::Notifier;
use super::super::signal;
use super::worker::State;
use super::{ExitStatus, FAST_STOP, Master, await_deaths};

/// The byte by which a trial reports success.
const GOOD: u8 = b'G';

/// The state of a restart.
#[derive(Debug, Default)]
pub(super) enum Restart {
    #[default]
    Idle,
    /// A child tries the new program.
    Trying(Trial),
    /// The trial has succeeded: this process becomes the new program.
    Good,
}

/// A child that tries the new program.
#[derive(Debug)]
pub(super) struct Trial {
    pid: Pid,
    verdict: PipeReader,
}

impl Trial {
    /// Judges the program by the child's byte and exit status.
    fn judge(mut self, status: ExitStatus) -> Result<(), Error> {
        let mut word = [0];
        let spoke = matches!(self.verdict.read(&mut word), Ok(1)) && word[0] == GOOD;
        match status {
            Ok(WaitStatus::Exited(_, 0)) if spoke => Ok(()),
            Ok(WaitStatus::Exited(_, status)) => Err(Error::TrialExit(status)),
            status => Err(Error::TrialEnd(fork::how_it_ended(status))),
        }
    }
}

impl Restart {
    /// The trial's process.
    pub(super) fn trial(&self) -> Option<Pid> {
        match self {
            Restart::Trying(trial) => Some(trial.pid),
            Restart::Idle | Restart::Good => None,
        }
    }

    pub(super) fn is_good(&self) -> bool {
        matches!(self, Restart::Good)
    }

    /// The trial has ended. Returns why the restart has failed, if it has.
    fn trial_ended(&mut self, status: ExitStatus) -> Result<(), Error> {
        match mem::take(self) {
            Restart::Trying(trial) => trial.judge(status).map(|()| *self = Restart::Good),
            other => {
                *self = other;
                Ok(())
            }
        }
    }

    /// Gives it up.
    pub(super) fn cancel(&mut self) {
        if let Restart::Trying(trial) = mem::take(self) {
            let _ = kill(trial.pid, Signal::SIGKILL);
            await_deaths(&[trial.pid], Instant::now() + FAST_STOP / 2);
        }
    }
}

impl Master<'_> {
    /// Begins a trial of the program, instead of one in progress.
    pub(super) fn begin_restart(&mut self) {
        self.restart.cancel();
        self.settings.board.reload_asked();
        let Some(program) = self.settings.program.clone() else {
            let why =
                "the command that started this process is not known, so it can't restart in place";
            ::log::error!("USR2: {why}");
            return self.tell_failure("restart", why, self.settings.board.last_asked());
        };
        self.tell(Notifier::reloading);
        match self.start_trial(&program) {
            Ok(trial) => self.restart = Restart::Trying(trial),
            Err(error) => self.restart_failed(&format!("a trial can't be started: {error}")),
        }
    }

    fn start_trial(&mut self, program: &Program) -> io::Result<Trial> {
        let (verdict, word) = io::pipe()?;
        fcntl(&verdict, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let master = getpid();
        // SAFETY: the master has one thread, and the child does nothing but to become another program.
        match unsafe { fork::fork() }? {
            Forked::Parent(pid) => Ok(Trial { pid, verdict }),
            Forked::Child => {
                let handover = Handover {
                    trial: Some(OwnedFd::from(word).into_raw_fd()),
                    children: Vec::new(),
                    ..self.roles.handed_over()
                };
                handover.keep_open(true);
                let ready = fork::die_with(master).and_then(|()| self.signals.restore());
                let error = match ready {
                    Ok(()) => program.run(&handover),
                    Err(error) => error,
                };
                ::log::error!("USR2: {error}");
                fork::leave(127)
            }
        }
    }

    /// In a trial: reports success. Returns whether this is a trial.
    pub(super) fn tell_verdict(&mut self) -> bool {
        let Some(word) = self.settings.verdict.take() else {
            return false;
        };
        // The master may be gone.
        let _ = File::from(word).write_all(&[GOOD]);
        self.stop_fast();
        true
    }

    /// Takes the exit status of a trial that is over.
    pub(super) fn reap_trial(&mut self) {
        if let Some(trial) = self.restart.trial() {
            match waitpid(trial, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                status => self.trial_ended(status),
            }
        }
    }

    pub(super) fn trial_ended(&mut self, status: ExitStatus) {
        if let Err(why) = self.restart.trial_ended(status) {
            self.restart_failed(&why.to_string());
        }
    }

    fn restart_failed(&mut self, why: &str) {
        ::log::error!("the restart failed, and nothing has changed: {why}");
        self.tell_failure("restart", why, self.settings.board.last_asked());
        self.tell(Notifier::ready);
    }

    /// Becomes the program that was tried. Returns if it can't, and then nothing has changed.
    pub(super) fn become_program(&mut self) {
        self.restart = Restart::Idle;
        let Some(program) = self.settings.program.clone() else {
            return;
        };
        // Signals are held for the new program's handlers. Those that came before are handled by this one.
        if let Err(error) = signal::hold_back() {
            return self.restart_failed(&error.to_string());
        }
        self.obey_signals();
        while self.core.control.has_heard() {
            self.hear_core();
        }
        if self.shutdown.is_running() && self.core.serves() {
            self.give_up_reload();
            let error = self.hand_over_to(&program);
            self.restart_failed(&error.to_string());
        }
        if let Err(error) = signal::release() {
            ::log::error!("signals can't be released: {error}");
        }
    }

    fn hand_over_to(&mut self, program: &Program) -> io::Error {
        let folder = env::current_dir();
        let mut handover = Handover {
            generation: self.reload.serving(),
            next_number: self.births.next_number(),
            ..self.roles.handed_over()
        };
        handover.cores.push(OldCore {
            pid: self.core.pid,
            control: self.core.raw_control(),
            gives_way: false,
        });
        let core = self.core.pid;
        handover
            .workers
            .extend(self.workers.iter().map(|worker| OldWorker {
                pid: worker.pid,
                number: worker.number,
                core,
                leaves: worker.state == State::Leaving,
            }));
        self.predecessors.tell(&mut handover);
        let run = || -> io::Result<io::Error> {
            self.signals.restore()?;
            handover.keep_open(true);
            Ok(program.run(&handover))
        };
        let error = run().unwrap_or_else(|error| error);
        handover.keep_open(false);
        let back = self
            .signals
            .take()
            .and_then(|()| env::set_current_dir(folder?));
        if let Err(error) = back {
            ::log::error!("{error}");
        }
        error
    }
}
