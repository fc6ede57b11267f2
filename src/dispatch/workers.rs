//! All workers, and which of them are idle.
//!
//! [`Workers::change`] is the only way to change a worker. What follows from a worker's state (whether it is idle, how many
//! calls wait at it) is brought up to date there, so that no caller can forget it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use super::call::Call;
use super::in_flight::{InFlight, Place};
use super::worker::{LostCall, Worker};
use crate::channel::violation::Violation;

#[derive(Debug, Default)]
pub(super) struct Workers {
    map: BTreeMap<u32, Worker>,
    /// Workers that can take a call. The one that was busy last is on top: its caches are warm.
    idle: Vec<u32>,
    /// Calls that wait at busy workers.
    waiting: usize,
    /// Workers that have broken their channels, and still hold calls.
    broken: Vec<u32>,
}

impl Workers {
    pub(super) fn get(&self, number: u32) -> Option<&Worker> {
        self.map.get(&number)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.map.iter().map(|(&number, worker)| (number, worker))
    }

    /// How many can take a call at once.
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// The idle worker that was busy last.
    pub(super) fn next_idle(&self) -> Option<u32> {
        self.idle.last().copied()
    }

    /// The idle worker with the fewest open responses: their parts are its work as well.
    pub(super) fn idle_with_fewest_open(&self) -> Option<u32> {
        let open = |number: &u32| self.get(*number).map_or(0, Worker::open_responses);
        self.idle.iter().rev().copied().min_by_key(open)
    }

    /// Calls that wait at busy workers.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn insert(&mut self, number: u32, worker: Worker) {
        self.map.insert(number, worker);
    }

    /// Changes a worker; `None` if there is no such worker.
    pub(super) fn change<T>(
        &mut self,
        number: u32,
        change: impl FnOnce(&mut Worker) -> T,
    ) -> Option<T> {
        let worker = self.map.get_mut(&number)?;
        let before = (worker.is_idle(), worker.waiting());
        let was_broken = worker.is_broken();
        let changed = change(worker);
        let after = (worker.is_idle(), worker.waiting());
        if worker.is_broken() && !was_broken {
            self.broken.push(number);
        }
        self.note(number, before, after);
        Some(changed)
    }

    /// A worker that has broken its channel, how, and the calls that it held, each with whether it has failed.
    pub(super) fn take_broken(&mut self) -> Option<(u32, Violation, Vec<LostCall>)> {
        loop {
            let number = self.broken.pop()?;
            let taken = self.change(number, |worker| (worker.violation(), worker.take_all()));
            // One that has died meanwhile holds nothing.
            if let Some((Some(violation), lost)) = taken {
                return Some((number, violation, lost));
            }
        }
    }

    /// Takes a dead worker out.
    pub(super) fn remove(&mut self, number: u32) -> Option<Worker> {
        let worker = self.map.remove(&number)?;
        self.note(number, (worker.is_idle(), worker.waiting()), (false, 0));
        Some(worker)
    }

    fn note(&mut self, number: u32, before: (bool, usize), after: (bool, usize)) {
        match (before.0, after.0) {
            (false, true) => self.idle.push(number),
            (true, false) if self.next_idle() == Some(number) => {
                self.idle.pop();
            }
            (true, false) => self.idle.retain(|&idle| idle != number),
            _ => {}
        }
        self.waiting = self.waiting + after.1 - before.1;
    }

    /// The worker that holds least among those where one more call may wait.
    pub(super) fn least_loaded(&self, now: Instant) -> Option<u32> {
        let loads = self
            .iter()
            .filter_map(|(number, worker)| Some((worker.load(now)?, number)));
        loads.min().map(|(_, number)| number)
    }

    /// The call that has waited longest at a busy worker.
    pub(super) fn oldest_waiting(&self) -> Option<&Call> {
        if self.waiting == 0 {
            return None;
        }
        let workers = self.map.values();
        let calls = workers.filter_map(|worker| worker.waiting_calls().next());
        calls.min_by_key(|call| call.submitted())
    }

    /// Whether workers are idle while calls wait at busy ones.
    pub(super) fn can_reclaim(&self) -> bool {
        self.waiting > 0 && !self.idle.is_empty()
    }

    /// Takes calls back for idle workers, the oldest first. With `others_wait`, calls that were submitted later wait in the
    /// queue: then only workers whose call takes long give theirs back.
    pub(super) fn reclaim(&mut self, others_wait: bool, now: Instant) -> Vec<Call> {
        let mut taken = Vec::new();
        if !self.can_reclaim() {
            return taken;
        }
        let slow = self
            .iter()
            .filter(|(_, worker)| worker.waiting() > 0 && worker.is_slow(now));
        let slow: Vec<_> = slow.map(|(number, _)| number).collect();
        for number in slow {
            let calls = self.change(number, |worker| worker.take_back(usize::MAX));
            taken.extend(calls.into_iter().flatten());
        }
        if taken.is_empty() && !others_wait {
            let mut loads: Vec<_> = self
                .iter()
                .map(|(number, worker)| (worker.waiting(), number))
                .filter(|&(waiting, _)| waiting > 0)
                .collect();
            loads.sort_unstable_by(|one, other| other.cmp(one));
            for (waiting, number) in loads {
                // Half of them: the other half is soon begun, since these calls are quick.
                let most = waiting.div_ceil(2);
                let calls = self.change(number, |worker| worker.take_back(most));
                taken.extend(calls.into_iter().flatten());
                if !taken.is_empty() {
                    break;
                }
            }
        }
        taken.sort_by_key(Call::submitted);
        taken
    }

    /// Takes requests back that wait at busy workers and were submitted at that time or before.
    pub(super) fn take_submitted_before(&mut self, time: Instant) -> Vec<Rc<InFlight>> {
        let late = self.iter().flat_map(|(_, worker)| worker.waiting_calls());
        let late: Vec<_> = late
            .filter(|call| call.submitted() <= time)
            .cloned()
            .collect();
        late.into_iter()
            .filter_map(|call| match (call.place(), call) {
                (Place::Worker { number, id }, Call::Request(state)) => {
                    let revoked = self.change(number, |worker| worker.revoke(id));
                    (revoked == Some(true)).then_some(state)
                }
                _ => None,
            })
            .collect()
    }

    /// While workers are idle: takes back what others have not begun for a while, the oldest first.
    pub(super) fn take_stuck(&mut self, now: Instant) -> Vec<Call> {
        if self.idle.is_empty() {
            return Vec::new();
        }
        let stuck = self.iter().filter(|(_, worker)| worker.is_stuck(now));
        let stuck: Vec<_> = stuck.map(|(number, _)| number).collect();
        let calls = stuck
            .into_iter()
            .flat_map(|number| self.take_back_stuck(number));
        let mut taken: Vec<_> = calls.collect();
        taken.sort_by_key(Call::submitted);
        taken
    }

    /// Takes back all that a worker has not claimed. It becomes the last one to be given a call: something keeps it.
    fn take_back_stuck(&mut self, number: u32) -> Vec<Call> {
        let calls = self.change(number, Worker::take_back_all);
        if let Some(at) = self.idle.iter().position(|&idle| idle == number) {
            self.idle.remove(at);
            self.idle.insert(0, number);
        }
        calls.unwrap_or_default()
    }

    /// Whether [`are_to_be_watched`](Self::are_to_be_watched) can be true, at less cost.
    pub(super) fn may_need_watching(&self) -> bool {
        self.waiting > 0 || self.map.len() > 1
    }

    /// Whether calls wait at busy workers, or one that could be another worker's is not begun.
    pub(super) fn are_to_be_watched(&self) -> bool {
        self.waiting > 0 || (self.map.len() > 1 && self.map.values().any(Worker::is_unclaimed))
    }

    /// Has the core read what busy workers have said without ringing. Returns whether there are any.
    pub(super) fn look(&self) -> bool {
        let busy = self.map.values().filter(|worker| worker.waiting() > 0);
        busy.inspect(|worker| worker.end.look()).count() > 0
    }

    /// Whether any of them holds calls.
    pub(super) fn hold_calls(&self) -> bool {
        self.map.values().any(Worker::holds_calls)
    }

    /// Asks all of them whether their event loops turn.
    pub(super) fn ask(&mut self, now: Instant) {
        for worker in self.map.values_mut() {
            // Whether it is idle, and what waits at it, does not depend on this.
            worker.ask(now);
        }
    }

    /// Has the core read what workers with calls have said. Returns those that have overwritten a claim word.
    pub(super) fn audit(&self) -> Vec<(u32, Violation)> {
        let busy = self.iter().filter(|(_, worker)| worker.holds_calls());
        let audited = busy.inspect(|(_, worker)| worker.end.look());
        let broken = audited.filter_map(|(number, worker)| Some((number, worker.audit()?)));
        broken.collect()
    }

    /// Whether all that is derived from the workers' states agrees with them.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let mut idle = self.idle.clone();
        idle.sort_unstable();
        let derived: Vec<_> = self
            .iter()
            .filter(|(_, worker)| worker.is_idle())
            .map(|(number, _)| number)
            .collect();
        let waiting: usize = self.map.values().map(Worker::waiting).sum();
        idle == derived && waiting == self.waiting
    }
}
