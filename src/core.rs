//! The core's process: owns every client connection and hands requests to workers. No Perl is called in it.
//!
//! Composes net, http, dispatch and channel; knows of the master only its words.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};

use self::connections::{Live, Service};
use self::master::Master;
use crate::channel::Descriptors;
use crate::channel::core_end::CoreEnd;
use crate::dispatch::{self, Dispatch, Report};
use crate::http::context::{self, Context};
use crate::http::server_fields::ServerFields;
use crate::log::host_logs::AccessLogs;
pub use crate::log::host_logs::Plans;
use crate::net::accept::Phase;
use crate::net::admission::{self, Admission};
use crate::net::listen::Listening;
use crate::net::tls;
use crate::net::tls::files::{Opened, Role};
use crate::process::control::{self, Incomplete, TlsFile, ToCore, ToMaster};
use crate::process::pool::Load;
use crate::scoreboard::Board;
use crate::scoreboard::file::BoardFile;
use crate::site::{self, Site};
use crate::spool::{self, Room};

/// How the core works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How connections behave.
    pub http: context::Settings,
    /// Which requests the server answers itself.
    pub site: site::Settings,
    /// Reads that again at a reload, if there is a file to read.
    pub site_reader: Option<SiteReader>,
    /// How requests are dispatched.
    pub dispatch: dispatch::Settings,
    /// How many connections there may be.
    pub admission: admission::Settings,
    /// Where large content goes.
    pub spool: spool::Settings,
    /// Where the scoreboard is told to others, if it is.
    pub board_file: Option<Arc<BoardFile>>,
}

pub use self::reload::{Reread, SiteReader};

mod check;
mod connections;
#[doc(hidden)]
pub mod fuzz;
mod malloc_trim;
mod master;
mod reload;
mod scoreboard;
#[cfg(test)]
mod simulation;

/// Runs the core until the master says so, or has gone. A thread must write its log lines (`log::own`): the event loop waits for no
/// reader of standard error.
///
/// # Errors
/// When a socket can't be polled; the master then knows the core as dead.
pub fn run(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
    tls: Option<tls::Settings>,
    logs: Plans,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = LocalSet::new().block_on(&runtime, async {
        let mut core = Core::start(listening, control, settings, tls, logs)?;
        let ended = core.obey().await;
        core.context.logs.finish().await;
        ended
    });
    // A thread that waits for a disk or a pipe must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// The running core.
struct Core {
    control: Rc<AsyncFd<OwnedFd>>,
    master: Rc<Master>,
    context: Rc<Context>,
    tls: Option<Rc<tls::Server>>,
    live: Rc<Live>,
    phase: watch::Sender<Phase>,
    board: Option<Arc<Board>>,
    site_reader: Option<SiteReader>,
    /// Files of certificates and keys that have come, until they are all there; or why one could not come.
    tls_files: Result<Vec<Opened>, String>,
}

impl Core {
    /// Composes the core: it accepts connections when the master says so.
    fn start(
        listening: Vec<(u16, Listening)>,
        control: OwnedFd,
        settings: Settings,
        tls: Option<tls::Settings>,
        logs: Plans,
    ) -> io::Result<Self> {
        let logs = AccessLogs::new(logs)?;
        let room = Rc::new(Room::new(settings.spool));
        let (report, reports) = mpsc::unbounded_channel();
        let board = settings.dispatch.board.clone();
        if let Some(board) = &board {
            board.core_begins();
        }
        let dispatch = Dispatch::new(settings.dispatch, Rc::clone(&room), report);
        let dispatch = Rc::new(dispatch);
        let (phase, drain) = watch::channel(Phase::Waiting);
        if let (Some(file), Some(board)) = (settings.board_file, board.clone()) {
            scoreboard::keep(file, board, Rc::clone(&dispatch), drain.clone());
        }
        let context = Rc::new(Context {
            site: Site::new(settings.site, board.clone()),
            dispatch,
            server_fields: RefCell::new(ServerFields::new(settings.http.server.clone())),
            settings: settings.http,
            room,
            drain,
            draining: Default::default(),
            logs,
            scratch: Default::default(),
            out: Default::default(),
            ticks: Default::default(),
        });
        context.keep_times();
        let tls = tls.map(tls::Server::new).transpose()?.map(Rc::new);
        let live = Rc::new(Live::default());
        let service = Service {
            context: Rc::clone(&context),
            tls: tls.clone(),
            admission: Admission::new(settings.admission),
            board: board.clone(),
            live: Rc::clone(&live),
        };
        for (number, listening) in listening {
            service.clone().accept_on(number, listening)?;
        }
        fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
        let control = Rc::new(unsafe { AsyncFd::register(control) }?);
        let master = Master::new(Rc::clone(&control));
        master.tell(ToMaster::Ready);
        spawn_local(forward(Rc::clone(&master), reports));
        Ok(Core {
            control,
            master,
            context,
            tls,
            live,
            phase,
            board,
            site_reader: settings.site_reader,
            tls_files: Ok(Vec::new()),
        })
    }

    /// Does what the master says, until it says Quit or has gone.
    async fn obey(&mut self) -> io::Result<()> {
        loop {
            let word = self.control.async_io(Interest::READABLE, |socket| {
                control::hear_master(socket.as_fd())
            });
            let Some(word) = word.await? else {
                break;
            };
            match word {
                Ok(ToCore::Quit) => break,
                // Said twice, it means that nobody wants to wait.
                Ok(ToCore::Drain) if self.phase.borrow().is_last() => break,
                Ok(word) => self.does(word),
                Err(incomplete) => self.refuse(incomplete),
            }
        }
        self.context.dispatch.stop_workers();
        Ok(())
    }

    fn does(&mut self, word: ToCore) {
        let dispatch = &self.context.dispatch;
        match word {
            ToCore::Accept => {
                self.phase.send_if_modified(|phase| {
                    let waiting = *phase == Phase::Waiting;
                    if waiting {
                        *phase = Phase::Serving;
                    }
                    waiting
                });
            }
            ToCore::Worker(number, pid, channel) => self.start_worker(number, pid, channel, false),
            ToCore::Candidate(number, pid, channel) => {
                self.start_worker(number, pid, channel, true);
            }
            ToCore::Check(number, path) => self.check(number, path),
            ToCore::Admit(number) => dispatch.admit(number),
            ToCore::Retire(number) => dispatch.retire(number),
            ToCore::Died(number) => dispatch.worker_died(number),
            ToCore::GiveWay => self.drain(Phase::GivingWay),
            ToCore::Drain => self.drain(Phase::Draining),
            ToCore::NoWorkers => {
                dispatch.no_workers();
                self.drain(Phase::Draining);
            }
            ToCore::Ping => self.master.tell(ToMaster::Alive),
            ToCore::TlsFile(TlsFile {
                role,
                hosts,
                path,
                file,
            }) => {
                if let (Ok(files), Some(role)) = (&mut self.tls_files, Role::from_number(role)) {
                    files.push(Opened {
                        role,
                        path,
                        hosts,
                        file: file.into(),
                    });
                }
            }
            ToCore::ReadTls => {
                dispatch.forget_verdicts();
                match mem::replace(&mut self.tls_files, Ok(Vec::new())) {
                    Ok(files) => reload::read_tls(&self.master, self.tls.as_ref(), files),
                    Err(why) => self.master.tell(ToMaster::Answer(Err(why))),
                }
            }
            ToCore::Site(file) => {
                let (master, reader) = (Rc::clone(&self.master), self.site_reader.clone());
                let read = reload::site(reader, &self.context, Some(file.into()));
                spawn_local(async move { master.tell(ToMaster::Answer(read.await.map(drop))) });
            }
            ToCore::Logs(files) => reload::take_logs(&self.context, files),
            ToCore::HostLog(key, file) => self.context.logs.take_file((key, file)),
            ToCore::Reread(logs) => {
                dispatch.forget_verdicts();
                let site = reload::site(self.site_reader.clone(), &self.context, None);
                reload::all(self.tls.as_ref(), logs, site, self.board.clone());
            }
            // `obey` leaves for it.
            ToCore::Quit => {}
        }
    }

    /// Does without what has come incomplete, because this process can open no more descriptors.
    fn refuse(&mut self, incomplete: Incomplete) {
        const WHY: &str = "the core can open no more descriptors";
        match incomplete {
            Incomplete::Worker(number) => {
                self.master.tell(ToMaster::Unconnected(number, WHY.into()));
            }
            Incomplete::TlsFile(path) => {
                self.tls_files = Err(format!("'{}' can't be read: {WHY}", path.display()));
            }
            Incomplete::Site => self.master.tell(ToMaster::Answer(Err(WHY.to_owned()))),
            Incomplete::Logs => {
                ::log::error!("the log files that were opened again can't be taken: {WHY}");
            }
        }
    }

    /// A worker whose channel can't be opened is given up by the master, which starts another one later.
    fn start_worker(&self, number: u32, pid: i32, channel: Descriptors, candidate: bool) {
        match CoreEnd::open(channel) {
            Ok(end) => {
                let dispatch = &self.context.dispatch;
                dispatch.start_worker(number, pid, end, candidate);
            }
            Err(error) => {
                let why = format!("its channel can't be opened: {error}");
                self.master.tell(ToMaster::Unconnected(number, why));
            }
        }
    }

    /// Has a candidate answer a request, and tells the master how.
    fn check(&self, number: u32, path: String) {
        let (master, dispatch) = (Rc::clone(&self.master), Rc::clone(&self.context.dispatch));
        spawn_local(async move {
            let checked = check::check(&dispatch, number, &path).await;
            let checked = checked.map_err(|failure| failure.to_string());
            master.tell(ToMaster::Checked(number, checked));
        });
    }

    /// Finishes what is being served, then says so. Once is enough.
    fn drain(&self, phase: Phase) {
        if self.phase.borrow().is_last() {
            return;
        }
        self.phase.send_replace(phase);
        self.context.draining.wake();
        let (master, context) = (Rc::clone(&self.master), Rc::clone(&self.context));
        let live = Rc::clone(&self.live);
        spawn_local(async move {
            live.none().await;
            context.logs.finish().await;
            // First the word, or the master would replace the workers that leave.
            master.tell(ToMaster::Drained);
            master.all_sent().await;
            context.dispatch.stop_workers();
        });
    }
}

/// Tells the master what the dispatch reports.
async fn forward(master: Rc<Master>, mut reports: mpsc::UnboundedReceiver<Report>) {
    while let Some(report) = reports.recv().await {
        master.tell(match report {
            Report::Serving(number) => ToMaster::Serving(number),
            Report::Leaving(number) => ToMaster::Leaving(number),
            Report::Load(load) => ToMaster::Load(Load {
                ready: load.ready as u32,
                idle_least: load.idle_least as u32,
                idle_most: load.idle_most as u32,
                waiting: load.waiting as u32,
            }),
            Report::Hung { number, call } => ToMaster::Hung(number, call),
            Report::Broken(number) => ToMaster::Broken(number),
        });
    }
}
