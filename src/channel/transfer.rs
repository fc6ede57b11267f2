//! recvmsg and sendmsg: the only calls that carry descriptors. A plain read would drop them silently.

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::frame::{HEADER, PIECE, Unframer};
use super::violation::{ChannelError, Violation};

/// Bytes asked for in one read: the longest piece of content comes whole.
const READ: usize = HEADER + PIECE;

/// The kernel passes at most 253 descriptors in one message; we send one. Room for one more shows a peer that sends several:
/// the kernel closes what finds no room.
const MAX_DESCRIPTORS: usize = 2;

/// Room for the control message, aligned as cmsghdr wants it.
type Control = [u64; 4];

/// As much of it as [`MAX_DESCRIPTORS`] need.
// SAFETY: arithmetic only.
const CONTROL: usize =
    unsafe { libc::CMSG_LEN((MAX_DESCRIPTORS * size_of::<RawFd>()) as u32) } as usize;

const _: () = assert!(CONTROL <= size_of::<Control>());

/// What one read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes; 0 at the end of the stream.
    pub(super) bytes: usize,
    /// There was no more: the read could have taken it, and nothing but a descriptor would have stopped it.
    pub(super) all: bool,
}

/// Reads what is there. One call returns at most one message with a descriptor, possibly after bytes of earlier frames.
///
/// # Errors
/// What the kernel says. When more descriptors come than frames can announce: these are closed.
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    into: &mut Unframer,
) -> Result<Received, ChannelError> {
    receive_with(socket, into, 0)
}

/// As [`receive`], but never waits, whatever the socket's mode: that is the error `WouldBlock`.
///
/// # Errors
/// As [`receive`].
pub(super) fn receive_now(
    socket: BorrowedFd<'_>,
    into: &mut Unframer,
) -> Result<Received, ChannelError> {
    receive_with(socket, into, libc::MSG_DONTWAIT)
}

fn receive_with(
    socket: BorrowedFd<'_>,
    into: &mut Unframer,
    flags: libc::c_int,
) -> Result<Received, ChannelError> {
    let most = into.lacking().unwrap_or(READ);
    into.make_room(most);
    let spare = into.bytes.spare_capacity_mut();
    let mut piece = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len().min(most),
    };
    let mut control: MaybeUninit<Control> = MaybeUninit::uninit();
    // SAFETY: an all-zero msghdr is valid; the pointers set below outlive the call.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL;
    // SAFETY: message points to one piece of writable memory and to a control buffer of its length.
    let count = unsafe {
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        libc::recvmsg(socket.as_raw_fd(), &mut message, flags)
    };
    if count < 0 {
        return Err(io::Error::last_os_error().into());
    }
    let room = piece.iov_len;
    let length = into.bytes.len() + count as usize;
    // SAFETY: the kernel wrote `count` bytes at the start of the spare capacity.
    unsafe { into.bytes.set_len(length) };
    let bytes = count as usize;
    let mut descriptors = take_descriptors(&message);
    // Cut short with less than there is room for: descriptors have run out in this process. The frame that it belongs to gets
    // to know that, and no other frame gets a wrong one.
    let cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    let lost = cut && descriptors[MAX_DESCRIPTORS - 1].is_none();
    let first = descriptors[0].take();
    #[cfg(test)]
    let (first, lost) = simulated_loss(first, lost);
    let plain = first.is_none() && !lost;
    if !plain {
        into.descriptors.push_back(first);
    }
    let more = descriptors.iter().flatten().count();
    let waiting = into.descriptors.len() + more;
    if waiting > 1 {
        return Err(Violation::TooManyDescriptors(waiting).into());
    }
    let all = plain && bytes < room;
    Ok(Received { bytes, all })
}

#[cfg(test)]
thread_local! {
    static LOSE: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
    static ASKED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// For the simulation: whether this thread loses the next descriptor that comes, as if it could open no more. Returns whether it
/// has lost one since it was last asked to.
#[cfg(test)]
pub(crate) fn lose_next_descriptor(lose: bool) -> bool {
    let pending = LOSE.replace(lose);
    let was_asked = ASKED.replace(lose);
    was_asked && !pending
}

#[cfg(test)]
fn simulated_loss(first: Option<OwnedFd>, lost: bool) -> (Option<OwnedFd>, bool) {
    match first {
        Some(first) if LOSE.take() => {
            drop(first);
            (None, true)
        }
        first => (first, lost),
    }
}

/// What has come, in order. What is more than there is room for was closed by the kernel.
fn take_descriptors(message: &libc::msghdr) -> [Option<OwnedFd>; MAX_DESCRIPTORS] {
    let mut taken = [const { None }; MAX_DESCRIPTORS];
    let mut places = taken.iter_mut();
    // SAFETY: message and its control buffer were filled by recvmsg; the CMSG functions stay within it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the buffer.
        let header = unsafe { &*next };
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: arithmetic only.
            let room = header.cmsg_len - unsafe { libc::CMSG_LEN(0) } as usize;
            for index in 0..room / size_of::<RawFd>() {
                // SAFETY: the data holds `room` bytes of descriptors, new in this process and nobody else's.
                let descriptor = unsafe {
                    let data = libc::CMSG_DATA(next).cast::<RawFd>();
                    OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(index)))
                };
                // There are no more than the control buffer has room for; another one would be closed here.
                if let Some(place) = places.next() {
                    *place = Some(descriptor);
                }
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
    taken
}

/// Writes what the socket takes of `pieces`, with `descriptor` beside the first byte.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    pieces: &[IoSlice<'_>],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut control: Control = [0; 4];
    // SAFETY: an all-zero msghdr is valid; the pointers set below outlive the call.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // IoSlice is guaranteed to have the layout of iovec, and sendmsg only reads.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len();
    if let Some(descriptor) = descriptor {
        message.msg_control = control.as_mut_ptr().cast();
        // SAFETY: arithmetic, and writes within the control buffer, which has room for one descriptor.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as usize;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
            ptr::write_unaligned(libc::CMSG_DATA(header).cast(), descriptor.as_raw_fd());
        }
    }
    // SAFETY: message points to initialised pieces and, with a descriptor, to a whole control message.
    let count = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
    if count < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::thread;

    use super::super::frame::{Header, Kind, put};
    use super::*;

    #[test]
    fn content_that_waits_holds_no_more_memory_than_its_own() {
        let mut sent = Vec::new();
        put(&mut sent, Header::new(Kind::Head, 1), |out| {
            out.resize(out.len() + 300, 0);
        });
        for _ in 0..8 {
            put(&mut sent, Header::new(Kind::Chunk, 1), |out| {
                out.resize(out.len() + PIECE, 0);
            });
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let writer = thread::spawn(move || {
            use std::io::Write;
            (&theirs).write_all(&sent).unwrap();
        });
        let mut unframer = Unframer::default();
        let mut pieces = Vec::new();
        while receive(ours.as_fd(), &mut unframer).unwrap().bytes > 0 {
            while let Some(frame) = unframer.next().unwrap() {
                pieces.push(frame.payload);
            }
        }
        writer.join().unwrap();
        drop(unframer);
        assert_eq!(pieces.len(), 9);
        for piece in pieces.drain(1..) {
            let length = piece.len();
            // Nobody else refers to its buffer, or this would fail.
            let buffer = piece.try_into_mut().unwrap();
            assert!(buffer.capacity() <= length + 1024, "{}", buffer.capacity());
        }
    }

    #[test]
    fn whether_all_has_been_read_is_told() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let frame = Header::new(Kind::Idle, 0).bytes(0);
        let write = |descriptor| {
            let piece = [IoSlice::new(&frame)];
            assert_eq!(send(theirs.as_fd(), &piece, descriptor).unwrap(), HEADER);
        };
        let mut unframer = Unframer::default();
        let mut read = || {
            unframer.descriptors.clear();
            receive(ours.as_fd(), &mut unframer).unwrap()
        };

        write(None);
        write(None);
        let (bytes, all) = (2 * HEADER, true);
        assert_eq!(read(), Received { bytes, all });

        // A descriptor ends a read, and more may come after it.
        write(None);
        write(Some(theirs.as_fd()));
        write(None);
        let (bytes, all) = (2 * HEADER, false);
        assert_eq!(read(), Received { bytes, all });
        let (bytes, all) = (HEADER, true);
        assert_eq!(read(), Received { bytes, all });

        ours.set_nonblocking(true).unwrap();
        let mut room = Unframer::default();
        let sent = vec![0; READ + 1];
        std::io::Write::write_all(&mut &theirs, &sent).unwrap();
        let received = receive(ours.as_fd(), &mut room).unwrap();
        assert!(!received.all && received.bytes <= READ);
    }

    /// Sends one byte with this many descriptors.
    fn send_descriptors(socket: &UnixStream, count: usize) {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let descriptors = vec![socket.as_raw_fd(); count];
        let control = [ControlMessage::ScmRights(&descriptors)];
        let pieces = [IoSlice::new(b"x")];
        sendmsg::<()>(
            socket.as_raw_fd(),
            &pieces,
            &control,
            MsgFlags::empty(),
            None,
        )
        .unwrap();
    }

    /// As the kernel sees it: what was passed and not closed keeps the other end open.
    fn is_closed(ours: &UnixStream) -> bool {
        use std::io::Read;
        ours.set_nonblocking(true).unwrap();
        matches!((&*ours).read(&mut [0]), Ok(0))
    }

    #[test]
    fn several_descriptors_at_a_time_are_refused_and_closed() {
        for count in [2, 3, 12, 253] {
            let (ours, theirs) = UnixStream::pair().unwrap();
            send_descriptors(&theirs, count);
            drop(theirs);
            let mut unframer = Unframer::default();
            let refused = receive(ours.as_fd(), &mut unframer);
            assert!(
                matches!(
                    refused,
                    Err(ChannelError::Violation(Violation::TooManyDescriptors(2)))
                ),
                "{refused:?}"
            );
            drop(unframer);
            assert!(is_closed(&ours), "{count}: one is still open");
        }
    }

    #[test]
    fn a_second_descriptor_before_the_frame_of_the_first_is_refused() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut unframer = Unframer::default();
        send_descriptors(&theirs, 1);
        receive(ours.as_fd(), &mut unframer).unwrap();
        send_descriptors(&theirs, 1);
        assert!(receive(ours.as_fd(), &mut unframer).is_err());
        drop((theirs, unframer));
        assert!(is_closed(&ours), "one is still open");
    }
}
