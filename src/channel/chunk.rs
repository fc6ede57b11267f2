//! Pieces of content on the core's side, some of them in the memory that it shares with a worker.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::area::SIZE;
use super::memory::Memory;

/// A piece of content: in memory that the core owns, or for a short time in the memory that it shares with the worker.
#[derive(Clone, Debug)]
pub struct Chunk {
    bytes: Bytes,
    shared: bool,
}

impl Chunk {
    /// The piece at that place of the shared area; nothing if it is not within the area.
    pub(super) fn in_area(memory: &Arc<Memory>, at: u64, length: u64) -> Option<Chunk> {
        let end = at.checked_add(length)?;
        (end <= SIZE as u64).then(|| Chunk {
            bytes: Bytes::from_owner(SharedSlice {
                memory: Arc::clone(memory),
                at: at as usize,
                length: length as usize,
            }),
            shared: true,
        })
    }

    /// The content. A copy of it holds the same memory.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Copies it out of the shared memory, because it will be needed for longer.
    pub fn make_owned(&mut self) {
        if std::mem::take(&mut self.shared) {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
        }
    }

    /// Appends bytes, unless there is a copy of it or it would be longer than `most`. Returns whether it has.
    pub fn append(&mut self, more: &[u8], most: usize) -> bool {
        if self.shared || self.bytes.len() + more.len() > most {
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

    /// Drops `count` bytes at its beginning, at most all.
    pub fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// Drops all but its first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.bytes.truncate(length);
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Chunk {
            bytes,
            shared: false,
        }
    }
}

/// A piece in the shared area. It is given back to the worker when the last copy is dropped.
struct SharedSlice {
    memory: Arc<Memory>,
    at: usize,
    length: usize,
}

impl AsRef<[u8]> for SharedSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: Chunk::in_area has checked that it is within the area, and only the drop gives it back.
        unsafe { self.memory.area.piece(self.at, self.length) }
    }
}

impl Drop for SharedSlice {
    fn drop(&mut self) {
        self.memory.area.give_back(self.length);
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::Cursor;
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
                        there[which].0.make_owned();
                    }
                    _ => {
                        let content = piece(number, length);
                        let Some(at) = worker.area.put(&mut cursor, &content) else {
                            prop_assert!(there.iter().any(|(chunk, _)| chunk.shared), "an empty area takes any piece");
                            continue;
                        };
                        there.push((Chunk::in_area(&core, at as u64, length as u64).unwrap(), content));
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
            prop_assert_eq!(Chunk::in_area(&core, at, length).is_some(), within);
        }
    }
}
