//! Content in shared memory: the worker copies it there once, and the core sends it from where it is.
//!
//! What the worker puts there is given back when the client has it, or when the core has copied it, because the client takes its
//! time. Room is taken from the beginning to the end, and from the beginning again once all of it was given back. Content
//! that finds no room goes another way: nobody waits for room.

use std::cell::UnsafeCell;
use std::fmt;
use std::ptr;
use std::slice;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::memory::Memory;
use super::sync::{AtomicU64, Ordering};

/// Bytes of content that may be there. Pages that were never used take no memory.
pub(super) const SIZE: usize = 1024 * 1024;

/// The memory for content, all zeros at the beginning.
#[repr(C, align(64))]
pub(super) struct Area {
    /// Bytes that were given back so far. The core's, on a cache line of its own.
    returned: AtomicU64,
    bytes: Aligned,
}

#[repr(C, align(64))]
struct Aligned(UnsafeCell<[u8; SIZE]>);

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Area").finish_non_exhaustive()
    }
}

/// How far the worker has come.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    /// Where the next piece goes.
    at: usize,
    /// Bytes put so far.
    put: u64,
}

impl Area {
    /// Worker: copies a piece; its place, or nothing where there is no room for it now.
    pub(super) fn put(&self, cursor: &mut Cursor, piece: &[u8]) -> Option<usize> {
        if self.returned.load(Ordering::Acquire) == cursor.put {
            cursor.at = 0;
        }
        let at = cursor.at;
        if piece.len() > SIZE - at {
            return None;
        }
        // SAFETY: the room is within the array, and nobody looks at it: the core has given back all that was ever put there.
        unsafe {
            let room = self.bytes.0.get().cast::<u8>().add(at);
            ptr::copy_nonoverlapping(piece.as_ptr(), room, piece.len());
        }
        cursor.at += piece.len();
        cursor.put += piece.len() as u64;
        Some(at)
    }

    /// Core: the piece at that place; nothing where the place makes no sense.
    pub(super) fn take(memory: &Arc<Memory>, at: u64, length: u64) -> Option<Chunk> {
        let end = at.checked_add(length)?;
        (end <= SIZE as u64).then(|| Chunk {
            bytes: Bytes::from_owner(Lent {
                memory: Arc::clone(memory),
                at: at as usize,
                length: length as usize,
            }),
            lent: true,
        })
    }
}

/// A piece of content as the core has it: in memory of its own, or for a moment in the channel's.
#[derive(Clone, Debug)]
pub struct Chunk {
    bytes: Bytes,
    lent: bool,
}

impl Chunk {
    /// The content. A copy of it holds the same memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Gives it memory of its own: it stays for longer than a moment.
    pub fn keep(&mut self) {
        if std::mem::take(&mut self.lent) {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
        }
    }

    /// Appends bytes, unless there is a copy of it or it would be longer than `most`. Returns whether it has.
    pub fn append(&mut self, more: &[u8], most: usize) -> bool {
        if self.lent || self.bytes.len() + more.len() > most {
            return false;
        }
        match std::mem::take(&mut self.bytes).try_into_mut() {
            Ok(mut bytes) => {
                bytes.extend_from_slice(more);
                self.bytes = bytes.freeze();
                true
            }
            Err(bytes) => {
                self.bytes = bytes;
                false
            }
        }
    }

    /// Drops so many bytes at its beginning, at most all.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// Drops what is behind so many bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Chunk { bytes, lent: false }
    }
}

/// A piece that the core has, and gives back when the last copy has gone.
struct Lent {
    memory: Arc<Memory>,
    at: usize,
    length: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the place is within the array, which lives as long as the memory; the worker, which is this program as well,
        // writes nothing there before the piece is given back.
        unsafe {
            let bytes = self.memory.area.bytes.0.get().cast::<u8>().add(self.at);
            slice::from_raw_parts(bytes, self.length)
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.memory
            .area
            .returned
            .fetch_add(self.length as u64, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory;
    use super::*;
    use proptest::prelude::*;

    fn two_sides() -> (Memory, Arc<Memory>) {
        let memory = memory::create().unwrap();
        let core = Memory::map(&memory).unwrap();
        (Memory::map(&memory).unwrap(), Arc::new(core))
    }

    fn piece(number: usize, length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 + number) as u8).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever the order in which pieces are put, given back and kept: nothing is overwritten that the core still has.
        #[test]
        fn what_the_core_has_stays_as_it_was(
            steps in proptest::collection::vec((0..3_u8, any::<prop::sample::Index>(), 1..SIZE / 3), 1..60),
        ) {
            let (worker, core) = two_sides();
            let mut cursor = Cursor::default();
            let mut there: Vec<(Chunk, Vec<u8>)> = Vec::new();
            for (number, (step, which, length)) in steps.into_iter().enumerate() {
                match step {
                    0 if !there.is_empty() => drop(there.swap_remove(which.index(there.len()))),
                    1 if !there.is_empty() => {
                        let which = which.index(there.len());
                        there[which].0.keep();
                    }
                    _ => {
                        let content = piece(number, length);
                        let Some(at) = worker.area.put(&mut cursor, &content) else {
                            prop_assert!(there.iter().any(|(chunk, _)| chunk.lent), "an empty area takes any piece");
                            continue;
                        };
                        there.push((Area::take(&core, at as u64, length as u64).unwrap(), content));
                    }
                }
                for (chunk, content) in &there {
                    prop_assert!(chunk.bytes() == content);
                }
            }
        }

        #[test]
        fn a_place_that_makes_no_sense_is_refused(at in any::<u64>(), length in any::<u64>()) {
            let (_worker, core) = two_sides();
            let within = at.checked_add(length).is_some_and(|end| end <= SIZE as u64);
            prop_assert_eq!(Area::take(&core, at, length).is_some(), within);
        }
    }

    #[test]
    fn a_piece_longer_than_the_area_finds_no_room() {
        let (worker, _core) = two_sides();
        let mut cursor = Cursor::default();
        assert_eq!(worker.area.put(&mut cursor, &vec![0; SIZE + 1]), None);
        assert_eq!(worker.area.put(&mut cursor, &vec![0; SIZE]), Some(0));
        assert_eq!(worker.area.put(&mut cursor, &[0]), None);
    }
}
