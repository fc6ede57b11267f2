//! How long something took, in buckets.

use std::time::Duration;

/// The upper bounds of the buckets, in milliseconds, and as seconds for a label; what is longer counts in the sum alone.
pub(super) const BOUNDS: [(u64, &str); 15] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1.0"),
    (2_500_000, "2.5"),
    (5_000_000, "5.0"),
    (10_000_000, "10.0"),
    (30_000_000, "30.0"),
    (60_000_000, "60.0"),
];

/// Observations of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Histogram {
    /// How many fell into each bucket and no smaller one; the last are beyond all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    pub(super) fn observe(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < micros);
        self.buckets[bucket] += 1;
        self.sum = self.sum.saturating_add(time);
    }

    /// For each bound the observations that did not exceed it, and for no bound all of them.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = BOUNDS.iter().map(|(_, name)| *name).chain(["+Inf"]);
        let counts = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        names.zip(counts)
    }

    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(super) fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_what_does_not_exceed_its_bound() {
        let mut times = Histogram::default();
        for micros in [0, 1_000, 1_001, 60_000_000, 60_000_001] {
            times.observe(Duration::from_micros(micros));
        }
        let cumulative: Vec<_> = times.cumulative().collect();
        assert_eq!(cumulative[..3], [("0.001", 2), ("0.0025", 3), ("0.005", 3)]);
        assert_eq!(cumulative[14..], [("60.0", 4), ("+Inf", 5)]);
        assert_eq!(times.count(), 5);
        assert_eq!(times.sum(), Duration::from_micros(120_002_002));
    }
}
