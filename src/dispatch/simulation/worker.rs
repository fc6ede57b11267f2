//! A worker of the simulation: its end of the channel, and what it is doing.

use std::rc::Rc;

use crate::channel::core_end::CoreEnd;
use crate::channel::raw::RawEnd;
use crate::channel::worker_end::WorkerEnd;

/// A response that a worker writes.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: u64,
    pub(super) token: u64,
    pub(super) head: bool,
    pub(super) sent: usize,
    pub(super) length: usize,
    pub(super) end: Ending,
}

/// What becomes of a response, or of its worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ending {
    Complete,
    Abort,
    /// The call ends, its writer does not.
    Keep,
    /// The call never ends.
    Hang,
    /// The worker dies.
    Die,
}

pub(super) enum Doing {
    Load,
    /// Waits for calls; not before so many steps have passed, as if an env were being destroyed.
    Wait(usize),
    Respond(Response),
    /// It does nothing until it is killed.
    Hang,
    /// It has said that it leaves.
    Left,
    /// It keeps no rule any more.
    Mad(Madness),
}

pub(super) struct Worker {
    pub(super) core: Rc<CoreEnd>,
    pub(super) end: WorkerEnd,
    /// The same end, for when it goes mad.
    pub(super) raw: RawEnd,
    pub(super) doing: Doing,
    pub(super) kept: Vec<Response>,
    /// Content that the core has not read, at most. A real worker waits when its socket is full.
    pub(super) unread: usize,
    pub(super) candidate: bool,
    /// A descriptor for it was lost: it will notice when it comes to that frame.
    pub(super) lost: bool,
}

impl Worker {
    pub(super) fn rests(&self) -> bool {
        self.kept.is_empty() && matches!(self.doing, Doing::Wait(0))
    }

    pub(super) fn is_mad(&self) -> bool {
        matches!(self.doing, Doing::Mad(_))
    }
}

/// How a worker is mad.
pub(super) struct Madness {
    /// Steps until it dies by itself.
    pub(super) steps: usize,
    /// It only speaks out of order: each frame is one that a worker might send.
    pub(super) mild: bool,
}

/// The token of a request for this target.
pub(super) fn token_of(target: &[u8]) -> u64 {
    std::str::from_utf8(&target[1..]).unwrap().parse().unwrap()
}
