//! The directories of files that the server sends itself: looked at before anything is forked.

use std::io;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::config::Config;
use crate::config::resolved::{Directory, Fallback, Files, Symlinks, Vhost};
use crate::documents::{self, Served, kinds};
use crate::files;
use crate::process::origin::Origin;
use crate::process::privileges::Identity;

/// The text of the file of media types; empty where there is none.
///
/// # Errors
/// One sentence when it can't be read.
pub(super) fn types(config: &Config, origin: &Origin) -> Result<String> {
    let path = config.files.mime_types.as_ref();
    path.map_or(Ok(String::new()), |path| text_of(&origin.path(path)))
}

/// Checks that each directory is there, and that the server's user can open it.
///
/// # Errors
/// One sentence.
pub(super) fn check(config: &Config, origin: &Origin, identity: Option<&Identity>) -> Result<()> {
    let said = &config.files;
    let directories = said.directories.iter().chain(&said.internal);
    let directories = directories.map(|directory| (directory.option, &directory.path));
    let roots = said.sendfile_roots.iter();
    let roots = roots.map(|path| ("sendfile_root", path));
    directories
        .chain(roots)
        .try_for_each(|(option, path)| check_one(option, &origin.path(path), config, identity))?;
    for vhost in &config.vhosts {
        let all = iter::once(&vhost.files).chain(&vhost.parts);
        for directory in all.flat_map(|files| &files.directories) {
            let path = origin.path(&directory.path);
            check_one(directory.option, &path, config, identity)
                .map_err(|error| vhost.source.error(error.to_string()))?;
        }
        // Root can read what the users have closed.
        if vhost.user_dirs.is_some() && identity.is_none() && nix::unistd::geteuid().is_root() {
            let why = "'user_dirs' is not for a server that runs as root: it needs option 'user'";
            return Err(vhost.source.error(why.to_owned()).into());
        }
    }
    Ok(())
}

/// The files of a virtual host.
#[derive(Clone, Debug)]
pub(super) struct OfHost {
    /// Its directories
    pub(super) directories: Vec<documents::Settings>,
    /// How those of the system's users are served, if they are
    pub(super) homes: Option<documents::Settings>,
}

/// What is served, with the text of a file of media types: by the server, and by each of its virtual hosts.
///
/// # Errors
/// One sentence when that is no such file.
pub(super) fn settings(
    config: &Config,
    origin: &Origin,
    types: &str,
) -> Result<(Served, Vec<OfHost>)> {
    let said = &config.files;
    let shown = said.mime_types.clone().unwrap_or_default();
    let types = parse(types, &origin.path(shown))?;
    let setting = |directory: &Directory| of_directory(said, directory, origin, &types);
    // The app names files there, and no directories.
    let of_app = |directory: &Directory| documents::Settings {
        index: Vec::new(),
        listing: false,
        ..setting(directory)
    };
    let root = |path: &PathBuf| Directory {
        option: "sendfile_root",
        url: "/".to_owned(),
        path: path.clone(),
        fallback: Fallback::NotFound,
    };
    let (directories, internal) = (said.directories.iter(), said.internal.iter());
    let roots = said.sendfile_roots.iter().map(root);
    let served = Served {
        directories: directories.map(setting).collect(),
        internal: internal.map(of_app).collect(),
        sendfile: roots.map(|root| of_app(&root)).collect(),
    };
    let of_vhost = |vhost: &Vhost| {
        let all = iter::once(&vhost.files).chain(&vhost.parts);
        let settings = all.flat_map(|files| {
            let directories = files.directories.iter();
            directories.map(|directory| of_directory(files, directory, origin, &types))
        });
        let template = vhost.user_dirs.iter().flat_map(|dirs| {
            let directories = dirs.files.directories.iter();
            directories.map(|directory| of_directory(&dirs.files, directory, origin, &types))
        });
        OfHost {
            directories: settings.collect(),
            homes: template.last(),
        }
    };
    Ok((served, config.vhosts.iter().map(of_vhost).collect()))
}

fn of_directory(
    said: &Files,
    directory: &Directory,
    origin: &Origin,
    types: &[(String, String)],
) -> documents::Settings {
    documents::Settings {
        url: directory.url.clone(),
        path: origin.path(&directory.path),
        folder: PathBuf::new(),
        links: match said.symlinks {
            Symlinks::None => documents::Links::None,
            Symlinks::Owner => documents::Links::Owner,
            Symlinks::Inside => documents::Links::Inside,
            Symlinks::Follow => documents::Links::Follow,
        },
        index: said.index.clone(),
        listing: said.listing,
        hidden: said.hidden,
        fallback: match &directory.fallback {
            Fallback::App => documents::Fallback::App,
            Fallback::NotFound => documents::Fallback::NotFound,
            Fallback::File(path) => documents::Fallback::File(path.clone()),
        },
        cache_control: said.cache_control.clone(),
        headers: said.headers.clone(),
        types: types.to_vec(),
        charset: said.charset.clone(),
    }
}

/// Whether the server's user can open this directory.
fn check_one(
    option: &str,
    path: &Path,
    config: &Config,
    identity: Option<&Identity>,
) -> Result<()> {
    let open = || -> io::Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(path, flags, Mode::empty())?;
        // To be looked into, a directory needs the right to search it.
        nix::unistd::faccessat(
            &opened,
            ".",
            nix::unistd::AccessFlags::X_OK,
            nix::fcntl::AtFlags::AT_EACCESS,
        )?;
        Ok(())
    };
    let opened = match identity {
        Some(identity) => identity.can(open),
        None => open(),
    };
    opened.map_err(|error| {
        let by = match &config.daemon.user {
            Some(user) => format!(" by user '{user}'"),
            None => String::new(),
        };
        let path = path.display();
        anyhow!("option '{option}': the directory '{path}' can't be opened{by}: {error}")
    })
}

/// The endings and media types of the file that `mime_types` names.
///
/// # Errors
/// One sentence.
pub fn types_of_file(path: &Path) -> Result<Vec<(String, String)>> {
    parse(&text_of(path)?, path)
}

fn parse(text: &str, path: &Path) -> Result<Vec<(String, String)>> {
    kinds::parse(text).map_err(|line| {
        let (line, shown) = (line.escape_debug(), path.display());
        anyhow!("option 'mime_types': '{line}' in '{shown}' does not begin with a media type")
    })
}

fn text_of(path: &Path) -> Result<String> {
    read(path).with_context(|| format!("option 'mime_types': '{}' can't be read", path.display()))
}

fn read(path: &Path) -> io::Result<String> {
    io::read_to_string(files::read(path)?)
}
