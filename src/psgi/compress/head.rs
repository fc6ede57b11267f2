//! Whether a response is compressed, and what becomes of its fields.

use super::FILE;
use crate::coding::{Coding, Settings};
use crate::semantics::accept::{Choice, Codings};
use crate::semantics::conditional::is_none_match;
use crate::semantics::field::{Fields, announced_length, list_members};
use crate::semantics::message::{Length, RequestHead};

/// What a request says that matters here.
#[derive(Debug)]
pub(super) struct Request {
    /// The coding that the client likes best.
    coding: Option<Coding>,
    is_head: bool,
    has_range: bool,
    /// Its fields, where it is conditional.
    conditions: Option<Fields>,
}

impl Request {
    pub(super) fn of(head: &RequestHead, codings: &[Coding]) -> Self {
        let accepted = Codings::of(&head.fields);
        let chosen = match accepted.any() {
            true => accepted.choose(codings.iter().map(|coding| coding.name())),
            false => Choice::Identity,
        };
        let has = |name| head.fields.first(name).is_some();
        let reads = matches!(head.method(), b"GET" | b"HEAD");
        Request {
            coding: match chosen {
                Choice::Coded(index) => codings.get(index).copied(),
                // An app's response is sent in any case.
                Choice::Identity | Choice::None => None,
            },
            is_head: head.method() == b"HEAD",
            has_range: has("range"),
            conditions: (reads && has("if-none-match")).then(|| head.fields.clone()),
        }
    }

    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }
}

/// What is done with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It stays as it is
    Plain,
    /// It stays as it is, but for another client it would be compressed
    Vary,
    /// It gets this coding
    Code(Coding),
}

/// Fields that forbid to change the content, or would be wrong after it: those with digests of it, those by which the app frames
/// or codes it itself, and those that name another content.
const FORBIDDING: [&[u8]; 10] = [
    b"content-encoding",
    b"content-range",
    b"transfer-encoding",
    b"trailer",
    b"content-md5",
    b"digest",
    b"content-digest",
    b"repr-digest",
    b"x-sendfile",
    b"x-accel-redirect",
];

/// Bytes of fields of a head that may wait for its content: a head that is too large for the channel is to be refused at once.
const MOST_FIELDS: usize = 64 * 1024;

/// Decides about a response with these fields and a content of this length.
pub(super) fn decide(
    settings: &Settings,
    request: &Request,
    status: u16,
    fields: &[(&[u8], &[u8])],
    length: Length,
) -> Decision {
    let size: usize = fields
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if status < 200 || matches!(status, 204 | 205 | 206 | 304) || size > MOST_FIELDS {
        return Decision::Plain;
    }
    let mut kind = None;
    for &(name, value) in fields {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"content-type") {
            kind = Some(value);
        } else if FORBIDDING.into_iter().any(is)
            || is(b"cache-control") && list_members(value).any(is_no_transform)
        {
            return Decision::Plain;
        }
    }
    if !kind.is_some_and(|kind| settings.types.contain(kind)) {
        return Decision::Plain;
    }
    let announced = announced_length(fields);
    let is_file = matches!(length, Length::File(_));
    let length = length.known();
    let contradicts = length.is_some() && announced.is_some() && announced != length;
    let size = announced.or(length);
    if contradicts || size.is_some_and(|size| size < settings.min_length.max(1)) {
        return Decision::Plain;
    }
    // The core sends such files, and parts of files.
    if is_file && (request.has_range || size.is_some_and(|size| size > FILE)) {
        return Decision::Vary;
    }
    request.coding.map_or(Decision::Vary, Decision::Code)
}

fn is_no_transform(member: &[u8]) -> bool {
    member.eq_ignore_ascii_case(b"no-transform")
}

/// The head of a response as the app has given it.
pub(super) struct Head {
    pub(super) status: u16,
    fields: Fields,
    /// What ETag becomes, if it is strong.
    weak: Option<Vec<u8>>,
    /// Whether Vary says already that Accept-Encoding counts.
    varies: bool,
}

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

impl Head {
    pub(super) fn new(status: u16, fields: &[(&[u8], &[u8])]) -> Self {
        let fields = Fields::from_pairs(fields.iter().copied());
        let etag = fields.first("etag").map(<[u8]>::trim_ascii);
        let strong = etag.filter(|etag| etag.starts_with(b"\""));
        let says =
            |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding");
        let varies = fields.all("vary").flat_map(list_members).any(says);
        Head {
            status,
            weak: strong.map(|etag| [b"W/", etag].concat()),
            varies,
            fields,
        }
    }

    /// The length that the fields announce.
    pub(super) fn announced(&self) -> Option<u64> {
        announced_length(&self.fields.iter().collect::<Pairs<'_>>())
    }

    /// The fields of the response as it is.
    pub(super) fn varied(&self) -> Pairs<'_> {
        let mut fields: Pairs<'_> = self.fields.iter().collect();
        self.vary(&mut fields);
        fields
    }

    /// The fields of the compressed response, without Content-Length. The content is another one, byte by byte: no strong entity tag
    /// may stand for both, and the app's ranges don't fit it.
    pub(super) fn coded(&self, coding: Coding) -> Pairs<'_> {
        let mut fields = self.but(&["content-length", "accept-ranges"]);
        fields.push((b"Content-Encoding", coding.name().as_bytes()));
        self.vary(&mut fields);
        fields
    }

    /// The fields of a response that says that the client's copy is current.
    pub(super) fn not_modified(&self) -> Pairs<'_> {
        let mut fields = self.but(&[
            "content-length",
            "accept-ranges",
            "content-type",
            "content-language",
        ]);
        self.vary(&mut fields);
        fields
    }

    /// Whether the client has what the app would send. The app compares its own entity tag with the client's, which is the weak one
    /// that [`coded`](Self::coded) has made of it: many apps take these for different.
    pub(super) fn is_current(&self, request: &Request) -> bool {
        let (Some(conditions), Some(weak), 200) = (&request.conditions, &self.weak, self.status)
        else {
            return false;
        };
        !is_none_match(conditions, weak)
    }

    fn but(&self, left_out: &[&str]) -> Pairs<'_> {
        let is = |name: &[u8], other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let fields = self.fields.iter();
        fields
            .filter(|(name, _)| !left_out.iter().any(|other| is(name, other)))
            .map(|(name, value)| match &self.weak {
                Some(weak) if is(name, "etag") => (name, &weak[..]),
                _ => (name, value),
            })
            .collect()
    }

    fn vary<'a>(&self, fields: &mut Pairs<'a>) {
        if !self.varies {
            fields.push((b"Vary", b"Accept-Encoding"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coding::Types;

    fn settings() -> Settings {
        Settings {
            codings: vec![Coding::Zstd, Coding::Gzip],
            types: Types::Known,
            min_length: 100,
        }
    }

    fn request(coding: Option<Coding>) -> Request {
        Request {
            coding,
            is_head: false,
            has_range: false,
            conditions: None,
        }
    }

    fn decided(status: u16, fields: &[(&str, &str)], length: Option<u64>) -> Decision {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let gzip = request(Some(Coding::Gzip));
        let length = length.map_or(Length::Unknown, Length::Known);
        let decision = decide(&settings(), &gzip, status, &fields, length);
        let none = decide(&settings(), &request(None), status, &fields, length);
        // Whoever accepts no coding gets the same response, and Vary where that is right.
        match decision {
            Decision::Plain => assert_eq!(none, Decision::Plain),
            _ => assert_eq!(none, Decision::Vary),
        }
        decision
    }

    #[test]
    fn what_may_not_be_changed_is_not() {
        let text = ("Content-Type", "text/html");
        let code = Decision::Code(Coding::Gzip);
        let plain = Decision::Plain;
        for (status, more, length, expected) in [
            (200, None, Some(1000), code),
            (404, None, Some(1000), code),
            (200, None, None, code),
            (200, None, Some(99), plain),
            (200, Some(("content-length", "99")), None, plain),
            (200, Some(("Content-Length", "1000")), None, code),
            (200, Some(("Content-Length", "1000")), Some(1001), plain),
            (204, None, None, plain),
            (206, None, Some(1000), plain),
            (304, None, None, plain),
            (101, None, None, plain),
            (
                200,
                Some(("content-ENCODING", "identity")),
                Some(1000),
                plain,
            ),
            (
                200,
                Some(("Content-Range", "bytes 0-1/2")),
                Some(1000),
                plain,
            ),
            (200, Some(("Transfer-Encoding", "chunked")), None, plain),
            (200, Some(("Content-Digest", "sha-256=::")), None, plain),
            (
                200,
                Some(("Cache-Control", "private, No-Transform")),
                None,
                plain,
            ),
            (200, Some(("Cache-Control", "private")), None, code),
            (200, Some(("Content-Type", "image/png")), None, plain),
        ] {
            let fields: Vec<_> = [text].into_iter().chain(more).collect();
            assert_eq!(
                decided(status, &fields, length),
                expected,
                "{status} {more:?}"
            );
        }
        assert_eq!(decided(200, &[], Some(1000)), plain, "no type");
        let long = "x".repeat(MOST_FIELDS);
        assert_eq!(decided(200, &[text, ("X", &long)], Some(1000)), plain);
    }

    fn texts(pairs: Pairs<'_>) -> Vec<String> {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let pairs = pairs.into_iter();
        pairs
            .map(|(name, value)| format!("{}: {}", text(name), text(value)))
            .collect()
    }

    #[test]
    fn fields_are_those_of_the_compressed_content() {
        let head = Head::new(
            200,
            &[
                (b"Content-Type", b"text/css"),
                (b"content-length", b"5000"),
                (b"ETag", b"\"a\""),
                (b"Accept-Ranges", b"bytes"),
                (b"vary", b"Cookie"),
            ],
        );
        assert_eq!(head.announced(), Some(5000));
        assert_eq!(
            texts(head.coded(Coding::Gzip)),
            [
                "Content-Type: text/css",
                "ETag: W/\"a\"",
                "vary: Cookie",
                "Content-Encoding: gzip",
                "Vary: Accept-Encoding"
            ]
        );
        assert_eq!(
            texts(head.not_modified()),
            ["ETag: W/\"a\"", "vary: Cookie", "Vary: Accept-Encoding"]
        );
        for (value, expected) in [("*", 1), ("Cookie, accept-encoding", 1), ("Cookie", 2)] {
            let head = Head::new(200, &[(b"Vary", value.as_bytes())]);
            assert_eq!(head.varied().len(), expected, "{value}");
        }
    }
}
