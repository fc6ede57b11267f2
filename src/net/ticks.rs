//! Waits of some milliseconds that share one timer: a request that ends sooner costs the runtime none.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::sleep;

use super::waiters::Waiters;

/// How long a tick is.
const TICK: Duration = Duration::from_millis(20);

/// A clock that ticks only while somebody waits for it.
#[derive(Debug, Default)]
pub struct Ticks {
    passed: Cell<u64>,
    passing: Waiters,
    waiting: Cell<usize>,
    running: Cell<bool>,
}

impl Ticks {
    /// Waits until a whole tick has passed: 20 to 40 ms.
    pub async fn whole(self: &Rc<Self>) {
        let _waiter = Waiter::enter(self);
        self.run();
        let until = self.passed.get() + 2;
        self.passing.until(|| self.passed.get() >= until).await;
    }

    fn run(self: &Rc<Self>) {
        if self.running.replace(true) {
            return;
        }
        let ticks = Rc::clone(self);
        spawn_local(async move {
            while ticks.waiting.get() > 0 {
                sleep(TICK).await;
                ticks.passed.set(ticks.passed.get() + 1);
                ticks.passing.wake();
            }
            ticks.running.set(false);
        });
    }
}

struct Waiter<'a>(&'a Ticks);

impl<'a> Waiter<'a> {
    fn enter(ticks: &'a Ticks) -> Self {
        ticks.waiting.set(ticks.waiting.get() + 1);
        Waiter(ticks)
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::{LocalSet, yield_now};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_takes_one_to_two_ticks_and_the_clock_stops_behind_the_last() {
        let ticks = Rc::new(Ticks::default());
        let waits = async {
            let start = Instant::now();
            ticks.whole().await;
            assert_eq!(start.elapsed(), 2 * TICK);
            let (early, late) = (Rc::clone(&ticks), Rc::clone(&ticks));
            let early = spawn_local(async move { early.whole().await });
            sleep(TICK / 2).await;
            let start = Instant::now();
            late.whole().await;
            assert!((TICK..=2 * TICK).contains(&start.elapsed()));
            assert!(early.is_finished());
            // One that is dropped keeps the clock running for no longer than its tick.
            assert!(tokio::time::timeout(TICK / 2, ticks.whole()).await.is_err());
            sleep(2 * TICK).await;
            yield_now().await;
            assert!(!ticks.running.get());
        };
        LocalSet::new().run_until(waits).await;
    }
}
