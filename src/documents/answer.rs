//! A file as the response to a request: preconditions, ranges, multipart/byteranges (RFC 9110 sections 13 to 15).

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use bytes::Bytes;

use crate::body::{Body, FileSlice, Part};
use crate::semantics::conditional::{Outcome, Validators, evaluate};
use crate::semantics::date;
use crate::semantics::field::Fields;
use crate::semantics::message::{RequestHead, ResponseHead};
use crate::semantics::range::{ByteRange, Selected, select};
use crate::semantics::status;

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// Its head, with Content-Length, and without what each response has.
    pub head: ResponseHead,
    /// Its content.
    pub body: Body,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct Slice {
    /// The file.
    pub file: Arc<File>,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Where the content is.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a file
    File(Slice),
    /// All of it in memory
    Memory(Bytes),
    /// Nowhere: it has this length, and the request is HEAD
    Absent(u64),
}

impl Source {
    fn length(&self) -> u64 {
        match self {
            Source::File(slice) => slice.length,
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Absent(length) => *length,
        }
    }

    fn whole(&self) -> Body {
        match self {
            Source::Absent(_) => Body::default(),
            _ => self.part(0, self.length()).into(),
        }
    }

    fn part(&self, first: u64, end: u64) -> Part {
        match self {
            Source::File(slice) => {
                let (file, offset) = (Arc::clone(&slice.file), slice.offset + first);
                Part::File(FileSlice::new(file, offset, end - first))
            }
            // Content that is in memory is at most as long as a usize says.
            Source::Memory(bytes) => Part::Bytes(bytes.slice(first as usize..end as usize)),
            Source::Absent(_) => Part::Bytes(Bytes::new()),
        }
    }
}

/// Names and values.
pub type Pairs<'a> = [(&'a [u8], &'a [u8])];

/// What can be sent: fields of a 200 response, without Content-Length, and its content.
#[derive(Debug)]
pub struct Representation<'a> {
    /// Fields, among them the validators.
    pub fields: &'a Pairs<'a>,
    /// Content.
    pub source: Source,
}

impl Representation<'_> {
    /// The response to this GET or HEAD request at the time `now`.
    pub fn answer(&self, request: &RequestHead, now: i64) -> Answer {
        let validators = Validators {
            etag: self.first(b"etag").map(<[u8]>::trim_ascii),
            last_modified: self.first(b"last-modified").and_then(date::parse),
        };
        let selected = match evaluate(&request.fields, &validators, now) {
            Outcome::Failed => return text(412, &[]),
            Outcome::NotModified => return self.not_modified(),
            // Range is defined for GET alone (RFC 9110 section 14.2).
            Outcome::Perform if request.method() == b"GET" => {
                select(&request.fields, self.source.length())
            }
            Outcome::Perform | Outcome::PerformWhole => Selected::Whole,
        };
        match selected {
            Selected::Whole => self.whole(),
            Selected::One(range) => self.one(range),
            Selected::Several(ranges) => self.several(&ranges),
            Selected::Unsatisfiable => {
                let range = format!("bytes */{}", self.source.length());
                text(416, &[(b"Content-Range", range.as_bytes())])
            }
        }
    }

    /// All of it, whatever the request's conditions are.
    pub fn whole_with(&self, status: u16) -> Answer {
        let mut answer = self.whole();
        answer.head.status = status;
        answer
    }

    fn first(&self, name: &[u8]) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        fields
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    fn whole(&self) -> Answer {
        let length = self.source.length().to_string();
        let more = [
            (&b"Accept-Ranges"[..], &b"bytes"[..]),
            (b"Content-Length", length.as_bytes()),
        ];
        self.with(200, |_| true, &more, self.source.whole())
    }

    fn one(&self, range: ByteRange) -> Answer {
        let length = range.length().to_string();
        let content_range = range.content_range(self.source.length());
        let body = self.source.part(range.first, range.end).into();
        let more = [
            (&b"Content-Range"[..], content_range.as_bytes()),
            (b"Content-Length", length.as_bytes()),
        ];
        self.with(206, |_| true, &more, body)
    }

    fn several(&self, ranges: &[ByteRange]) -> Answer {
        let boundary = boundary();
        let kind = self.first(b"content-type");
        let mut body = Body::default();
        for (index, &range) in ranges.iter().enumerate() {
            let mut head = Vec::new();
            if index > 0 {
                head.extend_from_slice(b"\r\n");
            }
            head.extend_from_slice(format!("--{boundary}\r\n").as_bytes());
            if let Some(kind) = kind {
                head.extend_from_slice(b"Content-Type: ");
                head.extend_from_slice(kind);
                head.extend_from_slice(b"\r\n");
            }
            let content_range = range.content_range(self.source.length());
            head.extend_from_slice(format!("Content-Range: {content_range}\r\n\r\n").as_bytes());
            body.push(Part::Bytes(head.into()));
            body.push(self.source.part(range.first, range.end));
        }
        body.push(Part::Bytes(format!("\r\n--{boundary}--\r\n").into()));
        let length = body.length().to_string();
        let kind = format!("multipart/byteranges; boundary={boundary}");
        let more = [
            (&b"Content-Type"[..], kind.as_bytes()),
            (b"Content-Length", length.as_bytes()),
        ];
        let keep = |name: &[u8]| !name.eq_ignore_ascii_case(b"content-type");
        self.with(206, keep, &more, body)
    }

    /// The fields that a 200 response would have, but for those that describe the content (RFC 9110 section 15.4.5).
    fn not_modified(&self) -> Answer {
        let describes = |name: &[u8]| {
            [
                &b"content-type"[..],
                b"content-encoding",
                b"content-language",
            ]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
        };
        self.with(304, |name| !describes(name), &[], Body::default())
    }

    fn with(
        &self,
        status: u16,
        keep: impl Fn(&[u8]) -> bool,
        more: &Pairs<'_>,
        body: Body,
    ) -> Answer {
        let ours = |name: &[u8]| {
            name.eq_ignore_ascii_case(b"content-length")
                || name.eq_ignore_ascii_case(b"accept-ranges")
        };
        let fields = self.fields.iter();
        let fields = fields.filter(|(name, _)| keep(name) && !ours(name));
        Answer {
            head: ResponseHead {
                status,
                fields: Fields::from_pairs(fields.chain(more).copied()),
            },
            body,
        }
    }
}

/// A response that says no more than its status does.
pub fn text(status: u16, more: &Pairs<'_>) -> Answer {
    let text = Bytes::from(format!("{}\n", status::reason(status)));
    let length = text.len().to_string();
    let always = [
        (&b"Content-Type"[..], &b"text/plain; charset=utf-8"[..]),
        (b"Content-Length", length.as_bytes()),
    ];
    Answer {
        head: ResponseHead {
            status,
            fields: Fields::from_pairs(more.iter().chain(&always).copied()),
        },
        body: text.into(),
    }
}

/// What separates parts: nothing that a file's author could foresee.
fn boundary() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::field::Span;
    use crate::semantics::message::Version;

    fn request(method: &str, fields: &[(&str, &str)]) -> RequestHead {
        let all = [(method, "/")].into_iter().chain(fields.iter().copied());
        let mut fields = Fields::from_pairs(all);
        let bytes = fields.bytes().clone();
        fields.retain(|name, _| name != method.as_bytes());
        RequestHead {
            method: Span::of(&bytes, &bytes[..method.len()]),
            target: Span::of(&bytes, &bytes[method.len()..method.len() + 1]),
            version: Version::Http11,
            fields,
        }
    }

    fn answer(method: &str, fields: &[(&str, &str)]) -> Answer {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let fields_of_file = [
            (&b"Content-Type"[..], &b"text/plain"[..]),
            (b"ETag", b"\"a\""),
            (b"Cache-Control", b"max-age=1"),
        ];
        let representation = Representation {
            fields: &fields_of_file,
            source: Source::File(Slice {
                file,
                offset: 5,
                length: 100,
            }),
        };
        representation.answer(&request(method, fields), 1_000_000_000)
    }

    fn field(answer: &Answer, name: &str) -> String {
        let value = answer.head.fields.first(name).unwrap_or(b"-");
        String::from_utf8_lossy(value).into_owned()
    }

    #[test]
    fn a_range_is_a_part_of_the_slice() {
        let answer = answer("GET", &[("Range", "bytes=10-19")]);
        assert_eq!(answer.head.status, 206);
        assert_eq!(field(&answer, "content-range"), "bytes 10-19/100");
        assert_eq!(field(&answer, "content-length"), "10");
        let mut body = answer.body;
        let Some(Part::File(slice)) = body.pop() else {
            panic!("no file");
        };
        assert_eq!((slice.offset, slice.length), (15, 10));
    }

    /// Protects: Content-Length is what is sent, boundaries and heads of parts included.
    #[test]
    fn the_length_of_a_multipart_response_is_right() {
        let answer = answer("GET", &[("Range", "bytes=0-9,20-29,-5")]);
        assert_eq!(answer.head.status, 206);
        assert!(field(&answer, "content-type").starts_with("multipart/byteranges; boundary="));
        let length = field(&answer, "content-length");
        let mut body = answer.body;
        assert_eq!(length, body.length().to_string());
        let mut heads = Vec::new();
        while let Some(part) = body.pop() {
            if let Part::Bytes(bytes) = part {
                heads.push(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        assert_eq!(heads.len(), 4);
        let second = "Content-Type: text/plain\r\nContent-Range: bytes 20-29/100\r\n\r\n";
        assert!(heads[1].contains(second));
    }

    #[test]
    fn not_modified_says_what_caches_need() {
        let answer = answer("GET", &[("If-None-Match", "\"a\"")]);
        assert_eq!(answer.head.status, 304);
        assert_eq!(field(&answer, "etag"), "\"a\"");
        assert_eq!(field(&answer, "cache-control"), "max-age=1");
        assert_eq!(field(&answer, "content-type"), "-");
    }

    #[test]
    fn head_has_no_ranges() {
        let answer = answer("HEAD", &[("Range", "bytes=10-19")]);
        assert_eq!(
            (answer.head.status, field(&answer, "content-length")),
            (200, "100".to_owned())
        );
    }

    #[test]
    fn what_is_not_there_is_416() {
        let answer = answer("GET", &[("Range", "bytes=100-")]);
        assert_eq!(answer.head.status, 416);
        assert_eq!(field(&answer, "content-range"), "bytes */100");
    }
}
