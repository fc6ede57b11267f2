//! What a worker shows of itself: its record on the scoreboard, and its title in ps(1).

use crate::process::title::Title;
use crate::scoreboard::{Seat, WorkerState};
use crate::semantics::message::RequestHead;

/// Where a worker shows what it does; each may be missing.
#[derive(Debug, Default)]
pub struct Shown {
    /// Its record on the scoreboard.
    pub seat: Option<Seat>,
    /// Its title.
    pub title: Option<Title>,
}

impl Shown {
    /// The app is loaded.
    pub(super) fn begin(&mut self) {
        if let Some(title) = &mut self.title {
            title.claim();
        }
    }

    /// What the worker does from now on.
    pub(super) fn does(&mut self, state: WorkerState) {
        if let Some(seat) = &self.seat {
            seat.does(state);
        }
        if let Some(title) = &mut self.title {
            match state {
                WorkerState::Idle => title.show(&[b"listening"]),
                WorkerState::Leaving => title.show(&[b"leaving"]),
                WorkerState::Loading | WorkerState::Busy => {}
            }
        }
    }

    /// It has this request. Its query is not shown: it may hold what others must not read.
    pub(super) fn serves(&mut self, head: &RequestHead) {
        if let Some(seat) = &self.seat {
            seat.serves(head);
        }
        if let Some(title) = &mut self.title {
            let path = head.target().split(|&byte| byte == b'?').next();
            title.show(&[b"serving", head.method(), path.unwrap_or_default()]);
        }
    }
}
