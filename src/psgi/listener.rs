//! The packed facts for `gepok.socket` and `gepok.httpd_socket`: addresses, and the results of the TLS handshake.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;

use crate::semantics::message::{Request, Tls};
use crate::semantics::source::Endpoints;
use crate::worker::{Address, Listener};

/// The packed facts for `gepok.httpd_socket`; `perl/lib/Gepok/Socket.pm` reads them.
pub(super) fn facts(listener: &Listener) -> Vec<u8> {
    let mut facts = Vec::new();
    match &listener.address {
        Address::Ip(local) => {
            facts.push(b'i');
            facts.push(0);
            put_address(&mut facts, *local);
        }
        Address::Unix(_) => {
            facts.push(b'l');
            put_unix(&mut facts, listener, [0, u32::MAX, u32::MAX]);
        }
    }
    facts
}

/// Appends the packed facts for a connection's `gepok.socket`.
pub(super) fn put_connection(facts: &mut Vec<u8>, listener: &Listener, request: &Request) {
    match &request.source.endpoints {
        Endpoints::Ip { peer, local } => {
            facts.push(b'i');
            put_address(facts, *peer);
            put_address(facts, *local);
            if let Some(tls) = &request.tls {
                put_tls(facts, tls);
            }
        }
        Endpoints::Unix { pid, uid, gid } => {
            facts.push(b'u');
            put_unix(facts, listener, [*pid as u32, *uid, *gid]);
        }
    }
}

fn put_unix(facts: &mut Vec<u8>, listener: &Listener, credentials: [u32; 3]) {
    for number in credentials {
        facts.extend_from_slice(&number.to_be_bytes());
    }
    if let Address::Unix(path) = &listener.address {
        facts.extend_from_slice(path.as_os_str().as_bytes());
    }
}

fn put_tls(facts: &mut Vec<u8>, tls: &Tls) {
    facts.extend_from_slice(&(tls.version as u16).to_be_bytes());
    facts.push(tls.resumed.into());
    facts.push(tls.server_name.is_some().into());
    put_bytes(facts, &tls.cipher);
    put_bytes(facts, tls.server_name.as_deref().unwrap_or_default());
    for certificate in &tls.certificates {
        put_bytes(facts, certificate);
    }
}

/// Bytes preceded by their length, for `unpack 'N/a'`.
pub(super) fn put_bytes(facts: &mut Vec<u8>, bytes: &[u8]) {
    facts.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    facts.extend_from_slice(bytes);
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
