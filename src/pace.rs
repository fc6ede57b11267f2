//! A least rate, by what has come in the last minute.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// What comes earns time, and no more than this much of it can be saved up: who stops is late after that at most.
const WINDOW: Duration = Duration::from_secs(60);

/// How something comes that must come at a least rate.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second; 0 is no limit.
    rate: u64,
    /// When it is late, should nothing more come.
    due: Instant,
    /// How far that may be away.
    window: Duration,
}

impl Pace {
    /// What must come at `rate` bytes a second, from when `grace` is over; 0 is no limit.
    pub fn new(rate: u64, grace: Duration, now: Instant) -> Self {
        Pace {
            rate,
            due: now + grace,
            window: WINDOW,
        }
    }

    /// The same for what is seen only after this many bytes.
    pub fn in_pieces(self, bytes: u64) -> Self {
        let window = self.window + self.earned(bytes);
        Pace {
            due: self.due + self.earned(bytes),
            window,
            ..self
        }
    }

    fn earned(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000;
        match nanoseconds.checked_div(u128::from(self.rate)) {
            Some(earned) => Duration::from_nanos(earned.try_into().unwrap_or(u64::MAX)),
            None => Duration::ZERO,
        }
    }

    /// So much has come.
    pub fn count(&mut self, bytes: u64, now: Instant) {
        if self.rate > 0 {
            // More than the window counts for nothing; an hour is far from an overflow.
            let earned = self.earned(bytes).min(Duration::from_secs(3600));
            self.due = (self.due + earned).min(now + self.window);
        }
    }

    /// Whether it is too slow.
    pub fn is_late(&self, now: Instant) -> bool {
        self.rate > 0 && now >= self.due
    }

    /// How long the next piece may take: `timeout`, where zero is no limit, or less where the rate wants it.
    pub fn patience(&self, timeout: Duration, now: Instant) -> Duration {
        if self.rate == 0 {
            return timeout;
        }
        // Zero would be no limit.
        let left = self.due.saturating_duration_since(now);
        let left = left.max(Duration::from_millis(1));
        match timeout.is_zero() {
            true => left,
            false => left.min(timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(20);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn what_comes_earns_time_and_a_minute_of_it_at_most() {
        let start = Instant::now();
        let timeout = seconds(120);
        let mut pace = Pace::new(100, GRACE, start);
        assert_eq!(pace.patience(timeout, start), seconds(20));
        pace.count(500, start);
        assert_eq!(pace.patience(timeout, start), seconds(25));
        let later = start + seconds(24);
        assert_eq!(pace.patience(timeout, later), seconds(1));
        pace.count(4 << 30, later);
        assert_eq!(pace.patience(Duration::ZERO, later), seconds(60));
        // A byte now and then earns next to nothing.
        for second in 0..59 {
            pace.count(1, later + seconds(second));
        }
        assert!(!pace.is_late(later + seconds(60)));
        assert!(pace.is_late(later + seconds(61)));
        assert_eq!(
            pace.patience(timeout, later + seconds(1000)),
            Duration::from_millis(1)
        );
    }

    #[test]
    fn who_keeps_the_rate_is_never_late() {
        let start = Instant::now();
        let mut pace = Pace::new(500, GRACE, start);
        for second in 0..100_000 {
            let now = start + seconds(second);
            assert!(!pace.is_late(now));
            pace.count(500, now);
        }
        // Half a minute's worth at once, every half minute.
        let mut pace = Pace::new(500, GRACE, start);
        for half in 0..1000 {
            let now = start + seconds(30 * half);
            pace.count(15_000, now);
            assert!(!pace.is_late(now + seconds(29)), "after {half}");
        }
    }

    #[test]
    fn what_is_seen_in_large_pieces_has_time_for_the_next() {
        let start = Instant::now();
        let mut pace = Pace::new(1024, GRACE, start).in_pieces(64 * 1024);
        for minute in 0..1000 {
            let now = start + seconds(64 * minute);
            assert!(!pace.is_late(now), "after {minute}");
            pace.count(64 * 1024, now);
        }
        let last = start + seconds(64 * 999);
        assert!(pace.is_late(last + seconds(125)));
    }

    #[test]
    fn no_rate_is_no_limit() {
        let start = Instant::now();
        let mut pace = Pace::new(0, GRACE, start);
        pace.count(1, start);
        let later = start + seconds(1000);
        assert!(!pace.is_late(later));
        assert_eq!(pace.patience(seconds(5), later), seconds(5));
        assert_eq!(pace.patience(Duration::ZERO, later), Duration::ZERO);
    }
}
