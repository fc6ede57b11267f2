//! Rules of access: which clients may come.

use std::net::IpAddr;

use super::networks::holds;
use super::source::{Certainty, Source};

/// Who may come: any of `allow` and none of `deny`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Who may; none: everybody.
    pub allow: Option<Vec<Clients>>,
    /// Who may not.
    pub deny: Vec<Clients>,
}

/// Some clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clients {
    /// A network: an address, and how many of its first bits count.
    Network(IpAddr, u8),
    /// All addresses between two, both included.
    Range(IpAddr, IpAddr),
    /// Those that come by a Unix socket.
    Unix,
    /// All.
    All,
}

impl Rule {
    /// Whether this client may come.
    pub fn allows(&self, client: &Source) -> bool {
        let is_in = |clients: &[Clients]| clients.iter().any(|clients| clients.has(client));
        self.allow.as_deref().is_none_or(is_in) && !is_in(&self.deny)
    }
}

impl Clients {
    /// A client that is hidden behind a proxy has no address.
    fn has(&self, client: &Source) -> bool {
        if client.certainty == Certainty::Hidden {
            return matches!(self, Clients::All);
        }
        match (self, client.address()) {
            (Clients::All, _) | (Clients::Unix, None) => true,
            (Clients::Network(network, bits), Some(address)) => {
                holds((*network, *bits), address.ip())
            }
            (Clients::Range(first, last), Some(address)) => {
                let address = address.ip().to_canonical();
                address.is_ipv4() == first.is_ipv4() && (*first..=*last).contains(&address)
            }
            _ => false,
        }
    }
}
