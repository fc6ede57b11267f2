//! Why the server can't start or go on, or the core has not done what it was asked for.

use std::error;
use std::fmt;
use std::io;

use nix::unistd::{Pid, Uid};

/// An error of this layer. Its text is one sentence for the operator.
#[derive(Debug)]
pub enum Error {
    /// The system refuses what the master needs at its start.
    Start(io::Error),
    /// The first core can't be started.
    StartCore(io::Error),
    /// No core follows one that has died.
    RestartCore(io::Error),
    /// A core that followed one that died has ended before it was ready: how.
    RestartedCore(String),
    /// The core was gone when it was asked.
    CoreDied,
    /// The core was gone when it was to accept connections.
    CoreLost(io::Error),
    /// The core does not read what it is sent: what it was to know, and why not.
    Unheard(&'static str, io::Error),
    /// The core does not answer.
    NoAnswer(io::Error),
    /// A signal that stops the server has ended the wait for the core's answer.
    Stopping,
    /// The core has refused; its own sentence.
    Refused(String),
    /// No worker was ready before the last one failed: why.
    NoWorker(String),
    /// The worker of a trial has failed: why.
    TrialWorker(String),
    /// The trial of a new program exited with this status.
    TrialExit(i32),
    /// The trial of a new program has ended in another way.
    TrialEnd(String),
    /// What a role says ([`super::master::Roles`]).
    Role(Box<dyn error::Error + Send + Sync>),
    /// The pid file belongs to a running server.
    Running(Pid),
    /// The pid file belongs to a server that has not written its pid yet.
    Starting,
    /// There is no such user or group.
    Unknown(Account),
    /// The system can't say whether there is such a user or group.
    LookUp(Account, nix::Error),
    /// The groups of the user can't be listed.
    Groups(io::Error),
    /// The user has a number only, so that no group is known.
    NoGroup(Uid),
    /// Another user, and this process is not root.
    NotRoot(Account),
    /// Whatever else the system says.
    System(io::Error),
}

/// A user or a group as an option names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The option.
    pub option: String,
    /// What it says.
    pub name: String,
    /// What is meant by it.
    pub kind: Kind,
}

/// What an option names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A user
    User,
    /// A group
    Group,
}

impl Error {
    /// What a role says.
    pub fn role(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
        Error::Role(error.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Start(error) => write!(f, "can't start: {error}"),
            Error::StartCore(error) => write!(f, "can't start the core: {error}"),
            Error::RestartCore(error) => write!(f, "can't start a new core: {error}"),
            Error::RestartedCore(how) => write!(f, "can't start a new core: it {how}"),
            Error::CoreDied => f.write_str("the core has died"),
            Error::CoreLost(error) => write!(f, "the core has died: {error}"),
            Error::Unheard(what, error) => write!(f, "the core can't be told of {what}: {error}"),
            Error::NoAnswer(error) => write!(f, "the core does not answer: {error}"),
            Error::Stopping => {
                f.write_str("the core's answer is not waited for, because the server stops")
            }
            Error::Refused(why) => f.write_str(why),
            Error::NoWorker(why) => write!(f, "no worker can serve: {why}"),
            Error::TrialWorker(why) => write!(f, "the app can't serve: {why}"),
            Error::TrialExit(status) => write!(
                f,
                "its trial exited with status {status}; its log lines say why"
            ),
            Error::TrialEnd(how) => write!(f, "its trial {how}"),
            Error::Role(error) => error.fmt(f),
            Error::Running(pid) => write!(f, "a server is running already, pid {pid}"),
            Error::Starting => f.write_str("a server is starting already"),
            Error::Unknown(Account { option, name, kind }) => {
                write!(f, "option '{option}': there is no {kind} '{name}'")
            }
            Error::LookUp(Account { option, name, .. }, error) => {
                write!(f, "option '{option}': '{name}': {error}")
            }
            Error::Groups(error) => write!(f, "option 'user': the user's groups: {error}"),
            Error::NoGroup(uid) => write!(
                f,
                "option 'user': {uid} is not in the password file, so option 'group' is needed"
            ),
            Error::NotRoot(Account { option, name, kind }) => {
                let verb = match kind {
                    Kind::User => "become",
                    Kind::Group => "choose",
                };
                write!(f, "option '{option}': only root can {verb} '{name}'")
            }
            Error::System(error) => error.fmt(f),
        }
    }
}

impl error::Error for Error {}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::User => "user",
            Kind::Group => "group",
        })
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::System(error)
    }
}
