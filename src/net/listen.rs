//! Listening sockets: bound by the master before anything is forked, so that errors reach the operator.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

/// A socket that listens.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: OwnedFd,
    /// Whether it is a Unix socket.
    pub unix: bool,
    /// Whether clients speak TLS there; no, until somebody says so.
    pub tls: bool,
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

/// Listens on a TCP address; the first address of `host` that can be bound is taken.
///
/// # Errors
/// One sentence that names the host and port.
pub fn tcp(host: &str, port: u16, backlog: u32) -> Result<Listening> {
    let what = || format!("can't listen on {}", authority(host, port));
    let mut last = anyhow!("the name has no address");
    for address in (host, port).to_socket_addrs().with_context(what)? {
        match tcp_address(address, backlog) {
            Ok(socket) => {
                let address = SockRef::from(&socket)
                    .local_addr()
                    .ok()
                    .and_then(|a| a.as_socket());
                return Ok(Listening {
                    socket: socket.into(),
                    unix: false,
                    tls: false,
                    deferred: false,
                    address,
                    path: None,
                    file: None,
                });
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last).with_context(what)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn tcp_address(address: SocketAddr, backlog: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that `*:80` and `[::]:80` can stand beside each other.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(backlog.try_into().unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Listens on a Unix socket. A socket file that nobody listens on any more is replaced. For a process of one thread: the
/// umask changes for a moment.
///
/// # Errors
/// One sentence that names the path: a live server there, or a file that is no socket, is left alone.
pub fn unix(path: &Path, access: UnixAccess, backlog: u32) -> Result<Listening> {
    let what = || format!("can't listen on {}", path.display());
    remove_stale(path).with_context(what)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).with_context(what)?;
    bind_unix(&socket, path, access.mode).with_context(what)?;
    let file = SocketFile::of(path).with_context(what)?;
    // Nobody can connect before listen(2): the file is what it shall be by then.
    let listen = || -> io::Result<()> {
        if access.owner.is_some() || access.group.is_some() {
            std::os::unix::fs::lchown(path, access.owner, access.group)?;
        }
        socket.listen(backlog.try_into().unwrap_or(i32::MAX))
    };
    if let Err(error) = listen() {
        file.remove();
        return Err(error).with_context(what);
    }
    Ok(Listening {
        socket: socket.into(),
        unix: true,
        tls: false,
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

fn remove_stale(path: &Path) -> Result<()> {
    let kind = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) => metadata.file_type(),
    };
    if !kind.is_socket() {
        bail!("there is a file that is not a socket");
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("some process is already listening there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Ok(fs::remove_file(path)?)
        }
        Err(error) => Err(error.into()),
    }
}

/// A socket that others have made to listen; `what` names it in errors.
///
/// # Errors
/// One sentence where the descriptor is no listening socket.
pub fn inherited(descriptor: OwnedFd, what: &str) -> Result<Listening> {
    let what = || format!("{what} is not a listening socket");
    let socket = SockRef::from(&descriptor);
    if !socket.is_listener().with_context(what)? {
        bail!(what());
    }
    let address = socket.local_addr().with_context(what)?;
    Ok(Listening {
        unix: address.is_unix(),
        tls: false,
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
        let first = tcp("127.0.0.1", 0, 5).unwrap();
        let port = first.address.unwrap().port();
        let error = format!("{:#}", tcp("127.0.0.1", port, 5).unwrap_err());
        assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    }

    #[test]
    fn only_a_listening_socket_is_taken_over() {
        let listening = tcp("127.0.0.1", 0, 5).unwrap();
        let address = listening.address;
        assert_eq!(inherited(listening.socket, "it").unwrap().address, address);
        let (one, _) = UnixStream::pair().unwrap();
        assert!(inherited(one.into(), "it").is_err());
    }
}
