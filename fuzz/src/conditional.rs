//! Preconditions: their order holds, and entity tags are parts of the list they come from.

use gepok::semantics::conditional::{Outcome, Validators, entity_tags, evaluate};
use gepok::semantics::field::Fields;

const CONDITIONS: [&str; 5] = [
    "If-Match",
    "If-Unmodified-Since",
    "If-None-Match",
    "If-Modified-Since",
    "If-Range",
];

/// Lines of which each is a digit, which condition, and its value. The representation's tag is `"a"`, its date the
/// one that RFC 9110 uses.
pub fn check(data: &[u8]) {
    let lines = data.split(|&b| b == b'\n').filter_map(|line| {
        let (number, value) = line.split_first()?;
        let name = CONDITIONS.get(usize::from(number.checked_sub(b'0')?))?;
        Some((*name, value))
    });
    let fields = Fields::from_pairs(lines);
    for value in fields.iter().map(|(_, value)| value) {
        for tag in entity_tags(value) {
            assert!(tag.ends_with(b"\"") && tag.iter().filter(|&&b| b == b'"').count() == 2);
            assert!(value.windows(tag.len()).any(|part| part == tag));
            // A tag alone is a list of that tag.
            assert!(entity_tags(tag).eq([tag]));
        }
    }
    let validators = Validators {
        etag: Some(b"\"a\""),
        last_modified: Some(784_111_777),
    };
    let outcome = evaluate(&fields, &validators, 1_000_000_000);
    let has = |name| fields.first(name).is_some();
    match outcome {
        Outcome::Failed => assert!(has("if-match") || has("if-unmodified-since")),
        Outcome::NotModified => assert!(has("if-none-match") || has("if-modified-since")),
        Outcome::PerformWhole => assert!(has("if-range")),
        Outcome::Perform => {}
    }
    // With a stronger condition the weaker one of its kind says nothing (RFC 9110 section 13.2.2).
    let mut fewer = fields.clone();
    fewer.retain(|name, _| {
        !(name == b"If-Unmodified-Since" && has("if-match")
            || name == b"If-Modified-Since" && has("if-none-match"))
    });
    assert_eq!(evaluate(&fewer, &validators, 1_000_000_000), outcome);
}
