//! The core, as its master sees it: birth, words, death.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use super::super::control::{self, MasterEnd, ToCore, ToMaster};
use super::super::fork::{self, Forked};
use super::super::notify::Notifier;
use super::stop::Phase;
use super::workers::State;
use super::{FAST_STOP, Master, RESPAWN_PAUSE, Roles, await_death};

/// The core, as the master knows it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) pid: Pid,
    pub(super) control: MasterEnd,
    pub(super) born: Instant,
    /// It has read certificates, or needs none.
    pub(super) has_certificates: bool,
    /// It was told to leave: its end is no accident.
    pub(super) dismissed: bool,
}

impl Core {
    /// Whether it has said what was not heard yet, or has died.
    pub(super) fn has_spoken(&self) -> bool {
        let mut polled = [PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        self.control.has_heard() || matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1))
    }
}

/// Forks the core and waits until it accepts connections.
pub(super) fn start(roles: &mut dyn Roles) -> io::Result<Core> {
    let (mut control, core_end) = control::pair()?;
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
        match control.hear() {
            Ok(Some(ToMaster::Ready)) => {
                return Ok(Core {
                    pid,
                    control,
                    born: Instant::now(),
                    has_certificates: false,
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

impl Master<'_> {
    /// Hears all that the core has said by now. That a worker serves or leaves it says before that one can die of it.
    pub(super) fn hear_all(&mut self) {
        while !self.core.dismissed && self.core.has_spoken() {
            self.hear_core();
        }
    }

    pub(super) fn hear_core(&mut self) {
        match self.core.control.hear() {
            Ok(Some(ToMaster::Drained)) => {
                if let Phase::Draining { until } = self.phase {
                    self.phase = Phase::Stopping { until };
                    self.abandon_loading();
                }
            }
            Ok(Some(ToMaster::Serving(number))) => self.serves(number),
            Ok(Some(ToMaster::Checked(number, checked))) => self.checked(number, checked),
            Ok(Some(ToMaster::Leaving(number))) => self.worker_leaves(number),
            Ok(Some(ToMaster::Load(load))) => self.load(load),
            Ok(Some(ToMaster::Hung(number, call))) => self.worker_hangs(number, &call),
            Ok(Some(ToMaster::Alive)) => self.tell(Notifier::alive),
            Ok(Some(ToMaster::Ready)) => {}
            // To a question that took too long.
            Ok(Some(ToMaster::Answer(Ok(())))) => ::log::warn!("the core was slow, and is done"),
            Ok(Some(ToMaster::Answer(Err(why)))) => ::log::warn!("{why}"),
            Ok(None) => self.core_died(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                ::log::error!("{error}");
                self.core_died();
            }
        }
    }

    /// Lets the core accept connections.
    pub(super) fn accept(&mut self) -> Result<(), String> {
        let told = self.core.control.tell(ToCore::Accept);
        told.map_err(|error| format!("the core has died: {error}"))
    }

    /// The core is gone. Its connections are lost; the listening sockets are not. Workers finish their
    /// call and leave, because their channels are closed, and are replaced.
    fn core_died(&mut self) {
        let status = await_death(self.core.pid);
        let how = fork::how_it_ended(status);
        match self.phase {
            Phase::Running => ::log::error!("the core {how}; a new one is started"),
            _ => ::log::error!("the core {how}"),
        }
        self.core.dismissed = true;
        match self.phase {
            // There is nobody left to serve.
            Phase::Draining { .. } | Phase::Ebbing { .. } | Phase::Stopping { .. } => {
                self.phase = Phase::Stopping {
                    until: Instant::now() + FAST_STOP,
                };
                self.signal_workers(Signal::SIGTERM);
            }
            Phase::Running => self.replace_core(),
        }
    }

    fn replace_core(&mut self) {
        if self.core.born.elapsed() < RESPAWN_PAUSE {
            std::thread::sleep(RESPAWN_PAUSE);
        }
        if let Some(change) = self.change.take() {
            self.tell_failure("reload", "the core died meanwhile", change.asked);
        }
        for worker in &mut self.workers {
            worker.state = State::Leaving;
        }
        match start(self.roles) {
            Ok(core) => {
                self.core = core;
                self.reread();
                // A core that has died again shows in `wait`.
                let _ = self.accept();
            }
            Err(error) => {
                self.fail(format!("can't start a new core: {error}"));
                self.kill_all();
            }
        }
    }
}
