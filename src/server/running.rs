//! A server that runs already, found by its pid file: what another process can do with it.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::daemon::file_path;
use crate::config::Options;
use crate::config::command::Command;
use crate::config::resolved::FilePath;
use crate::process::origin::Origin;
use crate::process::pid_file::{self, Holder};
use crate::scoreboard::status;

/// What a graceful stop may take beyond the time that the server itself grants it.
const LEAVING: Duration = Duration::from_secs(5);

/// How long the fast stop may take, and then the end by SIGKILL.
const FAST: Duration = Duration::from_secs(3);

/// How long to wait for another look.
const PAUSE: Duration = Duration::from_millis(20);

/// A server that lives.
#[derive(Debug)]
pub struct Running {
    holder: Holder,
    graceful_timeout: Duration,
}

/// No server runs.
#[derive(Debug)]
pub struct NotRunning(Option<PathBuf>);

impl fmt::Display for NotRunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "no server is running (pid file '{}')", path.display()),
            None => f.write_str("without a pid file no server is found"),
        }
    }
}

/// What a server was like before it was told to change: what its change is waited for by.
#[derive(Debug)]
pub struct Before {
    began: u64,
    asked: u64,
}

/// What a server runs after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The app as it is now.
    New,
    /// What was loaded before the workers were started. A restart loads the app again.
    OfTheStart,
    /// The same in one process, which can't restart in place.
    OfTheProcess,
}

impl Code {
    /// One line for the operator, where the code may not be what they expect.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Code::New => None,
            Code::OfTheStart => Some(
                "the new workers run the code of the start, because the app is loaded before them; \
                 'gepok restart' loads it again",
            ),
            Code::OfTheProcess => Some(
                "the code is that of the start, because there is one process; stop it and start it to load \
                 the app again",
            ),
        }
    }
}

/// Why a server was not moved.
#[derive(Debug)]
pub enum ControlError {
    /// It has tried to change, and says why it did not.
    Failed(String),
    /// It has ended meanwhile.
    Gone,
    /// It is another user's.
    NotAllowed(Pid),
    /// It lives on.
    Stays(Pid, String),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Gone => f.write_str("the server has ended meanwhile"),
            ControlError::NotAllowed(pid) => {
                write!(
                    f,
                    "process {pid} is another user's, who alone can signal it"
                )
            }
            ControlError::Failed(why) => f.write_str(why),
            ControlError::Stays(pid, why) => write!(f, "process {pid} lives on: {why}"),
        }
    }
}

impl std::error::Error for ControlError {}

/// The server that was started with these options, if it runs.
///
/// # Errors
/// One sentence when the pid file can't be read.
pub fn find(options: &Options, origin: &Origin) -> Result<Result<Running, NotRunning>> {
    let Some(path) = file_path(&FilePath::of_running(options)?, origin)? else {
        return Ok(Err(NotRunning(None)));
    };
    let holder = pid_file::holder(&path)
        .with_context(|| format!("the pid file '{}' can't be used", path.display()))?;
    Ok(match holder {
        Some(holder) => Ok(Running {
            holder,
            graceful_timeout: options.reload.graceful_timeout,
        }),
        None => Err(NotRunning(Some(path))),
    })
}

impl Running {
    /// The master's pid.
    pub fn pid(&self) -> Pid {
        self.holder.pid
    }

    /// Replaces its workers (HUP).
    ///
    /// # Errors
    /// When it can't be signalled.
    pub fn reload(&self) -> Result<(), ControlError> {
        self.signal(Signal::SIGHUP)
    }

    /// Restarts it in place (USR2).
    ///
    /// # Errors
    /// When it can't be signalled, or would die of the signal, as one process does.
    pub fn restart(&self) -> Result<(), ControlError> {
        self.signal(None)?;
        if !handles(self.pid(), Signal::SIGUSR2) {
            let why = "it can't restart in place, so stop it and start it";
            return Err(ControlError::Stays(self.pid(), why.to_owned()));
        }
        self.signal(Signal::SIGUSR2)
    }

    /// What it is like now; nothing where only others may know.
    pub fn before(&self) -> Option<Before> {
        let (began, reloads) = status::reloads_of(self.pid().as_raw()).ok()?;
        Some(Before {
            began,
            asked: reloads.asked,
        })
    }

    /// Waits until a reload, or a restart, has ended, however long the app takes to be loaded.
    ///
    /// # Errors
    /// When it has failed, or the server has gone.
    pub fn changed(&self, before: &Before, command: Command) -> Result<Code, ControlError> {
        while self.holder.lives() {
            match status::reloads_of(self.pid().as_raw()) {
                // Another program, in the same process.
                Ok((began, now)) if began != before.began => {
                    if now.generation > 0 {
                        return Ok(Code::New);
                    }
                }
                Ok((_, now)) if now.answered > before.asked => match now.failure {
                    Some(failure) => return Err(ControlError::Failed(failure.why)),
                    None if command == Command::Reload => {
                        return Ok(
                            match (now.keeps_code, handles(self.pid(), Signal::SIGUSR2)) {
                                (false, _) => Code::New,
                                (true, true) => Code::OfTheStart,
                                (true, false) => Code::OfTheProcess,
                            },
                        );
                    }
                    // That was another's reload.
                    None => {}
                },
                // While the program changes there is none.
                Ok(_) | Err(_) => {}
            }
            sleep(PAUSE);
        }
        Err(ControlError::Gone)
    }

    /// Ends it, gracefully if it can, and waits until it has gone.
    ///
    /// # Errors
    /// When it can't be signalled, or does not die.
    pub fn stop(&self) -> Result<(), ControlError> {
        for (signal, patience) in [
            (Signal::SIGTERM, self.graceful_timeout + LEAVING),
            (Signal::SIGTERM, FAST),
            (Signal::SIGKILL, FAST),
        ] {
            match self.signal(signal) {
                Ok(()) if self.gone_within(patience) => return Ok(()),
                Err(ControlError::Gone) => return Ok(()),
                Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        Err(ControlError::Stays(
            self.pid(),
            "even SIGKILL did not end it".to_owned(),
        ))
    }

    /// Without a signal: whether it could be signalled.
    fn signal(&self, signal: impl Into<Option<Signal>>) -> Result<(), ControlError> {
        if !self.holder.lives() {
            return Err(ControlError::Gone);
        }
        match kill(self.pid(), signal) {
            Ok(()) => Ok(()),
            Err(Errno::ESRCH) => Err(ControlError::Gone),
            Err(Errno::EPERM) => Err(ControlError::NotAllowed(self.pid())),
            Err(error) => Err(ControlError::Stays(self.pid(), error.to_string())),
        }
    }

    fn gone_within(&self, patience: Duration) -> bool {
        let limit = Instant::now() + patience;
        while self.holder.lives() {
            if Instant::now() >= limit {
                return false;
            }
            sleep(PAUSE);
        }
        true
    }
}

/// Whether a process has a handler for a signal, as proc(5) tells in `SigCgt`.
fn handles(pid: Pid, signal: Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| {
        let mask = line.strip_prefix("SigCgt:")?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    caught.is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::signal;

    #[test]
    fn a_signal_that_would_end_a_process_is_known() {
        let this = nix::unistd::getpid();
        signal::set_default(Signal::SIGUSR2).unwrap();
        assert!(!handles(this, Signal::SIGUSR2));
        signal::disregard(Signal::SIGUSR2).unwrap();
        assert!(handles(this, Signal::SIGUSR2));
    }
}
