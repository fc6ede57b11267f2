//! A connection's one timer: moved often, armed rarely.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// A deadline that moves with each step of a connection. The runtime's timer is armed again only when it
/// rings, or when the deadline comes nearer: a request at full speed costs none.
#[derive(Debug, Default)]
pub struct Timer {
    /// Made when it is first armed.
    sleep: Option<Pin<Box<Sleep>>>,
    /// Set, and not yet waited for: what is done at once costs no look at the clock.
    duration: Option<Duration>,
    deadline: Option<Instant>,
}

impl Timer {
    /// Sets the deadline to `duration` from the next wait on; zero is none.
    pub fn set(&mut self, duration: Duration) {
        self.deadline = None;
        self.duration = (!duration.is_zero()).then_some(duration);
    }

    /// Runs `future` until the deadline.
    pub async fn limit<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if let Some(duration) = self.duration.take() {
                self.deadline = Instant::now().checked_add(duration);
            }
            let Some(deadline) = self.deadline else {
                return Poll::Pending;
            };
            let sleep = self
                .sleep
                .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if sleep.deadline() > deadline {
                sleep.as_mut().reset(deadline);
            }
            while sleep.as_mut().poll(context).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(Err(Elapsed));
                }
                sleep.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_deadline_can_move_both_ways() {
        let start = Instant::now();
        let mut timer = Timer::default();
        timer.set(Duration::from_secs(30));
        assert_eq!(timer.limit(std::future::ready(1)).await, Ok(1));
        let short = tokio::time::sleep(Duration::from_secs(5));
        assert_eq!(timer.limit(short).await, Ok(()));
        timer.set(Duration::from_secs(10));
        assert_eq!(
            timer.limit(std::future::pending::<()>()).await,
            Err(Elapsed)
        );
        assert_eq!(start.elapsed(), Duration::from_secs(15));
        timer.set(Duration::from_secs(60));
        assert_eq!(
            timer.limit(std::future::pending::<()>()).await,
            Err(Elapsed)
        );
        assert_eq!(start.elapsed(), Duration::from_secs(75));
    }
}
