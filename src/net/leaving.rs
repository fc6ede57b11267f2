//! How clients leave, and how to see it without reading what they have sent.

use std::io;
use std::os::fd::RawFd;

use nix::sys::socket::{MsgFlags, recv};

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It sends nothing more, but may still read; or it has closed, which looks the same.
    HalfClosed,
    /// It neither reads nor sends.
    Broken,
}

/// The number of bytes that can be read, at most one; they are not consumed.
pub(super) fn peek(socket: RawFd) -> io::Result<usize> {
    peek_into(socket, &mut [0])
}

/// Copies what can be read, and leaves it there.
pub(super) fn peek_into(socket: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(recv(
        socket,
        buffer,
        MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT,
    )?)
}
