//! Fork, and a child's first steps.

use std::io;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};

use nix::sys::prctl;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Pid, getppid};

/// The two sides of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forked {
    /// The parent, with the child's pid.
    Parent(Pid),
    /// The child.
    Child,
}

/// How a child has ended, as words that follow its name.
pub fn how_it_ended(status: nix::Result<WaitStatus>) -> String {
    match status {
        Ok(WaitStatus::Exited(_, status)) => format!("exited with status {status}"),
        Ok(WaitStatus::Signaled(_, signal, _)) => format!("was killed by {signal}"),
        _ => "is gone".to_owned(),
    }
}

/// libc's fork, for a process without Perl in it.
///
/// # Errors
/// What fork says.
///
/// # Safety
/// As for fork(2): no other thread may exist.
pub unsafe fn fork() -> io::Result<Forked> {
    // SAFETY: the caller's promise.
    Ok(match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Forked::Parent(child),
        nix::unistd::ForkResult::Child => Forked::Child,
    })
}

/// Ties a child's life to its parent's: it is killed when `parent` dies, or has died already.
///
/// # Errors
/// What prctl says.
pub fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != parent {
        raise(Signal::SIGKILL)?;
    }
    Ok(())
}

/// Closes every descriptor above 2 but those to `keep`.
///
/// # Safety
/// No value of this thread that owns or borrows one of the others may use it afterwards: it is leaked, or never touched again.
pub unsafe fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .collect();
    keep.sort_unstable();
    let mut first = 3;
    for fd in keep {
        if fd > first {
            close_range(first, fd - 1);
        }
        first = first.max(fd + 1);
    }
    close_range(first, u32::MAX);
}

/// Gives the calling thread its own descriptor table, a copy of the process's. A process that another thread forks has none of the
/// descriptors that this one opens from now on. Without the right to it (seccomp, a kernel before 5.9) they stay shared.
///
/// # Errors
/// What the system says.
pub fn unshare_descriptors() -> io::Result<()> {
    // SAFETY: plain system calls, which change nothing but the thread's table of descriptors. The range is beyond every
    // descriptor, so that none is closed.
    let done = unsafe {
        libc::unshare(libc::CLONE_FILES) == 0
            || libc::syscall(
                libc::SYS_close_range,
                u32::MAX,
                u32::MAX,
                libc::CLOSE_RANGE_UNSHARE,
            ) == 0
    };
    match done {
        true => Ok(()),
        false => Err(io::Error::last_os_error()),
    }
}

/// Closes a descriptor of this thread whose owner lives in another one, with descriptors of its own.
///
/// # Safety
/// The number has no owner in this thread: the value was moved to the other one.
pub unsafe fn close_copy(descriptor: RawFd) {
    // SAFETY: the caller's promise.
    unsafe { libc::close(descriptor) };
}

fn close_range(first: u32, last: u32) {
    // SAFETY: the caller of `close_all_but` keeps what it still uses; a kernel without the call (before
    // 5.9) leaves descriptors open, which costs memory but harms nobody.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

/// Moves a descriptor above 1000, out of the way of apps that close the first few; keeps it where the
/// limit on descriptors does not allow that.
///
/// # Errors
/// None but those of a descriptor that is not open.
pub fn move_high(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::{AsFd, FromRawFd};
    let high = nix::fcntl::fcntl(
        descriptor.as_fd(),
        nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(1000),
    );
    match high {
        // SAFETY: fcntl has just made it for us.
        Ok(high) => Ok(unsafe { OwnedFd::from_raw_fd(high) }),
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::EMFILE) => Ok(descriptor),
        Err(error) => Err(error.into()),
    }
}

/// Opens /dev/null as each standard descriptor that is closed: what is opened next would take its number, and get what
/// programs write to standard output and error.
///
/// # Errors
/// When /dev/null can't be opened.
pub fn open_standard() -> io::Result<()> {
    let mut nothing = std::fs::File::options();
    nothing.read(true).write(true);
    loop {
        // The lowest number that is free. It stays open through exec, as standard descriptors do.
        let opened = OwnedFd::from(nothing.open("/dev/null")?);
        let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
        if number > 2 {
            return Ok(());
        }
        // SAFETY: a flag of our own descriptor.
        unsafe { libc::fcntl(number, libc::F_SETFD, 0) };
        leak(opened);
    }
}

/// A standard descriptor, which no value owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// Standard input.
    Input = 0,
    /// Standard output.
    Output = 1,
    /// Standard error.
    Error = 2,
}

/// Gives `target` what `source` is.
///
/// # Errors
/// What dup2 says.
pub fn replace_standard(source: BorrowedFd<'_>, target: Standard) -> io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd};
    let target = target as RawFd;
    // SAFETY: a standard descriptor is borrowed for the call only and never closed by this value.
    let mut standard = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(target) });
    debug_assert_ne!(source.as_raw_fd(), target);
    nix::unistd::dup2(source, &mut standard)?;
    Ok(())
}

/// Leaves the process at once: no destructors, no END blocks, no buffers flushed but those of our own lines.
pub fn leave(status: i32) -> ! {
    ::log::logger().flush();
    // SAFETY: _exit never returns and runs nothing of this process.
    unsafe { libc::_exit(status) }
}

/// Gives a descriptor away for the rest of the process's life.
pub fn leak(descriptor: OwnedFd) -> RawFd {
    descriptor.into_raw_fd()
}
