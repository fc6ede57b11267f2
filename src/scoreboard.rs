//! The scoreboard: what each process does, in shared memory that can't shrink; plain atomics, one writer for each word.
//!
//! The master makes it before it forks, so that core and workers have it mapped. Whoever may read the master's
//! descriptors finds it there (`gepok status`): it is a memory file, and never touches a disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::signal::kill;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, getpid};

use crate::semantics::message::{RequestHead, Timestamp};

pub mod connections;
pub mod file;
pub mod refusals;
pub mod reloads;
mod shown;
pub mod status;
mod text;
mod waits;

/// The memory file's name, as `/proc/PID/fd` shows it.
const NAME: &str = "gepok-scoreboard";

/// Words of the header, and of one worker's record.
const HEADER: usize = 72;
const RECORD: usize = 32;

/// Header and records have a page each, in words: a worker keeps its own record's page alone ([`Board::take_alone`]).
const PAGE: usize = 4096 / 8;

/// Where the record of a slot begins.
fn record_of(slot: usize) -> usize {
    (1 + slot) * PAGE
}

/// Where text begins in a record; it has the rest of it.
const TEXT: usize = 8;

// Numbers of the words of the header ...
const SLOTS: usize = 0;
const STARTED: usize = 1;
const CORE: usize = 2;
const ACCEPTED: usize = 3;
const MASTER: usize = 4;
const REQUESTS: usize = 5;
const QUEUED: usize = 6;
/// Since when the first of them waits.
const QUEUED_SINCE: usize = 7;
/// One word for each state of a connection.
const CONNECTIONS: usize = 8;
/// How long requests have waited.
const WAITS: usize = 16;
/// How reloads have ended.
const RELOADS: usize = 24;
/// What was refused.
const REFUSALS: usize = 64;
// ... and of a record.
const PID: usize = 0;
const NUMBER: usize = 1;
const GENERATION: usize = 2;
const BORN: usize = 3;
const SERVED: usize = 4;
const SINCE: usize = 5;
/// Guards the text.
const GUARD: usize = 6;
const STATE: usize = 7;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It loads the app.
    Loading,
    /// It waits for a request.
    Idle,
    /// It has one.
    Busy,
    /// It takes no more, and is about to exit.
    Leaving,
}

impl WorkerState {
    fn of(number: u64) -> Self {
        match number {
            1 => WorkerState::Idle,
            2 => WorkerState::Busy,
            3 => WorkerState::Leaving,
            _ => WorkerState::Loading,
        }
    }
}

/// What a text is made of. A model of it puts others in their place (`model/`).
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
    pub(super) use std::thread::yield_now;

    /// How often a text is looked at that is being written.
    pub(super) const TRIES: usize = 100;
}

/// The shared memory, as mapped by this process.
pub struct Mapping {
    words: NonNull<AtomicU64>,
    length: NonZeroUsize,
}

// SAFETY: atomics in memory that lives as long as the value, whichever thread uses it.
unsafe impl Send for Mapping {}
// SAFETY: the same.
unsafe impl Sync for Mapping {}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapping").finish_non_exhaustive()
    }
}

impl Mapping {
    /// Maps another process's scoreboard, to look at it.
    ///
    /// # Errors
    /// What the kernel says; InvalidData where it is no scoreboard.
    fn open(memory: &File) -> io::Result<Self> {
        // What could shrink would kill us at a look behind its end.
        let seals = SealFlag::from_bits_retain(fcntl(memory, FcntlArg::F_GET_SEALS)?);
        let length = usize::try_from(memory.metadata()?.len()).unwrap_or(0);
        let length = NonZeroUsize::new(length)
            .filter(|length| length.get() >= HEADER * 8 && seals.contains(SealFlag::F_SEAL_SHRINK))
            .ok_or(io::ErrorKind::InvalidData)?;
        Mapping::new(memory, length, ProtFlags::PROT_READ)
    }

    fn new(memory: impl AsFd, length: NonZeroUsize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of a file that is sealed against a change of its size; nothing else in this
        // process refers to it.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, memory, 0)? };
        Ok(Mapping {
            words: address.cast(),
            length,
        })
    }

    /// Puts private memory of this process in the place of these words, which are whole pages.
    fn give_up(&self, words: Range<usize>) -> io::Result<()> {
        assert!(words.start.is_multiple_of(PAGE) && words.end <= self.length.get() / 8);
        let Some(length) = NonZeroUsize::new(8 * words.len()) else {
            return Ok(());
        };
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        // SAFETY: the pages are within our own mapping, and stay mapped with the same access: code that refers to a word goes on with
        // one that is zero and shared with nobody.
        unsafe {
            let address = self.words.add(words.start).addr();
            nix::sys::mman::mmap_anonymous(Some(address), length, protection, flags)?;
        }
        Ok(())
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        assert!(index < self.length.get() / 8);
        // SAFETY: as in `words`.
        unsafe { self.words.add(index).as_ref() }
    }

    fn words(&self, range: Range<usize>) -> &[AtomicU64] {
        assert!(range.start <= range.end && range.end <= self.length.get() / 8);
        // SAFETY: within the mapping, which lives as long as self and begins with a page, so that each word is aligned;
        // a memory file's bytes are valid AtomicU64s, and all processes use them atomically. A mapping without write
        // access is only loaded from: what stores is in `Board`.
        unsafe { slice::from_raw_parts(self.words.add(range.start).as_ptr(), range.len()) }
    }

    fn get(&self, index: usize) -> u64 {
        self.word(index).load(Ordering::Relaxed)
    }

    /// What these words say, each by itself.
    fn snapshot(&self, range: Range<usize>) -> Vec<u64> {
        let words = self.words(range).iter();
        words.map(|word| word.load(Ordering::Relaxed)).collect()
    }

    /// A text with its guard; empty where it is being written.
    fn text(&self, guard: usize, text: Range<usize>) -> Vec<u8> {
        text::read(self.word(guard), self.words(text)).unwrap_or_default()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, of that length; no reference outlives self.
        let _ = unsafe { munmap(self.words.cast(), self.length.get()) };
    }
}

/// The scoreboard of this server, to be written by its processes.
#[derive(Debug)]
pub struct Board {
    memory: Mapping,
    /// How many records there are: never read back from the memory.
    slots: usize,
}

impl Board {
    /// Makes the memory with room for so many workers at a time, and maps it. The descriptor is for others to open.
    ///
    /// # Errors
    /// What the kernel says when memory or descriptors run out.
    pub fn create(slots: usize) -> io::Result<(Board, OwnedFd)> {
        let memory = memfd_create(NAME, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let length = NonZeroUsize::MIN.saturating_add(record_of(slots) * 8 - 1);
        nix::unistd::ftruncate(&memory, length.get() as i64)?;
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        fcntl(&memory, FcntlArg::F_ADD_SEALS(seals))?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let board = Board {
            memory: Mapping::new(&memory, length, protection)?,
            slots,
        };
        board.set(SLOTS, slots as u64);
        board.set(STARTED, now());
        board.set(MASTER, getpid().as_raw() as u64);
        Ok((board, memory))
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        self.memory.word(index)
    }

    fn get(&self, index: usize) -> u64 {
        self.memory.get(index)
    }

    fn set(&self, index: usize, value: u64) {
        self.word(index).store(value, Ordering::Relaxed);
    }

    /// One writer for each word: a load and a store are enough.
    fn change(&self, index: usize, by: i64) {
        self.set(index, self.get(index).wrapping_add_signed(by));
    }

    /// Writes a text and its guard; what finds no room is cut.
    fn write_text(&self, guard: usize, text: Range<usize>, parts: &[&[u8]]) {
        text::write(self.word(guard), self.memory.words(text), parts);
    }

    /// Core: this process is the core. What a predecessor counted as present is gone.
    pub fn core_begins(&self) {
        self.set(CORE, getpid().as_raw() as u64);
        self.no_connections();
        self.set(QUEUED, 0);
    }

    /// Core: a request has come in whole.
    pub fn submitted(&self) {
        self.change(REQUESTS, 1);
    }

    /// Core: so many requests wait for a worker, the first of them since then.
    pub fn queued(&self, count: usize, since: Option<Timestamp>) {
        self.set(QUEUED, count as u64);
        if let Some(since) = since {
            self.set(QUEUED_SINCE, milliseconds(since));
        }
    }

    /// Worker: as [`take`](Self::take), and gives up the rest of the scoreboard. It can write its own record from then on, and
    /// nothing that core, master or other workers go by: in place of their pages it has memory of its own.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_alone(self: &Arc<Self>, number: u32, generation: u32) -> io::Result<Option<Seat>> {
        let seat = self.take(number, generation);
        let own = seat
            .as_ref()
            .map_or(0..0, |seat| seat.record..seat.record + PAGE);
        self.memory.give_up(0..own.start)?;
        self.memory.give_up(own.end..self.memory.length.get() / 8)?;
        Ok(seat)
    }

    /// Worker: takes a record, one that is free or whose process is gone; nothing where there is none.
    pub fn take(self: &Arc<Self>, number: u32, generation: u32) -> Option<Seat> {
        let own = getpid().as_raw() as u64;
        let free = (0..self.slots).map(record_of).find(|at| {
            let word = self.word(at + PID);
            let holder = word.load(Ordering::Relaxed);
            !lives(holder)
                && word
                    .compare_exchange(holder, own, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
        })?;
        for (word, value) in [
            (NUMBER, number.into()),
            (GENERATION, generation.into()),
            (BORN, now()),
            (SERVED, 0),
            (SINCE, now()),
            (STATE, WorkerState::Loading as u64),
        ] {
            self.set(free + word, value);
        }
        self.write_text(free + GUARD, free + TEXT..free + RECORD, &[]);
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
    pub fn does(&self, state: WorkerState) {
        self.board.set(self.record + SINCE, now());
        self.board.set(self.record + STATE, state as u64);
    }

    /// It has this request. Its query is not told: it may hold what others must not read.
    pub fn serves(&self, head: &RequestHead) {
        let (board, record) = (&self.board, self.record);
        board.change(record + SERVED, 1);
        let path = head.target().split(|&byte| byte == b'?').next();
        let parts = [head.method(), b" ", path.unwrap_or_default()];
        board.write_text(record + GUARD, record + TEXT..record + RECORD, &parts);
        self.does(WorkerState::Busy);
    }
}

/// Whether a record's process lives.
fn lives(pid: u64) -> bool {
    // A worker may write anything: 0 and negative numbers would be groups of processes.
    let pid = i32::try_from(pid).ok().filter(|&pid| pid > 0);
    pid.is_some_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
}

fn milliseconds(time: Timestamp) -> u64 {
    time.seconds.cast_unsigned() * 1000 + u64::from(time.micros / 1000)
}

/// Milliseconds since the epoch by the kernel's last tick, some of them ago: a worker looks twice for each request.
fn now() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME_COARSE);
    now.map_or(0, |now| {
        now.tv_sec().cast_unsigned() * 1000 + now.tv_nsec().cast_unsigned() / 1_000_000
    })
}

/// Seconds between two times in milliseconds.
fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects core and new workers from a worker that writes to all of the scoreboard that it can reach. In a process of its own,
    /// as a worker is.
    #[test]
    fn a_worker_can_write_its_own_record_alone() {
        let (board, _memory) = Board::create(3).unwrap();
        let board = Arc::new(board);
        let before = board.take(7, 1).unwrap();
        board.core_begins();
        // SAFETY: the child calls nothing that could wait for another thread: it writes to memory and leaves.
        match unsafe { nix::unistd::fork() }.unwrap() {
            nix::unistd::ForkResult::Child => {
                let taken = board.take_alone(8, 1);
                let words = board.memory.words(0..board.memory.length.get() / 8);
                for word in words {
                    word.store(u64::MAX, Ordering::Relaxed);
                }
                let code = i32::from(!matches!(taken, Ok(Some(_))));
                // SAFETY: it ends this process at once.
                unsafe { libc::_exit(code) }
            }
            nix::unistd::ForkResult::Parent { child } => {
                let status = nix::sys::wait::waitpid(child, None).unwrap();
                assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
            }
        }
        let status = board.status().unwrap();
        assert_eq!(
            (status.core, status.accepted),
            (std::process::id() as i32, 0)
        );
        assert_eq!(status.workers.len(), 1, "the scribbled one is none");
        assert_eq!(status.workers[0].number, 7);
        let next = board.take(9, 1).unwrap();
        assert_ne!(next.record, before.record);
    }
}
