//! What a vectored write reads, also from memory that another process may be changing.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};

/// A piece of memory that only the kernel reads. As [`std::io::IoSlice`], but no `&[u8]`, which promises the compiler that nobody
/// writes there.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoVec<'a> {
    piece: libc::iovec,
    memory: PhantomData<&'a [u8]>,
}

impl IoVec<'_> {
    /// `length` bytes at `start`.
    ///
    /// # Safety
    /// They are mapped and readable for as long as the value lives. Another process may write there.
    pub unsafe fn from_raw(start: *const u8, length: usize) -> Self {
        IoVec {
            piece: libc::iovec {
                iov_base: start.cast_mut().cast(),
                iov_len: length,
            },
            memory: PhantomData,
        }
    }
}

impl<'a> From<&'a [u8]> for IoVec<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        // SAFETY: the bytes are borrowed for as long as the value lives.
        unsafe { IoVec::from_raw(bytes.as_ptr(), bytes.len()) }
    }
}

/// What comes after the bytes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing for now: they leave at once.
    Unknown,
    /// More, at once: the kernel may wait for it, and send both in one packet.
    More,
}

/// Sends of `pieces` what the socket takes now. Returns how many bytes that were.
///
/// # Errors
/// WouldBlock if it takes nothing now; else as for sendmsg(2). A connection that is gone gives EPIPE and no signal.
pub fn send(socket: impl AsFd, pieces: &[IoVec<'_>], next: Next) -> io::Result<usize> {
    // SAFETY: all zeros is a valid msghdr: no name, no pieces, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    // sendmsg only reads the pieces and what they point to. IoVec is an iovec by its repr.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len() as _;
    let socket = socket.as_fd().as_raw_fd();
    let more = match next {
        Next::Unknown => 0,
        Next::More => libc::MSG_MORE,
    };
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | more;
    // SAFETY: the header and its pieces live during the call, the memory they name is readable (see from_raw), and the descriptor
    // is borrowed.
    let sent = unsafe { libc::sendmsg(socket, &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_the_socket_takes_is_sent_in_order() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let pieces = [&b"one"[..], b"", b"two"].map(IoVec::from);
        assert_eq!(send(&ours, &pieces, Next::Unknown).unwrap(), 6);
        drop(ours);
        let mut read = String::new();
        theirs.read_to_string(&mut read).unwrap();
        assert_eq!(read, "onetwo");
    }

    #[test]
    fn a_full_socket_would_block_and_a_closed_one_is_an_error() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let much = vec![0; 1 << 20];
        while send(&ours, &[IoVec::from(&much[..])], Next::Unknown).is_ok() {}
        let full = send(&ours, &[IoVec::from(&much[..])], Next::Unknown).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        let closed = send(&ours, &[IoVec::from(&much[..])], Next::Unknown).unwrap_err();
        assert_eq!(closed.kind(), io::ErrorKind::BrokenPipe);
    }
}
