//! The pid file: it tells which process is the server, and a lock on it tells that this process lives.
//!
//! The lock ([`crate::lock`]) survives the fork into the background and is gone when the last copy of the descriptor is,
//! however the server has died.

#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::IntoRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid, getpid};

use super::error::Error;
use crate::files;
use crate::lock::{self, is_same};

/// Everybody reads it, and only its server writes to it.
const MODE: u32 = 0o644;

/// Longer than any pid with its line end.
const LONGEST: u64 = 32;

/// How long a server may take between its lock and its pid.
const WRITING: Duration = Duration::from_secs(1);

/// A pid file that is ours.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    file: File,
    /// The process whose pid it holds; it alone removes the file.
    owner: Option<Pid>,
}

impl PidFile {
    /// Takes the file for this server. One that was left by a dead server is taken over; `kept` is the one that the program
    /// before has held. A successor takes the place of a server that runs.
    ///
    /// # Errors
    /// A sentence that says why not: a server that lives, a file that holds something else, what the system says.
    pub fn take(path: &Path, kept: Option<File>, is_successor: bool) -> Result<PidFile, Error> {
        // It may be root's, and this process not be root any more.
        if let Some(mut kept) = kept.filter(|kept| is_same(kept, path)) {
            kept.rewind()?;
            let owner = read(&mut kept)?;
            return Ok(PidFile::of(path, kept, owner));
        }
        loop {
            let mut file = files::update(path)?;
            let locked = lock::take(&file)?;
            let holder = read(&mut file)?;
            if locked {
                // Else its owner has removed it meanwhile.
                if is_same(&file, path) {
                    if file.metadata()?.uid() == geteuid().as_raw() {
                        file.set_permissions(Permissions::from_mode(MODE))?;
                        return Ok(PidFile::of(path, file, None));
                    }
                    // Nobody would believe a file that another user can write to.
                    remove(path)?;
                }
                continue;
            }
            match holder {
                // A child of a server that is dead holds a copy of the descriptor.
                Some(pid) if is_successor || !lives(pid) => remove(path)?,
                Some(pid) => return Err(Error::Running(pid)),
                None => return Err(Error::Starting),
            }
        }
    }

    fn of(path: &Path, file: File, owner: Option<Pid>) -> PidFile {
        PidFile {
            path: path.to_owned(),
            file,
            owner,
        }
    }

    /// Writes the pid of this process.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&mut self) -> io::Result<()> {
        let pid = getpid();
        self.file.set_len(0)?;
        self.file.write_all_at(format!("{pid}\n").as_bytes(), 0)?;
        self.owner = Some(pid);
        Ok(())
    }

    /// Whether it holds a pid.
    pub fn is_written(&self) -> bool {
        self.owner.is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for the program that this process is about to become.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The same file, for another thread of the process that may have to remove it.
    ///
    /// # Errors
    /// When descriptors run out.
    pub fn try_clone(&self) -> io::Result<PidFile> {
        let file = self.file.try_clone()?;
        Ok(PidFile::of(&self.path, file, self.owner))
    }

    /// Removes the file, if it is the one that this process has written. The lock stays until the process ends, for processes
    /// that wait for that. If the user may not remove files from the folder, the file stays, empty and unlocked.
    pub fn remove(mut self) {
        let ours = self.owner.is_none_or(|owner| owner == getpid());
        if !ours || !is_same(&self.file, &self.path) {
            return;
        }
        match remove(&self.path) {
            Ok(()) => _ = self.file.into_raw_fd(),
            Err(_) => _ = self.file.set_len(0).and_then(|()| self.file.flush()),
        }
    }
}

/// A process that holds a pid file.
#[derive(Debug)]
pub struct Holder {
    /// Its pid.
    pub pid: Pid,
    file: File,
}

impl Holder {
    /// Whether it lives: its pid may be another process's by now.
    pub fn lives(&self) -> bool {
        lock::is_held(&self.file).unwrap_or(false) && lives(self.pid)
    }
}

/// The process that holds a pid file, if a server lives there.
///
/// # Errors
/// When the file can't be read.
pub fn holder(path: &Path) -> io::Result<Option<Holder>> {
    let began = Instant::now();
    loop {
        let mut file = match files::read(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !lock::is_held(&file)? {
            return Ok(None);
        }
        match read(&mut file) {
            Ok(Some(pid)) if !lives(pid) => return Ok(None),
            Ok(Some(pid)) => {
                let metadata = file.metadata()?;
                check_owner(pid, metadata.uid(), metadata.mode())?;
                return Ok(Some(Holder { pid, file }));
            }
            // It is being written.
            _ if began.elapsed() < WRITING => std::thread::sleep(Duration::from_millis(10)),
            _ => return Ok(None),
        }
    }
}

/// Whether the file can be believed: nobody but root and the process's own user can have written this pid. Else a stranger
/// could have us signal any process of ours.
fn check_owner(pid: Pid, owner: u32, mode: u32) -> io::Result<()> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    if mode & 0o022 != 0 {
        return refused("it is not believed, because others can write to it".to_owned());
    }
    match user_of(pid) {
        Some(user) if owner != 0 && owner != user => refused(format!(
            "it is not believed, because it is user {owner}'s and process {pid} is user {user}'s"
        )),
        _ => Ok(()),
    }
}

/// The real user of a process; nothing when it has gone.
fn user_of(pid: Pid) -> Option<u32> {
    // The owner of its folder in /proc is root for one that can't be dumped.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The pid in the file; an error for anything else, which must not be overwritten.
fn read(file: &mut File) -> io::Result<Option<Pid>> {
    let mut text = String::new();
    let other = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "it holds something else than a pid",
        )
    };
    match file.take(LONGEST).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(other()),
        Err(error) => return Err(error),
        Ok(_) if text.trim().is_empty() => return Ok(None),
        Ok(_) => {}
    }
    match text.trim().parse() {
        Ok(pid) if pid > 0 => Ok(Some(Pid::from_raw(pid))),
        _ => Err(other()),
    }
}

/// Whether there is such a process, ours or another user's.
fn lives(pid: Pid) -> bool {
    kill(pid, None) != Err(Errno::ESRCH)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(path: &Path) -> io::Result<Option<Pid>> {
        Ok(super::holder(path)?.map(|holder| holder.pid))
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn one_server_at_a_time() {
        let folder = folder();
        let path = folder.path().join("pid");
        assert_eq!(holder(&path).unwrap(), None, "no file");
        let mut first = PidFile::take(&path, None, false).unwrap();
        let starting = PidFile::take(&path, None, false).unwrap_err().to_string();
        assert!(starting.contains("starting"), "{starting}");
        first.write().unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{}\n", getpid())
        );
        assert_eq!(holder(&path).unwrap(), Some(getpid()));
        let running = PidFile::take(&path, None, false).unwrap_err().to_string();
        assert!(running.contains(&format!("pid {}", getpid())), "{running}");
        let found = super::holder(&path).unwrap().unwrap();
        first.remove();
        assert!(!path.exists());
        assert!(found.lives(), "until its process ends");
        PidFile::take(&path, None, false).unwrap().remove();
    }

    #[test]
    fn the_next_program_takes_the_file_that_is_handed_over() {
        let folder = folder();
        let path = folder.path().join("pid");
        let mut before = PidFile::take(&path, None, false).unwrap();
        before.write().unwrap();
        assert!(PidFile::take(&path, None, false).is_err(), "it is held");
        let kept = before.file.try_clone().unwrap();
        let next = PidFile::take(&path, Some(kept), false).unwrap();
        assert_eq!(next.owner, Some(getpid()));
        assert_eq!(holder(&path).unwrap(), Some(getpid()));
        let elsewhere = folder.path().join("other");
        let kept = before.file.try_clone().unwrap();
        let other = PidFile::take(&elsewhere, Some(kept), false).unwrap();
        assert_eq!(other.owner, None, "another path is another file");
        next.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_successor_takes_the_path_and_not_the_file() {
        let folder = folder();
        let path = folder.path().join("pid");
        let mut first = PidFile::take(&path, None, false).unwrap();
        first.write().unwrap();
        let mut successor = PidFile::take(&path, None, true).unwrap();
        successor.write().unwrap();
        first.remove();
        assert!(path.exists(), "it is the successor's");
        successor.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_pid_without_a_lock_is_stale_though_the_process_lives() {
        let folder = folder();
        let path = folder.path().join("pid");
        fs::write(&path, "1\n").unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        let mut ours = PidFile::take(&path, None, false).unwrap();
        ours.write().unwrap();
        assert_eq!(holder(&path).unwrap(), Some(getpid()));
    }

    #[test]
    fn a_lock_of_a_dead_servers_child_is_stale() {
        let folder = folder();
        let path = folder.path().join("pid");
        let left = PidFile::take(&path, None, false).unwrap();
        // No process has this number: above the kernel's limit.
        fs::write(&path, "99999999\n").unwrap();
        assert_eq!(holder(&path).unwrap(), None);
        let mut ours = PidFile::take(&path, None, false).unwrap();
        ours.write().unwrap();
        left.remove();
        assert!(path.exists(), "what is another's now is not removed");
    }

    /// Protects: a user who can write to a pid file can't have another user's process signalled.
    #[test]
    fn a_strangers_pid_file_is_not_believed() {
        let folder = folder();
        let path = folder.path().join("pid");
        let mut ours = PidFile::take(&path, None, false).unwrap();
        ours.write().unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        for open in [0o666, 0o664, 0o646] {
            mode(open);
            let error = holder(&path).unwrap_err().to_string();
            assert!(error.contains("others can write"), "{error}");
        }
        mode(0o644);
        assert_eq!(holder(&path).unwrap(), Some(getpid()));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(4711), None).unwrap();
            let error = holder(&path).unwrap_err().to_string();
            assert!(error.contains("user 4711's"), "{error}");
        }
    }

    #[test]
    fn other_files_are_left_alone() {
        let folder = folder();
        let path = folder.path().join("precious");
        for content in [
            "precious\n",
            "12 34",
            "-5",
            "123456789012345678901234567890123456",
        ] {
            fs::write(&path, content).unwrap();
            assert!(PidFile::take(&path, None, false).is_err(), "{content}");
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(PidFile::take(&link, None, false).is_err());
        assert!(PidFile::take(folder.path(), None, false).is_err());
        assert!(PidFile::take(&folder.path().join("none/pid"), None, false).is_err());
    }
}
