//! A record as a line of the access log.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::escape::{put_bare, put_json, put_quoted};
use super::format::{Format, Moment, Part, Shows, Timing, Unit};
use super::record::{Ending, Record};
use super::time::{Civil, Zone};
use crate::semantics::field::Fields;
use crate::semantics::message::{Timestamp, Tls, TlsVersion};
use crate::semantics::source::Endpoints;
use crate::semantics::target::Target;

/// What lines are written with, besides the record.
#[derive(Debug)]
pub struct Writer {
    format: Format,
    /// SERVER_NAME and SERVER_PORT of each listener.
    names: Vec<(String, String)>,
    zone: Zone,
    /// The last second that was asked for: most lines are of it.
    civil: Civil,
    clf: Vec<u8>,
}

impl Writer {
    /// Lines in this format, by the clocks of this zone. `names` are SERVER_NAME and SERVER_PORT of each listener.
    pub fn new(format: Format, zone: Zone, names: Vec<(String, String)>) -> Self {
        let mut writer = Writer {
            format,
            names,
            civil: zone.at(i64::MIN / 2),
            zone,
            clf: Vec::new(),
        };
        writer.turn(0);
        writer
    }

    /// Appends the line of `record`, with a line feed at its end and nowhere else.
    pub fn put(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        self.turn(record.started.seconds);
        let line = Line {
            record,
            writer: self,
            target: record
                .head
                .and_then(|head| Target::parse(head.method(), head.sent_target()).ok()),
        };
        match &self.format {
            Format::Line(parts) => line.put_parts(out, parts),
            Format::Json => line.put_json(out),
        }
        out.push(b'\n');
    }

    fn turn(&mut self, seconds: i64) {
        if self.civil.seconds != seconds {
            self.civil = self.zone.at(seconds);
            self.clf.clear();
            self.clf.push(b'[');
            self.civil.put_clf(&mut self.clf);
            self.clf.push(b']');
        }
    }
}

/// One line in the making.
struct Line<'a> {
    record: &'a Record<'a>,
    writer: &'a Writer,
    target: Option<Target<'a>>,
}

impl Line<'_> {
    fn put_parts(&self, out: &mut Vec<u8>, parts: &[Part]) {
        for part in parts {
            if part.only.holds(self.record.status) {
                self.put(out, &part.shows);
            } else {
                out.push(b'-');
            }
        }
    }

    fn put(&self, out: &mut Vec<u8>, shows: &Shows) {
        let record = self.record;
        match shows {
            Shows::Text(text) => out.extend_from_slice(text),
            Shows::Client => put_address(out, record.source.address().map(|a| a.ip())),
            Shows::Peer => put_address(out, record.source.peer()),
            Shows::Local => match record.source.endpoints {
                Endpoints::Ip { local, .. } => put_display(out, local.ip()),
                Endpoints::Unix { .. } => out.extend_from_slice(b"unix:"),
            },
            Shows::Content => put_number(out, record.content),
            Shows::ContentOrDash if record.content == 0 => out.push(b'-'),
            Shows::ContentOrDash => put_number(out, record.content),
            Shows::Cookie(name) => put_value(out, self.cookie(name), put_quoted),
            Shows::Time(span, unit) => put_optional(out, self.timing(*span).map(|d| unit.of(d))),
            Shows::Protocol => put_value(out, self.protocol().map(str::as_bytes), put_bare),
            Shows::Received => put_number(out, record.received),
            Shows::RequestField(name) => {
                let value = record.head.and_then(|head| joined(&head.fields, name));
                put_value(out, value.as_deref(), put_quoted);
            }
            Shows::KeepaliveNumber => put_number(out, record.number.saturating_sub(1).into()),
            Shows::Identity => out.push(b'-'),
            Shows::RequestId => match record.call {
                Some(call) => {
                    let _ = write!(out, "{}-{}", call.pid, call.id);
                }
                None => out.push(b'-'),
            },
            Shows::Method => put_value(out, self.method(), put_bare),
            Shows::Sent => put_number(out, record.sent),
            Shows::ResponseField(name) => {
                let value = sent_field(record.response, name);
                put_value(out, value.as_deref(), put_quoted);
            }
            Shows::Port => put_value(out, self.name().map(|(_, port)| port.as_bytes()), put_bare),
            Shows::LocalPort => match record.source.endpoints {
                Endpoints::Ip { local, .. } => put_number(out, local.port().into()),
                Endpoints::Unix { .. } => out.push(b'-'),
            },
            Shows::RemotePort => match record.source.port() {
                Some(port) => put_number(out, port.into()),
                None => out.push(b'-'),
            },
            Shows::Worker => {
                put_optional(out, record.call.map(|call| call.pid.unsigned_abs().into()))
            }
            Shows::Query => {
                if let Some(query) = self.query() {
                    out.push(b'?');
                    put_bare(out, query);
                }
            }
            Shows::RequestLine if record.line.is_empty() => out.push(b'-'),
            Shows::RequestLine => put_quoted(out, record.line),
            Shows::Status => put_optional(out, record.status.map(u64::from)),
            Shows::Transferred => put_number(out, record.received + record.sent),
            Shows::Start => out.extend_from_slice(&self.writer.clf),
            Shows::Strftime(format, Moment::Begin) => {
                self.writer.civil.put(out, format);
            }
            Shows::Strftime(format, Moment::End) => {
                let civil = self.writer.zone.at(self.moment(Moment::End).seconds);
                civil.put(out, format);
            }
            Shows::Epoch(unit, moment) => {
                let at = self.moment(*moment);
                let since = Duration::new(at.seconds.max(0).unsigned_abs(), at.micros * 1000);
                put_number(out, unit.of(since));
            }
            Shows::Fraction(unit, moment) => {
                let micros = self.moment(*moment).micros;
                let _ = match unit {
                    Unit::Micros => write!(out, "{micros:06}"),
                    Unit::Millis | Unit::Seconds => write!(out, "{:03}", micros / 1000),
                };
            }
            Shows::User => put_value(out, self.user().as_deref(), put_bare),
            Shows::Path => put_value(out, self.path(), put_bare),
            Shows::ServerName => {
                let name = self.name().map(|(name, _)| name.as_bytes());
                put_value(out, record.host.or(name), put_bare);
            }
            Shows::Host => {
                let host = self.host();
                let name = self.name().map(|(name, _)| name.as_bytes());
                put_value(out, host.as_deref().or(name), put_bare);
            }
            Shows::Ending => out.push(match record.ending {
                Ending::Aborted => b'X',
                Ending::Persists => b'+',
                Ending::Closes => b'-',
            }),
            Shows::TlsProtocol => put_value(
                out,
                record.tls.map(protocol_of).map(str::as_bytes),
                put_bare,
            ),
            Shows::TlsCipher => put_value(out, record.tls.map(|tls| &tls.cipher[..]), put_bare),
            Shows::TlsServerName => {
                let name = record.tls.and_then(|tls| tls.server_name.as_deref());
                put_value(out, name, put_bare);
            }
            Shows::Stream => put_optional(out, record.stream.map(u64::from)),
        }
    }

    /// All that is known, as one JSON object; null for what is not.
    fn put_json(&self, out: &mut Vec<u8>) {
        let record = self.record;
        let mut object = Object::new(out);
        object.plain("time", |out| {
            out.push(b'"');
            self.writer.civil.put_rfc3339(out, record.started.micros);
            out.push(b'"');
        });
        object.plain("remote_addr", |out| {
            out.push(b'"');
            put_address(out, record.source.address().map(|a| a.ip()));
            out.push(b'"');
        });
        object.number("remote_port", record.source.port().map(u64::from));
        object.plain("proxy_addr", |out| match record.source.proxied {
            None => out.extend_from_slice(b"null"),
            Some(_) => {
                out.push(b'"');
                put_address(out, record.source.peer());
                out.push(b'"');
            }
        });
        object.text("remote_user", self.user().as_deref());
        object.text("server_name", self.name().map(|(name, _)| name.as_bytes()));
        object.text("server_port", self.name().map(|(_, port)| port.as_bytes()));
        object.text("host", self.host().as_deref());
        object.text("request", Some(record.line));
        object.text("method", self.method());
        object.text("path", self.path());
        object.text("query", self.query());
        object.text("protocol", self.protocol().map(str::as_bytes));
        object.number("status", record.status.map(u64::from));
        object.number("content_bytes", Some(record.content));
        object.number("bytes_sent", Some(record.sent));
        object.number("bytes_received", Some(record.received));
        object.seconds("duration", Some(record.duration));
        object.seconds("receive_time", record.receiving);
        object.seconds("queue_time", self.timing(Timing::Queue));
        object.seconds("app_time", self.timing(Timing::App));
        object.seconds("first_byte_time", record.first_byte);
        let field = |name| record.head.and_then(|head| joined(&head.fields, name));
        object.text("referer", field(b"Referer").as_deref());
        object.text("user_agent", field(b"User-Agent").as_deref());
        object.number(
            "worker",
            record.call.map(|call| call.pid.unsigned_abs().into()),
        );
        let id = record.call.map(|call| format!("{}-{}", call.pid, call.id));
        object.text("request_id", id.as_deref().map(str::as_bytes));
        object.number(
            "requests_before",
            Some(record.number.saturating_sub(1).into()),
        );
        object.number("stream", record.stream.map(u64::from));
        let ending: &[u8] = match record.ending {
            Ending::Persists => b"persists",
            Ending::Closes => b"closed",
            Ending::Aborted => b"aborted",
        };
        object.text("connection", Some(ending));
        object.text(
            "tls_protocol",
            record.tls.map(protocol_of).map(str::as_bytes),
        );
        object.text("tls_cipher", record.tls.map(|tls| &tls.cipher[..]));
        object.end();
    }

    fn timing(&self, timing: Timing) -> Option<Duration> {
        match timing {
            Timing::Whole => Some(self.record.duration),
            Timing::FirstByte => self.record.first_byte,
            Timing::Receiving => self.record.receiving,
            Timing::Queue => self.record.call.map(|call| call.queued),
            Timing::App => self.record.call.and_then(|call| call.called),
        }
    }

    fn moment(&self, moment: Moment) -> Timestamp {
        let started = self.record.started;
        match moment {
            Moment::Begin => started,
            Moment::End => {
                let micros = u64::from(started.micros) + self.record.duration.as_micros() as u64;
                Timestamp {
                    seconds: started.seconds + (micros / 1_000_000).cast_signed(),
                    micros: (micros % 1_000_000) as u32,
                }
            }
        }
    }

    fn name(&self) -> Option<&(String, String)> {
        self.writer.names.get(usize::from(self.record.listener))
    }

    fn method(&self) -> Option<&[u8]> {
        self.record.head.map(|head| head.method())
    }

    fn protocol(&self) -> Option<&'static str> {
        self.record.head.map(|head| head.version.as_str())
    }

    fn path(&self) -> Option<&[u8]> {
        self.target.as_ref().map(|target| target.path)
    }

    fn query(&self) -> Option<&[u8]> {
        let query = self.target.as_ref().map(|target| target.query);
        query.filter(|query| !query.is_empty())
    }

    fn host(&self) -> Option<Cow<'_, [u8]>> {
        let named = self.target.as_ref().and_then(|target| target.authority);
        named.map(Cow::Borrowed).or_else(|| {
            let head = self.record.head?;
            joined(&head.fields, b"Host").filter(|host| !host.is_empty())
        })
    }

    fn cookie(&self, name: &[u8]) -> Option<&[u8]> {
        let fields = &self.record.head?.fields;
        let lines = fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(b"cookie"));
        lines
            .flat_map(|(_, value)| value.split(|&byte| byte == b';'))
            .find_map(|pair| {
                pair.trim_ascii_start()
                    .strip_prefix(name)?
                    .strip_prefix(b"=")
            })
    }

    /// The user's name of Basic credentials (RFC 7617); whether they were right is not known here.
    fn user(&self) -> Option<Vec<u8>> {
        let fields = &self.record.head?.fields;
        let (_, value) = fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(b"authorization"))?;
        let (scheme, credentials) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let mut user = base64(credentials.trim_ascii())?;
        let end = user.iter().position(|&byte| byte == b':')?;
        user.truncate(end);
        Some(user)
    }
}

impl Unit {
    /// The duration as a whole number of this unit.
    fn of(self, duration: Duration) -> u64 {
        match self {
            Unit::Seconds => duration.as_secs(),
            Unit::Millis => duration.as_millis() as u64,
            Unit::Micros => duration.as_micros() as u64,
        }
    }
}

/// A JSON object being written.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, first: true }
    }

    fn plain(&mut self, name: &str, put: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        put(self.out);
    }

    fn text(&mut self, name: &str, value: Option<&[u8]>) {
        self.plain(name, |out| match value {
            Some(value) => put_json(out, value),
            None => out.extend_from_slice(b"null"),
        });
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.plain(name, |out| match value {
            Some(value) => put_number(out, value),
            None => out.extend_from_slice(b"null"),
        });
    }

    fn seconds(&mut self, name: &str, value: Option<Duration>) {
        self.plain(name, |out| match value {
            Some(value) => {
                let _ = write!(out, "{}.{:06}", value.as_secs(), value.subsec_micros());
            }
            None => out.extend_from_slice(b"null"),
        });
    }

    fn end(self) {
        self.out.push(b'}');
    }
}

fn protocol_of(tls: &Tls) -> &'static str {
    // As mod_ssl names them.
    match tls.version {
        TlsVersion::Tls12 => "TLSv1.2",
        TlsVersion::Tls13 => "TLSv1.3",
    }
}

/// An address; as nginx, `unix:` for a Unix socket.
fn put_address(out: &mut Vec<u8>, address: Option<IpAddr>) {
    match address {
        Some(address) => put_display(out, address),
        None => out.extend_from_slice(b"unix:"),
    }
}

fn put_display(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    // A Vec takes whatever is written.
    let _ = write!(out, "{value}");
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_optional(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => put_number(out, number),
        None => out.push(b'-'),
    }
}

/// A value that may be missing: `-`, also where it is empty.
fn put_value(out: &mut Vec<u8>, value: Option<&[u8]>, put: fn(&mut Vec<u8>, &[u8])) {
    match value {
        None | Some(b"") => out.push(b'-'),
        Some(value) => put(out, value),
    }
}

/// The values of all fields of that name, as one (RFC 9110 section 5.3).
fn joined<'a>(fields: &'a Fields, name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let lines = fields.iter().filter(|(own, _)| {
        // The length tells most of them apart without a look at their letters.
        own.len() == name.len() && own.eq_ignore_ascii_case(name)
    });
    join(lines.map(|(_, value)| value))
}

fn join<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Cow<'a, [u8]>> {
    values.map(Cow::Borrowed).reduce(|mut all, value| {
        let joined = all.to_mut();
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(&value);
        all
    })
}

/// A field of a response's head as we wrote it, line by line with CR and LF.
fn sent_field<'a>(head: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    join(lines.filter_map(|line| {
        let (own, rest) = line.split_at_checked(name.len())?;
        let value = rest.strip_prefix(b":")?;
        own.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    }))
}

/// Bytes of a base64 text (RFC 4648 section 4), with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|&byte| byte != b'=')? + 1;
    let mut out = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for &byte in &text[..end] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
