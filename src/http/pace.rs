//! The least rate at which a request's content must come.

use std::time::Duration;

use tokio::time::Instant;

/// How long content may come more slowly: what is short is read in any case.
const GRACE: Duration = Duration::from_secs(20);

/// How a request's content comes.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    read: u64,
    rate: u64,
}

impl Pace {
    /// Content that must come at `rate` bytes a second, from now on; 0 is no limit.
    pub fn new(rate: u64) -> Self {
        Pace {
            since: Instant::now(),
            read: 0,
            rate,
        }
    }

    /// So much has come.
    pub fn count(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    /// How long the next piece may take: `timeout`, where zero is no limit, or less where the rate wants it.
    pub fn patience(&self, timeout: Duration) -> Duration {
        let Some(earned) = self.read.checked_div(self.rate) else {
            return timeout;
        };
        let due = GRACE.saturating_add(Duration::from_secs(earned));
        let left = due.saturating_sub(self.since.elapsed());
        // Zero would be no limit.
        let left = left.max(Duration::from_millis(1));
        if timeout.is_zero() {
            left
        } else {
            left.min(timeout)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn content_earns_time_by_coming() {
        let seconds = Duration::from_secs;
        let timeout = seconds(120);
        let mut pace = Pace::new(100);
        assert_eq!(pace.patience(timeout), seconds(20));
        pace.count(500);
        assert_eq!(pace.patience(timeout), seconds(25));
        tokio::time::advance(seconds(24)).await;
        assert_eq!(pace.patience(timeout), seconds(1));
        pace.count(50_000);
        assert_eq!(pace.patience(timeout), timeout);
        assert_eq!(pace.patience(Duration::ZERO), seconds(501));
        tokio::time::advance(seconds(1000)).await;
        assert_eq!(pace.patience(timeout), Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_limit() {
        let pace = Pace::new(0);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(
            pace.patience(Duration::from_secs(5)),
            Duration::from_secs(5)
        );
        assert_eq!(pace.patience(Duration::ZERO), Duration::ZERO);
    }
}
