//! One worker: its stage, the calls that it holds, and how quick it is.
//!
//! A busy worker may hold calls that wait for the one being served, so that it need not wait for the core between two of
//! them. A call that it has not claimed can be taken back.

use std::collections::VecDeque;
use std::io;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use super::call::{Call, Question};
use super::event::Event;
use super::in_flight::{InFlight, Place};
use super::open::{Open, Response};
use crate::channel::claim::Claim;
use crate::channel::core_end::CoreEnd;
use crate::channel::progress::Progress;
use crate::channel::violation::Violation;
#[cfg(test)]
use crate::semantics::message::Request;

/// Calls that one worker holds at most, the one being served included.
const MOST: usize = 32;

/// Work that may wait at one worker, in microseconds by its mean.
const AHEAD_MICROS: f32 = 400.0;

/// Where calls take longer than this, none waits at a worker: nothing is gained in comparison.
const QUICK_MICROS: f32 = 10_000.0;

/// What a worker is taken for that has not shown yet how quick it is.
const UNKNOWN_MICROS: f32 = 2000.0;

/// How often a worker may ask to be woken within [`WAKE_TIME`].
const MOST_WAKES: u32 = 10_000;
const WAKE_TIME: Duration = Duration::from_secs(1);

/// A call that takes longer than this, and much longer than the others of its worker, is slow.
const LONG_CALL: Duration = Duration::from_millis(1);

/// A call that a worker leaves unclaimed for this long may be another worker's. Also how often the core looks at workers where
/// calls wait.
pub(super) const UNCLAIMED: Duration = Duration::from_millis(1);

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
    /// It has broken the rules of its channel and is being killed. Nothing that it says is taken any more.
    Broken(Violation),
}

/// A call of a worker that is lost.
#[derive(Debug)]
pub(super) struct LostCall {
    pub(super) call: Call,
    /// The worker has begun it. Otherwise it goes to another one.
    pub(super) has_failed: bool,
}

/// A call that a worker holds.
#[derive(Debug)]
struct HeldCall {
    id: u64,
    call: Call,
    /// It was a question, and has its answer.
    answered: bool,
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    /// Its process.
    pid: i32,
    pub(super) end: Rc<CoreEnd>,
    pub(super) stage: Stage,
    /// Calls that are not over, in the order in which it serves them.
    held: VecDeque<HeldCall>,
    /// Responses that are not complete; those of responders and writers that the app keeps beyond the call are among them.
    open: Open,
    /// How many may be open.
    most_open: usize,
    /// The last request that was taken from it as not begun while it was the first, and its id.
    lost: Option<(u64, Weak<InFlight>)>,
    /// It has said that it is ready, for the first time.
    loaded: bool,
    /// It has said that it leaves.
    said_leaving: bool,
    /// How often it has asked to be woken, and since when.
    wakes: (u32, Instant),
    /// Most calls that it held at a time since it was last idle.
    most: usize,
    /// When the first call began: when it was sent to an idle worker, or when the call before it ended.
    since: Instant,
    /// The last sign of progress, as far as calls are timed.
    progress: Instant,
    /// Since when it owes an answer to the question whether its event loop turns.
    asked: Option<Instant>,
    /// How long a call takes, as a moving mean, in microseconds.
    mean: f32,
}

impl Worker {
    pub(super) fn new(pid: i32, end: Rc<CoreEnd>, stage: Stage, most_open: usize) -> Self {
        let now = super::now();
        Worker {
            pid,
            end,
            stage,
            held: VecDeque::new(),
            open: Open::default(),
            most_open,
            lost: None,
            loaded: false,
            said_leaving: false,
            wakes: (0, now),
            most: 0,
            since: now,
            progress: now,
            asked: None,
            mean: UNKNOWN_MICROS,
        }
    }

    /// Whether it can take a call and has none.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Serving) && self.held.is_empty() && !self.is_starved()
    }

    /// Whether it is a candidate that has loaded its app and has no call.
    pub(super) fn can_be_checked(&self) -> bool {
        matches!(self.stage, Stage::Candidate { loaded: true }) && self.held.is_empty()
    }

    /// Whether it has as many open responses as it may, or writers that its app keeps hold all slots of the channel.
    pub(super) fn is_starved(&self) -> bool {
        self.open.len() >= self.most_open || self.end.is_full()
    }

    /// How many responses are not complete.
    pub(super) fn open_responses(&self) -> usize {
        self.open.len()
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
        let unclaimed = waiting.filter(|held| self.end.claim(held.id) == Claim::Offered);
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
    #[cfg(test)]
    pub(super) fn response(&self, id: u64) -> Option<&Rc<InFlight>> {
        self.open.get(id).map(|open| &open.state)
    }

    /// The requests whose responses are not complete.
    #[cfg(test)]
    pub(super) fn open_requests(&self) -> impl Iterator<Item = (u64, &Request)> {
        self.open.iter().map(|open| (open.id, &open.state.request))
    }

    /// The response with this id, of which the worker has sent another part: `step` judges whether it may come now.
    ///
    /// # Errors
    /// When there is no such response, the worker has not claimed its request, or `step` says no.
    pub(super) fn advance(
        &self,
        id: u64,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<&Rc<InFlight>, Violation> {
        let open = self.open.get(id).ok_or(Violation::NotOpen(id))?;
        open.advance(&self.end, step)?;
        Ok(&open.state)
    }

    /// Allows it to send this many more bytes of content.
    pub(super) fn give_credit(&self, id: u64, amount: u64) -> io::Result<()> {
        if let Some(open) = self.open.get(id) {
            open.add_credit(amount);
        }
        self.end.send_credit(id, amount)
    }

    /// It has broken a rule of its channel.
    pub(super) fn breaks(&mut self, violation: Violation) {
        if self.is_broken() {
            return;
        }
        self.stage = Stage::Broken(violation);
        self.end.close();
        // It answers what it has lost: it has run that, and had forged that it had not begun.
        if let Some((id, state)) = self.lost.take()
            && violation == Violation::NotOpen(id)
            && let Some(state) = state.upgrade()
        {
            state.is_suspect.set(true);
        }
    }

    /// Whether nothing that it says is taken any more.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.stage, Stage::Broken(_))
    }

    /// Which rule it has broken.
    pub(super) fn violation(&self) -> Option<Violation> {
        match self.stage {
            Stage::Broken(violation) => Some(violation),
            _ => None,
        }
    }

    /// It has said that it leaves.
    ///
    /// # Errors
    /// When it has said so before.
    pub(super) fn leaves(&mut self) -> Result<(), Violation> {
        match std::mem::replace(&mut self.said_leaving, true) {
            true => Err(Violation::SecondLeaving),
            false => Ok(()),
        }
    }

    /// It asks to be woken. A signal does that, so it may be often, but not without pause.
    ///
    /// # Errors
    /// When it asks too often.
    pub(super) fn wakes(&mut self) -> Result<(), Violation> {
        let now = super::now();
        if now.saturating_duration_since(self.wakes.1) >= WAKE_TIME {
            self.wakes = (0, now);
        }
        self.wakes.0 += 1;
        match self.wakes.0 > MOST_WAKES {
            true => Err(Violation::Wakes),
            false => Ok(()),
        }
    }

    /// Whether it holds calls, or responses that are not complete, and what it says is still taken.
    pub(super) fn holds_calls(&self) -> bool {
        !self.is_broken() && self.holds_any()
    }

    fn holds_any(&self) -> bool {
        !self.held.is_empty() || !self.open.is_empty()
    }

    /// Which rule it has broken in the claim words of what it holds.
    pub(super) fn audit(&self) -> Option<Violation> {
        let questions = self.held.iter().filter(|held| !held.answered);
        let questions = questions.filter(|held| matches!(held.call, Call::Verify(_)));
        let mut ids = self.open.ids().chain(questions.map(|held| held.id));
        let overwritten = ids.find(|&id| self.end.claim(id) == Claim::Overwritten);
        overwritten.map(Violation::ClaimOverwritten)
    }

    /// Whether its call takes so long that none should wait for its end.
    pub(super) fn is_slow(&self, now: Instant) -> bool {
        let took = now.saturating_duration_since(self.since);
        took >= LONG_CALL && took.as_secs_f32() * 1e6 >= 2.0 * self.mean
    }

    /// Whether it has not begun with a call that it has had for a while. The env of the last call may be long in its
    /// destruction, or the process is stopped.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        self.is_unclaimed() && now.saturating_duration_since(self.since) >= UNCLAIMED
    }

    /// Whether it has not begun with its first call, which could be another worker's.
    pub(super) fn is_unclaimed(&self) -> bool {
        let Some(first) = self.held.front().filter(|first| first.call.may_move()) else {
            return false;
        };
        // An overwritten claim word shows when the call is taken back.
        self.may_be_unclaimed(first.id) && self.end.claim(first.id) != Claim::Claimed
    }

    /// Whether a call may be without its worker's claim, as far as the core knows without a look at the claim word: its worker has
    /// not begun its response, nor answered it, nor ended it.
    fn may_be_unclaimed(&self, id: u64) -> bool {
        match self.open.get(id) {
            Some(open) => !open.is_begun(),
            None => self.held.iter().any(|held| {
                held.id == id && !held.answered && matches!(held.call, Call::Verify(_))
            }),
        }
    }

    /// How many calls it holds, if one more may wait at it.
    pub(super) fn load(&self, now: Instant) -> Option<usize> {
        let held = self.held.len();
        let has_room = match held {
            0 => true,
            _ if self.mean > QUICK_MICROS => false,
            1 => true,
            _ => held < MOST && (held + 1) as f32 * self.mean <= AHEAD_MICROS,
        };
        let takes = matches!(self.stage, Stage::Serving) && !self.is_starved();
        (takes && has_room && !self.is_slow(now)).then_some(held)
    }

    /// Sends a call, now.
    ///
    /// # Errors
    /// When the channel is broken: the worker is dead or dying, and gets nothing any more.
    pub(super) fn send(&mut self, call: &Call, number: u32, now: Instant) -> io::Result<()> {
        let rests = self.held.is_empty();
        // If the last burst had more than one call, more are likely to arrive in this turn of the loop: the worker is woken
        // once for all of them.
        let later = !rests || self.most > 1;
        let Some(id) = self.end.next_id() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let sent = match call {
            Call::Request(state) => self.end.send_request(id, state, later),
            Call::Verify(question) => self.end.send_verify(id, &question.tls),
        };
        if let Err(error) = sent {
            self.end.forget(id);
            self.stage = Stage::Leaving;
            return Err(error);
        }
        if rests {
            self.since = now;
            self.most = 0;
        }
        if let Call::Request(state) = call {
            state.course.worker.set(Some((self.pid, id)));
            self.open.push(Response::new(id, state));
        }
        call.set_place(Place::Worker { number, id });
        let call = call.clone();
        self.held.push_back(HeldCall {
            id,
            call,
            answered: false,
        });
        self.most = self.most.max(self.held.len());
        Ok(())
    }

    /// Notes that it is ready for a call: it has loaded its app, or its first call is over. Returns whether it has loaded its
    /// app just now.
    ///
    /// # Errors
    /// When it has no call, or one that it has not claimed or not answered.
    pub(super) fn ready(&mut self, now: Instant) -> Result<bool, Violation> {
        if !std::mem::replace(&mut self.loaded, true) {
            match self.stage {
                Stage::Loading => self.stage = Stage::Serving,
                Stage::Candidate { .. } => self.stage = Stage::Candidate { loaded: true },
                // It was told to leave meanwhile.
                Stage::Serving | Stage::Leaving | Stage::Hung | Stage::Broken(_) => {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        let Some(first) = self.held.front() else {
            return self.ready_without_call();
        };
        let id = first.id;
        match &first.call {
            Call::Verify(_) if !first.answered => return Err(Violation::IdleWithoutCall),
            Call::Verify(_) => {}
            Call::Request(_) => {
                if let Some(kept) = self.open.get(id) {
                    if !kept.is_begun() && self.end.claim(id) != Claim::Claimed {
                        return Err(Violation::NotClaimed(id));
                    }
                    kept.state.course.begun.set(Some(self.since));
                    if kept.state.is_read() {
                        kept.state.tell(Event::WriterKept);
                    }
                }
            }
        }
        self.held.pop_front();
        let took = now.duration_since(self.since).as_secs_f32() * 1e6;
        self.since = now;
        self.mean += (took - self.mean) / 8.0;
        Ok(false)
    }

    /// A worker that was given up may become ready once more, with the call that was taken from it.
    fn ready_without_call(&mut self) -> Result<bool, Violation> {
        match self.stage {
            Stage::Hung => Ok(false),
            _ => Err(Violation::IdleWithoutCall),
        }
    }

    /// A candidate becomes a worker as any other.
    pub(super) fn admit(&mut self) {
        match self.stage {
            Stage::Candidate { loaded: true } => self.stage = Stage::Serving,
            Stage::Candidate { loaded: false } => self.stage = Stage::Loading,
            Stage::Loading | Stage::Serving | Stage::Leaving | Stage::Hung | Stage::Broken(_) => {}
        }
    }

    /// It takes no more calls. Returns those that it has not claimed, the oldest first.
    pub(super) fn retire(&mut self) -> Vec<Call> {
        if !matches!(self.stage, Stage::Hung | Stage::Broken(_)) {
            self.stage = Stage::Leaving;
        }
        self.take_back_all()
    }

    /// The worker has ended the response with this id: `step` judges whether it may.
    ///
    /// # Errors
    /// As [`advance`](Self::advance), and when the claim word was overwritten.
    pub(super) fn close(
        &mut self,
        id: u64,
        timed: bool,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<Rc<InFlight>, Violation> {
        let open = self.open.close(id, &self.end, step)?;
        self.note(id, &open.state, timed);
        Ok(open.state)
    }

    /// The client of request `id` has all that it may get of the response.
    pub(super) fn complete(&self, id: u64, state: &InFlight, timed: bool) {
        self.note(id, state, timed);
        self.end.set_complete(id);
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
    ///
    /// # Errors
    /// When it has no such question, or has not claimed it.
    pub(super) fn answered(&mut self, id: u64) -> Result<Rc<Question>, Violation> {
        match self.held.front_mut() {
            Some(HeldCall {
                id: asked,
                call: Call::Verify(question),
                answered: answered @ false,
            }) if *asked == id => {
                *answered = true;
                self.end.free(id)?;
                Ok(Rc::clone(question))
            }
            _ => Err(Violation::UnaskedVerdict(id)),
        }
    }

    /// Asks whether its event loop turns, where others wait for that and it owes no answer.
    pub(super) fn ask(&mut self, now: Instant) {
        let is_asked = matches!(self.stage, Stage::Serving | Stage::Leaving);
        if is_asked && self.holds_any() && self.asked.is_none() && self.end.send_ask().is_ok() {
            self.asked = Some(now);
        }
    }

    /// Since when it owes an answer to that.
    pub(super) fn asked(&self) -> Option<Instant> {
        self.asked
    }

    /// Its event loop has turned.
    ///
    /// # Errors
    /// When nobody has asked.
    pub(super) fn turned(&mut self) -> Result<(), Violation> {
        self.asked.take().map(drop).ok_or(Violation::UnaskedTurn)
    }

    /// Notes a sign of progress: it has said something, or can go on.
    pub(super) fn heard(&mut self) {
        self.progress = super::now();
    }

    /// When its time for the first call is over, and nothing before that.
    pub(super) fn due(&self, timeout: Duration, now: Instant) -> Option<Instant> {
        let first = self.held.front()?;
        let judged = match first.call {
            Call::Request(_) => {
                let open = self.open.get(first.id);
                open.is_some_and(|open| !open.state.is_excused())
            }
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
        if !self.may_be_unclaimed(id) {
            return false;
        }
        match self.end.revoke(id) {
            Claim::Offered => {
                self.held.retain(|held| held.id != id);
                self.open.remove(id);
                true
            }
            Claim::Claimed => false,
            Claim::Overwritten => {
                self.breaks(Violation::ClaimOverwritten(id));
                false
            }
        }
    }

    /// Takes back at most `most` of the calls that wait, those that came last. Returns the oldest first.
    pub(super) fn take_back(&mut self, most: usize) -> Vec<Call> {
        let mut taken = Vec::new();
        while taken.len() < most && self.waiting() > 0 {
            let Some(last) = self.held.back() else { break };
            let (id, call) = (last.id, last.call.clone());
            if !self.revoke(id) {
                self.check_claim_order(id);
                break;
            }
            taken.push(call);
        }
        taken.reverse();
        taken
    }

    /// A worker claims calls in the order in which they were sent: where it has claimed `id`, it has claimed all before it. Without
    /// this check the calls before a forged claim would wait there as long as its first call takes.
    fn check_claim_order(&mut self, id: u64) {
        let mut before = self.held.iter().take_while(|held| held.id != id);
        if before.any(|held| self.end.claim(held.id) == Claim::Offered) {
            self.breaks(Violation::ClaimOrder(id));
        }
    }

    /// Takes back all calls that it has not claimed, the oldest first.
    pub(super) fn take_back_all(&mut self) -> Vec<Call> {
        let mut taken = self.take_back(usize::MAX);
        if let Some(first) = self.held.front()
            && (first.call.is_pinned() || first.call.may_move())
        {
            let (id, call) = (first.id, first.call.clone());
            if self.revoke(id) {
                if let Call::Request(state) = &call {
                    self.lost = Some((id, Rc::downgrade(state)));
                }
                taken.insert(0, call);
            }
        }
        taken
    }

    /// Takes all that a worker holds which is dead, or whose word counts no more: calls and responses, each with whether it has
    /// failed, the oldest first. What can be taken back was not run. A broken worker may have forged that of its first call.
    pub(super) fn take_all(&mut self) -> Vec<LostCall> {
        let mut lost = Vec::new();
        let held = std::mem::take(&mut self.held);
        for open in self.open.take() {
            let was_suspect = open.state.is_suspect.get();
            let is_first = held.front().is_some_and(|first| first.id == open.id);
            open.state
                .is_suspect
                .set(was_suspect || is_first && self.is_broken());
            let taken_back = !open.is_begun() && self.end.revoke(open.id) == Claim::Offered;
            lost.push(LostCall {
                call: Call::Request(open.state),
                has_failed: was_suspect || !taken_back,
            });
        }
        let calls = held.into_iter().map(|held| held.call);
        let questions = calls.filter(|call| matches!(call, Call::Verify(_)));
        lost.extend(questions.map(|call| LostCall {
            call,
            has_failed: false,
        }));
        lost
    }
}
