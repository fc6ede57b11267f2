//! Request targets: their four forms, the path an app sees, and the host that is meant (RFC 9112 section 3.2).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

use memchr::{memchr, memchr2, memchr3};

use super::field::Fields;

/// Why a request target, or the Host field beside it, is refused; each is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// The target has none of the four forms, or one that its method does not allow: `*` is for OPTIONS,
    /// `host:port` for CONNECT.
    Form,
    /// An absolute form with a scheme other than `http` or `https`.
    Scheme,
    /// The authority of the target can't be a host and port, or holds user information (RFC 9110 section 4.2.4).
    Authority,
    /// A `%` in the path that two hexadecimal digits don't follow.
    PercentEncoding,
    /// A zero byte in the path, encoded or not: C code called by an app would see a shorter path.
    Nul,
    /// The Host field can't be a host and port.
    Host,
    /// More than one Host field (RFC 9112 section 3.2).
    HostRepeated,
    /// An HTTP/1.1 request without a Host field (RFC 9112 section 3.2).
    HostMissing,
    /// A `#` in the target: a fragment is never sent (RFC 9112 section 3.2).
    Fragment,
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetError::Form => "the request target does not fit its method",
            TargetError::Scheme => "the request target's scheme is neither http nor https",
            TargetError::Authority => "the request target's authority is not a host and port",
            TargetError::PercentEncoding => "a percent sign in the path without two hex digits",
            TargetError::Nul => "a zero byte in the path",
            TargetError::Host => "the Host field is not a host and port",
            TargetError::HostRepeated => "more than one Host field",
            TargetError::HostMissing => "an HTTP/1.1 request without a Host field",
            TargetError::Fragment => "a fragment in the request target",
        })
    }
}

impl std::error::Error for TargetError {}

/// The form of a request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `/path?query`, the common one.
    Origin,
    /// `http://host/path?query`, as sent to proxies; servers must take it too.
    Absolute,
    /// `host:port`, with CONNECT only.
    Authority,
    /// `*`, with OPTIONS only: the server as a whole.
    Asterisk,
}

/// The parts of a request target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Which form it has.
    pub form: Form,
    /// The path, not decoded: it begins with `/`, or is empty where the target names no path at all
    /// (asterisk form, authority form, and OPTIONS with a bare `http://host`), so that PATH_INFO is
    /// always as PSGI wants it.
    pub path: &'a [u8],
    /// The part between `?` and a fragment; empty if there is no query.
    pub query: &'a [u8],
    /// Host and port of an absolute or authority form.
    pub authority: Option<&'a [u8]>,
}

impl<'a> Target<'a> {
    /// Takes the target of a request with this method apart.
    ///
    /// A fragment belongs neither to the path nor to the query, as with Gazelle. Requests with one are refused
    /// before, unless an option lets them in.
    pub fn parse(method: &[u8], target: &'a [u8]) -> Result<Self, TargetError> {
        if method == b"CONNECT" {
            return Self::parse_authority(target);
        }
        match target {
            [b'/', ..] => {
                let (path, query) = path_and_query(target);
                Ok(Target {
                    form: Form::Origin,
                    path,
                    query,
                    authority: None,
                })
            }
            b"*" if method == b"OPTIONS" => Ok(Target {
                form: Form::Asterisk,
                path: b"",
                query: b"",
                authority: None,
            }),
            _ => Self::parse_absolute(method, target),
        }
    }

    fn parse_authority(target: &'a [u8]) -> Result<Self, TargetError> {
        // CONNECT must name its port (RFC 9112 section 3.2.3).
        let digits = target.iter().rev().take_while(|b| b.is_ascii_digit());
        let host = &target[..target.len() - digits.count()];
        let names_port = host.len() < target.len() && host.ends_with(b":") && host != b":";
        if !names_port || !is_host(target) {
            return Err(TargetError::Authority);
        }
        Ok(Target {
            form: Form::Authority,
            path: b"",
            query: b"",
            authority: Some(target),
        })
    }

    fn parse_absolute(method: &[u8], target: &'a [u8]) -> Result<Self, TargetError> {
        let colon = memchr(b':', target).ok_or(TargetError::Form)?;
        let (scheme, rest) = target.split_at(colon);
        let rest = rest.strip_prefix(b"://").ok_or(TargetError::Form)?;
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(TargetError::Scheme);
        }
        let end = memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        // An http URI without a host is invalid (RFC 9110 section 4.2.1).
        if authority.is_empty() || authority[0] == b':' || !is_host(authority) {
            return Err(TargetError::Authority);
        }
        let (mut path, query) = path_and_query(rest);
        if path.is_empty() && method != b"OPTIONS" {
            path = b"/";
        }
        Ok(Target {
            form: Form::Absolute,
            path,
            query,
            authority: Some(authority),
        })
    }

    /// The host and port the request is meant for: the target's own, which replaces any Host field
    /// (RFC 9112 section 3.2.2), else the Host field's; nothing if neither is there.
    ///
    /// A Host field is checked in any case. An empty one is valid (RFC 9112 section 3.2).
    pub fn host<'f>(&self, fields: &'f Fields) -> Result<Option<&'f [u8]>, TargetError>
    where
        'a: 'f,
    {
        let mut hosts = fields.all("host");
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(TargetError::HostRepeated);
        }
        if host.is_some_and(|value| !value.is_empty() && !is_host(value)) {
            return Err(TargetError::Host);
        }
        Ok(self.authority.or(host))
    }
}

fn path_and_query(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr2(b'?', b'#', bytes).unwrap_or(bytes.len());
    let (path, rest) = bytes.split_at(end);
    match rest.strip_prefix(b"?") {
        Some(rest) => (path, &rest[..memchr(b'#', rest).unwrap_or(rest.len())]),
        None => (path, b""),
    }
}

/// Whether `bytes` can be `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2).
///
/// Stricter than the grammar in one point: a comma is refused, as it can come of two Host fields that a
/// proxy has joined.
pub fn is_host(bytes: &[u8]) -> bool {
    let (host_is_valid, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr(b']', rest) else {
                return false;
            };
            (is_ipv6(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = memchr(b':', bytes).unwrap_or(bytes.len());
            (is_reg_name(&bytes[..end]), &bytes[end..])
        }
    };
    host_is_valid && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

fn is_ipv6(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_reg_name(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        let plain = rest.iter().take_while(|&&byte| REG_NAME[usize::from(byte)]);
        rest = match &rest[plain.count()..] {
            [] => return true,
            [b'%', a, b, tail @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => tail,
            _ => return false,
        };
    }
}

/// The bytes of a registered name that stand for themselves: a look at a table costs less than comparisons.
const REG_NAME: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~'
            | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'=');
        byte += 1;
    }
    table
};

fn is_port(digits: &[u8]) -> bool {
    let value = digits.iter().try_fold(0u16, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    });
    value.is_some()
}

/// Decodes the percent-encoding of a path, once, as PATH_INFO wants it (RFC 3875 section 4.1.5).
///
/// All else stays as it is: `+`, repeated slashes, dot segments and backslashes mean what the app takes them
/// for. nginx would fold the former; no PSGI server does, and apps that route on the raw path rely on it.
pub fn decode_path(raw: &[u8]) -> Result<Cow<'_, [u8]>, TargetError> {
    if memchr(0, raw).is_some() {
        return Err(TargetError::Nul);
    }
    let Some(first) = memchr(b'%', raw) else {
        return Ok(Cow::Borrowed(raw));
    };
    let mut decoded = Vec::with_capacity(raw.len());
    decoded.extend_from_slice(&raw[..first]);
    let mut rest = &raw[first..];
    while let [byte, tail @ ..] = rest {
        if *byte != b'%' {
            decoded.push(*byte);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(TargetError::PercentEncoding);
        };
        match (hex_value(*high), hex_value(*low)) {
            (Some(0), Some(0)) => return Err(TargetError::Nul),
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            _ => return Err(TargetError::PercentEncoding),
        }
        rest = tail;
    }
    Ok(Cow::Owned(decoded))
}

/// The value of a hexadecimal digit.
pub fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded = Result<&'static [u8], TargetError>;

    /// Form, path, query and authority, or the error.
    type Parts = Result<(Form, &'static str, &'static str, Option<&'static str>), TargetError>;

    fn parts(method: &str, target: &'static [u8]) -> Parts {
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or("not UTF-8");
        let parsed = Target::parse(method.as_bytes(), target)?;
        Ok((
            parsed.form,
            text(parsed.path),
            text(parsed.query),
            parsed.authority.map(text),
        ))
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn targets_come_apart() {
        use Form::*;
        use TargetError as E;
        let cases: &[(&str, &str, &str, Parts)] = &[
            ("root", "GET", "/", Ok((Origin, "/", "", None))),
            ("query", "GET", "/a/b?c=d", Ok((Origin, "/a/b", "c=d", None))),
            ("first ? counts", "GET", "/a?b?c", Ok((Origin, "/a", "b?c", None))),
            ("empty query", "GET", "/a?", Ok((Origin, "/a", "", None))),
            ("fragment", "GET", "/a#f", Ok((Origin, "/a", "", None))),
            ("query, fragment", "GET", "/a?q#f", Ok((Origin, "/a", "q", None))),
            ("? within fragment", "GET", "/a#f?q", Ok((Origin, "/a", "", None))),
            ("slashes stay", "GET", "//a///b", Ok((Origin, "//a///b", "", None))),
            ("a URL in the path", "GET", "/http://h/", Ok((Origin, "/http://h/", "", None))),
            ("not decoded", "GET", "/%41+b", Ok((Origin, "/%41+b", "", None))),
            ("UTF-8", "GET", "/é?é", Ok((Origin, "/é", "é", None))),
            ("dots stay", "GET", "/../a/./b", Ok((Origin, "/../a/./b", "", None))),
            ("backslash stays", "GET", "/a\\b", Ok((Origin, "/a\\b", "", None))),
            ("absolute", "GET", "http://h/p?q", Ok((Absolute, "/p", "q", Some("h")))),
            ("absolute, port", "GET", "http://h:81/p", Ok((Absolute, "/p", "", Some("h:81")))),
            ("absolute, https", "GET", "https://h/p", Ok((Absolute, "/p", "", Some("h")))),
            ("scheme in capitals", "GET", "HTTP://h/p", Ok((Absolute, "/p", "", Some("h")))),
            ("absolute, no path", "GET", "http://h", Ok((Absolute, "/", "", Some("h")))),
            ("absolute, only query", "GET", "http://h?q", Ok((Absolute, "/", "q", Some("h")))),
            ("absolute, only fragment", "GET", "http://h#f", Ok((Absolute, "/", "", Some("h")))),
            ("absolute, v6", "GET", "http://[::1]:8/", Ok((Absolute, "/", "", Some("[::1]:8")))),
            ("absolute, at in path", "GET", "http://h/@x", Ok((Absolute, "/@x", "", Some("h")))),
            ("absolute OPTIONS, all", "OPTIONS", "http://h", Ok((Absolute, "", "", Some("h")))),
            ("absolute OPTIONS, path", "OPTIONS", "http://h/", Ok((Absolute, "/", "", Some("h")))),
            ("asterisk", "OPTIONS", "*", Ok((Asterisk, "", "", None))),
            ("authority", "CONNECT", "h:443", Ok((Authority, "", "", Some("h:443")))),
            ("authority, v6", "CONNECT", "[::1]:443", Ok((Authority, "", "", Some("[::1]:443")))),
            ("asterisk with GET", "GET", "*", Err(E::Form)),
            ("asterisk in lower case method", "options", "*", Err(E::Form)),
            ("asterisk and more", "OPTIONS", "*a", Err(E::Form)),
            ("authority with GET", "GET", "h:443", Err(E::Form)),
            ("no slash", "GET", "a/b", Err(E::Form)),
            ("only a query", "GET", "?a", Err(E::Form)),
            ("empty", "GET", "", Err(E::Form)),
            ("one slash", "GET", "http:/h/p", Err(E::Form)),
            ("ftp", "GET", "ftp://h/p", Err(E::Scheme)),
            ("no scheme", "GET", "://h/p", Err(E::Scheme)),
            ("file", "GET", "file:///etc/passwd", Err(E::Scheme)),
            ("no host", "GET", "http:///p", Err(E::Authority)),
            ("only a port", "GET", "http://:80/p", Err(E::Authority)),
            ("user", "GET", "http://u@h/", Err(E::Authority)),
            ("user and password", "GET", "http://u:p@h/", Err(E::Authority)),
            ("backslash in host", "GET", "http://h\\x/", Err(E::Authority)),
            ("odd port", "GET", "http://h:8x/", Err(E::Authority)),
            ("CONNECT to a path", "CONNECT", "/", Err(E::Authority)),
            ("CONNECT without port", "CONNECT", "h", Err(E::Authority)),
            ("CONNECT with empty port", "CONNECT", "h:", Err(E::Authority)),
            ("CONNECT without host", "CONNECT", ":443", Err(E::Authority)),
            ("CONNECT with URL", "CONNECT", "http://h:1", Err(E::Authority)),
            ("CONNECT v6 without port", "CONNECT", "[::1]", Err(E::Authority)),
        ];
        for (name, method, target, expected) in cases {
            assert_eq!(&parts(method, target.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn hosts_are_checked() {
        for (host, valid) in [
            ("example.com", true),
            ("example.com:8080", true),
            ("example.com:", true),
            ("EXAMPLE.com.", true),
            ("localhost", true),
            ("under_score.example", true),
            ("127.0.0.1:65535", true),
            ("[::1]", true),
            ("[::ffff:1.2.3.4]:80", true),
            ("a%20b", true),
            ("a!$&'()*+;=~b", true),
            ("h:65536", false),
            ("h:-1", false),
            ("h:+1", false),
            ("h:1:2", false),
            ("h:8a", false),
            ("a b", false),
            ("a,b", false),
            ("a, a", false),
            ("a/b", false),
            ("a\\b", false),
            ("u@h", false),
            ("a?b", false),
            ("a#b", false),
            ("a\tb", false),
            ("a\x7fb", false),
            ("a\0b", false),
            ("a\"b", false),
            ("<a>", false),
            ("a%2", false),
            ("a%zz", false),
            ("é", false),
            ("http://h", false),
            ("::1", false),
            ("[::1", false),
            ("[]", false),
            ("[h]", false),
            ("[::1]x", false),
            ("[fe80::1%25eth0]", false),
        ] {
            let fields = Fields::from_pairs([("Host", host)]);
            let target = Target::parse(b"GET", b"/").unwrap();
            let expected = if valid {
                Ok(Some(host.as_bytes()))
            } else {
                Err(TargetError::Host)
            };
            assert_eq!(target.host(&fields), expected, "{host}");
        }
    }

    #[test]
    fn the_host_meant_is_the_targets_then_the_fields() {
        let origin = Target::parse(b"GET", b"/").unwrap();
        let absolute = Target::parse(b"GET", b"http://t:1/").unwrap();
        let none = Fields::default();
        let empty = Fields::from_pairs([("host", "")]);
        let one = Fields::from_pairs([("HOST", "f")]);
        let odd = Fields::from_pairs([("Host", "a b")]);
        let same_twice = Fields::from_pairs([("Host", "f"), ("host", "f")]);
        assert_eq!(origin.host(&none), Ok(None));
        assert_eq!(origin.host(&empty), Ok(Some(&b""[..])));
        assert_eq!(origin.host(&one), Ok(Some(&b"f"[..])));
        assert_eq!(absolute.host(&none), Ok(Some(&b"t:1"[..])));
        assert_eq!(absolute.host(&one), Ok(Some(&b"t:1"[..])));
        assert_eq!(absolute.host(&odd), Err(TargetError::Host));
        assert_eq!(origin.host(&same_twice), Err(TargetError::HostRepeated));
        assert_eq!(absolute.host(&same_twice), Err(TargetError::HostRepeated));
    }

    #[test]
    fn paths_are_decoded_once() {
        use TargetError::{Nul, PercentEncoding};
        let cases: &[(&[u8], Decoded)] = &[
            (b"", Ok(b"")),
            (b"/", Ok(b"/")),
            (b"/plain", Ok(b"/plain")),
            (b"/%41", Ok(b"/A")),
            (b"/%252c", Ok(b"/%2c")),
            (b"/a%20b", Ok(b"/a b")),
            (b"/a+b", Ok(b"/a+b")),
            (b"/%e3%81%82", Ok(b"/\xe3\x81\x82")),
            (b"/%E3%aF", Ok(b"/\xe3\xaf")),
            (b"/\xe9", Ok(b"/\xe9")),
            (b"/%ff%FF", Ok(b"/\xff\xff")),
            (b"//a//", Ok(b"//a//")),
            (b"/a%2Fb", Ok(b"/a/b")),
            (b"/%2e%2e/", Ok(b"/../")),
            (b"/a%5cb\\", Ok(b"/a\\b\\")),
            (b"/%0d%0a", Ok(b"/\r\n")),
            (b"/%3f%23", Ok(b"/?#")),
            (b"/%25", Ok(b"/%")),
            (b"/%", Err(PercentEncoding)),
            (b"/%2", Err(PercentEncoding)),
            (b"/a%zz", Err(PercentEncoding)),
            (b"/a%2g", Err(PercentEncoding)),
            (b"/a%g2", Err(PercentEncoding)),
            (b"/a%%41", Err(PercentEncoding)),
            (b"/a%+1", Err(PercentEncoding)),
            (b"/a% 1", Err(PercentEncoding)),
            (b"/%u0041", Err(PercentEncoding)),
            (b"/%00", Err(Nul)),
            (b"/a\0", Err(Nul)),
        ];
        for (raw, expected) in cases {
            let decoded = decode_path(raw);
            assert_eq!(
                decoded.as_deref().map_err(|e| *e),
                *expected,
                "{}",
                raw.escape_ascii()
            );
        }
    }

    #[test]
    fn a_path_without_encoding_is_not_copied() {
        assert!(matches!(decode_path(b"/a/b"), Ok(Cow::Borrowed(_))));
    }
}
