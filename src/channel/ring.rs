//! A ring of batches in shared memory: what a worker says, without a system call for each response.
//!
//! One writer, the worker; one reader, the core. A batch is a row of whole frames. It is published by one release
//! store, so that a response which was handed over outlives its worker; the core is woken only where it sleeps.
//! What does not fit, and what brings a descriptor, goes by the socket. The order of both is kept by one rule: the
//! ring is used only while the core has understood all that the socket carried, and is read before the socket.

#![forbid(unsafe_code)]

use bytes::{BufMut, BytesMut};

use super::sync::{AtomicU32, AtomicU64, LONGEST, Ordering, WORDS, fence};

const WORD: usize = 8;

/// A word on a cache line of its own: the two sides do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Apart<T>(T);

/// The ring. Memory that is all zeros is an empty one.
///
/// Content is copied word by word with atomic operations: whatever the other process does to it, we read numbers.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Ring {
    /// Words put so far. The worker's.
    put: Apart<AtomicU64>,
    /// Words taken so far. The core's.
    taken: Apart<AtomicU64>,
    /// The core waits for its sockets and wants to be woken.
    asleep: Apart<AtomicU32>,
    /// Bytes of the socket that the core has understood. The core's.
    understood: Apart<AtomicU64>,
    words: [AtomicU64; WORDS],
}

impl Default for Ring {
    fn default() -> Self {
        Ring {
            put: Apart::default(),
            taken: Apart::default(),
            asleep: Apart::default(),
            understood: Apart::default(),
            words: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// The other side has broken the rules of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Ring {
    /// Worker: publishes a batch; false where it is too long or the ring too full.
    pub(super) fn put(&self, batch: &[u8]) -> bool {
        let words = 1 + batch.len().div_ceil(WORD) as u64;
        let put = self.put.0.load(Ordering::Relaxed);
        let taken = self.taken.0.load(Ordering::Acquire);
        if batch.len() > LONGEST || put.wrapping_sub(taken) + words > WORDS as u64 {
            return false;
        }
        self.word(put).store(batch.len() as u64, Ordering::Relaxed);
        let (whole, rest) = batch.as_chunks::<WORD>();
        let mut at = put + 1;
        for &bytes in whole {
            self.word(at)
                .store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            at += 1;
        }
        if !rest.is_empty() {
            let mut bytes = [0; WORD];
            bytes[..rest.len()].copy_from_slice(rest);
            self.word(at)
                .store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.put.0.store(put + words, Ordering::Release);
        true
    }

    /// Worker: whether the core sleeps, and this caller is the one to wake it. To be asked behind [`put`](Self::put).
    pub(super) fn must_wake(&self) -> bool {
        // Either we see that the core sleeps, or the core, before it sleeps, sees what we have put.
        fence(Ordering::SeqCst);
        self.asleep.0.load(Ordering::Relaxed) != 0 && self.asleep.0.swap(0, Ordering::Relaxed) != 0
    }

    /// Worker: whether the core has understood `sent` bytes of the socket, so that the ring may be used.
    pub(super) fn has_understood(&self, sent: u64) -> bool {
        self.understood.0.load(Ordering::Acquire) == sent
    }

    /// Core: appends the next batch to `into`; false where there is none.
    ///
    /// # Errors
    /// When the numbers in the ring make no sense.
    pub(super) fn take(&self, into: &mut BytesMut) -> Result<bool, Broken> {
        let put = self.put.0.load(Ordering::Acquire);
        let taken = self.taken.0.load(Ordering::Relaxed);
        let there = put.wrapping_sub(taken);
        if there == 0 {
            return Ok(false);
        }
        let length = self.word(taken).load(Ordering::Relaxed) as usize;
        let words = length.div_ceil(WORD) as u64;
        if length > LONGEST || there > WORDS as u64 || 1 + words > there {
            return Err(Broken);
        }
        let end = into.len() + length;
        into.reserve(words as usize * WORD);
        for at in taken + 1..=taken + words {
            into.put_u64_le(self.word(at).load(Ordering::Relaxed));
        }
        into.truncate(end);
        self.taken.0.store(taken + 1 + words, Ordering::Release);
        Ok(true)
    }

    /// Core: says that it goes to sleep; false where something has come.
    pub(super) fn sleep(&self) -> bool {
        self.asleep.0.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.put.0.load(Ordering::Relaxed) == self.taken.0.load(Ordering::Relaxed);
        if !empty {
            self.wake_up();
        }
        empty
    }

    /// Core: says that it is awake, whoever has woken it.
    pub(super) fn wake_up(&self) {
        self.asleep.0.store(0, Ordering::Relaxed);
    }

    /// Core: so many bytes of the socket are understood now.
    pub(super) fn understand(&self, bytes: u64) {
        let before = self.understood.0.load(Ordering::Relaxed);
        self.understood
            .0
            .store(before.wrapping_add(bytes), Ordering::Release);
    }

    /// Writes numbers that no worker would write.
    #[cfg(test)]
    pub(super) fn scribble(&self, put: u64, length: u64) {
        self.words[0].store(length, Ordering::Relaxed);
        self.put.0.store(put, Ordering::Release);
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        &self.words[at as usize % WORDS]
    }
}
