//! HTTP/1.0 and 1.1 (RFC 9112). Parsing, framing, decoding and writing are pure functions of bytes; `connection`,
//! `content`, `respond` and `handover` run them on a stream.
//!
//! Strict in, exact out: no bytes of a client may be read in two ways, by us and by a proxy before us. Options make
//! exceptions; of these only `Limits::bare_lf` is on by default.

mod account;
pub mod chunked;
pub mod connection;
mod content;
pub mod digits;
pub mod framing;
mod handover;
pub mod own_chunks;
pub mod parse;
mod presence;
mod respond;
pub mod write;

use crate::semantics::field::decimal;
use memchr::memchr;

use self::framing::Facts;
use super::error::Error;
use super::limits::Limits;
use crate::semantics::message::{RequestHead, Version};
use crate::semantics::target::{Target, TargetError, decode_path};

/// Checks all that can be refused about a request head before its content is read, and gives what the
/// connection must know of it.
pub fn examine(head: &RequestHead, limits: &Limits) -> Result<Facts, Error> {
    if !limits.target_fragment && memchr(b'#', head.target()).is_some() {
        return Err(TargetError::Fragment.into());
    }
    let target = Target::parse(head.method(), head.target())?;
    target.host(&head.fields)?;
    decode_path(target.path)?;
    // Also where the target names the host itself.
    let needs_host = limits.require_host && head.version >= Version::Http11;
    if needs_host && head.fields.first("host").is_none() {
        return Err(TargetError::HostMissing.into());
    }
    framing::facts(head, limits)
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
fn is_token_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'!' | b'#' | b'$' | b'%'
        | b'&' | b'\'' | b'*' | b'+' | b'^' | b'`' | b'|' | b'~')
}

/// Whether `byte` may stand in a request's field value (RFC 9110 section 5.5).
fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    #[test]
    #[rustfmt::skip] // A table.
    fn examination_finds_what_parsing_lets_pass() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(())),
            ("GET / HTTP/1.0\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::HostMissing))),
            ("GET http://a/ HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::HostMissing))),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET /a?b# HTTP/1.0\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET /é%20 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET /%zz HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::PercentEncoding))),
            ("GET /%00 HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::Nul))),
            ("GET /?%00%zz HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET x HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::Form))),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(Error::Target(TargetError::HostRepeated))),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(Error::Target(TargetError::Host))),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", Err(Error::ContentLength)),
        ] {
            let limits = Limits::default();
            let parsed = parse::HeadReader::new()
                .read(&mut BytesMut::from(head), &limits)
                .unwrap()
                .unwrap();
            assert_eq!(examine(&parsed, &limits).map(drop), expected, "{head}");
        }
    }

    #[test]
    fn old_clients_are_let_in_on_request() {
        let limits = Limits {
            require_host: false,
            target_fragment: true,
            ..Limits::default()
        };
        for head in [
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
        ] {
            let parsed = parse::HeadReader::new()
                .read(&mut BytesMut::from(head), &limits)
                .unwrap()
                .unwrap();
            assert_eq!(examine(&parsed, &limits).map(drop), Ok(()), "{head}");
        }
    }

    #[test]
    fn decimals_are_digits_only() {
        for (text, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1 ", None),
            ("1_0", None),
            ("0x1", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), value, "{text}");
        }
    }
}
