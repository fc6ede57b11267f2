//! What must be true, after each step and when nothing happens any more.

use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};

use super::World;
use super::worker::Worker;
use crate::channel::CREDIT;
use crate::dispatch::call::Call;
use crate::dispatch::in_flight::Place;
use crate::dispatch::worker::Stage;

/// Rounds in which all must come to its end.
const ROUNDS: usize = 3_000;

/// By how much the last part that a worker may send exceeds its credit: an interim response has a megabyte at most, content less.
const PART: u64 = 1024 * 1024 + 1024;

impl World {
    /// What is true after each step.
    pub(super) fn check(&self) {
        self.check_waiting();
        let workers = self.dispatch.workers.borrow();
        assert!(workers.is_consistent(), "what is derived from the workers");
        let queued = self.dispatch.queue.borrow().len();
        if workers.idle() > 0 {
            assert_eq!(queued, 0, "a call is queued while a worker is idle");
        }
        for client in &self.clients {
            let state = &client.exchange.state;
            let ahead = state.backlog.ahead.get();
            assert!(ahead <= CREDIT + PART, "{ahead} bytes beyond the credit");
            if let Place::Worker { number, id } = state.place.get() {
                let open = workers.get(number).and_then(|worker| worker.response(id));
                let is_here = open.is_some_and(|open| std::rc::Rc::ptr_eq(open, state));
                assert!(is_here, "a request is not where it says");
            } else if state.place.get() == Place::Queued {
                assert!(!client.pinned, "a candidate's check is queued");
            }
        }
    }

    /// No call waits at a busy worker while another one is idle.
    fn check_waiting(&self) {
        let waiting = self.waiting_in_vain();
        if waiting.is_empty() {
            return;
        }
        // A mad worker can forge at any time that it has not claimed a call. The core finds that when it looks next, which
        // `Dispatch::watch` does each millisecond.
        for number in waiting {
            let mad = self.workers.get(&number).is_some_and(Worker::is_mad);
            assert!(mad, "a call waits at busy worker {number}");
        }
        self.dispatch.distribute(crate::dispatch::now());
        let waiting = self.waiting_in_vain();
        assert!(
            waiting.is_empty(),
            "a call waits at {waiting:?}, and the core does not find it"
        );
    }

    /// The workers at which calls wait that they have not claimed, while others are idle.
    fn waiting_in_vain(&self) -> Vec<u32> {
        let workers = self.dispatch.workers.borrow();
        let waits = |worker: &crate::dispatch::worker::Worker| {
            workers.idle() > 0 && worker.waiting_unclaimed().next().is_some()
        };
        let waiting = workers.iter().filter(|(_, worker)| waits(worker));
        waiting.map(|(number, _)| number).collect()
    }

    /// Lets all come to its end: no new requests, every worker goes on, every client takes what it gets.
    pub(super) async fn settle(&mut self) {
        self.settling = true;
        for round in 0..ROUNDS {
            for number in self.workers.keys().copied().collect::<Vec<_>>() {
                self.work(number);
                self.hear(number);
                self.obey_reports();
            }
            for _ in 0..self.clients.len() {
                self.receive();
            }
            self.check();
            tokio::time::advance(Duration::from_millis(10)).await;
            yield_now().await;
            if round > 200 && self.rests() {
                return self.check_rest();
            }
        }
        let states: Vec<_> = self
            .clients
            .iter()
            .map(|client| (client.token, client.exchange.state.place.get()))
            .collect();
        let workers = self.dispatch.workers.borrow();
        let held: Vec<_> = workers
            .iter()
            .map(|(number, worker)| (number, worker.stage, worker.first().map(Call::place)))
            .collect();
        panic!("without an end: {states:?}, {held:?}");
    }

    fn rests(&self) -> bool {
        let workers = self.dispatch.workers.borrow();
        self.clients.is_empty()
            && self.questions.iter().all(JoinHandle::is_finished)
            && self.workers.values().all(Worker::rests)
            && workers.iter().all(|(_, worker)| worker.first().is_none())
    }

    /// What is true when nothing happens any more.
    fn check_rest(&self) {
        let workers = self.dispatch.workers.borrow();
        assert_eq!(self.dispatch.queue.borrow().len(), 0);
        assert_eq!(
            self.dispatch.memory.held(),
            0,
            "memory of responses is lost"
        );
        for (number, worker) in workers.iter() {
            assert!(
                self.workers[&number].core.has_no_request(),
                "worker {number} has lost a slot"
            );
            let serves = worker.stage == Stage::Serving;
            assert_eq!(worker.is_idle(), serves, "worker {number} is lost");
        }
        let serving = workers.iter().filter(|(_, w)| w.stage == Stage::Serving);
        assert_eq!(workers.idle(), serving.count());
        assert_eq!(self.files.left_open(), 0, "descriptors are lost");
    }
}
