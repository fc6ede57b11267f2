//! Claim words: whether a worker may run a request is decided by one compare-and-swap in shared memory.
//!
//! A word holds the request's id and its state, so that a slot can be reused without confusion. A worker
//! claims a request just before it calls the app, never on reading: what a dead worker had not claimed
//! was not run and may go to another, whatever its method.
//!
//! Which slots are in use is the core's own knowledge ([`Slots`]), and a word that holds what neither side has written is never
//! taken for a state.

#![forbid(unsafe_code)]

use std::cell::Cell;

use super::sync::{self, AtomicU64, Ordering};

/// Slots of a channel: the requests that one worker may hold at a time, almost all of them by writers that its
/// app keeps beyond the call.
pub const SLOTS: usize = sync::SLOTS;

const FREE: u64 = 0;
const SENT: u64 = 1;
const CLAIMED: u64 = 2;
const GONE: u64 = 0x80;
const COMPLETE: u64 = 0x40;
/// Bits beside the state.
const MARKS: u64 = GONE | COMPLETE;
/// Ids are 56 bits wide; at a million requests a second a channel has enough for two thousand years.
const ID_SHIFT: u32 = 8;

/// The claim words of one channel. Memory that is all zeros is without any request.
#[derive(Debug)]
#[repr(C)]
pub struct Claims {
    words: [AtomicU64; SLOTS],
}

impl Default for Claims {
    fn default() -> Self {
        Claims {
            words: std::array::from_fn(|_| AtomicU64::new(FREE)),
        }
    }
}

/// The state of a request that the core has offered and not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The worker has not claimed it.
    Offered,
    /// The worker has claimed it.
    Claimed,
    /// Neither side has written that.
    Overwritten,
}

/// What a client still takes of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// What there is.
    Reads,
    /// Nothing: all content that the response may have was written.
    Complete,
    /// Nothing: it has left.
    Gone,
}

/// What became of an attempt to claim a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// It is this worker's.
    Yes,
    /// The core has taken it back.
    TakenBack,
    /// The word holds what the core never writes.
    Overwritten,
}

impl Claims {
    fn word(&self, id: u64) -> &AtomicU64 {
        &self.words[id as usize % SLOTS]
    }

    /// Core: request `id` is being sent to the worker.
    pub fn offer(&self, id: u64) {
        self.word(id)
            .store(id << ID_SHIFT | SENT, Ordering::Release);
    }

    /// Worker: takes request `id` to run it. It must not be run unless this says yes.
    pub fn claim(&self, id: u64) -> Claimed {
        let word = self.word(id);
        let mut seen = word.load(Ordering::Acquire);
        while seen & !MARKS == id << ID_SHIFT | SENT {
            let claimed = id << ID_SHIFT | CLAIMED | seen & MARKS;
            match word.compare_exchange_weak(seen, claimed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Claimed::Yes,
                Err(now) => seen = now,
            }
        }
        // The slot is free, or offered to a later request.
        let state = seen & !MARKS & ((1 << ID_SHIFT) - 1);
        let later =
            seen >> ID_SHIFT > id && (seen >> ID_SHIFT) as usize % SLOTS == id as usize % SLOTS;
        match seen & !MARKS == FREE || later && state == SENT {
            true => Claimed::TakenBack,
            false => Claimed::Overwritten,
        }
    }

    /// Core: takes request `id` back, unless the worker has claimed it. Returns what it was.
    pub fn revoke(&self, id: u64) -> Claim {
        let word = self.word(id);
        let mut seen = word.load(Ordering::Acquire);
        while Self::state(seen, id) == Claim::Offered {
            match word.compare_exchange_weak(seen, FREE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => seen = now,
            }
        }
        Self::state(seen, id)
    }

    /// Core: what the word of request `id` says.
    pub fn look(&self, id: u64) -> Claim {
        Self::state(self.word(id).load(Ordering::Acquire), id)
    }

    fn state(word: u64, id: u64) -> Claim {
        match (word & !MARKS) ^ (id << ID_SHIFT) {
            SENT => Claim::Offered,
            CLAIMED => Claim::Claimed,
            _ => Claim::Overwritten,
        }
    }

    /// Core: the client of request `id` has left.
    pub fn set_gone(&self, id: u64) {
        self.word(id).fetch_or(GONE, Ordering::AcqRel);
    }

    /// Worker: what the client of request `id` still takes.
    pub fn client(&self, id: u64) -> Client {
        let word = self.word(id).load(Ordering::Relaxed);
        match word & MARKS {
            0 => Client::Reads,
            _ if word >> ID_SHIFT != id => Client::Reads,
            marks if marks & GONE != 0 => Client::Gone,
            _ => Client::Complete,
        }
    }

    /// Core: all content that the response of request `id` may have was written.
    pub fn set_complete(&self, id: u64) {
        self.word(id).fetch_or(COMPLETE, Ordering::AcqRel);
    }

    /// Core: request `id` is over; its slot is free. Returns what the word said.
    pub fn free(&self, id: u64) -> Claim {
        Self::state(self.word(id).swap(FREE, Ordering::AcqRel), id)
    }

    /// Writes what neither side would write.
    #[cfg(test)]
    pub(crate) fn scribble(&self, slot: usize, word: u64) {
        self.words[slot % SLOTS].store(word, Ordering::Release);
    }
}

const BITS: usize = u64::BITS as usize;

/// The slots that hold a request, as the core knows it: no worker can write that.
#[derive(Debug)]
pub struct Slots {
    used: [Cell<u64>; SLOTS.div_ceil(BITS)],
    /// The number of taken slots.
    count: Cell<usize>,
    /// The last id that was handed out.
    last: Cell<u64>,
}

impl Default for Slots {
    fn default() -> Self {
        Slots {
            used: std::array::from_fn(|_| Cell::new(0)),
            count: Cell::new(0),
            last: Cell::new(0),
        }
    }
}

impl Slots {
    fn bit(&self, id: u64) -> (&Cell<u64>, u64) {
        let slot = id as usize % SLOTS;
        (&self.used[slot / BITS], 1 << (slot % BITS))
    }

    /// Whether all are taken.
    pub fn is_full(&self) -> bool {
        self.count.get() == SLOTS
    }

    /// The next id whose slot is free, and takes that; `None` where all are taken.
    pub fn take(&self) -> Option<u64> {
        let last = self.last.get();
        let id = (last + 1..=last + SLOTS as u64).find(|&id| !self.holds(id))?;
        self.last.set(id);
        let (word, bit) = self.bit(id);
        word.set(word.get() | bit);
        self.count.set(self.count.get() + 1);
        Some(id)
    }

    /// Whether the slot of `id` is taken.
    fn holds(&self, id: u64) -> bool {
        let (word, bit) = self.bit(id);
        word.get() & bit != 0
    }

    /// The slot of `id` is free.
    pub fn give(&self, id: u64) {
        let (word, bit) = self.bit(id);
        if word.get() & bit != 0 {
            word.set(word.get() & !bit);
            self.count.set(self.count.get() - 1);
        }
    }

    /// Whether no slot is taken.
    #[cfg(test)]
    pub(crate) fn are_free(&self) -> bool {
        self.count.get() == 0 && self.used.iter().all(|word| word.get() == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_claimed_once_and_only_when_offered() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        assert_eq!(worker.claim(7), Claimed::TakenBack, "never offered");
        core.offer(7);
        assert_eq!(core.look(7), Claim::Offered);
        assert_eq!(worker.claim(7), Claimed::Yes);
        assert_eq!(core.look(7), Claim::Claimed);
        assert_eq!(worker.claim(7), Claimed::Overwritten, "claimed already");
    }

    #[test]
    fn a_slot_used_again_is_not_confused() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(3);
        core.free(3);
        core.offer(3 + SLOTS as u64);
        let claimed = worker.claim(3);
        assert_eq!(claimed, Claimed::TakenBack, "another request is there");
        core.set_gone(3 + SLOTS as u64);
        assert_eq!(worker.client(3), Client::Reads);
    }

    #[test]
    fn gone_is_seen_before_and_after_the_claim() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(1);
        core.set_gone(1);
        assert_eq!(worker.client(1), Client::Gone);
        // Gone does not hinder a claim: the worker decides.
        assert_eq!(worker.claim(1), Claimed::Yes);
        assert!(worker.client(1) == Client::Gone && core.look(1) == Claim::Claimed);
    }

    #[test]
    fn a_complete_response_is_its_clients_until_that_leaves() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(1);
        assert_eq!(worker.claim(1), Claimed::Yes);
        assert_eq!(worker.client(1), Client::Reads);
        core.set_complete(1);
        assert_eq!(worker.client(1), Client::Complete);
        assert_eq!(core.look(1), Claim::Claimed);
        core.set_gone(1);
        assert_eq!(worker.client(1), Client::Gone);
        core.free(1);
        core.offer(1 + SLOTS as u64);
        for id in [1, 1 + SLOTS as u64] {
            assert_eq!(worker.client(id), Client::Reads);
        }
    }

    #[test]
    fn core_and_worker_never_both_have_a_request() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        let mut revoked = 0;
        for id in 1..=2000 {
            core.offer(id);
            let start = std::sync::Barrier::new(2);
            let (claimed, taken_back) = std::thread::scope(|scope| {
                let claim = scope.spawn(|| {
                    start.wait();
                    if id % 2 == 0 {
                        // A machine with one processor would let the same thread win each time.
                        std::thread::yield_now();
                    }
                    worker.claim(id) == Claimed::Yes
                });
                start.wait();
                let taken_back = core.revoke(id) == Claim::Offered;
                (claim.join().unwrap(), taken_back)
            });
            assert!(
                claimed != taken_back,
                "request {id}: {claimed} and {taken_back}"
            );
            revoked += u32::from(taken_back);
            core.free(id);
        }
        assert!(
            revoked > 0,
            "the race was never won by the core: it is no race"
        );
    }

    #[test]
    fn what_neither_side_writes_is_no_state() {
        let claims = Claims::default();
        for word in [u64::MAX, 7, 1 << 8 | 3, 2 << 8 | SENT, FREE] {
            claims.offer(1);
            claims.scribble(1, word);
            assert_eq!(claims.look(1), Claim::Overwritten, "{word:#x}");
            assert_eq!(claims.revoke(1), Claim::Overwritten, "{word:#x}");
            assert_eq!(claims.free(1), Claim::Overwritten, "{word:#x}");
        }
        claims.scribble(1, u64::MAX);
        assert_eq!(claims.claim(1), Claimed::Overwritten);
    }

    /// Protects: the core does not search for ever when a worker has written to all claim words.
    #[test]
    fn a_slot_is_taken_until_it_is_given_back() {
        let slots = Slots::default();
        let all: Vec<_> = (0..SLOTS).map_while(|_| slots.take()).collect();
        assert_eq!((all.len(), slots.take()), (SLOTS, None));
        slots.give(all[5]);
        assert_eq!(slots.take(), Some(all[5] + SLOTS as u64));
        assert_eq!(slots.take(), None);
        all.iter().for_each(|&id| slots.give(id));
        assert!(slots.are_free());
    }
}
