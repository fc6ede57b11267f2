//! How long requests have waited for a worker: in all, and lately. Written by the core alone, without a timer.
//!
//! Lately is this minute and the one before, as far as anything has happened in them: a minute begins with the first
//! request after the end of the last one.

#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Board, WAITS, milliseconds};
use crate::semantics::message::Timestamp;

/// What is older than two of these is not lately.
const MINUTE: u64 = 60_000;

// Numbers of the words: microseconds that all have waited ...
const ALL: usize = WAITS;
/// ... when this minute began, in milliseconds since the epoch ...
const BEGAN: usize = WAITS + 1;
/// ... and three words of this minute, and of the one before: requests, microseconds that they waited, the most.
const THIS: usize = WAITS + 2;
const LAST: usize = THIS + 3;

/// How long requests have waited.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Waits {
    /// Seconds that all have waited since the start.
    pub total: f64,
    /// Requests lately.
    pub requests: u64,
    /// Seconds that one of them has waited by the mean.
    pub mean: f64,
    /// Seconds that one of them has waited at most.
    pub longest: f64,
}

impl Board {
    /// Core: a request that has waited so long since then was given to a worker, or given up.
    pub fn waited(&self, since: Timestamp, wait: Duration) {
        // Now, without another look at a clock.
        let now = milliseconds(since) + wait.as_millis() as u64;
        self.note_wait(now, wait);
    }

    fn note_wait(&self, now: u64, wait: Duration) {
        let age = now.saturating_sub(self.get(BEGAN));
        if age >= MINUTE {
            for at in 0..3 {
                let value = if age < 2 * MINUTE {
                    self.get(THIS + at)
                } else {
                    0
                };
                self.set(LAST + at, value);
                self.set(THIS + at, 0);
            }
            self.set(BEGAN, now);
        }
        let wait = wait.as_micros() as u64;
        self.change(ALL, wait as i64);
        self.change(THIS, 1);
        self.change(THIS + 1, wait as i64);
        if wait > self.get(THIS + 2) {
            self.set(THIS + 2, wait);
        }
    }
}

impl Waits {
    /// What the words say at this time.
    pub(super) fn read(words: &[u64], now: u64) -> Waits {
        let age = now.saturating_sub(words[BEGAN]);
        let minutes: &[usize] = match age / MINUTE {
            0 => &[THIS, LAST],
            1 => &[THIS],
            _ => &[],
        };
        let sum = |word: usize| minutes.iter().map(|at| words[at + word]).sum::<u64>();
        let most = minutes.iter().map(|at| words[at + 2]).max();
        let seconds = |micros: u64| micros as f64 / 1e6;
        let requests = sum(0);
        Waits {
            total: seconds(words[ALL]),
            requests,
            mean: seconds(sum(1)) / requests.max(1) as f64,
            longest: seconds(most.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::HEADER;

    fn read(board: &Board, now: u64) -> Waits {
        let words: Vec<u64> = (0..HEADER).map(|at| board.get(at)).collect();
        Waits::read(&words, now)
    }

    #[test]
    fn what_was_lately_is_forgotten_and_the_sum_stays() {
        let (board, _memory) = Board::create(1).unwrap();
        let milliseconds = Duration::from_millis;
        let begin = 1_000_000_000;
        board.note_wait(begin, milliseconds(10));
        board.note_wait(begin + 59_999, milliseconds(30));
        let both = read(&board, begin + 59_999);
        assert_eq!((both.requests, both.mean, both.longest), (2, 0.02, 0.03));

        board.note_wait(begin + 61_000, milliseconds(2));
        let three = read(&board, begin + 61_000);
        assert_eq!((three.requests, three.longest), (3, 0.03));
        let later = read(&board, begin + 61_000 + MINUTE);
        assert_eq!((later.requests, later.longest), (1, 0.002));

        board.note_wait(begin + 61_000 + 2 * MINUTE, milliseconds(1));
        let new = read(&board, begin + 61_000 + 2 * MINUTE);
        assert_eq!((new.requests, new.longest), (1, 0.001), "a pause ends it");
        let rest = read(&board, begin + 61_000 + 4 * MINUTE);
        assert_eq!((rest.requests, rest.mean, rest.longest), (0, 0.0, 0.0));
        assert_eq!(rest.total, 0.043);
    }

    #[test]
    fn a_clock_that_is_set_back_harms_nothing() {
        let (board, _memory) = Board::create(1).unwrap();
        board.note_wait(1_000_000_000, Duration::from_millis(1));
        board.note_wait(5, Duration::from_millis(1));
        assert_eq!(read(&board, 5).requests, 2);
    }
}
