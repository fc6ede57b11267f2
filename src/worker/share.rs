//! A worker's share: how much it does before another takes its place.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::{Duration, Instant, SystemTime};

use nix::unistd::{SysconfVar, getpid, sysconf};

/// What ends a worker that has done nothing wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Requests, at least and at most.
    pub requests: Option<(u32, u32)>,
    /// Age.
    pub age: Option<Duration>,
    /// Bytes of resident memory.
    pub rss: Option<u64>,
}

/// How often memory is looked at, while requests are few or use little.
const LOOK: Duration = Duration::from_millis(100);

/// Memory is looked at after so many requests, however quick they are.
const QUICK: u64 = 16;

/// Age and memory are drawn from this part of what is allowed, so that workers born together do not leave together.
const JITTER: f64 = 0.1;

/// What one worker may still do.
#[derive(Debug)]
pub struct Share {
    requests: Option<u64>,
    served: u64,
    leaves_at: Option<Instant>,
    memory: Option<Memory>,
}

impl Share {
    /// Without any limit.
    pub fn endless() -> Self {
        Share {
            requests: None,
            served: 0,
            leaves_at: None,
            memory: None,
        }
    }

    /// The share of the calling process, drawn within `limits`.
    pub fn draw(limits: &Limits) -> Self {
        let now = Instant::now();
        Share {
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

    /// One more request begins; whether it is the last by their number.
    pub fn begin(&mut self) -> bool {
        self.served += 1;
        self.requests == Some(self.served)
    }

    /// Whether age or memory say that the request before was the last.
    pub fn is_over(&mut self) -> bool {
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

/// The number for a draw from [0, 1): each of `least..=most` is as likely.
fn among(least: u32, most: u32, draw: f64) -> u64 {
    let (least, most) = (u64::from(least), u64::from(most));
    let span = (most - least + 1) as f64;
    least + ((span * draw) as u64).min(most - least)
}

/// From [0, 1), different in each process and for each `purpose`. Perl's own generator is the app's.
fn random(purpose: u8) -> f64 {
    let mut hasher = DefaultHasher::new();
    (purpose, getpid().as_raw(), SystemTime::now()).hash(&mut hasher);
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Watches the resident memory without a look at each request.
#[derive(Debug)]
struct Memory {
    /// Bytes.
    limit: u64,
    looked: Instant,
    /// Requests served, and memory, at that look.
    served: u64,
    resident: u64,
    /// Bytes by which a request made it grow, at most, on the mean between two looks.
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
                // What the first request needs, the second finds there.
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
    fn requests_end_a_share() {
        let limits = Limits {
            requests: Some((3, 3)),
            ..Limits::default()
        };
        let mut share = Share::draw(&limits);
        assert_eq!([(); 3].map(|()| share.begin()), [false, false, true]);
        assert!(!share.is_over());
        let mut share = Share::endless();
        assert!((0..5000).all(|_| !share.begin() && !share.is_over()));
    }

    #[test]
    fn age_ends_a_share_within_its_last_tenth() {
        let limits = Limits {
            age: Some(Duration::from_millis(50)),
            ..Limits::default()
        };
        let mut share = Share::draw(&limits);
        let born = Instant::now();
        while !share.is_over() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(born.elapsed() >= Duration::from_millis(44));
    }

    #[test]
    fn memory_is_read() {
        let rss = resident().unwrap();
        assert!((1 << 18..1 << 40).contains(&rss), "{rss}");
        let limits = Limits {
            rss: Some(1),
            ..Limits::default()
        };
        let mut share = Share::draw(&limits);
        share.begin();
        assert!(share.is_over(), "one byte is exceeded at the first look");
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
