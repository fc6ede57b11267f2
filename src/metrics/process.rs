//! The core as the system sees it. To be read where a disk may be waited for.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

/// Facts of this process; what the system does not tell is missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Processor time that it has used.
    pub cpu: Option<Duration>,
    /// Descriptors that are open.
    pub descriptors: Option<u64>,
    /// How many may be.
    pub most_descriptors: Option<u64>,
}

impl Process {
    /// This process, now.
    pub fn look() -> Self {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
        Process {
            cpu: usage.map(|usage| {
                let micros = |time: nix::sys::time::TimeVal| {
                    let seconds = Duration::from_secs(time.tv_sec().unsigned_abs());
                    seconds + Duration::from_micros(time.tv_usec().unsigned_abs())
                };
                micros(usage.user_time()) + micros(usage.system_time())
            }),
            // One is that of the folder itself.
            descriptors: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|entries| (entries.count() as u64).saturating_sub(1)),
            most_descriptors: getrlimit(Resource::RLIMIT_NOFILE)
                .ok()
                .map(|(soft, _)| soft),
        }
    }
}
