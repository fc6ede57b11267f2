//! The master: forks the core and the workers, reaps and replaces them, and turns signals into words.
//!
//! One thread, no tokio, no HTTP. It waits in poll for signals, for the cores' words and for the next time
//! something is due.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use self::births::Births;
use self::certificates::Unread;
use self::core::Core;
use self::deaths::{ExitStatus, await_deaths};
use self::predecessor::Predecessors;
use self::reload::Reload;
use self::restart::Restart;
use self::signals::{Signals, TAKEN};
use self::size::Size;
use self::stop::Shutdown;
use self::worker::Worker;
use super::error::Error;
use super::handover::{Handover, Program};
use super::notify::Notifier;
use super::pool::Sizes;
use super::signal;
use crate::scoreboard::Board;

mod births;
mod certificates;
mod core;
mod deaths;
mod generation;
mod leaving;
mod predecessor;
mod reload;
mod restart;
mod roles;
mod signals;
#[cfg(test)]
mod simulation;
mod size;
mod stop;
mod worker;
mod workers;

pub use self::deaths::FAST_STOP;
pub use self::roles::{NewWorker, Roles};

/// How many workers, how they come and go, and how long to wait for them.
#[derive(Debug)]
pub struct Settings {
    /// Number of workers at first, at least one.
    pub workers: usize,
    /// The bounds of their number; none: it does not change.
    pub pool: Option<Sizes>,
    /// How long a graceful stop waits for what is in flight.
    pub graceful_timeout: Duration,
    /// Least time between two births; zero is no pause. With it, a reload replaces one worker after the other.
    pub spawn_interval: Duration,
    /// How long no worker is started after one that failed before it served (Parallel::Prefork's name).
    pub err_respawn_interval: Duration,
    /// The path that workers of a new generation must answer before others make way for them.
    pub check_path: Option<String>,
    /// Others listen on the same sockets when this server is told to stop (Server::Starter).
    pub has_successor: bool,
    /// The command that started this process, for a restart in place.
    pub program: Option<Program>,
    /// HUP restarts in place.
    pub reload_on_hup: bool,
    /// What the program before has handed over.
    pub handover: Handover,
    /// Where a trial says that all is well.
    pub verdict: Option<OwnedFd>,
    /// The service manager, where it wants to be told.
    pub notifier: Option<Notifier>,
    /// Where others look how reloads have ended.
    pub board: Arc<Board>,
}

/// Which process returns from [`run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The master: everything has stopped.
    Master,
    /// A worker that is to exit with this status.
    Worker(i32),
}

/// The master: its parts, each of which owns what it changes, and the workers. What concerns several parts is done here and in
/// the modules of what has happened.
struct Master<'a> {
    roles: &'a mut dyn Roles,
    settings: Settings,
    workers: Vec<Worker>,
    size: Size,
    births: Births,
    core: Core,
    /// Certificates that the core lacks.
    unread: Option<Unread>,
    reload: Reload,
    restart: Restart,
    predecessors: Predecessors,
    shutdown: Shutdown,
    signals: Signals,
}

/// Runs the server. Returns in the master when all has stopped, and in each worker when it is to exit.
///
/// # Errors
/// When the core can't be started, at first or after its death, the app's `server_ready` dies, or a worker dies
/// before any could serve.
pub fn run(settings: Settings, roles: &mut dyn Roles) -> Result<Ended, Error> {
    let saved = signal::save(&TAKEN).map_err(Error::Start)?;
    // Ignored by the app at load time, it would make waitpid fail.
    signal::set_default(Signal::SIGCHLD).map_err(Error::Start)?;
    let core = Core::start(roles).map_err(Error::StartCore)?;
    let mut settings = settings;
    let predecessors = Predecessors::new(&mut settings.handover);
    let handover = &settings.handover;
    let trial = settings.verdict.is_some();
    let mut master = Master {
        roles,
        workers: Vec::new(),
        size: Size::new(settings.workers, settings.pool),
        births: Births::new(handover.next_number, !predecessors.is_empty()),
        core,
        unread: None,
        reload: match trial {
            true => Reload::of_trial(handover.generation),
            false => Reload::new(handover.generation + 1),
        },
        restart: Restart::default(),
        predecessors,
        shutdown: Shutdown::new(),
        signals: Signals::new(saved).map_err(Error::Start)?,
        settings,
    };
    master.let_stops_interrupt();
    master.signals.take().map_err(Error::Start)?;
    signal::release().map_err(Error::Start)?;
    let begun = master.read_first_certificates();
    let begun = match trial || !master.predecessors.is_empty() {
        true => begun,
        false => begun.and_then(|()| master.accept()),
    };
    if let Err(error) = begun.and_then(|()| master.roles.listening()) {
        master.finish();
        return Err(error);
    }
    master.live()
}

impl Master<'_> {
    fn live(mut self) -> Result<Ended, Error> {
        // SIGCHLD was lost while the program was replaced.
        self.predecessors.reap();
        loop {
            if let Some(birth) = self.fill_up() {
                return Ok(Ended::Worker(self.become_worker(birth)));
            }
            self.wait();
            self.obey_signals();
            self.run_due_timers();
            if self.restart.is_good() && self.core.serves() {
                self.become_program();
            }
            let none = self.workers.is_empty() && self.predecessors.is_empty();
            if self.shutdown.is_stopping() && none {
                self.finish();
                return self.shutdown.result().map(|()| Ended::Master);
            }
        }
    }

    /// Waits for a signal, a message of a core, or the time when something is due.
    fn wait(&mut self) {
        for pid in self.speakers() {
            if pid == self.core.pid {
                self.hear_core();
            } else {
                self.predecessors.hear(pid);
            }
        }
    }

    /// The cores that have sent a message. Waits for one, or until something is due.
    fn speakers(&self) -> Vec<Pid> {
        let timeout = match self.next_due() {
            _ if self.core.control.has_heard() => PollTimeout::ZERO,
            None => PollTimeout::NONE,
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let cores = [&self.core].into_iter().chain(self.predecessors.cores());
        let cores = cores.filter_map(|core| Some((core, core.speaks()?)));
        let (cores, sockets): (Vec<_>, Vec<_>) = cores.unzip();
        let sockets = [self.signals.as_fd()].into_iter().chain(sockets);
        let mut polled: Vec<_> = sockets
            .map(|socket| PollFd::new(socket, PollFlags::POLLIN))
            .collect();
        let polls = poll(&mut polled, timeout).is_ok();
        let spoke = polled
            .iter()
            .skip(1)
            .map(|polled| polls && polled.any().unwrap_or(false));
        let cores = cores.into_iter().zip(spoke);
        cores
            .filter(|(core, spoke)| *spoke || core.control.has_heard())
            .map(|(core, _)| core.pid)
            .collect()
    }

    /// When something is due next, without signals and messages.
    fn next_due(&self) -> Option<Instant> {
        let birth = self.is_birth_due().then_some(self.births.due());
        let notifier = self.settings.notifier.as_ref();
        let dues = [
            birth,
            notifier.and_then(Notifier::next_sign),
            self.core.due(),
            self.next_core(),
            self.shutdown.due(),
            self.next_ending(),
            self.next_shrink(),
            self.predecessors.due(),
            self.next_reading(),
        ];
        dues.into_iter().flatten().min()
    }
}
