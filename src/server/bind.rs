//! The listening sockets of a server: bound here, handed in by others, or kept from the program before.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Gid, Uid};

use super::Server;
use crate::config;
use crate::config::resolved::{Place, Remote};
use crate::net::listen::{self, Listening, SocketFile, UnixAccess};
use crate::process::privileges;
use crate::worker;

impl Server<'_> {
    /// Binds every place, or takes the socket that the program before has bound there.
    ///
    /// # Errors
    /// One sentence that names the place.
    pub(super) fn bind(&mut self) -> Result<()> {
        let access = unix_access(&self.config.unix_access)?;
        for listener in &self.config.listeners {
            let kept = place_name(&listener.place);
            let kept = kept.and_then(|name| self.handover.take_socket(&name));
            let mut listening = match (&listener.place, kept) {
                (place, Some(socket)) => kept_socket(place, socket)?,
                (Place::Tcp(tcp), None) => listen::tcp(&tcp.host, tcp.port, self.config.backlog)?,
                (Place::Unix(path), None) => listen::unix(path, access, self.config.backlog)?,
                (Place::Inherited(number), None) => {
                    listen::inherited(duplicate(*number)?, "listen_sock")?
                }
                (Place::HandedIn(number), None) => {
                    let what = format!("descriptor {number}, which was handed in,");
                    listen::inherited(take(*number)?, &what)?
                }
            };
            self.files.extend(listening.file.take());
            listening.tls = listener.tls;
            listening.deferred = self.config.defer_accept;
            if listening.tls && listening.unix {
                bail!(
                    "option 'ssl': TLS is not spoken on Unix sockets, and the one handed in is such"
                );
            }
            self.facts.listeners.push(told(listener, &listening));
            self.listening.push(listening);
        }
        self.handover.close_unwanted();
        Ok(())
    }
}

/// Names become numbers.
fn unix_access(access: &config::resolved::UnixAccess) -> Result<UnixAccess> {
    let owner = access.owner.as_deref();
    let group = access.group.as_deref();
    let owner = owner.map(|name| privileges::uid("unix_socket_owner", name));
    let group = group.map(|name| privileges::gid("unix_socket_group", name));
    Ok(UnixAccess {
        mode: access.mode,
        owner: owner.transpose()?.map(Uid::as_raw),
        group: group.transpose()?.map(Gid::as_raw),
    })
}

/// What a socket is called that is handed over to the next program; nothing where others have opened it.
pub(super) fn place_name(place: &Place) -> Option<String> {
    match place {
        Place::Tcp(tcp) => Some(format!("tcp {:?} {}", tcp.host, tcp.port)),
        Place::Unix(path) => Some(format!("unix {path:?}")),
        Place::Inherited(_) | Place::HandedIn(_) => None,
    }
}

/// A socket that the program before has bound at this place.
fn kept_socket(place: &Place, socket: OwnedFd) -> Result<Listening> {
    let mut listening = listen::inherited(socket, "a socket of the program before")?;
    if let Place::Unix(path) = place {
        listening.path = Some(path.clone());
        // Gone, if somebody has removed it: then nobody finds the server there, as before.
        listening.file = SocketFile::of(path).ok();
    }
    Ok(listening)
}

/// A copy of a descriptor that belongs to the app.
fn duplicate(number: i32) -> Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC on any number makes a new descriptor or fails.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error())
            .with_context(|| format!("option 'listen_sock': descriptor {number} is not open"));
    }
    // SAFETY: fcntl has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A descriptor that a supervisor has handed in. Programs that the app starts shall not get it.
fn take(number: i32) -> Result<OwnedFd> {
    // SAFETY: F_SETFD on any number works on what is open there or fails.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error()).with_context(|| {
            format!("descriptor {number}, which was to be handed in, is not open")
        });
    }
    // SAFETY: it is open, and by the supervisor's protocol nobody's but ours.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// What apps are told of a listener, its port known by now.
fn told(listener: &config::resolved::Listener, listening: &Listening) -> worker::Listener {
    let path = listening.path.clone().unwrap_or_default();
    let (name, port) = match listening.address {
        Some(address) => (
            config::address::bracketed(&address.ip().to_string()),
            address.port().to_string(),
        ),
        // As Starlet has it, for a socket that was handed in.
        None => ("0".to_owned(), path.display().to_string()),
    };
    let remote = match listener.remote {
        Remote::Peer if listening.unix => worker::Remote::Undefined,
        Remote::Peer => worker::Remote::Peer,
        Remote::Gepok => worker::Remote::Loopback,
        Remote::Starlet => worker::Remote::Undefined,
    };
    worker::Listener {
        server_name: listener.server_name.clone().unwrap_or(name),
        server_port: listener.server_port.clone().unwrap_or(port),
        remote,
        address: match listening.address {
            Some(address) => worker::Address::Ip(address),
            None => worker::Address::Unix(path),
        },
    }
}
