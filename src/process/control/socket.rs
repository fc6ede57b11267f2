//! The socket between master and core.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

/// The most bytes of a message: what is longer (the certificates of many hosts) is sent as several messages.
pub(super) const LONGEST: usize = 64 * 1024;

/// The most descriptors of a message.
pub(super) const DESCRIPTORS: usize = 64;

/// Waits until a socket is ready. False if it is not by this time.
pub(super) fn wait_for(
    socket: BorrowedFd<'_>,
    what: PollFlags,
    until: Instant,
) -> io::Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up: a wait of less than a millisecond would not wait at all.
        let left = left + Duration::from_millis(u64::from(!left.is_zero()));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(socket, what)], timeout) {
            Ok(0) => return Ok(false),
            Err(Errno::EINTR) => {}
            ready => return Ok(ready? > 0),
        }
    }
}

/// Sends a message. WouldBlock if the socket is full.
pub(super) fn send(control: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
    if bytes.len() > LONGEST || descriptors.len() > DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a word between master and core is too long",
        ));
    }
    let rights = [ControlMessage::ScmRights(descriptors)];
    let rights = if descriptors.is_empty() {
        &[][..]
    } else {
        &rights[..]
    };
    let pieces = [IoSlice::new(bytes)];
    loop {
        let sent = sendmsg::<()>(
            control.as_raw_fd(),
            &pieces,
            rights,
            MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT,
            None,
        );
        match sent {
            Err(Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// One message as it has come.
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
    /// Descriptors went with it that this process could not open.
    pub(super) is_cut: bool,
}

/// Receives one message. nix would lose, and leave open, those descriptors of a message that still found room.
pub(super) fn receive(control: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let message = match recvmsg(
        control,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    ) {
        // It has died with words before it that it had not read: that is an end like any other.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        message => message?,
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.truncate(message.bytes);
    let is_cut = message.flags.contains(ReturnFlags::CTRUNC);
    #[cfg(test)]
    let is_cut = is_cut || simulated_loss(&mut descriptors);
    Ok((message.bytes > 0).then_some(Message {
        bytes,
        descriptors,
        is_cut,
    }))
}

#[cfg(test)]
thread_local! {
    static LOSE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// For the simulation: whether the next message with descriptors loses them on this thread, as if it could open no more.
#[cfg(test)]
pub(crate) fn lose_next_descriptors(lose: bool) {
    LOSE.set(lose);
}

#[cfg(test)]
fn simulated_loss(descriptors: &mut Vec<OwnedFd>) -> bool {
    let lost = !descriptors.is_empty() && LOSE.take();
    if lost {
        descriptors.clear();
    }
    lost
}
