//! What the shared memory is made of: atomics, and how many. A model of it puts others in their place (`model/`).

#![forbid(unsafe_code)]

pub(super) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Claim words of a channel.
pub(super) const SLOTS: usize = 1024;

/// Words of eight bytes in a channel's ring: room for the answers to all requests that one worker is sent ahead.
pub(super) const WORDS: usize = 8 * 1024;

/// The longest batch in bytes: what a longer one gains by a saved system call is little.
pub(super) const LONGEST: usize = 16 * 1024;
