//! Files to sockets, copied by the kernel. The loop never waits for a disk: what is not in memory yet is
//! read on another thread first.

use std::fs::File;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::sendfile::sendfile;
use nix::sys::socket::{MsgFlags, send};

use crate::disk::{blocking, read_cached};

/// Bytes whose first is looked up in the page cache, and that are then taken to be there.
const PIECE: u64 = 512 * 1024;

/// Bytes read at once where the kernel can't copy them.
const READ: usize = 64 * 1024;

/// Bytes read at once at least, whatever is wanted.
const LEAST: usize = 4 * 1024;

/// A part of a file on its way to a socket.
#[derive(Debug)]
pub struct FileSending {
    file: Arc<File>,
    offset: u64,
    left: u64,
    /// Up to here the file is in memory.
    warm: u64,
    /// What was read, as `read` does, and the part of it that was sent.
    buffer: Vec<u8>,
    sent: usize,
    way: Way,
}

/// How a file's bytes come to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The kernel copies them.
    Sendfile,
    /// They are read and written: some files can't be copied by the kernel, as those of /proc.
    ReadAndWrite,
}

impl FileSending {
    /// `length` bytes of `file` from `offset` on.
    pub fn new(file: Arc<File>, offset: u64, length: u64) -> Self {
        FileSending {
            file,
            offset,
            left: length,
            warm: offset,
            buffer: Vec::new(),
            sent: 0,
            way: Way::Sendfile,
        }
    }

    /// Bytes still to be sent.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Whether the next piece is in memory.
    pub fn is_warm(&mut self) -> bool {
        let warm = self.offset < self.warm || self.is_cached();
        if warm {
            self.warm = self.warm.max(self.offset + PIECE);
        }
        warm
    }

    /// Waits until the next piece is in memory.
    pub(super) async fn warm_up(&mut self) -> io::Result<()> {
        if self.is_warm() {
            return Ok(());
        }
        let (file, start, length) = (Arc::clone(&self.file), self.offset, self.left.min(PIECE));
        blocking(move || {
            let mut scratch = [0; 16 * 1024];
            let mut at = start;
            while at < start + length {
                match file.read_at(&mut scratch, at)? {
                    0 => break,
                    count => at += count as u64,
                }
            }
            Ok(())
        })
        .await?;
        self.warm = self.offset + length;
        Ok(())
    }

    /// Whether the next byte can be read without a disk. File systems that can't tell count as fast.
    fn is_cached(&self) -> bool {
        let read = read_cached(&self.file, &mut [0], self.offset);
        !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends what the socket takes now.
    pub(super) fn send(&mut self, socket: impl AsFd) -> io::Result<()> {
        if self.way == Way::Sendfile {
            let mut offset = self.offset as i64;
            let count = self.left.min(PIECE) as usize;
            match sendfile(&socket, &self.file, Some(&mut offset), count) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(sent) => {
                    self.offset += sent as u64;
                    self.left -= sent as u64;
                    return Ok(());
                }
                Err(Errno::EINVAL | Errno::ENOSYS) => self.way = Way::ReadAndWrite,
                Err(error) => return Err(error.into()),
            }
        }
        let socket = socket.as_fd().as_raw_fd();
        let sent = send(socket, self.read()?, MsgFlags::MSG_NOSIGNAL)?;
        self.advance(sent);
        Ok(())
    }

    /// What comes next, at least a byte, for a stream that has to encrypt it.
    pub(super) fn read(&mut self) -> io::Result<&[u8]> {
        self.read_at_most(READ)
    }

    fn read_at_most(&mut self, most: usize) -> io::Result<&[u8]> {
        if self.sent == self.buffer.len() {
            self.buffer.resize(self.left.min(most as u64) as usize, 0);
            let read = self.file.read_at(&mut self.buffer, self.offset);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            self.sent = 0;
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer[self.sent..])
    }

    /// What comes next, at least a byte, for a response that has to look at it.
    pub(crate) async fn next(&mut self) -> io::Result<&[u8]> {
        self.warm_up().await?;
        self.read()
    }

    /// What comes next, at least a byte and about so many at most, and counts it as taken.
    pub(crate) async fn take(&mut self, most: usize) -> io::Result<Bytes> {
        self.warm_up().await?;
        self.read_at_most(most.clamp(LEAST, READ))?;
        let piece = Bytes::from(mem::take(&mut self.buffer)).split_off(self.sent);
        self.sent = 0;
        self.offset += piece.len() as u64;
        self.left -= piece.len() as u64;
        Ok(piece)
    }

    /// So much of what was read last has been taken.
    pub(crate) fn advance(&mut self, taken: usize) {
        self.sent += taken;
        self.offset += taken as u64;
        self.left -= taken as u64;
    }
}
