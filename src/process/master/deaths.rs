//! How the master waits for children that are ending.

use std::time::{Duration, Instant};

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// How long a fast stop leaves the workers for their END blocks.
pub const FAST_STOP: Duration = Duration::from_secs(1);

/// How a child has ended.
pub(super) type ExitStatus = nix::Result<WaitStatus>;

/// Waits for children that are ending, whatever signals come meanwhile, but no longer than this. Returns those that have ended.
pub(super) fn await_deaths(pids: &[Pid], until: Instant) -> Vec<(Pid, ExitStatus)> {
    let mut alive = pids.to_vec();
    let mut ended = Vec::with_capacity(alive.len());
    loop {
        alive.retain(|&pid| match waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => true,
            status => {
                ended.push((pid, status));
                false
            }
        });
        if alive.is_empty() || Instant::now() >= until {
            return ended;
        }
        // A signal cuts it short.
        std::thread::sleep(Duration::from_millis(2));
    }
}
