//! How the master ends everything: gracefully, fast, at once.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::control::ToCore;
use super::signals::TAKEN;
use super::{FAST_STOP, Master, Phase, await_death};

impl Master<'_> {
    pub(super) fn drain(&mut self) {
        self.phase = Phase::Draining {
            until: Instant::now() + self.settings.graceful_timeout,
        };
        self.roles.stop_listening();
        let _ = self.core.control.tell(ToCore::Drain);
    }

    pub(super) fn stop_fast(&mut self) {
        self.phase = Phase::Stopping {
            until: Instant::now() + FAST_STOP,
        };
        self.roles.stop_listening();
        self.dismiss_core();
        self.signal_workers(Signal::SIGTERM);
    }

    pub(super) fn dismiss_core(&mut self) {
        self.core.dismissed = true;
        let _ = self.core.control.tell(ToCore::Quit);
    }

    pub(super) fn signal_workers(&self, signal: Signal) {
        for worker in &self.workers {
            let _ = kill(worker.pid, signal);
        }
    }

    pub(super) fn kill_all(&mut self) {
        self.signal_workers(Signal::SIGKILL);
        for worker in self.workers.drain(..) {
            let _ = await_death(worker.pid);
        }
    }

    /// Ends the core and gives the app its signals back.
    pub(super) fn finish(&mut self) {
        self.dismiss_core();
        let _ = await_death(self.core.pid);
        if let Err(error) = self.saved.restore(&TAKEN) {
            ::log::warn!("can't restore signals: {error}");
        }
    }
}
