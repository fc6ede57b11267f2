//! The header of the PROXY protocol, versions 1 and 2: by it a proxy that relays bytes says for whom a connection is.
//!
//! The protocol is HAProxy's (`doc/proxy-protocol.txt`). A header is recognized by its first bytes, mandatory where it is
//! expected, and has one reading: what is not exactly as the specification says is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

/// What version 2 begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest line of version 1, with its end.
pub const LONGEST_LINE: usize = 107;

/// The longest block of addresses and values that is read of version 2.
pub const LONGEST_BLOCK: usize = 2048;

/// The longest header.
pub const LONGEST: usize = FIXED + LONGEST_BLOCK;

/// The part of version 2 that each header has: signature, command, family, and the block's length.
const FIXED: usize = 16;

/// Types of values (section 2.2).
const AUTHORITY: u8 = 0x02;
const CRC32C: u8 = 0x03;
const SSL: u8 = 0x20;
const SSL_VERSION: u8 = 0x21;
const SSL_CN: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// For whom the connection is.
    pub sender: Sender,
    /// What else is told.
    pub tlvs: Tlvs,
}

/// For whom a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The proxy itself, as for a health check (LOCAL).
    Proxy,
    /// A client whose address is not told or no IP address (UNKNOWN, UNSPEC, UNIX).
    Unknown,
    /// This client, which has connected to that address of the proxy.
    Client {
        /// The client's address; an IPv4-mapped one is shown as IPv4.
        source: SocketAddr,
        /// The address that it has connected to.
        destination: SocketAddr,
    },
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes do not begin as a header does.
    Missing,
    /// A line of version 1 without an end in its 107 bytes.
    LineTooLong,
    /// The line of version 1 has another form.
    Line,
    /// An address or port of version 1.
    Address,
    /// A version other than 2, or an unknown command.
    Command,
    /// A family or a transport that a stream does not have.
    Family,
    /// More than the bytes that are read.
    TooLong,
    /// The block is too short for its addresses.
    TooShort,
    /// Values that do not fill the block.
    Value,
    /// The checksum is another.
    Checksum,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Missing => "it does not begin with one",
            Malformed::LineTooLong => "the line of version 1 is longer than 107 bytes",
            Malformed::Line => "the line of version 1 is malformed",
            Malformed::Address => "an address or port of version 1 is malformed",
            Malformed::Command => "version or command is unknown",
            Malformed::Family => "the family of addresses is unknown, or not that of a stream",
            Malformed::TooLong => "version 2 with more than 2048 bytes",
            Malformed::TooShort => "version 2 is too short for its addresses",
            Malformed::Value => "a value of version 2 is malformed",
            Malformed::Checksum => "the checksum of version 2 is wrong",
        })
    }
}

impl std::error::Error for Malformed {}

/// Reads the header that `bytes` begin with: it, and its length. Nothing where more bytes are needed; all of `bytes` belong to
/// the header then.
///
/// # Errors
/// Why it is refused: as soon as no further bytes could mend it.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let begins = |start: &[u8]| {
        let length = bytes.len().min(start.len());
        bytes[..length] == start[..length]
    };
    if begins(b"PROXY ") {
        version_1(bytes)
    } else if begins(&SIGNATURE) {
        version_2(bytes)
    } else {
        Err(Malformed::Missing)
    }
}

fn version_1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let head = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', head) else {
        return match bytes.len() < LONGEST_LINE {
            true => Ok(None),
            false => Err(Malformed::LineTooLong),
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Line)?;
    let sender = match line.strip_prefix("PROXY ").ok_or(Malformed::Line)? {
        "UNKNOWN" => Sender::Unknown,
        // The receiver ignores what follows.
        rest if rest.starts_with("UNKNOWN ") => Sender::Unknown,
        rest => {
            let words: Vec<_> = rest.split(' ').collect();
            let [family, source, destination, from, to] = words[..] else {
                return Err(Malformed::Line);
            };
            let address: fn(&str) -> Option<IpAddr> = match family {
                "TCP4" => |text| text.parse().ok().map(IpAddr::V4),
                "TCP6" => |text| text.parse().ok().map(IpAddr::V6),
                _ => return Err(Malformed::Line),
            };
            let end = |ip, port| Some(canonical(address(ip)?, self::port(port)?));
            Sender::Client {
                source: end(source, from).ok_or(Malformed::Address)?,
                destination: end(destination, to).ok_or(Malformed::Address)?,
            }
        }
    };
    let tlvs = Tlvs::default();
    Ok(Some((Header { sender, tlvs }, end + 1)))
}

/// A decimal number without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (plain && !padded).then(|| text.parse().ok())?
}

fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

fn version_2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    // What is there is judged before the rest is waited for.
    let at = |index: usize| bytes.get(index).copied();
    let is_local = match at(12) {
        None => return Ok(None),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed::Command),
    };
    let addresses = match at(13) {
        None => return Ok(None),
        // The receiver ignores the family then.
        Some(_) if is_local => 0,
        Some(0x00) => 0,
        Some(0x11) => 12,
        Some(0x21) => 36,
        Some(0x31) => 216,
        Some(_) => return Err(Malformed::Family),
    };
    let (Some(high), Some(low)) = (at(14), at(15)) else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BLOCK {
        return Err(Malformed::TooLong);
    }
    if length < addresses {
        return Err(Malformed::TooShort);
    }
    let Some(block) = bytes.get(FIXED..FIXED + length) else {
        return Ok(None);
    };
    let whole = &bytes[..FIXED + length];
    let header = match is_local {
        true => Header {
            sender: Sender::Proxy,
            tlvs: Tlvs::default(),
        },
        false => {
            let (block, values) = block.split_at(addresses);
            Header {
                sender: sender(block),
                tlvs: Tlvs::read(values, whole)?,
            }
        }
    };
    Ok(Some((header, whole.len())))
}

fn sender(block: &[u8]) -> Sender {
    let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
    let ends: Option<(IpAddr, IpAddr, u16, u16)> = match block.len() {
        12 => {
            let ip = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 4] = block[at..at + 4].try_into().ok()?;
                Some(Ipv4Addr::from(octets).into())
            };
            ip(0).zip(ip(4)).map(|(s, d)| (s, d, port(8), port(10)))
        }
        36 => {
            let ip = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = block[at..at + 16].try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            };
            ip(0).zip(ip(16)).map(|(s, d)| (s, d, port(32), port(34)))
        }
        _ => None,
    };
    match ends {
        Some((source, destination, from, to)) => Sender::Client {
            source: canonical(source, from),
            destination: canonical(destination, to),
        },
        None => Sender::Unknown,
    }
}

/// The values of a header of version 2, checked: each a type, a length and bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tlvs(Bytes);

/// What a proxy tells of the TLS that its client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTls<'a> {
    /// The client has sent a certificate, on this connection or when its session began.
    pub has_certificate: bool,
    /// The proxy has verified it.
    pub is_verified: bool,
    /// The version of TLS.
    pub version: Option<&'a [u8]>,
    /// The certificate's common name.
    pub common_name: Option<&'a [u8]>,
    /// The cipher suite.
    pub cipher: Option<&'a [u8]>,
}

impl Tlvs {
    /// `whole` is the header that ends with them.
    fn read(values: &[u8], whole: &[u8]) -> Result<Tlvs, Malformed> {
        let mut rest = values;
        let mut sums = 0;
        while let Some((kind, value, after)) = next(rest) {
            match kind {
                CRC32C if sums > 0 => return Err(Malformed::Value),
                CRC32C => {
                    sums += 1;
                    let said: [u8; 4] = value.try_into().map_err(|_| Malformed::Value)?;
                    let at = whole.len() - after.len() - 4;
                    let (before, after) = (&whole[..at], &whole[at + 4..]);
                    if crc32c([before, &[0; 4], after]) != u32::from_be_bytes(said) {
                        return Err(Malformed::Checksum);
                    }
                }
                SSL if !is_ssl(value) => return Err(Malformed::Value),
                _ => {}
            }
            rest = after;
        }
        match rest.is_empty() {
            true => Ok(Tlvs(Bytes::copy_from_slice(values))),
            false => Err(Malformed::Value),
        }
    }

    /// Those that were read and sent to another process.
    pub fn of(bytes: Bytes) -> Tlvs {
        Tlvs(bytes)
    }

    /// All of them as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Type and bytes of each.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        values(&self.0)
    }

    /// The host that the client has asked for.
    pub fn authority(&self) -> Option<&[u8]> {
        find(&self.0, AUTHORITY)
    }

    /// The TLS that the client speaks with the proxy; nothing where it speaks none.
    pub fn tls(&self) -> Option<ProxyTls<'_>> {
        let (flags, rest) = find(&self.0, SSL)?.split_first()?;
        let (verify, values) = rest.split_at_checked(4)?;
        if flags & 1 == 0 {
            return None;
        }
        let has_certificate = flags & 6 != 0;
        Some(ProxyTls {
            has_certificate,
            is_verified: has_certificate && verify == [0; 4],
            version: find(values, SSL_VERSION),
            common_name: find(values, SSL_CN),
            cipher: find(values, SSL_CIPHER),
        })
    }
}

/// Whether a value is that of TLS: flags, a result, and values within it.
fn is_ssl(value: &[u8]) -> bool {
    let Some(mut rest) = value.get(5..) else {
        return false;
    };
    while let Some((_, _, after)) = next(rest) {
        rest = after;
    }
    rest.is_empty()
}

/// Type and bytes of the first value, and what follows it.
fn next(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, high, low], rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (value, rest) = rest.split_at_checked(length)?;
    Some((kind, value, rest))
}

fn values(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (kind, value, rest) = next(bytes)?;
        bytes = rest;
        Some((kind, value))
    })
}

fn find(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut values = values(bytes);
    values.find(|(kind, _)| *kind == wanted).map(|(_, v)| v)
}

/// The checksum of RFC 4960 appendix B. A header has some hundred bytes, once in a connection: no table is needed.
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut sum = !0;
    for &byte in parts.into_iter().flatten() {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            let low = sum & 1;
            sum = (sum >> 1) ^ (low * POLYNOMIAL);
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
