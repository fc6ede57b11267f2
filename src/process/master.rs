//! The master: forks the core and the workers, reaps and replaces them, and turns signals into words.
//!
//! One thread, no tokio, no HTTP. It waits in poll for signals, for the core's words and for the next time
//! something is due.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::control::{self, ToCore, ToMaster};
use super::fork::{self, Forked};
use super::signal::{self, Note, Saved};
use crate::channel::{self, Descriptors};

/// Signals that the master takes over.
const TAKEN: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGCHLD,
    Signal::SIGPIPE,
];

/// A worker that failed before it served is replaced only after a pause: an app that can't start must not keep
/// the machine busy (Parallel::Prefork's err_respawn_interval). So is a core that lived shorter than this.
const RESPAWN_PAUSE: Duration = Duration::from_secs(1);

/// How long a fast stop leaves the workers for their END blocks.
const FAST_STOP: Duration = Duration::from_secs(1);

/// What the processes do, apart from living and dying.
pub trait Roles {
    /// Forks for a worker, by Perl's own fork where there is a Perl.
    ///
    /// # Errors
    /// What fork says.
    fn fork(&mut self) -> io::Result<Forked>;

    /// The core's life, in the core's process. Returns its exit status.
    fn core(&mut self, control: OwnedFd) -> i32;

    /// Everything listens: called once in the master.
    ///
    /// # Errors
    /// What the app's hook died with.
    fn listening(&mut self) -> Result<(), String>;

    /// The server stops: the master closes its copies of the listening sockets.
    fn stop_listening(&mut self);

    /// A worker's life, in the worker's process. Returns its exit status.
    fn worker(&mut self, number: u32, channel: Descriptors) -> i32;
}

/// How many workers, and how long to wait for them.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of workers, at least one.
    pub workers: usize,
    /// How long a graceful stop waits for what is in work.
    pub graceful_timeout: Duration,
}

/// Which process returns from [`run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The master: everything has stopped.
    Master,
    /// A worker that is to exit with this status.
    Worker(i32),
}

#[derive(Debug)]
struct Worker {
    number: u32,
    pid: Pid,
    /// It has loaded its app.
    serving: bool,
}

#[derive(Debug)]
struct Core {
    pid: Pid,
    control: OwnedFd,
    born: Instant,
    /// It was told to leave: its end is no accident.
    dismissed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The core finishes what is in work; workers that leave are replaced.
    Draining {
        until: Instant,
    },
    /// Nothing is in work; workers were told to leave.
    Stopping {
        until: Instant,
    },
}

struct Master<'a> {
    roles: &'a mut dyn Roles,
    settings: Settings,
    workers: Vec<Worker>,
    core: Core,
    next_number: u32,
    not_before: Instant,
    phase: Phase,
    /// Why the server can't go on.
    failure: Option<String>,
    saved: Saved,
    notes: UnixStream,
    notes_end: UnixStream,
}

/// Runs the server. Returns in the master when all has stopped, and in each worker when it is to exit.
///
/// # Errors
/// When the core can't be started, at first or after its death, or the app's `server_ready` dies.
pub fn run(settings: Settings, roles: &mut dyn Roles) -> Result<Ended, String> {
    let start = |error: io::Error| format!("can't start: {error}");
    let saved = signal::save(&TAKEN).map_err(start)?;
    // Ignored by the app at load time, it would make waitpid fail.
    signal::set_default(Signal::SIGCHLD).map_err(start)?;
    let core = start_core(roles).map_err(|error| format!("can't start the core: {error}"))?;
    let (notes, notes_end) = UnixStream::pair().map_err(start)?;
    notes.set_nonblocking(true).map_err(start)?;
    let mut master = Master {
        roles,
        settings,
        workers: Vec::new(),
        core,
        next_number: 1,
        not_before: Instant::now(),
        phase: Phase::Running,
        failure: None,
        saved,
        notes,
        notes_end,
    };
    master.take_signals().map_err(start)?;
    if let Err(message) = master.roles.listening() {
        master.finish();
        return Err(message);
    }
    master.live()
}

/// Forks the core and waits until it accepts connections.
fn start_core(roles: &mut dyn Roles) -> io::Result<Core> {
    let (control, core_end) = control::pair()?;
    let master = getpid();
    // Perl's own fork is for children that run Perl; the core never does.
    // SAFETY: the master has one thread.
    let pid = match unsafe { fork::fork() }? {
        Forked::Child => {
            drop(control);
            let status = match fork::die_with(master) {
                Ok(()) => roles.core(core_end),
                Err(_) => 1,
            };
            fork::leave(status)
        }
        Forked::Parent(pid) => pid,
    };
    drop(core_end);
    loop {
        match control::hear_core(control.as_fd()) {
            Ok(Some(ToMaster::Ready)) => {
                return Ok(Core {
                    pid,
                    control,
                    born: Instant::now(),
                    dismissed: false,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) => {
                let _ = await_death(pid);
                return Err(io::Error::other("it died at once; its log lines say why"));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Waits for the end of a child that is ending, whatever signals come meanwhile.
fn await_death(pid: Pid) -> nix::Result<WaitStatus> {
    loop {
        match waitpid(pid, None) {
            Err(Errno::EINTR) => {}
            status => return status,
        }
    }
}

/// What a new worker is born with.
struct Birth {
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
    fn take_signals(&self) -> io::Result<()> {
        let socket = self.notes_end.as_raw_fd();
        for (signal, bytes) in [
            (Signal::SIGTERM, b"T"),
            (Signal::SIGQUIT, b"T"),
            (Signal::SIGINT, b"I"),
            (Signal::SIGCHLD, b"C"),
        ] {
            signal::note(signal, Note { socket, bytes })?;
        }
        // Whoever read our log lines may have gone.
        signal::disregard(Signal::SIGPIPE)?;
        signal::disregard(Signal::SIGHUP)
    }

    fn live(mut self) -> Result<Ended, String> {
        loop {
            if let Some(birth) = self.fill_up() {
                return Ok(Ended::Worker(self.become_worker(birth)));
            }
            self.wait();
            for note in self.take_notes() {
                match note {
                    b'T' if self.phase == Phase::Running => self.drain(),
                    b'T' | b'I' => self.stop_fast(),
                    _ => self.reap(),
                }
            }
            match self.phase {
                Phase::Draining { until } if Instant::now() >= until => {
                    ::log::warn!("requests were still in work after the graceful timeout");
                    self.stop_fast();
                }
                Phase::Stopping { until } if Instant::now() >= until => self.kill_all(),
                _ => {}
            }
            if matches!(self.phase, Phase::Stopping { .. }) && self.workers.is_empty() {
                self.finish();
                return self.failure.map_or(Ok(Ended::Master), Err);
            }
        }
    }

    /// Starts the workers that are missing. In a new worker's process, returns its birth.
    fn fill_up(&mut self) -> Option<Birth> {
        let stopping = matches!(self.phase, Phase::Stopping { .. });
        while !stopping
            && self.workers.len() < self.settings.workers
            && Instant::now() >= self.not_before
        {
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

    fn start_worker(&mut self) -> io::Result<Option<Birth>> {
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
                    serving: false,
                });
                // A core that has just died is noticed in `wait`; its successor gets new workers.
                let word = ToCore::Worker(number, core_side);
                let _ = control::tell_core(self.core.control.as_fd(), word);
                Ok(None)
            }
        }
    }

    /// A worker's life. What is the master's alone is closed first.
    fn become_worker(self, birth: Birth) -> i32 {
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

    /// Waits for a signal, a word of the core, or the time when something is due.
    fn wait(&mut self) {
        let missing = self.workers.len() < self.settings.workers;
        let birth = missing.then_some(self.not_before);
        let due = match self.phase {
            Phase::Running => birth,
            Phase::Draining { until } => Some(birth.map_or(until, |birth| until.min(birth))),
            Phase::Stopping { until } => Some(until),
        };
        let timeout = match due {
            None => PollTimeout::NONE,
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut wanted = [
            PollFd::new(self.notes.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.core.control.as_fd(), PollFlags::POLLIN),
        ];
        let count = if self.core.dismissed { 1 } else { 2 };
        let core_spoke = match poll(&mut wanted[..count], timeout) {
            Ok(_) => !self.core.dismissed && wanted[1].any().unwrap_or(false),
            Err(_) => false,
        };
        if core_spoke {
            self.hear_core();
        }
    }

    fn hear_core(&mut self) {
        match control::hear_core(self.core.control.as_fd()) {
            Ok(Some(ToMaster::Drained)) => {
                let until = match self.phase {
                    Phase::Draining { until } | Phase::Stopping { until } => until,
                    Phase::Running => return,
                };
                self.phase = Phase::Stopping { until };
            }
            Ok(Some(ToMaster::Serving(number))) => {
                let worker = self.workers.iter_mut().find(|w| w.number == number);
                worker.into_iter().for_each(|worker| worker.serving = true);
            }
            Ok(Some(ToMaster::Ready)) => {}
            Ok(None) => self.core_died(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                ::log::error!("{error}");
                self.core_died();
            }
        }
    }

    fn take_notes(&mut self) -> Vec<u8> {
        let mut notes = [0; 256];
        match self.notes.read(&mut notes) {
            Ok(count) => notes[..count].to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// Takes the exit status of workers that are dead and tells the core.
    fn reap(&mut self) {
        let mut dead = Vec::new();
        // By pid, not any child: the app may have children of its own.
        self.workers.retain(
            |worker| match waitpid(worker.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => true,
                status => {
                    dead.push((worker.number, worker.pid, worker.serving, status));
                    false
                }
            },
        );
        for (number, pid, was_serving, status) in dead {
            let _ = control::tell_core(self.core.control.as_fd(), ToCore::Died(number));
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

    /// The core is gone. Its connections are lost; the listening sockets are not. Workers finish their
    /// call and leave, because their channels are closed, and are replaced.
    fn core_died(&mut self) {
        let status = await_death(self.core.pid);
        ::log::error!("the core died ({status:?})");
        if self.phase != Phase::Running {
            // There is nobody left to serve.
            self.core.dismissed = true;
            self.phase = Phase::Stopping {
                until: Instant::now() + FAST_STOP,
            };
            self.signal_workers(Signal::SIGTERM);
            return;
        }
        if self.core.born.elapsed() < RESPAWN_PAUSE {
            std::thread::sleep(RESPAWN_PAUSE);
        }
        match start_core(self.roles) {
            Ok(core) => self.core = core,
            Err(error) => {
                self.failure = Some(format!("can't start a new core: {error}"));
                self.core.dismissed = true;
                self.kill_all();
                self.phase = Phase::Stopping {
                    until: Instant::now(),
                };
            }
        }
    }

    fn drain(&mut self) {
        self.phase = Phase::Draining {
            until: Instant::now() + self.settings.graceful_timeout,
        };
        self.roles.stop_listening();
        let _ = control::tell_core(self.core.control.as_fd(), ToCore::Drain);
    }

    fn stop_fast(&mut self) {
        self.phase = Phase::Stopping {
            until: Instant::now() + FAST_STOP,
        };
        self.roles.stop_listening();
        self.dismiss_core();
        self.signal_workers(Signal::SIGTERM);
    }

    fn dismiss_core(&mut self) {
        self.core.dismissed = true;
        let _ = control::tell_core(self.core.control.as_fd(), ToCore::Quit);
    }

    fn signal_workers(&self, signal: Signal) {
        for worker in &self.workers {
            let _ = kill(worker.pid, signal);
        }
    }

    fn kill_all(&mut self) {
        self.signal_workers(Signal::SIGKILL);
        for worker in self.workers.drain(..) {
            let _ = await_death(worker.pid);
        }
    }

    /// Ends the core and gives the app its signals back.
    fn finish(&mut self) {
        self.dismiss_core();
        let _ = await_death(self.core.pid);
        if let Err(error) = self.saved.restore(&TAKEN) {
            ::log::warn!("can't restore signals: {error}");
        }
    }
}
