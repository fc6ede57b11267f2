//! Which clients may see what is not for everybody: by their address, or because they come by a Unix socket.

use crate::semantics::field::Fields;
use crate::semantics::networks::Networks;
use crate::semantics::source::{Certainty, Source};

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
pub struct Access(pub Networks);

impl Access {
    /// Whether the client that sent these fields from there may. Where the address is a proxy's it says nothing of the
    /// client: only access for all includes it. Without trusted proxies the fields show that.
    pub fn allows(&self, source: &Source, fields: &Fields) -> bool {
        let forwarded = |(name, _): (&[u8], _)| {
            FORWARDING
                .iter()
                .any(|field| name.eq_ignore_ascii_case(field.as_bytes()))
        };
        let is_proxys = match source.certainty {
            Certainty::Known => false,
            Certainty::Hidden => true,
            Certainty::Unknown => fields.iter().any(forwarded),
        };
        match is_proxys {
            true => self.0.is_all(),
            false => self.0.has(source.address().map(|address| address.ip())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::semantics::source::Endpoints;

    const UNIX: Endpoints = Endpoints::Unix {
        pid: 1,
        uid: 2,
        gid: 3,
    };

    fn here() -> Source {
        Source::from(Endpoints::Ip {
            peer: (Ipv4Addr::LOCALHOST, 1).into(),
            local: (Ipv4Addr::LOCALHOST, 2).into(),
        })
    }

    fn loopback() -> Access {
        Access(Networks {
            networks: vec![(Ipv4Addr::LOCALHOST.into(), 8)],
            unix: true,
        })
    }

    fn all() -> Access {
        Access(Networks {
            networks: vec![
                (Ipv4Addr::UNSPECIFIED.into(), 0),
                (Ipv6Addr::UNSPECIFIED.into(), 0),
            ],
            unix: true,
        })
    }

    /// A proxy on this machine must not open the page to its clients by its own address.
    #[test]
    fn the_address_of_a_proxy_is_not_its_clients() {
        let (here, unix) = (here(), Source::from(UNIX));
        let mut access = loopback();
        let own = Fields::from_pairs([("Accept", "x"), ("X-Forwarded", "x")]);
        assert!(access.allows(&here, &own));
        for name in ["Forwarded", "via", "X-FORWARDED-FOR", "X-Real-IP"] {
            let fields = Fields::from_pairs([(name, "192.0.2.1")]);
            assert!(!access.allows(&here, &fields), "{name}");
            assert!(!access.allows(&unix, &fields), "{name}");
        }
        access = all();
        let fields = Fields::from_pairs([("Forwarded", "for=192.0.2.1")]);
        assert!(access.allows(&here, &fields));
        access.0.unix = false;
        assert!(!access.allows(&here, &fields));
    }

    /// With trusted proxies the address decides, whatever stands in fields; one that is hidden is nobody's.
    #[test]
    fn with_trusted_proxies_the_clients_address_decides() {
        let fields = Fields::from_pairs([("Via", "1.1 proxy"), ("X-Forwarded-For", "127.0.0.1")]);
        let mut source = here();
        source.certainty = Certainty::Known;
        assert!(loopback().allows(&source, &fields));
        source.certainty = Certainty::Hidden;
        assert!(!loopback().allows(&source, &fields));
        assert!(all().allows(&source, &fields));
    }
}
