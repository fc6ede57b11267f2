//! The core's side of the socket.

use std::io;
use std::os::fd::BorrowedFd;

use super::codec::{encode_to_master, read_incomplete, read_word};
use super::socket::{receive, send};
use super::{Incomplete, ToCore, ToMaster};

/// Tells the master a message.
///
/// # Errors
/// When the master is gone, or WouldBlock if the socket is full.
pub fn tell_master(control: BorrowedFd<'_>, word: &ToMaster) -> io::Result<()> {
    send(control, &encode_to_master(word), &[])
}

/// The next message from the master; nothing when it has gone.
///
/// # Errors
/// What recvmsg says (WouldBlock among it), or InvalidData for what is no message.
pub fn hear_master(control: BorrowedFd<'_>) -> io::Result<Option<Result<ToCore, Incomplete>>> {
    match receive(control)? {
        Some(message) if message.is_cut => read_incomplete(&message.bytes).map(Err).map(Some),
        Some(message) => read_word(&message.bytes, message.descriptors)
            .map(Ok)
            .map(Some),
        None => Ok(None),
    }
}
