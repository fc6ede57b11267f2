//! The master's end of the socket.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};

use super::codec::{encode, read_to_master};
use super::socket::{receive, send, wait_for};
use super::{ToCore, ToMaster};
use crate::process::error::Error;
use crate::process::heartbeat::{Beat, Heartbeat};

/// How long the core may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the master waits for room in the socket. Hundreds of messages fit in: a core that leaves them all unread hangs.
pub(super) const ROOM: Duration = Duration::from_secs(1);

/// The master's end: it tells the core, hears it, and asks it.
#[derive(Debug)]
pub struct MasterEnd {
    socket: OwnedFd,
    /// Words that came while an answer was awaited.
    early: VecDeque<ToMaster>,
    /// The core has left a full socket, or a question, for too long. It gets no more words.
    hangs: Cell<bool>,
    /// Where signals arrive as bytes, and which of them end the wait for an answer.
    interrupts: Option<(UnixStream, &'static [u8])>,
}

impl MasterEnd {
    /// The end of a socket that was handed over by the program before.
    pub fn new(socket: OwnedFd) -> MasterEnd {
        MasterEnd {
            socket,
            early: VecDeque::new(),
            hangs: Cell::new(false),
            interrupts: None,
        }
    }

    /// Has bytes that arrive at `socket` end the wait for an answer, if they are among `which`.
    pub fn interrupt_by(&mut self, socket: UnixStream, which: &'static [u8]) {
        self.interrupts = Some((socket, which));
    }

    /// Whether the core has left words unread for so long that it must be replaced.
    pub fn hangs(&self) -> bool {
        self.hangs.get()
    }

    /// Tells the core a word.
    ///
    /// # Errors
    /// When the core is gone or reads no words, or InvalidInput for a word that is too long.
    pub fn tell(&self, word: ToCore) -> io::Result<()> {
        if self.hangs() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (bytes, descriptors) = encode(&word);
        match send(self.socket.as_fd(), &bytes, &descriptors) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        let until = Instant::now() + ROOM;
        while wait_for(self.socket.as_fd(), PollFlags::POLLOUT, until)? {
            match send(self.socket.as_fd(), &bytes, &descriptors) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        self.hangs.set(true);
        Err(io::ErrorKind::TimedOut.into())
    }

    /// The next word from the core; nothing when it has gone. Waits for one.
    ///
    /// # Errors
    /// As [`hear_master`].
    pub fn hear(&mut self) -> io::Result<Option<ToMaster>> {
        match self.early.pop_front() {
            Some(word) => Ok(Some(word)),
            None => hear_core(self.socket.as_fd()),
        }
    }

    /// As [`MasterEnd::hear`], but waits no longer than this.
    ///
    /// # Errors
    /// TimedOut, or as [`hear_master`].
    pub fn hear_until(&mut self, until: Instant) -> io::Result<Option<ToMaster>> {
        match self.has_heard() || wait_for(self.socket.as_fd(), PollFlags::POLLIN, until)? {
            true => self.hear(),
            false => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Whether a word has come already that the socket does not show any more.
    pub fn has_heard(&self) -> bool {
        !self.early.is_empty()
    }

    /// Tells the core a word that it answers, and waits for the answer. Other words that come first are kept
    /// for [`MasterEnd::hear`].
    ///
    /// # Errors
    /// The core's own sentence, or why there is no answer.
    pub fn ask(&mut self, word: ToCore) -> Result<(), Error> {
        self.tell(word).map_err(Error::NoAnswer)?;
        let until = Instant::now() + ANSWER;
        let mut heartbeat = Heartbeat::new(Instant::now());
        loop {
            let now = Instant::now();
            if now >= until {
                return Err(Error::NoAnswer(io::ErrorKind::TimedOut.into()));
            }
            match heartbeat.beat(now) {
                Beat::Wait => {}
                Beat::Ask => self.tell(ToCore::Ping).map_err(Error::NoAnswer)?,
                Beat::Dead => {
                    self.hangs.set(true);
                    return Err(Error::NoAnswer(io::ErrorKind::TimedOut.into()));
                }
            }
            if self.is_interrupted() {
                return Err(Error::Stopping);
            }
            match self.hear_answer(until.min(heartbeat.due())) {
                Ok(Some(ToMaster::Answer(answer))) => return answer.map_err(Error::Refused),
                Ok(Some(ToMaster::Alive)) => heartbeat.answered(),
                Ok(Some(word)) => self.early.push_back(word),
                Ok(None) => return Err(Error::CoreDied),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(Error::NoAnswer(error)),
            }
        }
    }

    /// The next word on the socket, or TimedOut. A signal cuts the wait short.
    fn hear_answer(&self, until: Instant) -> io::Result<Option<ToMaster>> {
        let left = until.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let socket = self.socket.as_fd();
        match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout)? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => hear_core(socket),
        }
    }

    /// Whether a signal has come that ends the wait for an answer. It is left for the master to obey.
    fn is_interrupted(&self) -> bool {
        let Some((socket, which)) = &self.interrupts else {
            return false;
        };
        let mut notes = [0; 256];
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        let count = recv(socket.as_raw_fd(), &mut notes, flags).unwrap_or(0);
        notes[..count].iter().any(|note| which.contains(note))
    }
}

impl AsFd for MasterEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The next message of the core; nothing when it has gone.
fn hear_core(control: BorrowedFd<'_>) -> io::Result<Option<ToMaster>> {
    let message = receive(control)?;
    message
        .map(|message| read_to_master(&message.bytes))
        .transpose()
}
