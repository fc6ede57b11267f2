//! The server's logs: what their options mean, their files, opened again and again, and the command behind a pipe.

#![forbid(unsafe_code)]

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::unistd::Pid;

use super::said;
use crate::config::Config;
use crate::config::resolved::{AccessLog, LogPlace};
use crate::files;
use crate::log::access::Plan;
use crate::log::destination::Destination;
use crate::log::format::Format;
use crate::log::host_logs::{self, HostLog, Plans};
use crate::log::time::Zone;
use crate::process::control::{LogFiles, MasterEnd, ToCore};
use crate::process::error::Error;
use crate::process::fork;
use crate::process::handover::{Handover, KeptFile, Purpose};
use crate::process::origin::Origin;
use crate::process::privileges::Identity;

/// A command that ends sooner than this is not started again by itself.
const SHORT_LIFE: Duration = Duration::from_secs(1);

/// How long the server's end waits for the command to read the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The logs of one server, in the process that opens their files.
#[derive(Debug)]
pub(super) struct Logs {
    access: Option<AccessLogFile>,
    /// The logs of virtual hosts
    hosts: Vec<HostLog>,
    /// The files of those, each once
    host_files: Vec<HostFile>,
    errors: Option<Errors>,
    zone: Zone,
}

#[derive(Debug)]
struct AccessLogFile {
    destination: Destination,
    format: Format,
    file: OwnedFd,
    command: Option<Running>,
    /// What the command will read, before it is started.
    unread: Option<PipeReader>,
}

/// The open log of virtual hosts.
#[derive(Debug)]
struct HostFile {
    settings: host_logs::Settings,
    file: OwnedFd,
}

#[derive(Debug)]
struct Errors {
    path: PathBuf,
    file: OwnedFd,
}

/// The command that reads the access log.
#[derive(Debug)]
struct Running {
    child: Child,
    born: Instant,
}

impl Logs {
    /// Opens everything. What this process may not open any more it takes from the program before. `identity` is who the
    /// workers will be.
    ///
    /// # Errors
    /// One sentence for the operator.
    pub(super) fn open(
        config: &Config,
        origin: &Origin,
        identity: Option<&Identity>,
        handover: &mut Handover,
    ) -> Result<Logs> {
        let logging = &config.logging;
        let access = "option 'access_log_path'";
        let format = Format::parse(&logging.access_format).context("option 'access_log_format'")?;
        let destination =
            match &logging.access {
                LogPlace::None => None,
                LogPlace::StandardError => Some(Destination::Stderr),
                LogPlace::Path(text) => Destination::parse(text, &config.name)
                    .context(access)?
                    .map(|destination| match destination {
                        Destination::File(path) => Destination::File(origin.path(path)),
                        other => other,
                    }),
                LogPlace::Usual(name) => Some(Destination::File(usual(name, origin))),
            };
        let errors = match &logging.errors {
            LogPlace::None | LogPlace::StandardError => None,
            LogPlace::Path(path) => Some(origin.path(path)),
            LogPlace::Usual(name) => Some(usual(name, origin)),
        };
        let mut kept = |path: &Path| handover.take_file(Purpose::Log, path).map(OwnedFd::from);
        let errors = errors.map(|path| {
            let kept = kept(&path);
            Errors::open(path, kept)
        });
        let errors = errors.transpose()?;
        if let (true, Some(Destination::File(path)), Some(identity)) =
            (logging.access_hook, &destination, identity)
        {
            // The method opens it, in each worker.
            let opened = identity.can(|| files::append(path).map(drop));
            opened.with_context(|| {
                format!("{access}: the server's user can't open {}", path.display())
            })?;
        }
        // A subclass's method gets what would be logged.
        let access = match destination.filter(|_| !logging.access_hook) {
            None => None,
            Some(destination) => {
                let kept = destination_path(&destination).and_then(&mut kept);
                let (file, unread) = open_or_keep(&destination, kept)
                    .with_context(|| format!("{access}: can't open {destination}"))?;
                Some(AccessLogFile {
                    destination,
                    format,
                    file,
                    command: None,
                    unread,
                })
            }
        };
        let hosts = of_hosts(config, origin)?;
        let host_files = HostFile::all(&hosts, kept)?;
        Ok(Logs {
            access,
            hosts,
            host_files,
            errors,
            zone: Zone::system(),
        })
    }

    /// Starts the command that reads the access log, in the process that will look after it.
    ///
    /// # Errors
    /// What fork says.
    pub(super) fn start_command(&mut self) -> Result<()> {
        match &mut self.access {
            Some(access) => access.start_command(),
            None => Ok(()),
        }
    }

    /// What the core is to log; `names` are SERVER_NAME and SERVER_PORT of each listener.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub(super) fn plans(&self, names: Vec<(String, String)>) -> io::Result<Plans> {
        let own = self.access.as_ref().map(|access| {
            Ok::<_, io::Error>(Plan {
                destination: access.destination.clone(),
                descriptor: access.file.try_clone()?,
                format: access.format.clone(),
                zone: self.zone.clone(),
                names: names.clone(),
            })
        });
        let files = self.host_files.iter();
        let files = files.map(|log| Ok((log.settings.key.clone(), log.file.try_clone()?)));
        Ok(Plans {
            own: own.transpose()?,
            hosts: self.hosts.clone(),
            files: files.collect::<io::Result<_>>()?,
            zone: self.zone.clone(),
            names,
        })
    }

    /// Opens the logs of these hosts that are not open yet, and hands them to the core.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn try_hosts(
        &self,
        hosts: &[HostLog],
        core: Option<&MasterEnd>,
    ) -> Result<HostLogs, Error> {
        let open = |log: &HostLog| -> Result<Option<HostFile>> {
            let Some(settings) = &log.log else {
                return Ok(None);
            };
            let known = self
                .host_files
                .iter()
                .find(|open| open.settings == *settings);
            match known {
                Some(known) => known.copy().map(Some),
                None => HostFile::open(settings, None).map(Some),
            }
        };
        let mut files: Vec<HostFile> = Vec::new();
        for log in hosts {
            let is_open = |open: &HostFile| log.log.as_ref() == Some(&open.settings);
            if !files.iter().any(is_open) {
                files.extend(open(log).map_err(said)?);
            }
        }
        if let Some(core) = core {
            let new = files.iter().filter(|file| {
                let known = |open: &HostFile| open.settings == file.settings;
                !self.host_files.iter().any(known)
            });
            new.map(HostFile::message)
                .try_for_each(|message| tell(core, message))?;
        }
        Ok(HostLogs {
            hosts: hosts.to_vec(),
            files,
        })
    }

    /// Goes by logs that [`try_hosts`](Self::try_hosts) has opened.
    pub(super) fn use_hosts(&mut self, logs: HostLogs) {
        (self.hosts, self.host_files) = (logs.hosts, logs.files);
    }

    /// The descriptor of the error log, if there is one.
    pub(super) fn errors(&self) -> Option<RawFd> {
        Some(self.errors.as_ref()?.file.as_raw_fd())
    }

    /// Makes the error log this process's standard error.
    ///
    /// # Errors
    /// What dup2 says.
    pub(super) fn take_standard_error(&self) -> io::Result<()> {
        match &self.errors {
            Some(errors) => fork::replace_standard(errors.file.as_fd(), fork::Standard::Error),
            None => Ok(()),
        }
    }

    /// Opens the files anew, behind a rotation, and hands them to the core. What can't be opened stays as it is.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn reopen(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        let files = self.reopened().map_err(said)?;
        tell(core, Ok(ToCore::Logs(files)))?;
        for log in &mut self.host_files {
            let kept = log.file.try_clone().ok();
            *log = HostFile::open(&log.settings, kept).map_err(said)?;
            tell(core, log.message())?;
        }
        Ok(())
    }

    /// Opens the files anew and makes the error log standard error. Returns copies for the core.
    fn reopened(&mut self) -> Result<LogFiles> {
        if let Some(errors) = &mut self.errors {
            let kept = errors.file.try_clone()?;
            *errors = Errors::open(errors.path.clone(), Some(kept))?;
        }
        self.take_standard_error()?;
        if let Some(access) = &mut self.access {
            access.reopen()?;
        }
        self.copies()
    }

    fn copies(&self) -> Result<LogFiles> {
        let access = self.access.as_ref().map(|access| access.file.try_clone());
        let errors = self.errors.as_ref().map(|errors| errors.file.try_clone());
        Ok(LogFiles {
            access: access.transpose()?,
            errors: errors.transpose()?,
        })
    }

    /// The files, for the next program of this process.
    pub(super) fn kept_files(&self) -> impl Iterator<Item = KeptFile> {
        let access = self.access.as_ref().and_then(|access| {
            let path = destination_path(&access.destination)?;
            Some((path, &access.file))
        });
        let errors = self
            .errors
            .iter()
            .map(|errors| (&*errors.path, &errors.file));
        let hosts = self.host_files.iter();
        let hosts =
            hosts.filter_map(|log| Some((destination_path(&log.settings.destination)?, &log.file)));
        access
            .into_iter()
            .chain(errors)
            .chain(hosts)
            .map(|(path, file)| KeptFile {
                descriptor: file.as_raw_fd(),
                purpose: Purpose::Log,
                path: path.to_owned(),
            })
    }

    /// The process of the command that reads the access log.
    pub(super) fn command(&self) -> Option<Pid> {
        let command = self.access.as_ref()?.command.as_ref()?;
        Some(Pid::from_raw(command.child.id().try_into().ok()?))
    }

    /// Starts a command anew that has ended.
    pub(super) fn look_after_command(&mut self, core: &mut MasterEnd) {
        let Some(access) = &mut self.access else {
            return;
        };
        let Some(Ok(Some(status))) = access.command.as_mut().map(|c| c.child.try_wait()) else {
            return;
        };
        let Some(ended) = access.command.take() else {
            return;
        };
        let command = &access.destination;
        if ended.born.elapsed() < SHORT_LIFE {
            ::log::error!(
                "the access log's command {command} ended at once ({status}); HUP starts it again"
            );
            return;
        }
        ::log::warn!(
            "the access log's command {command} has ended ({status}): it is started again"
        );
        let told = access
            .reopen()
            .and_then(|()| self.copies())
            .and_then(|files| Ok(core.tell(ToCore::Logs(files))?));
        if let Err(error) = told {
            ::log::error!("{error:#}");
        }
    }

    /// For the only process of a server: a way to open the files again from another thread. A command that has
    /// ended stays so.
    pub(super) fn reopener(&self) -> impl FnMut() -> Result<Vec<ToCore>, Error> + Send + 'static {
        let access = self
            .access
            .as_ref()
            .map(|access| access.destination.clone());
        let errors = self.errors.as_ref().map(|errors| errors.path.clone());
        let hosts: Vec<_> = self
            .host_files
            .iter()
            .map(|log| log.settings.clone())
            .collect();
        let reopen = move || -> Result<Vec<ToCore>> {
            let errors = errors.clone().map(|path| Errors::open(path, None));
            let errors = errors.transpose()?;
            if let Some(errors) = &errors {
                fork::replace_standard(errors.file.as_fd(), fork::Standard::Error)?;
            }
            let access = match &access {
                Some(destination) => destination.open().with_context(|| cannot(destination))?,
                None => None,
            };
            let errors = errors.map(|errors| errors.file);
            let mut messages = vec![ToCore::Logs(LogFiles { access, errors })];
            for log in &hosts {
                messages.push(HostFile::open(log, None)?.message()?);
            }
            Ok(messages)
        };
        move || reopen().map_err(said)
    }

    /// Closes this process's copies of the files: a worker has no use for them.
    pub(super) fn leave(&mut self) {
        (self.access, self.errors) = (None, None);
        self.host_files.clear();
    }

    /// The server has ended: a command gets the end of its input, and a little time for the last lines.
    pub(super) fn close(self) {
        let Some(AccessLogFile { file, command, .. }) = self.access else {
            return;
        };
        drop(file);
        let Some(mut command) = command else {
            return;
        };
        let until = Instant::now() + LAST_LINES;
        while matches!(command.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl AccessLogFile {
    /// Opens the destination anew; a command only where it has ended.
    fn reopen(&mut self) -> Result<()> {
        if let Some(running) = &mut self.command
            && matches!(running.child.try_wait(), Ok(None))
        {
            return Ok(());
        }
        let kept = destination_path(&self.destination).map(|_| self.file.try_clone());
        let opened = open_or_keep(&self.destination, kept.transpose()?);
        (self.file, self.unread) = opened.with_context(|| cannot(&self.destination))?;
        self.start_command()
    }

    fn start_command(&mut self) -> Result<()> {
        let (Some(reader), Destination::Command(command)) = (self.unread.take(), &self.destination)
        else {
            return Ok(());
        };
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::from(reader))
            // Ctrl-C is not meant for it: the last lines are still to come.
            .process_group(0)
            .spawn()
            .with_context(|| cannot(&self.destination))?;
        self.command = Some(Running {
            child,
            born: Instant::now(),
        });
        Ok(())
    }
}

/// Logs of virtual hosts that are open, and not used yet.
#[derive(Debug)]
pub(super) struct HostLogs {
    hosts: Vec<HostLog>,
    files: Vec<HostFile>,
}

impl HostFile {
    /// The log, with what was `kept` open where this process may not open it again.
    fn open(settings: &host_logs::Settings, kept: Option<OwnedFd>) -> Result<HostFile> {
        let destination = &settings.destination;
        let opened = open_or_keep(destination, kept);
        let (file, _) = opened.with_context(|| {
            format!("option 'access_log_path' of a virtual host: can't open {destination}")
        })?;
        Ok(HostFile {
            settings: settings.clone(),
            file,
        })
    }

    fn all(
        hosts: &[HostLog],
        mut kept: impl FnMut(&Path) -> Option<OwnedFd>,
    ) -> Result<Vec<HostFile>> {
        let mut files: Vec<HostFile> = Vec::new();
        for settings in hosts.iter().filter_map(|host| host.log.as_ref()) {
            if files.iter().all(|file| file.settings != *settings) {
                let kept = destination_path(&settings.destination).and_then(&mut kept);
                files.push(HostFile::open(settings, kept)?);
            }
        }
        Ok(files)
    }

    fn copy(&self) -> Result<HostFile> {
        Ok(HostFile {
            settings: self.settings.clone(),
            file: self.file.try_clone()?,
        })
    }

    fn message(&self) -> Result<ToCore> {
        Ok(ToCore::HostLog(
            self.settings.key.clone(),
            self.file.try_clone()?,
        ))
    }
}

/// The logs of virtual hosts that have their own, or none.
///
/// # Errors
/// One sentence.
pub(super) fn of_hosts(config: &Config, origin: &Origin) -> Result<Vec<HostLog>> {
    let settings = |log: &AccessLog| -> Result<Option<host_logs::Settings>> {
        let format = Format::parse(&log.format).context("option 'access_log_format'")?;
        let destination = Destination::parse(&log.path, &config.name);
        let destination = match destination.context("option 'access_log_path'")? {
            Some(Destination::File(path)) => Destination::File(origin.path(path)),
            Some(destination) => destination,
            None => return Ok(None),
        };
        Ok(Some(host_logs::Settings {
            destination,
            format,
            key: format!("{}\n{}", log.path, log.format),
        }))
    };
    let mut logs = Vec::new();
    for vhost in &config.vhosts {
        let (Some(log), Some(host)) = (&vhost.access_log, vhost.names.first()) else {
            continue;
        };
        let log = settings(log).map_err(|error| log.source.error(format!("{error:#}")))?;
        logs.push(HostLog {
            host: host.clone(),
            log,
        });
    }
    Ok(logs)
}

/// The files of all these logs, for a core that opens them itself.
///
/// # Errors
/// One sentence.
pub(super) fn opened(hosts: &[HostLog]) -> Result<Vec<host_logs::Opened>> {
    let files = HostFile::all(hosts, |_| None)?;
    let files = files.into_iter();
    Ok(files.map(|log| (log.settings.key, log.file)).collect())
}

fn tell(core: &MasterEnd, message: Result<ToCore>) -> Result<(), Error> {
    core.tell(message.map_err(said)?)
        .map_err(|error| Error::Unheard("its logs", error))
}

fn cannot(destination: &Destination) -> String {
    format!("can't reopen the access log {destination}")
}

impl Errors {
    fn open(path: PathBuf, kept: Option<OwnedFd>) -> Result<Errors> {
        let file = or_kept(&path, kept)
            .with_context(|| format!("option 'error_log_path': can't open {}", path.display()))?;
        Ok(Errors { path, file })
    }
}

/// Opens a destination; for a command, the pipe that it will read.
fn open(destination: &Destination) -> io::Result<(OwnedFd, Option<PipeReader>)> {
    match destination.open()? {
        Some(file) => Ok((file, None)),
        None => {
            let (reader, writer) = io::pipe()?;
            Ok((writer.into(), Some(reader)))
        }
    }
}

/// The path of a destination that has one, and of standard output, which is another one once the server is in the background.
fn destination_path(destination: &Destination) -> Option<&Path> {
    match destination {
        Destination::File(path) => Some(path),
        Destination::Stdout => Some(Path::new("/dev/stdout")),
        Destination::Stderr | Destination::Syslog(_) | Destination::Command(_) => None,
    }
}

/// As [`open`]; `kept` is what the program before had opened.
fn open_or_keep(
    destination: &Destination,
    kept: Option<OwnedFd>,
) -> io::Result<(OwnedFd, Option<PipeReader>)> {
    match (destination, kept) {
        (Destination::Stdout, Some(kept)) => Ok((kept, None)),
        (Destination::File(path), kept) => Ok((or_kept(path, kept)?, None)),
        (_, _) => open(destination),
    }
}

/// A file that root has opened stays in use where this process may not open it.
fn or_kept(path: &Path, kept: Option<OwnedFd>) -> io::Result<OwnedFd> {
    match (files::append(path), kept) {
        (Err(error), Some(kept)) if error.kind() == io::ErrorKind::PermissionDenied => {
            ::log::warn!(
                "the log {} can't be opened again by this user: it stays open as it was",
                path.display()
            );
            Ok(kept)
        }
        (opened, _) => opened,
    }
}

/// Where logs of that name usually are: in /var/log for root, else at home.
fn usual(name: &str, origin: &Origin) -> PathBuf {
    match &origin.home {
        _ if origin.root => Path::new("/var/log").join(name),
        Some(home) => home.join(name),
        None => Path::new("/").join(name),
    }
}
