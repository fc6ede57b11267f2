//! Listening sockets: bound by the master before anything is forked, so that errors reach the operator.

#![forbid(unsafe_code)]

use std::error;
use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// Why a socket can't listen. Its text is one sentence that names the socket.
#[derive(Debug)]
pub enum Error {
    /// The system says why.
    System(String, io::Error),
    /// The name of the host has no address.
    NoAddress(String),
    /// There is a file at the path of a Unix socket that is none.
    OtherFile(String),
    /// Another process listens on the Unix socket.
    Used(String),
    /// What was inherited is not a listening socket.
    NotListening(String, Option<io::Error>),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self {
            Error::NotListening(name, None) => {
                return write!(f, "{name} is not a listening socket");
            }
            Error::NotListening(name, Some(error)) => {
                return write!(f, "{name} is not a listening socket: {error}");
            }
            Error::System(place, _)
            | Error::NoAddress(place)
            | Error::OtherFile(place)
            | Error::Used(place) => place,
        };
        write!(f, "can't listen on {place}: ")?;
        match self {
            Error::System(_, error) => error.fmt(f),
            Error::NoAddress(_) => f.write_str("the name has no address"),
            Error::OtherFile(_) => f.write_str("there is a file that is not a socket"),
            Error::Used(_) | Error::NotListening(..) => {
                f.write_str("some process is already listening there")
            }
        }
    }
}

impl error::Error for Error {}

/// A socket that listens.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: OwnedFd,
    /// Whether it is a Unix socket.
    pub unix: bool,
    /// Whether clients speak TLS there; no, until somebody says so.
    pub tls: bool,
    /// Whether connections begin with a PROXY header; no, until somebody says so.
    pub proxy: bool,
    /// Whether connections are accepted with their first bytes; no, until somebody says so.
    pub deferred: bool,
    /// The address it is really bound to, for TCP: a port 0 has become a number.
    pub address: Option<SocketAddr>,
    /// The path of a Unix socket.
    pub path: Option<PathBuf>,
    /// The file of a Unix socket that was made here.
    pub file: Option<SocketFile>,
}

/// The file of a Unix socket that we have made.
#[derive(Clone, Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Who may connect to a Unix socket; none: as the system makes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct UnixAccess {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner's number.
    pub owner: Option<u32>,
    /// The group's number.
    pub group: Option<u32>,
}

/// Listens on every address of `host`. Port 0 is the same port of the system's choice for all of them. An address that
/// can't be used is passed over if another can: a debug line where the machine lacks it, else a warning.
///
/// # Errors
/// One sentence that names the host and port.
pub fn tcp(host: &str, port: u16, v6_only: bool, backlog: u32) -> Result<Vec<Listening>, Error> {
    let failed = |error| Error::System(authority(host, port), error);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let mut all: Vec<Listening> = Vec::new();
    let mut failures = Vec::new();
    for mut address in addresses {
        let first = all.first().and_then(|listening| listening.address);
        address.set_port(first.map_or(port, |first| first.port()));
        match tcp_address(address, v6_only, backlog) {
            Ok(listening) => all.push(listening),
            Err(error) => failures.push((address, error)),
        }
    }
    if all.is_empty() {
        return Err(match failures.pop() {
            Some((_, error)) => failed(error),
            None => Error::NoAddress(authority(host, port)),
        });
    }
    for (address, error) in failures {
        let lacking = [libc::EADDRNOTAVAIL, libc::EAFNOSUPPORT];
        let level = match error.raw_os_error() {
            Some(number) if lacking.contains(&number) => ::log::Level::Debug,
            _ => ::log::Level::Warn,
        };
        ::log::log!(
            level,
            "can't listen on {address}, an address of '{host}': {error}"
        );
    }
    Ok(all)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn tcp_address(address: SocketAddr, v6_only: bool, backlog: u32) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Whatever net.ipv6.bindv6only says.
        socket.set_only_v6(v6_only)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.try_into().unwrap_or(i32::MAX))?;
    let address = socket.local_addr()?.as_socket();
    Ok(Listening {
        socket: socket.into(),
        unix: false,
        tls: false,
        proxy: false,
        deferred: false,
        address,
        path: None,
        file: None,
    })
}

/// Listens on a Unix socket. A socket file that nobody listens on any more is replaced. For a process of one thread: the
/// umask changes for a moment.
///
/// # Errors
/// One sentence that names the path: a live server there, or a file that is no socket, is left alone.
pub fn unix(path: &Path, access: UnixAccess, backlog: u32) -> Result<Listening, Error> {
    let place = || path.display().to_string();
    let failed = |error| Error::System(place(), error);
    match found_at(path).map_err(failed)? {
        Found::Nothing => {}
        Found::Stale => fs::remove_file(path).map_err(failed)?,
        Found::Used => return Err(Error::Used(place())),
        Found::OtherFile => return Err(Error::OtherFile(place())),
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    bind_unix(&socket, path, access.mode).map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    // Nobody can connect before listen(2): by then the file has its mode and owner.
    let listen = || -> io::Result<()> {
        if access.owner.is_some() || access.group.is_some() {
            std::os::unix::fs::lchown(path, access.owner, access.group)?;
        }
        socket.listen(backlog.try_into().unwrap_or(i32::MAX))
    };
    if let Err(error) = listen() {
        file.remove();
        return Err(failed(error));
    }
    Ok(Listening {
        socket: socket.into(),
        unix: true,
        tls: false,
        proxy: false,
        deferred: false,
        address: None,
        path: Some(path.to_owned()),
        file: Some(file),
    })
}

/// Binds; the file is born with `mode`.
fn bind_unix(socket: &Socket, path: &Path, mode: Option<u32>) -> io::Result<()> {
    let address = SockAddr::unix(path)?;
    let masked = |mode: u32| Mode::from_bits_truncate(0o777 & !mode);
    let before = mode.map(|mode| umask(masked(mode)));
    let bound = socket.bind(&address);
    before.map(umask);
    bound
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is there now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(path: &Path) -> io::Result<SocketFile> {
        let found = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            // The process may change its folder.
            path: std::path::absolute(path)?,
            device: found.dev(),
            inode: found.ino(),
        })
    }

    /// Removes it, unless another has taken its place.
    pub fn remove(&self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// What is at the path of a Unix socket.
enum Found {
    Nothing,
    /// A socket on which nobody listens.
    Stale,
    /// A socket on which somebody listens.
    Used,
    OtherFile,
}

fn found_at(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(Found::OtherFile),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Ok(_) => Ok(Found::Used),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Found::Stale),
        Err(error) => Err(error),
    }
}

/// A socket that others have made to listen; `what` names it in errors.
///
/// # Errors
/// One sentence where the descriptor is no listening socket.
pub fn inherited(descriptor: OwnedFd, what: &str) -> Result<Listening, Error> {
    let failed = |error| Error::NotListening(what.to_owned(), error);
    let socket = SockRef::from(&descriptor);
    if !socket.is_listener().map_err(|error| failed(Some(error)))? {
        return Err(failed(None));
    }
    let address = socket.local_addr();
    let address = address.map_err(|error| failed(Some(error)))?;
    Ok(Listening {
        unix: address.is_unix(),
        tls: false,
        proxy: false,
        deferred: false,
        path: address.as_pathname().map(Path::to_owned),
        address: address.as_socket(),
        socket: descriptor,
        file: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_a_live_one_and_a_file_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(unix(&path, UnixAccess::default(), 5).unwrap());
        assert!(path.exists(), "closing leaves the file");

        let live = unix(&path, UnixAccess::default(), 5).unwrap();
        let error = format!("{:#}", unix(&path, UnixAccess::default(), 5).unwrap_err());
        assert!(
            error.contains("already listening") && error.contains("/s"),
            "{error}"
        );
        drop(live);

        let file = folder.path().join("f");
        fs::write(&file, "keep me").unwrap();
        let error = format!("{:#}", unix(&file, UnixAccess::default(), 5).unwrap_err());
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"keep me");
    }

    #[test]
    fn a_socket_is_removed_by_whoever_made_it_and_only_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let first = unix(&path, UnixAccess::default(), 5).unwrap();
        fs::remove_file(&path).unwrap();
        let second = unix(&path, UnixAccess::default(), 5).unwrap();
        first.file.unwrap().remove();
        assert!(path.exists(), "another server's");
        second.file.unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_port_in_use_is_named() {
        let first = tcp("127.0.0.1", 0, false, 5).unwrap();
        let port = first[0].address.unwrap().port();
        let error = format!("{:#}", tcp("127.0.0.1", port, false, 5).unwrap_err());
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }

    #[test]
    fn every_address_of_a_name_is_bound_to_one_port() {
        let all = tcp("localhost", 0, false, 5).unwrap();
        let bound: Vec<_> = all.iter().map(|l| l.address.unwrap()).collect();
        let port = bound[0].port();
        assert!(bound.iter().all(|address| address.port() == port));
        let addresses = ("localhost", port).to_socket_addrs().unwrap();
        for address in addresses {
            let usable = std::net::TcpListener::bind((address.ip(), 0)).is_ok();
            assert_eq!(bound.contains(&address), usable, "{address}: {bound:?}");
        }
    }

    #[test]
    fn the_ipv6_wildcard_takes_ipv4_unless_it_is_told_not_to() {
        for v6_only in [false, true] {
            let Ok(all) = tcp("::", 0, v6_only, 5) else {
                return; // This machine has no IPv6.
            };
            let port = all[0].address.unwrap().port();
            let refused = std::net::TcpStream::connect(("127.0.0.1", port)).is_err();
            assert_eq!(refused, v6_only);
        }
    }

    #[test]
    fn only_a_listening_socket_is_taken_over() {
        let listening = tcp("127.0.0.1", 0, false, 5).unwrap().remove(0);
        let address = listening.address;
        assert_eq!(inherited(listening.socket, "it").unwrap().address, address);
        let (one, _) = UnixStream::pair().unwrap();
        assert!(inherited(one.into(), "it").is_err());
    }
}
