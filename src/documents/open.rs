//! Opening what a request names: one look-up below a directory, by the kernel; all else is asked of the descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use super::links::{Links, Refusal};
use super::walk;

/// How far a look-up may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// To what the kernel has in memory: on the loop
    Memory,
    /// To the disk: on a thread of the pool
    Disk,
}

/// RESOLVE_CACHED of openat2(2), since Linux 5.12.
const CACHED: ResolveFlag = ResolveFlag::from_bits_retain(0x20);

/// Times that a look-up is repeated when a rename somewhere has disturbed it.
const TRIES: usize = 8;

/// A directory below which files are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) links: Links,
}

impl Root {
    /// The directory as it is now: its path may be a link that a deployment turns.
    pub(super) fn open(&self, reach: Reach) -> Result<Below, Refusal> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path: &Path = &self.path;
        let opened = match by_kernel(AT_FDCWD, path, flags, ResolveFlag::empty(), reach) {
            Err(Errno::ENOSYS | Errno::EPERM) => openat(AT_FDCWD, path, flags, Mode::empty()),
            opened => opened,
        };
        match opened {
            Ok(descriptor) => Ok(Below {
                descriptor,
                links: self.links,
                reach,
            }),
            Err(Errno::EAGAIN) => Err(Refusal::Wait),
            Err(errno) => Err(Refusal::Failed(errno.into())),
        }
    }
}

/// What is below an open root.
#[derive(Debug)]
pub(super) struct Below {
    descriptor: OwnedFd,
    links: Links,
    reach: Reach,
}

impl Below {
    /// Opens what has this path, whose parts are neither empty nor `.` or `..`. An empty path is the root itself.
    ///
    /// O_NONBLOCK: a FIFO does not wait for its writer.
    pub(super) fn open(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Refusal> {
        let flags = match flags.contains(OFlag::O_PATH) {
            true => flags | OFlag::O_CLOEXEC,
            false => flags | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY,
        };
        let resolve = match self.links {
            Links::None => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS,
            Links::Inside => ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            Links::Follow => ResolveFlag::RESOLVE_NO_MAGICLINKS,
            Links::Owner => return self.step_by_step(path, flags),
        };
        let name = if path.is_empty() { b"." } else { path };
        let opened = by_kernel(self.descriptor.as_fd(), name, flags, resolve, self.reach);
        match opened {
            Err(Errno::EAGAIN) if self.reach == Reach::Memory => Err(Refusal::Wait),
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::ENOSYS | Errno::EPERM) => self.step_by_step(path, flags),
            opened => Ok(opened?),
        }
    }

    fn step_by_step(&self, path: &[u8], flags: OFlag) -> Result<OwnedFd, Refusal> {
        if self.reach == Reach::Memory {
            return Err(Refusal::Wait);
        }
        if self.links == Links::Follow {
            let name = if path.is_empty() { b"." } else { path };
            return Ok(openat(&self.descriptor, name, flags, Mode::empty())?);
        }
        walk::open(self.descriptor.as_fd(), path, self.links, flags)
    }
}

fn by_kernel<P: ?Sized + nix::NixPath>(
    below: BorrowedFd<'_>,
    path: &P,
    flags: OFlag,
    resolve: ResolveFlag,
    reach: Reach,
) -> nix::Result<OwnedFd> {
    let cached = match reach {
        Reach::Memory => CACHED,
        Reach::Disk => ResolveFlag::empty(),
    };
    let how = OpenHow::new().flags(flags).resolve(resolve | cached);
    let mut opened = openat2(below, path, how);
    for _ in 1..TRIES {
        if !matches!(opened, Err(Errno::EAGAIN)) || reach == Reach::Memory {
            break;
        }
        opened = openat2(below, path, how);
    }
    // Kernels before 5.12 know RESOLVE_CACHED by no name.
    if matches!(opened, Err(Errno::EINVAL)) && reach == Reach::Memory {
        return Err(Errno::EAGAIN);
    }
    opened
}
