//! Addresses to listen on, as users write them.

use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The host that stands for every IPv4 address of the machine.
pub const WILDCARD: &str = "0.0.0.0";

/// A TCP address: a name or an address without brackets, and a port; port 0 leaves the choice to the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Host name, IPv4 or IPv6 address; [`WILDCARD`] where none was given
    pub host: String,
    /// Port
    pub port: u16,
}

/// A TCP address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The address
    pub tcp: Tcp,
    /// Whether connections begin with a PROXY header
    pub proxy: bool,
}

/// Where to listen, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The place
    pub place: Place,
    /// Whether clients speak TLS
    pub tls: bool,
    /// Whether connections begin with a PROXY header
    pub proxy: bool,
}

/// A place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP
    Tcp(Tcp),
    /// The path of a Unix socket
    Unix(PathBuf),
}

/// What marks an address where connections begin with a PROXY header.
const PROXY: &str = ":proxy";

/// Reads `N`, `:N`, `*:N`, `host:N`, `[v6]:N`: Gepok's http_ports, and IPv6 in the form of RFC 3986 section 3.2.2.
pub fn tcp(text: &str) -> Option<Tcp> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    // A bare IPv6 address ends in what looks like a port: `::1` must not become port 1.
    if host.contains(':') && !host.starts_with('[') {
        return None;
    }
    Some(Tcp {
        host: self::host(host)?,
        port: number(port)?,
    })
}

/// Reads a TCP address, after which `:proxy` may stand.
pub fn port(text: &str) -> Option<Port> {
    let (text, proxy) = without_proxy(text);
    Some(Port {
        tcp: tcp(text)?,
        proxy,
    })
}

/// An address without `:proxy`, and whether it had that.
pub fn without_proxy(text: &str) -> (&str, bool) {
    match text.strip_suffix(PROXY) {
        Some(rest) => (rest, true),
        None => (text, false),
    }
}

/// Reads what plackup's `-l` takes: a TCP address, after which Starman's `:ssl` may stand, or the path of a Unix socket; then
/// `:proxy`, or not.
pub fn any(text: &str) -> Option<Address> {
    let (text, proxy) = without_proxy(text);
    let (place, tls) = match text.strip_suffix(":ssl") {
        Some(address) => (Place::Tcp(tcp(address)?), true),
        None => (place(text)?, false),
    };
    Some(Address { place, tls, proxy })
}

fn place(text: &str) -> Option<Place> {
    if let Some(address) = tcp(text) {
        return Some(Place::Tcp(address));
    }
    // A colon in a path without a slash is likelier a mistyped port than a file's name.
    let path = !text.is_empty() && (text.contains('/') || !text.contains(':'));
    path.then(|| Place::Unix(PathBuf::from(text)))
}

/// Reads a host; empty, `*` and `0` (as inet_aton has it) are the wildcard, brackets around IPv6 are dropped.
pub fn host(text: &str) -> Option<String> {
    if matches!(text, "" | "*" | "0") {
        return Some(WILDCARD.to_owned());
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let (numeric, _zone) = bare.split_once('%').unwrap_or((bare, ""));
    let v6 = numeric.parse::<Ipv6Addr>().is_ok();
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (v6 || bare == text && bare.bytes().all(named)).then(|| bare.to_owned())
}

/// A host as it stands in a URI or in SERVER_NAME: IPv6 in brackets (RFC 3875 section 4.1.14).
pub fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_forms() {
        for (text, host, port) in [
            ("8081", WILDCARD, 8081),
            (":8081", WILDCARD, 8081),
            ("*:8081", WILDCARD, 8081),
            ("0.0.0.0:8081", WILDCARD, 8081),
            ("0:8081", WILDCARD, 8081),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("localhost:65535", "localhost", 65535),
            ("[::1]:80", "::1", 80),
            ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
            ("[::]:80", "::", 80),
        ] {
            let host = host.to_owned();
            assert_eq!(tcp(text), Some(Tcp { host, port }), "{text}");
        }
        for text in [
            "", ":", "x", "host:", "1:2:3", "::1", "[::1]", "[::1", "[x]:1", ":65536", ":+1", "-1",
            "a b:1", "h:1:ssl", "/run/x:1",
        ] {
            assert_eq!(tcp(text), None, "{text}");
        }
    }

    #[test]
    fn plackup_forms() {
        let told = |text: &str| {
            any(text).map(|Address { place, tls, proxy }| match place {
                Place::Tcp(tcp) => (format!("{} {}", tcp.host, tcp.port), tls, proxy),
                Place::Unix(path) => (path.display().to_string(), tls, proxy),
            })
        };
        for (text, place, tls, proxy) in [
            (":5000", "0.0.0.0 5000", false, false),
            ("5000", "0.0.0.0 5000", false, false),
            ("/run/app.sock", "/run/app.sock", false, false),
            ("./a:b", "./a:b", false, false),
            ("app.sock", "app.sock", false, false),
            ("localhost:80:ssl", "localhost 80", true, false),
            (":80:ssl", "0.0.0.0 80", true, false),
            (":80:proxy", "0.0.0.0 80", false, true),
            ("[::1]:80:proxy", "::1 80", false, true),
            ("*:443:ssl:proxy", "0.0.0.0 443", true, true),
            ("/run/app.sock:proxy", "/run/app.sock", false, true),
        ] {
            assert_eq!(told(text), Some((place.to_owned(), tls, proxy)), "{text}");
        }
        assert_eq!(any(":80:proxy:ssl"), None);
        assert_eq!(any(":proxy"), None);
        assert_eq!(any("localhost:80:tls"), None);
        assert_eq!(any("localhost:ssl"), None);
        assert_eq!(any(""), None);
    }
}
