//! Ranges: what is selected lies inside the representation, in order, and is never longer than it.

use gepok::semantics::field::Fields;
use gepok::semantics::range::{MOST_RANGES, Selected, select};

/// The length of the representation in decimal, a line feed, then the value of Range.
pub fn check(data: &[u8]) {
    let mut lines = data.splitn(2, |&b| b == b'\n');
    let length = std::str::from_utf8(lines.next().unwrap_or_default());
    let Ok(complete) = length.unwrap_or_default().parse::<u64>() else {
        return;
    };
    let value = lines.next().unwrap_or_default();
    let fields = Fields::from_pairs([(&b"Range"[..], value)]);
    let ranges = match select(&fields, complete) {
        Selected::Whole | Selected::Unsatisfiable => return,
        Selected::One(range) => vec![range],
        Selected::Several(ranges) => {
            assert!(ranges.len() > 1);
            ranges
        }
    };
    assert!(ranges.len() <= MOST_RANGES);
    let mut before = 0;
    for range in ranges {
        assert!(before <= range.first && range.first < range.end && range.end <= complete);
        assert!(range.length() > 0);
        before = range.end;
    }
    // Blanks around a value are not part of it.
    assert!(value.trim_ascii()[..5].eq_ignore_ascii_case(b"bytes"));
}
