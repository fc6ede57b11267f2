//! Field sections: names and values in the order and the case they were given (RFC 9110 section 5).

use std::ops::Range;

use bytes::Bytes;

/// A part of a message's bytes, as offsets: a head of sixty fields stays one allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// First byte after it.
    pub end: u32,
}

impl Span {
    /// The span that `part` covers within `whole`; `part` must be a slice of `whole`.
    pub fn of(whole: &[u8], part: &[u8]) -> Self {
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        debug_assert!(start + part.len() <= whole.len());
        // Heads are limited to far below 4 GiB (http::limits).
        Span {
            start: start as u32,
            end: (start + part.len()) as u32,
        }
    }

    /// The same as a range of indices.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One field line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The field's name as it was sent.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
}

/// Whether a field may follow the content: not one that frames or routes a message, or says how its content is to be read (RFC 9110
/// section 6.5.1).
pub fn may_be_trailer(name: &[u8]) -> bool {
    const NEVER: [&str; 22] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "location",
        "max-forwards",
        "proxy-authenticate",
        "proxy-connection",
        "range",
        "retry-after",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "www-authenticate",
    ];
    !NEVER
        .iter()
        .any(|never| name.eq_ignore_ascii_case(never.as_bytes()))
}

/// The fields of one message: lines that point into the bytes they were read from.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Bytes,
    lines: Vec<Line>,
}

impl Fields {
    /// Fields at `lines` of `bytes`.
    ///
    /// Returns nothing when a line points outside of `bytes` (a peer process could send that).
    pub fn new(bytes: Bytes, lines: Vec<Line>) -> Option<Self> {
        let inside = |span: Span| span.start <= span.end && span.end as usize <= bytes.len();
        if lines
            .iter()
            .all(|line| inside(line.name) && inside(line.value))
        {
            Some(Fields { bytes, lines })
        } else {
            None
        }
    }

    /// Fields from names and values in order.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        let mut put = |part: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(part);
            Span {
                start,
                end: bytes.len() as u32,
            }
        };
        for (name, value) in pairs {
            let name = put(name.as_ref());
            let value = put(value.as_ref());
            lines.push(Line { name, value });
        }
        Fields {
            bytes: bytes.into(),
            lines,
        }
    }

    /// Appends bytes to those that the lines point into, for other parts of the message.
    pub fn append(&mut self, more: &[u8]) -> Span {
        let mut bytes = Vec::with_capacity(self.bytes.len() + more.len());
        bytes.extend_from_slice(&self.bytes);
        let start = bytes.len() as u32;
        bytes.extend_from_slice(more);
        let end = bytes.len() as u32;
        self.bytes = bytes.into();
        Span { start, end }
    }

    /// The bytes that the lines point into.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The lines as offsets, in order.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Number of field lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is no field line.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Name and value of each line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            (
                &self.bytes[line.name.range()],
                &self.bytes[line.value.range()],
            )
        })
    }

    /// The values of all lines named `name`, whatever the case of its letters.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of the first line named `name`.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        let named = |line: &&Line| {
            let range = line.name.range();
            range.len() == name.len() && self.bytes[range].eq_ignore_ascii_case(name.as_bytes())
        };
        let line = self.lines.iter().find(named)?;
        Some(&self.bytes[line.value.range()])
    }

    /// Keeps only the lines for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let bytes = &self.bytes;
        self.lines
            .retain(|line| keep(&bytes[line.name.range()], &bytes[line.value.range()]));
    }

    /// Puts in each line's place what `rewrite` makes of it, or drops it. One that would leave the bytes is dropped, too.
    pub fn rewrite(&mut self, mut rewrite: impl FnMut(&[u8], Line) -> Option<Line>) {
        let (bytes, lines) = (&self.bytes, std::mem::take(&mut self.lines));
        let inside = |span: Span| span.start <= span.end && span.end as usize <= bytes.len();
        self.lines = lines
            .into_iter()
            .filter_map(|line| rewrite(bytes, line))
            .filter(|line| inside(line.name) && inside(line.value))
            .collect();
    }
}

/// The non-empty members of a comma-separated list, without the white space around them.
pub fn list_members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&b| b == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// The number that is written as one row of digits, with nothing before, after or between them.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// The length of content that these fields of a response announce. Nothing where there is none, where they contradict each
/// other, and where a transfer coding frames the content.
pub fn announced_length(fields: &[(&[u8], &[u8])]) -> Option<u64> {
    let mut announced = None;
    for (name, value) in fields {
        let value = value.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value)?;
            if announced.is_some_and(|other| other != length) {
                return None;
            }
            announced = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding")
            && !value.is_empty()
            && !value.eq_ignore_ascii_case(b"identity")
        {
            return None;
        }
    }
    announced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_announced_by_its_field_alone() {
        type Pairs = &'static [(&'static str, &'static str)];
        let table: &[(Pairs, Option<u64>)] = &[
            (&[("A", "1"), ("content-LENGTH", " 5 ")], Some(5)),
            (&[("Content-Length", "5"), ("Content-Length", "5")], Some(5)),
            (&[("Content-Length", "5"), ("Content-Length", "6")], None),
            (&[("Content-Length", "five")], None),
            (
                &[("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
                None,
            ),
            (
                &[("Transfer-Encoding", "identity"), ("Content-Length", "5")],
                Some(5),
            ),
            (&[], None),
        ];
        for &(pairs, length) in table {
            let fields: Vec<_> = pairs
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect();
            assert_eq!(announced_length(&fields), length, "{pairs:?}");
        }
    }

    #[test]
    fn pairs_keep_order_case_and_repetition() {
        let fields =
            Fields::from_pairs([("Set-Cookie", "a=1"), ("X-y", ""), ("set-cookie", "b=2")]);
        let names: Vec<_> = fields.iter().map(|(n, _)| n.to_vec()).collect();
        assert_eq!(names, [&b"Set-Cookie"[..], b"X-y", b"set-cookie"]);
        assert_eq!(
            fields.all("SET-COOKIE").collect::<Vec<_>>(),
            [b"a=1", b"b=2"]
        );
        assert_eq!(fields.first("x-Y"), Some(&b""[..]));
    }

    #[test]
    fn a_line_outside_the_bytes_is_refused() {
        let line = Line {
            name: Span { start: 0, end: 2 },
            value: Span { start: 2, end: 9 },
        };
        assert!(Fields::new(Bytes::from_static(b"abc"), vec![line]).is_none());
        let backwards = Line {
            name: Span { start: 2, end: 1 },
            value: Span { start: 0, end: 0 },
        };
        assert!(Fields::new(Bytes::from_static(b"abc"), vec![backwards]).is_none());
    }

    #[test]
    fn list_membership_ignores_case_space_and_empty_members() {
        let fields = Fields::from_pairs([
            ("Connection", "keep-alive ,, Upgrade"),
            ("connection", "TE"),
        ]);
        let members: Vec<_> = fields
            .all("connection")
            .flat_map(list_members)
            .map(<[u8]>::to_ascii_lowercase)
            .collect();
        assert!(members.contains(&b"upgrade".to_vec()) && members.contains(&b"te".to_vec()));
    }

    #[test]
    fn decimals_are_digits_only() {
        for (text, value) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("99999999999999999999999", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1 ", None),
            ("1_0", None),
            ("0x1", None),
        ] {
            assert_eq!(decimal(text.as_bytes()), value, "{text}");
        }
    }
}
