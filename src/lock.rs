//! Locks on files that belong to the open file (F_OFD_SETLK of fcntl(2)), not to the process: they last until the last copy
//! of the descriptor is closed, and can be kept through exec.

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Whether the lock was free, or ours already, and is ours now.
///
/// # Errors
/// What fcntl says.
pub fn take(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file())) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether somebody else holds it.
///
/// # Errors
/// What fcntl says.
pub fn is_held(file: &File) -> io::Result<bool> {
    let mut found = whole_file();
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// Whether the path leads to this file.
pub fn is_same(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(file), Ok(path)) => (file.dev(), file.ino()) == (path.dev(), path.ino()),
        _ => false,
    }
}

/// Whether the program that this process is about to become finds the file open, and locked.
///
/// # Errors
/// What fcntl says.
pub fn keep_through_exec(file: &File, keep: bool) -> io::Result<()> {
    let flags = if keep {
        FdFlag::empty()
    } else {
        FdFlag::FD_CLOEXEC
    };
    fcntl(file, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// The file that came through exec with its lock, if this process has executed itself anew and kept it: only a descriptor
/// that was kept on purpose is not closed by exec. `is_ours` looks at what is in it.
pub fn kept_through_exec(path: &Path, is_ours: impl Fn(&mut File) -> bool) -> Option<File> {
    let wanted = fs::symlink_metadata(path).ok().filter(|it| it.is_file())?;
    let numbers: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    numbers.into_iter().find_map(|number| {
        // SAFETY: a number that is no descriptor is an error of fcntl's, nothing else.
        let stays = unsafe { libc::fcntl(number, libc::F_GETFD) } == 0;
        let found = fs::metadata(format!("/proc/self/fd/{number}")).ok()?;
        if !stays || (found.dev(), found.ino()) != (wanted.dev(), wanted.ino()) {
            return None;
        }
        // SAFETY: what is not ours, because its lock or its content is another's, is given back below.
        let mut file = unsafe { File::from_raw_fd(number) };
        let ours = is_ours(&mut file)
            && take(&file).unwrap_or(false)
            && keep_through_exec(&file, false).is_ok();
        if !ours {
            let _ = file.into_raw_fd();
            return None;
        }
        Some(file)
    })
}
