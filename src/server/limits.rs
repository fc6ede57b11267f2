//! Whether the system's limits leave the server what it needs.

#![forbid(unsafe_code)]

use anyhow::{Result, bail};
use nix::sys::resource::{Resource, getrlimit};

use crate::config::Config;

/// What a process of the server opens beside its listeners and what its workers need.
const FIXED: u64 = 40;

/// What the core has open for one worker.
const PER_WORKER: u64 = 4;

/// Checks the limit on descriptors, of which the core uses the hard one.
///
/// # Errors
/// One sentence that tells how many are needed.
pub(super) fn check(config: &Config) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let listeners = config.listeners.len() as u64;
    let own = FIXED + listeners;
    let core = own + PER_WORKER * u64::from(config.workers.start);
    for (limit, kind, needed) in [(soft, "", own), (hard, "hard ", core)] {
        if limit < needed {
            bail!(
                "the {kind}limit on open files is {limit} (ulimit -n), and the server needs at least {needed}"
            );
        }
    }
    Ok(())
}
