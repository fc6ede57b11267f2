//! What a worker process does: take a request from its channel, have the app answer it, take the next.
//!
//! Knows no Perl and no HTTP wire: the app is anything that implements [`App`].

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use crate::channel::respond::Respond;
use crate::channel::worker_end::{Incoming, WAKE_FRAME, WorkerEnd};
use crate::coding;
use crate::process::{backtrace, signal};
use crate::scoreboard::WorkerState;
use crate::semantics::message::{Request, Tls};

mod budget;
mod looped;
mod shown;

pub use self::budget::{Budget, BudgetLimits};
pub use self::looped::{Ran, Turn, Watched};
pub use self::shown::Shown;

/// How a call of the app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The worker is ready for the next request and has said so ([`Respond::idle`]).
    Done,
    /// The worker has to exit: the app asked for it (psgix.harakiri) or `last` was set.
    Leave,
    /// The app called `exit` with this status; the interpreter can't go on.
    Exit(i32),
}

/// The application, as a worker sees it.
pub trait App {
    /// Answers one request. With `last`, the worker exits after it: [`Respond::idle`] is not called.
    fn call(&mut self, id: u64, request: Request, last: bool) -> Called;
    /// Whether the app accepts a client's certificate (`ssl_verify_callback`). Without such a callback it accepts none.
    ///
    /// # Errors
    /// The status if the app's code called `exit`.
    fn verify(&mut self, _tls: &Tls) -> Result<bool, i32> {
        Ok(false)
    }
    /// Whether signals have come whose handlers have not run yet.
    fn signals_due(&self) -> bool {
        false
    }
    /// Runs the handlers of signals that came while the worker waited. Returns the status if one called `exit`.
    fn signals(&mut self) -> Option<i32> {
        None
    }
    /// Whether the worker waits in an event loop of the app's: its calls overlap then.
    fn has_event_loop(&self) -> bool {
        false
    }
    /// Runs the event loop until `turn` says stop. `turn` is called when one of the descriptors is readable.
    fn run_loop(&mut self, _watched: Watched, _turn: &mut dyn FnMut(&mut dyn App) -> Turn) -> Ran {
        Ran::Stopped
    }
    /// The worker is about to exit, having left the loop as `left`: the app's last chance to do something (`child_exit`).
    /// Called once. Returns what the worker exits with.
    fn leave(&mut self, left: Left) -> Left {
        left
    }
}

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// What `REMOTE_ADDR` and `REMOTE_PORT` are. Unix sockets have no such address; servers differ in what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The client's IP address and port.
    Peer,
    /// `127.0.0.1`, and no port: Gepok's `unix_sockets`.
    Loopback,
    /// Undefined, and port 0: Starlet's `--socket`.
    Undefined,
}

/// One listener, as requests that came by it tell it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `SERVER_NAME`
    pub server_name: String,
    /// `SERVER_PORT`
    pub server_port: String,
    /// `REMOTE_ADDR` and `REMOTE_PORT`
    pub remote: Remote,
    /// Where it listens.
    pub address: Address,
    /// Whether clients speak TLS there.
    pub tls: bool,
}

/// The app of a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostApp {
    /// The name of the host.
    pub name: String,
    /// How messages name the app, with the place where it was said.
    pub label: String,
    /// Where it comes from.
    pub source: HostAppSource,
}

impl HostApp {
    /// Whether it is the same app of the same host, wherever that is said.
    pub fn is_as(&self, other: &HostApp) -> bool {
        (&self.name, &self.source) == (&other.name, &other.source)
    }
}

/// Where the app of a virtual host comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostAppSource {
    /// A file or a module.
    Named(String),
    /// A code reference of the program that runs the server.
    Code,
}

/// Which apps the server's hosts have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostApps {
    /// Those of virtual hosts.
    pub apps: Vec<HostApp>,
    /// Whether requests can go to the server's own app, too.
    pub need_servers: bool,
}

impl HostApps {
    /// Without virtual hosts the server has one app.
    pub fn of_one_host() -> Self {
        HostApps {
            apps: Vec::new(),
            need_servers: true,
        }
    }
}

/// What an app learns about the server.
#[derive(Clone, Debug)]
pub struct ServerFacts {
    /// The listeners, in the order of `Request::listener`.
    pub listeners: Vec<Listener>,
    /// Whether there are workers: `psgi.multiprocess`, and whether `psgix.harakiri` is offered.
    pub multiprocess: bool,
    /// Whether requests over TLS get the keys `SSL_PROTOCOL`, `SSL_CLIENT_S_DN` and so on.
    pub ssl_env: bool,
    /// Whether the app may have the client's socket (`psgix.io`).
    pub psgix_io: bool,
    /// Whether the server sends files that the app names by X-Sendfile.
    pub xsendfile: bool,
    /// The apps that are to be loaded.
    pub hosts: HostApps,
    /// The event loop that workers wait in: a name of ours or a class.
    pub event_loop: Option<String>,
    /// Which responses are compressed, if any.
    pub compress: Option<coding::Settings>,
}

/// TERM has come: exit after the current request.
static LEAVE: AtomicBool = AtomicBool::new(false);
/// The worker waits for the core, and nothing is being sent.
static WAITING: AtomicBool = AtomicBool::new(false);

/// Makes the worker exit after the current request.
pub fn leave() {
    LEAVE.store(true, Ordering::SeqCst);
}

/// The channel's socket, for [`wake`].
static SOCKET: AtomicI32 = AtomicI32::new(-1);

/// Wakes the worker if it waits. For the interpreter's signal handler, which only notes the signal and runs Perl's handler
/// later. Async-signal-safe.
///
/// The core sends the frame back. So no signal is lost between the check for signals and the wait, and a request needs no
/// system call for that.
pub extern "C" fn wake() {
    if !looped::wake_if_looped() && WAITING.load(Ordering::SeqCst) {
        signal::send(SOCKET.load(Ordering::SeqCst), &WAKE_FRAME);
    }
}

/// One process: a signal for the server has come. Async-signal-safe.
pub fn note_signal(number: i32) {
    signal::noted(number);
}

/// The signal by which the master asks for a backtrace of the app.
pub fn backtrace_signal() -> i32 {
    backtrace::signal()
}

/// Logs the backtrace and ends this process: the master asks only workers that it is about to kill.
pub fn report_backtrace(calls: &str) {
    ::log::error!("the app is in\n{}", calls.trim_end());
    backtrace::end();
}

/// Why a worker has stopped serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// It was told to, or its budget is used up.
    Finished,
    /// The app called `exit` with this status, or the channel broke (status 1).
    Exit(i32),
}

/// Serves requests until the core says stop, the app wants to exit, or the budget is used up. Then the core is told first
/// that the worker leaves, so that requests that wait there go to other workers.
pub fn serve(channel: &WorkerEnd, app: &mut dyn App, budget: Budget, mut shown: Shown) -> Left {
    SOCKET.store(channel.socket(), Ordering::SeqCst);
    let left = match app.has_event_loop() {
        true => looped::work(channel, app, budget, &mut shown),
        false => work(channel, app, budget, &mut shown),
    };
    shown.does(WorkerState::Leaving);
    channel.leaving();
    let _ = channel.flush();
    left
}

fn work(channel: &WorkerEnd, app: &mut dyn App, mut budget: Budget, shown: &mut Shown) -> Left {
    channel.idle();
    shown.begin();
    shown.does(WorkerState::Idle);
    let mut busy = false;
    loop {
        // Not shown between two requests of which the second is here already.
        if busy && !channel.has_request() {
            busy = false;
            shown.does(WorkerState::Idle);
        }
        // A broken channel shows at the next read.
        let _ = channel.flush();
        match wait(channel, app) {
            Ok(Incoming::Request(id, request)) => {
                match channel.claim(id) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(violation) => return broken(&violation.into()),
                }
                busy = true;
                shown.serves(&request.head);
                match app.call(id, request, budget.start_request()) {
                    Called::Done if budget.is_exhausted() => return Left::Finished,
                    Called::Done => {}
                    Called::Leave => return Left::Finished,
                    Called::Exit(status) => return Left::Exit(status),
                }
            }
            Ok(Incoming::Verify(id, tls)) => {
                match channel.claim_question(id) {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(violation) => return broken(&violation.into()),
                }
                let verdict = app.verify(&tls);
                channel.verdict(id, verdict == Ok(true));
                match verdict {
                    Ok(_) => channel.idle(),
                    Err(status) => return Left::Exit(status),
                }
            }
            Ok(Incoming::Interrupted) => {
                if let Some(status) = app.signals() {
                    return Left::Exit(status);
                }
            }
            Ok(Incoming::Stop | Incoming::Closed) => return Left::Finished,
            Err(error) => return broken(&error),
        }
    }
}

/// Nothing that comes by the channel can be believed any more, or nothing can come.
fn broken(error: &io::Error) -> Left {
    ::log::error!("this worker's channel is broken, and it exits: {error}");
    Left::Exit(1)
}

fn wait(channel: &WorkerEnd, app: &dyn App) -> io::Result<Incoming> {
    // From here on a signal sends a frame; one that came before is seen here.
    WAITING.store(true, Ordering::SeqCst);
    let incoming = if LEAVE.load(Ordering::SeqCst) {
        Ok(Incoming::Stop)
    } else if app.signals_due() {
        Ok(Incoming::Interrupted)
    } else {
        channel.next()
    };
    WAITING.store(false, Ordering::SeqCst);
    incoming
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::channel::core_end::CoreEnd;
    use crate::channel::raw::{RawEnd, request};
    use crate::channel::{Descriptors, pair};
    use crate::semantics::message::Content;

    /// An app that must not be called.
    struct Untouched;

    impl App for Untouched {
        fn call(&mut self, id: u64, _: Request, _: bool) -> Called {
            panic!("request {id} was run");
        }
    }

    /// Protects: a worker does not run a request of which nobody knows any more whose it is.
    #[tokio::test]
    async fn a_worker_leaves_when_its_claim_word_was_overwritten() {
        let (core, worker) = pair().unwrap();
        let [socket, memory, bell] =
            [&worker.socket, &worker.memory, &worker.bell].map(|it| it.try_clone().unwrap());
        let scribbler = RawEnd::open(Descriptors::from([socket, memory, bell])).unwrap();
        let core = CoreEnd::open(core).unwrap();
        let worker = WorkerEnd::open(worker).unwrap();
        let id = core.next_id().unwrap();
        let sent = Rc::new(request(Content::Empty));
        core.send_request(id, &sent, false).unwrap();
        for word in [u64::MAX, 0x55, id << 8 | 2] {
            scribbler.scribble_claim(id as usize, word);
            let left = serve(
                &worker,
                &mut Untouched,
                Budget::unlimited(),
                Shown::default(),
            );
            assert_eq!(left, Left::Exit(1), "{word:#x}");
            core.send_request(id, &sent, false).unwrap();
        }
    }
}
