//! The system's resolver: files, DNS and what else `nsswitch.conf` names.

#![forbid(unsafe_code)]

use std::io;
use std::net::{IpAddr, SocketAddr};

use dns_lookup::{AddrInfoHints, LookupError, LookupErrorKind, SockType, getaddrinfo, getnameinfo};

use super::Resolver;

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Resolver for System {
    fn name(&self, address: IpAddr) -> io::Result<Option<String>> {
        const FLAGS: i32 = libc::NI_NAMEREQD | libc::NI_NUMERICSERV;
        let found = getnameinfo(&SocketAddr::new(address, 0), FLAGS);
        Ok(known(found)?.map(|(name, _)| name))
    }

    fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let hints = AddrInfoHints {
            socktype: SockType::Stream.into(),
            ..AddrInfoHints::default()
        };
        let found = known(getaddrinfo(Some(name), None, Some(hints)))?;
        let addresses = found.into_iter().flatten();
        addresses.map(|info| Ok(info?.sockaddr.ip())).collect()
    }
}

/// What was found; nothing where there is no such name.
fn known<T>(found: Result<T, LookupError>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Ok(None),
            _ => Err(error.into()),
        },
    }
}
