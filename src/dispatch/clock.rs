//! The clock of the dispatch.

#![forbid(unsafe_code)]

use std::time::Instant;

/// The time. In the simulation the clock is virtual.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
