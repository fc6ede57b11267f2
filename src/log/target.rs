//! Writes whole lines to where the log goes. May wait: for threads that nothing else waits for.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;

use super::destination::{Destination, Syslog};
use super::time::Zone;
use crate::semantics::message::Timestamp;

/// Bytes that a pipe takes in one piece, whatever other processes write to it (PIPE_BUF of pipe(7)).
const PIPE_PIECE: usize = 4096;

/// An open log.
#[derive(Debug)]
pub(super) struct Target(Mutex<Open>);

#[derive(Debug)]
enum Open {
    Stream {
        file: Stream,
        /// Others may write into it as well.
        pipe: bool,
        /// The last line is there in part only.
        torn: bool,
    },
    Syslog {
        socket: UnixDatagram,
        how: Syslog,
        zone: Zone,
    },
}

/// An open file, or standard error, whatever that is at the time.
#[derive(Debug)]
enum Stream {
    File(File),
    StandardError,
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::File(file) => file.as_fd(),
            // It is never closed, only replaced.
            Stream::StandardError => STANDARD_ERROR.get_or_init(io::stderr).as_fd(),
        }
    }
}

static STANDARD_ERROR: OnceLock<io::Stderr> = OnceLock::new();

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct Lost {
    /// How many.
    pub(super) lines: u64,
    /// Why.
    pub(super) error: io::Error,
}

impl Target {
    /// The log at `destination`, opened as `descriptor`.
    ///
    /// # Errors
    /// When the descriptor can't be asked what it is.
    pub(super) fn new(
        destination: &Destination,
        descriptor: OwnedFd,
        zone: Zone,
    ) -> io::Result<Self> {
        Ok(Target(Mutex::new(match destination {
            Destination::Syslog(how) => Open::Syslog {
                socket: descriptor.into(),
                how: how.clone(),
                zone,
            },
            _ => {
                let file = File::from(descriptor);
                let kind = file.metadata()?.file_type();
                Open::Stream {
                    pipe: kind.is_fifo() || kind.is_socket() || kind.is_char_device(),
                    file: Stream::File(file),
                    torn: false,
                }
            }
        })))
    }

    /// Standard error, also when the error log has been reopened as that.
    pub(super) fn standard_error() -> Self {
        Target(Mutex::new(Open::Stream {
            file: Stream::StandardError,
            pipe: true,
            torn: false,
        }))
    }

    /// Writes lines, each with its line feed.
    ///
    /// # Errors
    /// Tells how many of them are lost.
    pub(super) fn write(&self, lines: &[u8]) -> Result<(), Lost> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *open {
            Open::Stream { file, pipe, torn } => {
                if *torn {
                    // What is new must not be taken for the rest of what is broken off.
                    write_all(file, b"\n").map_err(|(_, error)| lost(lines, error))?;
                    *torn = false;
                }
                let mut rest = lines;
                while !rest.is_empty() {
                    let piece = if *pipe { piece(rest) } else { rest };
                    if let Err((written, error)) = write_all(file, piece) {
                        *torn = written > 0 && piece[written - 1] != b'\n';
                        return Err(lost(&rest[written..], error));
                    }
                    rest = &rest[piece.len()..];
                }
                Ok(())
            }
            Open::Syslog { socket, how, zone } => {
                let mut head = format!("<{}>", how.facility * 8 + 6).into_bytes();
                zone.at(Timestamp::now().seconds).put_syslog(&mut head);
                let _ = write!(head, " {}[{}]: ", how.tag, std::process::id());
                let mut rest = lines;
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let datagram = [&head[..], &rest[..end]].concat();
                    send(socket, how, &datagram).map_err(|error| lost(rest, error))?;
                    rest = &rest[end + 1..];
                }
                Ok(())
            }
        }
    }
}

fn lost(lines: &[u8], error: io::Error) -> Lost {
    let lines = lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
    Lost { lines, error }
}

/// As many whole lines as a pipe takes in one piece; at least one.
fn piece(lines: &[u8]) -> &[u8] {
    let feed = |&byte: &u8| byte == b'\n';
    let fitting = &lines[..lines.len().min(PIPE_PIECE)];
    let end = match fitting.iter().rposition(feed) {
        Some(at) => at + 1,
        None => lines.iter().position(feed).map_or(lines.len(), |at| at + 1),
    };
    &lines[..end]
}

/// Writes all; on an error tells how much was written.
fn write_all(file: &Stream, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
    let mut written = 0;
    while written < bytes.len() {
        match write(file, &bytes[written..]) {
            Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
            Ok(some) => written += some,
            Err(Errno::EINTR) => {}
            // A terminal or pipe of somebody else's, who has made it so.
            Err(Errno::EAGAIN) => {
                let mut wanted = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
                match poll(&mut wanted, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err((written, error.into())),
                }
            }
            Err(error) => return Err((written, error.into())),
        }
    }
    Ok(())
}

/// Sends one line; to the daemon's successor where it was restarted.
fn send(socket: &mut UnixDatagram, how: &Syslog, datagram: &[u8]) -> io::Result<()> {
    match socket.send(datagram) {
        Ok(_) => Ok(()),
        // It is there, and too slow.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
        Err(_) => {
            *socket = how.connect()?;
            socket.send(datagram).map(drop)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::PathBuf;

    use super::*;
    use crate::files::append;

    fn open(path: &str) -> Target {
        let descriptor = append(path.as_ref()).unwrap();
        Target::new(
            &Destination::File(PathBuf::from(path)),
            descriptor,
            Zone::utc(),
        )
        .unwrap()
    }

    #[test]
    fn a_full_disk_tells_how_many_lines_are_lost() {
        let lost = open("/dev/full").write(b"one\ntwo\n").unwrap_err();
        assert_eq!(lost.lines, 2);
        assert_eq!(lost.error.kind(), io::ErrorKind::StorageFull);
    }

    /// Protects: a line that the disk took in part does not swallow the next one.
    #[test]
    fn behind_a_torn_line_a_new_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let target = open(path.to_str().unwrap());
        if let Open::Stream { torn, .. } = &mut *target.0.lock().unwrap() {
            *torn = true;
        }
        target.write(b"one\n").unwrap();
        target.write(b"two\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"\none\ntwo\n");
    }

    #[test]
    fn pipes_get_whole_lines_that_fit() {
        let long = [&[b'x'; 5000][..], b"\n"].concat();
        let short = b"12345\n".repeat(1000);
        assert_eq!(piece(&long), &long[..]);
        assert_eq!(piece(&short).len(), 4096 / 6 * 6);
        assert_eq!(piece(b"a\nb\n"), b"a\nb\n");
        let mixed = [&short[..6], &long, &short[..6]].concat();
        assert_eq!(piece(&mixed), b"12345\n");
        assert_eq!(piece(&mixed[6..]), &long[..]);
    }

    #[test]
    fn a_pipe_without_a_reader_loses_lines() {
        let (mut reader, writer) = io::pipe().unwrap();
        let target = Target::new(&Destination::Stdout, writer.into(), Zone::utc()).unwrap();
        target.write(b"one\n").unwrap();
        let mut got = [0; 4];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"one\n");
        drop(reader);
        // Rust's test runner ignores SIGPIPE, as the core blocks it.
        assert_eq!(target.write(b"two\nthree\n").unwrap_err().lines, 2);
    }

    #[test]
    fn syslog_gets_a_datagram_for_each_line_and_its_successor_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = format!("syslog:daemon,tag=shop,server={}", path.display());
        let destination = Destination::parse(&text, "x").unwrap().unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        let socket = destination.open().unwrap().unwrap();
        let target = Target::new(&destination, socket, Zone::utc()).unwrap();
        let heard = |daemon: &UnixDatagram| {
            let mut bytes = [0; 200];
            let length = daemon.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        target.write(b"one\ntwo\n").unwrap();
        let first = heard(&daemon);
        let tail = format!(" shop[{}]: one", std::process::id());
        assert!(
            first.starts_with("<30>") && first.ends_with(&tail),
            "{first}"
        );
        assert_eq!(first.len(), "<30>Nov 20 12:34:56".len() + tail.len());
        assert!(heard(&daemon).ends_with(": two"));

        drop(daemon);
        assert_eq!(target.write(b"three\nfour\n").unwrap_err().lines, 2);
        std::fs::remove_file(&path).unwrap();
        let daemon = UnixDatagram::bind(&path).unwrap();
        target.write(b"five\n").unwrap();
        assert!(heard(&daemon).ends_with(": five"));
    }
}
