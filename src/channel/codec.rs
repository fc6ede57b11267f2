//! What is in the frames: requests and heads as bytes, and back.

#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes, TryGetError};

use super::violation::Violation;
use crate::semantics::field::{Fields, Line, Span};
use crate::semantics::message::{
    Content, Http2, Request, RequestHead, ResponseHead, Timestamp, Tls, TlsVersion, Version,
    VirtualHost,
};
use crate::semantics::proxy_header::Tlvs;
use crate::semantics::source::{Endpoints, Proxied, Source};

/// Stands for a length that is not known.
const UNKNOWN: u64 = u64::MAX;

impl From<TryGetError> for Violation {
    fn from(_: TryGetError) -> Self {
        Violation::Malformed("payload too short")
    }
}

fn put_span(out: &mut Vec<u8>, span: Span) {
    out.put_u32_le(span.start);
    out.put_u32_le(span.end);
}

fn get_span(from: &mut Bytes) -> Result<Span, Violation> {
    Ok(Span {
        start: from.try_get_u32_le()?,
        end: from.try_get_u32_le()?,
    })
}

fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    out.put_i64_le(time.seconds);
    out.put_u32_le(time.micros);
}

fn get_time(from: &mut Bytes) -> Result<Timestamp, Violation> {
    Ok(Timestamp {
        seconds: from.try_get_i64_le()?,
        micros: from.try_get_u32_le()?,
    })
}

fn put_address(out: &mut Vec<u8>, address: &SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16_le(address.port());
}

fn get_address(from: &mut Bytes) -> Result<SocketAddr, Violation> {
    let ip = match from.try_get_u8()? {
        4 => IpAddr::from(from.try_get_u32()?.to_be_bytes()),
        6 => IpAddr::from(from.try_get_u128()?.to_be_bytes()),
        _ => return Err(Violation::Malformed("unknown address family")),
    };
    Ok(SocketAddr::new(ip, from.try_get_u16_le()?))
}

fn put_endpoints(out: &mut Vec<u8>, endpoints: &Endpoints) {
    match endpoints {
        Endpoints::Ip { peer, local } => {
            out.put_u8(0);
            put_address(out, peer);
            put_address(out, local);
        }
        Endpoints::Unix { pid, uid, gid } => {
            out.put_u8(1);
            out.put_i32_le(*pid);
            out.put_u32_le(*uid);
            out.put_u32_le(*gid);
        }
    }
}

fn get_endpoints(from: &mut Bytes) -> Result<Endpoints, Violation> {
    match from.try_get_u8()? {
        0 => Ok(Endpoints::Ip {
            peer: get_address(from)?,
            local: get_address(from)?,
        }),
        1 => Ok(Endpoints::Unix {
            pid: from.try_get_i32_le()?,
            uid: from.try_get_u32_le()?,
            gid: from.try_get_u32_le()?,
        }),
        _ => Err(Violation::Malformed("unknown kind of endpoint")),
    }
}

/// What proxies have told; without any, a single byte.
fn put_proxied(out: &mut Vec<u8>, proxied: Option<&Proxied>) {
    out.put_u8(proxied.is_some().into());
    let Some(proxied) = proxied else { return };
    for address in [proxied.client, proxied.peer.map(|peer| (peer, 0).into())] {
        out.put_u8(address.is_some().into());
        if let Some(address) = address {
            put_address(out, &address);
        }
    }
    out.put_u8(match proxied.https {
        None => 0,
        Some(false) => 1,
        Some(true) => 2,
    });
    // No port is 0.
    out.put_u16_le(proxied.port.unwrap_or(0));
    put_option(out, proxied.chain.as_ref());
    put_bytes(out, proxied.tlvs.bytes());
}

fn get_proxied(from: &mut Bytes) -> Result<Option<Proxied>, Violation> {
    if !get_flag(from)? {
        return Ok(None);
    }
    let client = get_flag(from)?.then(|| get_address(from)).transpose()?;
    let peer = get_flag(from)?.then(|| get_address(from)).transpose()?;
    let https = match from.try_get_u8()? {
        0 => None,
        1 => Some(false),
        2 => Some(true),
        _ => return Err(Violation::Malformed("neither http nor https")),
    };
    let port = from.try_get_u16_le()?;
    Ok(Some(Proxied {
        client,
        peer: peer.map(|peer| peer.ip()),
        https,
        port: (port > 0).then_some(port),
        chain: get_option(from)?,
        tlvs: Tlvs::of(get_bytes(from)?),
    }))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_u32_le(bytes.len() as u32);
    out.put_slice(bytes);
}

/// The payload's next bytes, whose length stands before them.
fn get_bytes(from: &mut Bytes) -> Result<Bytes, Violation> {
    let length = from.try_get_u32_le()? as usize;
    if length > from.remaining() {
        return Err(Violation::Malformed("payload too short"));
    }
    Ok(from.split_to(length))
}

fn get_flag(from: &mut Bytes) -> Result<bool, Violation> {
    match from.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Violation::Malformed("neither yes nor no")),
    }
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.put_u8(bytes.is_some().into());
    if let Some(bytes) = bytes {
        put_bytes(out, bytes);
    }
}

fn get_option(from: &mut Bytes) -> Result<Option<Bytes>, Violation> {
    get_flag(from)?.then(|| get_bytes(from)).transpose()
}

fn put_vhost(out: &mut Vec<u8>, vhost: Option<&VirtualHost>) {
    out.put_u8(match vhost {
        None => 0,
        Some(vhost) if vhost.question.is_some() => 3,
        Some(vhost) if vhost.has_app => 2,
        Some(_) => 1,
    });
    if let Some(vhost) = vhost {
        put_bytes(out, &vhost.name);
        if let Some(question) = &vhost.question {
            put_bytes(out, question);
        }
    }
}

fn get_vhost(from: &mut Bytes) -> Result<Option<Rc<VirtualHost>>, Violation> {
    let (has_app, asks) = match from.try_get_u8()? {
        0 => return Ok(None),
        1 => (false, false),
        2 => (true, false),
        3 => (false, true),
        _ => return Err(Violation::Malformed("unknown kind of virtual host")),
    };
    let name = get_bytes(from)?;
    let vhost = VirtualHost {
        name,
        has_app,
        question: asks.then(|| get_bytes(from)).transpose()?,
        request_timeout: Default::default(),
    };
    Ok(Some(Rc::new(vhost)))
}

pub(super) fn put_tls(out: &mut Vec<u8>, tls: Option<&Tls>) {
    out.put_u8(tls.is_some().into());
    let Some(tls) = tls else { return };
    out.put_u16_le(tls.version as u16);
    put_bytes(out, &tls.cipher);
    put_option(out, tls.server_name.as_ref());
    out.put_u8(tls.resumed.into());
    out.put_u32_le(tls.certificates.len() as u32);
    for certificate in &tls.certificates {
        put_bytes(out, certificate);
    }
    put_option(out, tls.distrust.as_ref());
}

pub(super) fn get_tls(from: &mut Bytes) -> Result<Option<Tls>, Violation> {
    if !get_flag(from)? {
        return Ok(None);
    }
    let version = TlsVersion::from_number(from.try_get_u16_le()?)
        .ok_or(Violation::Malformed("unknown version of TLS"))?;
    let cipher = get_bytes(from)?;
    let server_name = get_option(from)?;
    let resumed = get_flag(from)?;
    let count = from.try_get_u32_le()? as usize;
    if count > from.remaining() / 4 {
        return Err(Violation::Malformed("more certificates than bytes"));
    }
    let certificates = (0..count)
        .map(|_| get_bytes(from))
        .collect::<Result<_, _>>()?;
    Ok(Some(Tls {
        version,
        cipher,
        server_name,
        resumed,
        certificates,
        distrust: get_option(from)?,
    }))
}

fn put_lines(out: &mut Vec<u8>, lines: impl ExactSizeIterator<Item = Line>) {
    out.put_u32_le(lines.len() as u32);
    for line in lines {
        put_span(out, line.name);
        put_span(out, line.value);
    }
}

/// Takes lines and the bytes they point into: the payload's next `length` bytes.
fn get_fields(from: &mut Bytes) -> Result<Fields, Violation> {
    let count = from.try_get_u32_le()? as usize;
    if count > from.remaining() / 16 {
        return Err(Violation::Malformed("more fields than bytes"));
    }
    let mut lines = Vec::with_capacity(count);
    for _ in 0..count {
        lines.push(Line {
            name: get_span(from)?,
            value: get_span(from)?,
        });
    }
    Fields::new(get_bytes(from)?, lines).ok_or(Violation::Malformed("a field outside of its bytes"))
}

fn put_fields(out: &mut Vec<u8>, fields: &Fields) {
    put_lines(out, fields.lines().iter().copied());
    put_bytes(out, fields.bytes());
}

/// What only HTTP/2 tells; without it, a single byte.
fn put_http2(out: &mut Vec<u8>, http2: Option<&Http2>) {
    out.put_u8(http2.is_some().into());
    let Some(http2) = http2 else { return };
    out.put_u32_le(http2.stream);
    put_option(out, http2.protocol.as_ref());
    put_fields(out, &http2.trailers);
}

fn get_http2(from: &mut Bytes) -> Result<Option<Http2>, Violation> {
    if !get_flag(from)? {
        return Ok(None);
    }
    Ok(Some(Http2 {
        stream: from.try_get_u32_le()?,
        protocol: get_option(from)?,
        trailers: get_fields(from)?,
    }))
}

/// A request's payload. Content in a file travels as a descriptor beside it.
pub(super) fn put_request(out: &mut Vec<u8>, request: &Request) {
    out.put_u8(request.head.version as u8);
    out.put_u16_le(request.listener);
    for time in [request.connected, request.started, request.finished] {
        put_time(out, time);
    }
    out.put_u64_le(request.content_length.unwrap_or(UNKNOWN));
    put_endpoints(out, &request.source.endpoints);
    put_proxied(out, request.source.proxied.as_deref());
    put_vhost(out, request.vhost.as_deref());
    put_tls(out, request.tls.as_deref());
    put_http2(out, request.http2.as_deref());
    put_span(out, request.head.method);
    put_span(out, request.head.target);
    put_fields(out, &request.head.fields);
    match &request.content {
        Content::Empty => {}
        Content::Inline(content) => out.put_slice(content),
        Content::File { length, .. } => out.put_u64_le(*length),
    }
}

/// The request in `payload`, with its content's `file` where one came along.
pub(super) fn get_request(mut payload: Bytes, file: Option<OwnedFd>) -> Result<Request, Violation> {
    let from = &mut payload;
    let version =
        Version::from_number(from.try_get_u8()?).ok_or(Violation::Malformed("unknown version"))?;
    let listener = from.try_get_u16_le()?;
    let connected = get_time(from)?;
    let started = get_time(from)?;
    let finished = get_time(from)?;
    let content_length = Some(from.try_get_u64_le()?).filter(|&length| length != UNKNOWN);
    let mut source = Source::from(get_endpoints(from)?);
    source.proxied = get_proxied(from)?.map(Rc::new);
    let vhost = get_vhost(from)?;
    let tls = get_tls(from)?.map(Rc::new);
    let http2 = get_http2(from)?.map(Box::new);
    let method = get_span(from)?;
    let target = get_span(from)?;
    let fields = get_fields(from)?;
    // Method and target are checked as a field line is.
    let fields_end = fields.bytes().len() as u32;
    if [method, target]
        .iter()
        .any(|span| span.start > span.end || span.end > fields_end)
    {
        return Err(Violation::Malformed("method or target outside of the head"));
    }
    let content = match file {
        Some(file) => Content::File {
            file,
            length: from.try_get_u64_le()?,
        },
        None if payload.is_empty() => Content::Empty,
        None => Content::Inline(payload),
    };
    let head = RequestHead {
        method,
        target,
        version,
        fields,
    };
    Ok(Request {
        head,
        content,
        content_length,
        listener,
        vhost,
        source,
        tls,
        http2,
        connected,
        started,
        finished,
    })
}

/// A response head's payload: names and values, and the content's length where it is known.
pub(super) fn put_head(out: &mut Vec<u8>, fields: &[(&[u8], &[u8])], length: Option<u64>) {
    out.put_u64_le(length.unwrap_or(UNKNOWN));
    let mut at = 0;
    let mut next = |part: &[u8]| {
        let start = at;
        at += part.len() as u32;
        Span { start, end: at }
    };
    put_lines(
        out,
        fields.iter().map(|(name, value)| Line {
            name: next(name),
            value: next(value),
        }),
    );
    out.put_u32_le(at);
    for (name, value) in fields {
        out.put_slice(name);
        out.put_slice(value);
    }
}

/// Bytes that [`put_head`] writes.
pub(super) fn head_length(fields: &[(&[u8], &[u8])]) -> usize {
    let lines = fields.iter().map(|(n, v)| 16 + n.len() + v.len());
    16 + lines.sum::<usize>()
}

/// The head in `payload`, and its content's length where it is known.
pub(super) fn get_head(
    mut payload: Bytes,
    status: u16,
) -> Result<(ResponseHead, Option<u64>), Violation> {
    let length = Some(payload.try_get_u64_le()?).filter(|&length| length != UNKNOWN);
    let fields = get_fields(&mut payload)?;
    Ok((ResponseHead { status, fields }, length))
}

/// A File frame's payload: offset and length of the content in the file beside it.
pub(super) fn put_range(out: &mut Vec<u8>, offset: u64, length: u64) {
    out.put_u64_le(offset);
    out.put_u64_le(length);
}

/// Offset and length in `payload`.
pub(super) fn get_range(mut payload: Bytes) -> Result<(u64, u64), Violation> {
    Ok((payload.try_get_u64_le()?, payload.try_get_u64_le()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn request(content: Content) -> Request {
        let head = Bytes::from_static(b"PUT /a%20b HTTP/1.1\r\nHost: h\r\nX-Y:  z \r\n\r\n");
        let span = |part: &str| {
            let whole = std::str::from_utf8(&head).unwrap();
            let start = whole.find(part).unwrap() as u32;
            Span {
                start,
                end: start + part.len() as u32,
            }
        };
        let lines = vec![
            Line {
                name: span("Host"),
                value: span("h\r\n"),
            },
            Line {
                name: span("X-Y"),
                value: span("z"),
            },
        ];
        let (method, target) = (span("PUT"), span("/a%20b"));
        let fields = Fields::new(head.clone(), lines).unwrap();
        let head = RequestHead {
            method,
            target,
            version: Version::Http11,
            fields,
        };
        Request {
            head,
            content,
            content_length: Some(3),
            listener: 5,
            vhost: Some(Rc::new(VirtualHost {
                name: Bytes::from_static(b"www.example.org"),
                has_app: false,
                question: Some(Bytes::from_static(b"rewrite")),
                request_timeout: Default::default(),
            })),
            source: Source::from(Endpoints::Ip {
                peer: "[2001:db8::1]:80".parse().unwrap(),
                local: "127.0.0.1:5000".parse().unwrap(),
            }),
            tls: None,
            http2: Some(Box::new(Http2 {
                stream: 7,
                protocol: Some(Bytes::from_static(b"websocket")),
                trailers: Fields::from_pairs([("a", "1")]),
            })),
            connected: Timestamp {
                seconds: 1,
                micros: 2,
            },
            started: Timestamp {
                seconds: 3,
                micros: 4,
            },
            finished: Timestamp {
                seconds: 5,
                micros: 6,
            },
        }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        let sent = request(Content::Inline(Bytes::from_static(b"abc")));
        let mut payload = Vec::new();
        put_request(&mut payload, &sent);
        let got = get_request(payload.into(), None).unwrap();
        assert_eq!(got.head.method(), b"PUT");
        assert_eq!(got.head.target(), b"/a%20b");
        assert_eq!(got.head.fields.first("x-y"), Some(&b"z"[..]));
        assert_eq!(got.source, sent.source);
        assert_eq!(got.vhost, sent.vhost);
        assert_eq!((got.listener, got.content_length), (5, Some(3)));
        let http2 = got.http2.unwrap();
        assert_eq!(
            (http2.stream, http2.protocol),
            (7, Some(Bytes::from_static(b"websocket")))
        );
        assert_eq!(http2.trailers.first("a"), Some(&b"1"[..]));
        assert_eq!(
            (got.connected, got.finished),
            (sent.connected, sent.finished)
        );
        assert!(matches!(got.content, Content::Inline(content) if content == "abc"));
    }

    #[test]
    fn a_head_arrives_as_it_was_sent() {
        let mut payload = Vec::new();
        put_head(&mut payload, &[(b"Set-Cookie", b"a"), (b"x", b"")], Some(9));
        let (head, length) = get_head(payload.into(), 201).unwrap();
        assert_eq!((head.status, length), (201, Some(9)));
        let pairs: Vec<_> = head.fields.iter().collect();
        assert_eq!(pairs, [(&b"Set-Cookie"[..], &b"a"[..]), (b"x", b"")]);
    }

    fn bytes(length: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), length).prop_map(Bytes::from)
    }

    fn tls() -> impl Strategy<Value = Tls> {
        (
            any::<bool>(),
            bytes(0..40),
            proptest::option::of(bytes(0..300)),
            any::<bool>(),
            proptest::collection::vec(bytes(0..2000), 0..4),
            proptest::option::of(bytes(0..60)),
        )
            .prop_map(
                |(old, cipher, server_name, resumed, certificates, distrust)| Tls {
                    version: if old {
                        TlsVersion::Tls12
                    } else {
                        TlsVersion::Tls13
                    },
                    cipher,
                    server_name,
                    resumed,
                    certificates,
                    distrust,
                },
            )
    }

    proptest! {
        #[test]
        fn what_tls_told_arrives_with_every_request(tls in tls()) {
            let mut sent = request(Content::Inline(Bytes::from_static(b"abc")));
            sent.tls = Some(Rc::new(tls));
            let mut payload = Vec::new();
            put_request(&mut payload, &sent);
            let got = get_request(payload.into(), None).unwrap();
            prop_assert_eq!(&got.tls, &sent.tls);
            prop_assert_eq!(got.head.target(), b"/a%20b");
            prop_assert!(matches!(got.content, Content::Inline(content) if content == "abc"));
        }

        #[test]
        fn random_payloads_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = get_request(Bytes::from(bytes.clone()), None);
            let _ = get_head(Bytes::from(bytes), 200);
        }
    }

    fn proxied() -> impl Strategy<Value = Proxied> {
        let address = || (any::<std::net::IpAddr>(), any::<u16>()).prop_map(SocketAddr::from);
        (
            proptest::option::of(address()),
            proptest::option::of(any::<std::net::IpAddr>()),
            proptest::option::of(any::<bool>()),
            proptest::option::of(1..=u16::MAX),
            proptest::option::of(bytes(0..100)),
            bytes(0..300),
        )
            .prop_map(|(client, peer, https, port, chain, tlvs)| Proxied {
                client,
                peer,
                https,
                port,
                chain,
                tlvs: Tlvs::of(tlvs),
            })
    }

    proptest! {
        #[test]
        fn what_proxies_told_arrives_with_every_request(proxied in proxied()) {
            let mut sent = request(Content::Empty);
            sent.source.proxied = Some(Rc::new(proxied));
            let mut payload = Vec::new();
            put_request(&mut payload, &sent);
            let got = get_request(payload.into(), None).unwrap();
            prop_assert_eq!(got.source, sent.source);
        }
    }

    #[test]
    fn a_request_cut_anywhere_before_its_content_is_refused() {
        let plain = request(Content::Empty);
        let secure = Request {
            tls: Some(Rc::new(Tls {
                version: TlsVersion::Tls13,
                cipher: Bytes::from_static(b"TLS_AES_128_GCM_SHA256"),
                server_name: Some(Bytes::from_static(b"example.org")),
                resumed: true,
                certificates: vec![Bytes::from_static(b"leaf"), Bytes::from_static(b"CA")],
                distrust: Some(Bytes::from_static(b"certificate has expired")),
            })),
            ..request(Content::Empty)
        };
        let mut relayed = request(Content::Empty);
        relayed.source.proxied = Some(Rc::new(Proxied {
            client: Some("192.0.2.1:5".parse().unwrap()),
            peer: Some("2001:db8::1".parse().unwrap()),
            https: Some(true),
            port: Some(443),
            chain: Some(Bytes::from_static(b"192.0.2.1, 10.0.0.1")),
            tlvs: Tlvs::of(Bytes::from_static(b"\x02\0\x01x")),
        }));
        for request in [plain, secure, relayed] {
            let mut payload = Vec::new();
            put_request(&mut payload, &request);
            let payload = Bytes::from(payload);
            for cut in 0..payload.len() {
                assert!(
                    get_request(payload.slice(..cut), None).is_err(),
                    "cut at {cut}"
                );
            }
        }
    }
}
