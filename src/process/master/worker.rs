//! A worker, as the master knows it.

use std::time::Instant;

use nix::unistd::Pid;

use super::super::backtrace::BacktraceRequest;
use super::super::last_words::LastWordsReader;

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) pid: Pid,
    /// Its generation: each reload begins a new one.
    pub(super) generation: u32,
    /// It is tried before it gets requests.
    pub(super) candidate: bool,
    pub(super) state: State,
    /// Where it says why it can't begin, until it has begun.
    pub(super) words: Option<LastWordsReader>,
    /// How it ends, if it has a limited time for that.
    pub(super) ending: Option<Ending>,
}

/// The state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It loads the app.
    Loading,
    /// It answers `check_path`.
    Checking,
    /// It waits for the others that are tried.
    Passed,
    /// It gets requests.
    Serving,
    /// It was told to leave.
    Leaving,
}

impl Worker {
    /// Whether it is tried, and no client's request comes to it yet.
    pub(super) fn is_candidate(&self) -> bool {
        self.candidate && !matches!(self.state, State::Serving | State::Leaving)
    }
}

/// How a worker ends.
#[derive(Debug)]
pub(super) enum Ending {
    /// It has said that it leaves, and is killed if it is still there at this time.
    Leaving(Instant),
    /// Nobody waits for it: it is killed without a word if it is still there at this time.
    Abandoned(Instant),
    /// It makes no progress, and is being killed.
    Hung(BacktraceRequest),
}

impl Ending {
    pub(super) fn until(&self) -> Instant {
        match self {
            Ending::Leaving(until) | Ending::Abandoned(until) => *until,
            Ending::Hung(hung) => hung.until(),
        }
    }
}
