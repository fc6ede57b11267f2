//! Claim words: who may run a request, decided by one compare-and-swap in shared memory.
//!
//! A word holds the request's id and its state, so that a slot used again can't be confused. A worker
//! claims a request just before it calls the app, never on reading: what a dead worker had not claimed
//! was not run and may go to another, whatever its method.

#![forbid(unsafe_code)]

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
const STATE: u64 = 0xff;

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

impl Claims {
    fn word(&self, id: u64) -> &AtomicU64 {
        &self.words[id as usize % SLOTS]
    }

    /// Core: request `id` is being sent to the worker.
    pub fn offer(&self, id: u64) {
        self.word(id)
            .store(id << ID_SHIFT | SENT, Ordering::Release);
    }

    /// Worker: takes request `id` to run it. Whoever gets false must not run it.
    pub fn claim(&self, id: u64) -> bool {
        let word = self.word(id);
        let mut seen = word.load(Ordering::Acquire);
        while seen & !MARKS == id << ID_SHIFT | SENT {
            let claimed = id << ID_SHIFT | CLAIMED | seen & MARKS;
            match word.compare_exchange_weak(seen, claimed, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Core: takes request `id` back before the worker claims it; false where the worker was quicker.
    pub fn revoke(&self, id: u64) -> bool {
        let word = self.word(id);
        let mut seen = word.load(Ordering::Acquire);
        while seen & !MARKS == id << ID_SHIFT | SENT {
            match word.compare_exchange_weak(seen, FREE, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// Core: whether the worker has claimed `id`.
    pub fn is_claimed(&self, id: u64) -> bool {
        self.word(id).load(Ordering::Acquire) & !MARKS == id << ID_SHIFT | CLAIMED
    }

    /// Core: the client of request `id` has left.
    pub fn set_gone(&self, id: u64) {
        self.word(id).fetch_or(GONE, Ordering::AcqRel);
    }

    /// Worker: whether the client of request `id` has left.
    pub fn is_gone(&self, id: u64) -> bool {
        let word = self.word(id).load(Ordering::Relaxed);
        word >> ID_SHIFT == id && word & GONE != 0
    }

    /// Core: all content that the response of request `id` may have was written.
    pub fn set_complete(&self, id: u64) {
        self.word(id).fetch_or(COMPLETE, Ordering::AcqRel);
    }

    /// Worker: whether all content that the response of request `id` may have was written.
    pub fn is_complete(&self, id: u64) -> bool {
        let word = self.word(id).load(Ordering::Relaxed);
        word >> ID_SHIFT == id && word & COMPLETE != 0
    }

    /// Core: request `id` is over; its slot is free.
    pub fn free(&self, id: u64) {
        self.word(id).store(FREE, Ordering::Release);
    }

    /// Whether no slot is in use.
    #[cfg(test)]
    pub(crate) fn are_free(&self) -> bool {
        self.words
            .iter()
            .all(|word| word.load(Ordering::Relaxed) & STATE == FREE)
    }

    /// Core: whether the slot that `id` would use is free.
    pub fn is_free(&self, id: u64) -> bool {
        self.word(id).load(Ordering::Relaxed) & STATE == FREE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_claimed_once_and_only_when_offered() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        assert!(!worker.claim(7), "never offered");
        core.offer(7);
        assert!(!core.is_claimed(7));
        assert!(worker.claim(7));
        assert!(core.is_claimed(7));
        assert!(!worker.claim(7), "claimed already");
    }

    #[test]
    fn a_slot_used_again_is_not_confused() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(3);
        core.free(3);
        assert!(core.is_free(3 + SLOTS as u64));
        core.offer(3 + SLOTS as u64);
        assert!(!worker.claim(3), "the slot holds another request by now");
        assert!(!core.is_claimed(3));
        core.set_gone(3 + SLOTS as u64);
        assert!(!worker.is_gone(3));
    }

    #[test]
    fn gone_is_seen_before_and_after_the_claim() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(1);
        core.set_gone(1);
        assert!(worker.is_gone(1));
        assert!(
            worker.claim(1),
            "gone does not hinder a claim: the worker decides"
        );
        assert!(worker.is_gone(1) && core.is_claimed(1));
    }

    #[test]
    fn a_complete_response_is_its_clients_until_that_leaves() {
        let claims = Claims::default();
        let (core, worker) = (&claims, &claims);
        core.offer(1);
        assert!(worker.claim(1));
        assert!(!worker.is_complete(1));
        core.set_complete(1);
        assert!(worker.is_complete(1) && !worker.is_gone(1));
        assert!(core.is_claimed(1));
        core.set_gone(1);
        assert!(worker.is_complete(1) && worker.is_gone(1));
        core.free(1);
        core.offer(1 + SLOTS as u64);
        assert!(!worker.is_complete(1) && !worker.is_complete(1 + SLOTS as u64));
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
                    worker.claim(id)
                });
                start.wait();
                let taken_back = core.revoke(id);
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
}
