//! Content in shared memory: the worker copies it there once, and the core sends it from where it is.
//!
//! What the worker puts there is given back when the client has it, or when the core has copied it, because the client takes its
//! time. Room is taken from the beginning to the end, and from the beginning again once all of it was given back. Content
//! that finds no room goes through ring or socket: no process waits for room.

use std::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU8, AtomicU64 as Word};

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

/// Copies fewer bytes than a word has, from memory of the area.
fn copy_bytes(from: *const u8, to: &mut [MaybeUninit<u8>]) {
    for (number, byte) in to.iter_mut().enumerate() {
        // SAFETY: the byte is within the array, as Area::copy has asserted. Only atomics read it while the other process may write.
        let read = unsafe { AtomicU8::from_ptr(from.cast_mut().add(number)) };
        byte.write(read.load(Relaxed));
    }
}

/// The worker's position: what it may write next. There is one for each area.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The address of its area.
    area: usize,
    /// Where the next piece goes.
    at: usize,
    /// Bytes put so far.
    put: u64,
}

impl Cursor {
    /// At the beginning of an area.
    ///
    /// # Safety
    /// There is no other cursor of this area: two would write to the same bytes at the same time.
    pub(super) unsafe fn new(area: &Area) -> Self {
        Cursor {
            area: ptr::from_ref(area).addr(),
            at: 0,
            put: 0,
        }
    }
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
    ///
    /// # Panics
    /// If the cursor is another area's.
    pub(super) fn put(&self, cursor: &mut Cursor, piece: &[u8]) -> Option<usize> {
        let own = cursor.area == ptr::from_ref(self).addr();
        assert!(own, "the cursor of another area");
        if self.returned.load(Ordering::Acquire) == cursor.put {
            cursor.at = 0;
        }
        let at = cursor.at;
        if piece.len() > SIZE - at {
            return None;
        }
        self.accesses.write(at, piece.len());
        // SAFETY: the room is within the array. No one else writes to it, since this is the area's only cursor, and no one reads it: the
        // core has given back everything that was put there, or it is above all that was put.
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

    /// Core: where a piece is, for the kernel to read. No reference may be made of it: a broken worker writes there at any time.
    ///
    /// # Panics
    /// If it is not within the area.
    pub(super) fn address(&self, at: usize, length: usize) -> *const u8 {
        assert!(at <= SIZE && length <= SIZE - at, "a piece beyond the area");
        self.accesses.read(at, length);
        self.bytes
            .0
            .get()
            .cast::<u8>()
            .wrapping_add(at)
            .cast_const()
    }

    /// Core: copies a piece, from `at` on as much as fits into `to`. What a broken worker writes meanwhile may be in the copy or not.
    ///
    /// # Panics
    /// If it is not within the area.
    pub(super) fn copy(&self, at: usize, to: &mut [MaybeUninit<u8>]) {
        let from = self.address(at, to.len());
        let (bytes, words) = to.split_at_mut(from.align_offset(align_of::<Word>()).min(to.len()));
        let aligned = from.wrapping_add(bytes.len());
        copy_bytes(from, bytes);
        let (words, rest) = words.as_chunks_mut::<{ size_of::<Word>() }>();
        for (number, word) in words.iter_mut().enumerate() {
            // SAFETY: the word is within the array, as asserted, and aligned: `aligned` is, and a word follows the other. Only
            // atomics read it while the other process may write.
            let read = unsafe { Word::from_ptr(aligned.cast_mut().cast::<u64>().add(number)) }
                .load(Relaxed);
            *word = read.to_ne_bytes().map(MaybeUninit::new);
        }
        copy_bytes(aligned.wrapping_add(size_of_val(words)), rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::{Layout, alloc_zeroed};

    /// An area on the heap; made elsewhere it would not fit on a test's stack.
    fn area() -> Box<Area> {
        // SAFETY: the memory is as large and as aligned as an Area, for which all zeros are a valid value, and nobody else owns it.
        unsafe { Box::from_raw(alloc_zeroed(Layout::new::<Area>()).cast()) }
    }

    /// Protects the copy by words: each start and length beside the words' ends.
    #[test]
    fn a_copy_is_what_was_put_wherever_it_lies() {
        let area = area();
        let content: Vec<u8> = (1..=60).collect();
        // SAFETY: it is the only one.
        let mut cursor = unsafe { Cursor::new(&area) };
        assert_eq!(area.put(&mut cursor, &content), Some(0));
        for start in 0..20 {
            for length in 0..40 {
                let mut copy = Vec::with_capacity(length);
                area.copy(start, &mut copy.spare_capacity_mut()[..length]);
                // SAFETY: the copy has written `length` bytes.
                unsafe { copy.set_len(length) };
                assert_eq!(
                    copy,
                    content[start..start + length],
                    "{length} bytes from {start} on"
                );
            }
        }
    }

    #[test]
    #[should_panic(expected = "beyond the area")]
    fn nothing_beyond_the_area_is_copied() {
        area().copy(SIZE - 3, &mut [MaybeUninit::uninit(); 4]);
    }
}
