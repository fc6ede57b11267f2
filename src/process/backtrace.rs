//! Workers whose call has taken too long: asked for a backtrace, then killed.

use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

/// How long a worker may take to answer. Perl code answers before its next statement, or when its current system call
/// returns; code in C may never do.
const ANSWER: Duration = Duration::from_millis(200);

/// The signal that asks for it: a real-time signal that no application is known to use.
pub fn signal() -> i32 {
    libc::SIGRTMIN() + 20
}

/// Kills the calling worker after its answer, as the master would.
pub fn end() {
    // It can't fail.
    let _ = raise(Signal::SIGKILL);
}

/// A worker that was asked for a backtrace.
#[derive(Debug)]
pub struct BacktraceRequest {
    pid: Pid,
    until: Instant,
}

impl BacktraceRequest {
    /// Asks worker `pid` for it.
    pub fn send(pid: Pid) -> Self {
        // SAFETY: plain kill(2); nix has no names for real-time signals. A child of ours that was not reaped keeps its pid.
        unsafe { libc::kill(pid.as_raw(), signal()) };
        BacktraceRequest {
            pid,
            until: Instant::now() + ANSWER,
        }
    }

    /// When the worker is killed without an answer.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Kills it, without an answer: the log gets what the kernel knows.
    pub fn kill(&self) {
        ::log::error!(
            "worker {} did not say where the app is; it is {}",
            self.pid,
            KernelState(self.pid)
        );
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

/// What the kernel knows about a process.
struct KernelState(Pid);

impl fmt::Display for KernelState {
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
        let known = KernelState(nix::unistd::getpid()).to_string();
        assert!(
            known.starts_with("R (running)") || known.starts_with("S (sleeping)"),
            "{known}"
        );
        assert_eq!(KernelState(Pid::from_raw(i32::MAX)).to_string(), "unknown");
    }
}
