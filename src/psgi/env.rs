//! The string entries of the env: CGI's variables as PSGI lists them, and the request's fields.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use perl_sys::{GP_UNKNOWN_KEY, gp_entry, gp_slice};

use super::{listener, tls};
use crate::perl::{UNDEF, bytes, slice};
use crate::semantics::message::{Http2, Request};
use crate::semantics::source::Proxied;
use crate::semantics::target::{Target, decode_path};
use crate::worker::{Listener, Remote};

/// Numbers of the keys that C knows beforehand, found by name.
///
/// Open addressing over a hash of length and three bytes: some nanoseconds for each field of each request.
struct Keys {
    slots: Box<[Slot; SLOTS]>,
}

/// A key's number and name.
type Slot = Option<(u32, &'static [u8])>;

const SLOTS: usize = 256;

fn slot(name: &[u8]) -> usize {
    let at = |index: usize| name.get(index).copied().map_or(0, usize::from);
    let len = name.len();
    (len * 29 + at(len.wrapping_sub(1)) * 7 + at(len / 2) * 53 + at(5) * 11) % SLOTS
}

impl Keys {
    fn new() -> Self {
        let mut keys = Keys {
            slots: Box::new([None; SLOTS]),
        };
        // SAFETY: a constant of the C side.
        let count = unsafe { perl_sys::gp_key_count() };
        for number in 0..count {
            // SAFETY: names are constants of the C side.
            let name: &'static [u8] = unsafe { bytes(perl_sys::gp_key_name(number)) };
            let mut at = slot(name);
            while keys.slots[at].is_some() {
                at = (at + 1) % SLOTS;
            }
            keys.slots[at] = Some((number as u32, name));
        }
        keys
    }

    fn find(&self, name: &[u8]) -> Option<u32> {
        let mut at = slot(name);
        while let Some((number, known)) = self.slots[at] {
            if known == name {
                return Some(number);
            }
            at = (at + 1) % SLOTS;
        }
        None
    }
}

/// An address, and what `REMOTE_ADDR` says of it.
fn text_of(address: IpAddr) -> (IpAddr, String) {
    (address, address.to_canonical().to_string())
}

/// Builds envs, one after the other, in the same buffers.
pub(super) struct Builder {
    keys: Keys,
    entries: Vec<gp_entry>,
    /// For each known key its index in `entries`, plus one.
    places: Box<[u16; SLOTS]>,
    /// Names of the fields as env keys, one after the other.
    names: Vec<u8>,
    /// Values that are not bytes of the request.
    made: Vec<Vec<u8>>,
    /// The last client's address as text. Behind a proxy, and on a kept connection, the next request has the same one.
    peer: (IpAddr, String),
    socket: Vec<u8>,
    /// The optional keys about TLS, where they are wanted.
    tls: Option<tls::SslKeys>,
    /// Whether Plack::Middleware::XSendfile learns that it can have files sent.
    xsendfile: bool,
    fixed: Fixed,
}

/// Numbers of the keys that do not come from fields.
struct Fixed {
    method: u32,
    script_name: u32,
    path_info: u32,
    request_uri: u32,
    query_string: u32,
    server_name: u32,
    server_port: u32,
    server_protocol: u32,
    client_protocol: u32,
    vhost: u32,
    question: u32,
    remote_addr: u32,
    host: u32,
    cookie: u32,
    content_length: u32,
    https: u32,
    xsendfile_type: u32,
    stream_id: u32,
}

/// What [`Builder::build`] has built; the entries point into the request and into the builder.
pub(super) struct Env<'a> {
    pub(super) entries: &'a [gp_entry],
    pub(super) socket: &'a [u8],
    /// `REMOTE_PORT`, or -1 for none.
    pub(super) remote_port: i32,
    /// `psgix.proxy_tlvs`, packed as they came; empty for no such key.
    pub(super) tlvs: &'a [u8],
}

impl Builder {
    /// With `ssl_env`, requests over TLS get the `SSL_*` keys; with `xsendfile`, all get `plack.xsendfile.type`.
    pub(super) fn new(ssl_env: bool, xsendfile: bool) -> Self {
        let keys = Keys::new();
        let number = |name: &str| keys.find(name.as_bytes()).unwrap_or(GP_UNKNOWN_KEY);
        let fixed = Fixed {
            method: number("REQUEST_METHOD"),
            script_name: number("SCRIPT_NAME"),
            path_info: number("PATH_INFO"),
            request_uri: number("REQUEST_URI"),
            query_string: number("QUERY_STRING"),
            server_name: number("SERVER_NAME"),
            server_port: number("SERVER_PORT"),
            server_protocol: number("SERVER_PROTOCOL"),
            client_protocol: number("gepok.client_protocol"),
            vhost: number("gepok.vhost"),
            question: number("gepok.question"),
            remote_addr: number("REMOTE_ADDR"),
            host: number("HTTP_HOST"),
            cookie: number("HTTP_COOKIE"),
            content_length: number("CONTENT_LENGTH"),
            https: number("HTTPS"),
            xsendfile_type: number("plack.xsendfile.type"),
            stream_id: number("psgix.h2.stream_id"),
        };
        Builder {
            keys,
            entries: Vec::with_capacity(64),
            places: Box::new([0; SLOTS]),
            names: Vec::new(),
            made: Vec::new(),
            peer: text_of(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            socket: Vec::new(),
            tls: ssl_env.then(tls::SslKeys::default),
            xsendfile,
            fixed,
        }
    }

    pub(super) fn build<'a>(&'a mut self, request: &'a Request, listener: &'a Listener) -> Env<'a> {
        self.entries.clear();
        self.made.clear();
        self.socket.clear();
        let host = self.put_target(request);
        self.put(self.fixed.method, slice(request.head.method()));
        self.put(self.fixed.script_name, slice(b""));
        let protocol = slice(request.head.version.as_str().as_bytes());
        self.put(self.fixed.server_protocol, protocol);
        self.put(self.fixed.client_protocol, protocol);
        let server_name = match &request.vhost {
            Some(vhost) => {
                self.put(self.fixed.vhost, slice(&vhost.name));
                if let Some(question) = &vhost.question {
                    self.put(self.fixed.question, slice(question));
                }
                slice(&vhost.name)
            }
            None => slice(listener.server_name.as_bytes()),
        };
        self.put(self.fixed.server_name, server_name);
        let proxied = request.source.proxied.as_deref();
        let port = match proxied.and_then(|proxied| proxied.port) {
            Some(port) => self.keep(port.to_string().into_bytes()),
            None => slice(listener.server_port.as_bytes()),
        };
        self.put(self.fixed.server_port, port);
        let remote_port = self.put_remote(request, listener);
        if request.source.is_https(request.tls.is_some()) {
            self.put(self.fixed.https, slice(b"on"));
        }
        if let (Some(keys), Some(facts)) = (&mut self.tls, &request.tls) {
            keys.put(&mut self.entries, facts);
        }
        if let Some(proxied) = proxied {
            self.put_proxied(proxied, request.tls.is_some());
        }
        if let Some(http2) = &request.http2 {
            self.put_http2(http2);
        }
        if self.xsendfile {
            self.put(self.fixed.xsendfile_type, slice(b"X-Sendfile"));
        }
        self.put_fields(request, host);
        listener::put_connection(&mut self.socket, listener, request);
        Env {
            entries: &self.entries,
            socket: &self.socket,
            remote_port,
            tlvs: proxied
                .map(|proxied| &proxied.tlvs.bytes()[..])
                .unwrap_or_default(),
        }
    }

    fn put(&mut self, key: u32, value: gp_slice) {
        self.entries.push(gp_entry {
            key,
            name: UNDEF,
            value,
        });
    }

    /// Keeps a value until the env is built; its bytes stay where they are, whatever else is kept.
    fn keep(&mut self, value: Vec<u8>) -> gp_slice {
        let kept = slice(&value);
        self.made.push(value);
        kept
    }

    /// Returns the host that the target itself names.
    fn put_target<'r>(&mut self, request: &'r Request) -> Option<&'r [u8]> {
        let target = request.head.target();
        self.put(self.fixed.request_uri, slice(target));
        // The core has refused what can't be taken apart.
        let (path, query, host) = match Target::parse(request.head.method(), target) {
            Ok(parts) => (parts.path, parts.query, parts.authority),
            Err(_) => (target, &b""[..], None),
        };
        self.put(self.fixed.query_string, slice(query));
        let path = match decode_path(path) {
            Ok(Cow::Owned(decoded)) => self.keep(decoded),
            Ok(Cow::Borrowed(_)) | Err(_) => slice(path),
        };
        self.put(self.fixed.path_info, path);
        host
    }

    fn put_remote(&mut self, request: &Request, listener: &Listener) -> i32 {
        let (address, port) = match (request.source.address(), listener.remote) {
            (Some(client), _) => {
                if self.peer.0 != client.ip() {
                    self.peer = text_of(client.ip());
                }
                (slice(self.peer.1.as_bytes()), i32::from(client.port()))
            }
            (None, Remote::Undefined) => (UNDEF, 0),
            (None, _) => (slice(b"127.0.0.1"), -1),
        };
        self.put(self.fixed.remote_addr, address);
        port
    }

    /// What proxies have told beside address and scheme. `tls`: the connection itself speaks it.
    fn put_proxied(&mut self, proxied: &Proxied, tls: bool) {
        let peer = match proxied.peer {
            Some(peer) => peer.to_canonical().to_string(),
            None => "unix:".to_owned(),
        };
        let peer = self.keep(peer.into_bytes());
        self.put_named(b"gepok.proxy_addr", peer);
        if let Some(chain) = &proxied.chain {
            self.put_named(b"gepok.forwarded_for", slice(chain));
        }
        if let (Some(keys), Some(facts), false) = (&mut self.tls, proxied.tlvs.tls(), tls) {
            keys.put_proxys(&mut self.entries, &facts, proxied.tlvs.authority());
        }
    }

    fn put_http2(&mut self, http2: &Http2) {
        let stream = self.keep(http2.stream.to_string().into_bytes());
        self.put(self.fixed.stream_id, stream);
        if let Some(protocol) = &http2.protocol {
            self.put_named(b"psgix.h2.protocol", slice(protocol));
            self.put_named(b"psgix.h2.extended_connect", slice(b"1"));
        }
    }

    fn put_named(&mut self, name: &'static [u8], value: gp_slice) {
        self.entries.push(gp_entry {
            key: GP_UNKNOWN_KEY,
            name: slice(name),
            value,
        });
    }

    fn put_fields(&mut self, request: &Request, host: Option<&[u8]>) {
        let fields = &request.head.fields;
        // Reserved beforehand, so that slices of the names stay good while more are added.
        let room = fields.iter().map(|(name, _)| name.len() + 5).sum();
        self.names.clear();
        self.names.reserve(room);
        self.places.fill(0);
        let first = self.entries.len();
        if let Some(host) = host {
            // The Host field does not count beside it (RFC 9112 section 3.2.2).
            self.put(self.fixed.host, slice(host));
        }

        for (name, value) in fields.iter() {
            let start = self.names.len();
            if !name.eq_ignore_ascii_case(b"content-type")
                && !name.eq_ignore_ascii_case(b"content-length")
            {
                self.names.extend_from_slice(b"HTTP_");
            }
            self.names.extend(name.iter().map(|&byte| match byte {
                b'-' => b'_',
                other => other.to_ascii_uppercase(),
            }));
            let key = &self.names[start..];
            let number = self.keys.find(key);
            // The content's length is the request's, counted where it came in chunks. Proxy would become the variable
            // that CGI programs' HTTP clients take their proxy from.
            if number == Some(self.fixed.content_length)
                || key == b"HTTP_TRANSFER_ENCODING"
                || key == b"HTTP_PROXY"
                || (host.is_some() && number == Some(self.fixed.host))
            {
                self.names.truncate(start);
                continue;
            }
            let key = slice(key);
            let at = match number {
                Some(number) => match self.places[number as usize] {
                    0 => None,
                    place => Some(usize::from(place) - 1),
                },
                // SAFETY: names of entries point into `self.names`, which has not moved.
                None => (first..self.entries.len()).find(|&at| unsafe {
                    let entry = &self.entries[at];
                    entry.key == GP_UNKNOWN_KEY && bytes(entry.name) == bytes(key)
                }),
            };
            if let Some(at) = at {
                // SAFETY: values point into the request or into `self.made`.
                let earlier = unsafe { bytes(self.entries[at].value) };
                let between: &[u8] = if number == Some(self.fixed.cookie) {
                    b"; "
                } else {
                    b", "
                };
                let joined = [earlier, between, value].concat();
                self.entries[at].value = self.keep(joined);
                continue;
            }
            if let Some(number) = number {
                self.places[number as usize] = self.entries.len() as u16 + 1;
            }
            self.entries.push(gp_entry {
                key: number.unwrap_or(GP_UNKNOWN_KEY),
                name: key,
                value: slice(value),
            });
        }
    }
}
