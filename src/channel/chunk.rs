//! Pieces of content on the core's side, some of them in the memory that it shares with a worker.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::area::SIZE;
use super::memory::Memory;
use crate::iovec::IoVec;

/// A piece of content: in memory that the core owns, or for a short time in the memory that it shares with the worker.
///
/// The worker can write to shared memory at any time. So no reference to it is made: it is sent by the kernel, or copied.
#[derive(Debug)]
pub struct Chunk(Place);

#[derive(Debug)]
enum Place {
    Owned(Bytes),
    InArea(InArea),
}

impl Chunk {
    /// The piece at that place of the shared area; nothing if it is not within the area.
    pub(super) fn in_area(memory: &Arc<Memory>, at: u64, length: u64) -> Option<Chunk> {
        let end = at.checked_add(length)?;
        (end <= SIZE as u64).then(|| {
            let length = length as usize;
            Chunk(Place::InArea(InArea {
                memory: Arc::clone(memory),
                at: at as usize,
                length,
                whole: length,
            }))
        })
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match &self.0 {
            Place::Owned(bytes) => bytes.len(),
            Place::InArea(lent) => lent.length,
        }
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends its first `length` bytes to `out`, at most all.
    pub fn copy_to(&self, out: &mut Vec<u8>, length: usize) {
        match &self.0 {
            Place::Owned(bytes) => out.extend_from_slice(&bytes[..length.min(bytes.len())]),
            Place::InArea(lent) => lent.copy_to(out, length.min(lent.length)),
        }
    }

    /// Its content: a copy where it is in shared memory.
    pub fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Place::Owned(bytes) => bytes.clone(),
            Place::InArea(lent) => lent.to_bytes(),
        }
    }

    /// For a write that the kernel does at once.
    pub fn as_iovec(&self) -> IoVec<'_> {
        match &self.0 {
            Place::Owned(bytes) => IoVec::from(&bytes[..]),
            Place::InArea(lent) => lent.as_iovec(),
        }
    }

    /// Its content, which is copied out of the shared memory now: that is given back.
    pub fn make_owned(&mut self) -> &mut Bytes {
        if let Place::InArea(lent) = &self.0 {
            self.0 = Place::Owned(lent.to_bytes());
        }
        match &mut self.0 {
            Place::Owned(bytes) => bytes,
            Place::InArea(_) => unreachable!("it was copied above"),
        }
    }

    /// Appends a piece, unless this one is in shared memory, there is a copy of it, or it would be longer than `most`. Returns
    /// whether it has.
    pub fn append(&mut self, more: &Chunk, most: usize) -> bool {
        let Place::Owned(own) = &mut self.0 else {
            return false;
        };
        if own.len() + more.len() > most {
            return false;
        }
        match std::mem::take(own).try_into_mut() {
            Ok(mut bytes) => {
                bytes.extend_from_slice(&more.to_bytes());
                *own = bytes.freeze();
                true
            }
            Err(bytes) => {
                *own = bytes;
                false
            }
        }
    }

    /// Drops `count` bytes at its beginning, at most all.
    pub fn advance(&mut self, count: usize) {
        let count = count.min(self.len());
        match &mut self.0 {
            Place::Owned(bytes) => bytes.advance(count),
            Place::InArea(lent) => {
                lent.at += count;
                lent.length -= count;
            }
        }
    }

    /// Drops all but its first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        match &mut self.0 {
            Place::Owned(bytes) => bytes.truncate(length),
            Place::InArea(lent) => lent.length = lent.length.min(length),
        }
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Chunk(Place::Owned(bytes))
    }
}

/// A piece in the shared area. It is given back to the worker when it is dropped.
#[derive(Debug)]
struct InArea {
    memory: Arc<Memory>,
    at: usize,
    length: usize,
    /// How long it was when it came.
    whole: usize,
}

impl InArea {
    fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.copy_to(&mut bytes, self.length);
        bytes.into()
    }

    fn copy_to(&self, out: &mut Vec<u8>, length: usize) {
        let before = out.len();
        out.reserve(length);
        self.memory
            .area
            .copy(self.at, &mut out.spare_capacity_mut()[..length]);
        // SAFETY: `length` bytes after the old end were reserved, and have been written by the copy.
        unsafe { out.set_len(before + length) };
    }

    fn as_iovec(&self) -> IoVec<'_> {
        let start = self.memory.area.address(self.at, self.length);
        // SAFETY: the piece is within the area, says in_area, and advance and truncate only make it shorter; the area is mapped
        // while self is borrowed, which owns the mapping.
        unsafe { IoVec::from_raw(start, self.length) }
    }
}

impl Drop for InArea {
    fn drop(&mut self) {
        self.memory.area.give_back(self.whole);
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
            let mut cursor = worker.take_cursor().unwrap();
            let mut there: Vec<(Chunk, Vec<u8>)> = Vec::new();
            for (number, (step, which, length)) in steps.into_iter().enumerate() {
                match step {
                    0 if !there.is_empty() => drop(there.swap_remove(which.index(there.len()))),
                    1 if !there.is_empty() => {
                        let which = which.index(there.len());
                        there[which].0.make_owned();
                    }
                    _ => {
                        let content = piece(number, length);
                        let Some(at) = worker.area.put(&mut cursor, &content) else {
                            prop_assert!(there.iter().any(|(chunk, _)| matches!(chunk.0, Place::InArea(_))), "an empty area takes any piece");
                            continue;
                        };
                        there.push((Chunk::in_area(&core, at as u64, length as u64).unwrap(), content));
                    }
                }
                for (chunk, content) in &there {
                    prop_assert!(chunk.to_bytes() == content);
                }
            }
        }

        /// Whatever part of a piece is left: it is the same part in shared memory, copied and sent.
        #[test]
        fn a_part_is_the_same_wherever_it_is(
            length in 1..SIZE / 2, skipped in any::<prop::sample::Index>(), left in any::<prop::sample::Index>(), copied in any::<prop::sample::Index>(),
        ) {
            let (worker, core) = two_sides();
            let content = piece(7, length);
            let mut cursor = worker.take_cursor().unwrap();
            let at = worker.area.put(&mut cursor, &content).unwrap();
            let mut chunk = Chunk::in_area(&core, at as u64, length as u64).unwrap();
            let start = skipped.index(length);
            let end = start + left.index(length - start);
            chunk.advance(start);
            chunk.truncate(end - start);
            let mut out = b"before".to_vec();
            let first = copied.index(end - start + 1);
            chunk.copy_to(&mut out, first);
            prop_assert_eq!(&out[6..], &content[start..start + first]);
            prop_assert_eq!(&chunk.to_bytes()[..], &content[start..end]);
            prop_assert_eq!(&chunk.make_owned()[..], &content[start..end]);
            drop(chunk);
            // All of it was given back, not only what was left.
            prop_assert_eq!(worker.area.put(&mut cursor, &piece(8, SIZE)), Some(0));
        }

        #[test]
        fn a_place_that_makes_no_sense_is_refused(at in any::<u64>(), length in any::<u64>()) {
            let (_worker, core) = two_sides();
            let within = at.checked_add(length).is_some_and(|end| end <= SIZE as u64);
            prop_assert_eq!(Chunk::in_area(&core, at, length).is_some(), within);
        }
    }
}
