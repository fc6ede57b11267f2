//! Stopping: rolling, graceful, fast, at once.
//!
//! Each step has a limit, and none waits for a process that does not answer: a graceful stop ends within `graceful_timeout` and
//! two seconds, whatever hangs.

use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use super::super::control::ToCore;
use super::super::error::Error;
use super::super::notify::Notifier;
use super::worker::State;
use super::{FAST_STOP, Master, await_deaths};

/// The phase of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Workers are told to leave one after the other; the last one begins the drain.
    RollingStop {
        next: Instant,
    },
    /// The core finishes what is in flight; workers that leave are replaced.
    Draining {
        until: Instant,
    },
    /// Nothing is in flight; workers were told to leave.
    Stopping {
        until: Instant,
    },
}

/// The stop of the server: its phases follow each other in the order above only.
#[derive(Debug)]
pub(super) struct Shutdown {
    phase: Phase,
    /// Why the server can't go on.
    failure: Option<Error>,
}

impl Shutdown {
    pub(super) fn new() -> Self {
        Shutdown {
            phase: Phase::Running,
            failure: None,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether only the workers' exit is awaited.
    pub(super) fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    /// Whether it is a rolling stop.
    pub(super) fn is_rolling(&self) -> bool {
        matches!(self.phase, Phase::RollingStop { .. })
    }

    /// When something is due by the clock.
    pub(super) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => None,
            Phase::RollingStop { next: due }
            | Phase::Draining { until: due }
            | Phase::Stopping { until: due } => Some(due),
        }
    }

    /// At this time the next worker is asked to leave.
    fn roll(&mut self, next: Instant) {
        if self.is_running() || self.is_rolling() {
            self.phase = Phase::RollingStop { next };
        }
    }

    /// The core has until then to finish what is being served.
    fn drain(&mut self, until: Instant) {
        if self.is_running() || self.is_rolling() {
            self.phase = Phase::Draining { until };
        }
    }

    /// The core has finished. Returns whether that was expected.
    fn drained(&mut self) -> bool {
        match self.phase {
            Phase::Draining { until } => {
                self.phase = Phase::Stopping { until };
                true
            }
            Phase::Running | Phase::RollingStop { .. } | Phase::Stopping { .. } => false,
        }
    }

    /// Workers have until then. An earlier limit is never extended.
    fn stop(&mut self, until: Instant) {
        let until = match self.phase {
            Phase::Stopping { until: before } => before.min(until),
            Phase::Running | Phase::RollingStop { .. } | Phase::Draining { .. } => until,
        };
        self.phase = Phase::Stopping { until };
    }

    /// The first reason counts.
    fn fail(&mut self, why: Error) {
        self.failure.get_or_insert(why);
    }

    /// How the server has ended.
    pub(super) fn result(self) -> Result<(), Error> {
        self.failure.map_or(Ok(()), Err)
    }
}

impl Master<'_> {
    /// Tells the service manager, if there is one.
    pub(super) fn tell(&self, what: impl Fn(&Notifier)) {
        self.settings.notifier.iter().for_each(what);
    }

    /// Does what is due by the clock.
    pub(super) fn run_due_timers(&mut self) {
        let notifier = self.settings.notifier.as_mut();
        if notifier.is_some_and(Notifier::is_sign_due) {
            // WATCHDOG=1 is sent when the core has answered: it is as important as the master.
            self.core.tell(ToCore::Ping);
        }
        let now = Instant::now();
        self.check_core();
        self.kill_overdue();
        self.predecessors.check(now);
        self.shrink();
        self.read_unread();
        match self.shutdown.phase() {
            Phase::RollingStop { next } if now >= next => self.stop_next_worker(),
            Phase::Draining { until } if now >= until => {
                ::log::warn!("requests were still being served after graceful_timeout");
                self.stop_fast();
            }
            Phase::Stopping { until } if now >= until => self.kill_all(),
            _ => {}
        }
    }

    /// Lets one worker go for each `spawn_interval`, while others take over their share; then drains.
    pub(super) fn start_rolling_stop(&mut self) {
        self.tell(Notifier::stopping);
        self.restart.cancel();
        self.give_up_reload();
        self.stop_next_worker();
    }

    fn stop_next_worker(&mut self) {
        let interval = self.settings.spawn_interval;
        let serving: Vec<u32> = self.active().map(|worker| worker.number).collect();
        match serving[..] {
            [first, _, ..] if !interval.is_zero() => {
                self.retire(first);
                self.shutdown.roll(Instant::now() + interval);
            }
            _ => self.drain(),
        }
    }

    /// Accepts no more connections and finishes the requests in flight.
    pub(super) fn drain(&mut self) {
        self.tell(Notifier::stopping);
        self.restart.cancel();
        self.give_up_reload();
        let until = Instant::now() + self.settings.graceful_timeout;
        self.predecessors.give_way(until);
        self.shutdown.drain(until);
        self.roles.stop_listening();
        if !self.core.serves() {
            // There is nobody left to serve.
            return self.end_workers();
        }
        self.core.tell(match self.settings.has_successor {
            true => ToCore::GiveWay,
            false => ToCore::Drain,
        });
    }

    /// The core has finished all requests, and has told the workers to leave.
    pub(super) fn drained(&mut self) {
        if self.shutdown.drained() {
            self.abandon_loading();
        }
    }

    pub(super) fn stop_fast(&mut self) {
        self.tell(Notifier::stopping);
        self.restart.cancel();
        self.predecessors.dismiss();
        self.roles.stop_listening();
        self.core.dismiss();
        self.end_workers();
    }

    /// No request is served any more: workers have a moment for their END blocks.
    pub(super) fn end_workers(&mut self) {
        self.shutdown.stop(Instant::now() + FAST_STOP);
        self.signal_workers(Signal::SIGTERM);
    }

    /// Stops fast, because of this error.
    pub(super) fn fail(&mut self, error: Error) {
        ::log::debug!("the server can't go on: {error}");
        self.shutdown.fail(error);
        self.stop_fast();
    }

    pub(super) fn signal_workers(&self, signal: Signal) {
        for worker in &self.workers {
            let _ = kill(worker.pid, signal);
        }
    }

    /// Kills what is left. A process that the kernel keeps even then is left alone: the server ends without it.
    fn kill_all(&mut self) {
        let workers = self.workers.drain(..).map(|worker| worker.pid);
        let mut pids: Vec<_> = workers.collect();
        pids.extend(self.predecessors.forget());
        for &pid in &pids {
            let _ = kill(pid, Signal::SIGKILL);
        }
        await_deaths(&pids, Instant::now() + FAST_STOP / 2);
    }

    /// Has a worker exit when it has finished its requests in flight.
    pub(super) fn retire(&mut self, number: u32) {
        if let Some(worker) = self.worker(number) {
            worker.state = State::Leaving;
        }
        self.core.tell(ToCore::Retire(number));
    }

    /// Ends the core and gives the app its signals back.
    pub(super) fn finish(&mut self) {
        self.end_core();
        if let Err(error) = self.signals.restore() {
            ::log::warn!("can't restore signals: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// The place of a phase in the order of a stop.
    fn rank(phase: Phase) -> u8 {
        match phase {
            Phase::Running => 0,
            Phase::RollingStop { .. } => 1,
            Phase::Draining { .. } => 2,
            Phase::Stopping { .. } => 3,
        }
    }

    proptest! {
        /// Protects: signals and deaths in any order only advance a stop, and none of them extends its limit.
        #[test]
        fn a_stop_only_goes_forward(steps in proptest::collection::vec((0..4u8, 0..100u64), 0..40)) {
            let begin = Instant::now();
            let mut shutdown = Shutdown::new();
            for (step, seconds) in steps {
                let before = shutdown.phase();
                let until = begin + Duration::from_secs(seconds);
                match step {
                    0 => shutdown.roll(until),
                    1 => shutdown.drain(until),
                    2 => _ = shutdown.drained(),
                    _ => shutdown.stop(until),
                }
                let after = shutdown.phase();
                prop_assert!(rank(after) >= rank(before), "{before:?} to {after:?}");
                match (before, after) {
                    (Phase::Draining { until: before }, Phase::Draining { until: after })
                    | (Phase::Stopping { until: before }, Phase::Stopping { until: after }) => {
                        prop_assert!(after <= before, "put off");
                    }
                    _ => {}
                }
            }
        }
    }
}
