//! Messages between master and core, one SEQPACKET datagram each, with descriptors where they belong.
//!
//! [`codec`] turns messages into bytes, [`socket`] sends and receives these, and [`MasterEnd`] is the master's end.
//! The core has the socket itself: [`tell_master`], [`hear_master`].

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

use super::pool::Load;
use crate::channel::Descriptors;

mod codec;
mod core_end;
mod log_files;
mod master_end;
mod socket;
#[cfg(test)]
mod tests;

pub use self::core_end::{hear_master, tell_master};
pub use self::log_files::LogFiles;
pub use self::master_end::MasterEnd;
#[cfg(test)]
pub(crate) use self::socket::lose_next_descriptors;

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
    /// This worker gets no more requests, and leaves when it has finished those in flight.
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
    /// The texts of the configuration file and of what it names, checked: the answer says whether requests go by them from
    /// now on.
    Site(OwnedFd),
    /// Open and read such files yourself: said where there is no master, but one process. Its log files were opened again, or why not.
    Reread(Result<(), String>),
    /// Log files, opened again.
    Logs(LogFiles),
    /// The file of a log of virtual hosts, by the log's key: opened again, or for the hosts that `Site` brings.
    HostLog(String, OwnedFd),
}

/// A file that the master has opened for the core to read: no process that runs the app holds what is in it.
#[derive(Debug)]
pub struct TlsFile {
    /// What it is for, as a number (`net::tls::files::Role`).
    pub role: u8,
    /// The hosts that a certificate is for; none: it names them itself.
    pub hosts: Option<Vec<String>>,
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
    /// The texts of the configuration file.
    Site,
}

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
