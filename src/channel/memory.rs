//! The memory that core and worker share: claim words, the ring of what the worker says, and the area for content.

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::fstat;

use super::area::{Area, Cursor};
use super::claim::Claims;
use super::ring::Ring;

/// What is in the memory: atomics and bytes, for which all zeros are a valid beginning.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Shared {
    /// The claim words of the requests.
    pub(super) claims: Claims,
    /// What the worker says.
    pub(super) ring: Ring,
    /// Content that it gives.
    pub(super) area: Area,
}

const LENGTH: NonZeroUsize = NonZeroUsize::new(size_of::<Shared>()).unwrap();

/// Makes the shared memory; its size can't change: no process is killed by touching it, and none can make it grow.
///
/// # Errors
/// Whatever the kernel says when memory or descriptors run out.
pub(super) fn create() -> io::Result<OwnedFd> {
    let memory = memfd_create(
        c"gepok-channel",
        MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING,
    )?;
    nix::unistd::ftruncate(&memory, LENGTH.get() as i64)?;
    fcntl(
        &memory,
        FcntlArg::F_ADD_SEALS(
            SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL,
        ),
    )?;
    Ok(memory)
}

/// The shared memory of one channel, as mapped by one of its two processes.
#[derive(Debug)]
pub(super) struct Memory {
    shared: NonNull<Shared>,
    /// The cursor of the area was taken.
    has_cursor: AtomicBool,
}

// SAFETY: it lives as long as the value, whichever thread uses it. It holds atomics, and the bytes of the area: those are written
// by the one worker, and only where the core has given them back; see there.
unsafe impl Send for Memory {}
// SAFETY: the same.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps the memory of this descriptor.
    ///
    /// # Errors
    /// Whatever fstat and mmap say. InvalidData where it has another size: touching what is not there would be a SIGBUS.
    pub(super) fn map(memory: impl AsFd) -> io::Result<Self> {
        let size = fstat(&memory)?.st_size;
        if size != LENGTH.get() as i64 {
            let error = format!("the channel's memory has {size} bytes instead of {LENGTH}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a fresh shared mapping of a sealed memfd; nothing else in this process refers to it.
        let address = unsafe { mmap(None, LENGTH, protection, MapFlags::MAP_SHARED, memory, 0)? };
        Ok(Memory {
            shared: address.cast(),
            has_cursor: AtomicBool::new(false),
        })
    }

    /// The cursor of the area, for the worker's end: nothing when it was taken.
    pub(super) fn take_cursor(&self) -> Option<Cursor> {
        if self.has_cursor.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: it is the only one of this mapping. The core's mapping has none, since the core only reads the area, and a
        // channel's memory is given to one worker.
        Some(unsafe { Cursor::new(&self.area) })
    }
}

impl Deref for Memory {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        // SAFETY: the mapping is as long as Shared, page-aligned, and lives as long as self; whatever bytes it holds,
        // they are valid atomics and bytes; the atomics are used as such by both processes, the bytes as the area says.
        unsafe { self.shared.as_ref() }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `map`, of that length; no reference outlives self.
        let _ = unsafe { munmap(self.shared.cast(), LENGTH.get()) };
    }
}

#[cfg(test)]
mod tests {
    use super::super::area::SIZE;
    use super::super::claim::{Claim, Claimed};
    use super::*;

    /// Protects both processes from a SIGBUS, and the machine from a worker that lets its memory grow.
    #[test]
    fn the_memory_keeps_its_size() {
        let memory = create().unwrap();
        for size in [0, LENGTH.get() as i64 - 1, LENGTH.get() as i64 + 1, 1 << 40] {
            assert!(nix::unistd::ftruncate(&memory, size).is_err(), "{size}");
        }
    }

    #[test]
    fn a_descriptor_of_another_size_is_not_mapped() {
        for size in [0, 4096, LENGTH.get() as i64 - 1, LENGTH.get() as i64 + 4096] {
            let other = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
            nix::unistd::ftruncate(&other, size).unwrap();
            let error = Memory::map(&other).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{size}");
        }
        let (pipe, _) = nix::unistd::pipe().unwrap();
        assert!(Memory::map(&pipe).is_err());
    }

    #[test]
    fn both_maps_are_the_same_memory() {
        let memory = create().unwrap();
        let (core, worker) = (Memory::map(&memory).unwrap(), Memory::map(&memory).unwrap());
        core.claims.offer(7);
        assert_eq!(worker.claims.claim(7), Claimed::Yes);
        assert_eq!(core.claims.look(7), Claim::Claimed);
    }

    #[test]
    fn a_piece_longer_than_the_area_finds_no_room() {
        let worker = Memory::map(create().unwrap()).unwrap();
        let mut cursor = worker.take_cursor().unwrap();
        assert_eq!(worker.area.put(&mut cursor, &vec![0; SIZE + 1]), None);
        assert_eq!(worker.area.put(&mut cursor, &vec![0; SIZE]), Some(0));
        assert_eq!(worker.area.put(&mut cursor, &[0]), None);
    }
}
