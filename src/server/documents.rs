//! The directories of files that the server sends itself: looked at before anything is forked.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::daemon::Daemon;
use crate::config::Config;
use crate::config::resolved::{Directory, Fallback, Symlinks};
use crate::documents::{self, Served, kinds};
use crate::files;
use crate::process::origin::Origin;

/// What is served. Each directory is there, and the server's user can open it.
///
/// # Errors
/// One sentence.
pub(super) fn settings(config: &Config, origin: &Origin, daemon: &Daemon) -> Result<Served> {
    let said = &config.files;
    let types = match &said.mime_types {
        None => Vec::new(),
        Some(path) => types(&origin.path(path))?,
    };
    let setting = |directory: &Directory| -> Result<documents::Settings> {
        let path = origin.path(&directory.path);
        check(directory.option, &path, config, daemon)?;
        Ok(documents::Settings {
            url: directory.url.clone(),
            path,
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
            types: types.clone(),
            charset: said.charset.clone(),
        })
    };
    // The app names files there, and no directories.
    let of_app = |directory: &Directory| {
        Ok(documents::Settings {
            index: Vec::new(),
            listing: false,
            ..setting(directory)?
        })
    };
    let root = |path: &PathBuf| Directory {
        option: "sendfile_root",
        url: "/".to_owned(),
        path: path.clone(),
        fallback: Fallback::NotFound,
    };
    let (directories, internal) = (said.directories.iter(), said.internal.iter());
    let roots = said.sendfile_roots.iter().map(root);
    Ok(Served {
        directories: directories.map(setting).collect::<Result<_>>()?,
        internal: internal.map(of_app).collect::<Result<_>>()?,
        sendfile: roots.map(|root| of_app(&root)).collect::<Result<_>>()?,
    })
}

/// Whether the server's user can open this directory.
fn check(option: &str, path: &Path, config: &Config, daemon: &Daemon) -> Result<()> {
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
    let opened = match daemon.identity() {
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
pub fn types(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display();
    let text =
        read(path).with_context(|| format!("option 'mime_types': '{shown}' can't be read"))?;
    kinds::parse(&text).map_err(|line| {
        let line = line.escape_debug();
        anyhow!("option 'mime_types': '{line}' in '{shown}' does not begin with a media type")
    })
}

fn read(path: &Path) -> io::Result<String> {
    io::read_to_string(files::read(path)?)
}
