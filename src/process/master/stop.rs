//! How the master ends everything: slowly, gracefully, fast, at once.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::control::ToCore;
use super::super::notify::Notifier;
use super::signals::TAKEN;
use super::workers::State;
use super::{FAST_STOP, Master, await_death};

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// One worker after the other is told to leave; the last one begins the drain.
    Ebbing {
        next: Instant,
    },
    /// The core finishes what is in work; workers that leave are replaced.
    Draining {
        until: Instant,
    },
    /// Nothing is in work; workers were told to leave.
    Stopping {
        until: Instant,
    },
}

impl Phase {
    /// When something is due, whoever is silent.
    pub(super) fn due(self) -> Option<Instant> {
        match self {
            Phase::Running => None,
            Phase::Ebbing { next: due }
            | Phase::Draining { until: due }
            | Phase::Stopping { until: due } => Some(due),
        }
    }

    /// Whether it is a stop that is in no hurry.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Phase::Ebbing { .. })
    }
}

impl Master<'_> {
    /// Tells the service manager, if there is one.
    pub(super) fn tell(&self, what: impl Fn(&Notifier)) {
        self.settings.notifier.iter().for_each(what);
    }

    /// Does what is due by the clock.
    pub(super) fn be_punctual(&mut self) {
        let notifier = self.settings.notifier.as_mut();
        if notifier.is_some_and(Notifier::is_sign_due) {
            // The sign is given when the core has answered: it is as important as the master.
            let _ = self.core.control.tell(ToCore::Ping);
        }
        let now = Instant::now();
        self.kill_overdue();
        self.cut_overdue();
        self.shrink();
        self.read_unread();
        match self.phase {
            Phase::Ebbing { next } if now >= next => self.ebb(),
            Phase::Draining { until } if now >= until => {
                ::log::warn!("requests were still being served after graceful_timeout");
                self.stop_fast();
            }
            Phase::Stopping { until } if now >= until => self.kill_all(),
            _ => {}
        }
    }

    /// Lets one worker go for each `spawn_interval`, while others take over their share; then drains.
    pub(super) fn stop_slowly(&mut self) {
        self.tell(Notifier::stopping);
        self.give_up_trial();
        self.give_up_change();
        self.ebb();
    }

    fn ebb(&mut self) {
        let interval = self.settings.spawn_interval;
        let serving: Vec<u32> = self.active().map(|worker| worker.number).collect();
        match serving[..] {
            [first, _, ..] if !interval.is_zero() => {
                self.retire(first);
                self.phase = Phase::Ebbing {
                    next: Instant::now() + interval,
                };
            }
            _ => self.drain(),
        }
    }

    /// Accepts nothing more and finishes what is in work.
    pub(super) fn drain(&mut self) {
        self.tell(Notifier::stopping);
        self.give_up_trial();
        self.give_up_change();
        self.predecessors_give_way();
        self.phase = Phase::Draining {
            until: Instant::now() + self.settings.graceful_timeout,
        };
        self.roles.stop_listening();
        let word = if self.settings.has_successor {
            ToCore::GiveWay
        } else {
            ToCore::Drain
        };
        // A core that has just died is noticed in `wait`.
        let _ = self.core.control.tell(word);
    }

    pub(super) fn stop_fast(&mut self) {
        self.tell(Notifier::stopping);
        self.give_up_trial();
        self.dismiss_predecessors(Signal::SIGTERM);
        self.phase = Phase::Stopping {
            until: Instant::now() + FAST_STOP,
        };
        self.roles.stop_listening();
        self.dismiss_core();
        self.signal_workers(Signal::SIGTERM);
    }

    /// Ends everything, since there is no point in going on.
    pub(super) fn fail(&mut self, message: String) {
        ::log::debug!("the server can't go on: {message}");
        self.failure.get_or_insert(message);
        self.stop_fast();
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
        self.dismiss_predecessors(Signal::SIGKILL);
    }

    /// Lets a worker go behind what it has in work.
    pub(super) fn retire(&mut self, number: u32) {
        if let Some(worker) = self.worker(number) {
            worker.state = State::Leaving;
        }
        let _ = self.core.control.tell(ToCore::Retire(number));
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
