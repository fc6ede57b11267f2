//! Which clients may see what is not for everybody: by their address, or because they come by a Unix socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::semantics::field::Fields;
use crate::semantics::message::Endpoints;

/// Fields by which a proxy tells that a request is another client's (RFC 7239, RFC 9110 section 7.6.3, and what nginx,
/// HAProxy and Apache add).
const FORWARDING: [&str; 6] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Which clients may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Those of these networks: an address, and how many of its first bits count.
    pub networks: Vec<(IpAddr, u8)>,
    /// Those that come by a Unix socket.
    pub unix: bool,
}

impl Access {
    /// Whether the client that sent these fields from there may. Where they show that a proxy has forwarded the request, the
    /// address is the proxy's and says nothing of the client: only access for all includes it.
    pub fn allows(&self, endpoints: &Endpoints, fields: &Fields) -> bool {
        let forwarded = |(name, _): (&[u8], _)| {
            FORWARDING
                .iter()
                .any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
        };
        if !self.is_for_all() && fields.iter().any(forwarded) {
            return false;
        }
        match endpoints {
            Endpoints::Unix { .. } => self.unix,
            Endpoints::Ip { peer, .. } => {
                let mut networks = self.networks.iter();
                networks.any(|&network| holds(network, peer.ip()))
            }
        }
    }

    /// Whether every client may, whatever its address.
    fn is_for_all(&self) -> bool {
        let includes_all = |all: IpAddr| self.networks.contains(&(all, 0));
        self.unix
            && includes_all(Ipv4Addr::UNSPECIFIED.into())
            && includes_all(Ipv6Addr::UNSPECIFIED.into())
    }
}

/// Whether the network has this address. One of IPv4 has the IPv6 addresses that stand for its own (RFC 4291 section
/// 2.5.5.2), and only that one has them: `::/0` is not everybody.
pub(super) fn holds((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let (differs, width) = match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (u128::from(network.to_bits() ^ address.to_bits()), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => (network.to_bits() ^ address.to_bits(), 128),
        _ => return false,
    };
    let others = u32::saturating_sub(width, length.into());
    differs.checked_shr(others).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_addresses_and_no_others() {
        for (network, length, address, has) in [
            ("127.0.0.0", 8, "127.255.0.1", true),
            ("127.0.0.0", 8, "128.0.0.1", false),
            ("127.0.0.0", 8, "::ffff:127.0.0.1", true),
            ("127.0.0.0", 8, "::1", false),
            ("10.1.2.3", 32, "10.1.2.3", true),
            ("10.1.2.3", 32, "10.1.2.2", false),
            ("10.1.2.3", 31, "10.1.2.2", true),
            ("0.0.0.0", 0, "192.0.2.1", true),
            ("0.0.0.0", 0, "2001:db8::1", false),
            ("::", 0, "2001:db8::1", true),
            ("::", 0, "192.0.2.1", false),
            ("::", 0, "::ffff:192.0.2.1", false),
            ("::1", 128, "::1", true),
            ("::1", 128, "::2", false),
            ("2001:db8::", 33, "2001:db8:7fff::1", true),
            ("2001:db8::", 33, "2001:db8:8000::1", false),
        ] {
            let range = (network.parse().unwrap(), length);
            let held = holds(range, address.parse().unwrap());
            assert_eq!(held, has, "{network}/{length} {address}");
        }
    }

    #[test]
    fn unix_sockets_are_a_word_of_their_own() {
        let unix = Endpoints::Unix {
            pid: 1,
            uid: 2,
            gid: 3,
        };
        let mut access = Access {
            networks: vec![("0.0.0.0".parse().unwrap(), 0)],
            unix: false,
        };
        let none = Fields::default();
        assert!(!access.allows(&unix, &none));
        access.unix = true;
        assert!(access.allows(&unix, &none));
        assert!(!Access::default().allows(&unix, &none));
    }

    /// A proxy on this machine must not open the page to its clients by its own address.
    #[test]
    fn the_address_of_a_proxy_is_not_its_clients() {
        let here = Endpoints::Ip {
            peer: (Ipv4Addr::LOCALHOST, 1).into(),
            local: (Ipv4Addr::LOCALHOST, 2).into(),
        };
        let unix = Endpoints::Unix {
            pid: 1,
            uid: 2,
            gid: 3,
        };
        let mut access = Access {
            networks: vec![(Ipv4Addr::LOCALHOST.into(), 8)],
            unix: true,
        };
        let own = Fields::from_pairs([("Accept", "x"), ("X-Forwarded", "x")]);
        assert!(access.allows(&here, &own));
        for name in ["Forwarded", "via", "X-FORWARDED-FOR", "X-Real-IP"] {
            let fields = Fields::from_pairs([(name, "192.0.2.1")]);
            assert!(!access.allows(&here, &fields), "{name}");
            assert!(!access.allows(&unix, &fields), "{name}");
        }
        access.networks = vec![
            (Ipv4Addr::UNSPECIFIED.into(), 0),
            (Ipv6Addr::UNSPECIFIED.into(), 0),
        ];
        let fields = Fields::from_pairs([("Forwarded", "for=192.0.2.1")]);
        assert!(access.allows(&here, &fields));
        access.unix = false;
        assert!(!access.allows(&here, &fields));
    }
}
