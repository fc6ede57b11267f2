//! Sets of addresses: networks of IPv4 and IPv6, and clients of Unix sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Networks, and whether Unix sockets belong to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// Addresses, and how many of their first bits count.
    pub networks: Vec<(IpAddr, u8)>,
    /// Who comes by a Unix socket.
    pub unix: bool,
}

impl Networks {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether an address belongs to it; none is that of a Unix socket.
    pub fn has(&self, address: Option<IpAddr>) -> bool {
        match address {
            None => self.unix,
            Some(address) => {
                let mut networks = self.networks.iter();
                networks.any(|&network| holds(network, address))
            }
        }
    }

    /// Whether everybody belongs to it.
    pub fn is_all(&self) -> bool {
        let includes_all = |all: IpAddr| self.networks.contains(&(all, 0));
        self.unix
            && includes_all(Ipv4Addr::UNSPECIFIED.into())
            && includes_all(Ipv6Addr::UNSPECIFIED.into())
    }
}

/// Whether the network has this address. One of IPv4 has the IPv6 addresses that stand for its own (RFC 4291 section
/// 2.5.5.2), and only that one has them: `::/0` is not everybody.
pub fn holds((network, length): (IpAddr, u8), address: IpAddr) -> bool {
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
        let mut networks = Networks {
            networks: vec![("0.0.0.0".parse().unwrap(), 0)],
            unix: false,
        };
        assert!(!networks.has(None));
        networks.unix = true;
        assert!(networks.has(None));
        assert!(!networks.is_all());
        networks.networks.push(("::".parse().unwrap(), 0));
        assert!(networks.is_all());
        assert!(!Networks::default().has(None) && Networks::default().is_empty());
    }
}
