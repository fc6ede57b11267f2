//! The number of workers: fixed, or moved by the pool's policy; and by operators.

use std::time::Instant;

use super::super::pool::{Load, Pool};
use super::{Master, Phase};

impl Master<'_> {
    /// One worker more or less, as a signal says.
    pub(super) fn shift(&mut self, more: bool) {
        let wanted = match &mut self.pool {
            Some(pool) => {
                pool.shift(more);
                pool.wanted()
            }
            None if more => self.wanted + 1,
            None => self.wanted.saturating_sub(1),
        };
        self.want(wanted);
    }

    pub(super) fn load(&mut self, load: Load) {
        self.follow(|pool| pool.load(load, Instant::now()));
    }

    /// When the pool is to be looked at.
    pub(super) fn next_shrink(&self) -> Option<Instant> {
        let running = self.phase == Phase::Running;
        self.pool.as_ref().filter(|_| running)?.due()
    }

    pub(super) fn shrink(&mut self) {
        self.follow(|pool| pool.shrink(Instant::now()));
    }

    fn follow(&mut self, change: impl FnOnce(&mut Pool)) {
        let Some(pool) = self.pool.as_mut().filter(|_| self.phase == Phase::Running) else {
            return;
        };
        change(pool);
        let wanted = pool.wanted();
        if wanted != self.wanted {
            ::log::debug!("{wanted} workers instead of {}", self.wanted);
            self.want(wanted);
        }
    }
}
