//! What a client accepts: content codings and media types by their weights (RFC 9110 section 12).

use super::field::{Fields, list_members};

/// A weight in thousandths, from 0 to 1000.
type Weight = u16;

const FULL: Weight = 1000;

/// Which of several representations to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// That in the coding of this index.
    Coded(usize),
    /// The one without a coding.
    Identity,
    /// The client takes none of them: 406.
    None,
}

/// The weights that a request gives to content codings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codings {
    named: Vec<(Vec<u8>, Weight)>,
    others: Option<Weight>,
}

impl Codings {
    /// Those of the fields Accept-Encoding. A member whose weight is malformed is passed over.
    pub fn of(fields: &Fields) -> Self {
        let mut codings = Codings::default();
        for (name, weight) in fields
            .all("accept-encoding")
            .flat_map(list_members)
            .filter_map(|member| weighted(member, |_| true))
        {
            let name = name.to_ascii_lowercase();
            match name.as_slice() {
                b"*" => codings.others = codings.others.max(Some(weight)),
                b"x-gzip" => codings.named.push((b"gzip".to_vec(), weight)),
                _ => codings.named.push((name, weight)),
            }
        }
        codings
    }

    /// Whether some coding is accepted. Where none is, nobody need look for one.
    pub fn any(&self) -> bool {
        let named = self.named.iter();
        let mut weights = named.map(|(_, weight)| *weight).chain(self.others);
        weights.any(|weight| weight > 0)
    }

    /// The weight of a coding; 0 is not acceptable. A coding that is not named is not acceptable where the client names others.
    pub fn weight(&self, coding: &str) -> u16 {
        self.said(coding).or(self.others).unwrap_or(0)
    }

    /// The best of these codings that are there, the server's favourite first.
    pub fn choose<'c>(&self, codings: impl IntoIterator<Item = &'c str>) -> Choice {
        let identity = self.said("identity");
        let mut best: Option<(usize, Weight)> = None;
        for (index, coding) in codings.into_iter().enumerate() {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((index, weight));
            }
        }
        match best {
            // A client that names a coding alone would rather have it than none.
            Some((index, weight)) if identity.is_none_or(|identity| identity <= weight) => {
                Choice::Coded(index)
            }
            _ if identity.or(self.others) == Some(0) => Choice::None,
            _ => Choice::Identity,
        }
    }

    fn said(&self, coding: &str) -> Option<Weight> {
        let mut named = self.named.iter();
        let found = named.find(|(name, _)| name == coding.as_bytes());
        found.map(|(_, weight)| *weight)
    }
}

/// The index of the media type, of these that there are, that the request's Accept fields give the most weight; of equals the
/// first. Nothing where none is acceptable. Without the field all are.
pub fn media_type(fields: &Fields, offered: &[&str]) -> Option<usize> {
    media_type_of(fields, offered, |_| false)
}

/// The same, where a range counts that has parameters for which `keep` is true.
pub fn media_type_of(
    fields: &Fields,
    offered: &[&str],
    keep: impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    let mut ranges = fields.all("accept").flat_map(list_members).peekable();
    if ranges.peek().is_none() {
        return (!offered.is_empty()).then_some(0);
    }
    let ranges: Vec<_> = ranges
        .filter_map(|member| weighted(member, &keep))
        .collect();
    let weight = |offer: &str| {
        let matching = ranges
            .iter()
            .filter_map(|&(range, weight)| Some((specificity(range, offer.as_bytes())?, weight)));
        matching.max().map_or(0, |(_, weight)| weight)
    };
    let mut best = None;
    for (index, offer) in offered.iter().enumerate() {
        let weight = weight(offer);
        if weight > best.map_or(0, |(_, weight)| weight) {
            best = Some((index, weight));
        }
    }
    best.map(|(index, _)| index)
}

/// How closely a media range names this type; nothing where it does not.
fn specificity(range: &[u8], offer: &[u8]) -> Option<u8> {
    if range.eq_ignore_ascii_case(offer) {
        return Some(2);
    }
    if range == b"*/*" {
        return Some(0);
    }
    let kind = range.strip_suffix(b"*")?;
    let begins = offer
        .get(..kind.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(kind));
    (kind.ends_with(b"/") && begins).then_some(1)
}

/// A member's name and weight. Parameters before the weight make it another thing than the name says: `keep` tells whether it counts
/// nevertheless.
fn weighted(member: &[u8], keep: impl Fn(&[u8]) -> bool) -> Option<(&[u8], Weight)> {
    let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().filter(|name| !name.is_empty())?;
    for part in parts {
        match part {
            [b'q' | b'Q', b'=', value @ ..] => return Some((name, weight(value)?)),
            _ if keep(part) || part.is_empty() => {}
            _ => return None,
        }
    }
    Some((name, FULL))
}

/// A qvalue (RFC 9110 section 12.4.2).
fn weight(value: &[u8]) -> Option<Weight> {
    let (whole, fraction) = match value {
        [whole] | [whole, b'.'] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut weight = match whole {
        b'0' => 0,
        b'1' => FULL,
        _ => return None,
    };
    let mut unit = FULL / 10;
    for digit in fraction {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        weight += Weight::from(digit) * unit;
        unit /= 10;
    }
    (weight <= FULL).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn codings(value: &str) -> Codings {
        Codings::of(&Fields::from_pairs([("Accept-Encoding", value)]))
    }

    #[test]
    fn codings_are_chosen_by_weight_then_by_the_servers_order() {
        use Choice::*;
        for (value, expected) in [
            ("", Identity),
            ("br", Coded(0)),
            ("gzip", Coded(2)),
            ("gzip, deflate, br, zstd", Coded(0)),
            ("gzip;q=0.5, zstd;q=0.7", Coded(1)),
            ("gzip;q=1.0, br;q=0.9", Coded(2)),
            ("GZIP", Coded(2)),
            ("x-gzip", Coded(2)),
            ("*", Coded(0)),
            ("*;q=0", None),
            ("br;q=0, *", Coded(1)),
            ("identity", Identity),
            ("identity;q=1, gzip;q=0.5", Identity),
            ("identity;q=0.5, gzip", Coded(2)),
            ("gzip, identity", Coded(2)),
            ("identity;q=0", None),
            ("identity;q=0, gzip", Coded(2)),
            ("*;q=0, identity", Identity),
            ("deflate", Identity),
            ("gzip;q=0", Identity),
            ("gzip;q=2", Identity),
            ("gzip;q=1.001", Identity),
            ("gzip;q=0.0001", Identity),
            ("gzip;q=x", Identity),
            ("gzip ; q=0.001", Coded(2)),
            ("gzip;foo=bar", Coded(2)),
            (",,;, ;q=1,gzip", Coded(2)),
        ] {
            let chosen = codings(value).choose(["br", "zstd", "gzip"]);
            assert_eq!(chosen, expected, "{value}");
        }
        assert_eq!(codings("br").choose([]), Identity);
        assert_eq!(codings("identity;q=0").choose([]), None);
        assert_eq!(Codings::of(&Fields::default()).choose(["br"]), Identity);
    }

    #[test]
    fn media_types_are_chosen_by_weight() {
        let offered = ["text/html", "application/json"];
        for (value, expected) in [
            ("", Some(0)),
            ("*/*", Some(0)),
            ("application/json", Some(1)),
            ("Application/JSON;q=0.1", Some(1)),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some(0)),
            ("application/*, text/html;q=0.9", Some(1)),
            ("text/*;q=0.5, */*;q=0.6", Some(1)),
            ("application/json;q=0, */*", Some(0)),
            ("*/*, text/html;q=0", Some(1)),
            ("image/png", None),
            ("application/json;version=2", None),
        ] {
            let fields = Fields::from_pairs([("Accept", value)]);
            assert_eq!(media_type(&fields, &offered), expected, "{value}");
        }
        assert_eq!(media_type(&Fields::default(), &offered), Some(0));
    }

    proptest! {
        /// What is chosen is one that the client accepts.
        #[test]
        fn a_chosen_coding_is_accepted(value in "((br|gzip|zstd|identity|\\*)(;q=[01](\\.[0-9]{0,3})?)?,? ?){0,5}") {
            let codings = codings(&value);
            let names = ["br", "zstd", "gzip"];
            if let Choice::Coded(index) = codings.choose(names) {
                let weight = codings.weight(names[index]);
                prop_assert!(weight > 0 && names.iter().all(|name| codings.weight(name) <= weight));
                prop_assert!(codings.any());
            }
        }
    }
}
