//! The core, as its master sees it: start, messages, silence, death.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::super::control::{self, MasterEnd, ToCore, ToMaster};
use super::super::error::Error;
use super::super::fork::{self, Forked};
use super::super::heartbeat::{Beat, Heartbeat};
use super::super::notify::Notifier;
use super::super::signal;
use super::signals::{STOP_SIGNALS, STOPS};
use super::worker::{Ending, State};
use super::{ExitStatus, FAST_STOP, Master, Roles, await_deaths};

/// A core that lived shorter than this has a successor only after a pause.
const RESPAWN_PAUSE: Duration = Duration::from_secs(1);

/// How long a core may take to become ready.
const START: Duration = Duration::from_secs(10);

/// How often the wait for that checks for signals.
const LOOK: Duration = Duration::from_millis(200);

/// A core, as the master knows it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) pid: Pid,
    pub(super) control: MasterEnd,
    born: Instant,
    /// It has read certificates, or needs none.
    pub(super) has_certificates: bool,
    life: Life,
    heartbeat: Heartbeat,
}

/// The state of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It was forked, and is given up if it is not ready at this time.
    Starting { until: Instant },
    /// It is ready and obeys messages.
    Serving,
    /// It was told to leave, or has closed its socket, and is killed if it is still there at this time.
    Leaving { until: Instant },
    /// Its exit status was taken.
    Gone,
}

/// What was read from the control socket.
#[derive(Debug)]
pub(super) enum ControlEvent {
    Word(ToMaster),
    /// Nothing: a signal came instead.
    Nothing,
    /// No message will come any more.
    Lost(CoreLoss),
}

/// Why a core serves no more.
#[derive(Debug)]
pub(super) enum CoreLoss {
    /// It has closed its socket, as every dying process does.
    Closed,
    /// It did not answer.
    Silent,
    /// It was not ready in time.
    NotReady,
    /// Its messages can't be read.
    Unheard(io::Error),
}

impl Core {
    fn new(pid: Pid, control: MasterEnd, life: Life) -> Core {
        let now = Instant::now();
        Core {
            pid,
            control,
            born: now,
            has_certificates: false,
            life,
            heartbeat: Heartbeat::new(now),
        }
    }

    /// Forks a core.
    pub(super) fn fork(roles: &mut dyn Roles) -> io::Result<Core> {
        let (control, core_end) = control::pair()?;
        let master = getpid();
        // Perl's own fork is for children that run Perl; the core never does.
        // SAFETY: the master has one thread.
        match unsafe { fork::fork() }? {
            Forked::Child => {
                drop(control);
                let status = match fork::die_with(master) {
                    Ok(()) => roles.core(core_end),
                    Err(_) => 1,
                };
                fork::leave(status)
            }
            Forked::Parent(pid) => {
                let until = Instant::now() + START;
                Ok(Core::new(pid, control, Life::Starting { until }))
            }
        }
    }

    /// Forks a core and waits until it is ready to accept connections.
    pub(super) fn start(roles: &mut dyn Roles) -> io::Result<Core> {
        let mut core = Core::fork(roles)?;
        let until = core.born + START;
        loop {
            // A signal that ends the start is still blocked.
            let soon = until.min(Instant::now() + LOOK);
            let why = match core.control.hear_until(soon) {
                Ok(Some(ToMaster::Ready)) => {
                    core.is_ready();
                    return Ok(core);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if Instant::now() < until && !signal::is_pending(&STOP_SIGNALS) {
                        continue;
                    }
                    io::Error::other("it does not answer")
                }
                Ok(_) => io::Error::other("it died at once; its log lines say why"),
                Err(error) => error,
            };
            core.kill();
            return Err(why);
        }
    }

    /// A core that the program before has started.
    pub(super) fn of_predecessor(pid: Pid, control: MasterEnd) -> Core {
        Core {
            has_certificates: true,
            ..Core::new(pid, control, Life::Serving)
        }
    }

    pub(super) fn raw_control(&self) -> RawFd {
        self.control.as_fd().as_raw_fd()
    }

    /// Sends it a message. If that fails, it is dead or hangs, which the master notices in `wait` and by the heartbeat;
    /// its successor does not need the message.
    pub(super) fn tell(&self, word: ToCore) {
        if matches!(self.life, Life::Starting { .. } | Life::Serving) {
            let _ = self.control.tell(word);
        }
    }

    /// Whether it can be given workers.
    pub(super) fn serves(&self) -> bool {
        self.life == Life::Serving
    }

    /// The socket, while messages are expected from it.
    pub(super) fn speaks(&self) -> Option<BorrowedFd<'_>> {
        match self.life {
            Life::Starting { .. } | Life::Serving => Some(self.control.as_fd()),
            Life::Leaving { .. } | Life::Gone => None,
        }
    }

    /// Whether it has sent a message that was not read yet, or has died.
    pub(super) fn has_spoken(&self) -> bool {
        let Some(socket) = self.speaks() else {
            return false;
        };
        let mut polled = [PollFd::new(socket, PollFlags::POLLIN)];
        self.control.has_heard() || matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
    }

    /// Reads its next message.
    pub(super) fn hear(&mut self) -> ControlEvent {
        match self.control.hear() {
            Ok(Some(word)) => {
                match word {
                    ToMaster::Alive => self.heartbeat.answered(),
                    ToMaster::Ready => self.is_ready(),
                    _ => {}
                }
                ControlEvent::Word(word)
            }
            Ok(None) => ControlEvent::Lost(CoreLoss::Closed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => ControlEvent::Nothing,
            Err(error) => ControlEvent::Lost(CoreLoss::Unheard(error)),
        }
    }

    fn is_ready(&mut self) {
        self.life = Life::Serving;
        self.heartbeat = Heartbeat::new(Instant::now());
    }

    /// When [`Core::check`] or [`Core::kill_overdue`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.life {
            Life::Starting { until } | Life::Leaving { until } => Some(until),
            Life::Serving => Some(self.heartbeat.due()),
            Life::Gone => None,
        }
    }

    /// Pings it when it is time; returns why it is to be given up. All its messages must have been read.
    pub(super) fn check(&mut self, now: Instant) -> Option<CoreLoss> {
        match self.life {
            Life::Starting { until } if now >= until => Some(CoreLoss::NotReady),
            Life::Serving if self.control.hangs() => Some(CoreLoss::Silent),
            Life::Serving => match self.heartbeat.beat(now) {
                Beat::Wait => None,
                Beat::Ask => {
                    self.tell(ToCore::Ping);
                    None
                }
                // It can't answer while a debugger holds it.
                Beat::Dead if is_traced(self.pid) => {
                    self.heartbeat.answered();
                    None
                }
                Beat::Dead => Some(CoreLoss::Silent),
            },
            _ => None,
        }
    }

    /// Tells it to leave at once.
    pub(super) fn dismiss(&mut self) {
        self.tell(ToCore::Quit);
        self.leaves();
    }

    /// It is leaving, and has a limited time for that.
    pub(super) fn leaves(&mut self) {
        if self.speaks().is_some() {
            let until = Instant::now() + FAST_STOP;
            self.life = Life::Leaving { until };
        }
    }

    /// Takes its exit status if it has left, and kills it if its time is over. Returns whether it is gone.
    pub(super) fn reap(&mut self, now: Instant) -> bool {
        if let Life::Leaving { until } = self.life {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) if now >= until => {
                    let _ = kill(self.pid, Signal::SIGKILL);
                    // It is reaped at the SIGCHLD, which can only be late for a process that the kernel holds.
                    let until = now + FAST_STOP;
                    self.life = Life::Leaving { until };
                }
                Ok(WaitStatus::StillAlive) => {}
                _ => self.life = Life::Gone,
            }
        }
        self.life == Life::Gone
    }

    /// Waits for a core that is leaving by itself, and kills it when its time is over. Returns how it ended; nothing when the
    /// kernel still holds it.
    fn await_exit(&mut self, until: Instant) -> Option<ExitStatus> {
        if self.life == Life::Gone {
            return None;
        }
        match await_deaths(&[self.pid], until).pop() {
            Some((_, status)) => {
                self.life = Life::Gone;
                Some(status)
            }
            None => self.kill(),
        }
    }

    /// Ends it at once. Returns as [`Core::await_exit`].
    fn kill(&mut self) -> Option<ExitStatus> {
        if self.life == Life::Gone {
            return None;
        }
        self.life = Life::Gone;
        let _ = kill(self.pid, Signal::SIGKILL);
        let until = Instant::now() + FAST_STOP / 2;
        await_deaths(&[self.pid], until)
            .pop()
            .map(|(_, status)| status)
    }
}

/// Whether a debugger is attached to a process.
fn is_traced(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let tracer = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_some_and(|tracer| tracer.trim() != "0")
}

impl Master<'_> {
    /// Reads all messages that the core has sent. It reports that a worker serves or leaves before that worker can exit.
    pub(super) fn hear_all(&mut self) {
        while self.core.has_spoken() {
            self.hear_core();
        }
    }

    pub(super) fn hear_core(&mut self) {
        match self.core.hear() {
            ControlEvent::Word(word) => self.obey_core(word),
            ControlEvent::Nothing => {}
            ControlEvent::Lost(end) => self.core_ended(end),
        }
    }

    fn obey_core(&mut self, word: ToMaster) {
        match word {
            ToMaster::Drained => self.drained(),
            ToMaster::Serving(number) => self.serves(number),
            ToMaster::Checked(number, checked) => self.checked(number, checked),
            ToMaster::Leaving(number) => self.worker_leaves(number),
            ToMaster::Load(load) => self.load(load),
            ToMaster::Hung(number, call) => self.worker_hangs(number, &call),
            ToMaster::Unconnected(number, why) => self.worker_unconnected(number, &why),
            ToMaster::Broken(number) => self.worker_broken(number),
            ToMaster::Alive => self.tell(Notifier::alive),
            ToMaster::Ready => self.core_ready(),
            // To a question that took too long.
            ToMaster::Answer(Ok(())) => ::log::warn!("the core was slow, and is done"),
            ToMaster::Answer(Err(why)) => ::log::warn!("{why}"),
        }
    }

    /// Lets the core accept connections.
    pub(super) fn accept(&mut self) -> Result<(), Error> {
        let told = self.core.control.tell(ToCore::Accept);
        told.map_err(Error::CoreLost)
    }

    /// Gives up a core that does not answer, and starts one that is missing.
    pub(super) fn check_core(&mut self) {
        let now = Instant::now();
        self.hear_all();
        if let Some(end) = self.core.check(now) {
            self.core_ended(end);
        }
        if self.next_core().is_some_and(|due| due <= now) {
            self.start_core();
        }
    }

    /// When a core is to be started in place of one that is gone.
    pub(super) fn next_core(&self) -> Option<Instant> {
        let missing = self.core.life == Life::Gone && self.shutdown.is_running();
        // One that died at once is replaced after a pause.
        missing.then(|| self.core.born + RESPAWN_PAUSE)
    }

    /// The core has died, or was given up. Its connections are lost; the listening sockets are not. Workers finish their
    /// call and leave, because their channels are closed, and are replaced.
    fn core_ended(&mut self, end: CoreLoss) {
        let was_starting = matches!(self.core.life, Life::Starting { .. });
        let status = match end {
            CoreLoss::Closed => self.core.await_exit(Instant::now() + FAST_STOP),
            _ => self.core.kill(),
        };
        let how = match end {
            CoreLoss::Closed => fork::how_it_ended(status.unwrap_or(Err(nix::Error::ECHILD))),
            CoreLoss::Silent => "did not answer for 3 seconds and was killed".to_owned(),
            CoreLoss::NotReady => "was not ready in time and was killed".to_owned(),
            CoreLoss::Unheard(error) => format!("was killed: {error}"),
        };
        if !self.shutdown.is_running() {
            ::log::error!("the core {how}");
            // There is nobody left to serve.
            return self.end_workers();
        }
        if was_starting {
            return self.fail(Error::RestartedCore(how));
        }
        ::log::error!("the core {how}; a new one is started");
        if let Some(asked) = self.reload.cancel(self.settings.board.last_asked()) {
            self.tell_failure("reload", "the core died meanwhile", asked);
        }
        let until = Instant::now() + self.settings.graceful_timeout;
        for worker in &mut self.workers {
            worker.state = State::Leaving;
            worker.ending.get_or_insert(Ending::Leaving(until));
        }
    }

    fn start_core(&mut self) {
        match Core::fork(self.roles) {
            Ok(core) => {
                self.core = core;
                self.let_stops_interrupt();
            }
            Err(error) => self.fail(Error::RestartCore(error)),
        }
    }

    /// A stop does not wait for the core's answers.
    pub(super) fn let_stops_interrupt(&mut self) {
        // Without it, a stop waits for some seconds.
        if let Ok(socket) = self.signals.notes() {
            self.core.control.interrupt_by(socket, STOPS);
        }
    }

    /// A core that follows another one has opened what it needs.
    fn core_ready(&mut self) {
        if self.shutdown.is_running() {
            self.reload_files();
            // A core that has died again shows in `wait`.
            let _ = self.accept();
        }
    }

    /// Ends the core within a limited time, whatever its state.
    pub(super) fn end_core(&mut self) {
        self.core.dismiss();
        if let Life::Leaving { until } = self.core.life {
            self.core.await_exit(until);
        }
    }
}
