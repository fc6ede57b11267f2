//! The scoreboard: what each process does, in shared memory that can't shrink; plain atomics, one writer for each word.
//!
//! The master makes it before it forks, so that core and workers have it mapped. Whoever may read the master's
//! descriptors finds it there (`gepok status`): it is a memory file, and never touches a disk.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::signal::kill;
use nix::unistd::{Pid, getpid};

use crate::semantics::message::RequestHead;

pub mod file;
pub mod status;

/// The memory file's name, as `/proc/PID/fd` shows it.
const NAME: &str = "gepok-scoreboard";

/// Words of the header, and of one worker's record.
const HEADER: usize = 16;
const RECORD: usize = 32;

/// Where text begins in a record, and how many bytes of it there is room for.
const TEXT: usize = 8;
const TEXT_BYTES: usize = (RECORD - TEXT) * 8;

// Numbers of the words of the header ...
const SLOTS: usize = 0;
const STARTED: usize = 1;
const CORE: usize = 2;
const ACCEPTED: usize = 3;
const CONNECTIONS: usize = 4;
const REQUESTS: usize = 5;
const QUEUED: usize = 6;
// ... and of a record.
const PID: usize = 0;
const NUMBER: usize = 1;
const GENERATION: usize = 2;
const BORN: usize = 3;
const SERVED: usize = 4;
const SINCE: usize = 5;
/// Odd while the text is being written; the rest is the text's length times two.
const LENGTH: usize = 6;
const STATE: usize = 7;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It loads the app.
    Loading,
    /// It waits for a request.
    Idle,
    /// It has one.
    Busy,
    /// It takes no more, and is about to exit.
    Leaving,
}

impl State {
    fn of(number: u64) -> Self {
        match number {
            1 => State::Idle,
            2 => State::Busy,
            3 => State::Leaving,
            _ => State::Loading,
        }
    }
}

/// The shared memory, as mapped by this process.
pub struct Board {
    words: NonNull<AtomicU64>,
    length: NonZeroUsize,
}

// SAFETY: atomics in memory that lives as long as the value, whichever thread uses it.
unsafe impl Send for Board {}
// SAFETY: the same.
unsafe impl Sync for Board {}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").finish_non_exhaustive()
    }
}

impl Board {
    /// Makes the memory with room for so many workers at a time, and maps it. The descriptor is for others to open.
    ///
    /// # Errors
    /// What the kernel says when memory or descriptors run out.
    pub fn create(slots: usize) -> io::Result<(Board, OwnedFd)> {
        let memory = memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let length = NonZeroUsize::MIN.saturating_add((HEADER + slots * RECORD) * 8 - 1);
        nix::unistd::ftruncate(&memory, length.get() as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh shared mapping of a sealed memfd; nothing else in this process refers to it.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &memory, 0)? };
        let board = Board {
            words: address.cast(),
            length,
        };
        board.set(SLOTS, slots as u64);
        board.set(STARTED, now());
        Ok((board, memory))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < self.length.get() / 8);
        // SAFETY: every index is computed below the length that `create` gave the mapping, which lives as long as
        // self; zero-filled memory is valid AtomicU64s, and all processes use it atomically.
        unsafe { self.words.add(index).as_ref() }
    }

    fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
    }

    /// One writer for each word: a load and a store are enough.
    fn change(&self, index: usize, by: i64) {
        let word = self.word(index);
        let value = word.load(Ordering::Relaxed).wrapping_add_signed(by);
        word.store(value, Ordering::Relaxed);
    }

    /// Core: this process is the core. What a predecessor counted as present is gone.
    pub fn core_begins(&self) {
        self.set(CORE, getpid().as_raw() as u64);
        self.set(CONNECTIONS, 0);
        self.set(QUEUED, 0);
    }

    /// Core: a connection was accepted.
    pub fn connected(&self) {
        self.change(ACCEPTED, 1);
        self.change(CONNECTIONS, 1);
    }

    /// Core: a connection has ended.
    pub fn disconnected(&self) {
        self.change(CONNECTIONS, -1);
    }

    /// Core: a request has come in whole.
    pub fn submitted(&self) {
        self.change(REQUESTS, 1);
    }

    /// Core: so many requests wait for a worker.
    pub fn queued(&self, count: usize) {
        self.set(QUEUED, count as u64);
    }

    /// Worker: takes a record, one that is free or whose process is gone; nothing where there is none.
    pub fn take(self: &Arc<Self>, number: u32, generation: u32) -> Option<Seat> {
        let own = getpid().as_raw() as u64;
        let slots = self.word(SLOTS).load(Ordering::Relaxed) as usize;
        let free = (0..slots).map(|slot| HEADER + slot * RECORD).find(|at| {
            let word = self.word(at + PID);
            let holder = word.load(Ordering::Relaxed);
            let gone = holder == 0 || kill(Pid::from_raw(holder as i32), None) == Err(Errno::ESRCH);
            gone && word
                .compare_exchange(holder, own, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })?;
        for (word, value) in [
            (NUMBER, number.into()),
            (GENERATION, generation.into()),
            (BORN, now()),
            (SERVED, 0),
            (SINCE, now()),
            (LENGTH, 0),
            (STATE, State::Loading as u64),
        ] {
            self.set(free + word, value);
        }
        Some(Seat {
            board: Arc::clone(self),
            record: free,
        })
    }
}

/// A worker's record.
#[derive(Debug)]
pub struct Seat {
    board: Arc<Board>,
    record: usize,
}

impl Seat {
    /// What the worker does now.
    pub fn does(&self, state: State) {
        self.board.set(self.record + SINCE, now());
        self.board.set(self.record + STATE, state as u64);
    }

    /// It has this request. Its query is not told: it may hold what others must not read.
    pub fn serves(&self, head: &RequestHead) {
        let (board, record) = (&self.board, self.record);
        board.change(record + SERVED, 1);
        board.word(record + LENGTH).store(1, Ordering::Release);
        let path = head.target().split(|&byte| byte == b'?').next();
        let mut text = [0; TEXT_BYTES];
        let mut length = 0;
        for part in [head.method(), b" ", path.unwrap_or_default()] {
            let end = (length + part.len()).min(TEXT_BYTES);
            text[length..end].copy_from_slice(&part[..end - length]);
            length = end;
        }
        for (at, bytes) in text.chunks(8).take(length.div_ceil(8)).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            board.set(record + TEXT + at, u64::from_le_bytes(word));
        }
        board
            .word(record + LENGTH)
            .store(length as u64 * 2, Ordering::Release);
        self.does(State::Busy);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `create`, of that length; no reference outlives self.
        let _ = unsafe { munmap(self.words.cast(), self.length.get()) };
    }
}

/// Milliseconds since the epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
