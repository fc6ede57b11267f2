//! Clients that take their responses slowly: the slowest are cut where they keep others from being served.
//!
//! A slow reader costs memory, room on the disk and, where its share of both is used up, a worker that waits. So it must keep a
//! least rate (`min_response_rate`). While requests wait and no worker is idle, two more things hold: a response for which there
//! is no room takes that of the slowest, and no worker waits longer than [`LONGEST_WAIT`] for a client that takes nothing of what
//! it has sent.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use tokio::task::spawn_local;

use super::Dispatch;
use super::in_flight::InFlight;
use crate::log::limited;
use crate::pace::Pace;
use crate::scoreboard::refusals::Refusal;

/// How often slow readers are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What a response may take longer than its least rate wants, at its beginning.
const GRACE: Duration = Duration::from_secs(20);

/// A socket takes more when about so much of what it has is gone.
const PIECE: u64 = 64 * 1024;

/// A rate is measured over this many seconds at most.
const MINUTE: f64 = 60.0;

/// How long a worker waits for a client while requests wait for a worker: until a client that takes 26 KB a second has taken
/// half of what a worker may send ahead.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A reader that was seen for less than this is not known to be slow.
const KNOWN: Duration = Duration::from_secs(1);

/// Between two readers that are cut to make room: the first gives its room back meanwhile.
const INTERVAL: Duration = Duration::from_millis(10);

/// Memory that responses may hold before their slowest readers are cut even though no request waits.
const MEMORY: u64 = 96 * 1024 * 1024;

/// How fast a client takes its response, lately.
#[derive(Debug)]
struct Rate {
    since: Instant,
    looked: Instant,
    /// What it had taken then.
    taken: u64,
    /// Bytes a second.
    value: f64,
}

impl Rate {
    fn new(taken: u64, now: Instant) -> Self {
        Rate {
            since: now,
            looked: now,
            taken,
            value: 0.0,
        }
    }

    /// It has taken so much by now: how much that is more. The mean since the beginning, then that of about the last minute.
    fn look(&mut self, taken: u64, now: Instant) -> u64 {
        let more = taken.saturating_sub(self.taken);
        let passed = now.duration_since(self.looked).as_secs_f64();
        if passed > 0.0 {
            let age = now.duration_since(self.since).as_secs_f64();
            let weight = (passed / age.min(MINUTE)).min(1.0);
            self.value += (more as f64 / passed - self.value) * weight;
            self.taken = taken;
            self.looked = now;
        }
        more
    }

    /// Whether it has been looked at for long enough.
    fn is_known(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= KNOWN
    }
}

/// A slow reader that is looked at.
#[derive(Debug)]
struct Listed {
    state: Weak<InFlight>,
    rate: Rate,
    pace: Pace,
}

/// All slow readers.
#[derive(Debug, Default)]
pub(super) struct Readers {
    listed: RefCell<Vec<Listed>>,
    watching: Cell<bool>,
    last_cut: Cell<Option<Instant>>,
}

impl Dispatch {
    /// Sends a response of the server's own, which no worker makes: it holds a connection and often a file, so its client must
    /// keep the least rate as well. `None` if the client did not; `taken` counts the bytes that it takes.
    pub async fn send_paced<T>(
        &self,
        sending: impl Future<Output = T>,
        taken: &Cell<u64>,
    ) -> Option<T> {
        let mut sending = pin!(sending);
        let mut pace = self.pace();
        let mut before = taken.get();
        loop {
            if let Ok(sent) = tokio::time::timeout(TICK, sending.as_mut()).await {
                return Some(sent);
            }
            let (now, all) = (super::now(), taken.get());
            pace.count(all - before, now);
            before = all;
            if pace.is_late(now) {
                self.count_cut();
                log_too_slow();
                return None;
            }
        }
    }

    /// The pace that a reader must keep from now on.
    fn pace(&self) -> Pace {
        Pace::new(self.settings.response_rate, GRACE, super::now()).in_pieces(PIECE)
    }

    /// The client of this response does not take at once what there is: it is looked at until it does.
    pub(super) fn reads_slowly(self: &Rc<Self>, state: &Rc<InFlight>) {
        if state.reader.listed.replace(true) {
            return;
        }
        let now = super::now();
        self.readers.listed.borrow_mut().push(Listed {
            state: Rc::downgrade(state),
            rate: Rate::new(state.reader.taken(), now),
            pace: self.pace(),
        });
        if !self.readers.watching.replace(true) {
            let dispatch = Rc::clone(self);
            spawn_local(async move {
                while !dispatch.readers.listed.borrow().is_empty() {
                    tokio::time::sleep(TICK).await;
                    dispatch.look_at_readers();
                }
                dispatch.readers.watching.set(false);
            });
        }
    }

    fn look_at_readers(&self) {
        let now = super::now();
        let crowded = self.is_crowded();
        self.readers.listed.borrow_mut().retain_mut(|listed| {
            let Some(state) = listed.state.upgrade() else {
                return false;
            };
            if !state.is_slow() || state.reader.is_cut() {
                state.reader.listed.set(false);
                return false;
            }
            let more = listed.rate.look(state.reader.taken(), now);
            listed.pace.count(more, now);
            if listed.pace.is_late(now) {
                self.cut(&state);
                log_too_slow();
            } else if crowded && is_blocked(&state, now) {
                self.cut(&state);
                limited!(
                    Warn,
                    "a response is cut: its client keeps a worker while requests wait for one"
                );
            }
            true
        });
    }

    /// There is no room for a response, or its file can't be written: where others wait for it, the slowest reader gives its
    /// own.
    pub(super) fn make_room(&self) {
        let now = super::now();
        let last = self.readers.last_cut.get();
        let soon = last.is_some_and(|last| now.duration_since(last) < INTERVAL);
        if soon || !(self.is_crowded() || self.memory.held() > MEMORY) {
            return;
        }
        let listed = self.readers.listed.borrow();
        let slow = listed.iter().filter(|listed| listed.rate.is_known(now));
        let slow = slow.filter_map(|listed| Some((listed.rate.value, listed.state.upgrade()?)));
        let slow = slow.filter(|(_, state)| !state.reader.is_cut() && state.backlog.holds_much());
        if let Some((_, state)) = slow.min_by(|(one, _), (other, _)| one.total_cmp(other)) {
            self.readers.last_cut.set(Some(now));
            self.cut(&state);
            limited!(
                Warn,
                "a response is cut: its client is the slowest, and there is no room for others"
            );
        }
    }

    /// Requests wait, and no worker is idle.
    fn is_crowded(&self) -> bool {
        self.waiting() > 0 && self.workers.borrow().idle() == 0
    }

    /// Ends a response before its end.
    fn cut(&self, state: &InFlight) {
        state.reader.cut.set(true);
        if let Some(writer) = state.reader.writer.take() {
            writer.wake();
        }
        self.count_cut();
    }

    fn count_cut(&self) {
        if let Some(board) = &self.settings.board {
            board.counts(Refusal::Response);
        }
    }
}

fn log_too_slow() {
    limited!(
        Warn,
        "a response is cut: its client is slower than min_response_rate"
    );
}

/// Whether the worker has waited for this client long enough.
fn is_blocked(state: &InFlight, now: Instant) -> bool {
    if !state.waits_for_client() {
        state.reader.blocked.set(None);
        return false;
    }
    let since = state.reader.blocked.get().unwrap_or(now);
    state.reader.blocked.set(Some(since));
    now.duration_since(since) >= LONGEST_WAIT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let start = Instant::now();
        let mut rate = Rate::new(1000, start);
        let mut taken = 1000;
        let mut read = |rate: &mut Rate, seconds: std::ops::Range<u64>, bytes: u64| {
            for second in seconds {
                taken += bytes;
                let now = start + Duration::from_secs(second);
                assert_eq!(rate.look(taken, now), bytes);
            }
            rate.value
        };
        let fast = read(&mut rate, 1..600, 1_000_000);
        assert!((fast - 1e6).abs() < 1.0, "{fast}");
        let minute = read(&mut rate, 600..660, 0);
        assert!(minute < 0.4 * 1e6, "{minute}");
        let later = read(&mut rate, 660..1200, 0);
        assert!(
            later < 100.0,
            "what it was long ago counts no more: {later}"
        );
        assert!(!Rate::new(0, start).is_known(start));
    }
}
