//! Where a request's content ends, and what the connection does after it (RFC 9112 sections 6 and 9).

use crate::http::error::Error;
use crate::http::limits::Limits;
use crate::semantics::field::{Fields, decimal, list_members};
use crate::semantics::message::{RequestHead, Version};

/// How a request's content is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No content, and no Content-Length either.
    None,
    /// As many bytes as Content-Length says, perhaps none.
    Length(u64),
    /// The chunked coding (RFC 9112 section 7.1).
    Chunked,
}

impl Framing {
    /// Whether nothing follows the head.
    fn is_empty(self) -> bool {
        matches!(self, Framing::None | Framing::Length(0))
    }
}

/// Methods whose responses are framed in their own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Its response has no content, whatever its fields say.
    Head,
    /// A successful response to it is followed by a tunnel (RFC 9110 section 9.3.6).
    Connect,
    /// Any other.
    Other,
}

impl Method {
    /// The method of this request.
    pub fn of(head: &RequestHead) -> Self {
        match head.method() {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }
}

/// What the connection must know of a request, to read its content and to frame its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The protocol version of the request.
    pub version: Version,
    /// The method, as far as it matters for framing.
    pub method: Method,
    /// Where its content ends.
    pub content: Framing,
    /// Whether the client waits for `100 Continue`. Where there is no content none is sent: who stands between and has not heard
    /// of the expectation would take it for the response.
    pub expects_continue: bool,
    /// Whether the connection may be used for another request. The server may clear it.
    pub persistent: bool,
    /// Whether the client takes trailers.
    pub trailers: bool,
}

impl Facts {
    /// For an answer to what could not be read as a request: the connection closes after it.
    pub const UNREAD: Facts = Facts {
        version: Version::Http11,
        method: Method::Other,
        content: Framing::None,
        expects_continue: false,
        persistent: false,
        trailers: false,
    };
}

/// The facts of a request, by one pass over its fields.
pub fn facts(head: &RequestHead, limits: &Limits) -> Result<Facts, Error> {
    let mut length = None;
    let mut codings = 0;
    let mut expects_continue = false;
    let mut close = false;
    let mut keep_alive = false;
    for (name, value) in head.fields.iter() {
        // The length tells most fields apart without a look at their letters.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if length.is_some() {
                    return Err(Error::ContentLengthRepeated);
                }
                length = Some(decimal(value).ok_or(Error::ContentLength)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => codings += 1,
            6 if name.eq_ignore_ascii_case(b"expect") => {
                for expectation in list_members(value) {
                    if !expectation.eq_ignore_ascii_case(b"100-continue") {
                        // HTTP/1.0 knew no expectations (RFC 9110 section 10.1.1).
                        if head.version > Version::Http10 {
                            return Err(Error::Expectation);
                        }
                    }
                    expects_continue = head.version > Version::Http10;
                }
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                for option in list_members(value) {
                    close |= option.eq_ignore_ascii_case(b"close");
                    keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            _ => {}
        }
    }
    let method = Method::of(head);
    let content = framing(head, length, codings, limits)?;
    let asked = match head.version {
        Version::Http10 => keep_alive,
        Version::Http11 | Version::Http2 => true,
    };
    // With both fields given, where the next request begins is the client's secret (RFC 9112 section 6.1).
    let certain = length.is_none() || codings == 0;
    Ok(Facts {
        version: head.version,
        method,
        content,
        expects_continue: expects_continue && !content.is_empty(),
        // What follows a CONNECT is meant for a tunnel, even where none came about.
        persistent: asked && !close && certain && method != Method::Connect,
        trailers: head.takes_trailers(),
    })
}

fn framing(
    head: &RequestHead,
    length: Option<u64>,
    codings: usize,
    limits: &Limits,
) -> Result<Framing, Error> {
    match (length, codings) {
        (None, 0) => Ok(Framing::None),
        (Some(length), 0) => {
            if limits.content.is_some_and(|limit| length > limit) {
                return Err(Error::ContentTooLarge);
            }
            Ok(Framing::Length(length))
        }
        (Some(_), _) if !limits.te_cl => Err(Error::LengthAndCoding),
        _ if head.version < Version::Http11 => Err(Error::CodingInOldVersion),
        _ => transfer_coding(&head.fields),
    }
}

/// Accepts one field that says `chunked` and no more.
///
/// All else is refused, but for two reasons. Where `chunked` is there without being the only and last coding,
/// the message is malformed (400). Where there is another coding, it may be sound and is only not
/// implemented: 501, as nginx says it; RFC 9112 would have 400 when that coding is the last. Both close.
fn transfer_coding(fields: &Fields) -> Result<Framing, Error> {
    let mut codings = 0;
    let mut unknown = false;
    let mut chunked = false;
    for value in fields.all("transfer-encoding") {
        // Empty members are allowed in lists; here they only serve to confuse.
        for coding in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let name = coding.split(|&b| b == b';').next().unwrap_or_default();
            let is_chunked = name.trim_ascii().eq_ignore_ascii_case(b"chunked");
            // Nothing may stand after chunked, nor may it have parameters (RFC 9112 section 7.1).
            if chunked || coding.is_empty() || (is_chunked && name.len() < coding.len()) {
                return Err(Error::TransferEncoding);
            }
            chunked = is_chunked;
            unknown |= !is_chunked;
            codings += 1;
        }
    }
    if unknown {
        return Err(Error::UnknownCoding);
    }
    debug_assert!(codings == 1 && chunked);
    Ok(Framing::Chunked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::field::Span;

    fn head(method: &str, version: Version, fields: &[(&str, &str)]) -> RequestHead {
        let mut pairs = vec![("", method), ("", "/")];
        pairs.extend_from_slice(fields);
        let all = Fields::from_pairs(pairs);
        let (start, lines) = all.lines().split_at(2);
        RequestHead {
            method: start[0].value,
            target: Span::of(all.bytes(), &all.bytes()[start[1].value.range()]),
            version,
            fields: Fields::new(all.bytes().clone(), lines.to_vec()).unwrap(),
        }
    }

    fn facts_of(version: Version, fields: &[(&str, &str)]) -> Result<Facts, Error> {
        facts(&head("POST", version, fields), &Limits::default())
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn content_is_framed_in_one_way_only() {
        use Error::*;
        const CL: &str = "Content-Length";
        const TE: &str = "Transfer-Encoding";
        type Case = (
            &'static str,
            &'static [(&'static str, &'static str)],
            Result<Framing, Error>,
        );
        let cases: &[Case] = &[
            ("nothing", &[], Ok(Framing::None)),
            ("zero", &[(CL, "0")], Ok(Framing::Length(0))),
            ("a length", &[(CL, "5")], Ok(Framing::Length(5))),
            ("leading zeros", &[(CL, "0005")], Ok(Framing::Length(5))),
            ("lower case name", &[("content-length", "5")], Ok(Framing::Length(5))),
            ("the longest", &[(CL, "18446744073709551615")], Ok(Framing::Length(u64::MAX))),
            ("beyond 64 bits", &[(CL, "18446744073709551616")], Err(ContentLength)),
            ("far beyond", &[(CL, "99999999999999999999999999")], Err(ContentLength)),
            ("empty", &[(CL, "")], Err(ContentLength)),
            ("plus", &[(CL, "+5")], Err(ContentLength)),
            ("minus", &[(CL, "-5")], Err(ContentLength)),
            ("minus zero", &[(CL, "-0")], Err(ContentLength)),
            ("hex", &[(CL, "0x5")], Err(ContentLength)),
            ("hex digit", &[(CL, "5a")], Err(ContentLength)),
            ("list", &[(CL, "5, 5")], Err(ContentLength)),
            ("list without space", &[(CL, "2,2")], Err(ContentLength)),
            ("comma after", &[(CL, "5,")], Err(ContentLength)),
            ("space inside", &[(CL, "5 5")], Err(ContentLength)),
            ("fraction", &[(CL, "5.0")], Err(ContentLength)),
            ("exponent", &[(CL, "1e1")], Err(ContentLength)),
            ("underscore", &[(CL, "1_0")], Err(ContentLength)),
            ("other digits", &[(CL, "\u{665}")], Err(ContentLength)),
            ("quoted", &[(CL, "\"5\"")], Err(ContentLength)),
            ("twice, equal", &[(CL, "5"), (CL, "5")], Err(ContentLengthRepeated)),
            ("twice, different", &[(CL, "3"), (CL, "9")], Err(ContentLengthRepeated)),
            ("twice, other case", &[(CL, "0"), ("content-length", "44")], Err(ContentLengthRepeated)),
            ("chunked", &[(TE, "chunked")], Ok(Framing::Chunked)),
            ("chunked in capitals", &[("transfer-ENCODING", "ChunkeD")], Ok(Framing::Chunked)),
            ("CL, TE", &[(CL, "5"), (TE, "chunked")], Err(LengthAndCoding)),
            ("TE, CL", &[(TE, "chunked"), (CL, "5")], Err(LengthAndCoding)),
            ("CL 0, TE", &[(CL, "0"), (TE, "chunked")], Err(LengthAndCoding)),
            ("CL, unknown TE", &[(CL, "5"), (TE, "x")], Err(LengthAndCoding)),
            ("CL, empty TE", &[(CL, "5"), (TE, "")], Err(LengthAndCoding)),
            ("empty TE", &[(TE, "")], Err(TransferEncoding)),
            ("comma only", &[(TE, ",")], Err(TransferEncoding)),
            ("chunked, comma", &[(TE, "chunked,")], Err(TransferEncoding)),
            ("comma, chunked", &[(TE, ", chunked")], Err(TransferEncoding)),
            ("chunked twice", &[(TE, "chunked, chunked")], Err(TransferEncoding)),
            ("chunked in two fields", &[(TE, "chunked"), (TE, "chunked")], Err(TransferEncoding)),
            ("chunked, then identity", &[(TE, "chunked, identity")], Err(TransferEncoding)),
            ("chunked, then gzip", &[(TE, "chunked"), (TE, "gzip")], Err(TransferEncoding)),
            ("chunked, then empty", &[(TE, "chunked"), (TE, "")], Err(TransferEncoding)),
            ("a parameter", &[(TE, "chunked;a=b")], Err(TransferEncoding)),
            ("an empty parameter", &[(TE, "chunked ;")], Err(TransferEncoding)),
            ("gzip, chunked", &[(TE, "gzip, chunked")], Err(UnknownCoding)),
            ("gzip, chunked in two fields", &[(TE, "gzip"), (TE, "chunked")], Err(UnknownCoding)),
            ("gzip", &[(TE, "gzip")], Err(UnknownCoding)),
            ("identity", &[(TE, "identity")], Err(UnknownCoding)),
            ("xchunked", &[(TE, "xchunked")], Err(UnknownCoding)),
            ("chunkedx", &[(TE, "chunkedx")], Err(UnknownCoding)),
            ("chunked chunked", &[(TE, "chunked chunked")], Err(UnknownCoding)),
            ("quoted", &[(TE, "\"chunked\"")], Err(UnknownCoding)),
            ("form feed", &[(TE, "\x0bchunked")], Err(UnknownCoding)),
        ];
        for (name, fields, expected) in cases {
            let found = facts_of(Version::Http11, fields).map(|f| f.content);
            assert_eq!(&found, expected, "{name}");
        }
    }

    #[test]
    fn length_beside_coding_counts_for_nothing_on_request() {
        let limits = Limits {
            te_cl: true,
            ..Limits::default()
        };
        let both = |version, length, coding| {
            let fields = [("Content-Length", length), ("Transfer-Encoding", coding)];
            facts(&head("POST", version, &fields), &limits)
        };
        let found = both(Version::Http11, "44", "chunked").unwrap();
        assert_eq!((found.content, found.persistent), (Framing::Chunked, false));
        for (version, length, coding, expected) in [
            (Version::Http11, "x", "chunked", Error::ContentLength),
            (Version::Http11, "5", "gzip, chunked", Error::UnknownCoding),
            (Version::Http10, "5", "chunked", Error::CodingInOldVersion),
        ] {
            assert_eq!(both(version, length, coding), Err(expected));
        }
    }

    #[test]
    fn http10_has_no_transfer_codings() {
        for value in ["chunked", "identity", ""] {
            let fields = [("Transfer-Encoding", value)];
            assert_eq!(
                facts_of(Version::Http10, &fields),
                Err(Error::CodingInOldVersion)
            );
        }
        let length = facts_of(Version::Http10, &[("Content-Length", "5")]);
        assert_eq!(length.unwrap().content, Framing::Length(5));
    }

    #[test]
    fn an_announced_length_is_limited() {
        let limits = Limits {
            content: Some(10),
            ..Limits::default()
        };
        let framed = |length| {
            facts(
                &head("POST", Version::Http11, &[("Content-Length", length)]),
                &limits,
            )
            .map(|f| f.content)
        };
        assert_eq!(framed("10"), Ok(Framing::Length(10)));
        assert_eq!(framed("11"), Err(Error::ContentTooLarge));
    }

    #[test]
    fn expectations() {
        use Version::*;
        for (version, value, expected) in [
            (Http11, "100-continue", Ok(true)),
            (Http11, "100-CONTINUE", Ok(true)),
            (Http11, "100-continue, 100-continue", Ok(true)),
            (Http11, "", Ok(false)),
            (Http11, "100-continued", Err(Error::Expectation)),
            (Http11, "200-ok", Err(Error::Expectation)),
            (Http11, "100-continue, x", Err(Error::Expectation)),
            (Http11, "100-continue;a=b", Err(Error::Expectation)),
            (Http10, "100-continue", Ok(false)),
            (Http10, "other", Ok(false)),
        ] {
            let fields = [("Expect", value), ("Content-Length", "5")];
            let found = facts_of(version, &fields).map(|f| f.expects_continue);
            assert_eq!(found, expected, "{value}");
        }
        let twice = [("Expect", "100-continue"), ("expect", "x")];
        assert_eq!(facts_of(Version::Http11, &twice), Err(Error::Expectation));
        for length in [None, Some(("Content-Length", "0"))] {
            let mut fields = vec![("Expect", "100-continue")];
            fields.extend(length);
            let empty = facts_of(Version::Http11, &fields).unwrap();
            assert!(!empty.expects_continue, "there is nothing to wait for");
        }
        let none = facts_of(Version::Http11, &[]).unwrap();
        assert!(!none.expects_continue);
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn persistence() {
        use Version::*;
        type Case = (Version, &'static [(&'static str, &'static str)], bool);
        let cases: &[Case] = &[
            (Http11, &[], true),
            (Http11, &[("Connection", "keep-alive")], true),
            (Http11, &[("Connection", "close")], false),
            (Http11, &[("connection", "CLOSE")], false),
            (Http11, &[("Connection", "keep-alive, close")], false),
            (Http11, &[("Connection", "close"), ("Connection", "keep-alive")], false),
            (Http11, &[("Connection", "TE,close")], false),
            (Http11, &[("Connection", "closed")], true),
            (Http11, &[("Connection", "Upgrade")], true),
            (Http11, &[("Connection", "")], true),
            (Http10, &[], false),
            (Http10, &[("Connection", "Keep-Alive")], true),
            (Http10, &[("Connection", "x, keep-alive")], true),
            (Http10, &[("Connection", "keep-alive"), ("Connection", "close")], false),
            (Http10, &[("Keep-Alive", "timeout=5")], false),
        ];
        for (version, fields, expected) in cases {
            let found = facts_of(*version, fields).unwrap().persistent;
            assert_eq!(found, *expected, "{version:?} {fields:?}");
        }
    }

    #[test]
    fn methods_that_frame_their_responses() {
        for (name, method, persistent) in [
            ("HEAD", Method::Head, true),
            ("head", Method::Other, true),
            ("GET", Method::Other, true),
            ("CONNECT", Method::Connect, false),
        ] {
            let found = facts(&head(name, Version::Http11, &[]), &Limits::default()).unwrap();
            assert_eq!(
                (found.method, found.persistent),
                (method, persistent),
                "{name}"
            );
        }
    }
}
