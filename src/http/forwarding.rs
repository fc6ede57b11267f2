//! What proxies have told of a request: whose it is, and what of their fields the app sees.
//!
//! It is decided once, on the head, before anything judges the client: so rules, limits, logs and the app see one address.

use std::rc::Rc;

use bytes::Bytes;

use crate::semantics::field::{Fields, Line, Span};
use crate::semantics::forwarded::{self, Field, Told};
use crate::semantics::message::RequestHead;
use crate::semantics::networks::Networks;
use crate::semantics::source::{Certainty, Proxied, Source};
use crate::semantics::target::is_host;

/// Which proxies are trusted, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The trusted proxies.
    pub trusted: Networks,
    /// Where they tell addresses.
    pub field: Field,
    /// Whether they tell the scheme.
    pub scheme: bool,
    /// Whether they tell host and port.
    pub host: bool,
}

/// What is made of the forwarding fields of a connection's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Nothing: no proxies are known, and fields are the app's.
    Pass,
    /// They are dropped: the connection is no trusted proxy's.
    Drop,
    /// As above, and the address is that of a trusted proxy, which relays bytes for somebody whose address it does not tell.
    Relayed,
    /// They are read: it is a trusted proxy's.
    Read,
}

impl Settings {
    /// What is made of the fields that come by a connection.
    pub fn of(settings: Option<&Self>, source: &Source) -> Forwarding {
        match settings {
            None => Forwarding::Pass,
            Some(settings) => {
                let address = source.address().map(|address| address.ip());
                match settings.trusted.has(address) {
                    true => Forwarding::Read,
                    false => Forwarding::Drop,
                }
            }
        }
    }

    /// Reads the fields of a request that a trusted proxy has sent, and leaves of them in the head what is proven.
    pub(super) fn read(&self, head: &mut RequestHead, connection: &Source) -> Source {
        let told = forwarded::read(&head.fields, &self.field, &self.trusted);
        let scheme = self.scheme(&head.fields, &told);
        let host = self.host(&head.fields, &told);
        let own = host.filter(|_| self.host);
        let port = own.and_then(|host| self.port(&head.fields, &told, host, scheme));
        let forwards = told.client.is_some()
            || told.is_cut
            || head.fields.iter().any(|(name, _)| {
                name.eq_ignore_ascii_case(b"via") || is_forwarding(name, self.field.name())
            });
        let chain = told.client.map(|_| joined(&head.fields, self.field.name()));
        self.keep(&mut head.fields, &told, scheme.map(|(_, at)| at), own);
        let https = scheme.map(|(https, _)| https);
        let client = told.client;
        let mut source = connection.clone();
        source.certainty = match told.is_cut || (client.is_none() && forwards) {
            true => Certainty::Hidden,
            false => Certainty::Known,
        };
        if client.is_some() || https.is_some() || port.is_some() {
            let before = connection.proxied.as_deref();
            source.proxied = Some(Rc::new(Proxied {
                client,
                peer: connection.peer(),
                https: https.or(before.and_then(|before| before.https)),
                port,
                chain,
                tlvs: before.map(|before| before.tlvs.clone()).unwrap_or_default(),
            }));
        }
        source
    }

    /// Drops the fields of a request that no trusted proxy has sent.
    pub(super) fn drop_fields(
        &self,
        head: &mut RequestHead,
        connection: &Source,
        certainty: Certainty,
    ) -> Source {
        let own = self.field.name();
        let forwarding = |name: &[u8]| is_extension(name) || is_forwarding(name, own);
        if head.fields.iter().any(|(name, _)| forwarding(name)) {
            head.fields.retain(|name, _| !forwarding(name));
        }
        Source {
            certainty,
            ..connection.clone()
        }
    }

    /// Whether the scheme is https, and where that stands.
    fn scheme(&self, fields: &Fields, told: &Told) -> Option<(bool, Option<Span>)> {
        if !self.scheme {
            return None;
        }
        if self.field == Field::Forwarded {
            return told.https.map(|https| (https, None));
        }
        let at = forwarded::member(fields, "x-forwarded-proto", told.place)?;
        let https = forwarded::is_https(&fields.bytes()[at.range()])?;
        Some((https, Some(at)))
    }

    /// The host that the client has asked for, where a Host field can have it.
    fn host(&self, fields: &Fields, told: &Told) -> Option<Span> {
        let host = match self.field {
            Field::Forwarded => told.host?,
            _ => forwarded::member(fields, "x-forwarded-host", told.place)?,
        };
        let text = &fields.bytes()[host.range()];
        (!text.is_empty() && is_host(text)).then_some(host)
    }

    /// The port beside that host: the proxy's word, the host's own, or that of the scheme.
    fn port(
        &self,
        fields: &Fields,
        told: &Told,
        host: Span,
        scheme: Option<(bool, Option<Span>)>,
    ) -> Option<u16> {
        let bytes = fields.bytes();
        let number = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.parse().ok().filter(|&port: &u16| port > 0)
        };
        let said = match self.field {
            Field::Forwarded => None,
            _ => forwarded::member(fields, "x-forwarded-port", told.place),
        };
        if let Some(port) = said.and_then(|said| number(&bytes[said.range()])) {
            return Some(port);
        }
        let host = &bytes[host.range()];
        let after = memchr::memrchr(b']', host).map_or(0, |end| end + 1);
        match memchr::memchr(b':', &host[after..]) {
            Some(colon) => number(&host[after + colon + 1..]),
            None => scheme.map(|(https, _)| if https { 443 } else { 80 }),
        }
    }

    /// Leaves of the forwarding fields what was read of them. The host takes the place of the Host field's.
    fn keep(
        &self,
        fields: &mut Fields,
        told: &Told,
        scheme: Option<Option<Span>>,
        host: Option<Span>,
    ) {
        let scheme = scheme.flatten();
        let mut link = told.link;
        fields.rewrite(|bytes, line| {
            let name = &bytes[line.name.range()];
            let only = |span: &mut Option<Span>| {
                // The line that has it keeps it; those of the same name go.
                let within =
                    |part: &Span| line.value.start <= part.start && part.end <= line.value.end;
                let value = span.take_if(|part| within(part))?;
                Some(Line { value, ..line })
            };
            if name.eq_ignore_ascii_case(b"host") {
                let value = host.unwrap_or(line.value);
                Some(Line { value, ..line })
            } else if name.eq_ignore_ascii_case(self.field.name().as_bytes()) {
                only(&mut link)
            } else if name.eq_ignore_ascii_case(b"x-forwarded-proto") {
                only(&mut scheme.clone())
            } else if name.eq_ignore_ascii_case(b"x-forwarded-host") {
                only(&mut host.filter(|_| self.field != Field::Forwarded))
            } else if is_forwarding(name, self.field.name()) {
                None
            } else {
                Some(line)
            }
        });
    }
}

/// The lines of a field as one value.
fn joined(fields: &Fields, name: &str) -> Bytes {
    let mut lines = fields.all(name);
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    match second {
        None => fields.bytes().slice_ref(first),
        Some(_) => fields.all(name).collect::<Vec<_>>().join(&b", "[..]).into(),
    }
}

/// Fields by which proxies tell client, scheme, host and port. What a client sends of them reaches an app as if a proxy had
/// told it.
const FIELDS: [&str; 37] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-https",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-nf-client-connection-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-proto",
    "x-originating-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-scheme",
    "x-url-scheme",
];

/// Whether a field is one of these, or the one that is read. `_` and `-` are one character in an app's environment.
fn is_forwarding(name: &[u8], own: &str) -> bool {
    let is = |known: &str| {
        let same = |(&a, b): (&u8, u8)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-');
        known.len() == name.len() && name.iter().zip(known.bytes()).all(same)
    };
    // Most fields of browsers have another first letter.
    let first = name.first().map(u8::to_ascii_lowercase);
    is(own)
        || first.is_some_and(|first| b"cdfptwx".contains(&first))
            && FIELDS.iter().any(|known| is(known))
}

/// Whether a field has the name of those that proxies tell further things by.
fn is_extension(name: &[u8]) -> bool {
    const START: &[u8] = b"x-forwarded-";
    let same = |(&a, &b): (&u8, &u8)| a.to_ascii_lowercase() == b || (a == b'_' && b == b'-');
    name.len() > START.len() && name.iter().zip(START).all(same)
}

#[cfg(test)]
mod tests;
