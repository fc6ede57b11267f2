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

/// Networks that are reached from nowhere else: RFC 1918, RFC 6598, RFC 4193, RFC 3927, RFC 4291.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "fc00::/7",
    "169.254.0.0/16",
    "fe80::/10",
];

const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1"];

impl Networks {
    /// Everybody.
    pub fn all() -> Self {
        Networks {
            networks: vec![
                (Ipv4Addr::UNSPECIFIED.into(), 0),
                (Ipv6Addr::UNSPECIFIED.into(), 0),
            ],
            unix: true,
        }
    }

    /// Adds an address, a network, or what `unix:`, `loopback` and `private` stand for; false where a word is none of these.
    pub fn add(&mut self, word: &str) -> bool {
        match word {
            "unix:" => self.unix = true,
            "loopback" => self
                .networks
                .extend(LOOPBACK.into_iter().filter_map(network)),
            "private" => self
                .networks
                .extend(PRIVATE.into_iter().filter_map(network)),
            text => match network(text) {
                Some(network) => self.networks.push(network),
                None => return false,
            },
        }
        true
    }

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

/// An address, or a network by the number of its bits (RFC 4632 section 3.1, RFC 4291 section 2.3).
pub fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let said: IpAddr = address.parse().ok()?;
    let most = if said.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
        None => most,
    };
    if bits > most {
        return None;
    }
    // ::ffff:10.0.0.0/104 is 10.0.0.0/8.
    match (said, said.to_canonical()) {
        (IpAddr::V6(_), v4 @ IpAddr::V4(_)) if bits >= 96 => Some((v4, bits - 96)),
        _ => Some((said, bits)),
    }
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

    #[test]
    #[rustfmt::skip] // A table.
    fn networks_have_one_form() {
        for (text, network_of) in [
            ("127.0.0.1", Some(("127.0.0.1", 32))),
            ("0.0.0.0/0", Some(("0.0.0.0", 0))),
            ("::1", Some(("::1", 128))),
            ("::ffff:10.0.0.0/104", Some(("10.0.0.0", 8))),
            ("::ffff:10.0.0.1", Some(("10.0.0.1", 32))),
            ("::ffff:10.0.0.1/64", Some(("::ffff:10.0.0.1", 64))),
            ("10.0.0.0/33", None), ("::/129", None), ("10.0.0.0/", None), ("10.0.0.0/+8", None),
            ("10.0.0.0/255.0.0.0", None), ("10.0.0", None), ("[::1]", None), ("localhost", None), ("/8", None),
        ] {
            let expected = network_of.map(|(address, bits)| (address.parse().unwrap(), bits));
            assert_eq!(network(text), expected, "{text}");
        }
    }

    #[test]
    fn words_stand_for_networks() {
        let mut networks = Networks::default();
        for word in ["unix:", "loopback", "private"] {
            assert!(networks.add(word), "{word}");
        }
        assert!(networks.unix);
        assert_eq!(networks.networks.len(), LOOPBACK.len() + PRIVATE.len());
        for word in ["all", "unix", "localhost", ""] {
            assert!(!networks.add(word), "{word}");
        }
    }
}
