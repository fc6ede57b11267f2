//! Rules of access: which clients may come.

use std::net::IpAddr;
use std::sync::Arc;

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
    /// The host of this name, in lower case.
    Host(String),
    /// All hosts below a domain, in lower case and with its first dot: `.example.org`.
    Domain(String),
    /// Those that come by a Unix socket.
    Unix,
    /// Those for which this subroutine of the host says so.
    Code(u16),
    /// All.
    All,
}

/// The name of a client's host, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// It was not looked up.
    NotAsked,
    /// Its name in lower case, which leads back to the client's address; nothing where it has none.
    Known(Option<Arc<str>>),
    /// There is no answer.
    Unavailable,
}

/// What is known of a client that its address does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its host's name.
    pub name: HostName,
    /// What subroutines in rules have said of it; nothing where they were not asked.
    pub code: Option<Vec<(u16, bool)>>,
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            name: HostName::NotAsked,
            code: None,
        }
    }
}

/// Whether a client may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It may.
    Allowed,
    /// That depends on its host's name, which was not looked up.
    NeedsName,
    /// That depends on subroutines, which were not asked.
    NeedsCode,
    /// It may not.
    Denied,
}

/// Whether a client belongs to some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Belongs {
    No,
    /// It depends on a name that is not known.
    Perhaps,
    Yes,
}

impl Rule {
    /// The subroutines in it.
    pub fn code(&self) -> impl Iterator<Item = u16> {
        let clients = self.allow.iter().flatten().chain(&self.deny);
        clients.filter_map(|clients| match clients {
            Clients::Code(number) => Some(*number),
            _ => None,
        })
    }

    /// Whether this client may come. Where a fact decides that can't be had, it may not.
    pub fn verdict(&self, client: &Source, facts: &Facts) -> Verdict {
        let is_in = |clients: &[Clients]| {
            let belongs = clients.iter().map(|clients| clients.has(client, facts));
            belongs.max().unwrap_or(Belongs::No)
        };
        let allowed = self.allow.as_deref().map_or(Belongs::Yes, is_in);
        match (allowed, is_in(&self.deny)) {
            (Belongs::No, _) | (_, Belongs::Yes) => Verdict::Denied,
            (Belongs::Yes, Belongs::No) => Verdict::Allowed,
            _ if facts.name == HostName::NotAsked && self.has_names() => Verdict::NeedsName,
            _ if facts.code.is_none() && self.code().next().is_some() => Verdict::NeedsCode,
            _ => Verdict::Denied,
        }
    }

    fn has_names(&self) -> bool {
        let mut clients = self.allow.iter().flatten().chain(&self.deny);
        clients.any(Clients::are_named)
    }
}

impl Clients {
    /// Whether they are known by their names.
    pub fn are_named(&self) -> bool {
        matches!(self, Clients::Host(_) | Clients::Domain(_))
    }

    /// A client that is hidden behind a proxy has no address, and so no name.
    fn has(&self, client: &Source, facts: &Facts) -> Belongs {
        let hidden = client.certainty == Certainty::Hidden;
        let address = client.address().filter(|_| !hidden);
        let belongs = match (self, address) {
            (Clients::All, _) => true,
            (Clients::Code(number), _) => {
                let said = facts.code.iter().flatten();
                match said.copied().find(|(of, _)| of == number) {
                    Some((_, belongs)) => belongs,
                    None => return Belongs::Perhaps,
                }
            }
            (Clients::Unix, None) => !hidden,
            (Clients::Network(network, bits), Some(address)) => {
                holds((*network, *bits), address.ip())
            }
            (Clients::Range(first, last), Some(address)) => {
                let address = address.ip().to_canonical();
                address.is_ipv4() == first.is_ipv4() && (*first..=*last).contains(&address)
            }
            (Clients::Host(_) | Clients::Domain(_), Some(_)) => match (self, &facts.name) {
                (_, HostName::NotAsked | HostName::Unavailable) => return Belongs::Perhaps,
                (Clients::Host(host), HostName::Known(Some(name))) => **host == **name,
                // The dot is a part of it: `.example.org` has not `badexample.org`.
                (Clients::Domain(domain), HostName::Known(Some(name))) => {
                    name.len() > domain.len() && name.ends_with(domain.as_str())
                }
                _ => false,
            },
            _ => false,
        };
        match belongs {
            true => Belongs::Yes,
            false => Belongs::No,
        }
    }
}
