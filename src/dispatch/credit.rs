//! How much of a response a worker may send ahead of its client: each byte is credited once, when it has a place.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::Dispatch;
use super::backlog::Part;
use super::event::Event;
use super::in_flight::{InFlight, Place};
use crate::channel::violation::Violation;
use crate::channel::{CREDIT, Chunk};
use crate::log::limited;

/// When a response that finds no room on the disk tries again.
const RETRY: Duration = Duration::from_millis(100);

impl Dispatch {
    /// Takes a piece of content, and lets the worker send as much again when that is taken.
    pub(super) fn chunk(
        self: &Rc<Self>,
        number: u32,
        id: u64,
        mut content: Chunk,
    ) -> Result<(), Violation> {
        let length = content.len() as u64;
        let state = self.advance(number, id, |progress| progress.content(id, length))?;
        if !state.is_read() {
            // The client has gone, or has all that it may get: discarded, and the worker goes on to its end.
            self.give_credit(number, id, length);
            return Ok(());
        }
        let ahead = &state.backlog.ahead;
        ahead.set(ahead.get() + length);
        if state.is_slow() {
            if let Some(credit) = state.gather(&content) {
                self.credit(&state, credit);
                return Ok(());
            }
            content.make_owned();
        }
        let (part, credit, start) = state.backlog.accept(content);
        self.credit(&state, credit);
        if start {
            spawn_local(Rc::clone(self).store(Rc::clone(&state)));
        }
        state.push(part);
        Ok(())
    }

    /// Takes a part that is kept as a value until its client has reached it, and lets the worker send as much again then.
    pub(super) fn costly(&self, number: u32, id: u64, state: &InFlight, event: Event, cost: u64) {
        if !state.is_read() {
            return self.give_credit(number, id, cost);
        }
        let ahead = &state.backlog.ahead;
        ahead.set(ahead.get() + cost);
        state.push(Part::Event(event, cost));
    }

    /// Writes what a response has for the disk. Where there is no room, its worker waits until there is.
    async fn store(self: Rc<Self>, state: Rc<InFlight>) {
        let credit = |amount| self.credit(&state, amount);
        while let Err(error) = state.backlog.write(credit).await {
            limited!(Warn, "can't keep a response for a slow client: {error}");
            self.make_room();
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Lets the worker of a request send more bytes; small amounts are gathered first.
    pub(super) fn credit(&self, state: &InFlight, amount: u64) {
        let owed = state.backlog.owed.get() + amount;
        let Place::Worker { number, id } = state.place.get() else {
            return;
        };
        let enough = owed >= CREDIT / 2;
        state.backlog.owed.set(if enough { 0 } else { owed });
        if enough {
            let ahead = &state.backlog.ahead;
            ahead.set(ahead.get().saturating_sub(owed));
            state.reader.credited();
            self.give_credit(number, id, owed);
        }
    }

    pub(super) fn give_credit(&self, number: u32, id: u64, amount: u64) {
        let timed = self.has_deadlines();
        self.workers.borrow_mut().change(number, |worker| {
            let _ = worker.give_credit(id, amount);
            // From now on it can go on.
            if timed {
                worker.heard();
            }
        });
    }
}
