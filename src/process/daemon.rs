//! Leaving the terminal: a new session in the background, and a parent that waits until the server serves.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid, setsid};

use super::fork::{self, Forked};
use super::signal;

/// A server on its way to the background, or a worker of it that loads the app. Why the start fails is still to be told where
/// the operator waits.
#[derive(Debug)]
pub struct Background {
    /// The way to the process that waits; the master's alone.
    telling: Option<UnixStream>,
    waiting: Pid,
    /// Standard error as it was before an error log took its place.
    before: Option<OwnedFd>,
}

/// Goes to the background. The process that was started waits, and exits with status 0 once [`Background::ready`]
/// is said, with this process's own status if it ends before. Then `failed` is called first: this process has still the rights
/// that the other one may have given up.
///
/// # Errors
/// What fork or setsid say.
pub fn detach(
    fork: impl FnOnce() -> io::Result<Forked>,
    failed: impl FnOnce(),
) -> io::Result<Background> {
    let (mut waiting, telling) = UnixStream::pair()?;
    let starter = getpid();
    match fork()? {
        Forked::Parent(child) => {
            drop(telling);
            // Ctrl-C ends this process, and so the start.
            let _ = signal::end_by_stops();
            let told = waiting.read_exact(&mut [0]).is_ok();
            let status = if told { 0 } else { failure(child) };
            if !told {
                failed();
            }
            fork::leave(status)
        }
        Forked::Child => {
            setsid()?;
            let background = Background {
                telling: Some(telling),
                waiting: starter,
                before: None,
            };
            background.end_with_start()?;
            Ok(background)
        }
    }
}

/// The exit status of a child that has ended too early, as a shell tells it.
fn failure(child: Pid) -> i32 {
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::Exited(_, status)) if status != 0 => return status,
            Ok(WaitStatus::Signaled(_, signal, _)) => return 128 + signal as i32,
            _ => return 1,
        }
    }
}

fn nothing() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// What takes the place of a terminal that is standard error; nothing where it is none.
///
/// # Errors
/// When /dev/null can't be opened.
pub fn instead_of_terminal() -> io::Result<Option<OwnedFd>> {
    let is_terminal = io::stderr().is_terminal();
    is_terminal.then(|| Ok(nothing()?.into())).transpose()
}

impl Background {
    /// Has the kernel tell this process of the end of that which waits, as Ctrl-C would tell it. The kernel forgets that when
    /// the user changes.
    ///
    /// # Errors
    /// What prctl says.
    pub fn end_with_start(&self) -> io::Result<()> {
        prctl::set_pdeathsig(Signal::SIGINT)?;
        if getppid() != self.waiting {
            raise(Signal::SIGINT)?;
        }
        Ok(())
    }

    /// Before an app is loaded: it reads nothing from the terminal, and only what it says on standard error arrives there.
    ///
    /// # Errors
    /// When /dev/null can't be opened.
    pub fn leave_standard(&self) -> io::Result<()> {
        let nothing = nothing()?;
        fork::replace_standard(nothing.as_fd(), fork::Standard::Input)?;
        fork::replace_standard(nothing.as_fd(), fork::Standard::Output)
    }

    /// An error log is about to become standard error.
    pub fn keep_standard_error(&mut self) {
        if self.before.is_none() {
            // Where it is closed nobody listens.
            self.before = io::stderr().as_fd().try_clone_to_owned().ok();
        }
    }

    /// In a worker: the master notifies the process that waits.
    pub fn leave_to_master(&mut self) {
        self.telling = None;
    }

    /// Before last words: standard error is again what it was. Whether it was something else.
    pub fn take_standard_error_back(&mut self) -> bool {
        let before = self.before.take();
        before.is_some_and(|before| {
            fork::replace_standard(before.as_fd(), fork::Standard::Error).is_ok()
        })
    }

    /// Lets go of the terminal, and of the process that waits.
    ///
    /// # Errors
    /// When /dev/null can't be opened.
    pub fn ready(self) -> io::Result<()> {
        if let Some(nothing) = instead_of_terminal()? {
            fork::replace_standard(nothing.as_fd(), fork::Standard::Error)?;
        }
        if let Some(mut telling) = self.telling {
            prctl::set_pdeathsig(None)?;
            // A parent that was killed meanwhile needs no word.
            let _ = telling.write_all(b"R");
        }
        Ok(())
    }
}
