//! Heads of requests and responses (RFC 9110 section 6).

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::field::{Fields, Line, Span, list_members};
use super::source::{Endpoints, Source};

/// A message's protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    /// HTTP/1.0
    Http10 = 10,
    /// HTTP/1.1
    Http11 = 11,
    /// HTTP/2
    Http2 = 20,
}

impl Version {
    /// The version as CGI names it in `SERVER_PROTOCOL` (RFC 3875 section 4.1.16).
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }

    /// The version whose discriminant is `number`.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            10 => Some(Version::Http10),
            11 => Some(Version::Http11),
            20 => Some(Version::Http2),
            _ => None,
        }
    }
}

/// What a request asks for: method, target, version and fields.
///
/// Method, target and fields are offsets into the one buffer the head was read into.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method token; its case matters (RFC 9110 section 9.1).
    pub method: Span,
    /// The request target, byte for byte as sent.
    pub target: Span,
    /// The protocol version of the request.
    pub version: Version,
    /// The fields; `method` and `target` point into the same bytes.
    pub fields: Fields,
}

impl RequestHead {
    /// A head of HTTP/1.1 that was not read from a client.
    pub fn new(method: &str, target: &str, fields: &[(&str, &str)]) -> Self {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        Self::from_parts(
            Version::Http11,
            method.as_bytes(),
            target.as_bytes(),
            fields,
        )
    }

    /// A head whose parts came in a form other than that of HTTP/1. The bytes of its fields begin with a request line.
    pub fn from_parts<'f>(
        version: Version,
        method: &[u8],
        target: &[u8],
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Self {
        let mut bytes = Vec::with_capacity(512);
        let mut put = |part: &[u8], separator: &str| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            let end = bytes.len() as u32;
            bytes.extend_from_slice(separator.as_bytes());
            Span { start, end }
        };
        let method = put(method, " ");
        let target = put(target, " ");
        put(version.as_str().as_bytes(), "\r\n");
        let lines = fields
            .into_iter()
            .map(|(name, value)| Line {
                name: put(name, ": "),
                value: put(value, "\r\n"),
            })
            .collect();
        RequestHead {
            method,
            target,
            version,
            // Each line is within the bytes.
            fields: Fields::new(bytes.into(), lines).unwrap_or_default(),
        }
    }

    /// Whether the client takes trailers of the response. One of HTTP/1.1 has to say so (RFC 9110 section 10.1.4).
    pub fn takes_trailers(&self) -> bool {
        match self.version {
            Version::Http10 => false,
            Version::Http11 => self
                .fields
                .all("te")
                .flat_map(list_members)
                .any(|member| member.eq_ignore_ascii_case(b"trailers")),
            Version::Http2 => true,
        }
    }

    /// The method's name.
    pub fn method(&self) -> &[u8] {
        &self.fields.bytes()[self.method.range()]
    }

    /// The target's bytes.
    pub fn target(&self) -> &[u8] {
        &self.fields.bytes()[self.target.range()]
    }

    /// Puts another target in the place of the one that was sent.
    pub fn rewrite(&mut self, target: &[u8]) {
        let bytes = self.fields.append(target);
        self.target = bytes;
    }

    /// The target as the client has sent it, whatever it was rewritten to.
    pub fn sent_target(&self) -> &[u8] {
        let begins = self.method.end as usize + 1;
        match self.fields.bytes().get(begins..) {
            // One that replaces it stands at the end of the bytes.
            Some(line) if self.target.start as usize > begins => {
                let end = memchr::memchr(b' ', line).unwrap_or(line.len());
                &line[..end]
            }
            _ => self.target(),
        }
    }
}

/// What is known of the length of a response's content before that comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Nothing
    Unknown,
    /// It has this length
    Known(u64),
    /// It is all of a regular file of this length
    File(u64),
}

impl Length {
    /// The length, if it is known.
    pub fn known(self) -> Option<u64> {
        match self {
            Length::Unknown => None,
            Length::Known(length) | Length::File(length) => Some(length),
        }
    }
}

/// What a response says before its content: status and fields.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code, 100 to 999.
    pub status: u16,
    /// The fields in the order the app gave them.
    pub fields: Fields,
}

/// A point of time as Perl's `gettimeofday` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamp {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Microseconds of that second.
    pub micros: u32,
}

impl Timestamp {
    /// The time now.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp {
            seconds: since.as_secs() as i64,
            micros: since.subsec_micros(),
        }
    }
}

/// A version of TLS; the discriminants are the protocol's (RFC 8446 section 4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum TlsVersion {
    /// RFC 5246
    Tls12 = 0x0303,
    /// RFC 8446
    Tls13 = 0x0304,
}

impl TlsVersion {
    /// The version whose discriminant is `number`.
    pub fn from_number(number: u16) -> Option<Self> {
        match number {
            0x0303 => Some(TlsVersion::Tls12),
            0x0304 => Some(TlsVersion::Tls13),
            _ => None,
        }
    }
}

/// What a connection's TLS handshake has told; the same for each of its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The version agreed upon.
    pub version: TlsVersion,
    /// The cipher suite as OpenSSL names it: `ECDHE-RSA-AES128-GCM-SHA256`, `TLS_AES_256_GCM_SHA384`.
    pub cipher: Bytes,
    /// The host that the client asked for (SNI, RFC 6066 section 3); none where it named none.
    pub server_name: Option<Bytes>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's certificates in DER, its own first; empty where it sent none.
    pub certificates: Vec<Bytes>,
    /// Why the certificates are not to be trusted, in OpenSSL's words; none where their chain was verified.
    pub distrust: Option<Bytes>,
}

/// The virtual host that a request is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VirtualHost {
    /// Its name, which is `SERVER_NAME`.
    pub name: Bytes,
    /// Whether it has an app of its own.
    pub has_app: bool,
    /// What its code is asked, in place of an app.
    pub question: Option<Bytes>,
    /// How long its app may be silent on a request. A worker does not learn it.
    pub request_timeout: RequestTimeout,
}

impl VirtualHost {
    /// What its apps and its code are called in a worker; nothing where requests for it go to the server's app.
    pub fn app(&self) -> Option<Cow<'_, [u8]>> {
        match (&self.question, self.has_app) {
            (Some(_), _) => Some([&self.name[..], CODE].concat().into()),
            (None, true) => Some(self.name[..].into()),
            (None, false) => None,
        }
    }
}

/// What follows the name of a host in what its code is called. No name of a host has a slash.
const CODE: &[u8] = b"/code";

/// How long the app of a virtual host may be silent on a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequestTimeout {
    /// As on other requests
    #[default]
    OfServer,
    /// For ever
    None,
    /// For this time
    After(Duration),
}

/// A request's content, complete: workers never wait for a client.
#[derive(Debug)]
pub enum Content {
    /// No content at all.
    Empty,
    /// Content small enough to travel in the message itself.
    Inline(Bytes),
    /// Content in an unlinked file, from offset 0.
    File {
        /// The file.
        file: std::os::fd::OwnedFd,
        /// Its length in bytes.
        length: u64,
    },
}

/// What only HTTP/2 tells of a request.
#[derive(Clone, Debug, Default)]
pub struct Http2 {
    /// The number of its stream.
    pub stream: u32,
    /// The protocol that the client wants to speak on the stream (extended CONNECT, RFC 8441).
    pub protocol: Option<Bytes>,
    /// The fields after the content (RFC 9113 section 8.1).
    pub trailers: Fields,
}

/// A complete request, as the core hands it to a worker.
#[derive(Debug)]
pub struct Request {
    /// Its head.
    pub head: RequestHead,
    /// Its content.
    pub content: Content,
    /// Length of the content; nothing where the request had none and did not say so.
    pub content_length: Option<u64>,
    /// Number of the listener that accepted the connection (`config::Listener`).
    pub listener: u16,
    /// The virtual host, where the server has some.
    pub vhost: Option<Rc<VirtualHost>>,
    /// Where it comes from.
    pub source: Source,
    /// What the connection's TLS is like; none for plain HTTP.
    pub tls: Option<Rc<Tls>>,
    /// What HTTP/2 tells beside; none for HTTP/1.
    pub http2: Option<Box<Http2>>,
    /// When the connection was accepted.
    pub connected: Timestamp,
    /// When the head's first byte was read.
    pub started: Timestamp,
    /// When the request was complete.
    pub finished: Timestamp,
}

impl AsRef<Request> for Request {
    fn as_ref(&self) -> &Request {
        self
    }
}

impl Request {
    /// A request of the server's own, as a client on this machine would send it to the first listener.
    pub fn local(head: RequestHead, content: Content) -> Self {
        let here = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        let now = Timestamp::now();
        Request {
            head,
            content,
            content_length: None,
            listener: 0,
            vhost: None,
            source: Endpoints::Ip {
                peer: here,
                local: here,
            }
            .into(),
            tls: None,
            http2: None,
            connected: now,
            started: now,
            finished: now,
        }
    }

    /// Bytes of memory that it takes, about.
    pub fn size(&self) -> u64 {
        const REST: u64 = 1024;
        let content = match &self.content {
            Content::Inline(bytes) => bytes.len() as u64,
            Content::Empty | Content::File { .. } => 0,
        };
        let trailers = self
            .http2
            .as_ref()
            .map_or(0, |http2| http2.trailers.bytes().len() as u64);
        REST + self.head.fields.bytes().len() as u64 + trailers + content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_made_here_reads_like_one_from_a_client() {
        let head = RequestHead::new("GET", "/a?b", &[("Host", "x"), ("Accept", "")]);
        assert_eq!((head.method(), head.target()), (&b"GET"[..], &b"/a?b"[..]));
        let fields: Vec<_> = head.fields.iter().collect();
        assert_eq!(fields, [(&b"Host"[..], &b"x"[..]), (b"Accept", b"")]);
        let wire = b"GET /a?b HTTP/1.1\r\nHost: x\r\nAccept: \r\n";
        assert_eq!(head.fields.bytes(), &wire[..]);
        let mut head = head;
        assert_eq!(head.sent_target(), b"/a?b");
        head.rewrite(b"/c");
        assert_eq!(
            (head.target(), head.sent_target()),
            (&b"/c"[..], &b"/a?b"[..])
        );
    }
}
