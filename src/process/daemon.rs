//! Leaving the terminal: a new session in the background, and a parent that waits until all listens.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};

use super::fork::{self, Forked};

/// The way to the process that the operator has started, which waits.
#[derive(Debug)]
pub struct Background(UnixStream);

/// Goes to the background. The process that was started leaves behind: with status 0 once [`Background::ready`]
/// is said, with this process's own status if it ends before.
///
/// # Errors
/// What fork or setsid say.
pub fn detach(fork: impl FnOnce() -> io::Result<Forked>) -> io::Result<Background> {
    let (mut waiting, telling) = UnixStream::pair()?;
    match fork()? {
        Forked::Parent(child) => {
            drop(telling);
            let told = waiting.read_exact(&mut [0]).is_ok();
            fork::leave(if told { 0 } else { failure(child) })
        }
        Forked::Child => {
            setsid()?;
            Ok(Background(telling))
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

impl Background {
    /// Lets go of the terminal, and of the process that waits.
    ///
    /// # Errors
    /// When /dev/null can't be opened.
    pub fn ready(mut self) -> io::Result<()> {
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        fork::replace_standard(nothing.as_fd(), 0)?;
        fork::replace_standard(nothing.as_fd(), 1)?;
        if io::stderr().is_terminal() {
            fork::replace_standard(nothing.as_fd(), 2)?;
        }
        // A parent that was killed meanwhile needs no word.
        let _ = self.0.write_all(b"R");
        Ok(())
    }
}
