//! A worker's budget: what it may use before another worker replaces it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::{SysconfVar, getpid, sysconf};

/// From which a worker's budget is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BudgetLimits {
    /// Number of requests: lowest and highest.
    pub requests: Option<(u32, u32)>,
    /// Age.
    pub age: Option<Duration>,
    /// Bytes of resident memory.
    pub rss: Option<u64>,
}

/// Interval of the memory checks while requests are few or use little.
const LOOK: Duration = Duration::from_millis(100);

/// Memory is checked after this many requests at the latest.
const QUICK: u64 = 16;

/// Part of the limits of age and memory that varies between workers, so that those started together do not exit together.
const JITTER: f64 = 0.1;

/// What one worker may use.
#[derive(Debug)]
pub struct Budget {
    requests: Option<u64>,
    served: u64,
    leaves_at: Option<Instant>,
    memory: Option<Memory>,
}

impl Budget {
    /// A budget without limits.
    pub fn unlimited() -> Self {
        Budget {
            requests: None,
            served: 0,
            leaves_at: None,
            memory: None,
        }
    }

    /// Draws a budget for the calling process within `limits`.
    pub fn draw(limits: &BudgetLimits) -> Self {
        let now = Instant::now();
        Budget {
            requests: limits
                .requests
                .map(|(least, most)| among(least, most, random(1))),
            leaves_at: limits
                .age
                .and_then(|age| now.checked_add(age.mul_f64(1.0 - JITTER * random(2)))),
            memory: limits.rss.map(|rss| {
                let limit = rss as f64 * (1.0 - JITTER * random(3));
                Memory::new(limit as u64, now)
            }),
            served: 0,
        }
    }

    /// Counts a request. Returns whether it is the last one by their number.
    pub fn start_request(&mut self) -> bool {
        self.served += 1;
        self.requests == Some(self.served)
    }

    /// Whether age or memory is used up.
    pub fn is_exhausted(&mut self) -> bool {
        if self.leaves_at.is_none() && self.memory.is_none() {
            return false;
        }
        let now = Instant::now();
        let old = self.leaves_at.is_some_and(|at| now >= at);
        let served = self.served;
        old || self
            .memory
            .as_mut()
            .is_some_and(|memory| memory.is_full(now, served, resident))
    }
}

/// Maps a draw from [0, 1) to `least..=most`, each number with the same probability.
fn among(least: u32, most: u32, draw: f64) -> u64 {
    let (least, most) = (u64::from(least), u64::from(most));
    let span = (most - least + 1) as f64;
    least + ((span * draw) as u64).min(most - least)
}

/// A random number from [0, 1), different in each process and for each `purpose`. Perl's generator belongs to the app.
fn random(purpose: u8) -> f64 {
    let mut hasher = DefaultHasher::new();
    (purpose, getpid().as_raw(), SystemTime::now()).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Watches the resident memory without a check at each request.
#[derive(Debug)]
struct Memory {
    /// Bytes.
    limit: u64,
    looked: Instant,
    /// Requests served, and memory, at the last check.
    served: u64,
    resident: u64,
    /// The highest growth per request, in bytes, as a mean between two checks.
    growth: u64,
    warned: bool,
}

impl Memory {
    fn new(limit: u64, now: Instant) -> Self {
        Memory {
            limit,
            looked: now,
            served: 0,
            resident: 0,
            growth: 0,
            warned: false,
        }
    }

    fn is_full(
        &mut self,
        now: Instant,
        served: u64,
        look: impl FnOnce() -> io::Result<u64>,
    ) -> bool {
        let since = served - self.served;
        let expected = self
            .resident
            .saturating_add(self.growth.saturating_mul(since));
        let due = now.duration_since(self.looked) >= LOOK
            || since >= QUICK
            || served == 1
            || expected >= self.limit;
        if !due {
            return false;
        }
        match look() {
            Ok(resident) => {
                // The first request allocates what later ones use again.
                if self.served > 0 {
                    let grown = resident.saturating_sub(self.resident) / since.max(1);
                    self.growth = self.growth.max(grown);
                }
                (self.looked, self.served, self.resident) = (now, served, resident);
                resident >= self.limit
            }
            Err(error) => {
                if !self.warned {
                    ::log::warn!("max_worker_rss can't be kept, /proc/self/statm: {error}");
                }
                self.warned = true;
                self.looked = now;
                false
            }
        }
    }
}

/// Bytes of resident memory of this process.
fn resident() -> io::Result<u64> {
    let garbage = || io::Error::from(io::ErrorKind::InvalidData);
    let page = sysconf(SysconfVar::PAGE_SIZE)?.and_then(|size| u64::try_from(size).ok());
    let pages = fs::read_to_string("/proc/self/statm")?
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .ok_or_else(garbage)?;
    Ok(pages * page.ok_or_else(garbage)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_requests_is_as_likely() {
        let mut count = [0; 5];
        for draw in 0..1000 {
            let number = among(96, 100, f64::from(draw) / 1000.0);
            count[(number - 96) as usize] += 1;
        }
        assert_eq!(count, [200; 5]);
        assert_eq!(among(7, 7, 0.99), 7);
        assert_eq!(among(0, u32::MAX, 0.999_999_999_999), u64::from(u32::MAX));
    }

    #[test]
    fn draws_differ_and_stay_in_their_range() {
        let mut draws: Vec<_> = (0..100).map(|_| random(1)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        draws.sort_by(f64::total_cmp);
        draws.dedup();
        assert!(draws.len() > 90, "{} different ones", draws.len());
        assert!(draws[0] < 0.3 && draws[draws.len() - 1] > 0.7);
    }

    #[test]
    fn requests_use_up_a_budget() {
        let limits = BudgetLimits {
            requests: Some((3, 3)),
            ..BudgetLimits::default()
        };
        let mut budget = Budget::draw(&limits);
        assert_eq!(
            [(); 3].map(|()| budget.start_request()),
            [false, false, true]
        );
        assert!(!budget.is_exhausted());
        let mut budget = Budget::unlimited();
        assert!((0..5000).all(|_| !budget.start_request() && !budget.is_exhausted()));
    }

    #[test]
    fn age_uses_up_a_budget_within_its_last_tenth() {
        let limits = BudgetLimits {
            age: Some(Duration::from_millis(50)),
            ..BudgetLimits::default()
        };
        let mut budget = Budget::draw(&limits);
        let born = Instant::now();
        while !budget.is_exhausted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(born.elapsed() >= Duration::from_millis(44));
    }

    #[test]
    fn memory_is_read() {
        let rss = resident().unwrap();
        assert!((1 << 18..1 << 40).contains(&rss), "{rss}");
        let limits = BudgetLimits {
            rss: Some(1),
            ..BudgetLimits::default()
        };
        let mut budget = Budget::draw(&limits);
        budget.start_request();
        assert!(
            budget.is_exhausted(),
            "one byte is exceeded at the first look"
        );
    }

    /// Serves requests until the memory is full: its size then, and how often it was looked at.
    fn leak(limit: u64, start: u64, growth: u64, pause: Duration) -> (u64, u64) {
        let mut now = Instant::now();
        let mut memory = Memory::new(limit, now);
        let (mut rss, mut looks) = (start, 0);
        for served in 1..100_000 {
            rss += growth;
            now += pause;
            let full = memory.is_full(now, served, || {
                looks += 1;
                Ok(rss)
            });
            if full {
                return (rss, looks);
            }
        }
        panic!("the limit was never noticed");
    }

    #[test]
    fn a_leak_never_exceeds_the_limit_by_more_than_a_tenth() {
        const MIB: u64 = 1 << 20;
        for millis in [0, 1, 30, 200] {
            for growth in [1, 3, 9] {
                let (rss, _) = leak(
                    200 * MIB,
                    40 * MIB,
                    growth * MIB,
                    Duration::from_millis(millis),
                );
                assert!(
                    (200 * MIB..220 * MIB).contains(&rss),
                    "{growth} MiB every {millis} ms: {rss}"
                );
            }
        }
    }

    #[test]
    fn quick_requests_that_need_nothing_are_rarely_looked_at() {
        let (_, looks) = leak(1 << 30, 1 << 29, 1 << 13, Duration::from_micros(20));
        assert!(looks < 65_536 / QUICK + 100, "{looks} looks");
    }
}
