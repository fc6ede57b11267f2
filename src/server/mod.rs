//! Runs a server: binds, then forks core and workers, or serves in one process. The composition root.
//!
//! Knows no Perl: how to fork, and what the app is, comes from the entry.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::unistd::{Pid, getpid};

use self::configuration::Plan;
use self::logs::Logs;
use crate::channel::worker_end::WorkerEnd;
use crate::config::error::Error as Mistake;
use crate::config::resolved::{Bind, Config};
use crate::config::sources::Sources;
use crate::net::listen::{Listening, SocketFile};
use crate::process::error::Error;
use crate::process::fork::Forked;
use crate::process::handover::{self, Handover, Program};
use crate::process::master::Ended;
use crate::process::origin::Origin;
use crate::process::signal;
use crate::process::title::Title;
use crate::scoreboard::Board;
use crate::scoreboard::file::BoardFile;
use crate::site;
use crate::worker::{App, ServerFacts};

mod bind;
mod configuration;
mod core_start;
mod daemon;
mod documents;
mod limits;
mod logs;
mod prefork;
pub(crate) mod running;
pub mod settings;
mod single;
mod spool_folder;
mod start;
mod tls;

pub use self::configuration::Configuration;
pub use self::documents::types_of_file;

use daemon::{Daemon, Start};
use tls::Certificates;

/// What an entry provides: the Perl side of the server.
pub trait Entry {
    /// Forks a worker.
    ///
    /// # Errors
    /// What fork says.
    fn fork(&mut self) -> io::Result<Forked>;

    /// Whether the master has the app: it is loaded in this process already, or will be by [`Entry::load`].
    fn preloads(&self) -> bool;

    /// Loads the app in the master, where that waits until root's rights are given up; else there is nothing to do.
    ///
    /// # Errors
    /// Why it can't be loaded.
    fn load(&mut self) -> Result<()>;

    /// Whether [`Entry::load`] has something to do.
    fn is_to_load(&self) -> bool;

    /// A copy of a descriptor that a supervisor has handed in, where one was made before the program could close it.
    fn copy_of(&self, descriptor: RawFd) -> Option<RawFd>;

    /// The hook of whoever runs the server, called once, in the master, before a worker is forked.
    ///
    /// # Errors
    /// The text that the hook died with.
    fn before_prefork(&mut self) -> Result<()>;

    /// Everything listens; called once, in the master, with host, port and scheme of the first listener and then the
    /// places of all listeners.
    ///
    /// # Errors
    /// The text that the app's hook died with.
    fn listening(&mut self, told: &[String]) -> Result<()>;

    /// The app, in the process that will run it.
    ///
    /// # Errors
    /// Why it can't be loaded.
    fn app(&mut self, facts: &ServerFacts, channel: Rc<WorkerEnd>) -> Result<Box<dyn App>>;
}

/// The text of the configuration file, if one is named.
///
/// # Errors
/// Why it can't be read.
pub fn read_options(sources: &Sources, origin: &Origin) -> Result<Option<String>, Mistake> {
    let Some(file) = sources.file() else {
        return Ok(None);
    };
    let text = configuration::read(&origin.path(file));
    text.map(Some).map_err(|error| Mistake::Unreadable {
        file: file.to_owned(),
        why: error.to_string(),
    })
}

/// Says what is wrong with options that fit each other, as far as that shows without a start.
///
/// # Errors
/// One sentence.
pub fn check(config: &Config, origin: &Origin) -> Result<()> {
    limits::check(config)?;
    let identity = Daemon::identity_of(&config.daemon)?;
    configuration::site(config, origin, identity.as_ref())?;
    if let Some(tls) = &config.tls {
        Certificates::new(tls, origin, &mut Handover::default()).check()?;
    }
    Ok(())
}

/// Runs the server. Returns in the master when it has stopped, and in each worker when it is to exit.
///
/// # Errors
/// One sentence for the operator, before anything is forked where it can be known by then.
pub fn run(
    config: &Config,
    configuration: Option<Arc<Configuration>>,
    origin: &Origin,
    entry: &mut dyn Entry,
) -> Result<Ended> {
    crate::log::start(config.logging.level);
    let program = Program::of_server();
    let handover = handover::received();
    let start = Start::of(handover.as_ref());
    let mut handover = handover.unwrap_or_default();
    if start == Start::First {
        for warning in &config.warnings {
            ::log::warn!("{warning}");
        }
    }
    limits::check(config)?;
    let mut daemon = Daemon::prepare(&config.daemon, origin, entry.preloads(), start)?;
    let spool = spool_folder::choose(config, origin, &daemon)?;
    if start == Start::First && spool.is_none() {
        ::log::warn!(
            "neither TMPDIR nor /var/tmp can be written to: content of more than 1 MiB is refused with 507, unless 'spool_dir' names a folder"
        );
    }
    let site = configuration::site(config, origin, daemon.identity())?;
    daemon.take_pid_file(&config.daemon.pid_path, origin, start, &mut handover)?;
    Daemon::warn_of_root(&config.daemon, start);
    let opened = (|| {
        let logs = Logs::open(config, origin, daemon.identity(), &mut handover)?;
        let tls = config.tls.as_ref();
        let mut certificates = tls.map(|tls| Certificates::new(tls, origin, &mut handover));
        if let (Some(certificates), true) = (
            &mut certificates,
            daemon.identity().is_some() && entry.preloads(),
        ) {
            certificates.keep()?;
        }
        let board_file = board_file(config, origin, &daemon, start, &mut handover)?;
        Ok((logs, certificates, board_file))
    })();
    let (logs, certificates, board_file) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            daemon.end();
            return Err(error);
        }
    };
    let mut server = Server {
        config,
        origin,
        spool,
        site,
        configuration,
        read: None,
        tried: None,
        entry,
        listening: Vec::new(),
        handed: Vec::new(),
        files: Vec::new(),
        facts: ServerFacts {
            listeners: Vec::new(),
            multiprocess: config.workers.start > 0,
            ssl_env: config.ssl_env,
            psgix_io: config.psgix_io,
            event_loop: (config.life.event_loop.as_ref()).map(|looped| looped.name.clone()),
            compress: config.files.compress.clone(),
            xsendfile: !config.files.sendfile_roots.is_empty(),
            hosts: settings::host_apps(config, origin),
        },
        daemon,
        master: getpid(),
        certificates,
        logs,
        start,
        program,
        handover,
        board: None,
        board_memory: None,
        board_file,
        title: None,
    };
    let ended = server.live();
    signal::release()?;
    let in_worker = server.facts.multiprocess && matches!(ended, Ok(Ended::Worker(_)));
    if !in_worker {
        match &ended {
            Err(error) if server.daemon.is_awaited() && server.logs.errors().is_some() => {
                ::log::error!("{error:#}");
            }
            Ok(_) if server.start != Start::Trial => crate::log::notice(format_args!("stopped")),
            _ => {}
        }
        // The caller tells why at the terminal.
        server.daemon.take_standard_error_back();
        // A trial has only its own, not the running server's.
        server.files.iter().for_each(SocketFile::remove);
        server.board_file.iter().for_each(|file| file.remove());
        server.daemon.end();
        server.logs.close();
        server.title.into_iter().for_each(Title::end);
    }
    ended
}

struct Server<'a> {
    config: &'a Config,
    origin: &'a Origin,
    /// Where content goes that is too large for memory, if it may
    spool: Option<PathBuf>,
    /// What the server answers itself
    site: site::Settings,
    /// Where that is read again, if there is a file
    configuration: Option<Arc<Configuration>>,
    /// What the next generation of workers goes by: the file as a reload has read it
    read: Option<Plan>,
    /// What the candidates go by, and all others once they serve
    tried: Option<Plan>,
    entry: &'a mut dyn Entry,
    listening: Vec<Listening>,
    /// Their descriptors and the names by which the next program finds them; not those that the app has made, since it
    /// makes them again.
    handed: Vec<(RawFd, String)>,
    /// Those of the Unix sockets that were made here
    files: Vec<SocketFile>,
    facts: ServerFacts,
    daemon: Daemon,
    master: Pid,
    /// Where certificates and keys are, if TLS is spoken.
    certificates: Option<Certificates>,
    logs: Logs,
    start: Start,
    /// How this process was started.
    program: Option<Program>,
    /// What the program before has handed over.
    handover: Handover,
    /// What each process does; nothing until they begin.
    board: Option<Arc<Board>>,
    /// The same for those who look at the master's descriptors.
    board_memory: Option<OwnedFd>,
    /// The same as a file.
    board_file: Option<Arc<BoardFile>>,
    /// What this process is called, where that is shown.
    title: Option<Title>,
}

impl Server<'_> {
    fn live(&mut self) -> Result<Ended> {
        if self.facts.multiprocess {
            signal::hold_back()?;
        }
        self.bind()?;
        let (files, board_file, entry) = (&self.files, &self.board_file, &mut self.entry);
        let failed = || {
            files.iter().for_each(SocketFile::remove);
            board_file.iter().for_each(|file| file.remove());
        };
        self.daemon.detach(|| entry.fork(), failed)?;
        self.master = getpid();
        match (self.start, self.logs.start_command()) {
            (Start::First, started) => started?,
            // There is no way back: the master tries again.
            (Start::Again, Err(error)) => ::log::error!("{error:#}"),
            (Start::Again | Start::Trial, _) => {}
        }
        if self.entry.is_to_load() {
            self.load()?;
        }
        self.daemon.change_folder()?;
        if self.config.daemon.proctitle {
            self.title = Title::of(&self.config.name);
        }
        // Two generations at a time, and some that leave; or the one process.
        let slots = match self.facts.multiprocess {
            true => 2 * self.config.life.most as usize + 64,
            false => 1,
        };
        let (board, memory) = Board::create(slots).context("can't make the scoreboard")?;
        let board = Arc::new(board);
        // One process keeps its app, however that was loaded.
        let keeps_code = self.entry.preloads() || !self.facts.multiprocess;
        board.set_keeps_code(keeps_code && !self.config.reload.reload_on_hup);
        (self.board, self.board_memory) = (Some(Arc::clone(&board)), Some(memory));
        if self.facts.multiprocess {
            self.prefork(board)
        } else {
            self.single(board)
        }
    }

    /// Whether a supervisor holds the sockets, and can have them served by another server when this one stops.
    fn is_supervised(&self) -> bool {
        let places = self.config.listeners.iter().map(|listener| &listener.bind);
        places
            .into_iter()
            .any(|place| matches!(place, Bind::Activated(_)))
    }

    fn show(&mut self, role: &[u8]) {
        if let Some(title) = &mut self.title {
            title.show(&[role]);
        }
    }
}

/// An error of the server's, as its roles tell it the master: with all that has led to it.
fn said(error: anyhow::Error) -> Error {
    Error::role(format!("{error:#}"))
}

/// The scoreboard as a file, where there are workers to tell of. One record more than they may be, as Gepok documents it.
fn board_file(
    config: &Config,
    origin: &Origin,
    daemon: &Daemon,
    start: Start,
    handover: &mut Handover,
) -> Result<Option<Arc<BoardFile>>> {
    if config.workers.start == 0 {
        return Ok(None);
    }
    let records = config.life.most as usize + 1;
    let path = &config.daemon.scoreboard_path;
    let file = daemon.board_file(path, origin, records, start, handover)?;
    Ok(file.map(Arc::new))
}
