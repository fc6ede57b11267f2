//! Whether a core answers: it is pinged every second, and given up when it has not answered for three seconds.
//!
//! Only seconds in which the master itself ran count. After a suspend, or when a whole container was frozen, the core has three
//! seconds again.

use std::time::{Duration, Instant};

/// How often the core is asked.
const INTERVAL: Duration = Duration::from_secs(1);

/// Intervals that may pass without an answer.
const MOST_MISSED: u32 = 3;

/// The questions to one core, and its answers.
#[derive(Debug)]
pub(super) struct Heartbeat {
    next: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The last question was answered.
    Answered,
    /// A question is open, for this number of whole intervals.
    Asked { missed: u32 },
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Nothing.
    Wait,
    /// Ask the core.
    Ask,
    /// Give the core up.
    Dead,
}

impl Heartbeat {
    /// The first question is asked after one interval.
    pub(super) fn new(now: Instant) -> Self {
        Heartbeat {
            next: now + INTERVAL,
            state: State::Answered,
        }
    }

    /// When to call [`Heartbeat::beat`] next.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// Moves on to `now`. However late the call is, it counts as one interval.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if now < self.next {
            return Beat::Wait;
        }
        self.next = now + INTERVAL;
        match &mut self.state {
            State::Answered => {
                self.state = State::Asked { missed: 0 };
                Beat::Ask
            }
            State::Asked { missed } => {
                *missed += 1;
                match *missed < MOST_MISSED {
                    true => Beat::Wait,
                    false => Beat::Dead,
                }
            }
        }
    }

    /// The core has answered.
    pub(super) fn answered(&mut self) {
        self.state = State::Answered;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_core_is_given_up_within_four_seconds() {
        let begin = Instant::now();
        let mut heartbeat = Heartbeat::new(begin);
        let mut beats = Vec::new();
        for _ in 0..4 {
            let now = heartbeat.due();
            beats.push((heartbeat.beat(now), (now - begin).as_secs()));
        }
        assert_eq!(
            beats,
            [
                (Beat::Ask, 1),
                (Beat::Wait, 2),
                (Beat::Wait, 3),
                (Beat::Dead, 4)
            ]
        );
    }

    #[test]
    fn an_answer_begins_again() {
        let mut heartbeat = Heartbeat::new(Instant::now());
        for _ in 0..10 {
            assert_eq!(heartbeat.beat(heartbeat.due()), Beat::Ask);
            assert_eq!(heartbeat.beat(heartbeat.due()), Beat::Wait);
            assert_eq!(heartbeat.beat(heartbeat.due()), Beat::Wait);
            heartbeat.answered();
        }
    }

    /// Protects: an hour in which nothing ran is not the core's silence.
    #[test]
    fn time_that_the_master_slept_through_counts_as_one_interval() {
        let mut heartbeat = Heartbeat::new(Instant::now());
        assert_eq!(heartbeat.beat(heartbeat.due()), Beat::Ask);
        let later = heartbeat.due() + Duration::from_secs(3600);
        assert_eq!(heartbeat.beat(later), Beat::Wait);
        assert_eq!(heartbeat.beat(later), Beat::Wait, "not due");
        assert_eq!(heartbeat.due(), later + INTERVAL);
    }
}
