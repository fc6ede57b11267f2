//! A worker that waits in an event loop of the app's: its calls overlap, and end when their responses do.
//!
//! The channel is a descriptor that the loop watches. Each time that it is readable the loop calls [`Looped::turn`], which
//! takes what is there and returns.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use super::{App, Budget, Called, LEAVE, Left, Shown, broken};
use crate::channel::respond::Respond;
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::process::signal;
use crate::scoreboard::WorkerState;
use crate::semantics::message::Request;

/// Messages that are taken in one turn: then the loop's other events have theirs.
const MOST: usize = 32;

/// What an event loop is to watch for a worker: a turn is due when one of them is readable.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The channel to the core.
    pub channel: RawFd,
    /// Signals, and messages that were read already.
    pub waker: RawFd,
}

/// What the event loop does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It goes on.
    GoOn,
    /// It stops: the worker leaves.
    Stop,
}

/// How the event loop came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// A turn has stopped it.
    Stopped,
    /// Its code called `exit` with this status.
    Exit(i32),
}

/// Where a byte makes the loop take a turn; -1 in a worker without a loop.
static WAKER: AtomicI32 = AtomicI32::new(-1);
/// There is such a byte.
static WOKEN: AtomicBool = AtomicBool::new(false);

/// Makes the loop take a turn soon; false where this worker has no loop. Async-signal-safe.
pub(super) fn wake_if_looped() -> bool {
    let waker = WAKER.load(Ordering::SeqCst);
    if waker >= 0 && !WOKEN.swap(true, Ordering::SeqCst) {
        signal::send(waker, b"w");
    }
    waker >= 0
}

fn wake() {
    wake_if_looped();
}

/// The two ends of what wakes the loop. There is one in a process.
struct Waker {
    reads: UnixStream,
    /// Its number is in [`WAKER`].
    _writes: UnixStream,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let (reads, writes) = UnixStream::pair()?;
        reads.set_nonblocking(true)?;
        WAKER.store(writes.as_raw_fd(), Ordering::SeqCst);
        Ok(Waker {
            reads,
            _writes: writes,
        })
    }

    /// What it was woken for is done by the caller from here on.
    fn clear(&self) {
        if WOKEN.load(Ordering::SeqCst) {
            // One byte at most, which may have gone already.
            let _ = (&self.reads).read(&mut [0; 8]);
            WOKEN.store(false, Ordering::SeqCst);
        }
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        WAKER.store(-1, Ordering::SeqCst);
        WOKEN.store(false, Ordering::SeqCst);
    }
}

/// How far a worker's life has come.
enum Stage {
    /// It takes requests.
    Serving,
    /// It takes no more, and leaves when its last response is ended.
    Finishing,
    /// The loop is to stop.
    Left(Left),
}

struct Looped<'a> {
    channel: &'a WorkerEnd,
    budget: Budget,
    shown: &'a mut Shown,
    waker: Waker,
    stage: Stage,
    /// It is shown as busy.
    busy: bool,
}

/// Serves requests in the app's event loop until the worker is to leave and has ended all of its responses.
pub(super) fn work(
    channel: &WorkerEnd,
    app: &mut dyn App,
    budget: Budget,
    shown: &mut Shown,
) -> Left {
    let waker = match Waker::new() {
        Ok(waker) => waker,
        Err(error) => return broken(&error),
    };
    let watched = Watched {
        channel: channel.socket(),
        waker: waker.reads.as_raw_fd(),
    };
    channel.notify_by(wake);
    channel.idle();
    shown.begin();
    shown.does(WorkerState::Idle);
    // A broken channel shows at the next read.
    let _ = channel.flush();
    // A signal may have come before there was a waker.
    wake();
    let mut looped = Looped {
        channel,
        budget,
        shown,
        waker,
        stage: Stage::Serving,
        busy: false,
    };
    match (
        app.run_loop(watched, &mut |app| looped.turn(app)),
        looped.stage,
    ) {
        (Ran::Exit(status), _) => Left::Exit(status),
        (Ran::Stopped, Stage::Left(left)) => left,
        // A panic in a turn: it was reported.
        (Ran::Stopped, Stage::Serving | Stage::Finishing) => Left::Exit(1),
    }
}

impl Looped<'_> {
    /// Takes what has come, and returns when there is no more.
    fn turn(&mut self, app: &mut dyn App) -> Turn {
        self.waker.clear();
        let mut taken = 0;
        while !matches!(self.stage, Stage::Left(_)) {
            if LEAVE.load(Ordering::SeqCst) {
                self.finish();
            }
            if taken == MOST {
                if self.channel.has_read_ahead() {
                    wake();
                }
                break;
            }
            taken += 1;
            match self.channel.try_next() {
                Ok(Some(incoming)) => self.take(incoming, app),
                Ok(None) => break,
                Err(error) => self.stage = Stage::Left(broken(&error)),
            }
        }
        let is_done = self.channel.open_responses() == 0;
        if is_done && matches!(self.stage, Stage::Finishing) {
            self.stage = Stage::Left(Left::Finished);
        }
        if is_done && self.busy && matches!(self.stage, Stage::Serving) {
            self.busy = false;
            self.shown.does(WorkerState::Idle);
        }
        // A broken channel shows at the next read.
        let _ = self.channel.flush();
        match self.stage {
            Stage::Left(_) => Turn::Stop,
            Stage::Serving | Stage::Finishing => Turn::GoOn,
        }
    }

    fn take(&mut self, incoming: Incoming, app: &mut dyn App) {
        match incoming {
            Incoming::Request(id, request) => self.call(id, request, app),
            Incoming::Verify(id, tls) => match self.channel.claim_question(id) {
                Ok(true) => {
                    let verdict = app.verify(&tls);
                    self.channel.verdict(id, verdict == Ok(true));
                    match verdict {
                        Ok(_) => self.channel.idle(),
                        Err(status) => self.stage = Stage::Left(Left::Exit(status)),
                    }
                }
                Ok(false) => {}
                Err(violation) => self.stage = Stage::Left(broken(&violation.into())),
            },
            // The signals' handlers run after the turn.
            Incoming::Interrupted => {}
            Incoming::Stop => self.finish(),
            Incoming::Closed => self.stage = Stage::Left(Left::Finished),
        }
    }

    fn call(&mut self, id: u64, request: Request, app: &mut dyn App) {
        if matches!(self.stage, Stage::Finishing) {
            // Not claimed: it goes to another worker.
            return;
        }
        match self.channel.claim(id) {
            Ok(true) => {}
            Ok(false) => return,
            Err(violation) => {
                self.stage = Stage::Left(broken(&violation.into()));
                return;
            }
        }
        self.busy = true;
        self.shown.serves(&request.head);
        let last = self.budget.start_request();
        // Not said to be the last one: the worker says by itself that it leaves, while other calls go on.
        match app.call(id, request, false) {
            Called::Done if last || self.budget.is_exhausted() => self.finish(),
            Called::Done => {}
            Called::Leave => {
                self.finish();
                // Of this call nothing is to be done but its response.
                self.channel.idle();
            }
            Called::Exit(status) => self.stage = Stage::Left(Left::Exit(status)),
        }
    }

    /// Takes no more requests.
    fn finish(&mut self) {
        if matches!(self.stage, Stage::Serving) {
            self.stage = Stage::Finishing;
            self.shown.does(WorkerState::Leaving);
            self.channel.leaving();
        }
    }
}
