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
use crate::net::accept::{Acceptor, Phase};
use crate::net::admission::Admission;
use crate::net::listen::Listening;
use crate::process::control::{self, ToCore, ToMaster};
use crate::semantics::date::DateCache;
use crate::spool::Room;

mod check;

/// Runs the core until the master says so, or has gone.
///
/// # Errors
/// When a socket can't be polled; the master then knows the core as dead.
pub fn run(
    listening: Vec<(u16, Listening)>,
    control: OwnedFd,
    settings: Settings,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, live(listening, control, settings))
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
) -> io::Result<()> {
    let bounds = &settings.bounds;
    let room = Rc::new(Room::new(bounds.spool_folder.clone(), bounds.spool));
    let dispatch = Rc::new(Dispatch::new(Rc::clone(&room), bounds.patience));
    let admission = Admission::new(bounds.connections, bounds.connections_per_address);
    let live = Rc::new(Live::default());
    let (start_drain, drain) = watch::channel(Phase::Waiting);
    let context = Rc::new(Context {
        dispatch: Rc::clone(&dispatch),
        settings,
        room,
        scratch: connection::scratch(),
        date: RefCell::new(DateCache::new()),
        drain: drain.clone(),
    });
    for (number, listening) in listening {
        let acceptor = Acceptor::new(listening, Rc::clone(&admission))?;
        let (context, live, drain) = (Rc::clone(&context), Rc::clone(&live), drain.clone());
        spawn_local(async move {
            let accepting = live.enter();
            acceptor
                .run(drain, |stream, endpoints, admitted| {
                    let entered = live.enter();
                    let serve = connection::serve(stream, number, endpoints, Rc::clone(&context));
                    spawn_local(async move {
                        serve.await;
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
    control::tell_master(control.get_ref().as_fd(), ToMaster::Ready)?;
    obey(&control, &dispatch, &live, &start_drain).await
}

/// Does what the master says.
async fn obey(
    control: &Rc<AsyncFd<OwnedFd>>,
    dispatch: &Rc<Dispatch>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<Phase>,
) -> io::Result<()> {
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
            Some(ToCore::Worker(number, descriptors)) => {
                add_worker(control, dispatch, number, descriptors, false)?
            }
            Some(ToCore::Candidate(number, descriptors)) => {
                add_worker(control, dispatch, number, descriptors, true)?
            }
            Some(ToCore::Check(number, path)) => start_check(control, dispatch, number, path),
            Some(ToCore::Admit(number)) => dispatch.admit(number),
            Some(ToCore::Retire(number)) => dispatch.retire(number),
            Some(ToCore::Died(number)) => dispatch.worker_died(number),
            // Said twice, it means that nobody wants to wait.
            Some(ToCore::Drain | ToCore::GiveWay) if start_drain.borrow().is_last() => {
                dispatch.stop_workers();
                return Ok(());
            }
            Some(ToCore::Drain) => drain(control, dispatch, live, start_drain, Phase::Draining),
            Some(ToCore::GiveWay) => drain(control, dispatch, live, start_drain, Phase::GivingWay),
            Some(ToCore::Ping) => {
                control::tell_master(control.get_ref().as_fd(), ToMaster::Alive)?;
            }
            Some(ToCore::NoWorkers) => {
                dispatch.no_workers();
                if !start_drain.borrow().is_last() {
                    drain(control, dispatch, live, start_drain, Phase::Draining);
                }
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
    dispatch: &Rc<Dispatch>,
    live: &Rc<Live>,
    start_drain: &watch::Sender<Phase>,
    phase: Phase,
) {
    start_drain.send_replace(phase);
    let (control, dispatch) = (Rc::clone(control), Rc::clone(dispatch));
    let live = Rc::clone(live);
    spawn_local(async move {
        live.none().await;
        // First the word, or the master would replace the workers that leave. A master that is gone needs
        // no word: its absence ends the core.
        let _ = control::tell_master(control.get_ref().as_fd(), ToMaster::Drained);
        dispatch.stop_workers();
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
    number: u32,
    descriptors: Descriptors,
    candidate: bool,
) -> io::Result<()> {
    let end = Rc::new(CoreEnd::open(descriptors)?);
    dispatch.add_worker(number, Rc::clone(&end), candidate);
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
