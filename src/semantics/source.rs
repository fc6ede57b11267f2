//! Where a request comes from: its connection, and the client for which proxies have sent it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;

use super::proxy_header::Tlvs;

/// Where a request comes from. Everything that judges a client by its address asks here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The two ends of the connection; those that its PROXY header names, if it names any.
    pub endpoints: Endpoints,
    /// What trusted proxies have told; nothing where the other end is the client, as far as we know.
    pub proxied: Option<Rc<Proxied>>,
    /// How well the client's address is known. Only the core asks.
    pub certainty: Certainty,
}

/// Who is at the other end of a connection, and which of our addresses it reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoints {
    /// TCP: the client's address and ours.
    Ip {
        /// The client's address; an IPv4-mapped one is shown as IPv4.
        peer: SocketAddr,
        /// Our address on this connection.
        local: SocketAddr,
    },
    /// Unix socket: the client's process as the kernel tells it (SO_PEERCRED).
    Unix {
        /// Process id.
        pid: i32,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

/// The network of 64 bits that an IPv6 address belongs to; an IPv4 address as it is.
pub fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = u128::MAX << 64;
    match address {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & NETWORK).into()),
        v4 => v4,
    }
}

/// What trusted proxies have told of a request, by a field or by a PROXY header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxied {
    /// The client's address, where a field names it. Its port is 0 where the field has none.
    pub client: Option<SocketAddr>,
    /// The other end of the connection's socket; nothing for a Unix socket.
    pub peer: Option<IpAddr>,
    /// Whether the client speaks HTTPS; nothing where the connection tells.
    pub https: Option<bool>,
    /// The port that the client has connected to, where that counts.
    pub port: Option<u16>,
    /// The field with the addresses, as it came.
    pub chain: Option<Bytes>,
    /// What else the PROXY header tells.
    pub tlvs: Tlvs,
}

/// How well a client's address is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    /// No proxies are known (`trusted_proxies`): a request with forwarding fields may be anybody's.
    #[default]
    Unknown,
    /// It is the client's.
    Known,
    /// A trusted proxy has sent the request for somebody, and does not say for whom: it is a proxy's.
    Hidden,
}

impl From<Endpoints> for Source {
    fn from(endpoints: Endpoints) -> Self {
        Source {
            endpoints,
            proxied: None,
            certainty: Certainty::default(),
        }
    }
}

impl Source {
    /// The client's address; nothing where it is not known because the connection came by a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        let named = self.proxied.as_ref().and_then(|proxied| proxied.client);
        named.or(match self.endpoints {
            Endpoints::Ip { peer, .. } => Some(peer),
            Endpoints::Unix { .. } => None,
        })
    }

    /// The client's port; nothing where a proxy does not tell it, or for a Unix socket.
    pub fn port(&self) -> Option<u16> {
        let port = self.address()?.port();
        let proxied = self.proxied.as_ref();
        let named = proxied.is_some_and(|proxied| proxied.client.is_some());
        (!named || port > 0).then_some(port)
    }

    /// The other end of the connection's socket; nothing for a Unix socket.
    pub fn peer(&self) -> Option<IpAddr> {
        match (&self.proxied, &self.endpoints) {
            (Some(proxied), _) => proxied.peer,
            (None, Endpoints::Ip { peer, .. }) => Some(peer.ip()),
            (None, Endpoints::Unix { .. }) => None,
        }
    }

    /// Whose requests count together: a client's address, or its network of IPv6, since one client has a whole one at hand.
    /// None for what comes by a Unix socket or from this machine: that is a proxy, as a rule, with many clients.
    pub fn client(&self) -> Option<IpAddr> {
        let address = self.address()?.ip();
        (!address.is_loopback()).then(|| network(address))
    }

    /// Whether the client speaks HTTPS; `tls`: whether its connection does.
    pub fn is_https(&self, tls: bool) -> bool {
        let told = self.proxied.as_ref().and_then(|proxied| proxied.https);
        told.unwrap_or(tls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_whom_the_nearest_trusted_source_names() {
        let ip = |text: &str| -> SocketAddr { text.parse().unwrap() };
        let mut source = Source::from(Endpoints::Ip {
            peer: ip("127.0.0.1:5"),
            local: ip("127.0.0.1:80"),
        });
        assert_eq!(source.address(), Some(ip("127.0.0.1:5")));
        // A proxy on this machine has many clients, which do not count together.
        assert_eq!(source.client(), None);
        source.proxied = Some(Rc::new(Proxied {
            client: Some(ip("[2001:db8::1]:0")),
            peer: Some(ip("127.0.0.1:5").ip()),
            ..Proxied::default()
        }));
        assert_eq!(source.address(), Some(ip("[2001:db8::1]:0")));
        assert_eq!(source.client(), Some("2001:db8::".parse().unwrap()));
        assert_eq!(source.peer(), Some("127.0.0.1".parse().unwrap()));
    }
}
