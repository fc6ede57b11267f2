//! What a listener contributes to the env, and the packed form of addresses behind `gepok.socket`.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::semantics::message::Endpoints;

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Ip(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// What `REMOTE_ADDR` and `REMOTE_PORT` are. Unix sockets have no such address; servers differ in what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The client's IP address and port.
    Peer,
    /// `127.0.0.1`, and no port: Gepok's `unix_sockets`.
    Loopback,
    /// Undefined, and port 0: Starlet's `--socket`.
    Undefined,
}

/// One listener, as requests that came by it tell it.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `SERVER_NAME`
    pub server_name: Vec<u8>,
    /// `SERVER_PORT`
    pub server_port: Vec<u8>,
    /// `REMOTE_ADDR` and `REMOTE_PORT`
    pub remote: Remote,
    /// Where it listens.
    pub address: Address,
}

impl Listener {
    /// The packed facts behind `gepok.httpd_socket`; `perl/lib/Gepok/Socket.pm` reads them.
    pub(super) fn facts(&self) -> Vec<u8> {
        let mut facts = Vec::new();
        match &self.address {
            Address::Ip(local) => {
                facts.push(b'i');
                facts.push(0);
                put_address(&mut facts, *local);
            }
            Address::Unix(_) => self.put_unix(&mut facts, [0, u32::MAX, u32::MAX]),
        }
        facts
    }

    /// Appends the packed facts behind a connection's `gepok.socket`.
    pub(super) fn put_connection(&self, facts: &mut Vec<u8>, endpoints: &Endpoints) {
        match endpoints {
            Endpoints::Ip { peer, local } => {
                facts.push(b'i');
                put_address(facts, *peer);
                put_address(facts, *local);
            }
            Endpoints::Unix { pid, uid, gid } => self.put_unix(facts, [*pid as u32, *uid, *gid]),
        }
    }

    fn put_unix(&self, facts: &mut Vec<u8>, credentials: [u32; 3]) {
        facts.push(b'u');
        for number in credentials {
            facts.extend_from_slice(&number.to_be_bytes());
        }
        if let Address::Unix(path) = &self.address {
            facts.extend_from_slice(path.as_os_str().as_bytes());
        }
    }
}

/// Length of what follows, port, address: 7 or 19 bytes in all.
fn put_address(facts: &mut Vec<u8>, address: SocketAddr) {
    let start = facts.len();
    facts.push(0);
    facts.extend_from_slice(&address.port().to_be_bytes());
    match address {
        SocketAddr::V4(v4) => facts.extend_from_slice(&v4.ip().octets()),
        SocketAddr::V6(v6) => facts.extend_from_slice(&v6.ip().octets()),
    }
    facts[start] = (facts.len() - start - 1) as u8;
}
