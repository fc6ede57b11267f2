//! The number of workers: fixed, or set by the pool's policy; and changed by operators.

use std::time::Instant;

use super::super::pool::{Load, Pool, Sizes};
use super::Master;

/// The wanted number of workers.
#[derive(Debug)]
pub(super) struct Size {
    wanted: usize,
    /// The policy that sets their number, if it is not fixed.
    pool: Option<Pool>,
}

impl Size {
    pub(super) fn new(wanted: usize, pool: Option<Sizes>) -> Self {
        Size {
            wanted,
            pool: pool.map(Pool::new),
        }
    }

    pub(super) fn wanted(&self) -> usize {
        self.wanted
    }

    /// One at least.
    pub(super) fn set(&mut self, wanted: usize) {
        self.wanted = wanted.max(1);
    }

    /// One more or less is wanted.
    fn shifted(&mut self, more: bool) -> usize {
        match &mut self.pool {
            Some(pool) => {
                pool.shift(more);
                pool.wanted()
            }
            None if more => self.wanted + 1,
            None => self.wanted.saturating_sub(1),
        }
    }

    /// When the pool is to be looked at.
    fn due(&self) -> Option<Instant> {
        self.pool.as_ref()?.due()
    }

    /// The number that the policy gives after a change, if it is another one.
    fn follow(&mut self, change: impl FnOnce(&mut Pool)) -> Option<usize> {
        let pool = self.pool.as_mut()?;
        change(pool);
        let wanted = pool.wanted();
        (wanted != self.wanted).then_some(wanted)
    }
}

impl Master<'_> {
    /// One worker more or less, as a signal says.
    pub(super) fn shift(&mut self, more: bool) {
        let wanted = self.size.shifted(more);
        self.want(wanted);
    }

    pub(super) fn load(&mut self, load: Load) {
        self.follow(|pool| pool.load(load, Instant::now()));
    }

    pub(super) fn shrink(&mut self) {
        self.follow(|pool| pool.shrink(Instant::now()));
    }

    /// When the pool is to be looked at.
    pub(super) fn next_shrink(&self) -> Option<Instant> {
        self.size.due().filter(|_| self.shutdown.is_running())
    }

    fn follow(&mut self, change: impl FnOnce(&mut Pool)) {
        if !self.shutdown.is_running() {
            return;
        }
        if let Some(wanted) = self.size.follow(change) {
            ::log::debug!("{wanted} workers instead of {}", self.size.wanted());
            self.want(wanted);
        }
    }
}
