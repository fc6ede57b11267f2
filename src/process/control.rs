//! Words between master and core: one SEQPACKET message each, with descriptors where they belong.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::heartbeat::{Beat, Heartbeat};
pub use super::log_files::LogFiles;
use super::pool::Load;
use crate::channel::Descriptors;

/// The most bytes that a word has: what has more (the certificates of many hosts) is told in several words.
pub const LONGEST: usize = 64 * 1024;

/// The most descriptors that travel with a word.
pub const DESCRIPTORS: usize = 64;

/// How long the core may think about a question.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the master waits for room in the socket. Hundreds of words fit in: a core that leaves them all unread hangs.
const ROOM: Duration = Duration::from_secs(1);

/// What the master tells the core.
#[derive(Debug)]
pub enum ToCore {
    /// Connections may be accepted from now on.
    Accept,
    /// A worker with this number was started as this process; these are the core's descriptors of its channel.
    Worker(u32, i32, Descriptors),
    /// As `Worker`, but it gets no request before it is admitted.
    Candidate(u32, i32, Descriptors),
    /// A candidate, which is serving, shall answer GET of this path; the answer is `Checked`.
    Check(u32, String),
    /// A candidate gets requests from now on.
    Admit(u32),
    /// This worker gets no more requests, and is told to leave after what it has in flight.
    Retire(u32),
    /// Worker number so-and-so is dead, as waitpid told.
    Died(u32),
    /// Accept no more, finish what is in flight, then say `Drained`.
    Drain,
    /// As `Drain`, but a successor listens on the same sockets: a connection's next request is still answered,
    /// so that none races with a close.
    GiveWay,
    /// Is the core alive? The answer is `Alive`.
    Ping,
    /// Leave at once.
    Quit,
    /// As `Drain`, but no worker is there any more, nor will one come: what waits for one has failed.
    NoWorkers,
    /// A file of certificates or keys, to be read at `ReadTls`.
    TlsFile(TlsFile),
    /// Those were all; the answer says whether TLS goes by them from now on.
    ReadTls,
    /// Open and read such files yourself: said where there is no master, but one process. Its log files were opened again, or why not.
    Reread(Result<(), String>),
    /// Log files, opened anew.
    Logs(LogFiles),
}

/// A file that the master has opened for the core to read: no process that runs the app holds what is in it.
#[derive(Debug)]
pub struct TlsFile {
    /// What it is for, as a number (`net::tls::files::Role`).
    pub role: u8,
    /// Its name, for messages.
    pub path: PathBuf,
    /// The file, not yet read.
    pub file: OwnedFd,
}

/// What the core tells the master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToMaster {
    /// The core accepts connections.
    Ready,
    /// Worker number so-and-so has loaded its app and waits for requests.
    Serving(u32),
    /// Worker number so-and-so takes no request any more and is about to exit: another may take its place.
    Leaving(u32),
    /// Worker number so-and-so makes no progress with what is named: to be killed.
    Hung(u32, String),
    /// Worker number so-and-so has broken its channel, which the core has logged: to be killed.
    Broken(u32),
    /// How worker number so-and-so has answered `Check`: well, or one sentence that says why not.
    Checked(u32, Result<(), String>),
    /// To `Ping`.
    Alive,
    /// How busy the workers were for a while.
    Load(Load),
    /// Nothing is in flight any more, and the workers were told to stop.
    Drained,
    /// The answer to a question ([`MasterEnd::ask`]): done, or one sentence that says why not.
    Answer(Result<(), String>),
    /// This worker can't be connected, for the reason that is given.
    Unconnected(u32, String),
}

/// A word whose descriptors are lost, because the core can open no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incomplete {
    /// `Worker` or `Candidate`, with its number.
    Worker(u32),
    /// A file of certificates or keys, with its name.
    TlsFile(PathBuf),
    /// Log files.
    Logs,
}

const WORKER: u8 = 1;
const DIED: u8 = 2;
const DRAIN: u8 = 3;
const QUIT: u8 = 4;
const READY: u8 = 5;
const DRAINED: u8 = 6;
const NO_WORKERS: u8 = 7;
const SERVING: u8 = 8;
const DONE: u8 = 9;
const REFUSED: u8 = 10;
const ACCEPT: u8 = 11;
const CANDIDATE: u8 = 12;
const CHECK: u8 = 13;
const ADMIT: u8 = 14;
const RETIRE: u8 = 15;
const GIVE_WAY: u8 = 16;
const PING: u8 = 17;
const ALIVE: u8 = 18;
const CHECKED: u8 = 19;
const TLS_FILE: u8 = 20;
const READ_TLS: u8 = 21;
const LEAVING: u8 = 22;
const HUNG: u8 = 23;
const REREAD: u8 = 24;
const LOGS: u8 = 25;
const LOAD: u8 = 26;
const UNCONNECTED: u8 = 27;
const BROKEN: u8 = 28;

/// Makes the two ends: the master's, then the core's.
///
/// # Errors
/// Whatever the kernel says when descriptors run out.
pub fn pair() -> io::Result<(MasterEnd, OwnedFd)> {
    let (master, core) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    Ok((MasterEnd::new(master), core))
}

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
    pub fn ask(&mut self, word: ToCore) -> Result<(), String> {
        let lost = |error: io::Error| format!("the core does not answer: {error}");
        self.tell(word).map_err(lost)?;
        let until = Instant::now() + ANSWER;
        let mut heartbeat = Heartbeat::new(Instant::now());
        loop {
            let now = Instant::now();
            if now >= until {
                return Err(lost(io::ErrorKind::TimedOut.into()));
            }
            match heartbeat.beat(now) {
                Beat::Wait => {}
                Beat::Ask => self.tell(ToCore::Ping).map_err(lost)?,
                Beat::Dead => {
                    self.hangs.set(true);
                    return Err(lost(io::ErrorKind::TimedOut.into()));
                }
            }
            if self.is_interrupted() {
                return Err("the core's answer is not waited for, because the server stops".into());
            }
            match self.hear_answer(until.min(heartbeat.due())) {
                Ok(Some(ToMaster::Answer(answer))) => return answer,
                Ok(Some(ToMaster::Alive)) => heartbeat.answered(),
                Ok(Some(word)) => self.early.push_back(word),
                Ok(None) => return Err("the core has died".to_owned()),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::TimedOut
                    ) => {}
                Err(error) => return Err(lost(error)),
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

/// Waits until a socket is ready; false: it was not, up to this time.
fn wait_for(socket: BorrowedFd<'_>, what: PollFlags, until: Instant) -> io::Result<bool> {
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

impl AsFd for MasterEnd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A word for the core as it travels: its bytes, and the descriptors that go with them.
fn encode(word: &ToCore) -> (Vec<u8>, Vec<RawFd>) {
    let mut bytes = Vec::with_capacity(8);
    let mut descriptors = Vec::new();
    match word {
        ToCore::Worker(number, pid, channel) | ToCore::Candidate(number, pid, channel) => {
            let candidate = matches!(word, ToCore::Candidate(..));
            bytes.put_u8(if candidate { CANDIDATE } else { WORKER });
            bytes.put_u32_le(*number);
            bytes.put_i32_le(*pid);
            descriptors.extend(channel.as_raw());
        }
        ToCore::Check(number, path) => {
            bytes.put_u8(CHECK);
            bytes.put_u32_le(*number);
            bytes.put_slice(path.as_bytes());
        }
        ToCore::Admit(number) => {
            bytes.put_u8(ADMIT);
            bytes.put_u32_le(*number);
        }
        ToCore::Retire(number) => {
            bytes.put_u8(RETIRE);
            bytes.put_u32_le(*number);
        }
        ToCore::Accept => bytes.put_u8(ACCEPT),
        ToCore::GiveWay => bytes.put_u8(GIVE_WAY),
        ToCore::Ping => bytes.put_u8(PING),
        ToCore::Died(number) => {
            bytes.put_u8(DIED);
            bytes.put_u32_le(*number);
        }
        ToCore::Drain => bytes.put_u8(DRAIN),
        ToCore::Quit => bytes.put_u8(QUIT),
        ToCore::NoWorkers => bytes.put_u8(NO_WORKERS),
        ToCore::TlsFile(file) => {
            bytes.put_u8(TLS_FILE);
            bytes.put_u8(file.role);
            bytes.put_slice(file.path.as_os_str().as_bytes());
            descriptors.push(file.file.as_raw_fd());
        }
        ToCore::ReadTls => bytes.put_u8(READ_TLS),
        ToCore::Reread(logs) => {
            bytes.put_u8(REREAD);
            bytes.put_slice(logs.as_ref().err().map_or(&[], |why| why.as_bytes()));
            bytes.truncate(LONGEST);
        }
        ToCore::Logs(files) => {
            let (there, files) = files.encode();
            bytes.put_slice(&[LOGS, there]);
            descriptors = files;
        }
    }
    (bytes, descriptors)
}

/// Tells the master a word.
///
/// # Errors
/// When the master is gone.
pub fn tell_master(control: BorrowedFd<'_>, word: &ToMaster) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(8);
    match word {
        ToMaster::Ready => bytes.put_u8(READY),
        ToMaster::Serving(number) => {
            bytes.put_u8(SERVING);
            bytes.put_u32_le(*number);
        }
        ToMaster::Leaving(number) => {
            bytes.put_u8(LEAVING);
            bytes.put_u32_le(*number);
        }
        ToMaster::Broken(number) => {
            bytes.put_u8(BROKEN);
            bytes.put_u32_le(*number);
        }
        ToMaster::Hung(number, call) => {
            bytes.put_u8(HUNG);
            bytes.put_u32_le(*number);
            bytes.put_slice(call.as_bytes());
            bytes.truncate(LONGEST);
        }
        ToMaster::Load(load) => {
            bytes.put_u8(LOAD);
            for count in [load.ready, load.idle_least, load.idle_most, load.waiting] {
                bytes.put_u32_le(count);
            }
        }
        ToMaster::Drained => bytes.put_u8(DRAINED),
        ToMaster::Alive => bytes.put_u8(ALIVE),
        ToMaster::Checked(number, checked) => {
            bytes.put_u8(CHECKED);
            bytes.put_u32_le(*number);
            let why = checked.as_ref().err();
            bytes.put_slice(why.map_or(&[], |why| why.as_bytes()));
        }
        ToMaster::Answer(Ok(())) => bytes.put_u8(DONE),
        ToMaster::Answer(Err(why)) => {
            bytes.put_u8(REFUSED);
            bytes.put_slice(why.as_bytes());
            bytes.truncate(LONGEST);
        }
        ToMaster::Unconnected(number, why) => {
            bytes.put_u8(UNCONNECTED);
            bytes.put_u32_le(*number);
            bytes.put_slice(why.as_bytes());
            bytes.truncate(LONGEST);
        }
    }
    send(control, &bytes, &[])
}

fn send(control: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> io::Result<()> {
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

/// The next word from the master; nothing when it has gone.
///
/// # Errors
/// What recvmsg says (WouldBlock among it), or InvalidData for what is no word.
pub fn hear_master(control: BorrowedFd<'_>) -> io::Result<Option<Result<ToCore, Incomplete>>> {
    match receive(control)? {
        Some(message) if message.is_cut => read_incomplete(&message.bytes).map(Err).map(Some),
        Some(message) => read_word(&message.bytes, message.descriptors)
            .map(Ok)
            .map(Some),
        None => Ok(None),
    }
}

/// What a word without its descriptors was about.
fn read_incomplete(mut from: &[u8]) -> io::Result<Incomplete> {
    match from.try_get_u8().map_err(|_| garbage())? {
        WORKER | CANDIDATE => {
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            Ok(Incomplete::Worker(number))
        }
        TLS_FILE => {
            let path = from.get(1..).ok_or_else(garbage)?;
            Ok(Incomplete::TlsFile(OsStr::from_bytes(path).into()))
        }
        LOGS => Ok(Incomplete::Logs),
        _ => Err(garbage()),
    }
}

fn read_word(bytes: &[u8], descriptors: Vec<OwnedFd>) -> io::Result<ToCore> {
    let mut from = bytes;
    let number = |mut from: &[u8]| from.try_get_u32_le().map_err(|_| garbage());
    Ok(match from.try_get_u8().map_err(|_| garbage())? {
        kind @ (WORKER | CANDIDATE) => {
            let channel = <[OwnedFd; 3]>::try_from(descriptors).map_err(|_| garbage())?;
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            let pid = from.try_get_i32_le().map_err(|_| garbage())?;
            let channel = channel.into();
            match kind {
                WORKER => ToCore::Worker(number, pid, channel),
                _ => ToCore::Candidate(number, pid, channel),
            }
        }
        CHECK => {
            let number = from.try_get_u32_le().map_err(|_| garbage())?;
            let path = String::from_utf8(from.to_vec()).map_err(|_| garbage())?;
            ToCore::Check(number, path)
        }
        ADMIT => ToCore::Admit(number(from)?),
        RETIRE => ToCore::Retire(number(from)?),
        ACCEPT => ToCore::Accept,
        GIVE_WAY => ToCore::GiveWay,
        PING => ToCore::Ping,
        DIED => ToCore::Died(number(from)?),
        DRAIN => ToCore::Drain,
        QUIT => ToCore::Quit,
        NO_WORKERS => ToCore::NoWorkers,
        TLS_FILE => {
            let [file] = <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| garbage())?;
            let role = from.try_get_u8().map_err(|_| garbage())?;
            let path = PathBuf::from(OsStr::from_bytes(from));
            ToCore::TlsFile(TlsFile { role, path, file })
        }
        READ_TLS => ToCore::ReadTls,
        REREAD => {
            let why = String::from_utf8_lossy(from);
            ToCore::Reread(match why.is_empty() {
                true => Ok(()),
                false => Err(why.into_owned()),
            })
        }
        LOGS => {
            let there = from.try_get_u8().map_err(|_| garbage())?;
            ToCore::Logs(LogFiles::decode(there, descriptors).ok_or_else(garbage)?)
        }
        _ => return Err(garbage()),
    })
}

fn hear_core(control: BorrowedFd<'_>) -> io::Result<Option<ToMaster>> {
    let Some(Message { bytes, .. }) = receive(control)? else {
        return Ok(None);
    };
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
    let number = |bytes| number(bytes).map_err(|_| garbage());
    let word = match bytes.as_slice() {
        [READY] => ToMaster::Ready,
        [SERVING, rest @ ..] => ToMaster::Serving(number(rest)?),
        [LEAVING, rest @ ..] => ToMaster::Leaving(number(rest)?),
        [BROKEN, rest @ ..] => ToMaster::Broken(number(rest)?),
        [HUNG, rest @ ..] => {
            let (number, call) = rest.split_first_chunk().ok_or_else(garbage)?;
            let call = String::from_utf8_lossy(call).into_owned();
            ToMaster::Hung(u32::from_le_bytes(*number), call)
        }
        [UNCONNECTED, rest @ ..] => {
            let (number, why) = rest.split_first_chunk().ok_or_else(garbage)?;
            let why = String::from_utf8_lossy(why).into_owned();
            ToMaster::Unconnected(u32::from_le_bytes(*number), why)
        }
        [LOAD, rest @ ..] => {
            let (counts, []) = rest.as_chunks() else {
                return Err(garbage());
            };
            let counts: Vec<_> = counts
                .iter()
                .map(|&count| u32::from_le_bytes(count))
                .collect();
            let [ready, idle_least, idle_most, waiting] = counts[..] else {
                return Err(garbage());
            };
            ToMaster::Load(Load {
                ready,
                idle_least,
                idle_most,
                waiting,
            })
        }
        [DRAINED] => ToMaster::Drained,
        [ALIVE] => ToMaster::Alive,
        [CHECKED, rest @ ..] => {
            let (number, why) = rest.split_first_chunk().ok_or_else(garbage)?;
            let checked = match why {
                [] => Ok(()),
                why => Err(String::from_utf8_lossy(why).into_owned()),
            };
            ToMaster::Checked(u32::from_le_bytes(*number), checked)
        }
        [DONE] => ToMaster::Answer(Ok(())),
        [REFUSED, why @ ..] => ToMaster::Answer(Err(String::from_utf8_lossy(why).into_owned())),
        _ => return Err(garbage()),
    };
    Ok(Some(word))
}

fn garbage() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "garbage between master and core",
    )
}

/// One message as it has come.
struct Message {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    /// Descriptors went with it that this process could not open.
    is_cut: bool,
}

/// Receives one message. nix would lose, and leave open, those descriptors of a message that still found room.
fn receive(control: BorrowedFd<'_>) -> io::Result<Option<Message>> {
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
        return Err(garbage());
    }
    bytes.truncate(message.bytes);
    Ok((message.bytes > 0).then_some(Message {
        bytes,
        descriptors,
        is_cut: message.flags.contains(ReturnFlags::CTRUNC),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(core: &OwnedFd) -> Option<ToCore> {
        hear_master(core.as_fd()).unwrap().map(Result::unwrap)
    }

    #[test]
    fn words_arrive_in_order_with_their_descriptors() {
        let (mut master, core) = pair().unwrap();
        let (channel, _worker) = crate::channel::pair().unwrap();
        master.tell(ToCore::Worker(7, 4711, channel)).unwrap();
        master.tell(ToCore::Died(7)).unwrap();
        let file = TlsFile {
            role: 2,
            path: PathBuf::from("/etc/key.pem"),
            file: std::fs::File::open("/dev/null").unwrap().into(),
        };
        master.tell(ToCore::TlsFile(file)).unwrap();
        master.tell(ToCore::Drain).unwrap();
        tell_master(core.as_fd(), &ToMaster::Serving(70_000)).unwrap();
        let hung = ToMaster::Hung(3, "GET /".to_owned());
        tell_master(core.as_fd(), &hung.clone()).unwrap();
        tell_master(core.as_fd(), &ToMaster::Leaving(4)).unwrap();
        tell_master(core.as_fd(), &ToMaster::Broken(5)).unwrap();
        let load = ToMaster::Load(Load {
            ready: 70_000,
            waiting: 3,
            ..Load::default()
        });
        tell_master(core.as_fd(), &load.clone()).unwrap();
        tell_master(core.as_fd(), &ToMaster::Drained).unwrap();

        assert!(matches!(heard(&core), Some(ToCore::Worker(7, 4711, _))));
        assert!(matches!(heard(&core), Some(ToCore::Died(7))));
        match heard(&core) {
            Some(ToCore::TlsFile(file)) => {
                assert_eq!((file.role, file.path.to_str()), (2, Some("/etc/key.pem")));
            }
            word => panic!("{word:?}"),
        }
        assert!(matches!(heard(&core), Some(ToCore::Drain)));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Serving(70_000)));
        assert_eq!(master.hear().unwrap(), Some(hung));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Leaving(4)));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Broken(5)));
        assert_eq!(master.hear().unwrap(), Some(load));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Drained));
        drop(master);
        assert!(heard(&core).is_none());
    }

    #[test]
    fn an_answer_overtakes_what_came_before_it_and_nothing_is_lost() {
        let (mut master, core) = pair().unwrap();
        tell_master(core.as_fd(), &ToMaster::Serving(1)).unwrap();
        let why = "x".repeat(LONGEST + 9);
        tell_master(core.as_fd(), &ToMaster::Answer(Err(why))).unwrap();
        tell_master(core.as_fd(), &ToMaster::Answer(Ok(()))).unwrap();
        let refused = master.ask(ToCore::Died(1)).unwrap_err();
        assert_eq!(refused, "x".repeat(LONGEST - 1), "as long as a word may be");
        assert_eq!(master.ask(ToCore::Died(1)), Ok(()));
        assert!(master.has_heard());
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Serving(1)));
        assert!(!master.has_heard());
        drop(core);
        assert!(master.ask(ToCore::Drain).is_err(), "the core is gone");
    }

    #[test]
    fn who_dies_with_words_before_it_is_gone_and_nothing_else() {
        let (master, core) = pair().unwrap();
        tell_master(core.as_fd(), &ToMaster::Serving(1)).unwrap();
        drop(master);
        assert!(heard(&core).is_none());

        let (mut master, core) = pair().unwrap();
        master.tell(ToCore::Ping).unwrap();
        drop(core);
        assert_eq!(master.hear().unwrap(), None);
    }

    #[test]
    fn long_words_and_many_descriptors_travel_whole() {
        let (master, core) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let bytes = vec![b'x'; LONGEST];
        send(master.as_fd(), &bytes, &[null.as_raw_fd(); DESCRIPTORS]).unwrap();
        let received = receive(core.as_fd()).unwrap().unwrap();
        assert_eq!(received.bytes, bytes);
        assert_eq!(received.descriptors.len(), DESCRIPTORS);
        assert!(send(master.as_fd(), &[b'x'; LONGEST + 1], &[]).is_err());
        let many = [null.as_raw_fd(); DESCRIPTORS + 1];
        assert!(send(master.as_fd(), b"x", &many).is_err());
    }

    #[test]
    fn log_files_arrive_as_what_they_are() {
        let (master, core) = pair().unwrap();
        let null = || Some(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        for (access, errors) in [(true, true), (true, false), (false, true), (false, false)] {
            let access = access.then(null).flatten();
            let errors = errors.then(null).flatten();
            let expected = (access.is_some(), errors.is_some());
            master
                .tell(ToCore::Logs(LogFiles { access, errors }))
                .unwrap();
            let Some(ToCore::Logs(files)) = heard(&core) else {
                panic!("another word");
            };
            assert_eq!((files.access.is_some(), files.errors.is_some()), expected);
        }
    }

    #[test]
    fn what_is_no_word_is_refused() {
        let (master, core) = pair().unwrap();
        for bytes in [
            &[99][..],
            &[WORKER, 1, 0, 0, 0],
            &[DIED, 1],
            &[TLS_FILE, 1],
            &[LOGS],
            &[LOGS, 1],
        ] {
            send(master.as_fd(), bytes, &[]).unwrap();
            assert!(hear_master(core.as_fd()).is_err());
        }
    }

    /// Protects: a core that reads nothing holds up its master for a second, once.
    #[test]
    fn a_core_that_reads_nothing_is_known_to_hang() {
        let (mut master, core) = pair().unwrap();
        let began = Instant::now();
        while master.tell(ToCore::Ping).is_ok() {}
        assert!(master.hangs());
        assert!(master.ask(ToCore::ReadTls).is_err());
        assert!(began.elapsed() < 3 * ROOM);
        assert!(matches!(heard(&core), Some(ToCore::Ping)));
    }

    /// Protects: a stop does not wait for a core that is silent.
    #[test]
    fn a_signal_ends_the_wait_for_an_answer() {
        let (mut master, _core) = pair().unwrap();
        let (mut notes, end) = UnixStream::pair().unwrap();
        master.interrupt_by(end.try_clone().unwrap(), b"T");
        std::io::Write::write_all(&mut notes, b"CT").unwrap();
        let began = Instant::now();
        let why = master.ask(ToCore::ReadTls).unwrap_err();
        assert!(why.contains("the server stops"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(1));
        let mut left = [0; 2];
        std::io::Read::read_exact(&mut { end }, &mut left).unwrap();
        assert_eq!(&left, b"CT", "the master still sees the signals");
    }
}
