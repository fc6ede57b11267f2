//! recvmsg and sendmsg: the only calls that carry descriptors. A plain read would drop them silently.

use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use super::frame::{HEADER, PIECE, Unframer};

/// Bytes asked for in one read: the longest piece of content comes whole.
const READ: usize = HEADER + PIECE;

/// The kernel passes at most 253 descriptors in one message; we send one. Room for two shows a peer
/// that sends more.
const MAX_DESCRIPTORS: usize = 2;

/// Room for the control message, aligned as cmsghdr wants it.
type Control = [u64; 8];

/// What one read has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    /// Bytes; 0 at the end of the stream.
    pub(super) bytes: usize,
    /// There was no more: the read could have taken it, and nothing but a descriptor would have stopped it.
    pub(super) all: bool,
}

/// Reads what is there. One call returns at most one message with a descriptor, possibly behind bytes of earlier frames.
pub(super) fn receive(socket: BorrowedFd<'_>, into: &mut Unframer) -> io::Result<Received> {
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
    message.msg_controllen = size_of::<Control>();
    // SAFETY: message points to one piece of writable memory and to a control buffer of its length.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, libc::MSG_CMSG_CLOEXEC) };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let room = piece.iov_len;
    let descriptors = into.descriptors.len();
    take_descriptors(&message, into);
    let plain = descriptors == into.descriptors.len();
    let length = into.bytes.len() + count as usize;
    // SAFETY: the kernel wrote `count` bytes at the start of the spare capacity.
    unsafe { into.bytes.set_len(length) };
    let bytes = count as usize;
    let all = plain && bytes < room;
    Ok(Received { bytes, all })
}

fn take_descriptors(message: &libc::msghdr, into: &mut Unframer) {
    // SAFETY: message and its control buffer were filled by recvmsg; the CMSG functions stay within it.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !next.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return null or a whole header within the buffer.
        let header = unsafe { &*next };
        if (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: arithmetic only.
            let room = header.cmsg_len - unsafe { libc::CMSG_LEN(0) } as usize;
            for index in 0..(room / size_of::<RawFd>()).min(MAX_DESCRIPTORS) {
                // SAFETY: the data holds `room` bytes of descriptors, new in this process and nobody else's.
                let descriptor = unsafe {
                    let data = libc::CMSG_DATA(next).cast::<RawFd>();
                    OwnedFd::from_raw_fd(ptr::read_unaligned(data.add(index)))
                };
                into.descriptors.push_back(descriptor);
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR.
        next = unsafe { libc::CMSG_NXTHDR(message, next) };
    }
}

/// Writes what the socket takes of `pieces`, with `descriptor` beside the first byte.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    pieces: &[IoSlice<'_>],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let mut control: Control = [0; 8];
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
        let mut read = || receive(ours.as_fd(), &mut unframer).unwrap();

        write(None);
        write(None);
        let (bytes, all) = (2 * HEADER, true);
        assert_eq!(read(), Received { bytes, all });

        // A descriptor ends a read, and more may stand behind it.
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
}
