//! Conditional requests: validators, and the preconditions in their order (RFC 9110 sections 8.8 and 13).

use super::date;
use super::field::Fields;

/// What a representation is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validators<'a> {
    /// The entity tag as the field ETag has it, with its quotes.
    pub etag: Option<&'a [u8]>,
    /// The seconds of Last-Modified.
    pub last_modified: Option<i64>,
}

/// What the preconditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The request is performed; a Range field counts.
    Perform,
    /// The request is performed for the whole representation: If-Range has told that the client's part is of another one.
    PerformWhole,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// Evaluates the preconditions of a GET or HEAD request for a representation that exists, in the order of RFC 9110 section 13.2.2.
///
/// `now` is the time of the response. A date that is no date is ignored, as is one of which there are two.
pub fn evaluate(fields: &Fields, validators: &Validators<'_>, now: i64) -> Outcome {
    if let Some(matches) = matches_any(fields, "if-match", validators, strongly_equal) {
        if !matches {
            return Outcome::Failed;
        }
    } else if let Some(modified) = modified_since(fields, "if-unmodified-since", validators)
        && modified
    {
        return Outcome::Failed;
    }
    if let Some(matches) = matches_any(fields, "if-none-match", validators, weakly_equal) {
        if matches {
            return Outcome::NotModified;
        }
    } else if modified_since(fields, "if-modified-since", validators) == Some(false) {
        return Outcome::NotModified;
    }
    let mut values = fields.all("if-range");
    match (values.next(), values.next()) {
        (None, _) => Outcome::Perform,
        (Some(value), None) if is_same(value, validators, now) => Outcome::Perform,
        _ => Outcome::PerformWhole,
    }
}

/// Whether no If-None-Match field of the request lists the entity tag, compared as that field wants it: weakly.
pub fn is_none_match(fields: &Fields, etag: &[u8]) -> bool {
    let validators = Validators {
        etag: Some(etag),
        last_modified: None,
    };
    matches_any(fields, "if-none-match", &validators, weakly_equal) != Some(true)
}

/// Whether the condition `name` lists our entity tag, or `*`; nothing without such a field.
fn matches_any(
    fields: &Fields,
    name: &str,
    validators: &Validators<'_>,
    equal: fn(&[u8], &[u8]) -> bool,
) -> Option<bool> {
    let mut values = fields.all(name).peekable();
    values.peek()?;
    Some(values.any(|value| {
        value.trim_ascii() == b"*"
            || validators
                .etag
                .is_some_and(|etag| entity_tags(value).any(|tag| equal(tag, etag)))
    }))
}

/// Whether the representation is newer than the date of `name`; nothing where there is no such date or no Last-Modified.
fn modified_since(fields: &Fields, name: &str, validators: &Validators<'_>) -> Option<bool> {
    let mut values = fields.all(name);
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    Some(validators.last_modified? > date::parse(value)?)
}

/// Whether If-Range names this representation. Only strong validators can (RFC 9110 section 13.1.5).
fn is_same(value: &[u8], validators: &Validators<'_>, now: i64) -> bool {
    let value = value.trim_ascii();
    if value.ends_with(b"\"") {
        let etag = validators
            .etag
            .filter(|_| tag_length(value) == Some(value.len()));
        return etag.is_some_and(|etag| strongly_equal(value, etag));
    }
    // A date is strong where the representation can't have changed again within its second (RFC 9110 section 8.8.2.2).
    match (date::parse(value), validators.last_modified) {
        (Some(date), Some(modified)) => date == modified && modified < now,
        _ => false,
    }
}

/// The entity tags of a list; what is none is passed over.
pub fn entity_tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            let start = rest
                .iter()
                .position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
            rest = &rest[start..];
            let tag = tag_length(rest).map(|length| rest.split_at(length));
            // A tag is followed by a comma: anything else makes that member invalid.
            let (tag, after) = tag.unwrap_or((b"", rest));
            let comma = after.iter().position(|&byte| byte == b',');
            let end = comma.unwrap_or(after.len());
            let clean = after[..end].trim_ascii().is_empty();
            rest = &after[end..];
            if clean && !tag.is_empty() {
                return Some(tag);
            }
        }
    })
}

/// The length of the entity tag that `bytes` begin with (RFC 9110 section 8.8.3).
fn tag_length(bytes: &[u8]) -> Option<usize> {
    let opaque = bytes
        .strip_prefix(b"W/")
        .unwrap_or(bytes)
        .strip_prefix(b"\"")?;
    let end = opaque.iter().position(|&byte| byte == b'"')?;
    let valid = opaque[..end]
        .iter()
        .all(|&byte| byte > b' ' && byte != 0x7f);
    valid.then(|| bytes.len() - opaque.len() + end + 1)
}

fn strongly_equal(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

fn weakly_equal(a: &[u8], b: &[u8]) -> bool {
    opaque(a) == opaque(b)
}

/// The tag without the mark of weakness.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const MODIFIED: i64 = 784_111_777;
    const NOW: i64 = MODIFIED + 100;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn outcome(pairs: Pairs<'_>, etag: Option<&str>, last_modified: Option<i64>) -> Outcome {
        let validators = Validators {
            etag: etag.map(str::as_bytes),
            last_modified,
        };
        evaluate(&Fields::from_pairs(pairs.iter().copied()), &validators, NOW)
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn preconditions_in_their_order() {
        use Outcome::*;
        let cases: &[(Pairs<'_>, Outcome)] = &[
            (&[], Perform),
            (&[("If-Match", "\"a\"")], Perform),
            (&[("If-Match", "*")], Perform),
            (&[("If-Match", "\"b\", \"a\"")], Perform),
            (&[("If-Match", "\"b\""), ("If-Match", "\"a\"")], Perform),
            (&[("If-Match", "\"b\"")], Failed),
            (&[("If-Match", "W/\"a\"")], Failed),
            (&[("If-Match", "a")], Failed),
            (&[("If-Match", "")], Failed),
            (&[("If-Unmodified-Since", BEFORE)], Failed),
            (&[("If-Unmodified-Since", SAME)], Perform),
            (&[("If-Unmodified-Since", AFTER)], Perform),
            (&[("If-Unmodified-Since", "yesterday")], Perform),
            (&[("If-Match", "\"a\""), ("If-Unmodified-Since", BEFORE)], Perform),
            (&[("If-None-Match", "\"a\"")], NotModified),
            (&[("If-None-Match", "W/\"a\"")], NotModified),
            (&[("If-None-Match", "\"x,y\" , \"a\"")], NotModified),
            (&[("If-None-Match", "*")], NotModified),
            (&[("If-None-Match", "\"b\"")], Perform),
            (&[("If-None-Match", "\"a\" x, \"b\"")], Perform),
            (&[("If-None-Match", "\"b\""), ("If-Modified-Since", SAME)], Perform),
            (&[("If-None-Match", "\"a\""), ("If-Modified-Since", BEFORE)], NotModified),
            (&[("If-Modified-Since", SAME)], NotModified),
            (&[("If-Modified-Since", AFTER)], NotModified),
            (&[("If-Modified-Since", BEFORE)], Perform),
            (&[("If-Modified-Since", "0")], Perform),
            (&[("If-Modified-Since", SAME), ("If-Modified-Since", SAME)], Perform),
            (&[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Failed),
            (&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], NotModified),
            (&[("If-Range", "\"a\"")], Perform),
            (&[("If-Range", "\"b\"")], PerformWhole),
            (&[("If-Range", "W/\"a\"")], PerformWhole),
            (&[("If-Range", SAME)], Perform),
            (&[("If-Range", AFTER)], PerformWhole),
            (&[("If-Range", BEFORE)], PerformWhole),
            (&[("If-Range", "nonsense")], PerformWhole),
            (&[("If-Range", "\"a\""), ("If-None-Match", "\"a\"")], NotModified),
        ];
        for (pairs, expected) in cases {
            assert_eq!(outcome(pairs, Some("\"a\""), Some(MODIFIED)), *expected, "{pairs:?}");
        }
    }

    #[test]
    fn without_validators_dates_and_tags_say_nothing() {
        assert_eq!(
            outcome(&[("If-Modified-Since", AFTER)], None, None),
            Outcome::Perform
        );
        assert_eq!(
            outcome(&[("If-Unmodified-Since", BEFORE)], None, None),
            Outcome::Perform
        );
        assert_eq!(
            outcome(&[("If-None-Match", "\"a\"")], None, None),
            Outcome::Perform
        );
        assert_eq!(
            outcome(&[("If-Match", "\"a\"")], None, None),
            Outcome::Failed
        );
        assert_eq!(outcome(&[("If-Match", "*")], None, None), Outcome::Perform);
        assert_eq!(
            outcome(&[("If-Range", SAME)], None, None),
            Outcome::PerformWhole
        );
    }

    /// A date names more than one representation while its second lasts.
    #[test]
    fn a_date_of_this_second_is_weak() {
        let fields = Fields::from_pairs([("If-Range", SAME)]);
        let validators = Validators {
            etag: None,
            last_modified: Some(MODIFIED),
        };
        assert_eq!(
            evaluate(&fields, &validators, MODIFIED),
            Outcome::PerformWhole
        );
        assert_eq!(
            evaluate(&fields, &validators, MODIFIED + 1),
            Outcome::Perform
        );
    }

    #[test]
    fn lists_of_tags_come_apart() {
        let tags = |list: &'static str| {
            let tags = entity_tags(list.as_bytes()).map(|tag| String::from_utf8_lossy(tag));
            tags.collect::<Vec<_>>().join("|")
        };
        for (list, found) in [
            ("", ""),
            ("\"a\"", "\"a\""),
            (" ,\"a\",, W/\"b\" ,", "\"a\"|W/\"b\""),
            ("\"a,b\",\"\"", "\"a,b\"|\"\""),
            ("a, \"b\"", "\"b\""),
            ("\"a", ""),
            ("w/\"a\"", ""),
            ("\"a\"\"b\",\"c\"", "\"c\""),
            ("\"a b\",\"c\"", "\"c\""),
        ] {
            assert_eq!(tags(list), found, "{list}");
        }
    }

    proptest! {
        /// A list of tags that a client joins comes apart into the same tags.
        #[test]
        fn joined_tags_are_found(tags in prop::collection::vec("(W/)?\"[!#-~]{0,8}\"", 0..8)) {
            let list = tags.join(", ");
            let found: Vec<_> = entity_tags(list.as_bytes()).map(<[u8]>::to_vec).collect();
            let tags: Vec<_> = tags.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(found, tags);
        }
    }
}
