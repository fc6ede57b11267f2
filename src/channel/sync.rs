//! What the shared memory is made of: atomics, and how many. A model of it puts others in their place (`model/`).

#![forbid(unsafe_code)]

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Claim words of a channel.
pub(super) const SLOTS: usize = 1024;

/// Words of eight bytes in a channel's ring: room for the answers to all requests that one worker is sent ahead.
pub(super) const WORDS: usize = 8 * 1024;

/// Bytes of content that may be in a channel's shared memory. Pages that were never used take no memory.
pub(super) const AREA: usize = 1024 * 1024;

/// Told of each access to bytes that are no atomics. Only the model looks at them.
#[derive(Debug, Default)]
pub(super) struct Accesses;

impl Accesses {
    /// These bytes are written.
    pub(super) fn write(&self, _at: usize, _length: usize) {}

    /// These bytes are read.
    pub(super) fn read(&self, _at: usize, _length: usize) {}
}

/// The longest batch in bytes: what a longer one gains by a saved system call is little.
pub(super) const LONGEST: usize = 16 * 1024;
