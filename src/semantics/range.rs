//! Range requests: which bytes of a representation a client wants (RFC 9110 section 14).

use super::field::Fields;

/// The most ranges that one response serves.
pub const MOST_RANGES: usize = 16;

/// Bytes of a representation: from `first` on, before `end`. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// Position of the first byte.
    pub first: u64,
    /// Position after the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes.
    pub fn length(self) -> u64 {
        self.end - self.first
    }

    /// The value of Content-Range, in a representation of `complete` bytes (RFC 9110 section 14.4).
    pub fn content_range(self, complete: u64) -> String {
        format!("bytes {}-{}/{complete}", self.first, self.end - 1)
    }
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// All: no range was asked for, or the set is one that a server need not serve.
    Whole,
    /// One range, as 206.
    One(ByteRange),
    /// Two or more ranges, as multipart/byteranges.
    Several(Vec<ByteRange>),
    /// None of the ranges is there: 416.
    Unsatisfiable,
}

/// What the Range field of a GET request selects from a representation of `complete` bytes.
///
/// Another unit than bytes is ignored, as is a second Range line. An invalid set is unsatisfiable, as in nginx. Sets that cost more
/// than they save get the whole representation: more than [`MOST_RANGES`] ranges, ranges that overlap or are out
/// of order, and sets that are together longer than the representation.
pub fn select(fields: &Fields, complete: u64) -> Selected {
    let mut values = fields.all("range");
    let (Some(value), None) = (values.next(), values.next()) else {
        return Selected::Whole;
    };
    let Some(set) = byte_range_set(value) else {
        return Selected::Whole;
    };
    let mut ranges: Vec<ByteRange> = Vec::new();
    let mut count = 0usize;
    let mut orderly = true;
    for spec in set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        // An empty member of a list is no member (RFC 9110 section 5.6.1).
        if spec.is_empty() {
            continue;
        }
        count += 1;
        match Spec::parse(spec).map(|spec| spec.of(complete)) {
            None => return Selected::Unsatisfiable,
            Some(Of::All) => return Selected::Whole,
            Some(Of::Nothing) => {}
            Some(Of::Range(range)) => {
                orderly &= ranges.last().is_none_or(|last| last.end <= range.first);
                // What is not orderly is not served: no more need to be kept.
                if ranges.len() < MOST_RANGES {
                    ranges.push(range);
                }
            }
        }
    }
    if count > MOST_RANGES || !orderly {
        return Selected::Whole;
    }
    match ranges[..] {
        [] => Selected::Unsatisfiable,
        [range] => Selected::One(range),
        _ => Selected::Several(ranges),
    }
}

/// What follows `bytes=`, whatever its case.
fn byte_range_set(value: &[u8]) -> Option<&[u8]> {
    let (unit, set) = value.split_at(value.iter().position(|&byte| byte == b'=')?);
    unit.trim_ascii()
        .eq_ignore_ascii_case(b"bytes")
        .then_some(&set[1..])
}

/// One range as it was asked for.
#[derive(Clone, Copy, Debug)]
enum Spec {
    /// From a first position to a last one, or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Suffix(u64),
}

/// What a range is in a representation.
enum Of {
    All,
    Nothing,
    Range(ByteRange),
}

impl Spec {
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|&byte| byte == b'-')?;
        let first = spec[..dash].trim_ascii();
        let last = spec[dash + 1..].trim_ascii();
        match (first.is_empty(), last.is_empty()) {
            (true, true) => None,
            (true, false) => Some(Spec::Suffix(position(last)?)),
            (false, true) => Some(Spec::From(position(first)?, None)),
            (false, false) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Spec::From(first, Some(last)))
            }
        }
    }

    fn of(self, complete: u64) -> Of {
        let (first, end) = match self {
            // An empty representation has no range that could be named, but all of it can be sent.
            Spec::From(0, _) | Spec::Suffix(1..) if complete == 0 => return Of::All,
            Spec::From(first, last) => {
                let end = last.map_or(complete, |last| last.saturating_add(1).min(complete));
                (first, end)
            }
            Spec::Suffix(length) => (complete.saturating_sub(length), complete),
        };
        match first < end {
            true => Of::Range(ByteRange { first, end }),
            false => Of::Nothing,
        }
    }
}

/// A row of digits; a number that is too large is as large as can be.
fn position(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(value.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn selected(value: &str, complete: u64) -> Selected {
        select(&Fields::from_pairs([("Range", value)]), complete)
    }

    #[test]
    fn sets_select_bytes() {
        use Selected::*;
        let range = |first, end| ByteRange { first, end };
        let cases = [
            ("bytes=0-0", 10, One(range(0, 1))),
            ("bytes=0-", 10, One(range(0, 10))),
            ("Bytes=2-4", 10, One(range(2, 5))),
            ("bytes= 2 - 4 ", 10, One(range(2, 5))),
            ("bytes=9-99", 10, One(range(9, 10))),
            ("bytes=10-", 10, Unsatisfiable),
            ("bytes=-3", 10, One(range(7, 10))),
            ("bytes=-30", 10, One(range(0, 10))),
            ("bytes=-0", 10, Unsatisfiable),
            ("bytes=3-2", 10, Unsatisfiable),
            ("bytes=", 10, Unsatisfiable),
            ("bytes=-", 10, Unsatisfiable),
            ("bytes=a-b", 10, Unsatisfiable),
            ("bytes=1", 10, Unsatisfiable),
            ("bytes=0-1,x", 10, Unsatisfiable),
            ("bytes=+1-2", 10, Unsatisfiable),
            ("bytes=0-1,4-5", 10, Several(vec![range(0, 2), range(4, 6)])),
            (
                "bytes=0-1, ,4-5,",
                10,
                Several(vec![range(0, 2), range(4, 6)]),
            ),
            ("bytes=0-1,2-3", 10, Several(vec![range(0, 2), range(2, 4)])),
            ("bytes=0-1,20-30", 10, One(range(0, 2))),
            ("bytes=20-30,40-50", 10, Unsatisfiable),
            ("bytes=4-5,0-1", 10, Whole),
            ("bytes=0-5,5-6", 10, Whole),
            ("bytes=0-,0-", 10, Whole),
            ("items=0-1", 10, Whole),
            ("bytes", 10, Whole),
            ("", 10, Whole),
            ("bytes=0-18446744073709551615", 10, One(range(0, 10))),
            ("bytes=0-99999999999999999999999", 10, One(range(0, 10))),
            ("bytes=99999999999999999999999-", 10, Unsatisfiable),
            ("bytes=-99999999999999999999999", 10, One(range(0, 10))),
            ("bytes=0-", 0, Whole),
            ("bytes=-5", 0, Whole),
            ("bytes=-0", 0, Unsatisfiable),
            ("bytes=5-", 0, Unsatisfiable),
            ("bytes=0-0", u64::MAX, One(range(0, 1))),
            ("bytes=-1", u64::MAX, One(range(u64::MAX - 1, u64::MAX))),
        ];
        for (value, complete, expected) in cases {
            assert_eq!(selected(value, complete), expected, "{value} of {complete}");
        }
    }

    #[test]
    fn there_is_a_most() {
        let set = |count: u64| {
            let specs: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * 2)).collect();
            selected(&format!("bytes={}", specs.join(",")), 1000)
        };
        assert!(matches!(set(16), Selected::Several(ranges) if ranges.len() == 16));
        assert_eq!(set(17), Selected::Whole);
        assert_eq!(set(400), Selected::Whole);
    }

    #[test]
    fn two_lines_are_ignored() {
        let fields = Fields::from_pairs([("Range", "bytes=0-1"), ("Range", "bytes=2-3")]);
        assert_eq!(select(&fields, 10), Selected::Whole);
        assert_eq!(select(&Fields::default(), 10), Selected::Whole);
    }

    proptest! {
        /// Whatever is asked for, what is selected lies inside, ascends and is not longer than the whole.
        #[test]
        fn selected_ranges_lie_inside(value in "bytes=[0-9, -]{0,40}", complete in 0u64..200) {
            let ranges = match selected(&value, complete) {
                Selected::Whole | Selected::Unsatisfiable => return Ok(()),
                Selected::One(range) => vec![range],
                Selected::Several(ranges) => ranges,
            };
            let mut before = 0;
            for range in &ranges {
                prop_assert!(before <= range.first && range.first < range.end && range.end <= complete);
                before = range.end;
            }
            prop_assert!(ranges.len() <= MOST_RANGES);
        }
    }
}
