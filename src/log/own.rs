//! The server's own lines on their way to standard error. They never wait for its reader: a line that can't be written is lost
//! and counted, and the next line that can be written says how many were lost.
//!
//! The core gives its lines to a thread ([`Sink`]), since a disk may take its time as well. Every other process writes them
//! itself, because it forks and has one thread: it waits [`PATIENCE`] at most, and not at all while lines are being lost.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::sink::{Sink, Whose, lost_lines};
use super::target::Target;

/// How long a line waits for a slow reader.
const PATIENCE: Duration = Duration::from_millis(100);

static SINK: Mutex<Writer> = Mutex::new(Writer::None);

/// The process whose lines go to [`SINK`]. One that it forks has no such thread, and the lock may be held for ever there.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Lines that this process could not write itself since the last one that it could.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The last line that this process wrote itself is there in part only.
static TORN: AtomicBool = AtomicBool::new(false);

/// Who writes the lines of this process.
#[derive(Debug)]
enum Writer {
    /// Who logs them.
    None,
    /// A thread that the first line starts.
    AtFirstLine,
    Thread(Sink),
}

impl Writer {
    /// The thread, which is started if there is none yet.
    fn thread(&mut self) -> io::Result<Option<&Sink>> {
        if matches!(self, Writer::AtFirstLine) {
            *self = Writer::Thread(Sink::new(Target::standard_error(), Whose::Server)?);
        }
        Ok(match self {
            Writer::Thread(sink) => Some(sink),
            Writer::None | Writer::AtFirstLine => None,
        })
    }
}

/// While this lives, a thread writes the lines of this process.
#[derive(Debug)]
pub struct Threaded(());

impl Threaded {
    /// Starts the thread. It writes to the standard error of the calling thread's table of descriptors.
    ///
    /// # Errors
    /// When there can't be another thread.
    pub fn start() -> io::Result<Self> {
        let threaded = Threaded::at_first_line();
        writer().thread()?;
        Ok(threaded)
    }

    /// Has the first line start the thread. Until then the process has one thread less, and if it was its second one the C library
    /// saves locks and cancellation points. All threads must have one table of descriptors, and all signals blocked.
    pub fn at_first_line() -> Self {
        *writer() = Writer::AtFirstLine;
        OWNER.store(std::process::id(), Relaxed);
        Threaded(())
    }
}

impl Drop for Threaded {
    /// Writes what waits, though not for ever.
    fn drop(&mut self) {
        OWNER.store(0, Relaxed);
        let writer = mem::replace(&mut *writer(), Writer::None);
        if let Writer::Thread(sink) = writer {
            sink.flush();
        }
    }
}

fn writer() -> MutexGuard<'static, Writer> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a line, or gives it to the thread that does.
pub(super) fn put(line: &[u8]) {
    if OWNER.load(Relaxed) == std::process::id() {
        match writer().thread() {
            Ok(Some(sink)) => return sink.put(|out| out.extend_from_slice(line)),
            Ok(None) => {}
            // Nothing else may wait for a disk here.
            Err(_) => {
                LOST.fetch_add(1, Relaxed);
                return;
            }
        }
    }
    let lost = LOST.load(Relaxed);
    let mut bytes = Vec::with_capacity(line.len() + 100);
    if TORN.swap(false, Relaxed) {
        bytes.push(b'\n');
    }
    if lost > 0 {
        bytes.extend_from_slice(&super::line("warn", lost_lines(lost)));
    }
    bytes.extend_from_slice(line);
    let patience = if lost == 0 { PATIENCE } else { Duration::ZERO };
    match write(io::stderr().as_fd(), &bytes, patience) {
        written if written == bytes.len() => {
            LOST.fetch_sub(lost, Relaxed);
        }
        written => {
            LOST.fetch_add(1, Relaxed);
            TORN.store(written > 0, Relaxed);
        }
    }
}

/// Waits until all lines of this process are written, though not for ever.
pub(super) fn flush() {
    if OWNER.load(Relaxed) == std::process::id()
        && let Writer::Thread(sink) = &*writer()
    {
        sink.flush();
    }
}

/// Writes within `patience`; returns how much.
fn write(to: BorrowedFd<'_>, bytes: &[u8], patience: Duration) -> usize {
    let until = Instant::now() + patience;
    let mut written = 0;
    while written < bytes.len() {
        match write_at_once(to, &bytes[written..]) {
            Ok(some) => written += some,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() || !takes_bytes(to, left) {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    written
}

/// One write that does not wait, although the descriptor is a blocking one that others have as well.
fn write_at_once(to: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let errno = |error: nix::errno::Errno| Errno::from_raw_os_error(error as i32);
    let kind = SFlag::from_bits_truncate(fstat(to).map_err(errno)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFSOCK {
        use std::os::fd::AsRawFd;
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        return send(to.as_raw_fd(), bytes, flags).map_err(errno);
    }
    if kind != SFlag::S_IFIFO && kind != SFlag::S_IFCHR {
        return rustix::io::write(to, bytes);
    }
    const HERE: u64 = u64::MAX;
    match pwritev2(to, &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT) {
        // Older kernels, and terminals. Another process could take the place between the two calls: a line at a time is little.
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {
            match takes_bytes(to, Duration::ZERO) {
                true => rustix::io::write(to, bytes),
                false => Err(Errno::AGAIN),
            }
        }
        written => written,
    }
}

/// Waits until a descriptor takes bytes, or has an error to tell.
fn takes_bytes(to: BorrowedFd<'_>, within: Duration) -> bool {
    let mut wanted = [PollFd::new(to, PollFlags::POLLOUT)];
    // poll(2) counts whole milliseconds: rounded up, so that it never returns before the time is over.
    let milliseconds = within.as_nanos().div_ceil(1_000_000);
    let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
    poll(&mut wanted, timeout).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    const FULL: usize = 10_000_000;

    fn takes_no_more(writer: BorrowedFd<'_>, mut reader: impl Read) {
        let begun = Instant::now();
        let written = write(writer, &vec![b'x'; FULL], Duration::ZERO);
        assert!(written > 0 && written < FULL);
        assert_eq!(write(writer, b"line\n", PATIENCE), 0);
        assert!(begun.elapsed() >= PATIENCE);
        reader.read_exact(&mut vec![0; written]).unwrap();
        assert_eq!(write(writer, b"line\n", Duration::ZERO), 5);
    }

    #[test]
    fn a_full_pipe_and_a_full_socket_are_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        takes_no_more(writer.as_fd(), reader);
        let (reader, writer) = UnixStream::pair().unwrap();
        takes_no_more(writer.as_fd(), reader);
    }

    #[test]
    fn a_stopped_terminal_is_not_waited_for() {
        use nix::sys::termios::{FlowArg, tcflow};
        let pty = nix::pty::openpty(None, None).unwrap();
        tcflow(&pty.slave, FlowArg::TCOOFF).unwrap();
        assert_eq!(write(pty.slave.as_fd(), b"line\n", PATIENCE), 0);
        tcflow(&pty.slave, FlowArg::TCOON).unwrap();
        assert_eq!(write(pty.slave.as_fd(), b"line\n", PATIENCE), 5);
    }

    #[test]
    fn files_take_all() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(write(file.as_fd(), &vec![b'x'; FULL], Duration::ZERO), FULL);
    }
}
