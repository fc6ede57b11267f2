//! One worker: its stage, the calls that it holds, and how quick it is.
//!
//! A busy worker may hold calls that wait for the one being served, so that it need not wait for the core between two of
//! them. A call that it has not claimed can be taken back.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::call::Call;
use super::exchange::{Event, InFlight, Place};
use super::workers::UNCLAIMED;
use crate::channel::claim::SLOTS;
use crate::channel::core_end::CoreEnd;

/// Calls that one worker holds at most, the one being served included.
const MOST: usize = 32;

/// Work that may wait at one worker, in microseconds by its mean.
const AHEAD_MICROS: f32 = 400.0;

/// Where calls take longer than this, none waits at a worker: nothing is gained in comparison.
const QUICK_MICROS: f32 = 10_000.0;

/// What a worker is taken for that has not shown yet how quick it is.
const UNKNOWN_MICROS: f32 = 2000.0;

/// A call that takes longer than this, and much longer than the others of its worker, is slow.
const LONG_CALL: Duration = Duration::from_millis(1);

/// A worker's stage of life. It serves calls while it is `Serving`, and holds what it has begun in the stages after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It loads its app.
    Loading,
    /// It gets no call but its check before it is admitted.
    Candidate { loaded: bool },
    /// It takes calls.
    Serving,
    /// It takes no more calls.
    Leaving,
    /// It makes no progress and is being killed.
    Hung,
}

/// Responses that are not complete, by the ids of their requests. Ids grow: the oldest is in front, and most often the one
/// that is sought.
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

    fn remove(&mut self, id: u64) -> Option<Rc<InFlight>> {
        let (_, state) = self.0.remove(self.at(id)?)?;
        Some(state)
    }
}

/// A call that a worker holds.
#[derive(Debug)]
struct Held {
    id: u64,
    call: Call,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its process.
    pid: i32,
    pub(super) end: Rc<CoreEnd>,
    pub(super) stage: Stage,
    /// Calls that are not over, in the order in which it serves them.
    held: VecDeque<Held>,
    /// Responses that are not complete; those of writers that the app keeps beyond the call are among them.
    open: Open,
    last_id: u64,
    /// Most calls that it held at a time since it was last idle.
    most: usize,
    /// When the first call began: when it was sent to an idle worker, or when the call before it ended.
    since: Instant,
    /// The last sign of progress, as far as calls are timed.
    progress: Instant,
    /// How long a call takes, as a moving mean, in microseconds.
    mean: f32,
}

impl Worker {
    pub(super) fn new(pid: i32, end: Rc<CoreEnd>, stage: Stage) -> Self {
        let now = super::now();
        Worker {
            pid,
            end,
            stage,
            held: VecDeque::new(),
            open: Open::default(),
            last_id: 0,
            most: 0,
            since: now,
            progress: now,
            mean: UNKNOWN_MICROS,
        }
    }

    /// Whether it can take a call and has none.
    pub(super) fn is_idle(&self) -> bool {
        self.stage == Stage::Serving && self.held.is_empty() && !self.is_starved()
    }

    /// Whether writers that its app keeps hold all slots of the channel.
    pub(super) fn is_starved(&self) -> bool {
        self.open.0.len() >= SLOTS
    }

    /// How many calls wait for the one being served.
    pub(super) fn waiting(&self) -> usize {
        self.held.len().saturating_sub(1)
    }

    /// The calls that wait for the one being served, in order.
    pub(super) fn waiting_calls(&self) -> impl Iterator<Item = &Call> {
        self.held.iter().skip(1).map(|held| &held.call)
    }

    /// The calls among these that it has not claimed.
    #[cfg(test)]
    pub(super) fn waiting_unclaimed(&self) -> impl Iterator<Item = &Call> {
        let waiting = self.held.iter().skip(1);
        let unclaimed = waiting.filter(|held| !self.end.claims().is_claimed(held.id));
        unclaimed.map(|held| &held.call)
    }

    /// The call being served, or about to be.
    pub(super) fn first(&self) -> Option<&Call> {
        self.held.front().map(|held| &held.call)
    }

    /// When the first call began, if it is the only one.
    pub(super) fn only_call(&self) -> Option<Instant> {
        (self.held.len() == 1).then_some(self.since)
    }

    /// The response with this id, if it is not complete.
    pub(super) fn response(&self, id: u64) -> Option<&Rc<InFlight>> {
        self.open.get(id)
    }

    /// Whether its call takes so long that none should wait for its end.
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        let usual = Duration::from_micros((2.0 * self.mean) as u64);
        now.saturating_duration_since(self.since) >= LONG_CALL.max(usual)
    }

    /// Whether it has not begun with a call that it has had for a while. The env of the last call may be long in its
    /// destruction, or the process is stopped.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.is_unclaimed() && now.saturating_duration_since(self.since) >= UNCLAIMED
    }

    /// Whether it has not begun with its first call, which could be another worker's.
    pub(super) fn is_unclaimed(&self) -> bool {
        self.held
            .front()
            .is_some_and(|first| !first.call.is_pinned() && !self.end.claims().is_claimed(first.id))
    }

    /// How many calls it holds, if one more may wait at it.
    pub(super) fn load(&self, now: Instant) -> Option<usize> {
        let room = match self.mean {
            mean if mean > QUICK_MICROS => 1,
            mean => ((AHEAD_MICROS / mean) as usize).clamp(2, MOST),
        };
        let takes = self.stage == Stage::Serving && !self.is_starved();
        (takes && self.held.len() < room && !self.is_slow(now)).then_some(self.held.len())
    }

    /// Sends a call.
    ///
    /// # Errors
    /// When the channel is broken: the worker is dead or dying, and gets nothing any more.
    pub(super) fn send(&mut self, call: &Call, number: u32) -> io::Result<()> {
        let rests = self.held.is_empty();
        // If the last burst had more than one call, more are likely to arrive in this turn of the loop: the worker is woken
        // once for all of them.
        let later = !rests || self.most > 1;
        let id = self.next_id();
        let sent = match call {
            Call::Request(state) => self.end.send_request(id, &state.request, later),
            Call::Verify(question) => self.end.send_verify(id, &question.tls),
        };
        if let Err(error) = sent {
            self.end.claims().free(id);
            self.stage = Stage::Leaving;
            return Err(error);
        }
        if rests {
            self.since = super::now();
            self.most = 0;
        }
        if let Call::Request(state) = call {
            state.course.worker.set(Some((self.pid, id)));
            self.open.0.push_back((id, Rc::clone(state)));
        }
        call.set_place(Place::Worker { number, id });
        let call = call.clone();
        self.held.push_back(Held { id, call });
        self.most = self.most.max(self.held.len());
        Ok(())
    }

    /// An id whose slot is free. [`is_starved`](Self::is_starved) says whether there is one.
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        while !self.end.claims().is_free(self.last_id) {
            self.last_id += 1;
        }
        self.last_id
    }

    /// Notes that it is ready for a call: it has loaded its app, or its first call is over. Returns whether it has loaded its
    /// app just now.
    pub(super) fn ready(&mut self) -> bool {
        match self.stage {
            Stage::Loading => {
                self.stage = Stage::Serving;
                return true;
            }
            Stage::Candidate { loaded: false } => {
                self.stage = Stage::Candidate { loaded: true };
                return true;
            }
            Stage::Candidate { loaded: true } | Stage::Serving | Stage::Leaving | Stage::Hung => {}
        }
        let Some(Held { id, .. }) = self.held.pop_front() else {
            return false;
        };
        if let Some(kept) = self.open.get(id) {
            kept.course.begun.set(Some(self.since));
            if kept.is_read() {
                kept.tell(Event::WriterKept);
            }
        }
        let now = super::now();
        let took = now.duration_since(self.since).as_secs_f32() * 1e6;
        self.since = now;
        self.mean += (took - self.mean) / 8.0;
        false
    }

    /// A candidate becomes a worker as any other.
    pub(super) fn admit(&mut self) {
        match self.stage {
            Stage::Candidate { loaded: true } => self.stage = Stage::Serving,
            Stage::Candidate { loaded: false } => self.stage = Stage::Loading,
            Stage::Loading | Stage::Serving | Stage::Leaving | Stage::Hung => {}
        }
    }

    /// It takes no more calls. Returns those that it has not claimed, the oldest first.
    pub(super) fn retire(&mut self) -> Vec<Call> {
        if self.stage != Stage::Hung {
            self.stage = Stage::Leaving;
        }
        self.take_back_all()
    }

    /// The response with this id is complete.
    pub(super) fn close(&mut self, id: u64, timed: bool) -> Option<Rc<InFlight>> {
        let state = self.open.remove(id)?;
        self.end.claims().free(id);
        self.note(id, &state, timed);
        Some(state)
    }

    /// The client of request `id` has all that it may get of the response.
    pub(super) fn complete(&self, id: u64, state: &InFlight, timed: bool) {
        self.note(id, state, timed);
        self.end.claims().set_complete(id);
    }

    /// Keeps the times of a response that is complete now.
    fn note(&self, id: u64, state: &InFlight, timed: bool) {
        if self.held.front().is_some_and(|first| first.id == id) {
            state.course.begun.set(Some(self.since));
        }
        if timed {
            state.course.over.set(Some(super::now()));
        }
    }

    /// The question with this id, which it has answered. Its call is over when it says that it is ready.
    pub(super) fn answered(&mut self, id: u64) -> Option<Call> {
        let first = self.held.front().filter(|first| first.id == id)?;
        if !matches!(first.call, Call::Verify(_)) {
            return None;
        }
        self.end.claims().free(id);
        Some(first.call.clone())
    }

    /// Notes a sign of progress: it has said something, or can go on.
    pub(super) fn heard(&mut self) {
        self.progress = super::now();
    }

    /// When its time for the first call is over, and nothing before that.
    pub(super) fn due(&self, timeout: Duration, now: Instant) -> Option<Instant> {
        let first = self.held.front()?;
        let judged = match first.call {
            Call::Request(_) => self.open.get(first.id).is_some_and(|s| !s.is_excused()),
            Call::Verify(_) => true,
        };
        let from = match judged {
            true => self.since.max(self.progress),
            false => now,
        };
        Some(from + timeout)
    }

    /// Takes back one call; false if the worker has claimed it.
    pub(super) fn revoke(&mut self, id: u64) -> bool {
        let revoked = self.end.claims().revoke(id);
        if revoked {
            self.held.retain(|held| held.id != id);
            self.open.remove(id);
        }
        revoked
    }

    /// Takes back at most `most` of the calls that wait, those that came last. Returns the oldest first.
    pub(super) fn take_back(&mut self, most: usize) -> Vec<Call> {
        let mut taken = Vec::new();
        while taken.len() < most && self.waiting() > 0 {
            let Some(last) = self.held.back() else { break };
            let (id, call) = (last.id, last.call.clone());
            if !self.revoke(id) {
                break;
            }
            taken.push(call);
        }
        taken.reverse();
        taken
    }

    /// Takes back all calls that it has not claimed, the oldest first.
    pub(super) fn take_back_all(&mut self) -> Vec<Call> {
        let mut taken = self.take_back(usize::MAX);
        if let Some(first) = self.held.front() {
            let (id, call) = (first.id, first.call.clone());
            if self.revoke(id) {
                taken.insert(0, call);
            }
        }
        taken
    }

    /// What a dead worker leaves: calls and responses, each with whether the worker had claimed it, the oldest first.
    pub(super) fn into_left(self) -> Vec<(Call, bool)> {
        let claims = self.end.claims();
        let responses = self.open.0.into_iter();
        let mut left: Vec<_> = responses
            .map(|(id, state)| (Call::Request(state), claims.is_claimed(id)))
            .collect();
        let questions = self
            .held
            .into_iter()
            .filter(|held| matches!(held.call, Call::Verify(_)));
        left.extend(questions.map(|held| (held.call, false)));
        left
    }
}
