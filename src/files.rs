//! Files that options name, opened by a process that may have root's rights: neither a FIFO nor a link of a stranger's harms it.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::geteuid;

/// As the kernel has it.
const MOST_LINKS: u32 = 40;

/// What a file is made with where there is none.
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Opens a file to read it whole. A FIFO, a device or a folder is refused at once, without waiting for it.
///
/// # Errors
/// What open(2) says, or that it is not a regular file.
pub fn read(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let file = File::from(open(path, flags, Mode::empty())?);
    regular(file)
}

/// Opens a file to read and write it, and makes it where there is none. It is never reached by a symbolic link that
/// is its last name or lies in a folder that is not root's alone.
///
/// # Errors
/// What open(2) says, or that it is not a regular file.
pub fn update(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = File::from(open_guarded(path, flags)?);
    regular(file)
}

/// Opens a file for lines at its end, and makes it where there is none. A FIFO is opened for reading as well, or it
/// would fail whenever its reader goes. Root does not follow symbolic links in folders that are not root's alone.
///
/// # Errors
/// What open(2) says, or that root refuses a link.
pub fn append(path: &Path) -> io::Result<OwnedFd> {
    let how = OFlag::O_APPEND | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = match open_guarded(path, how | OFlag::O_WRONLY | OFlag::O_CREAT) {
        // A FIFO without a reader.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {
            open_guarded(path, how | OFlag::O_RDWR)?
        }
        opened => opened?,
    };
    let file = File::from(file);
    let file = match file.metadata()?.file_type().is_fifo() {
        // The same FIFO, whatever the path leads to by now.
        true => {
            let same = format!("/proc/self/fd/{}", file.as_raw_fd());
            let flags = how | OFlag::O_RDWR | OFlag::O_CLOEXEC;
            File::from(open(same.as_str(), flags, Mode::empty())?)
        }
        false => file,
    };
    // Writes to it wait, as those to any file.
    let flags = fcntl(&file, FcntlArg::F_GETFL)?;
    let flags = OFlag::from_bits_truncate(flags) - OFlag::O_NONBLOCK;
    fcntl(&file, FcntlArg::F_SETFL(flags))?;
    Ok(file.into())
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        )),
    }
}

/// As open(2); for root, without following links that others could have made.
fn open_guarded(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    match geteuid().is_root() {
        true => open_as_root(path, flags | OFlag::O_CLOEXEC),
        false => Ok(open(path, flags | OFlag::O_CLOEXEC, MODE)?),
    }
}

fn open_as_root(path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let Way {
        folder, mut names, ..
    } = match resolve(path)? {
        way if way.safe => return Ok(open(&way.path(), flags, MODE)?),
        way => way,
    };
    let Some(name) = names.pop_back() else {
        return Err(Errno::EISDIR.into());
    };
    let no_link = |error: Errno| match error {
        Errno::ELOOP | Errno::ENOTDIR => io::Error::other(
            "as root, no symbolic link is followed in a folder that others can write to",
        ),
        error => error.into(),
    };
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut folder = open(&folder, step, Mode::empty())?;
    for name in names {
        let next = openat(
            &folder,
            name.as_os_str(),
            step | OFlag::O_NOFOLLOW,
            Mode::empty(),
        );
        folder = next.map_err(no_link)?;
    }
    let file =
        openat(&folder, name.as_os_str(), flags | OFlag::O_NOFOLLOW, MODE).map_err(no_link)?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    // A stranger can give a second name to a file of root's, as well as a link to it.
    if metadata.is_file() && metadata.nlink() > 1 {
        return Err(io::Error::other(
            "as root, no file with several names is opened in a folder that others can write to",
        ));
    }
    Ok(file.into())
}

/// A path after the steps that only root can change.
#[derive(Debug)]
struct Way {
    folder: PathBuf,
    /// The names from there on, links among them.
    names: VecDeque<OsString>,
    /// Only root can change where they lead, too.
    safe: bool,
}

impl Way {
    fn path(&self) -> PathBuf {
        let mut path = self.folder.clone();
        path.extend(&self.names);
        path
    }
}

/// Follows a path as the kernel does, up to the first folder that others can write to.
fn resolve(path: &Path) -> io::Result<Way> {
    let names = |path: &Path| path.iter().map(OsString::from).collect::<VecDeque<_>>();
    let mut links = 0;
    let mut way = Way {
        folder: PathBuf::from("/"),
        names: names(&std::path::absolute(path)?),
        safe: false,
    };
    while let Some(name) = way.names.pop_front() {
        if name == "/" {
            way.folder = PathBuf::from("/");
            continue;
        }
        // Links there (of descriptors) are no paths.
        let is_proc = way.folder.starts_with("/proc");
        if is_proc || !is_roots_alone(&way.folder)? {
            way.names.push_front(name);
            way.safe = is_proc;
            return Ok(way);
        }
        let next = way.folder.join(&name);
        match fs::symlink_metadata(&next) {
            _ if name == ".." => _ = way.folder.pop(),
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                for name in names(&fs::read_link(&next)?).into_iter().rev() {
                    way.names.push_front(name);
                }
            }
            Ok(metadata) if metadata.is_dir() => way.folder = next,
            // A file, or nothing: open(2) says what is wrong with further names.
            _ => {
                way.names.push_front(name);
                way.safe = true;
                return Ok(way);
            }
        }
    }
    way.safe = true;
    Ok(way)
}

/// Whether only root can make, replace and remove names in a folder.
fn is_roots_alone(folder: &Path) -> io::Result<bool> {
    let metadata = fs::metadata(folder)?;
    let by_group = metadata.mode() & 0o020 != 0 && metadata.gid() != 0;
    Ok(metadata.uid() == 0 && !by_group && metadata.mode() & 0o002 == 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::thread;

    use nix::unistd::mkfifo;

    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = folder();
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for path in [&fifo, folder.path(), Path::new("/dev/zero")] {
            let error = read(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
        assert!(update(&fifo).is_err());
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        read(&link).unwrap();
        update(&file).unwrap();
        assert!(update(&link).is_err(), "no link for what is written");
    }

    #[test]
    fn logs_are_files_fifos_and_devices() {
        let folder = folder();
        let file = folder.path().join("log");
        for text in ["one\n", "two\n"] {
            io::Write::write_all(&mut File::from(append(&file).unwrap()), text.as_bytes()).unwrap();
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "one\ntwo\n");
        let fifo = folder.path().join("fifo");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for reader in [false, true] {
            let _reader = reader.then(|| {
                let fifo = fifo.clone();
                thread::spawn(move || File::open(fifo))
            });
            let opened = append(&fifo).unwrap();
            let flags = OFlag::from_bits_truncate(fcntl(&opened, FcntlArg::F_GETFL).unwrap());
            assert!(flags.contains(OFlag::O_RDWR), "a reader may go");
            assert!(!flags.contains(OFlag::O_NONBLOCK));
        }
        append(Path::new("/dev/null")).unwrap();
        append(Path::new("/dev/stderr")).unwrap();
    }

    /// Protects: who can write to a folder of logs can't have root write elsewhere.
    #[test]
    fn root_follows_only_links_of_its_own() {
        if !geteuid().is_root() {
            return;
        }
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("victim")).unwrap();
        fs::write(at("victim/precious"), "").unwrap();
        fs::create_dir_all(at("logs/sub")).unwrap();
        symlink(at("victim/precious"), at("logs/link")).unwrap();
        symlink(at("victim"), at("logs/folder")).unwrap();
        fs::hard_link(at("victim/precious"), at("logs/name")).unwrap();
        let open = |name: &str| append(&at("logs").join(name)).map(drop);
        // The folder of the test itself is in one that everybody can write to.
        let way = resolve(Path::new("/dev/stdout")).unwrap();
        assert!(way.safe, "{way:?}");
        for (owner, mode) in [(1000, 0o755), (0, 0o777), (0, 0o755)] {
            chown(at("logs"), Some(owner), None).unwrap();
            fs::set_permissions(at("logs"), fs::Permissions::from_mode(mode)).unwrap();
            for name in ["link", "folder/precious", "folder/new", "name"] {
                let error = open(name).unwrap_err().to_string();
                assert!(error.starts_with("as root, no"), "{name}: {error}");
            }
            assert!(!at("victim/new").exists());
            for name in ["new", "sub/new", "sub/../new"] {
                open(name).unwrap();
            }
        }
    }

    #[test]
    fn links_in_folders_of_root_are_followed() {
        let way = resolve(Path::new("/proc/self/../self/fd/1")).unwrap();
        assert!(way.safe && way.folder.starts_with("/proc"), "{way:?}");
        let way = resolve(Path::new("/no-such-folder/x/y")).unwrap();
        assert!(way.safe, "open(2) tells what is missing");
        assert_eq!(way.path(), Path::new("/no-such-folder/x/y"));
    }
}
