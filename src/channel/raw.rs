//! A worker's end that keeps no rule: what it sends and writes is whatever a test or a fuzz target wants.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, Shutdown, sendmsg};

use super::Descriptors;
use super::frame::HEADER;
use super::memory::Memory;
pub(crate) use super::transfer::lose_next_descriptor;

pub(crate) use super::codec::tests::request;

/// The end of a worker that may be broken.
#[derive(Debug)]
pub(crate) struct RawEnd {
    socket: OwnedFd,
    bell: OwnedFd,
    memory: Memory,
}

impl RawEnd {
    pub(crate) fn open(descriptors: Descriptors) -> std::io::Result<Self> {
        Ok(RawEnd {
            memory: Memory::map(&descriptors.memory)?,
            socket: descriptors.socket,
            bell: descriptors.bell,
        })
    }

    /// A frame as bytes, whatever it says.
    pub(crate) fn frame(kind: u8, marks: u8, status: u16, id: u64, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(HEADER + payload.len());
        frame.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        frame.extend_from_slice(&[kind, marks]);
        frame.extend_from_slice(&status.to_le_bytes());
        frame.extend_from_slice(&id.to_le_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    /// Sends bytes by the socket with this many descriptors. False where it takes no more.
    pub(crate) fn send(&self, bytes: &[u8], descriptors: usize) -> bool {
        self.send_with(bytes, &vec![self.bell.as_raw_fd(); descriptors])
    }

    fn send_with(&self, bytes: &[u8], rights: &[RawFd]) -> bool {
        let control = [ControlMessage::ScmRights(rights)];
        let control: &[ControlMessage<'_>] = if rights.is_empty() { &[] } else { &control };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let pieces = [IoSlice::new(bytes)];
        let sent = sendmsg::<()>(self.socket.as_raw_fd(), &pieces, control, flags, None);
        sent.is_ok_and(|sent| sent == bytes.len())
    }

    /// As [`send`](Self::send), with descriptors of this file.
    pub(crate) fn send_files(&self, bytes: &[u8], file: &File, count: usize) -> bool {
        self.send_with(bytes, &vec![file.as_raw_fd(); count])
    }

    /// Puts bytes into the ring, and rings.
    pub(crate) fn put(&self, batch: &[u8]) -> bool {
        let put = self.memory.ring.put(batch);
        self.ring();
        put
    }

    /// Puts bytes into the ring, and does not ring.
    pub(crate) fn put_silently(&self, batch: &[u8]) -> bool {
        self.memory.ring.put(batch)
    }

    /// Rings the bell.
    pub(crate) fn ring(&self) {
        let _ = nix::unistd::write(&self.bell, &1_u64.to_ne_bytes());
    }

    /// Writes to the ring: where it has come to, and how long its first batch is.
    pub(crate) fn scribble_ring(&self, put: u64, length: u64) {
        self.memory.ring.scribble(put, length);
        self.ring();
    }

    /// Writes to all numbers of the ring, the core's copies among them.
    pub(crate) fn scribble_ring_numbers(&self, number: u64) {
        self.memory.ring.scribble_all(number);
    }

    /// Writes over content that the core may be sending.
    pub(crate) fn scribble_area(&self, at: usize, length: usize) {
        self.memory.area.scribble(at, length);
    }

    /// Shuts the socket, as a process does that dies.
    pub(crate) fn shut(&self) {
        let _ = nix::sys::socket::shutdown(self.socket.as_raw_fd(), Shutdown::Both);
    }

    /// Writes to a claim word.
    pub(crate) fn scribble_claim(&self, slot: usize, word: u64) {
        self.memory.claims.scribble(slot, word);
    }

    /// Reads what the core has sent, as far as it is here, and forgets it.
    pub(crate) fn discard(&self) {
        use nix::sys::socket::recv;
        let mut bytes = [0; 64 * 1024];
        while recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::MSG_DONTWAIT)
            .is_ok_and(|count| count > 0)
        {}
    }

    /// Claims a request, as a worker does.
    pub(crate) fn claim(&self, id: u64) -> bool {
        self.memory.claims.claim(id) == super::claim::Claimed::Yes
    }

    /// Whether it can see that nobody waits for the response to this request.
    pub(crate) fn is_gone(&self, id: u64) -> bool {
        self.memory.claims.client(id) == super::claim::Client::Gone
    }
}
