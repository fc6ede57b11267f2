//! Disks and the loop, which never waits for one: what is in memory is read at once, all else on another thread.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

/// Runs `work` on a thread of its own: disks are slow, and the loop goes on meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// Reads at `offset` what is in the page cache. WouldBlock where a disk would have to be waited for, Unsupported where the file
/// system can't tell.
pub(crate) fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut pieces = [IoSliceMut::new(buffer)];
    // SAFETY: IoSliceMut has the layout of iovec; the kernel writes to this one piece, which is borrowed for writing.
    let read = unsafe {
        let pieces = pieces.as_mut_ptr().cast();
        libc::preadv2(file.as_raw_fd(), pieces, 1, offset as i64, libc::RWF_NOWAIT)
    };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
