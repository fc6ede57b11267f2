//! The core, as its master sees it: birth, words, death.

use std::io;
use std::time::Instant;

use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid};

use super::super::control::{self, MasterEnd, ToMaster};
use super::super::fork::{self, Forked};
use super::{FAST_STOP, Master, Phase, RESPAWN_PAUSE, Roles, await_death};

/// The core, as the master knows it.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) pid: Pid,
    pub(super) control: MasterEnd,
    pub(super) born: Instant,
    /// It was told to leave: its end is no accident.
    pub(super) dismissed: bool,
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
    pub(super) fn hear_core(&mut self) {
        match self.core.control.hear() {
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
            Ok(Some(ToMaster::Leaving(number))) => self.worker_leaves(number),
            Ok(Some(ToMaster::Hung(number, request))) => self.worker_hangs(number, &request),
            Ok(Some(ToMaster::Ready)) => {}
            Ok(Some(ToMaster::Checked(..) | ToMaster::Alive)) => {}
            // To a question that took too long.
            Ok(Some(ToMaster::Answer(answer))) => {
                ::log::warn!("a late answer of the core: {answer:?}")
            }
            Ok(None) => self.core_died(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                ::log::error!("{error}");
                self.core_died();
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
        match start(self.roles) {
            Ok(core) => {
                self.core = core;
                self.reread();
                // A core that has died again shows in `wait`.
                let _ = self.accept();
            }
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
}
