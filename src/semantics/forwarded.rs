//! Whose request a proxy forwards: the fields with addresses, read from the right (RFC 7239, and X-Forwarded-For as it is in
//! use).
//!
//! Each proxy adds the address that it has seen at the end. What stands left of the first address that is no trusted proxy's
//! could have been sent by anybody.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::field::{Fields, Span};
use super::networks::Networks;

/// The most links that are looked at.
pub const LINKS: usize = 64;

/// Which field has the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// X-Forwarded-For: a list of addresses.
    XForwardedFor,
    /// Forwarded (RFC 7239): a list of elements with `for=`.
    Forwarded,
    /// A field of this name, in lower case, with one address.
    Single(String),
}

impl Field {
    /// Its name, in lower case.
    pub fn name(&self) -> &str {
        match self {
            Field::XForwardedFor => "x-forwarded-for",
            Field::Forwarded => "forwarded",
            Field::Single(name) => name,
        }
    }
}

/// What a field tells of the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its address, the port 0 where none is told; nothing where the field has none that counts.
    pub client: Option<SocketAddr>,
    /// The part of the field that names it: for Forwarded its element, else the address without a port.
    pub link: Option<Span>,
    /// How many links stand right of it.
    pub place: usize,
    /// A link that is no address, or one too many, has kept us from looking further: the client is somebody else.
    pub is_cut: bool,
    /// `proto=` of the element: whether that is https.
    pub https: Option<bool>,
    /// `host=` of the element.
    pub host: Option<Span>,
}

/// One link of a chain.
struct Link {
    client: SocketAddr,
    part: Span,
    https: Option<bool>,
    host: Option<Span>,
}

/// Reads the field from the right, as long as addresses are those of trusted proxies.
pub fn read(fields: &Fields, field: &Field, trusted: &Networks) -> Told {
    let mut told = Told::default();
    let bytes = fields.bytes();
    let values = fields.all(field.name());
    let mut values: Vec<_> = values.map(|value| Span::of(bytes, value)).collect();
    // Two of them can't both be the proxy's.
    if matches!(field, Field::Single(_)) && values.len() > 1 {
        told.is_cut = true;
        return told;
    }
    let mut count = 0;
    while let Some(value) = values.pop() {
        let mut rest = Some(value);
        while let Some(value) = rest {
            let member;
            (rest, member) = match field {
                Field::XForwardedFor => last_member(bytes, value, false),
                Field::Forwarded => last_member(bytes, value, true),
                Field::Single(_) => (None, trimmed(bytes, value)),
            };
            // Empty members of a list count for nothing (RFC 9110 section 5.6.1.2).
            if member.start == member.end {
                continue;
            }
            let link = match field {
                Field::Forwarded => element(bytes, member),
                _ => plain(bytes, member),
            };
            let Some(link) = link.filter(|_| count < LINKS) else {
                told.is_cut = true;
                return told;
            };
            told = Told {
                client: Some(link.client),
                link: Some(link.part),
                place: count,
                is_cut: false,
                https: link.https,
                host: link.host,
            };
            count += 1;
            if !trusted.has(Some(link.client.ip())) {
                return told;
            }
        }
    }
    told
}

/// The member at this place from the right of a list of words, or the first one where there are not so many.
pub fn member(fields: &Fields, name: &str, place: usize) -> Option<Span> {
    let bytes = fields.bytes();
    let values = fields.all(name).map(|value| Span::of(bytes, value));
    let values: Vec<_> = values.collect();
    let mut found = None;
    let mut seen = 0;
    for value in values.into_iter().rev() {
        let mut rest = Some(value);
        while let Some(value) = rest {
            let member;
            (rest, member) = last_member(bytes, value, false);
            if member.start == member.end {
                continue;
            }
            found = Some(member);
            if seen == place.min(LINKS) {
                return found;
            }
            seen += 1;
        }
    }
    found
}

/// Whether a scheme is https; nothing where it is neither http nor https.
pub fn is_https(scheme: &[u8]) -> Option<bool> {
    if scheme.eq_ignore_ascii_case(b"https") {
        Some(true)
    } else if scheme.eq_ignore_ascii_case(b"http") {
        Some(false)
    } else {
        None
    }
}

/// The last member of a list, and what stands left of it. With `quotes`, a comma in a quoted string is no separator. Quotes are
/// counted from the right: what stands left may come from a client that has opened one to hide what proxies have added.
fn last_member(bytes: &[u8], value: Span, quotes: bool) -> (Option<Span>, Span) {
    let text = &bytes[value.range()];
    let mut quoted = false;
    let comma = (0..text.len()).rev().find(|&at| {
        quoted ^= quotes && text[at] == b'"' && !is_escaped(text, at);
        text[at] == b',' && !quoted
    });
    let Some(comma) = comma else {
        return (None, trimmed(bytes, value));
    };
    let Span { start, end } = value;
    let comma = start + comma as u32;
    let member = Span {
        start: comma + 1,
        end,
    };
    (Some(Span { start, end: comma }), trimmed(bytes, member))
}

fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text[..at].iter().rev();
    before.take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

fn trimmed(bytes: &[u8], span: Span) -> Span {
    Span::of(bytes, bytes[span.range()].trim_ascii())
}

fn plain(bytes: &[u8], member: Span) -> Option<Link> {
    let (client, host) = address(&bytes[member.range()])?;
    let start = member.start + host.start as u32;
    let end = member.start + host.end as u32;
    Some(Link {
        client,
        part: Span { start, end },
        https: None,
        host: None,
    })
}

/// An element of Forwarded (RFC 7239 section 4).
fn element(bytes: &[u8], member: Span) -> Option<Link> {
    let mut client = None;
    let mut https = None;
    let mut host = None;
    let mut rest = &bytes[member.range()];
    loop {
        let mut quoted = false;
        let end = (0..rest.len()).find(|&at| {
            quoted ^= rest[at] == b'"' && !is_escaped(rest, at);
            rest[at] == b';' && !quoted
        });
        let pair = rest[..end.unwrap_or(rest.len())].trim_ascii();
        if !pair.is_empty() {
            let equals = memchr::memchr(b'=', pair)?;
            let (name, value) = (&pair[..equals], &pair[equals + 1..]);
            let value = text(value)?;
            if name.eq_ignore_ascii_case(b"for") {
                let (address, _) = address(&value)?;
                if client.replace(address).is_some() {
                    return None;
                }
            } else if name.eq_ignore_ascii_case(b"proto") {
                https = is_https(&value);
            } else if name.eq_ignore_ascii_case(b"host")
                && let Cow::Borrowed(value @ [_, ..]) = value
            {
                host = Some(Span::of(bytes, value));
            }
        }
        match end {
            Some(end) => rest = &rest[end + 1..],
            None => break,
        }
    }
    Some(Link {
        client: client?,
        part: member,
        https,
        host,
    })
}

/// A token or a quoted string (RFC 9110 sections 5.6.2 and 5.6.4).
fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(rest) = value.strip_prefix(b"\"") else {
        // Many write addresses with ports and brackets without the quotes that they need.
        let token = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\,;".contains(byte);
        return value.iter().all(token).then_some(Cow::Borrowed(value));
    };
    let inner = rest.strip_suffix(b"\"")?;
    if !inner.iter().any(|byte| b"\"\\".contains(byte)) {
        return Some(Cow::Borrowed(inner));
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return None,
            b'\\' => plain.push(*bytes.next()?),
            _ => plain.push(byte),
        }
    }
    Some(Cow::Owned(plain))
}

/// An address, with or without a port, and where in the text the address stands. IPv6 may have brackets, and has them where
/// there is a port. IPv4-mapped addresses become IPv4.
fn address(text: &[u8]) -> Option<(SocketAddr, std::ops::Range<usize>)> {
    let whole = std::str::from_utf8(text).ok()?;
    let (host, at, rest) = match whole.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']')?;
            host.parse::<Ipv6Addr>().ok()?;
            (host, 1, rest)
        }
        None => match whole.split_once(':') {
            Some((host, port)) if !port.contains(':') => {
                (host, 0, &whole[whole.len() - port.len() - 1..])
            }
            _ => (whole, 0, ""),
        },
    };
    let port = match rest.strip_prefix(':') {
        None if rest.is_empty() => 0,
        None => return None,
        Some(port) => self::port(port)?,
    };
    let ip: IpAddr = host.parse().ok()?;
    Some((
        SocketAddr::new(ip.to_canonical(), port),
        at..at + host.len(),
    ))
}

/// A port; one that hides itself (RFC 7239 section 6.3) is 0.
fn port(text: &str) -> Option<u16> {
    let hidden = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if let Some(rest) = text.strip_prefix('_') {
        return (!rest.is_empty() && rest.bytes().all(hidden)).then_some(0);
    }
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests;
