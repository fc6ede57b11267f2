//! A ring of batches in shared memory: frames of a worker, without a system call for each response.
//!
//! One writer, the worker; one reader, the core. A batch is a row of whole frames. It is published by one release
//! store, so that a response which was handed over outlives its worker; the core is woken only where it sleeps.
//! What does not fit, and what carries a descriptor, goes through the socket. The order of both is kept by one rule: the
//! ring is used only while the core has acknowledged everything sent through the socket, and is read before the socket.
//!
//! What the core has taken and acknowledged are numbers of its own ([`Reader`]). It stores copies here for the worker, and never
//! reads them back.

#![forbid(unsafe_code)]

use bytes::{BufMut, BytesMut};

use super::sync::{AtomicU32, AtomicU64, LONGEST, Ordering, WORDS, fence};
use super::violation::Violation;

const WORD: usize = 8;

/// A word on its own cache line, so that the two sides do not slow each other down.
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
    /// Words taken so far: a copy of the core's number.
    taken: Apart<AtomicU64>,
    /// The core waits for its sockets and wants to be woken.
    asleep: Apart<AtomicU32>,
    /// Bytes of the socket that the core has acknowledged: a copy of the core's number.
    acknowledged: Apart<AtomicU64>,
    words: [AtomicU64; WORDS],
}

impl Default for Ring {
    fn default() -> Self {
        Ring {
            put: Apart::default(),
            taken: Apart::default(),
            asleep: Apart::default(),
            acknowledged: Apart::default(),
            words: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

/// What the core knows of the ring.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Words taken so far.
    taken: u64,
    /// Bytes of the socket that were acknowledged.
    acknowledged: u64,
}

impl Ring {
    /// Worker: publishes a batch; false where it is too long or the ring too full.
    pub(super) fn put(&self, batch: &[u8]) -> bool {
        let words = 1 + batch.len().div_ceil(WORD) as u64;
        let put = self.put.0.load(Ordering::Relaxed);
        let taken = self.taken.0.load(Ordering::Acquire);
        if batch.len() > LONGEST || put.wrapping_sub(taken).saturating_add(words) > WORDS as u64 {
            return false;
        }
        self.word(put).store(batch.len() as u64, Ordering::Relaxed);
        let (whole, rest) = batch.as_chunks::<WORD>();
        let mut at = put.wrapping_add(1);
        for &bytes in whole {
            self.word(at)
                .store(u64::from_le_bytes(bytes), Ordering::Relaxed);
            at = at.wrapping_add(1);
        }
        if !rest.is_empty() {
            let mut bytes = [0; WORD];
            bytes[..rest.len()].copy_from_slice(rest);
            self.word(at)
                .store(u64::from_le_bytes(bytes), Ordering::Relaxed);
        }
        self.put.0.store(put.wrapping_add(words), Ordering::Release);
        true
    }

    /// Worker: whether the core sleeps, and this caller is the one to wake it. To be asked after [`put`](Self::put).
    pub(super) fn needs_wakeup(&self) -> bool {
        // Either we see that the core sleeps, or the core, before it sleeps, sees what we have put.
        fence(Ordering::SeqCst);
        self.asleep.0.load(Ordering::Relaxed) != 0 && self.asleep.0.swap(0, Ordering::Relaxed) != 0
    }

    /// Worker: whether the core has acknowledged `sent` bytes of the socket, so that the ring may be used.
    pub(super) fn is_socket_acknowledged(&self, sent: u64) -> bool {
        self.acknowledged.0.load(Ordering::Acquire) == sent
    }

    /// Core: says that it is awake.
    pub(super) fn wake_up(&self) {
        self.asleep.0.store(0, Ordering::Relaxed);
    }

    /// Writes numbers that no worker would write.
    #[cfg(test)]
    pub(super) fn scribble(&self, put: u64, length: u64) {
        self.words[0].store(length, Ordering::Relaxed);
        self.put.0.store(put, Ordering::Release);
    }

    /// Writes where the core tells what it has taken.
    #[cfg(test)]
    pub(super) fn scribble_taken(&self, taken: u64) {
        self.taken.0.store(taken, Ordering::Release);
    }

    /// Writes to all numbers of the ring, the core's among them.
    #[cfg(test)]
    pub(super) fn scribble_all(&self, number: u64) {
        for word in [&self.put.0, &self.taken.0, &self.acknowledged.0] {
            word.store(number, Ordering::Release);
        }
        self.asleep.0.store(number as u32, Ordering::Release);
    }

    fn word(&self, at: u64) -> &AtomicU64 {
        &self.words[at as usize % WORDS]
    }
}

impl Reader {
    /// Appends the next batch to `into`; false where there is none. Each word is read once.
    ///
    /// # Errors
    /// When the numbers in the ring make no sense.
    pub(super) fn take(&mut self, ring: &Ring, into: &mut BytesMut) -> Result<bool, Violation> {
        let there = ring.put.0.load(Ordering::Acquire).wrapping_sub(self.taken);
        if there == 0 {
            return Ok(false);
        }
        if there > WORDS as u64 {
            return Err(Violation::RingPosition);
        }
        let length = ring.word(self.taken).load(Ordering::Relaxed);
        let words = length.div_ceil(WORD as u64);
        if length == 0 || length > LONGEST as u64 || 1 + words > there {
            return Err(Violation::BatchLength(length));
        }
        let end = into.len() + length as usize;
        into.reserve(words as usize * WORD);
        for at in 1..=words {
            let word = ring.word(self.taken.wrapping_add(at));
            into.put_u64_le(word.load(Ordering::Relaxed));
        }
        into.truncate(end);
        self.taken = self.taken.wrapping_add(1 + words);
        ring.taken.0.store(self.taken, Ordering::Release);
        Ok(true)
    }

    /// Says that the core goes to sleep; false where something has come.
    pub(super) fn prepare_sleep(&self, ring: &Ring) -> bool {
        ring.asleep.0.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = ring.put.0.load(Ordering::Relaxed) == self.taken;
        if !empty {
            ring.wake_up();
        }
        empty
    }

    /// Acknowledges that many more bytes of the socket.
    pub(super) fn acknowledge_socket(&mut self, ring: &Ring, bytes: u64) {
        self.acknowledged = self.acknowledged.wrapping_add(bytes);
        ring.acknowledged
            .0
            .store(self.acknowledged, Ordering::Release);
    }
}
