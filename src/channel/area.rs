//! Content in shared memory: the worker copies it there once, and the core sends it from where it is.
//!
//! What the worker puts there is given back when the client has it, or when the core has copied it, because the client takes its
//! time. Room is taken from the beginning to the end, and from the beginning again once all of it was given back. Content
//! that finds no room goes through ring or socket: no process waits for room.

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr;
use std::slice;

pub(super) use super::sync::AREA as SIZE;
use super::sync::{Accesses, AtomicU64, Ordering};

/// The memory for content, all zeros at the beginning.
#[repr(C, align(64))]
pub(super) struct Area {
    /// Bytes that were given back so far. The core's, on a cache line of its own.
    returned: AtomicU64,
    accesses: Accesses,
    bytes: Aligned,
}

impl Default for Area {
    fn default() -> Self {
        Area {
            returned: AtomicU64::new(0),
            accesses: Default::default(),
            bytes: Aligned(UnsafeCell::new([0; SIZE])),
        }
    }
}

// SAFETY: its bytes are written by the one worker, and only where the core has given them back.
unsafe impl Sync for Area {}

#[repr(C, align(64))]
struct Aligned(UnsafeCell<[u8; SIZE]>);

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Area").finish_non_exhaustive()
    }
}

/// The worker's position.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Where the next piece goes.
    at: usize,
    /// Bytes put so far.
    put: u64,
}

impl Area {
    /// Writes where no worker may write now.
    #[cfg(test)]
    pub(super) fn scribble(&self, at: usize, length: usize) {
        let length = length.min(SIZE.saturating_sub(at));
        // SAFETY: within the array. What the core has lent from there changes under it, as it would by another process.
        unsafe { ptr::write_bytes(self.bytes.0.get().cast::<u8>().add(at), b'!', length) };
    }

    /// Worker: copies a piece. Returns its place, or nothing if there is no room for it now.
    pub(super) fn put(&self, cursor: &mut Cursor, piece: &[u8]) -> Option<usize> {
        if self.returned.load(Ordering::Acquire) == cursor.put {
            cursor.at = 0;
        }
        let at = cursor.at;
        if piece.len() > SIZE - at {
            return None;
        }
        self.accesses.write(at, piece.len());
        // SAFETY: the room is within the array, and no one reads it: the core has given back everything that was put there.
        unsafe {
            let room = self.bytes.0.get().cast::<u8>().add(at);
            ptr::copy_nonoverlapping(piece.as_ptr(), room, piece.len());
        }
        cursor.at += piece.len();
        cursor.put += piece.len() as u64;
        Some(at)
    }

    /// Core: gives `length` bytes back.
    pub(super) fn give_back(&self, length: usize) {
        self.returned.fetch_add(length as u64, Ordering::Release);
    }

    /// Core: the bytes of a piece that the worker has put there.
    ///
    /// # Safety
    /// The piece is within the area, and it has not been given back.
    pub(super) unsafe fn piece(&self, at: usize, length: usize) -> &[u8] {
        self.accesses.read(at, length);
        // SAFETY: the place is within the array, says the caller; the worker, which is this program as well, writes nothing there
        // before the piece is given back.
        unsafe { slice::from_raw_parts(self.bytes.0.get().cast::<u8>().add(at), length) }
    }
}
