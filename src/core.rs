//! The core's process: owns every client connection and hands requests to workers. No Perl is called in it.
//!
//! Composes net, http, dispatch and channel; knows of the master only its words.

use std::cell::{Cell, RefCell};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::Instant;

use self::crowd::Crowd;
use crate::channel::Descriptors;
use crate::channel::core_end::CoreEnd;
use crate::channel::message::Message;
use crate::dispatch::{self, Dispatch, Report};
use crate::http::h1::connection::{self, Context, Origin};
use crate::log::access::{AccessLog, Plan};
use crate::net::accept::{Acceptor, Phase};
use crate::net::admission::{self, Admission};
use crate::net::listen::Listening;
use crate::net::stream::Stream;
use crate::net::tls::files::{Opened, Role};
use crate::net::tls::{self, Accepted};
use crate::process::control::{self, TlsFile, ToCore, ToMaster};
use crate::process::pool::Load;
use crate::scoreboard::Board;
use crate::scoreboard::connections::{self, State};
use crate::scoreboard::file::BoardFile;
use crate::semantics::date::DateCache;
use crate::semantics::message::Endpoints;
use crate::site::{self, Site};
use crate::spool::{self, Room};

/// How the core works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How connections behave.
    pub http: connection::Settings,
    /// Which requests the server answers itself.
    pub site: site::Settings,
    /// How requests are dispatched.
    pub dispatch: dispatch::Settings,
    /// How many connections there may be.
    pub admission: admission::Settings,
    /// Where large content goes.
    pub spool: spool::Settings,
    /// Where the scoreboard is told to others, if it is.
    pub board_file: Option<Arc<BoardFile>>,
}

mod check;
mod crowd;
mod reread;
mod scoreboard;

/// A handshake that has begun when the server drains may take this long.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// Each time that a worker has brought so much content, it is offered to the clients before more is taken: it is still in the
/// processor's cache then, and they get it sooner.
const TURN: usize = 256 * 1024;

/// What the core logs, and how.
#[derive(Default)]
pub struct Logs {
    /// The access log, if there is one.
    pub access: Option<Plan>,
}

/// Runs the core until the master says so, or has gone.
///
/// # Errors
/// When a socket can't be polled; the master then knows the core as dead.
pub fn run(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
    tls: Option<tls::Settings>,
    logs: Logs,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = LocalSet::new().block_on(&runtime, live(listening, control, settings, tls, logs));
    // A thread that waits for a disk or a pipe must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Counts what must be over before the core is drained.
#[derive(Debug, Default)]
struct Live {
    count: Cell<usize>,
    crowd: Crowd,
    changed: Notify,
}

impl Live {
    fn enter(self: &Rc<Self>) -> Entered {
        self.count.set(self.count.get() + 1);
        self.crowd.grows(self.count.get());
        Entered(Rc::clone(self))
    }

    async fn none(&self) {
        while self.count.get() > 0 {
            self.changed.notified().await;
        }
    }
}

struct Entered(Rc<Live>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.crowd.shrinks(self.0.count.get());
        self.0.changed.notify_one();
    }
}

async fn live(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
    tls: Option<tls::Settings>,
    logs: Logs,
) -> io::Result<()> {
    let log = logs.access.map(AccessLog::new).transpose()?;
    let room = Rc::new(Room::new(settings.spool));
    let admission = Admission::new(settings.admission);
    let (report, reports) = mpsc::unbounded_channel();
    let timed = log.as_ref().is_some_and(|log| log.wants_call);
    let board = settings.dispatch.board.clone();
    if let Some(board) = &board {
        board.core_begins();
    }
    let dispatch = Dispatch::new(settings.dispatch, Rc::clone(&room), report, timed);
    let dispatch = Rc::new(dispatch);
    let live = Rc::new(Live::default());
    let (start_drain, drain) = watch::channel(Phase::Waiting);
    if let (Some(file), Some(board)) = (settings.board_file, board.clone()) {
        scoreboard::keep(file, board, Rc::clone(&dispatch), drain.clone());
    }
    let context = Rc::new(Context {
        site: Site::new(settings.site, board.clone()),
        dispatch: Rc::clone(&dispatch),
        settings: settings.http,
        room,
        date: RefCell::new(DateCache::new()),
        drain: drain.clone(),
        draining: Default::default(),
        log,
        scratch: Default::default(),
        ticks: Default::default(),
    });
    let tls = tls.map(tls::Server::new).transpose()?.map(Rc::new);
    for (number, listening) in listening {
        let tls = tls.clone().filter(|_| listening.tls);
        let acceptor = Acceptor::new(listening, Rc::clone(&admission))?;
        let (context, live, mut drain) = (Rc::clone(&context), Rc::clone(&live), drain.clone());
        let board = board.clone();
        spawn_local(async move {
            let accepting = live.enter();
            if let Some(tls) = &tls {
                tokio::select! {
                    () = tls.ready() => {}
                    _ = drain.wait_for(|phase| phase.is_last()) => {}
                }
            }
            acceptor
                .run(drain, |stream, endpoints, admitted| {
                    let entered = live.enter();
                    let state = match &tls {
                        Some(_) => State::Handshake,
                        None => State::Idle,
                    };
                    let shown = connections::Connection::new(board.clone(), state);
                    let origin = Origin {
                        listener: number,
                        endpoints,
                        tls: None,
                    };
                    let (tls, context) = (tls.clone(), Rc::clone(&context));
                    spawn_local(async move {
                        // Made here: a future that is moved into another takes its space twice.
                        serve(stream, origin, shown, tls, context).await;
                        drop((admitted, entered));
                    });
                })
                .await;
            drop(accepting);
        });
    }
    fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
    let control = Rc::new(unsafe { AsyncFd::register(control) }?);
    // A master that is gone needs no word: `obey` hears that it has.
    let _ = control::tell_master(control.get_ref().as_fd(), ToMaster::Ready);
    spawn_local(forward(Rc::clone(&control), reports));
    let ended = obey(&control, &context, tls.as_ref(), &live, &start_drain, board).await;
    if let Some(log) = &context.log {
        log.finish().await;
    }
    ended
}

/// Serves a connection: HTTP, behind a handshake where TLS is spoken.
async fn serve(
    stream: Stream,
    mut origin: Origin,
    shown: connections::Connection,
    tls: Option<Rc<tls::Server>>,
    context: Rc<Context>,
) {
    let Some(tls) = tls else {
        return connection::serve(stream, origin, shown, context).await;
    };
    let mut drain = context.drain.clone();
    let accepted = tokio::select! {
        biased;
        accepted = accept(&tls, stream, &origin, &context) => accepted,
        () = async {
            let _ = drain.wait_for(|&phase| phase == Phase::Draining).await;
            tokio::time::sleep(LAST_HANDSHAKE).await;
        } => return,
    };
    match accepted {
        Accepted::Secure(stream, facts) => {
            origin.tls = Some(facts);
            connection::serve(stream, origin, shown, context).await;
        }
        Accepted::Plain(stream) => connection::refuse_plain(stream, origin, shown, context).await,
        Accepted::Gone => {}
    }
}

/// Shakes hands, and asks the app about the client's certificate where it has the last word. Its time is that of the
/// handshake.
async fn accept(tls: &tls::Server, stream: Stream, origin: &Origin, context: &Context) -> Accepted {
    let begun = Instant::now();
    let (stream, facts) = match tls.accept(stream).await {
        Accepted::Secure(stream, facts) if tls.settings().asks_app() => (stream, facts),
        other => return other,
    };
    if facts.certificates.is_empty() {
        return Accepted::Secure(stream, facts);
    }
    let verdict = context.dispatch.verify(&facts);
    let limit = tls.settings().handshake_timeout;
    let verdict = match limit.is_zero() {
        true => Ok(verdict.await),
        false => tokio::time::timeout_at(begun + limit, verdict).await,
    };
    let why = match verdict {
        Ok(Some(true)) => return Accepted::Secure(stream, facts),
        Ok(Some(false)) => "it has refused the certificate",
        Ok(None) => "it gave no verdict",
        Err(_) => "it took too long",
    };
    if let Endpoints::Ip { peer, .. } = &origin.endpoints {
        ::log::warn!("ssl_verify_callback: the connection from {peer} is closed: {why}");
    }
    stream.turn_away().await;
    Accepted::Gone
}

/// Tells the master what the dispatch reports. A master that is gone needs no word.
async fn forward(control: Rc<AsyncFd<OwnedFd>>, mut reports: mpsc::UnboundedReceiver<Report>) {
    while let Some(report) = reports.recv().await {
        let word = match report {
            Report::Leaving(number) => ToMaster::Leaving(number),
            Report::Load(load) => ToMaster::Load(Load {
                ready: load.ready as u32,
                idle_least: load.idle_least as u32,
                idle_most: load.idle_most as u32,
                waiting: load.waiting as u32,
            }),
            Report::Hung { number, call } => ToMaster::Hung(number, call),
        };
        let _ = control::tell_master(control.get_ref().as_fd(), word);
    }
}

/// Does what the master says.
async fn obey(
    control: &Rc<AsyncFd<OwnedFd>>,
    context: &Rc<Context>,
    tls: Option<&Rc<tls::Server>>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<Phase>,
    board: Option<Arc<Board>>,
) -> io::Result<()> {
    let dispatch = &context.dispatch;
    let mut files = Vec::new();
    loop {
        let word = control
            .async_io(Interest::READABLE, |socket| {
                control::hear_master(socket.as_fd())
            })
            .await?;
        match word {
            Some(ToCore::Accept) => {
                start_drain.send_if_modified(|phase| {
                    let waiting = *phase == Phase::Waiting;
                    if waiting {
                        *phase = Phase::Serving;
                    }
                    waiting
                });
            }
            Some(ToCore::Worker(number, pid, descriptors)) => {
                add_worker(control, dispatch, (number, pid), descriptors, false)?
            }
            Some(ToCore::Candidate(number, pid, descriptors)) => {
                add_worker(control, dispatch, (number, pid), descriptors, true)?
            }
            Some(ToCore::Check(number, path)) => start_check(control, dispatch, number, path),
            Some(ToCore::Admit(number)) => dispatch.admit(number),
            Some(ToCore::Retire(number)) => dispatch.retire(number),
            Some(ToCore::Died(number)) => dispatch.worker_died(number),
            // Said twice, it means that nobody wants to wait.
            Some(ToCore::GiveWay) if start_drain.borrow().is_last() => {}
            Some(ToCore::Drain) if start_drain.borrow().is_last() => {
                dispatch.stop_workers();
                return Ok(());
            }
            Some(ToCore::Drain) => drain(control, context, live, start_drain, Phase::Draining),
            Some(ToCore::GiveWay) => drain(control, context, live, start_drain, Phase::GivingWay),
            Some(ToCore::Ping) => {
                let _ = control::tell_master(control.get_ref().as_fd(), ToMaster::Alive);
            }
            Some(ToCore::NoWorkers) => {
                dispatch.no_workers();
                if !start_drain.borrow().is_last() {
                    drain(control, context, live, start_drain, Phase::Draining);
                }
            }
            Some(ToCore::TlsFile(TlsFile { role, path, file })) => {
                files.extend(Role::from_number(role).map(|role| Opened {
                    role,
                    path,
                    file: file.into(),
                }));
            }
            Some(ToCore::ReadTls) => {
                dispatch.forget_verdicts();
                reread::read_tls(control, tls, mem::take(&mut files));
            }
            Some(ToCore::Logs(files)) => reread::take_logs(context, files),
            Some(ToCore::Reread(logs)) => {
                dispatch.forget_verdicts();
                reread::all(tls, logs, board.clone());
            }
            Some(ToCore::Quit) | None => {
                dispatch.stop_workers();
                return Ok(());
            }
        }
    }
}

fn drain(
    control: &Rc<AsyncFd<OwnedFd>>,
    context: &Rc<Context>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<Phase>,
    phase: Phase,
) {
    start_drain.send_replace(phase);
    context.draining.wake();
    let (control, context) = (Rc::clone(control), Rc::clone(context));
    let live = Rc::clone(live);
    spawn_local(async move {
        live.none().await;
        if let Some(log) = &context.log {
            log.finish().await;
        }
        // First the word, or the master would replace the workers that leave. A master that is gone needs
        // no word: its absence ends the core.
        let _ = control::tell_master(control.get_ref().as_fd(), ToMaster::Drained);
        context.dispatch.stop_workers();
    });
}

/// Has a candidate answer a request, and tells the master how.
fn start_check(control: &Rc<AsyncFd<OwnedFd>>, dispatch: &Rc<Dispatch>, number: u32, path: String) {
    let (control, dispatch) = (Rc::clone(control), Rc::clone(dispatch));
    spawn_local(async move {
        let checked = check::check(&dispatch, number, &path).await;
        // A master that is gone needs no word.
        let word = ToMaster::Checked(number, checked);
        let _ = control::tell_master(control.get_ref().as_fd(), word);
    });
}

fn add_worker(
    control: &Rc<AsyncFd<OwnedFd>>,
    dispatch: &Rc<Dispatch>,
    (number, pid): (u32, i32),
    descriptors: Descriptors,
    candidate: bool,
) -> io::Result<()> {
    let end = Rc::new(CoreEnd::open(descriptors)?);
    dispatch.add_worker(number, pid, Rc::clone(&end), candidate);
    let (control, dispatch) = (Rc::clone(control), Rc::clone(dispatch));
    spawn_local(async move {
        let mut serving = false;
        // Bytes of content since the clients were last given a turn.
        let mut content = 0;
        loop {
            if content >= TURN {
                content = 0;
                yield_now().await;
            }
            match end.next().await {
                Ok(Some(message)) => {
                    if let Message::Chunk(_, piece) = &message {
                        content += piece.bytes().len();
                    }
                    if !serving && matches!(message, Message::Idle) {
                        serving = true;
                        // A master that is gone needs no word.
                        let word = ToMaster::Serving(number);
                        let _ = control::tell_master(control.get_ref().as_fd(), word);
                    }
                    dispatch.message(number, message);
                }
                // Its death is told by the master, who knows it from waitpid.
                Ok(None) => break,
                Err(error) => {
                    ::log::error!("worker {number}: {error}");
                    end.close();
                    break;
                }
            }
        }
    });
    Ok(())
}
