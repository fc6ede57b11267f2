//! Runs a server: binds, then forks core and workers, or serves in one process. The composition root.
//!
//! Knows no Perl: how to fork, and what the app is, comes from the entry.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, getpid};

use self::logs::Logs;
use crate::channel::Descriptors;
use crate::channel::worker_end::WorkerEnd;
use crate::config::error::Error as Mistake;
use crate::config::resolved::{Bind, Config};
use crate::config::sources::Sources;
use crate::core;
use crate::log::access::Plan;
use crate::net::listen::{Listening, SocketFile};
use crate::process::control::{LogFiles, MasterEnd, ToCore};
use crate::process::daemon::instead_of_terminal;
use crate::process::error::Error;
use crate::process::fork::{self, Forked};
use crate::process::handover::{self, Handover, KeptFile, Program, Purpose};
use crate::process::master::{self, Ended, NewWorker, Roles};
use crate::process::notify::Notifier;
use crate::process::origin::Origin;
use crate::process::signal;
use crate::process::title::Title;
use crate::scoreboard::Board;
use crate::scoreboard::file::BoardFile;
use crate::site;
use crate::worker::{self, App, Budget, Left, ServerFacts, Shown};

mod bind;
mod configuration;
mod daemon;
mod documents;
mod limits;
mod logs;
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
        entry,
        listening: Vec::new(),
        handed: Vec::new(),
        files: Vec::new(),
        facts: ServerFacts {
            listeners: Vec::new(),
            multiprocess: config.workers.start > 0,
            ssl_env: config.ssl_env,
            psgix_io: config.psgix_io,
            compress: config.files.compress.clone(),
            xsendfile: !config.files.sendfile_roots.is_empty(),
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

    /// The access log as a core is born with it.
    fn access_plan(&self) -> io::Result<Option<Plan>> {
        let names = self.facts.listeners.iter();
        let names = names.map(|l| (l.server_name.clone(), l.server_port.clone()));
        self.logs.plan(names.collect())
    }

    fn show(&mut self, role: &[u8]) {
        if let Some(title) = &mut self.title {
            title.show(&[role]);
        }
    }

    fn prefork(&mut self, board: Arc<Board>) -> Result<Ended> {
        self.show(b"parent");
        let reload = &self.config.reload;
        let trial = self.start == Start::Trial;
        let settings = master::Settings {
            workers: if trial {
                1
            } else {
                self.config.workers.start as usize
            },
            pool: settings::sizes(self.config).filter(|_| !trial),
            graceful_timeout: reload.graceful_timeout,
            spawn_interval: reload.spawn_interval,
            err_respawn_interval: reload.err_respawn_interval,
            check_path: reload.check_path.clone(),
            has_successor: self.is_supervised(),
            program: self.program.take(),
            reload_on_hup: reload.reload_on_hup,
            verdict: self.handover.take_trial(),
            handover: mem::take(&mut self.handover),
            notifier: Notifier::from_environment().filter(|_| !trial),
            board,
        };
        Ok(master::run(settings, self)?)
    }
}

impl Roles for Server<'_> {
    fn fork(&mut self) -> io::Result<Forked> {
        self.entry.fork()
    }

    fn core(&mut self, control: OwnedFd) -> i32 {
        self.show(b"core");
        let mut keep: Vec<_> = self
            .listening
            .iter()
            .map(|l| l.socket.as_raw_fd())
            .collect();
        keep.push(control.as_raw_fd());
        let access = self.access_plan();
        if let Ok(Some(plan)) = &access {
            keep.push(plan.descriptor.as_raw_fd());
        }
        keep.extend(self.logs.errors());
        keep.extend(self.board_file.iter().map(|file| file.file().as_raw_fd()));
        let listening = numbered(mem::take(&mut self.listening));
        let mut settings = settings::core(self.config);
        settings.dispatch.board = self.board.clone();
        settings.board_file = self.board_file.clone();
        settings.spool.folder = self.spool.clone();
        settings.site = self.site.clone();
        settings.site_reader = self.configuration.as_ref().map(Configuration::of_core);
        let tls = self.config.tls.as_ref();
        let tls = tls.map(|tls| tls::settings(tls, None));
        let (daemon, master) = (&self.daemon, self.master);
        let dumpable = self.config.limits.dumpable;
        let logs = &self.logs;
        let live = AssertUnwindSafe(move || {
            core_process(&keep, daemon, master, dumpable)?;
            logs.take_standard_error()?;
            let logs = core::Logs { access: access? };
            core::run(listening, control, settings, tls, logs)
        });
        match catch_unwind(live) {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                ::log::error!("the core failed: {error}");
                1
            }
            Err(_) => 101,
        }
    }

    fn reopen_logs(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        self.logs.reopen(core)
    }

    fn read_certificates(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        let certificates = self.certificates.as_ref();
        certificates.map_or(Ok(()), |certificates| tls::send(certificates, core))
    }

    fn read_options(&mut self, core: Option<&mut MasterEnd>) -> Result<(), Error> {
        if let Some(configuration) = &self.configuration {
            let core = core.ok_or_else(|| Error::role("the core is not ready yet"))?;
            self.site = configuration.reread(self.daemon.identity(), core)?;
            // For workers that are forked from now on.
            self.facts.xsendfile = !self.site.files.sendfile.is_empty();
        }
        Ok(())
    }

    fn look_after_children(&mut self, core: &mut MasterEnd) {
        self.logs.look_after_command(core);
    }

    fn listening(&mut self) -> Result<(), Error> {
        self.tell_listening().map_err(said)
    }

    fn serving(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        self.announce();
        if self.daemon.is_awaited() {
            let errors = instead_of_terminal()?;
            // A core that has just died is noticed by the master.
            let _ = core.tell(ToCore::Logs(LogFiles {
                access: None,
                errors,
            }));
        }
        self.daemon.ready().map_err(said)
    }

    fn stop_listening(&mut self) {
        self.listening.clear();
        self.handed.clear();
    }

    fn handed_over(&self) -> Handover {
        let board = self.board_file.as_ref().map(|board| KeptFile {
            descriptor: board.file().as_raw_fd(),
            purpose: Purpose::Scoreboard,
            path: board.path().to_owned(),
        });
        let mut files: Vec<_> = self.daemon.kept_file().into_iter().chain(board).collect();
        files.extend(self.logs.kept_files());
        let certificates = self.certificates.iter();
        files.extend(certificates.flat_map(Certificates::kept_files));
        Handover {
            origin: Some(self.origin.clone()),
            sockets: self.handed.clone(),
            files,
            children: self.logs.command().into_iter().collect(),
            ..Handover::default()
        }
    }

    fn worker(&mut self, worker: NewWorker) -> i32 {
        let NewWorker {
            number,
            generation,
            channel,
            words,
        } = worker;
        // Its files are the core's.
        self.logs.leave();
        self.show(b"child");
        (self.board_memory, self.board_file) = (None, None);
        self.certificates = None;
        let seat = self
            .board
            .take()
            .map(|board| board.take_alone(number, generation));
        let shown = Shown {
            // Without a record it serves as well.
            seat: seat.and_then(Result::ok).flatten(),
            title: self.title.take(),
        };
        let mut words = words.move_high().ok();
        let served = || -> Result<i32> {
            self.daemon.leave_to_master();
            drop_privileges(&self.daemon, self.master)?;
            // Another worker that was taken over reads no requests from this one's memory.
            nix::sys::prctl::set_dumpable(self.config.limits.dumpable)?;
            if self.config.limits.worker_no_new_privs {
                nix::sys::prctl::set_no_new_privs()?;
            }
            let socket = fork::move_high(channel.socket)?;
            let bell = fork::move_high(channel.bell)?;
            let memory = channel.memory;
            let channel = Rc::new(WorkerEnd::open(Descriptors {
                socket,
                memory,
                bell,
            })?);
            let mut app = self
                .entry
                .app(&self.facts, Rc::clone(&channel))
                .context("the app can't be loaded")?;
            self.daemon.ready()?;
            drop(words.take());
            let budget = Budget::draw(&settings::budget(&self.config.life.budget));
            let left = worker::serve(&channel, app.as_mut(), budget, shown);
            Ok(match app.leave(left) {
                Left::Finished => 0,
                Left::Exit(status) => status,
            })
        };
        served().unwrap_or_else(|error| {
            if words.is_some_and(|words| words.say(&format!("{error:#}"))) {
                return 1;
            }
            ::log::error!("{error:#}");
            if self.daemon.take_standard_error_back() {
                ::log::error!("{error:#}");
            }
            1
        })
    }
}

/// An error of the server's, as its roles tell it the master: with all that has led to it.
fn said(error: anyhow::Error) -> Error {
    Error::role(format!("{error:#}"))
}

/// What makes a process the core: nothing of the app's is kept open, no key can be read from its memory unless it is `dumpable`,
/// and no signal moves it.
fn core_process(keep: &[i32], daemon: &Daemon, master: Pid, dumpable: bool) -> io::Result<()> {
    // SAFETY: this process is the core from now on: it uses nothing but what is kept, and leaves by _exit, so that no
    // owner of another number closes it.
    unsafe { fork::close_all_but(keep) };
    drop_privileges(daemon, master)?;
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Input)?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Output)?;
    nix::sys::prctl::set_dumpable(dumpable)?;
    // Nothing it could be made to run gains what it lacks.
    nix::sys::prctl::set_no_new_privs()?;
    // Each client needs a descriptor. The soft limit is for programs that call select(2).
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    signal::block_all()
}

/// In a child of the master: becomes the server's user, and dies with the master as before.
fn drop_privileges(daemon: &Daemon, master: Pid) -> io::Result<()> {
    daemon.drop_privileges()?;
    fork::die_with(master)
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

fn numbered(listening: Vec<Listening>) -> Vec<(u16, Listening)> {
    (0..).zip(listening).collect()
}
