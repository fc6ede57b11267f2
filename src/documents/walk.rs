//! The look-up of a path step by step, each by a descriptor: for links that are judged by their owners, and where the kernel has no
//! openat2.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::links::{Links, Refusal};

/// Links that are followed in one look-up, as many as the kernel follows.
const MOST_LINKS: usize = 40;

enum Step {
    Name(Vec<u8>),
    /// What has been reached must belong to this user, whose link has led to it.
    OwnedBy(u32),
}

/// Opens `path` below `root`; links lead nowhere outside.
pub(super) fn open(
    root: BorrowedFd<'_>,
    path: &[u8],
    links: Links,
    flags: OFlag,
) -> Result<OwnedFd, Refusal> {
    // Directories from the root down; after the last step what was asked for.
    let mut reached: Vec<OwnedFd> = Vec::new();
    let mut steps: Vec<Step> = names(path).rev().collect();
    let mut followed = 0;
    while let Some(step) = steps.pop() {
        let here = reached.last().map_or(root, AsFd::as_fd);
        let name = match step {
            Step::OwnedBy(user) if fstat(here)?.st_uid == user => continue,
            Step::OwnedBy(_) => return Err(Refusal::Link),
            Step::Name(name) if name.is_empty() || name == b"." => continue,
            Step::Name(name) if name == b".." => {
                reached.pop().ok_or(Refusal::Link)?;
                continue;
            }
            Step::Name(name) => name,
        };
        let is_last = !steps.iter().any(|step| matches!(step, Step::Name(_)));
        let wanted = if is_last {
            flags
        } else {
            OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
        };
        match openat(here, &*name, wanted | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(opened) if !is_link(&opened)? => reached.push(opened),
            Ok(_) | Err(Errno::ELOOP | Errno::ENOTDIR) => {
                let (target, owner) = read_link(here, &name)?;
                followed += 1;
                if links == Links::None || followed > MOST_LINKS || target.starts_with(b"/") {
                    return Err(Refusal::Link);
                }
                if links == Links::Owner {
                    steps.push(Step::OwnedBy(owner));
                }
                steps.extend(names(&target).rev());
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    match reached.pop() {
        Some(reached) => Ok(reached),
        None => Ok(openat(root, ".", flags, Mode::empty())?),
    }
}

fn names(path: &[u8]) -> impl DoubleEndedIterator<Item = Step> {
    path.split(|&byte| byte == b'/')
        .map(|name| Step::Name(name.to_owned()))
}

fn is_link(opened: &OwnedFd) -> Result<bool, Refusal> {
    let mode = SFlag::from_bits_truncate(fstat(opened)?.st_mode);
    Ok(mode & SFlag::S_IFMT == SFlag::S_IFLNK)
}

/// Where a link leads, and whose it is; both of one descriptor. Missing where it is none.
fn read_link(here: BorrowedFd<'_>, name: &[u8]) -> Result<(Vec<u8>, u32), Refusal> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let link = openat(here, name, flags, Mode::empty())?;
    if !is_link(&link)? {
        return Err(Refusal::Missing);
    }
    let target = readlinkat(&link, "")?;
    Ok((target.into_vec(), fstat(&link)?.st_uid))
}
