//! Request heads from bytes (RFC 9112 sections 2 to 5).
//!
//! The request line is read here, because httparse refuses targets that are not UTF-8 and does not tell a
//! version it does not know from nonsense; field lines are httparse's.

use std::mem;

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::http::error::Error;
use crate::http::fields;
use crate::http::limits::{self, Limits};
use crate::semantics::field::{Fields, Line, Span};
use crate::semantics::message::{RequestHead, Version};

use super::syntax::is_token_byte;

/// Field lines that are parsed without an allocation: more than browsers send.
const FEW: usize = 40;

/// ` HTTP/1.1` and CR, after the target.
const VERSION_LENGTH: usize = 10;

/// Reads request heads of one connection, one after the other.
///
/// It remembers how far it has looked, so that a head that trickles in is searched once only.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// Bytes at the front of the buffer in which every line end has been seen.
    searched: usize,
    /// Where the line begins whose end is sought.
    line: usize,
    /// Empty lines skipped before the request line.
    empty_lines: usize,
    /// The request line, once it is there.
    request_line: Option<RequestLine>,
    /// Field lines seen.
    fields: usize,
}

#[derive(Clone, Copy, Debug)]
struct RequestLine {
    method: Span,
    target: Span,
    version: Version,
    /// Where the field section begins.
    end: usize,
}

impl HeadReader {
    /// A reader before its first head.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one whole head off the front of `buf`; nothing if it is not all there yet, in which case `buf` may
    /// only be appended to until the next call. Behind an error, nothing more can be read, and what is refused stands
    /// at the front of `buf`.
    ///
    /// What can't become a valid head is refused as soon as that is seen, not when its end has come. Fields
    /// named `Proxy` are dropped (an env's HTTP_PROXY would be taken for a setting), those by which a proxy tells how to offload
    /// files, and those with `_` in
    /// their names unless `Limits::underscore_names` is set.
    pub fn read(
        &mut self,
        buf: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<RequestHead>, Error> {
        while let Some(at) = memchr(b'\n', &buf[self.searched..]) {
            let end = self.searched + at;
            let line = &buf[self.line..end];
            // nginx takes a bare LF as well.
            let line = match line.strip_suffix(b"\r") {
                Some(line) => line,
                None if limits.bare_lf => line,
                None => return Err(Error::BareLf),
            };
            let next = end + 1;
            match self.request_line {
                None if line.is_empty() => {
                    self.empty_lines += 1;
                    if self.empty_lines > limits::EMPTY_LINES {
                        return Err(Error::EmptyLines);
                    }
                    buf.advance(next);
                    self.searched = 0;
                    continue;
                }
                None => self.request_line = Some(parse_request_line(buf, line, next, limits)?),
                Some(first) if line.is_empty() => {
                    let fields = self.fields;
                    *self = Self::default();
                    let lines = parse_fields(&buf[..next], first.end, fields, limits)?;
                    // A head that is all of the buffer takes it along, which costs no allocation.
                    let head = match next == buf.len() {
                        true => mem::take(buf),
                        false => buf.split_to(next),
                    };
                    let head = head.freeze();
                    return Ok(Some(RequestHead {
                        method: first.method,
                        target: first.target,
                        version: first.version,
                        fields: Fields::new(head, lines).ok_or(Error::FieldName)?,
                    }));
                }
                Some(first) => {
                    self.fields += 1;
                    if self.fields > limits.fields {
                        return Err(Error::TooManyFields);
                    }
                    if next - first.end > limits.field_section {
                        return Err(Error::FieldSectionTooLarge);
                    }
                }
            }
            self.line = next;
            self.searched = next;
        }
        self.searched = buf.len();
        let unfinished = &buf[self.line..];
        match self.request_line {
            None => check_unfinished(unfinished, limits)?,
            // The line may be the empty one, with a CR already.
            Some(first) if buf.len() - first.end > limits.field_section + 1 => {
                return Err(Error::FieldSectionTooLarge);
            }
            Some(_) => {}
        }
        Ok(None)
    }
}

/// Takes `line`, a part of `head`, apart; `end` is where the next line begins.
fn parse_request_line(
    head: &[u8],
    line: &[u8],
    end: usize,
    limits: &Limits,
) -> Result<RequestLine, Error> {
    let method = &line[..method_length(line)?.ok_or(Error::RequestLine)?];
    let rest = &line[method.len() + 1..];
    let target = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
    if target.len() > limits.target {
        return Err(Error::TargetTooLong);
    }
    // Bytes above 0x7f are no URI, but clients send them and PSGI servers hand them on.
    if target.is_empty() || !target.iter().all(|&b| b > b' ' && b != 0x7f) {
        return Err(Error::RequestLine);
    }
    let version = match &rest[target.len()..] {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        [
            b' ',
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0'..=b'9',
            b'.',
            b'0'..=b'9',
        ] => {
            return Err(Error::UnknownVersion);
        }
        _ => return Err(Error::RequestLine),
    };
    Ok(RequestLine {
        method: Span::of(head, method),
        target: Span::of(head, target),
        version,
        end,
    })
}

/// Length of the method that `line` begins with; nothing if its end is not there.
fn method_length(line: &[u8]) -> Result<Option<usize>, Error> {
    let sought = &line[..line.len().min(limits::METHOD + 1)];
    match sought.iter().position(|&b| !is_token_byte(b)) {
        Some(0) => Err(Error::RequestLine),
        Some(at) if line[at] == b' ' => Ok(Some(at)),
        Some(_) => Err(Error::RequestLine),
        None if line.len() > limits::METHOD => Err(Error::MethodTooLong),
        None => Ok(None),
    }
}

/// Refuses the beginning of a request line that will never be one.
fn check_unfinished(line: &[u8], limits: &Limits) -> Result<(), Error> {
    if line == b"\r" {
        return Ok(());
    }
    if let Some(method) = method_length(line)? {
        let rest = line.len() - method - 1;
        if rest > limits.target + VERSION_LENGTH {
            return Err(Error::TargetTooLong);
        }
    }
    Ok(())
}

/// Parses the field lines of a whole head, which begin at `start`; `count` is their number.
fn parse_fields(
    head: &[u8],
    start: usize,
    count: usize,
    limits: &Limits,
) -> Result<Vec<Line>, Error> {
    let section = &head[start..];
    let mut few;
    let mut many;
    let parsed: &mut [httparse::Header<'_>] = if count <= FEW {
        few = [httparse::EMPTY_HEADER; FEW];
        &mut few
    } else {
        many = vec![httparse::EMPTY_HEADER; count];
        &mut many
    };
    let parsed = match httparse::parse_headers(section, parsed) {
        // Both must have found the same end.
        Ok(httparse::Status::Complete((end, parsed))) if end == section.len() => parsed,
        Ok(_) => return Err(Error::FieldName),
        Err(httparse::Error::HeaderName) => return Err(Error::FieldName),
        Err(_) => return Err(Error::FieldValue),
    };
    let mut lines = Vec::with_capacity(parsed.len());
    for field in parsed {
        let name = field.name.as_bytes();
        if name.len() > limits::FIELD_NAME {
            return Err(Error::FieldNameTooLong);
        }
        if fields::is_kept(name, limits) {
            lines.push(Line {
                name: Span::of(head, name),
                value: Span::of(head, field.value),
            });
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Feeds `bytes` in pieces of `step`; gives all heads, or the error.
    fn read_in_steps(
        bytes: &[u8],
        step: usize,
        limits: &Limits,
    ) -> Result<Vec<RequestHead>, Error> {
        let mut reader = HeadReader::new();
        let mut buf = BytesMut::new();
        let mut heads = Vec::new();
        for piece in bytes.chunks(step.max(1)) {
            buf.extend_from_slice(piece);
            while let Some(head) = reader.read(&mut buf, limits)? {
                heads.push(head);
            }
        }
        Ok(heads)
    }

    /// The one head in `bytes`; feeding it byte by byte must give the same.
    fn read(bytes: &[u8]) -> Result<Option<RequestHead>, Error> {
        let limits = Limits::default();
        let whole = read_in_steps(bytes, bytes.len(), &limits);
        let slow = read_in_steps(bytes, 1, &limits);
        assert_eq!(
            whole.as_deref().map(show_all),
            slow.as_deref().map(show_all),
            "{}",
            bytes.escape_ascii()
        );
        whole.map(|heads| heads.into_iter().next())
    }

    fn show(head: &RequestHead) -> String {
        let mut text = format!(
            "{} {} {}",
            head.method().escape_ascii(),
            head.target().escape_ascii(),
            head.version.as_str()
        );
        for (name, value) in head.fields.iter() {
            text += &format!("|{}={}", name.escape_ascii(), value.escape_ascii());
        }
        text
    }

    fn show_all(heads: &[RequestHead]) -> Vec<String> {
        heads.iter().map(show).collect()
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn valid_heads() {
        for (name, bytes, expected) in [
            ("no fields", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"),
            ("1.0", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0"),
            ("a field", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1|Host=a"),
            ("no space after colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n", "GET / HTTP/1.1|Host=a"),
            ("spaces around a value", "GET / HTTP/1.1\r\nA: \t b c\t \r\n\r\n", "GET / HTTP/1.1|A=b c"),
            ("empty value", "GET / HTTP/1.1\r\nA:\r\nB: \r\n\r\n", "GET / HTTP/1.1|A=|B="),
            ("tab in a value", "GET / HTTP/1.1\r\nA: b\tc\r\n\r\n", "GET / HTTP/1.1|A=b\\tc"),
            ("colon in a value", "GET / HTTP/1.1\r\nA: b:c\r\n\r\n", "GET / HTTP/1.1|A=b:c"),
            ("UTF-8 in a value", "GET / HTTP/1.1\r\nA: é\r\n\r\n", "GET / HTTP/1.1|A=\\xc3\\xa9"),
            ("order, case and repetition", "GET / HTTP/1.1\r\nb: 1\r\nA: 2\r\nB: 3\r\n\r\n", "GET / HTTP/1.1|b=1|A=2|B=3"),
            ("bare LF", "GET / HTTP/1.1\nA: b\n\n", "GET / HTTP/1.1|A=b"),
            ("bare LF, then CRLF", "GET / HTTP/1.1\nA: b\n\r\n", "GET / HTTP/1.1|A=b"),
            ("CRLF, then bare LF", "GET / HTTP/1.1\r\nA: b\r\n\n", "GET / HTTP/1.1|A=b"),
            ("CRLF before", "\r\nGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"),
            ("LF before", "\nGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"),
            ("some empty lines before", "\r\n\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1"),
            ("lower case method", "get / HTTP/1.1\r\n\r\n", "get / HTTP/1.1"),
            ("odd method", "M-SEARCH * HTTP/1.1\r\n\r\n", "M-SEARCH * HTTP/1.1"),
            ("every token byte in a method", "!#$%&'*+-.^_`|~09azAZ / HTTP/1.1\r\n\r\n", "!#$%&\\'*+-.^_`|~09azAZ / HTTP/1.1"),
            ("every token byte in a name", "GET / HTTP/1.1\r\n!#$%&'*+-.^`|~09azAZ: v\r\n\r\n", "GET / HTTP/1.1|!#$%&\\'*+-.^`|~09azAZ=v"),
            ("raw UTF-8 target", "GET /é HTTP/1.1\r\n\r\n", "GET /\\xc3\\xa9 HTTP/1.1"),
            ("odd bytes in a target", "GET /\"<>[]\\^`{|}#? HTTP/1.1\r\n\r\n", "GET /\\\"<>[]\\\\^`{|}#? HTTP/1.1"),
            ("absolute form", "GET http://h/ HTTP/1.1\r\n\r\n", "GET http://h/ HTTP/1.1"),
            ("_ dropped", "GET / HTTP/1.1\r\nX_A: 1\r\nX-A: 2\r\n_: 3\r\n\r\n", "GET / HTTP/1.1|X-A=2"),
            ("Content_Length dropped", "GET / HTTP/1.1\r\nContent_Length: 1\r\n\r\n", "GET / HTTP/1.1"),
            ("Offload dropped", "GET / HTTP/1.1\r\nX-SendFile-Type: x\r\nX-Accel-Mapping: /=/\r\nX-Accel-Mappings: y\r\n\r\n", "GET / HTTP/1.1|X-Accel-Mappings=y"),
            ("Proxy dropped", "GET / HTTP/1.1\r\npRoXy: x\r\nProxy-A: y\r\n\r\n", "GET / HTTP/1.1|Proxy-A=y"),
            ("content follows", "POST / HTTP/1.1\r\nA: b\r\n\r\n", "POST / HTTP/1.1|A=b"),
        ] {
            let head = read(bytes.as_bytes()).unwrap().unwrap();
            assert_eq!(show(&head), expected, "{name}");
        }
    }

    #[test]
    fn a_target_need_not_be_utf8() {
        let head = read(b"GET /\xe9\xff HTTP/1.1\r\n\r\n").unwrap().unwrap();
        assert_eq!(head.target(), b"/\xe9\xff");
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn refused_heads() {
        use Error::*;
        for (name, bytes, expected) in [
            ("no version (HTTP/0.9)", &b"GET /\r\n\r\n"[..], RequestLine),
            ("only a method", b"GET\r\n\r\n", RequestLine),
            ("space only", b" \r\n\r\n", RequestLine),
            ("space before the method", b" GET / HTTP/1.1\r\n\r\n", RequestLine),
            ("two spaces before the target", b"GET  / HTTP/1.1\r\n\r\n", RequestLine),
            ("two spaces before the version", b"GET /  HTTP/1.1\r\n\r\n", RequestLine),
            ("space after the version", b"GET / HTTP/1.1 \r\n\r\n", RequestLine),
            ("tab as separator", b"GET\t/ HTTP/1.1\r\n\r\n", RequestLine),
            ("tab in the target", b"GET /\t HTTP/1.1\r\n\r\n", RequestLine),
            ("space in the target", b"GET /a b HTTP/1.1\r\n\r\n", RequestLine),
            ("NUL in the target", b"GET /\0 HTTP/1.1\r\n\r\n", RequestLine),
            ("DEL in the target", b"GET /\x7f HTTP/1.1\r\n\r\n", RequestLine),
            ("CR in the target", b"GET /\r HTTP/1.1\r\n\r\n", RequestLine),
            ("CR twice", b"GET / HTTP/1.1\r\r\n\r\n", RequestLine),
            ("colon in the method", b"GET: / HTTP/1.1\r\n\r\n", RequestLine),
            ("a field first", b"Host: a\r\n\r\n", RequestLine),
            ("lower case http", b"GET / http/1.1\r\n\r\n", RequestLine),
            ("another protocol", b"GET / ICY/1.1\r\n\r\n", RequestLine),
            ("no minor version", b"GET / HTTP/1\r\n\r\n", RequestLine),
            ("long minor version", b"GET / HTTP/1.10\r\n\r\n", RequestLine),
            ("letters for a version", b"GET / HTTP/x.y\r\n\r\n", RequestLine),
            ("sign in the version", b"GET / HTTP/1.+1\r\n\r\n", RequestLine),
            ("TLS", b"\x16\x03\x01\x02\x00\x01", RequestLine),
            ("NUL first", b"\0", RequestLine),
            ("CR, then no LF", b"\rGET / HTTP/1.1\r\n\r\n", RequestLine),
            ("1.2", b"GET / HTTP/1.2\r\n\r\n", UnknownVersion),
            ("1.9", b"GET / HTTP/1.9\r\n\r\n", UnknownVersion),
            ("0.9 in words", b"GET / HTTP/0.9\r\n\r\n", UnknownVersion),
            ("2.0", b"GET / HTTP/2.0\r\n\r\n", UnknownVersion),
            ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnknownVersion),
            ("nine empty lines", b"\r\n\r\n\r\n\r\n\n\n\n\n\nGET / HTTP/1.1\r\n\r\n", EmptyLines),
            ("space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", FieldName),
            ("tab before the colon", b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", FieldName),
            ("empty name", b"GET / HTTP/1.1\r\n: a\r\n\r\n", FieldName),
            ("no colon", b"GET / HTTP/1.1\r\nHost\r\n\r\n", FieldName),
            ("space in a name", b"GET / HTTP/1.1\r\nA B: c\r\n\r\n", FieldName),
            ("UTF-8 in a name", b"GET / HTTP/1.1\r\n\xc3\xa9: c\r\n\r\n", FieldName),
            ("NUL in a name", b"GET / HTTP/1.1\r\nA\0: c\r\n\r\n", FieldName),
            ("CR in a name", b"GET / HTTP/1.1\r\nA\r: c\r\n\r\n", FieldName),
            ("brackets in a name", b"GET / HTTP/1.1\r\nA[0]: c\r\n\r\n", FieldName),
            ("obs-fold", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", FieldName),
            ("obs-fold with a tab", b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", FieldName),
            ("obs-fold after an empty value", b"GET / HTTP/1.1\r\nA:\r\n b\r\n\r\n", FieldName),
            ("obs-fold of nothing", b"GET / HTTP/1.1\r\nA: b\r\n \r\n\r\n", FieldName),
            ("space before the first field", b"GET / HTTP/1.1\r\n A: b\r\n\r\n", FieldName),
            ("bare CR in a value", b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", FieldValue),
            ("bare CR at a value's end", b"GET / HTTP/1.1\r\nA: b\r\r\n\r\n", FieldValue),
            ("bare CR, then a field", b"GET / HTTP/1.1\r\nA: b\rC: d\r\n\r\n", FieldValue),
            ("bare CR as a value", b"GET / HTTP/1.1\r\nA:\r\r\n\r\n", FieldValue),
            ("CR CR LF as the empty line", b"GET / HTTP/1.1\r\nA: b\r\n\r\r\n\r\n", FieldValue),
            ("NUL in a value", b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n", FieldValue),
            ("DEL in a value", b"GET / HTTP/1.1\r\nA: b\x7f\r\n\r\n", FieldValue),
            ("escape in a value", b"GET / HTTP/1.1\r\nA: \x1b[0m\r\n\r\n", FieldValue),
            ("vertical tab in a value", b"GET / HTTP/1.1\r\nA: \x0bb\r\n\r\n", FieldValue),
        ] {
            assert_eq!(
                read(bytes).map(|head| head.map(|h| show(&h))),
                Err(expected),
                "{name}"
            );
        }
    }

    /// Neither we nor the SIMD code of httparse may be lax about any single byte, wherever it stands.
    #[test]
    fn every_byte_at_every_place() {
        for byte in 0..=255u8 {
            for before in [0, 1, 7, 8, 15, 16, 31, 32, 40] {
                let filling = "a".repeat(before);
                let put = |left: &str, right: &str| {
                    let mut head = left.replace('@', &filling).into_bytes();
                    head.push(byte);
                    head.extend_from_slice(right.as_bytes());
                    read(&head)
                };
                let in_name = put("GET / HTTP/1.1\r\n@", "x: v\r\n\r\n");
                let expected = is_token_byte(byte) || (byte == b':' && before > 0);
                assert_eq!(in_name.is_ok(), expected, "name, {byte:#x} after {before}");

                let in_value = put("GET / HTTP/1.1\r\nn: @", "v\r\n\r\n");
                let expected = crate::http::h1::syntax::is_value_byte(byte);
                assert_eq!(
                    in_value.is_ok(),
                    expected,
                    "value, {byte:#x} after {before}"
                );

                let in_target = put("GET /@", "x HTTP/1.1\r\n\r\n");
                let expected = byte > b' ' && byte != 0x7f;
                assert_eq!(
                    in_target.is_ok(),
                    expected,
                    "target, {byte:#x} after {before}"
                );

                let in_method = put("G@", " / HTTP/1.1\r\n\r\n");
                assert_eq!(
                    in_method.is_ok(),
                    is_token_byte(byte),
                    "method, {byte:#x} after {before}"
                );
            }
        }
    }

    #[test]
    fn heads_that_are_not_there_yet() {
        for bytes in [
            "",
            "\r",
            "\r\n",
            "\n\r",
            "G",
            "GET",
            "GET ",
            "GET /",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r",
            "GET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\r\n\r",
            "GET / HTTP/1.1\r\nA",
            "GET / HTTP/1.1\r\nA: b\r\n",
        ] {
            assert!(read(bytes.as_bytes()).unwrap().is_none(), "{bytes:?}");
        }
    }

    #[test]
    fn what_follows_a_head_stays_in_the_buffer() {
        let limits = Limits::default();
        let mut buf = BytesMut::from("POST /a HTTP/1.1\r\nA: b\r\n\r\ncontent");
        let head = HeadReader::new().read(&mut buf, &limits).unwrap().unwrap();
        assert_eq!(head.target(), b"/a");
        assert_eq!(&buf[..], b"content");
    }

    #[test]
    fn pipelined_heads_come_one_by_one() {
        let bytes =
            b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\nA: b\r\n\r\n\r\nGET /3 HTTP/1.0\n\n";
        for step in [1, 2, 7, 1000] {
            let heads = read_in_steps(bytes, step, &Limits::default()).unwrap();
            assert_eq!(
                show_all(&heads),
                ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1|A=b", "GET /3 HTTP/1.0"]
            );
        }
    }

    #[test]
    fn limits_hold_to_the_byte() {
        use Error::*;
        let limits = Limits::default();
        let target = |length: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(length - 1));
        let name = |length: usize| format!("GET / HTTP/1.1\r\n{}: b\r\n\r\n", "a".repeat(length));
        let count = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        let section = |length: usize| {
            let line = format!("a: {}\r\n", "b".repeat(length - 5));
            assert_eq!(line.len(), length);
            format!("GET / HTTP/1.1\r\n{line}\r\n")
        };
        let method = |length: usize| format!("{} / HTTP/1.1\r\n\r\n", "M".repeat(length));
        for (name, bytes, expected) in [
            ("target", target(16384), None),
            ("target + 1", target(16385), Some(TargetTooLong)),
            ("name", name(1024), None),
            ("name + 1", name(1025), Some(FieldNameTooLong)),
            ("fields", count(128), None),
            ("fields + 1", count(129), Some(TooManyFields)),
            ("few fields", count(FEW), None),
            ("few fields + 1", count(FEW + 1), None),
            ("section", section(65536), None),
            ("section + 1", section(65537), Some(FieldSectionTooLarge)),
            ("method", method(64), None),
            ("method + 1", method(65), Some(MethodTooLong)),
        ] {
            for step in [1, 1000, bytes.len()] {
                let read = read_in_steps(bytes.as_bytes(), step, &limits);
                assert_eq!(read.as_ref().err(), expected.as_ref(), "{name}");
                assert!(read.map_or(true, |heads| heads.len() == 1), "{name}");
            }
        }
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn limits_hold_before_the_head_is_whole() {
        use Error::*;
        let limits = Limits::default();
        for (name, bytes, expected) in [
            ("target", format!("GET /{}", "a".repeat(17000)), TargetTooLong),
            ("one long line", format!("GET / HTTP/1.1\r\nA: {}", "a".repeat(66000)), FieldSectionTooLarge),
            ("many lines", format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(129)), TooManyFields),
            ("method", "a".repeat(65), MethodTooLong),
        ] {
            for step in [1, 1000, bytes.len()] {
                let read = read_in_steps(bytes.as_bytes(), step, &limits).map(drop);
                assert_eq!(read, Err(expected), "{name}");
            }
        }
    }

    #[test]
    fn underscores_are_kept_on_request() {
        let limits = Limits {
            underscore_names: true,
            ..Limits::default()
        };
        let bytes = b"GET / HTTP/1.1\r\nX_A: 1\r\nProxy: 2\r\nX_Sendfile_Type: 3\r\n\r\n";
        let heads = read_in_steps(bytes, 9, &limits).unwrap();
        assert_eq!(show_all(&heads), ["GET / HTTP/1.1|X_A=1"]);
    }

    #[test]
    fn bare_lf_is_refused_on_request() {
        let limits = Limits {
            bare_lf: false,
            ..Limits::default()
        };
        for bytes in [
            "GET / HTTP/1.1\nA: b\r\n\r\n",
            "GET / HTTP/1.1\r\nA: b\n\r\n",
            "GET / HTTP/1.1\r\nA: b\r\n\n",
            "\nGET / HTTP/1.1\r\n\r\n",
        ] {
            for step in [1, 7, 100] {
                let read = read_in_steps(bytes.as_bytes(), step, &limits).map(drop);
                assert_eq!(read, Err(Error::BareLf), "{bytes:?}");
            }
        }
        let bytes = b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n";
        assert!(read_in_steps(bytes, 3, &limits).is_ok());
    }

    /// A head that comes byte by byte costs one look at each byte, not one at all of them each time.
    #[test]
    fn a_trickling_head_is_searched_once() {
        let limits = Limits::default();
        let mut reader = HeadReader::new();
        let mut buf = BytesMut::from("GET / HTTP/1.1\r\n");
        for _ in 0..1000 {
            buf.extend_from_slice(b"a");
            assert!(reader.read(&mut buf, &limits).unwrap().is_none());
            assert_eq!(reader.searched, buf.len());
            assert_eq!(reader.line, 16);
        }
    }

    prop_compose! {
        fn any_head()(
            method in "[A-Z]{1,8}",
            target in "/[!-~é]{0,30}",
            version in "[01]",
            fields in prop::collection::vec(("[A-Za-z][A-Za-z0-9-]{0,20}", "[ -~é\t]{0,40}", "\r?\n"), 0..12),
            before in "(\r?\n){0,3}",
            end in "\r?\n",
        ) -> String {
            let mut head = format!("{before}{method} {target} HTTP/1.{version}{end}");
            for (name, value, end) in fields {
                head += &format!("{name}:{value}{end}");
            }
            head + &end
        }
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(heads in prop::collection::vec(any_head(), 1..4), step in 1usize..50) {
            let limits = Limits::default();
            let bytes = heads.concat();
            let whole = read_in_steps(bytes.as_bytes(), bytes.len(), &limits);
            let cut = read_in_steps(bytes.as_bytes(), step, &limits);
            prop_assert_eq!(whole.as_ref().map(Vec::len), Ok(heads.len()));
            prop_assert_eq!(whole.as_deref().map(show_all), cut.as_deref().map(show_all));
        }

        #[test]
        fn any_bytes_are_read_or_refused_alike(
            bytes in prop::collection::vec(prop_oneof![
                Just(b"GET / HTTP/1.1\r\n".to_vec()), Just(b"a: b\r\n".to_vec()), Just(b"\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..4), "[\r\n\t :a]{1,3}".prop_map(String::into_bytes),
            ], 0..12),
            step in 1usize..9,
        ) {
            let limits = Limits::default();
            let bytes = bytes.concat();
            let whole = read_in_steps(&bytes, bytes.len(), &limits);
            let cut = read_in_steps(&bytes, step, &limits);
            prop_assert_eq!(whole.as_deref().map(show_all), cut.as_deref().map(show_all));
        }
    }
}
