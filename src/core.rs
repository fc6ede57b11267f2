//! The core's process: owns every client connection and hands requests to workers. No Perl is called in it.
//!
//! Composes net, http, dispatch and channel; knows of the master only its words.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio::task::{LocalSet, spawn_local};

use crate::channel::Descriptors;
use crate::channel::core_end::{CoreEnd, Message};
use crate::dispatch::Dispatch;
use crate::http::h1::connection::{self, Context, Settings};
use crate::log::access::{AccessLog, Plan};
use crate::net::accept::Acceptor;
use crate::net::listen::Listening;
use crate::process::control::{self, LogFiles, ToCore, ToMaster};
use crate::process::fork;
use crate::semantics::date::DateCache;

/// What the core logs, and how.
#[derive(Default)]
pub struct Logs {
    /// The access log, if there is one.
    pub access: Option<Plan>,
    /// Opens the files anew, where no master does it.
    pub reopen: Option<Box<dyn FnMut() -> Result<LogFiles, String> + Send>>,
}

/// Runs the core until the master says so, or has gone.
///
/// # Errors
/// When a socket can't be polled; the master then knows the core as dead.
pub fn run(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
    logs: Logs,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = LocalSet::new().block_on(&runtime, live(listening, control, settings, logs));
    // A thread that waits for a disk or a pipe must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Counts what must be over before the core is drained.
#[derive(Debug, Default)]
struct Live {
    count: Cell<usize>,
    changed: Notify,
}

impl Live {
    fn enter(self: &Rc<Self>) -> Entered {
        self.count.set(self.count.get() + 1);
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
        self.0.changed.notify_one();
    }
}

async fn live(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
    logs: Logs,
) -> io::Result<()> {
    let log = logs.access.map(AccessLog::new).transpose()?;
    let timed = log.as_ref().is_some_and(|log| log.wants_call);
    let dispatch = Rc::new(Dispatch::new(settings.spool_folder.clone(), timed));
    let live = Rc::new(Live::default());
    let (start_drain, drain) = watch::channel(false);
    let context = Rc::new(Context {
        dispatch: Rc::clone(&dispatch),
        settings,
        date: RefCell::new(DateCache::new()),
        drain: drain.clone(),
        log,
    });
    for (number, listening) in listening {
        let acceptor = Acceptor::new(listening)?;
        let (context, live, drain) = (Rc::clone(&context), Rc::clone(&live), drain.clone());
        spawn_local(async move {
            let accepting = live.enter();
            acceptor
                .run(drain, |stream, endpoints| {
                    let entered = live.enter();
                    let serve = connection::serve(stream, number, endpoints, Rc::clone(&context));
                    spawn_local(async move {
                        serve.await;
                        drop(entered);
                    });
                })
                .await;
            drop(accepting);
        });
    }
    fcntl(&control, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    // SAFETY: the socket is owned by the AsyncFd alone and closed with it.
    let control = Rc::new(unsafe { AsyncFd::register(control) }?);
    control::tell_master(control.get_ref().as_fd(), ToMaster::Ready)?;
    let ended = obey(&control, &context, &live, &start_drain, logs.reopen).await;
    if let Some(log) = &context.log {
        log.finish().await;
    }
    ended
}

/// Does what the master says.
async fn obey(
    control: &Rc<AsyncFd<OwnedFd>>,
    context: &Rc<Context>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<bool>,
    mut reopen: Option<Box<dyn FnMut() -> Result<LogFiles, String> + Send>>,
) -> io::Result<()> {
    let dispatch = &context.dispatch;
    loop {
        let word = control
            .async_io(Interest::READABLE, |socket| {
                control::hear_master(socket.as_fd())
            })
            .await?;
        match word {
            Some(ToCore::Worker(number, pid, descriptors)) => {
                add_worker(control, dispatch, (number, pid), descriptors)?
            }
            Some(ToCore::Died(number)) => dispatch.worker_died(number),
            // Said twice, it means that nobody wants to wait.
            Some(ToCore::Drain) if *start_drain.borrow() => {
                dispatch.stop_workers();
                return Ok(());
            }
            Some(ToCore::Drain) => drain(control, context, live, start_drain),
            Some(ToCore::NoWorkers) => {
                dispatch.no_workers();
                if !*start_drain.borrow() {
                    drain(control, context, live, start_drain);
                }
            }
            Some(ToCore::Logs(files)) => take_logs(context, files),
            Some(ToCore::Reopen) => match reopen.as_mut().map(|reopen| reopen()) {
                Some(Ok(files)) => take_logs(context, files),
                Some(Err(message)) => ::log::error!("{message}"),
                None => {}
            },
            Some(ToCore::Quit) | None => {
                dispatch.stop_workers();
                return Ok(());
            }
        }
    }
}

/// Goes on in log files that were opened anew.
fn take_logs(context: &Context, files: LogFiles) {
    if let Some(errors) = files.errors
        && let Err(error) = fork::replace_standard(errors.as_fd(), 2)
    {
        ::log::error!("can't take the new error log: {error}");
    }
    if let (Some(log), Some(access)) = (&context.log, files.access) {
        log.reopen(access);
    }
}

fn drain(
    control: &Rc<AsyncFd<OwnedFd>>,
    context: &Rc<Context>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<bool>,
) {
    start_drain.send_replace(true);
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

fn add_worker(
    control: &Rc<AsyncFd<OwnedFd>>,
    dispatch: &Rc<Dispatch>,
    (number, pid): (u32, i32),
    descriptors: Descriptors,
) -> io::Result<()> {
    let end = Rc::new(CoreEnd::open(descriptors)?);
    dispatch.add_worker(number, pid, Rc::clone(&end));
    let (control, dispatch) = (Rc::clone(control), Rc::clone(dispatch));
    spawn_local(async move {
        let mut serving = false;
        loop {
            match end.next().await {
                Ok(Some(message)) => {
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
