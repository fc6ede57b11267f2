//! The server as a process of its system: who it runs as, its pid file, its folder, its way to the background.

#![forbid(unsafe_code)]

use std::env;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::stat::{Mode, umask};
use nix::unistd::geteuid;

use crate::config::resolved::{self, FilePath};
use crate::lock::is_same;
use crate::process::daemon::{self, Background};
use crate::process::fork::Forked;
use crate::process::handover::{Handover, KeptFile, Purpose};
use crate::process::origin::Origin;
use crate::process::pid_file::PidFile;
use crate::process::privileges::Identity;
use crate::scoreboard::file::BoardFile;

/// Server::Starter watches the process that it has started.
const STARTER: &str = "SERVER_STARTER_PORT";

/// Why the server starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Somebody has started it.
    First,
    /// The program before has become this one.
    Again,
    /// This program is tried.
    Trial,
}

impl Start {
    pub(super) fn of(handover: Option<&Handover>) -> Start {
        match handover {
            None => Start::First,
            Some(Handover { trial: Some(_), .. }) => Start::Trial,
            Some(_) => Start::Again,
        }
    }
}

/// What a server has of its system, from its start to its end.
#[derive(Debug)]
pub(super) struct Daemon {
    identity: Option<Identity>,
    pid_file: Option<PidFile>,
    chdir: Option<PathBuf>,
    daemonize: bool,
    background: Option<Background>,
}

impl Daemon {
    /// Checks what can be checked. `loaded` is whether this process has the app, or will have it.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn prepare(
        config: &resolved::Daemon,
        origin: &Origin,
        loaded: bool,
        start: Start,
    ) -> Result<Daemon> {
        // What began as root may have given that up.
        if start == Start::First && config.require_root && !geteuid().is_root() {
            bail!("option 'require_root': permission denied, the server must be run as root");
        }
        let identity = Self::identity_of(config)?;
        if let Some(mask) = config.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        let daemonize = config.daemonize && !is_successor();
        let chdir = match &config.chdir {
            Some(folder) => Some(existing(&origin.path(folder))?),
            None if daemonize && loaded => Some(PathBuf::from("/")),
            None => None,
        };
        Ok(Daemon {
            identity,
            pid_file: None,
            chdir,
            // It is there already, and the operator does not wait any more.
            daemonize: daemonize && start == Start::First,
            background: None,
        })
    }

    /// Who the server runs as; none: as this process does.
    ///
    /// # Errors
    /// One sentence where there is no such user or group.
    pub(super) fn identity_of(config: &resolved::Daemon) -> Result<Option<Identity>> {
        Ok(match (&config.user, config.groups.is_empty()) {
            (None, true) => None,
            (user, _) => Some(Identity::find(user.as_deref(), &config.groups)?),
        })
    }

    /// Says a word where the app would have root's rights and nobody has said that it shall.
    pub(super) fn warn_of_root(config: &resolved::Daemon, start: Start) {
        if start == Start::First && geteuid().is_root() && config.user.is_none() {
            ::log::warn!(
                "the app runs as root: name a user by option 'user', or say 'user root' if that is meant"
            );
        }
    }

    /// Takes the pid file: nothing of the server is to be done where another runs.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn take_pid_file(
        &mut self,
        path: &FilePath,
        origin: &Origin,
        start: Start,
        handover: &mut Handover,
    ) -> Result<()> {
        let Some(path) = file_path(path, origin)? else {
            return Ok(());
        };
        let what = || format!("the pid file '{}' can't be taken", path.display());
        let kept = handover.take_file(Purpose::Pid, &path);
        let file = PidFile::take(&path, kept, is_successor()).with_context(what)?;
        // The file of the running server is not for its trial.
        if start == Start::Trial && file.is_written() {
            return Ok(());
        }
        self.pid_file = Some(file);
        Ok(())
    }

    /// Everything is bound and opened: goes to the background, and writes its pid. The process that was started waits until
    /// [`Daemon::ready`] is said, and does not return. Where the start fails, it calls `failed`, to remove what the server
    /// has made.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn detach(
        &mut self,
        fork: impl FnOnce() -> io::Result<Forked>,
        failed: impl FnOnce(),
    ) -> Result<()> {
        if self.daemonize {
            let pid_file = &mut self.pid_file;
            let failed = || {
                failed();
                pid_file.take().into_iter().for_each(PidFile::remove);
            };
            let background = daemon::detach(fork, failed).context("can't go to the background")?;
            self.background = Some(background);
        }
        match &mut self.pid_file {
            Some(file) => file.write().context("can't write the pid file"),
            None => Ok(()),
        }
    }

    /// Goes to the folder that the server runs in.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn change_folder(&self) -> Result<()> {
        let Some(folder) = &self.chdir else {
            return Ok(());
        };
        let what = || format!("option 'chdir': '{}'", folder.display());
        env::set_current_dir(folder).with_context(what)
    }

    /// Who the server will be; nothing: who it is.
    pub(super) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Becomes the user and takes the groups that were named.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn drop_privileges(&self) -> io::Result<()> {
        self.identity.as_ref().map_or(Ok(()), Identity::take)
    }

    /// Whether the server is to run as a user, or with groups, of which options tell.
    pub(super) fn changes_user(&self) -> bool {
        self.identity.is_some()
    }

    /// Makes the scoreboard's file, as the user's that the server will be; nothing where none is wanted. start_server starts
    /// successors beside servers that run.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn board_file(
        &self,
        path: &FilePath,
        origin: &Origin,
        records: usize,
        start: Start,
        handover: &mut Handover,
    ) -> Result<Option<BoardFile>> {
        let is_said = matches!(path, FilePath::At(_));
        let Some(path) = file_path(path, origin)? else {
            return Ok(None);
        };
        let kept = handover.take_file(Purpose::Scoreboard, &path);
        let kept = kept.filter(|kept: &File| is_same(kept, &path));
        // The file of the running server is not for its trial.
        if start == Start::Trial && kept.is_some() {
            return Ok(None);
        }
        let what = || format!("the scoreboard file '{}' can't be written", path.display());
        let made = BoardFile::create(&path, records, is_successor(), kept).with_context(what)?;
        let Some(file) = made else {
            let what = what();
            if is_said {
                bail!("{what}: it is that of another server, which is running");
            }
            ::log::warn!(
                "{what}: it is that of another server of this name; 'name' or 'scoreboard_path' gives this one its own"
            );
            return Ok(None);
        };
        if let (Some(identity), true) = (&self.identity, geteuid().is_root()) {
            let (user, group) = identity.ids();
            file.give(user, group).with_context(what)?;
        }
        Ok(Some(file))
    }

    /// The app is about to be loaded, and whoever has started the server waits for that: they hear of what goes wrong, beside
    /// an error log that takes the place of standard error.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn load(&mut self, has_error_log: bool) -> io::Result<()> {
        let Some(background) = &mut self.background else {
            return Ok(());
        };
        if has_error_log {
            background.keep_standard_error();
        }
        background.leave_standard()?;
        // That was forgotten with root's rights.
        background.end_with_start()
    }

    /// Whether somebody waits at the terminal.
    pub(super) fn is_awaited(&self) -> bool {
        self.background.is_some()
    }

    /// The app is loaded: lets go of the terminal. In the master nobody waits any more.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn ready(&mut self) -> Result<()> {
        let told = self.background.take().map_or(Ok(()), Background::ready);
        told.context("can't go to the background")
    }

    /// The start has failed: what is written to standard error from now on arrives where somebody waits. Whether it went to an
    /// error log before.
    pub(super) fn take_standard_error_back(&mut self) -> bool {
        let background = self.background.as_mut();
        background.is_some_and(Background::take_standard_error_back)
    }

    /// The pid file, for another thread of this process.
    ///
    /// # Errors
    /// When descriptors run out.
    pub(super) fn pid_file(&self) -> io::Result<Option<PidFile>> {
        self.pid_file.as_ref().map(PidFile::try_clone).transpose()
    }

    /// The pid file, for the next program of this process.
    pub(super) fn kept_file(&self) -> Option<KeptFile> {
        let file = self.pid_file.as_ref()?;
        Some(KeptFile {
            descriptor: file.file().as_raw_fd(),
            purpose: Purpose::Pid,
            path: file.path().to_owned(),
        })
    }

    /// In a worker: the pid file is the master's, and so is the word that all is well.
    pub(super) fn leave_to_master(&mut self) {
        self.pid_file = None;
        self.background
            .iter_mut()
            .for_each(Background::leave_to_master);
    }

    /// The server has ended.
    pub(super) fn end(&mut self) {
        if let Some(file) = self.pid_file.take() {
            file.remove();
        }
    }
}

/// Whether this server may have been started to follow one that runs.
fn is_successor() -> bool {
    env::var_os(STARTER).is_some()
}

/// The file's path: the usual one depends on the user who has started the server, whichever user it runs as now.
///
/// # Errors
/// When the usual place can't be told.
pub(super) fn file_path(path: &FilePath, origin: &Origin) -> Result<Option<PathBuf>> {
    Ok(match path {
        FilePath::None => None,
        FilePath::At(path) => Some(origin.path(path)),
        FilePath::Usual(name) if origin.root => Some(Path::new("/var/run").join(name)),
        FilePath::Usual(name) => {
            let home = origin.home.as_ref().ok_or_else(|| {
                anyhow!(
                    "options 'pid_path' and 'scoreboard_path' are needed: this user has no home"
                )
            })?;
            Some(home.join(name))
        }
    })
}

fn existing(folder: &Path) -> Result<PathBuf> {
    let what = || format!("option 'chdir': '{}'", folder.display());
    if !folder.metadata().with_context(what)?.is_dir() {
        bail!("{}: it is not a folder", what());
    }
    Ok(folder.to_owned())
}
