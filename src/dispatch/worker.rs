//! What the core knows of one worker: the requests that it holds, and how quick it is.
//!
//! A quick worker is sent some requests ahead, so that it need not wait for the core between two of them. What it has
//! not claimed can be taken back.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::exchange::InFlight;
use super::verify::Question;
use crate::channel::claim::SLOTS;
use crate::channel::core_end::CoreEnd;
use crate::semantics::message::Content;

/// Requests that one worker holds at most, the one in work among them.
const MOST: usize = 32;

/// Work that may wait at one worker, in microseconds by its mean: an idle one could have taken it meanwhile.
const AHEAD_MICROS: f32 = 400.0;

/// What a worker is taken for that has not shown yet how quick it is.
const UNKNOWN_MICROS: f32 = 2000.0;

/// A call of the app that takes longer than this keeps nobody else waiting.
const LONG_CALL: Duration = Duration::from_millis(1);

/// Requests by their ids, which grow: the oldest is in front, and most often the one that is sought.
#[derive(Debug, Default)]
pub(super) struct Open(VecDeque<(u64, Rc<InFlight>)>);

impl Open {
    fn at(&self, id: u64) -> Option<usize> {
        match self.0.front() {
            Some(&(first, _)) if first == id => Some(0),
            _ => self.0.binary_search_by_key(&id, |&(id, _)| id).ok(),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Rc<InFlight>> {
        self.at(id).map(|at| &self.0[at].1)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Rc<InFlight>> {
        let (_, state) = self.0.remove(self.at(id)?)?;
        Some(state)
    }

    /// All of them, the oldest first.
    pub(super) fn take(&mut self) -> impl DoubleEndedIterator<Item = (u64, Rc<InFlight>)> {
        std::mem::take(&mut self.0).into_iter()
    }
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its process.
    pid: i32,
    pub(super) end: Rc<CoreEnd>,
    /// Requests whose responses are not over; writers that the app keeps are among them.
    pub(super) open: Open,
    last_id: u64,
    /// Requests whose calls are not over, in their order: the first is in work, the others are ahead.
    pub(super) held: VecDeque<u64>,
    /// What it was asked, and the id, which is the first in `held`.
    asked: Option<(u64, Question)>,
    /// It has loaded its app, and its channel works.
    ready: bool,
    /// It may get requests: it is no candidate any more, and is not leaving.
    pub(super) admitted: bool,
    /// Its call takes long: nothing is sent ahead until it is idle again.
    slow: bool,
    /// Most requests that it held at a time since it was last idle.
    most: usize,
    /// When the call in work began.
    pub(super) since: Instant,
    /// The last sign of the call in work, as far as calls are timed.
    pub(super) progress: Instant,
    /// Its call has taken too long: it is being killed.
    pub(super) hung: bool,
    /// How long a call takes, as a moving mean, in microseconds.
    mean: f32,
}

impl Worker {
    pub(super) fn new(pid: i32, end: Rc<CoreEnd>, admitted: bool) -> Self {
        Worker {
            pid,
            end,
            open: Open::default(),
            last_id: 0,
            held: VecDeque::new(),
            asked: None,
            ready: false,
            admitted,
            slow: false,
            most: 0,
            since: Instant::now(),
            progress: Instant::now(),
            hung: false,
            mean: UNKNOWN_MICROS,
        }
    }

    /// Whether it serves, or can.
    pub(super) fn is_ready(&self) -> bool {
        self.ready && self.admitted
    }

    /// Whether it has nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.is_ready() && self.held.is_empty()
    }

    /// Whether writers that its app keeps hold all slots of the channel.
    pub(super) fn is_starved(&self) -> bool {
        self.open.0.len() >= SLOTS
    }

    /// How many requests it holds, if it may be sent one more ahead.
    pub(super) fn load(&self) -> Option<usize> {
        let room = (AHEAD_MICROS / self.mean) as usize;
        let free = self.ready && self.admitted && !self.slow && !self.is_starved();
        (free && self.held.len() < room.min(MOST)).then_some(self.held.len())
    }

    /// Whether requests wait behind the one in work.
    pub(super) fn has_ahead(&self) -> bool {
        self.held.len() > 1
    }

    /// When its call in work began, if nothing waits behind that.
    pub(super) fn only_call(&self) -> Option<Instant> {
        (!self.has_ahead()).then_some(self.since)
    }

    /// Sends a request; the id under which the worker has it.
    ///
    /// # Errors
    /// When the channel is broken: the worker is dead or dying, and gets nothing any more.
    pub(super) fn send(&mut self, state: &Rc<InFlight>) -> io::Result<u64> {
        self.last_id += 1;
        while !self.end.claims().is_free(self.last_id) {
            self.last_id += 1;
        }
        let id = self.last_id;
        let rests = self.held.is_empty();
        // Where it was last woken for more than one request, the others of now are about to be read: it is woken once for
        // all of them.
        let later = !rests || self.most > 1;
        if let Err(error) = self.end.send_request(id, &state.request, later) {
            self.end.claims().free(id);
            self.ready = false;
            return Err(error);
        }
        if rests {
            self.since = Instant::now();
            self.most = 0;
        }
        self.held.push_back(id);
        self.most = self.most.max(self.held.len());
        state.course.worker.set(Some((self.pid, id)));
        self.open.0.push_back((id, Rc::clone(state)));
        Ok(id)
    }

    /// Asks an idle worker for the app's verdict on a certificate. Returns the question's id.
    ///
    /// # Errors
    /// Gives the question back when the channel is broken.
    pub(super) fn ask(&mut self, question: Question) -> Result<u64, Question> {
        self.last_id += 1;
        if self.end.send_verify(self.last_id, &question.tls).is_err() {
            self.ready = false;
            return Err(question);
        }
        self.since = Instant::now();
        self.held.push_back(self.last_id);
        self.asked = Some((self.last_id, question));
        Ok(self.last_id)
    }

    /// The question of that id, which the worker has answered.
    pub(super) fn answered(&mut self, id: u64) -> Option<Question> {
        let (_, question) = self.asked.take_if(|(asked, _)| *asked == id)?;
        Some(question)
    }

    /// Whether it has not answered the question of that id.
    pub(super) fn is_asked(&self, id: u64) -> bool {
        matches!(self.asked, Some((asked, _)) if asked == id)
    }

    /// The question that it has not answered.
    pub(super) fn unanswered(&mut self) -> Option<Question> {
        self.asked.take().map(|(_, question)| question)
    }

    /// It has said that a call is over, or at first that it is ready. Returns whether it is the first time.
    pub(super) fn call_over(&mut self) -> bool {
        let first = !std::mem::replace(&mut self.ready, true);
        let Some(id) = self.held.pop_front() else {
            return first;
        };
        if let Some(kept) = self.open.get(id) {
            kept.course.begun.set(Some(self.since));
        }
        let now = Instant::now();
        let took = now.duration_since(self.since).as_secs_f32() * 1e6;
        self.since = now;
        self.mean += (took - self.mean) / 8.0;
        self.slow &= !self.held.is_empty();
        first
    }

    /// The response of request `id` is complete: takes it out of those that are open.
    pub(super) fn close(&mut self, id: u64, timed: bool) -> Option<Rc<InFlight>> {
        let state = self.open.remove(id)?;
        if self.held.front() == Some(&id) {
            state.course.begun.set(Some(self.since));
        }
        if timed {
            state.course.over.set(Some(Instant::now()));
        }
        Some(state)
    }

    /// It has said something, or can go on.
    pub(super) fn heard(&mut self) {
        self.progress = Instant::now();
    }

    /// Takes back what it has not claimed, the last one first, where its call takes long.
    pub(super) fn take_back(&mut self, now: Instant) -> Vec<Rc<InFlight>> {
        let mut taken = Vec::new();
        if now.duration_since(self.since) < LONG_CALL {
            return taken;
        }
        self.slow = true;
        while self.has_ahead() {
            let Some(&id) = self.held.back() else { break };
            if !self.revoke(id) {
                break;
            }
            taken.extend(self.open.remove(id));
        }
        taken
    }

    /// Nothing is sent to it any more. Returns what it had not claimed, the last one first.
    pub(super) fn retire(&mut self) -> Vec<Rc<InFlight>> {
        self.admitted = false;
        let held: Vec<_> = self.held.iter().rev().copied().collect();
        let unclaimed = held.into_iter().filter(|&id| self.revoke(id));
        let unclaimed: Vec<_> = unclaimed.collect();
        unclaimed
            .iter()
            .filter_map(|&id| self.open.remove(id))
            .collect()
    }

    /// Takes one request back; false where the worker has claimed it.
    pub(super) fn revoke(&mut self, id: u64) -> bool {
        let revoked = self.end.claims().revoke(id);
        if revoked {
            self.held.retain(|&held| held != id);
        }
        revoked
    }
}

/// A descriptor does not travel ahead: the worker might die with it unread.
pub(super) fn may_go_ahead(state: &InFlight) -> bool {
    !matches!(state.request.content, Content::File { .. })
}
