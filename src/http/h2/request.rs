//! Heads of requests, as the crate gives them, to those that all of Gepok knows.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use ::h2::ext::Protocol;
use ::http::Method;
use ::http::header::{
    CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_KEY,
};
use ::http::request::Parts;
use ::http::uri::PathAndQuery;

use bytes::Bytes;
use data_encoding::BASE64;

use crate::http::error::Error;
use crate::http::fields;
use crate::http::limits::{self, Limits};
use crate::semantics::field::{Fields, may_be_trailer};
use crate::semantics::message::{RequestHead, Version};
use crate::semantics::target::TargetError;

/// Bytes that a field line has beside its name and value where it is written as in HTTP/1, which is what limits count.
const FRAMING: usize = ": \r\n".len();

/// The head of a request.
///
/// # Errors
/// Why the request is refused.
pub(super) fn head(parts: &Parts, limits: &Limits) -> Result<RequestHead, Error> {
    if parts.method.as_str().len() > limits::METHOD {
        return Err(Error::MethodTooLong);
    }
    let tunnel = parts.extensions.get::<Protocol>();
    if tunnel.is_some_and(|protocol| !protocol.as_str().eq_ignore_ascii_case("websocket")) {
        return Err(Error::UnknownProtocol);
    }
    check_pseudo_fields(parts)?;
    let target = target(parts);
    if target.len() > limits.target {
        return Err(Error::TargetTooLong);
    }
    let host = host(parts)?;
    let mut size = 0;
    let mut lines = Vec::with_capacity(parts.headers.len() + 1);
    let mut cookies = Vec::new();
    lines.extend(host.map(|host| (&b"Host"[..], host)));
    for (name, value) in &parts.headers {
        let value = value.as_bytes().trim_ascii();
        size += name.as_str().len() + value.len() + FRAMING;
        if name.as_str().len() > limits::FIELD_NAME {
            return Err(Error::FieldNameTooLong);
        }
        if name == COOKIE {
            // A client may send it in pieces (RFC 9113 section 8.2.3).
            cookies.push(value);
        } else if tunnel.is_some() && is_of_handshake(name) {
            // The app gets ours.
        } else if name != HOST && fields::is_kept(name.as_str().as_bytes(), limits) {
            lines.push((name.as_str().as_bytes(), value));
        }
    }
    if parts.headers.len() > limits.fields {
        return Err(Error::TooManyFields);
    }
    if size > limits.field_section {
        return Err(Error::FieldSectionTooLarge);
    }
    let cookies = cookies.join(&b"; "[..]);
    if !cookies.is_empty() {
        lines.push((b"cookie", &cookies));
    }
    let key = tunnel.map(|_| handshake_key());
    if let Some(key) = &key {
        lines.extend([
            (&b"connection"[..], &b"Upgrade"[..]),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-key", key.as_bytes()),
        ]);
    }
    let method = match tunnel {
        // What an app knows from HTTP/1.1 (RFC 6455 section 4.1).
        Some(_) => b"GET",
        None => parts.method.as_str().as_bytes(),
    };
    Ok(RequestHead::from_parts(
        Version::Http2,
        method,
        target.as_bytes(),
        lines,
    ))
}

/// The protocol that the client wants to speak.
pub(super) fn protocol(protocol: &Protocol) -> Bytes {
    Bytes::from(protocol.as_str().to_ascii_lowercase())
}

/// Whether a field belongs to the handshake of HTTP/1.1, or would give the request content.
fn is_of_handshake(name: &HeaderName) -> bool {
    [SEC_WEBSOCKET_KEY, CONTENT_LENGTH, EXPECT].contains(name)
}

/// A key for the app's handshake: only the app itself looks at what it makes of it.
fn handshake_key() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let key: [u8; 16] = (u128::from(random()) << 64 | u128::from(random())).to_be_bytes();
    BASE64.encode(&key)
}

/// The fields after the content. Those that an app may not see are dropped.
///
/// # Errors
/// When they are more than a head may have.
pub(super) fn trailers(section: &HeaderMap, limits: &Limits) -> Result<Fields, Error> {
    if section.len() > limits.fields {
        return Err(Error::TooManyFields);
    }
    let size =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + FRAMING;
    if section.iter().map(size).sum::<usize>() > limits.field_section {
        return Err(Error::FieldSectionTooLarge);
    }
    let kept = section.iter().filter(|(name, _)| {
        let name = name.as_str().as_bytes();
        may_be_trailer(name) && fields::is_kept(name, limits)
    });
    Ok(Fields::from_pairs(kept.map(|(name, value)| {
        (name.as_str(), value.as_bytes().trim_ascii())
    })))
}

/// A line that shows a request that is refused, as HTTP/1 would have it.
pub(super) fn line(parts: &Parts) -> String {
    let version = Version::Http2.as_str();
    format!("{} {} {version}", parts.method, target(parts))
}

fn target(parts: &Parts) -> &str {
    let is_tunnel = parts.extensions.get::<Protocol>().is_some();
    match (&parts.method, parts.uri.authority()) {
        (&Method::CONNECT, Some(authority)) if !is_tunnel => authority.as_str(),
        _ => parts.uri.path_and_query().map_or("", |path| path.as_str()),
    }
}

/// Refuses what the crate takes for a request although RFC 9113 section 8.3.1 does not: one without `:path`, where there is no
/// `:authority` either, and an empty `:scheme`.
fn check_pseudo_fields(parts: &Parts) -> Result<(), Error> {
    let path = parts.uri.path_and_query();
    // A path that is missing is shown as `/`, but does not equal it.
    let missing = parts.method != Method::CONNECT
        && path.is_some_and(|path| path.as_str() == "/" && *path != PathAndQuery::from_static("/"));
    if missing || parts.uri.scheme_str() == Some("") {
        return Err(TargetError::Form.into());
    }
    Ok(())
}

/// The host: `:authority`, else the Host field. They may not differ (RFC 9113 section 8.3.1).
fn host(parts: &Parts) -> Result<Option<&[u8]>, Error> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next().map(|value| value.as_bytes().trim_ascii());
    if fields.next().is_some() {
        return Err(TargetError::HostRepeated.into());
    }
    let authority = parts.uri.authority().map(|named| named.as_str().as_bytes());
    match (authority, field) {
        // With a user's name in it, it is deprecated, and could be taken for another host.
        (Some(authority), _) if authority.contains(&b'@') => Err(Error::Authority),
        (Some(authority), Some(field)) if !authority.eq_ignore_ascii_case(field) => {
            Err(Error::Authority)
        }
        (Some(authority), _) => Ok(Some(authority)),
        (None, field) => Ok(field),
    }
}

#[cfg(test)]
mod tests {
    use ::http::Request;

    use super::*;

    fn head_of(
        method: &str,
        uri: &str,
        fields: &[(&str, &str)],
    ) -> Result<(String, Vec<String>), Error> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = head(&parts, &Limits::default())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = head.fields.iter();
        let fields = fields.map(|(name, value)| format!("{}={}", text(name), text(value)));
        Ok((
            text(head.method()) + " " + &text(head.target()),
            fields.collect(),
        ))
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn heads() {
        for (method, uri, fields, line, expected) in [
            ("GET", "https://h/a?b", &[][..], "GET /a?b", &["Host=h"][..]),
            ("GET", "https://h", &[], "GET /", &["Host=h"]),
            ("GET", "https://h:8/%20", &[("accept", " x ")], "GET /%20", &["Host=h:8", "accept=x"]),
            ("GET", "/", &[("host", "h")], "GET /", &["Host=h"]),
            ("GET", "https://H/", &[("host", "h")], "GET /", &["Host=H"]),
            ("GET", "/", &[], "GET /", &[]),
            ("OPTIONS", "*", &[("host", "h")], "OPTIONS *", &["Host=h"]),
            ("CONNECT", "h:443", &[], "CONNECT h:443", &["Host=h:443"]),
            ("GET", "https://h/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], "GET /", &["Host=h", "x=y", "cookie=a=1; b=2"]),
            ("GET", "https://h/", &[("proxy", "x"), ("a_b", "y"), ("x-sendfile-type", "z"), ("a", "1"), ("a", "2")], "GET /", &["Host=h", "a=1", "a=2"]),
        ] {
            let found = head_of(method, uri, fields).unwrap();
            assert_eq!((found.0.as_str(), &found.1[..]), (line, &expected.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..]), "{uri} {fields:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn refusals() {
        let long = "m".repeat(65);
        let target = "https://h/".to_owned() + &"a".repeat(16 * 1024);
        let value = "v".repeat(64 * 1024);
        for (method, uri, fields, expected) in [
            (long.as_str(), "https://h/", &[][..], Error::MethodTooLong),
            ("GET", target.as_str(), &[], Error::TargetTooLong),
            ("GET", "https://u@h/", &[], Error::Authority),
            ("GET", "https://h/", &[("host", "other")], Error::Authority),
            ("GET", "/", &[("host", "a"), ("host", "b")], Error::Target(TargetError::HostRepeated)),
            ("GET", "https://h/", &[("a", value.as_str())], Error::FieldSectionTooLarge),
        ] {
            assert_eq!(head_of(method, uri, fields).err(), Some(expected), "{method} {fields:?}");
        }
        let names: Vec<_> = (0..129).map(|number| format!("a{number}")).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(head_of("GET", "https://h/", &many).err(), Some(Error::TooManyFields));
    }
}
