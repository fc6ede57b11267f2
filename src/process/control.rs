//! Words between master and core: one SEQPACKET message each, with descriptors where they belong.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut};
use nix::cmsg_space;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};

pub use super::log_files::LogFiles;
use super::pool::Load;
use crate::channel::Descriptors;

/// The most bytes that a word has: what has more (the certificates of many hosts) is told in several words.
pub const LONGEST: usize = 64 * 1024;

/// The most descriptors that travel with a word.
pub const DESCRIPTORS: usize = 64;

/// How long the core may think about a question.
const ANSWER: Duration = Duration::from_secs(10);

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
    /// This worker gets no more requests, and is told to leave behind what it has in work.
    Retire(u32),
    /// Worker number so-and-so is dead, as waitpid told.
    Died(u32),
    /// Accept no more, finish what is in work, then say `Drained`.
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
    /// How worker number so-and-so has answered `Check`: well, or one sentence that says why not.
    Checked(u32, Result<(), String>),
    /// To `Ping`.
    Alive,
    /// How busy the workers were for a while.
    Load(Load),
    /// Nothing is in work any more, and the workers were told to stop.
    Drained,
    /// The answer to a question ([`MasterEnd::ask`]): done, or one sentence that says why not.
    Answer(Result<(), String>),
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
    let master = MasterEnd {
        socket: master,
        early: VecDeque::new(),
    };
    Ok((master, core))
}

/// The master's end: it tells the core, hears it, and asks it.
#[derive(Debug)]
pub struct MasterEnd {
    socket: OwnedFd,
    /// Words that came while an answer was awaited.
    early: VecDeque<ToMaster>,
}

impl MasterEnd {
    /// The end of a socket that was handed over by the program before.
    pub fn new(socket: OwnedFd) -> MasterEnd {
        MasterEnd {
            socket,
            early: VecDeque::new(),
        }
    }

    /// Tells the core a word.
    ///
    /// # Errors
    /// When the core is gone, or InvalidInput for a word that is too long.
    pub fn tell(&self, word: ToCore) -> io::Result<()> {
        let (bytes, descriptors) = encode(&word);
        send(self.socket.as_fd(), &bytes, &descriptors)
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
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Ok(0) => return Err(lost(io::ErrorKind::TimedOut.into())),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(lost(error.into())),
                Ok(_) => {}
            }
            match hear_core(self.socket.as_fd()) {
                Ok(Some(ToMaster::Answer(answer))) => return answer,
                Ok(Some(word)) => self.early.push_back(word),
                Ok(None) => return Err("the core has died".to_owned()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(lost(error)),
            }
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
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Err(nix::errno::Errno::EINTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// The next word from the master; nothing when it has gone.
///
/// # Errors
/// What recvmsg says (WouldBlock among it), or InvalidData for what is no word.
pub fn hear_master(control: BorrowedFd<'_>) -> io::Result<Option<ToCore>> {
    let Some((bytes, descriptors)) = receive(control)? else {
        return Ok(None);
    };
    let mut from = &bytes[..];
    let number = |mut from: &[u8]| from.try_get_u32_le().map_err(|_| garbage());
    let word = match from.try_get_u8().map_err(|_| garbage())? {
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
    };
    Ok(Some(word))
}

fn hear_core(control: BorrowedFd<'_>) -> io::Result<Option<ToMaster>> {
    let Some((bytes, _)) = receive(control)? else {
        return Ok(None);
    };
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes);
    let number = |bytes| number(bytes).map_err(|_| garbage());
    let word = match bytes.as_slice() {
        [READY] => ToMaster::Ready,
        [SERVING, rest @ ..] => ToMaster::Serving(number(rest)?),
        [LEAVING, rest @ ..] => ToMaster::Leaving(number(rest)?),
        [HUNG, rest @ ..] => {
            let (number, call) = rest.split_first_chunk().ok_or_else(garbage)?;
            let call = String::from_utf8_lossy(call).into_owned();
            ToMaster::Hung(u32::from_le_bytes(*number), call)
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

fn receive(control: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = cmsg_space!([RawFd; DESCRIPTORS]);
    let mut pieces = [IoSliceMut::new(&mut bytes)];
    let message = match recvmsg::<()>(
        control.as_raw_fd(),
        &mut pieces,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    ) {
        // It has died with words before it that it had not read: that is an end like any other.
        Err(nix::errno::Errno::ECONNRESET) => return Ok(None),
        message => message?,
    };
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        let ControlMessageOwned::ScmRights(received) = control else {
            continue;
        };
        for fd in received {
            // SAFETY: the kernel has just made this descriptor for this process; nobody else owns it.
            descriptors.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    let length = message.bytes;
    if message
        .flags
        .intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC)
    {
        return Err(garbage());
    }
    bytes.truncate(length);
    Ok(if length == 0 {
        None
    } else {
        Some((bytes, descriptors))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let load = ToMaster::Load(Load {
            ready: 70_000,
            waiting: 3,
            ..Load::default()
        });
        tell_master(core.as_fd(), &load.clone()).unwrap();
        tell_master(core.as_fd(), &ToMaster::Drained).unwrap();

        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Worker(7, 4711, _))
        ));
        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Died(7))
        ));
        match hear_master(core.as_fd()).unwrap() {
            Some(ToCore::TlsFile(file)) => {
                assert_eq!((file.role, file.path.to_str()), (2, Some("/etc/key.pem")));
            }
            word => panic!("{word:?}"),
        }
        assert!(matches!(
            hear_master(core.as_fd()).unwrap(),
            Some(ToCore::Drain)
        ));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Serving(70_000)));
        assert_eq!(master.hear().unwrap(), Some(hung));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Leaving(4)));
        assert_eq!(master.hear().unwrap(), Some(load));
        assert_eq!(master.hear().unwrap(), Some(ToMaster::Drained));
        drop(master);
        assert!(hear_master(core.as_fd()).unwrap().is_none());
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
        assert!(hear_master(core.as_fd()).unwrap().is_none());

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
        let (received, descriptors) = receive(core.as_fd()).unwrap().unwrap();
        assert_eq!(received, bytes);
        assert_eq!(descriptors.len(), DESCRIPTORS);
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
            let Some(ToCore::Logs(files)) = hear_master(core.as_fd()).unwrap() else {
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
}
