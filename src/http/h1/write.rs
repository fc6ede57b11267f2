//! Response heads and content as bytes (RFC 9112 sections 4, 6 and 9).
//!
//! Framing is ours, not the app's: its Content-Length is taken at its word and held to, its connection options
//! other than `close` are not. Chunks that the app has made itself are checked, and decoded for HTTP/1.0
//! ([`own_chunks`](super::own_chunks)).

use crate::http::error::ResponseError;
use crate::http::server_fields::Lines;
use crate::semantics::field::list_members;
use crate::semantics::message::{ResponseHead, Version};
use crate::semantics::status;

use super::digits::{ChunkSize, Decimal};
use super::framing::{Facts, Method};
use super::own_chunks::{OwnChunks, Pass};
use super::syntax::is_token_byte;
use crate::http::server_fields::RETRY_AFTER;
use crate::semantics::field::decimal;

/// The interim response that lets a client send its content (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The last chunk and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const CRLF: &[u8] = b"\r\n";

/// How the content of a response is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// The head is all; what the app gives as content is not sent.
    None,
    /// So many bytes.
    Length(u64),
    /// The chunked coding.
    Chunked,
    /// The chunked coding, which the app has applied itself.
    OwnChunks,
    /// The same for a client that knows no chunks: their data, until the connection closes.
    OwnChunksDecoded,
    /// All bytes as they come, until the connection closes.
    UntilClose,
    /// What follows the head is no HTTP any more (RFC 9110 sections 7.8 and 9.3.6).
    Tunnel,
}

impl Body {
    /// Whether only the connection's close ends the content.
    fn ends_by_close(self) -> bool {
        matches!(
            self,
            Body::UntilClose | Body::OwnChunksDecoded | Body::Tunnel
        )
    }
}

/// What a head that has been written promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How the content follows.
    pub body: Body,
    /// Whether the connection may take another request after the content.
    pub persistent: bool,
}

/// Appends the head of a final response to `out`.
///
/// `length` is the content's length where it is known beforehand (an array body): it becomes the
/// Content-Length if the app gave none. Those of `own` are added that the app has not set.
/// On an error `out` is as before.
///
/// An app that sets Transfer-Encoding has encoded its content already, as Plack::Middleware::Chunked does: no
/// coding is added. `chunked` is understood; with any other one the end of the content is unknown, and the
/// connection closes. Only `identity`, which means no coding, is ignored.
pub fn head(
    out: &mut Vec<u8>,
    facts: &Facts,
    response: &ResponseHead,
    length: Option<u64>,
    own: Lines<'_>,
) -> Result<Sent, ResponseError> {
    let start = out.len();
    let sent = try_head(out, facts, response, length, own);
    if sent.is_err() {
        out.truncate(start);
    }
    sent
}

fn try_head(
    out: &mut Vec<u8>,
    facts: &Facts,
    response: &ResponseHead,
    length: Option<u64>,
    own: Lines<'_>,
) -> Result<Sent, ResponseError> {
    let status = response.status;
    if !(200..=999).contains(&status) && status != 101 {
        return Err(ResponseError::Status);
    }
    let bodiless = facts.method == Method::Head || status::forbids_content(status);
    // Behind these heads the bytes are no HTTP any more (RFC 9110 sections 7.8 and 9.3.6).
    let tunnel =
        status == 101 || (facts.method == Method::Connect && (200..=299).contains(&status));
    // 204 has no Content-Length (RFC 9110 section 8.6); with 304 it tells the length a 200 would have had.
    let tells_length = !tunnel && status != 204;

    out.reserve(response.fields.bytes().len() + 4 * response.fields.len() + 256);
    status_line(out, status);
    let given = app_fields(out, response, bodiless || tunnel, facts.version)?;
    if given.coding == Some(Coding::Other) && facts.version < Version::Http11 {
        return Err(ResponseError::TransferEncoding);
    }
    out.extend_from_slice(match (given.date, given.server) {
        (false, false) => own.all,
        (false, true) => own.date(),
        (true, false) => own.server(),
        (true, true) => b"",
    });

    let announced = match (given.length, length) {
        _ if given.coding.is_some() || !tells_length => None,
        (Some(length), _) => Some(length),
        (None, _) if status == 304 => None,
        // An app that knows of HEAD gives no content, which says nothing about that of GET.
        (None, Some(0)) if facts.method == Method::Head => None,
        (None, length) => length,
    };
    if let Some(length) = announced {
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(Decimal::new(length).as_bytes());
        out.extend_from_slice(CRLF);
    }
    let body = match announced {
        _ if tunnel => Body::Tunnel,
        _ if given.coding == Some(Coding::Other) => Body::UntilClose,
        _ if given.coding.is_some() && facts.version < Version::Http11 => Body::OwnChunksDecoded,
        _ if given.coding.is_some() => Body::OwnChunks,
        _ if bodiless => Body::None,
        Some(length) => Body::Length(length),
        None if facts.version < Version::Http11 => Body::UntilClose,
        None => {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            Body::Chunked
        }
    };
    let persistent = facts.persistent && !given.close && !body.ends_by_close();
    out.extend_from_slice(connection(
        persistent,
        status == 101,
        facts.version,
        given.upgrade,
    ));
    out.extend_from_slice(CRLF);
    Ok(Sent { body, persistent })
}

/// The Connection field; HTTP/1.1 needs none to persist. An Upgrade field is named in it
/// (RFC 9110 section 7.8).
fn connection(persistent: bool, switching: bool, version: Version, upgrade: bool) -> &'static [u8] {
    let keeps = persistent && version < Version::Http11;
    match (persistent || switching, keeps, upgrade) {
        (true, false, false) => b"",
        (true, false, true) => b"Connection: Upgrade\r\n",
        (true, true, false) => b"Connection: keep-alive\r\n",
        (true, true, true) => b"Connection: keep-alive, Upgrade\r\n",
        (false, _, false) => b"Connection: close\r\n",
        (false, _, true) => b"Connection: close, Upgrade\r\n",
    }
}

/// What the app's fields have said about matters that are ours.
#[derive(Default)]
struct Given {
    date: bool,
    server: bool,
    length: Option<u64>,
    coding: Option<Coding>,
    close: bool,
    upgrade: bool,
}

/// A coding that the app has applied itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    /// Any other one, or several.
    Other,
}

/// Appends the app's fields, without those that we write ourselves.
fn app_fields(
    out: &mut Vec<u8>,
    response: &ResponseHead,
    without_content: bool,
    version: Version,
) -> Result<Given, ResponseError> {
    let mut given = Given::default();
    for (name, value) in response.fields.iter() {
        check_field(name, value)?;
        // The length tells most fields apart without a look at their letters.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"date") => given.date = true,
            6 if name.eq_ignore_ascii_case(b"server") => given.server = true,
            7 if name.eq_ignore_ascii_case(b"upgrade") => given.upgrade = true,
            10 if name.eq_ignore_ascii_case(b"connection") => {
                given.close |= list_members(value).any(|o| o.eq_ignore_ascii_case(b"close"));
                continue;
            }
            // It would tell of a timeout that the app does not know.
            10 if name.eq_ignore_ascii_case(b"keep-alive") => continue,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let value = value.trim_ascii();
                // An app that does not know the length may say so by undef.
                if value.is_empty() {
                    continue;
                }
                let length = decimal(value).ok_or(ResponseError::ContentLength)?;
                if given.length.is_some_and(|other| other != length) {
                    return Err(ResponseError::ContentLength);
                }
                given.length = Some(length);
                continue;
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let identity = value.trim_ascii().eq_ignore_ascii_case(b"identity");
                if without_content || identity || value.trim_ascii().is_empty() {
                    continue;
                }
                let chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
                given.coding = match given.coding {
                    None if chunked => Some(Coding::Chunked),
                    _ => Some(Coding::Other),
                };
                if version < Version::Http11 {
                    continue;
                }
            }
            _ => {}
        }
        field(out, name, value);
    }
    Ok(given)
}

/// The workers have refused such fields already; but what passes here reaches the client.
fn check_field(name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    if name.is_empty() || !name.iter().all(|&b| is_token_byte(b)) {
        return Err(ResponseError::FieldName);
    }
    // Without an early end, so that the compiler can look at many bytes at once.
    let splits = value.iter().fold(false, |found, &b| {
        found | (b == b'\r') | (b == b'\n') | (b == 0)
    });
    if splits {
        return Err(ResponseError::FieldValue);
    }
    Ok(())
}

/// Always HTTP/1.1, whatever the client speaks: it is the version of the server (RFC 9110 section 2.5).
fn status_line(out: &mut Vec<u8>, status: u16) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(Decimal::new(u64::from(status)).as_bytes());
    out.push(b' ');
    out.extend_from_slice(status::reason(status).as_bytes());
    out.extend_from_slice(CRLF);
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(CRLF);
}

/// Appends an interim response, its fields in the order and case given (`psgix.informational`).
///
/// Clients of HTTP/1.0 know none (RFC 9110 section 15.2): for them nothing is written. 101 is none to be sent
/// here: after it, no final response could follow. Content-Length and Transfer-Encoding are left out
/// (RFC 9110 section 8.6). On an error `out` is as before.
pub fn informational<'f>(
    out: &mut Vec<u8>,
    version: Version,
    status: u16,
    fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
) -> Result<(), ResponseError> {
    if !(100..=199).contains(&status) || status == 101 {
        return Err(ResponseError::Status);
    }
    let start = out.len();
    status_line(out, status);
    for (name, value) in fields {
        if let Err(error) = check_field(name, value) {
            out.truncate(start);
            return Err(error);
        }
        let framing = name.eq_ignore_ascii_case(b"content-length")
            || name.eq_ignore_ascii_case(b"transfer-encoding");
        if !framing {
            field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
    if version < Version::Http11 {
        out.truncate(start);
    }
    Ok(())
}

/// Appends the last chunk and the trailers (RFC 9112 section 7.1.2).
pub fn last_chunk<'f>(out: &mut Vec<u8>, trailers: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        if check_field(name, value).is_ok() {
            field(out, name, value);
        }
    }
    out.extend_from_slice(CRLF);
}

/// Appends a whole response of the server's own: the status, and `text` as content.
///
/// For what is no request at all, `facts` are [`Facts::UNREAD`]. Returns whether the connection persists.
pub fn canned(out: &mut Vec<u8>, facts: &Facts, status: u16, text: &str, own: Lines<'_>) -> bool {
    let text = text.as_bytes();
    status_line(out, status);
    out.extend_from_slice(own.all);
    if status == 503 {
        field(out, b"Retry-After", RETRY_AFTER.as_bytes());
    }
    field(out, b"Content-Type", b"text/plain");
    field(
        out,
        b"Content-Length",
        Decimal::new(text.len() as u64).as_bytes(),
    );
    out.extend_from_slice(connection(facts.persistent, false, facts.version, false));
    out.extend_from_slice(CRLF);
    if facts.method != Method::Head {
        out.extend_from_slice(text);
    }
    facts.persistent
}

/// Holds the content of one response to what its head has promised.
#[derive(Debug)]
pub struct Encoder {
    /// The framing; a length is what is still to come.
    body: Body,
    /// The state of chunks that the app has made itself.
    own_chunks: Option<OwnChunks>,
}

/// How a piece of content is sent: `prefix`, its first `length` bytes, `suffix`.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The chunk's size line, or nothing.
    pub prefix: ChunkSize,
    /// How much of the piece may be sent. Less than all of it: the app has given more than it announced, or
    /// content where none belongs.
    pub length: usize,
    /// What follows the piece.
    pub suffix: &'static [u8],
}

impl Frame {
    /// Bytes around the piece.
    pub fn overhead(&self) -> usize {
        self.prefix.as_bytes().len() + self.suffix.len()
    }
}

impl Encoder {
    /// An encoder at the beginning of content that is framed so.
    pub fn new(body: Body) -> Self {
        let own_chunks = match body {
            Body::OwnChunks => Some(OwnChunks::new(Pass::Whole)),
            Body::OwnChunksDecoded => Some(OwnChunks::new(Pass::Data)),
            Body::None | Body::Length(_) | Body::Chunked | Body::UntilClose | Body::Tunnel => None,
        };
        Encoder { body, own_chunks }
    }

    /// Whether all content that the head has promised is there, so that the client need not hear of an end.
    pub fn is_complete(&self) -> bool {
        match &self.own_chunks {
            Some(chunks) => self.body == Body::OwnChunks && chunks.is_complete(),
            None => matches!(self.body, Body::Length(0) | Body::None),
        }
    }

    /// The chunks that the app has made itself, where it has: their content is not sent by frames.
    pub fn own_chunks(&mut self) -> Option<&mut OwnChunks> {
        self.own_chunks.as_mut()
    }

    /// Whether the head is all.
    pub fn is_bodiless(&self) -> bool {
        self.body == Body::None
    }

    /// Whether the head has told a length.
    pub fn has_length(&self) -> bool {
        matches!(self.body, Body::Length(_))
    }

    /// Whether only the connection's close ends the content, so that a cut must not look like one.
    pub fn ends_by_close(&self) -> bool {
        self.body.ends_by_close()
    }

    /// Whether what follows the head is no HTTP any more.
    pub fn is_tunnel(&self) -> bool {
        self.body == Body::Tunnel
    }

    /// How a piece of `length` bytes is sent. An empty one gives an empty frame: as a chunk it would mean
    /// the end.
    pub fn frame(&mut self, length: usize) -> Frame {
        let mut frame = Frame {
            prefix: ChunkSize::EMPTY,
            length,
            suffix: b"",
        };
        match &mut self.body {
            Body::None => frame.length = 0,
            Body::Length(left) => {
                frame.length = length.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= frame.length as u64;
            }
            Body::Chunked if length > 0 => {
                frame.prefix = ChunkSize::new(length as u64);
                frame.suffix = CRLF;
            }
            Body::Chunked | Body::UntilClose | Body::Tunnel => {}
            Body::OwnChunks | Body::OwnChunksDecoded => {}
        }
        frame
    }

    /// Appends a piece with its frame to `out`; returns how much of it was taken.
    #[cfg(test)]
    pub fn write(&mut self, out: &mut Vec<u8>, piece: &[u8]) -> usize {
        let frame = self.frame(piece.len());
        out.extend_from_slice(frame.prefix.as_bytes());
        out.extend_from_slice(&piece[..frame.length]);
        out.extend_from_slice(frame.suffix);
        frame.length
    }

    /// What ends the content.
    pub fn finish(self) -> Result<&'static [u8], ResponseError> {
        match self.body {
            Body::OwnChunks | Body::OwnChunksDecoded => match self.own_chunks {
                Some(chunks) if chunks.is_complete() => Ok(b""),
                _ => Err(ResponseError::ShortChunks),
            },
            Body::Length(0) | Body::None | Body::UntilClose | Body::Tunnel => Ok(b""),
            Body::Length(missing) => Err(ResponseError::Short(missing)),
            Body::Chunked => Ok(LAST_CHUNK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::h1::framing::Framing;
    use crate::semantics::field::Fields;

    /// Date and Server; or Date alone.
    fn own(server: bool) -> Lines<'static> {
        let all: &[u8] = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: S/1\r\n";
        let date = 37;
        Lines {
            all: if server { all } else { &all[..date] },
            date,
        }
    }

    fn request(version: Version, method: Method, persistent: bool) -> Facts {
        Facts {
            version,
            method,
            content: Framing::None,
            expects_continue: false,
            persistent,
            trailers: false,
        }
    }

    /// Requests as tests name them: version, method, persistence.
    fn named(name: &str) -> Facts {
        use Method::*;
        use Version::*;
        match name {
            "1.1" => request(Http11, Other, true),
            "1.1 close" => request(Http11, Other, false),
            "1.0" => request(Http10, Other, false),
            "1.0 keep" => request(Http10, Other, true),
            "HEAD" => request(Http11, Head, true),
            "HEAD 1.0" => request(Http10, Head, false),
            "HEAD 1.0 keep" => request(Http10, Head, true),
            "CONNECT" => request(Http11, Connect, false),
            _ => panic!("no request is named {name}"),
        }
    }

    fn write(
        facts: &Facts,
        status: u16,
        fields: &[(&str, &str)],
        length: Option<u64>,
    ) -> Result<(String, Sent), ResponseError> {
        let response = ResponseHead {
            status,
            fields: Fields::from_pairs(fields.iter().copied()),
        };
        let mut out = b"before".to_vec();
        let sent = head(&mut out, facts, &response, length, own(true));
        let text = String::from_utf8(out).unwrap();
        let head = text.strip_prefix("before").unwrap();
        let sent = sent.inspect_err(|_| assert_eq!(head, ""))?;
        // Date and Server are the same in all, and tested apart.
        let head = head
            .strip_suffix("\r\n\r\n")
            .unwrap()
            .replace("\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT", "")
            .replace("\r\nServer: S/1", "")
            .replace("\r\n", "|");
        Ok((head, sent))
    }

    #[test]
    fn a_head_byte_for_byte() {
        let response = ResponseHead {
            status: 200,
            fields: Fields::from_pairs([("Set-Cookie", "a=1"), ("x-Y", ""), ("set-cookie", "b=2")]),
        };
        let mut out = Vec::new();
        head(&mut out, &named("1.1"), &response, Some(5), own(true)).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nx-Y: \r\nset-cookie: b=2\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nServer: S/1\r\nContent-Length: 5\r\n\r\n"
        );
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn framing_and_persistence() {
        use Body::{Chunked, Length, OwnChunks, OwnChunksDecoded, Tunnel, UntilClose};
        const CL: (&str, &str) = ("Content-Length", "3");
        const CLOSE: (&str, &str) = ("Connection", "close");
        const TE: (&str, &str) = ("Transfer-Encoding", "chunked");
        type Case = (
            &'static str,
            u16,
            &'static [(&'static str, &'static str)],
            Option<u64>,
            &'static str,
            Body,
            bool,
        );
        let cases: &[Case] = &[
            ("1.1", 200, &[], None, "|Transfer-Encoding: chunked", Chunked, true),
            ("1.1", 200, &[], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.1", 200, &[], Some(0), "|Content-Length: 0", Length(0), true),
            ("1.1", 200, &[CL], None, "|Content-Length: 3", Length(3), true),
            ("1.1", 200, &[CL], Some(5), "|Content-Length: 3", Length(3), true),
            ("1.1", 200, &[CL, ("content-length", "3")], None, "|Content-Length: 3", Length(3), true),
            ("1.1", 200, &[("Content-Length", "")], None, "|Transfer-Encoding: chunked", Chunked, true),
            ("1.1", 200, &[("Content-Length", " ")], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.1", 200, &[("Content-Length", ""), CL], None, "|Content-Length: 3", Length(3), true),
            ("1.1", 500, &[], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.1 close", 200, &[], None, "|Transfer-Encoding: chunked|Connection: close", Chunked, false),
            ("1.1 close", 200, &[], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.1", 200, &[CLOSE], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.1", 200, &[("connection", "x, Close")], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.1", 200, &[CLOSE, CLOSE], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.1", 200, &[("Connection", "keep-alive")], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.1", 200, &[("Keep-Alive", "timeout=9")], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.1 close", 200, &[("Connection", "keep-alive")], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.0", 200, &[], None, "|Connection: close", UntilClose, false),
            ("1.0", 200, &[], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.0", 200, &[CL], None, "|Content-Length: 3|Connection: close", Length(3), false),
            ("1.0 keep", 200, &[], None, "|Connection: close", UntilClose, false),
            ("1.0 keep", 200, &[], Some(5), "|Content-Length: 5|Connection: keep-alive", Length(5), true),
            ("1.0 keep", 200, &[CL], None, "|Content-Length: 3|Connection: keep-alive", Length(3), true),
            ("1.0 keep", 200, &[CL, CLOSE], None, "|Content-Length: 3|Connection: close", Length(3), false),
            ("1.0 keep", 204, &[], None, "|Connection: keep-alive", Body::None, true),
            ("HEAD", 200, &[], None, "", Body::None, true),
            ("HEAD", 200, &[], Some(0), "", Body::None, true),
            ("HEAD", 200, &[], Some(5), "|Content-Length: 5", Body::None, true),
            ("HEAD", 200, &[CL], Some(0), "|Content-Length: 3", Body::None, true),
            ("HEAD", 200, &[TE], None, "", Body::None, true),
            ("HEAD", 204, &[CL], Some(5), "", Body::None, true),
            ("HEAD", 200, &[CLOSE], None, "|Connection: close", Body::None, false),
            ("HEAD 1.0", 200, &[], Some(5), "|Content-Length: 5|Connection: close", Body::None, false),
            ("HEAD 1.0", 200, &[TE], None, "|Connection: close", Body::None, false),
            ("HEAD 1.0 keep", 200, &[], None, "|Connection: keep-alive", Body::None, true),
            ("1.1", 204, &[], None, "", Body::None, true),
            ("1.1", 204, &[], Some(5), "", Body::None, true),
            ("1.1", 204, &[CL], None, "", Body::None, true),
            ("1.1", 204, &[TE], None, "", Body::None, true),
            ("1.1", 304, &[], None, "", Body::None, true),
            ("1.1", 304, &[], Some(0), "", Body::None, true),
            ("1.1", 304, &[], Some(5), "", Body::None, true),
            ("1.1", 304, &[CL], None, "|Content-Length: 3", Body::None, true),
            ("1.1", 304, &[TE], None, "", Body::None, true),
            ("1.1", 205, &[], Some(0), "|Content-Length: 0", Length(0), true),
            ("1.1", 200, &[TE], None, "|Transfer-Encoding: chunked", OwnChunks, true),
            ("1.1", 200, &[TE], Some(9), "|Transfer-Encoding: chunked", OwnChunks, true),
            ("1.1", 200, &[CL, TE], None, "|Transfer-Encoding: chunked", OwnChunks, true),
            ("1.1", 200, &[TE, CLOSE], None, "|Transfer-Encoding: chunked|Connection: close", OwnChunks, false),
            ("1.1 close", 200, &[TE], None, "|Transfer-Encoding: chunked|Connection: close", OwnChunks, false),
            ("1.1", 200, &[TE, TE], None, "|Transfer-Encoding: chunked|Transfer-Encoding: chunked|Connection: close", UntilClose, false),
            ("1.1", 200, &[("Transfer-Encoding", "gzip, chunked")], None, "|Transfer-Encoding: gzip, chunked|Connection: close", UntilClose, false),
            ("1.0", 200, &[TE], None, "|Connection: close", OwnChunksDecoded, false),
            ("1.0 keep", 200, &[TE], Some(9), "|Connection: close", OwnChunksDecoded, false),
            ("1.0 keep", 200, &[CL, TE], None, "|Connection: close", OwnChunksDecoded, false),
            ("1.1", 200, &[("Transfer-Encoding", "gzip")], None, "|Transfer-Encoding: gzip|Connection: close", UntilClose, false),
            ("1.1", 200, &[("Transfer-Encoding", "identity")], None, "|Transfer-Encoding: chunked", Chunked, true),
            ("1.1", 200, &[("Transfer-Encoding", "")], Some(5), "|Content-Length: 5", Length(5), true),
            ("1.0", 200, &[("Transfer-Encoding", "Identity")], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
            ("1.1", 101, &[("Upgrade", "websocket"), ("Connection", "Upgrade")], None, "|Upgrade: websocket|Connection: Upgrade", Tunnel, false),
            ("1.1", 101, &[CL, TE], Some(5), "", Tunnel, false),
            ("1.1", 426, &[("Upgrade", "h2c"), ("Connection", "upgrade")], Some(5), "|Upgrade: h2c|Content-Length: 5|Connection: Upgrade", Length(5), true),
            ("1.1 close", 426, &[("upgrade", "h2c")], Some(5), "|upgrade: h2c|Content-Length: 5|Connection: close, Upgrade", Length(5), false),
            ("1.0 keep", 426, &[("Upgrade", "h2c")], Some(5), "|Upgrade: h2c|Content-Length: 5|Connection: keep-alive, Upgrade", Length(5), true),
            ("CONNECT", 200, &[], None, "|Connection: close", Tunnel, false),
            ("CONNECT", 200, &[CL], Some(5), "|Connection: close", Tunnel, false),
            ("CONNECT", 405, &[], Some(5), "|Content-Length: 5|Connection: close", Length(5), false),
        ];
        for (name, status, fields, length, expected, body, persistent) in cases {
            let case = format!("{name}, {status}, {fields:?}, {length:?}");
            let (head, sent) = write(&named(name), *status, fields, *length).unwrap();
            let line = format!("HTTP/1.1 {status} {}", status::reason(*status));
            assert_eq!(head, line + expected, "{case}");
            let (body, persistent) = (*body, *persistent);
            assert_eq!(sent, Sent { body, persistent }, "{case}");
        }
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn refused_responses() {
        use ResponseError::*;
        type Pairs = &'static [(&'static str, &'static str)];
        let cases: &[(&str, u16, Pairs, ResponseError)] = &[
            ("1.1", 0, &[], Status),
            ("1.1", 99, &[], Status),
            ("1.1", 100, &[], Status),
            ("1.1", 103, &[], Status),
            ("1.1", 199, &[], Status),
            ("1.1", 1000, &[], Status),
            ("1.1", 200, &[("", "a")], FieldName),
            ("1.1", 200, &[("A B", "a")], FieldName),
            ("1.1", 200, &[("A:", "a")], FieldName),
            ("1.1", 200, &[("A\r\nB", "a")], FieldName),
            ("1.1", 200, &[("A\0", "a")], FieldName),
            ("1.1", 200, &[("É", "a")], FieldName),
            ("1.1", 200, &[("A", "a\r\nB: c")], FieldValue),
            ("1.1", 200, &[("A", "a\n")], FieldValue),
            ("1.1", 200, &[("A", "\ra")], FieldValue),
            ("1.1", 200, &[("A", "a\0")], FieldValue),
            ("1.1", 200, &[("Connection", "close\r\n")], FieldValue),
            ("1.1", 200, &[("Content-Length", "a")], ContentLength),
            ("1.1", 200, &[("Content-Length", "-1")], ContentLength),
            ("1.1", 200, &[("Content-Length", "1.0")], ContentLength),
            ("1.1", 200, &[("Content-Length", "1, 1")], ContentLength),
            ("1.1", 200, &[("Content-Length", "1"), ("content-length", "2")], ContentLength),
            ("1.0", 200, &[("Transfer-Encoding", "gzip")], TransferEncoding),
            ("1.0", 200, &[("Transfer-Encoding", "gzip, chunked")], TransferEncoding),
        ];
        for (name, status, fields, expected) in cases {
            let found = write(&named(name), *status, fields, None);
            assert_eq!(found.err(), Some(*expected), "{status}, {fields:?}");
        }
    }

    #[test]
    fn values_may_be_any_other_bytes() {
        let (head, _) = write(&named("1.1"), 200, &[("A", "é\t\x01 b")], Some(1)).unwrap();
        assert!(head.contains("|A: é\t\x01 b|"));
    }

    #[test]
    fn unknown_status_codes_keep_their_space() {
        let (head, _) = write(&named("1.1"), 299, &[], Some(1)).unwrap();
        assert!(head.starts_with("HTTP/1.1 299 |"));
    }

    #[test]
    fn date_and_server_of_the_app_win() {
        let put = |fields: &[(&str, &str)], server: bool| {
            let response = ResponseHead {
                status: 200,
                fields: Fields::from_pairs(fields.iter().copied()),
            };
            let mut out = Vec::new();
            head(&mut out, &named("1.1"), &response, Some(1), own(server)).unwrap();
            let text = String::from_utf8(out).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.retain(|l| {
                l.to_lowercase().starts_with("date") || l.to_lowercase().starts_with("server")
            });
            lines
        };
        let ours = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(put(&[], true), [ours, "Server: S/1"]);
        assert_eq!(put(&[], false), [ours]);
        assert_eq!(
            put(&[("date", "Fooo")], true),
            ["date: Fooo", "Server: S/1"]
        );
        assert_eq!(put(&[("SERVER", "x")], true), ["SERVER: x", ours]);
        assert_eq!(
            put(&[("Date", ""), ("Server", "")], true),
            ["Date: ", "Server: "]
        );
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn interim_responses() {
        let put = |version, status, fields: &[(&str, &str)]| {
            let mut out = b"before".to_vec();
            let fields = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
            let result = informational(&mut out, version, status, fields);
            result.map(|()| String::from_utf8(out[6..].to_vec()).unwrap())
        };
        let v11 = Version::Http11;
        for (version, status, fields, expected) in [
            (v11, 100, &[("foo", "123"), ("bar", "456")][..], Ok("HTTP/1.1 100 Continue\r\nfoo: 123\r\nbar: 456\r\n\r\n")),
            (v11, 103, &[("Link", "</a>")], Ok("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")),
            (v11, 199, &[], Ok("HTTP/1.1 199 \r\n\r\n")),
            (v11, 103, &[("Content-Length", "5"), ("transfer-encoding", "chunked")], Ok("HTTP/1.1 103 Early Hints\r\n\r\n")),
            (v11, 101, &[], Err(ResponseError::Status)),
            (v11, 99, &[], Err(ResponseError::Status)),
            (v11, 200, &[], Err(ResponseError::Status)),
            (v11, 103, &[("A", "b\nc")], Err(ResponseError::FieldValue)),
            (v11, 103, &[("A b", "c")], Err(ResponseError::FieldName)),
            (Version::Http10, 103, &[("A", "b")], Ok("")),
        ] {
            assert_eq!(
                put(version, status, fields).as_deref(),
                expected.as_ref().map(|s| *s),
                "{status}, {fields:?}"
            );
        }
        assert_eq!(put(v11, 100, &[]).unwrap().as_bytes(), CONTINUE);
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn canned_responses() {
        for (facts, status, expected, persistent) in [
            (Facts::UNREAD, 400, "HTTP/1.1 400 Bad Request\r\nDate: D\r\nServer: S\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nConnection: close\r\n\r\nBad Request", false),
            (named("1.1"), 502, "HTTP/1.1 502 Bad Gateway\r\nDate: D\r\nServer: S\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nBad Gateway", true),
            (named("1.0 keep"), 502, "HTTP/1.1 502 Bad Gateway\r\nDate: D\r\nServer: S\r\nContent-Type: text/plain\r\nContent-Length: 11\r\nConnection: keep-alive\r\n\r\nBad Gateway", true),
            (named("HEAD"), 502, "HTTP/1.1 502 Bad Gateway\r\nDate: D\r\nServer: S\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\n", true),
        ] {
            let mut out = Vec::new();
            assert_eq!(
                canned(&mut out, &facts, status, status::reason(status), Lines { all: b"Date: D\r\nServer: S\r\n", date: 9 }),
                persistent
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn content_is_held_to_its_framing() {
        type Case = (
            &'static str,
            Body,
            &'static [&'static str],
            &'static str,
            Result<(), u64>,
        );
        let cases: &[Case] = &[
            ("none", Body::None, &["abc"], "", Ok(())),
            ("exact", Body::Length(5), &["ab", "", "cde"], "abcde", Ok(())),
            ("nothing", Body::Length(0), &[], "", Ok(())),
            ("too long at once", Body::Length(3), &["abcde"], "abc", Ok(())),
            ("too long in pieces", Body::Length(3), &["ab", "cd", "ef"], "abc", Ok(())),
            ("too short", Body::Length(5), &["ab"], "ab", Err(3)),
            ("nothing of much", Body::Length(u64::MAX), &[], "", Err(u64::MAX)),
            ("chunks", Body::Chunked, &["ab", "c"], "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", Ok(())),
            ("empty chunks", Body::Chunked, &["", "ab", ""], "2\r\nab\r\n0\r\n\r\n", Ok(())),
            ("no chunks", Body::Chunked, &[], "0\r\n\r\n", Ok(())),
            ("until close", Body::UntilClose, &["ab", "", "c"], "abc", Ok(())),
        ];
        for (name, body, pieces, expected, end) in cases {
            let mut encoder = Encoder::new(*body);
            let mut out = Vec::new();
            for piece in *pieces {
                let taken = encoder.write(&mut out, piece.as_bytes());
                assert!(taken <= piece.len());
            }
            let finished = encoder.finish();
            if let Ok(tail) = finished {
                out.extend_from_slice(tail);
            }
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{name}");
            assert_eq!(
                finished.map(drop),
                end.map_err(ResponseError::Short),
                "{name}"
            );
        }
    }
}
