//! When the next worker may be started, and whether any has served yet.

use std::time::{Duration, Instant};

/// Workers that may exit by themselves before one has served.
const MOST_STILLBORN: u32 = 3;

/// When workers may be started.
#[derive(Debug)]
pub(super) struct Births {
    next_number: u32,
    /// No worker is started before this time.
    not_before: Instant,
    start: Start,
}

/// The server's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// No worker has served; some have left before they did.
    Waiting { stillborn: u32 },
    /// Failures no longer end the start.
    Over,
}

impl Births {
    /// `serves`: clients are served already, by the program before.
    pub(super) fn new(next_number: u32, serves: bool) -> Self {
        let start = match serves {
            true => Start::Over,
            false => Start::Waiting { stillborn: 0 },
        };
        Births {
            next_number: next_number.max(1),
            not_before: Instant::now(),
            start,
        }
    }

    /// The number of the next worker.
    pub(super) fn next_number(&self) -> u32 {
        self.next_number
    }

    /// That worker was started.
    pub(super) fn started(&mut self) {
        self.next_number += 1;
    }

    /// No worker is started for this long.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.not_before = Instant::now() + pause;
    }

    /// When the next one may be started.
    pub(super) fn due(&self) -> Instant {
        self.not_before
    }

    /// A worker serves. Whether it is the first.
    pub(super) fn serves(&mut self) -> bool {
        std::mem::replace(&mut self.start, Start::Over) != Start::Over
    }

    /// A worker has ended before it served; `by_itself`, with status 0, as after a TERM while it loaded the app. Whether
    /// that means that none will ever serve.
    pub(super) fn died_young(&mut self, by_itself: bool) -> bool {
        match &mut self.start {
            Start::Over => false,
            Start::Waiting { stillborn } => {
                *stillborn += 1;
                !by_itself || *stillborn > MOST_STILLBORN
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_the_starts_until_one_worker_serves() {
        let mut births = Births::new(0, false);
        assert_eq!(births.next_number(), 1);
        for _ in 0..MOST_STILLBORN {
            assert!(!births.died_young(true));
        }
        assert!(births.died_young(true), "it does not end");
        assert!(births.died_young(false));
        assert!(births.serves());
        assert!(!births.serves(), "only one is the first");
        assert!(!births.died_young(false));
        assert!(!Births::new(9, true).died_young(false));
    }
}
