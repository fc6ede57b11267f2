//! The listening sockets of a server: bound here, handed in by others, or kept from the program before.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use nix::unistd::{Gid, Uid};

use super::Server;
use super::daemon::Start;
use crate::config;
use crate::config::resolved::{Bind, Remote};
use crate::config::table::PATH_LIMIT;
use crate::net::listen::{self, Listening, SocketFile, UnixAccess};
use crate::process::origin::Origin;
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
            let name = bind_name(&listener.bind);
            let mut kept = Vec::new();
            let also = name.as_deref().map(further);
            let mut wanted = name.as_deref();
            while let Some(socket) = wanted.and_then(|name| self.handover.take_socket(name)) {
                wanted = also.as_deref();
                let mut listening = kept_socket(&listener.bind, socket, self.origin)?;
                if self.start == Start::Trial {
                    // It is the running server's.
                    listening.file = None;
                }
                kept.push(listening);
            }
            let opened = match &listener.bind {
                _ if !kept.is_empty() => kept,
                Bind::Tcp(tcp) => {
                    let v6_only = self.config.v6_only(tcp);
                    listen::tcp(&tcp.host, tcp.port, v6_only, self.config.backlog)?
                }
                Bind::Unix(path) => {
                    let path = socket_path(path, self.origin);
                    vec![listen::unix(&path, access, self.config.backlog)?]
                }
                Bind::Inherited(number) => {
                    vec![listen::inherited(duplicate(*number)?, "listen_sock")?]
                }
                Bind::Activated(number) => {
                    let what = format!("descriptor {number}, which was handed in,");
                    let copy = self.entry.copy_of(*number);
                    // SAFETY: by the supervisor's protocol the number is ours alone, and nothing in this process owns it yet; the
                    // copy was made for us. Each place that was handed in is bound once.
                    let socket = unsafe { take(*number, copy) }?;
                    vec![listen::inherited(socket, &what)?]
                }
            };
            for (number, mut listening) in opened.into_iter().enumerate() {
                self.files.extend(listening.file.take());
                listening.tls = listener.tls;
                listening.proxy = listener.proxy;
                self.check_proxy(&listening)?;
                listening.deferred = self.config.defer_accept;
                if listening.tls && listening.unix {
                    bail!(
                        "option 'ssl': TLS is not spoken on Unix sockets, and the one handed in is such"
                    );
                }
                self.facts.listeners.push(told(listener, &listening));
                let name = if number == 0 { &name } else { &also };
                let descriptor = listening.socket.as_raw_fd();
                self.handed
                    .extend(name.clone().map(|name| (descriptor, name)));
                self.listening.push(listening);
            }
        }
        self.handover.close_unwanted();
        Ok(())
    }
}

impl Server<'_> {
    /// Where a PROXY header is expected, anybody who can connect says who he is: only proxies may.
    fn check_proxy(&self, listening: &Listening) -> Result<()> {
        let ours = |address: SocketAddr| address.ip().is_loopback();
        match listening.address {
            Some(address)
                if listening.proxy && self.config.proxies.trusted.is_none() && !ours(address) =>
            {
                bail!(
                    "{address} is a port for the PROXY protocol that others can reach: 'trusted_proxies' must say who may send its header"
                )
            }
            _ => Ok(()),
        }
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

/// What a socket is called that is handed over to the next program; nothing where the app has opened it.
fn bind_name(place: &Bind) -> Option<String> {
    match place {
        Bind::Tcp(tcp) => Some(format!("tcp {:?} {}", tcp.host, tcp.port)),
        Bind::Unix(path) => Some(format!("unix {path:?}")),
        Bind::Activated(number) => Some(format!("descriptor {number}")),
        Bind::Inherited(_) => None,
    }
}

/// What the sockets after the first are called where a host has several addresses.
fn further(name: &str) -> String {
    format!("{name} also")
}

/// A socket that the program before has bound at this place.
fn kept_socket(place: &Bind, socket: OwnedFd, origin: &Origin) -> Result<Listening> {
    let mut listening = listen::inherited(socket, "a socket of the program before")?;
    if let Bind::Unix(path) = place {
        let path = socket_path(path, origin);
        // Gone, if somebody has removed it: then nobody finds the server there, as before.
        listening.file = SocketFile::of(&path).ok();
        listening.path = Some(path);
    }
    Ok(listening)
}

/// Where a Unix socket is. A path that would be too long stays relative to the current folder.
fn socket_path(path: &Path, origin: &Origin) -> PathBuf {
    let absolute = origin.path(path);
    match absolute.as_os_str().len() <= PATH_LIMIT {
        true => absolute,
        false => path.to_owned(),
    }
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

/// A descriptor that a supervisor has handed in, above the standard ones; `copy` is one that was made of it early. Programs that
/// the app starts shall not get it, and nobody else in this process keeps it open: both numbers get another file in its place.
///
/// # Safety
/// Nothing in this process owns `number` or `copy`.
unsafe fn take(number: RawFd, copy: Option<RawFd>) -> Result<OwnedFd> {
    let source = copy.unwrap_or(number);
    // SAFETY: F_DUPFD_CLOEXEC on any number makes a new descriptor or fails.
    let taken = unsafe { libc::fcntl(source, libc::F_DUPFD_CLOEXEC, 3) };
    if taken < 0 {
        return Err(io::Error::last_os_error()).with_context(|| {
            format!("descriptor {number}, which was to be handed in, is not open")
        });
    }
    // SAFETY: fcntl has just made it for us.
    let taken = unsafe { OwnedFd::from_raw_fd(taken) };
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    for before in copy.into_iter().chain([number]) {
        if is_same(before, taken.as_raw_fd()) {
            // SAFETY: nobody owns the number, as the caller says.
            unsafe { libc::dup3(nothing.as_raw_fd(), before, cloexec(before)) };
        }
    }
    Ok(taken)
}

/// Programs that the app starts get the standard descriptors, and no others.
fn cloexec(number: RawFd) -> i32 {
    if number > 2 { libc::O_CLOEXEC } else { 0 }
}

/// Whether both numbers are open and mean one socket.
fn is_same(one: RawFd, other: RawFd) -> bool {
    let socket = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    matches!((socket(one), socket(other)), (Ok(one), Ok(other)) if one == other)
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
        tls: listening.tls,
    }
}
