//! The command `precompress`: writes compressed variants of files, for the server to send in their place.
//!
//! It may be run by root over directories of others: what lies there is reached by descriptors, one name at a time, and no link is
//! followed.

#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, FileTimes, Metadata, Permissions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, unlinkat};

use crate::coding::{Coding, Effort, Encoder, Settings};
use crate::documents::is_hidden;
use crate::documents::kinds::Kinds;

/// How much is read or written at once.
const PIECE: usize = 64 * 1024;

/// A variant is worth it if it has at most 19 of 20 bytes of its file.
const WORTH: (u64, u64) = (19, 20);

/// Compresses what is below directories.
pub struct Run {
    settings: Settings,
    kinds: Kinds,
    hidden: bool,
    summary: Summary,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    files: u64,
    written: u64,
    current: u64,
    useless: u64,
    removed: u64,
    failed: u64,
    /// Bytes of the files of which variants were written, counted for each variant, and those of the variants.
    before: u64,
    after: u64,
}

impl Summary {
    /// Whether all files could be compressed.
    pub fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (files, written) = (self.files, self.written);
        write!(f, "{files} files, {written} variants written")?;
        if written > 0 {
            write!(f, " ({} bytes of {})", self.after, self.before)?;
        }
        write!(f, ", {} up to date", self.current)?;
        for (number, what) in [
            (self.useless, "not worth it"),
            (self.removed, "removed"),
            (self.failed, "failed"),
        ] {
            if number > 0 {
                write!(f, ", {number} {what}")?;
            }
        }
        Ok(())
    }
}

/// What became of a variant.
enum Outcome {
    Current,
    Written(u64),
    /// It would not be smaller; a variant that was there is removed.
    Useless {
        removed: bool,
    },
}

impl Run {
    /// A run by these settings; `types` are endings and media types beside the built-in ones.
    pub fn new(settings: Settings, types: &[(String, String)], hidden: bool) -> Self {
        Run {
            settings,
            kinds: Kinds::new(types, ""),
            hidden,
            summary: Summary::default(),
        }
    }

    /// What was done so far.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Writes variants of the files below `directory`. What fails is reported to `complain`, in one sentence each.
    pub fn directory(&mut self, directory: &Path, complain: &mut dyn FnMut(&str)) {
        // The path that the operator names may be a link.
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        match Dir::open(directory, flags, Mode::empty()) {
            Ok(opened) => self.entries(opened, directory, complain),
            Err(errno) => self.fail(directory, &errno.into(), complain),
        }
    }

    fn fail(&mut self, path: &Path, error: &io::Error, complain: &mut dyn FnMut(&str)) {
        self.summary.failed += 1;
        complain(&format!("{}: {error}", path.display()));
    }

    fn entries(&mut self, mut directory: Dir, path: &Path, complain: &mut dyn FnMut(&str)) {
        let names = directory
            .iter()
            .map(|entry| Ok(OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned()))
            .collect::<nix::Result<Vec<OsString>>>();
        let mut names = match names {
            Ok(names) => names,
            Err(errno) => return self.fail(path, &errno.into(), complain),
        };
        names.retain(|name| name != "." && name != "..");
        names.sort();
        for name in names {
            if !self.hidden && is_hidden(name.as_bytes()) {
                continue;
            }
            let path = path.join(&name);
            if let Err(error) = self.entry(directory.as_fd(), &name, &path, complain) {
                self.fail(&path, &error, complain);
            }
        }
    }

    fn entry(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        complain: &mut dyn FnMut(&str),
    ) -> io::Result<()> {
        let Some(status) = status(directory, name)? else {
            return Ok(());
        };
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match kind(&status) {
            SFlag::S_IFDIR => {
                let flags = flags | OFlag::O_DIRECTORY;
                let opened = Dir::openat(directory, name, flags, Mode::empty())?;
                self.entries(opened, path, complain);
            }
            SFlag::S_IFREG if self.is_wanted(name, status.st_size) => {
                let file = File::from(openat(directory, name, flags, Mode::empty())?);
                let metadata = file.metadata()?;
                if metadata.is_file() {
                    self.file(directory, name, path, &file, &metadata, complain);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn is_wanted(&self, name: &OsStr, size: i64) -> bool {
        let kind = self.kinds.of(name.as_bytes());
        // The server looks for no variants of other types.
        let shrinks = kind.compresses && self.settings.types.contain(kind.text.as_bytes());
        let size = u64::try_from(size).unwrap_or(0);
        shrinks && size >= self.settings.min_length.max(1)
    }

    fn file(
        &mut self,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        file: &File,
        metadata: &Metadata,
        complain: &mut dyn FnMut(&str),
    ) {
        self.summary.files += 1;
        for coding in self.settings.codings.clone() {
            let original = Original {
                directory,
                name,
                file,
                metadata,
            };
            match original.variant(coding) {
                Ok(Outcome::Current) => self.summary.current += 1,
                Ok(Outcome::Written(length)) => {
                    self.summary.written += 1;
                    self.summary.before += metadata.len();
                    self.summary.after += length;
                }
                Ok(Outcome::Useless { removed }) => {
                    self.summary.useless += 1;
                    self.summary.removed += u64::from(removed);
                }
                Err(error) => {
                    let mut variant = path.as_os_str().to_owned();
                    variant.push(coding.ending());
                    self.fail(&PathBuf::from(variant), &error, complain);
                }
            }
        }
    }
}

/// A file of which there shall be variants.
struct Original<'a> {
    directory: BorrowedFd<'a>,
    name: &'a OsStr,
    file: &'a File,
    metadata: &'a Metadata,
}

impl Original<'_> {
    fn variant(&self, coding: Coding) -> io::Result<Outcome> {
        let mut name = self.name.to_owned();
        name.push(coding.ending());
        let there = status(self.directory, &name)?;
        if let Some(there) = &there
            && kind(there) == SFlag::S_IFREG
            && (there.st_mtime, there.st_mtime_nsec)
                == (self.metadata.mtime(), self.metadata.mtime_nsec())
        {
            return Ok(Outcome::Current);
        }
        let mut temporary = OsString::from(".");
        temporary.push(&name);
        temporary.push(format!(".{}", std::process::id()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let new = File::from(openat(self.directory, &*temporary, flags, mode)?);
        let written = self.write(coding, &new).and_then(|written| {
            if written.is_some() {
                self.describe(&new)?;
                renameat(self.directory, &*temporary, self.directory, &*name)?;
            }
            Ok(written)
        });
        if !matches!(written, Ok(Some(_))) {
            unlinkat(self.directory, &*temporary, UnlinkatFlags::NoRemoveDir)?;
        }
        match (written?, there) {
            (Some(length), _) => Ok(Outcome::Written(length)),
            (None, None) => Ok(Outcome::Useless { removed: false }),
            // It is of an earlier content of the file, or larger than it.
            (None, Some(_)) => {
                unlinkat(self.directory, &*name, UnlinkatFlags::NoRemoveDir)?;
                Ok(Outcome::Useless { removed: true })
            }
        }
    }

    /// Writes what the file's content becomes. Nothing if it does not become smaller.
    fn write(&self, coding: Coding, mut new: &File) -> io::Result<Option<u64>> {
        let length = self.metadata.len();
        let most = length / WORTH.1 * WORTH.0 + length % WORTH.1 * WORTH.0 / WORTH.1;
        let mut encoder = Encoder::new(coding, Effort::Best)?;
        encoder.begin(Some(length))?;
        let (mut buffer, mut out) = (vec![0; PIECE], Vec::new());
        let (mut read, mut written) = (0, 0);
        loop {
            let some = self.file.read_at(&mut buffer, read)?;
            read += some as u64;
            // Beyond the length that was announced there is an error to tell, not a content.
            if read > length {
                return Err(changed());
            }
            match some {
                0 if read < length => return Err(changed()),
                0 => encoder.finish(&mut out)?,
                some => encoder.write(&buffer[..some], &mut out)?,
            }
            if some == 0 || out.len() >= PIECE {
                written += out.len() as u64;
                if written > most {
                    return Ok(None);
                }
                new.write_all(&out)?;
                out.clear();
            }
            if some == 0 {
                return Ok(Some(written));
            }
        }
    }

    /// Gives the variant the file's owner, permissions and time, and has it on the disk before it gets its name.
    fn describe(&self, new: &File) -> io::Result<()> {
        if geteuid().is_root() {
            let (user, group) = (self.metadata.uid(), self.metadata.gid());
            fchown(new, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        let mode = self.metadata.permissions().mode() & 0o777;
        new.set_permissions(Permissions::from_mode(mode))?;
        let now = self.file.metadata()?;
        let (before, modified) = (self.metadata.modified()?, now.modified()?);
        if (modified, now.len()) != (before, self.metadata.len()) {
            return Err(changed());
        }
        new.set_times(FileTimes::new().set_modified(modified))?;
        new.sync_all()
    }
}

fn changed() -> io::Error {
    io::Error::other("the file has changed while it was compressed")
}

fn status(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<Option<FileStat>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(status) => Ok(Some(status)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn kind(status: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT
}
