//! How many workers there shall be: a policy without a clock or a process of its own.
//!
//! It grows while requests wait or no spare worker is idle, one worker more first, then twice as many each time. It
//! shrinks by what nobody has needed for a while, all at once: those workers were idle all that time.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// Between which numbers the pool moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Workers at least, and at the start.
    pub least: usize,
    /// Workers at most.
    pub most: usize,
    /// With fewer idle workers it grows.
    pub min_spare: usize,
    /// With more idle workers it shrinks.
    pub max_spare: usize,
    /// How long workers too many are kept.
    pub idle_timeout: Duration,
}

/// What the core tells of some tenths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Workers that can serve, idle or not.
    pub ready: u32,
    /// Idle workers, at the busiest moment.
    pub idle_least: u32,
    /// Idle workers, at the quietest moment.
    pub idle_most: u32,
    /// Requests that waited for a worker, at the quietest moment.
    pub waiting: u32,
}

/// Workers that nobody needs.
#[derive(Clone, Copy, Debug)]
struct Surplus {
    since: Instant,
    /// How many, at the busiest moment since then.
    least: usize,
    /// How many when it was last told.
    now: usize,
}

/// The number of workers.
#[derive(Debug)]
pub struct Pool {
    sizes: Sizes,
    wanted: usize,
    /// How many workers it may grow by.
    step: usize,
    surplus: Option<Surplus>,
}

impl Pool {
    /// As it is at the start.
    pub fn new(sizes: Sizes) -> Self {
        Pool {
            sizes,
            wanted: sizes.least,
            step: 1,
            surplus: None,
        }
    }

    /// How many workers there shall be.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// One worker more or less, as an operator says: the least number moves.
    pub fn shift(&mut self, more: bool) {
        let least = if more {
            self.sizes.least + 1
        } else {
            self.sizes.least.saturating_sub(1)
        };
        let wanted = (self.wanted + least).saturating_sub(self.sizes.least);
        self.sizes.least = least.max(1);
        self.sizes.most = self.sizes.most.max(self.sizes.least);
        self.wanted = wanted.clamp(self.sizes.least, self.sizes.most);
        self.surplus = None;
    }

    /// What the core has seen until `now`.
    pub fn load(&mut self, load: Load, now: Instant) {
        let [ready, idle_least, idle_most, waiting] =
            [load.ready, load.idle_least, load.idle_most, load.waiting].map(|count| count as usize);
        let spare = self.sizes.min_spare.saturating_sub(idle_most);
        let needed = waiting + spare;
        if needed == 0 {
            self.step = 1;
        }
        // Those that are being started will be there soon.
        let coming = self.wanted.saturating_sub(ready);
        let room = self.sizes.most - self.wanted;
        let more = needed.saturating_sub(coming).min(self.step).min(room);
        if more > 0 {
            self.wanted += more;
            self.step *= 2;
        }
        let unneeded = idle_least
            .saturating_sub(self.sizes.max_spare)
            .min(self.wanted - self.sizes.least);
        self.surplus = match self.surplus {
            _ if unneeded == 0 || more > 0 => None,
            Some(before) => Some(Surplus {
                least: before.least.min(unneeded),
                now: unneeded,
                ..before
            }),
            None => Some(Surplus {
                since: now,
                least: unneeded,
                now: unneeded,
            }),
        };
    }

    /// When it is to be asked again, whatever the core says.
    pub fn due(&self) -> Option<Instant> {
        Some(self.surplus?.since + self.sizes.idle_timeout)
    }

    /// Lets go what has not been needed for long enough.
    pub fn shrink(&mut self, now: Instant) {
        if self.due().is_some_and(|due| now >= due)
            && let Some(surplus) = self.surplus.take()
        {
            self.wanted = (self.wanted - surplus.least).max(self.sizes.least);
            // Some were busy a little longer. The core says nothing more where nothing happens.
            let left = surplus.now - surplus.least;
            self.surplus = (left > 0).then_some(Surplus {
                since: now,
                least: left,
                now: left,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);

    /// Protects: workers whose last calls end one after the other are all let go, though the core falls silent.
    #[test]
    fn those_that_were_busy_a_little_longer_go_as_well() {
        let now = Instant::now();
        let mut pool = Pool::new(sizes(1, 10));
        pool.wanted = 6;
        for (tick, idle_least) in [(1, 3), (2, 6)] {
            let load = Load {
                ready: 6,
                idle_least,
                idle_most: 6,
                waiting: 0,
            };
            pool.load(load, now + TICK * tick);
        }
        let mut end = now;
        while let Some(due) = pool.due() {
            assert!(due > end);
            end = due;
            pool.shrink(due);
        }
        assert_eq!(pool.wanted(), 1);
    }

    fn sizes(least: usize, most: usize) -> Sizes {
        Sizes {
            least,
            most,
            min_spare: 1,
            max_spare: least,
            idle_timeout: Duration::from_secs(10),
        }
    }

    /// Workers that are there at once, and requests that all take longer than a tick.
    fn observe(pool: &mut Pool, requests: usize, now: Instant) {
        let ready = pool.wanted();
        let busy = requests.min(ready);
        let idle = (ready - busy) as u32;
        let load = Load {
            ready: ready as u32,
            idle_least: idle,
            idle_most: idle,
            waiting: (requests - busy) as u32,
        };
        pool.load(load, now);
        pool.shrink(now);
    }

    #[test]
    fn it_grows_by_doubling_and_is_back_within_a_minute() {
        let mut pool = Pool::new(sizes(2, 20));
        let start = Instant::now();
        let mut numbers = Vec::new();
        for tick in 1..=6 {
            observe(&mut pool, 20, start + TICK * tick);
            numbers.push(pool.wanted());
        }
        assert_eq!(numbers, [3, 5, 9, 17, 20, 20]);
        // The core says nothing more when all are idle.
        observe(&mut pool, 0, start + TICK * 7);
        assert_eq!(pool.wanted(), 20);
        let due = pool.due().unwrap();
        assert_eq!(due, start + TICK * 7 + Duration::from_secs(10));
        pool.shrink(due);
        assert_eq!((pool.wanted(), pool.due()), (2, None));
    }

    #[test]
    fn workers_that_load_their_app_slowly_are_counted_once() {
        let mut pool = Pool::new(sizes(2, 100));
        let now = Instant::now();
        for tick in 1..=20 {
            let load = Load {
                ready: 2,
                waiting: 5,
                ..Load::default()
            };
            pool.load(load, now + TICK * tick);
        }
        // Two serve, five are for those that wait, one is to be spare.
        assert_eq!(pool.wanted(), 8);
    }

    #[test]
    fn a_short_peak_keeps_its_workers() {
        let mut pool = Pool::new(sizes(2, 20));
        let start = Instant::now();
        for tick in 1..=400 {
            // Ten requests at once, every five seconds.
            let requests = if tick % 50 < 6 { 10 } else { 0 };
            observe(&mut pool, requests, start + TICK * tick);
            if tick > 10 {
                assert!(pool.wanted() >= 10, "at {tick}: {}", pool.wanted());
            }
        }
    }

    #[test]
    fn an_operator_moves_the_least_number() {
        let mut pool = Pool::new(sizes(2, 3));
        pool.shift(true);
        pool.shift(true);
        assert_eq!(pool.wanted(), 4, "even beyond max_clients");
        for _ in 0..9 {
            pool.shift(false);
        }
        assert_eq!(pool.wanted(), 1, "one stays");
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            least in 1usize..8,
            extra in 0usize..30,
            min_spare in 0usize..5,
            above in 0usize..5,
            requests in proptest::collection::vec((0usize..60, 1u32..200), 1..100),
        ) {
            let sizes = Sizes { min_spare, max_spare: min_spare + above, ..sizes(least, least + extra) };
            let mut pool = Pool::new(sizes);
            let mut now = Instant::now();
            for (requests, ticks) in requests {
                let before = pool.wanted();
                now += TICK * ticks;
                observe(&mut pool, requests, now);
                prop_assert!((sizes.least..=sizes.most).contains(&pool.wanted()));
                if requests > before {
                    prop_assert!(pool.wanted() > before || before == sizes.most, "nothing for those that wait");
                }
                if pool.wanted() < before {
                    prop_assert!(pool.wanted() >= requests + sizes.max_spare || pool.wanted() == sizes.least);
                }
            }
            // Quiet: whatever was before, the least number is enough.
            observe(&mut pool, 0, now);
            for _ in 0..3 {
                now += sizes.idle_timeout;
                observe(&mut pool, 0, now);
            }
            prop_assert!(pool.wanted() <= sizes.least.max(sizes.max_spare));
            prop_assert_eq!(pool.due(), None);
        }
    }
}
