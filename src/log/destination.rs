//! Where the access log goes: what `access_log_path` may say, and how that is opened.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use crate::files;

/// The socket of the system's log daemon.
const SYSLOG: &str = "/dev/log";

/// The facilities of syslog(3), in the order of their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// A place for lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file that is appended to, or a FIFO.
    File(PathBuf),
    /// Standard output as the server was started with it.
    Stdout,
    /// Standard error.
    Stderr,
    /// The system's log.
    Syslog(Syslog),
    /// The standard input of a command, which the master starts.
    Command(String),
}

/// How lines go to the system's log, with the severity `info`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syslog {
    /// Number of the facility.
    pub facility: u8,
    /// The program's name in front of each line.
    pub tag: String,
    /// The daemon's datagram socket.
    pub server: PathBuf,
}

impl Syslog {
    /// A socket that is connected to the daemon.
    ///
    /// # Errors
    /// When there is no daemon.
    pub fn connect(&self) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(&self.server)?;
        // A daemon that has stopped reading must not hold lines up for long.
        socket.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
        Ok(socket)
    }
}

impl Destination {
    /// What the text says: a path, `-` or `stdout`, `stderr`, `syslog` with `:FACILITY,tag=TAG,server=PATH`, or
    /// `|COMMAND`. Nothing for an empty text: no log. `name` is the program's, for the system's log.
    ///
    /// # Errors
    /// Names what is wrong.
    pub fn parse(text: &str, name: &str) -> Result<Option<Destination>, DestinationError> {
        if text.contains('\0') {
            return Err(DestinationError::ZeroByte(text.to_owned()));
        }
        Ok(match text {
            "" => None,
            "-" | "stdout" | "/dev/stdout" => Some(Destination::Stdout),
            "stderr" | "/dev/stderr" => Some(Destination::Stderr),
            "syslog" => Some(Destination::Syslog(syslog("", name)?)),
            _ => Some(
                match (text.strip_prefix('|'), text.strip_prefix("syslog:")) {
                    (Some(command), _) if command.trim().is_empty() => {
                        return Err(DestinationError::NoCommand);
                    }
                    (Some(command), _) => Destination::Command(command.trim().to_owned()),
                    (_, Some(how)) => Destination::Syslog(syslog(how, name)?),
                    _ => Destination::File(PathBuf::from(text)),
                },
            ),
        })
    }

    /// Opens it; nothing for a command, which is to be started instead.
    ///
    /// # Errors
    /// What hinders that.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        Ok(Some(match self {
            Destination::File(path) => files::append(path)?,
            Destination::Stdout => io::stdout().as_fd().try_clone_to_owned()?,
            Destination::Stderr => io::stderr().as_fd().try_clone_to_owned()?,
            Destination::Syslog(syslog) => syslog.connect()?.into(),
            Destination::Command(_) => return Ok(None),
        }))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::File(path) => path.display().fmt(f),
            Destination::Stdout => f.write_str("stdout"),
            Destination::Stderr => f.write_str("stderr"),
            Destination::Syslog(syslog) => write!(f, "syslog at {}", syslog.server.display()),
            Destination::Command(command) => write!(f, "|{command}"),
        }
    }
}

/// Why a text is no destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DestinationError {
    /// No path and no command has a zero byte.
    ZeroByte(String),
    /// Nothing follows `|`.
    NoCommand,
    /// Not a facility of syslog.
    Facility(String),
    /// Not a tag of syslog.
    Tag(String),
    /// Neither a facility, a tag nor a server of syslog.
    SyslogItem(String),
}

impl fmt::Display for DestinationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestinationError::ZeroByte(text) => {
                write!(f, "'{}' has a zero byte", text.escape_debug())
            }
            DestinationError::NoCommand => f.write_str("there is no command after '|'"),
            DestinationError::Facility(name) => write!(f, "'{name}' is no facility of syslog"),
            DestinationError::Tag(tag) => {
                write!(f, "'{}' is no tag of syslog", tag.escape_debug())
            }
            DestinationError::SyslogItem(item) => {
                write!(f, "'{}' says nothing about syslog", item.escape_debug())
            }
        }
    }
}

impl std::error::Error for DestinationError {}

fn syslog(how: &str, name: &str) -> Result<Syslog, DestinationError> {
    let mut syslog = Syslog {
        // As nginx has it.
        facility: 23,
        tag: name.to_owned(),
        server: PathBuf::from(SYSLOG),
    };
    for item in how
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
    {
        match item.split_once('=').unwrap_or(("facility", item)) {
            ("facility", facility) => {
                let number = FACILITIES.iter().position(|known| *known == facility);
                let number = number.filter(|_| !facility.is_empty());
                syslog.facility =
                    number.ok_or_else(|| DestinationError::Facility(facility.to_owned()))? as u8;
            }
            ("tag", tag) => {
                let plain = |byte: u8| byte.is_ascii_graphic() && !b":[]".contains(&byte);
                if tag.is_empty() || tag.len() > 48 || !tag.bytes().all(plain) {
                    return Err(DestinationError::Tag(tag.to_owned()));
                }
                syslog.tag = tag.to_owned();
            }
            ("server", path) if path.starts_with('/') => syslog.server = PathBuf::from(path),
            _ => {
                return Err(DestinationError::SyslogItem(item.to_owned()));
            }
        }
    }
    Ok(syslog)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<Destination> {
        Destination::parse(text, "shop").unwrap()
    }

    fn syslog_at(facility: u8, tag: &str, server: &str) -> Option<Destination> {
        Some(Destination::Syslog(Syslog {
            facility,
            tag: tag.to_owned(),
            server: PathBuf::from(server),
        }))
    }

    #[test]
    fn every_form() {
        assert_eq!(parse(""), None);
        assert_eq!(parse("-"), Some(Destination::Stdout));
        assert_eq!(parse("/dev/stderr"), Some(Destination::Stderr));
        assert_eq!(
            parse("/var/log/a.log"),
            Some(Destination::File(PathBuf::from("/var/log/a.log")))
        );
        assert_eq!(
            parse("logs/a"),
            Some(Destination::File(PathBuf::from("logs/a")))
        );
        assert_eq!(
            parse("| rotatelogs /x 86400"),
            Some(Destination::Command("rotatelogs /x 86400".to_owned()))
        );
        assert_eq!(parse("syslog"), syslog_at(23, "shop", "/dev/log"));
        assert_eq!(parse("syslog:daemon"), syslog_at(3, "shop", "/dev/log"));
        assert_eq!(
            parse("syslog:facility=local0,tag=web,server=/run/l"),
            syslog_at(16, "web", "/run/l")
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, error) in [
            ("|", "there is no command after '|'"),
            ("syslog:local8", "'local8' is no facility of syslog"),
            ("syslog:facility=", "'' is no facility of syslog"),
            ("syslog:tag=a b", "'a b' is no tag of syslog"),
            ("syslog:server=x", "'server=x' says nothing about syslog"),
            ("a\0b", "'a\\0b' has a zero byte"),
        ] {
            let refused = Destination::parse(text, "x").unwrap_err();
            assert_eq!(refused.to_string(), error);
        }
    }

    /// Protects: a server whose log is a FIFO starts without a reader.
    #[test]
    fn a_fifo_is_opened_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(files::append(&path).is_ok());
    }
}
