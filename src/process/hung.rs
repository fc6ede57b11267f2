//! Workers whose call has taken too long: asked where they are, then killed.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

/// How long a worker has for its answer. Perl code gives it before its next statement, or when the system call that it
/// is in returns; code in C may never do.
const ANSWER: Duration = Duration::from_millis(200);

/// The signal that asks: one of those for applications, and none that is known to be used by any.
pub fn signal() -> i32 {
    libc::SIGRTMIN() + 20
}

/// Ends the calling worker, which has answered, as the master would.
pub fn end() {
    // It can't fail.
    let _ = raise(Signal::SIGKILL);
}

/// A worker that was asked.
#[derive(Debug)]
pub struct Hung {
    pid: Pid,
    until: Instant,
}

impl Hung {
    /// Asks worker `pid`.
    pub fn ask(pid: Pid) -> Self {
        // SAFETY: plain kill(2); nix has no names for real-time signals. A child of ours that was not reaped keeps its pid.
        unsafe { libc::kill(pid.as_raw(), signal()) };
        Hung {
            pid,
            until: Instant::now() + ANSWER,
        }
    }

    /// When its time is over.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Kills it, without an answer: the log gets what the kernel knows.
    pub fn kill(&self) {
        ::log::error!(
            "worker {} did not say where the app is; it is {}",
            self.pid,
            Known(self.pid)
        );
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// What the kernel tells of a process.
struct Known(Pid);

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |name| fs::read_to_string(format!("/proc/{}/{name}", self.0)).ok();
        let status = read("status").unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        write!(f, "{}", state.unwrap_or("unknown").trim())?;
        if let Some(call) = read("syscall") {
            match call.split_once(' ') {
                Some((number, _)) => write!(f, ", in system call {number}")?,
                None => write!(f, ", in no system call")?,
            }
        }
        match read("wchan") {
            Some(place) if !matches!(place.trim(), "" | "0") => write!(f, ", waiting in {place}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked() {
        let known = Known(nix::unistd::getpid()).to_string();
        assert!(
            known.starts_with("R (running)") || known.starts_with("S (sleeping)"),
            "{known}"
        );
        assert_eq!(Known(Pid::from_raw(i32::MAX)).to_string(), "unknown");
    }
}
