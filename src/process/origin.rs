//! The facts about a server's start that decide where its files are. They are taken once, before the app is loaded, and handed
//! to each later program of the same process: by then the user, the folder and the environment may have changed.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf, absolute};

use nix::unistd::{User, geteuid};

/// The user, folder and environment that the server was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The folder that relative paths belong to
    pub folder: PathBuf,
    /// Whether root started it
    pub root: bool,
    /// The user's home; none: it has none
    pub home: Option<PathBuf>,
    /// The folder for temporary files that the environment names
    pub temporary: Option<PathBuf>,
}

impl Origin {
    /// That of this process now. `folder` is where it was started, if the caller knows that.
    pub fn now(folder: Option<PathBuf>) -> Origin {
        let absolute = |path: &PathBuf| path.is_absolute();
        let variable = |name: &str| env::var_os(name).map(PathBuf::from).filter(absolute);
        let of_user = || {
            User::from_uid(geteuid())
                .ok()
                .flatten()
                .map(|user| user.dir)
        };
        Origin {
            folder: folder.filter(absolute).unwrap_or_else(current_folder),
            root: geteuid().is_root(),
            home: variable("HOME").or_else(of_user),
            temporary: variable("TMPDIR"),
        }
    }

    /// A path that is relative to the folder, or not relative.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.folder.join(path);
        absolute(&path).unwrap_or(path)
    }

    /// As words of one line.
    pub(super) fn text(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_deref().map_or("-".to_owned(), encoded);
        format!(
            "{} {} {} {}",
            u8::from(self.root),
            encoded(&self.folder),
            path(&self.home),
            path(&self.temporary)
        )
    }

    pub(super) fn parse(text: &str) -> Option<Origin> {
        let mut words = text.split(' ');
        let root = words.next()? == "1";
        let folder = decoded(words.next()?)?;
        let mut path = || match words.next()? {
            "-" => Some(None),
            word => decoded(word).map(Some),
        };
        Some(Origin {
            folder,
            root,
            home: path()?,
            temporary: path()?,
        })
    }
}

/// The current folder as the shell names it, so that a symbolic link that leads elsewhere later is followed.
fn current_folder() -> PathBuf {
    let real = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let named = env::var_os("PWD").map(PathBuf::from);
    let is_here = |folder: &PathBuf| {
        folder.is_absolute() && folder.canonicalize().is_ok_and(|folder| folder == real)
    };
    named.filter(is_here).unwrap_or(real)
}

/// A path as a word without blanks and line ends.
pub(super) fn encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        let _ = match byte {
            b'!'..=b'$' | b'&'..=b'~' => write!(text, "{}", char::from(*byte)),
            _ => write!(text, "%{byte:02x}"),
        };
    }
    text
}

/// What [`encoded`] was made of.
pub(super) fn decoded(text: &str) -> Option<PathBuf> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(OsString::from_vec(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_survives_the_way() {
        for bytes in [&b"/a b/100%\n\xff"[..], b"-", b"/", b""] {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let text = encoded(&path);
            assert!(!text.contains([' ', '\n']), "{text}");
            assert_eq!(decoded(&text), Some(path));
        }
        assert_eq!(decoded("%4"), None);
        assert_eq!(decoded("%zz"), None);
    }

    #[test]
    fn an_origin_survives_the_way() {
        for (home, temporary) in [(None, Some("/tmp/a b")), (Some("/root"), None)] {
            let origin = Origin {
                folder: "/srv/my app".into(),
                root: true,
                home: home.map(PathBuf::from),
                temporary: temporary.map(PathBuf::from),
            };
            assert_eq!(Origin::parse(&origin.text()), Some(origin));
        }
        assert_eq!(Origin::parse("1 /srv"), None);
    }

    #[test]
    fn a_folder_that_is_told_counts() {
        assert_eq!(Origin::now(Some("/x".into())).folder, Path::new("/x"));
        let here = env::current_dir().unwrap();
        let found = Origin::now(Some("relative".into())).folder;
        assert_eq!(found.canonicalize().unwrap(), here);
    }
}
