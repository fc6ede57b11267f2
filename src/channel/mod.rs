//! The channel between the core and one worker: frames on a stream socket and in a ring,
//! claim words and an area for content, these three in shared memory.
//!
//! How bytes travel is private to this module. It knows no Perl and no HTTP wire; tokio is used on the
//! core's side only.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

mod area;
mod chunk;
pub(crate) mod claim;
mod codec;
pub(crate) mod core_end;
mod frame;
#[doc(hidden)]
pub mod fuzz;
mod memory;
pub(crate) mod message;
mod open;
mod outgoing;
pub(crate) mod progress;
#[cfg(test)]
pub(crate) mod raw;
pub mod respond;
mod ring;
#[cfg(test)]
mod ring_tests;
mod sync;
mod transfer;
pub(crate) mod violation;
pub mod worker_end;

pub use self::chunk::Chunk;

/// Bytes of content that a worker may send ahead of what the client has taken, per request.
pub const CREDIT: u64 = 256 * 1024;

/// Content of at most this many bytes travels in the request's frame, larger content as a descriptor.
pub const INLINE_CONTENT: usize = 16 * 1024;

/// What one side needs to open its end of a channel.
#[derive(Debug)]
pub struct Descriptors {
    /// This side's end of the stream socket pair.
    pub socket: OwnedFd,
    /// The memory that both sides share.
    pub memory: OwnedFd,
    /// The eventfd by which the worker wakes the core.
    pub bell: OwnedFd,
}

impl Descriptors {
    /// All of them, for their way to another process.
    pub fn as_raw(&self) -> [RawFd; 3] {
        [&self.socket, &self.memory, &self.bell].map(AsRawFd::as_raw_fd)
    }
}

impl From<[OwnedFd; 3]> for Descriptors {
    /// In the order of [`Descriptors::as_raw`].
    fn from([socket, memory, bell]: [OwnedFd; 3]) -> Self {
        Descriptors {
            socket,
            memory,
            bell,
        }
    }
}

/// Makes a channel: the core's descriptors, then the worker's.
///
/// # Errors
/// Whatever the kernel says when descriptors or memory run out.
pub fn pair() -> io::Result<(Descriptors, Descriptors)> {
    let (core, worker) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    let memory = memory::create()?;
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    let bell = OwnedFd::from(EventFd::from_value_and_flags(0, flags)?);
    let core = Descriptors {
        socket: core,
        memory: memory.try_clone()?,
        bell: bell.try_clone()?,
    };
    let worker = Descriptors {
        socket: worker,
        memory,
        bell,
    };
    Ok((core, worker))
}
