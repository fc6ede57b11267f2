//! Tables of paths: which mapping has a path, and the place to which it leads.

use std::collections::HashMap;

use crate::semantics::mapping::Mapping;

/// Mappings with what belongs to each. A full path comes before `/*`, and a longer path before a shorter one.
#[derive(Debug)]
pub(super) struct Mappings<T> {
    exact: HashMap<Vec<u8>, (Mapping, T)>,
    below: HashMap<Vec<u8>, (Mapping, T)>,
}

impl<T> Default for Mappings<T> {
    fn default() -> Self {
        Mappings {
            exact: HashMap::new(),
            below: HashMap::new(),
        }
    }
}

impl<T> FromIterator<(Mapping, T)> for Mappings<T> {
    fn from_iter<I: IntoIterator<Item = (Mapping, T)>>(mappings: I) -> Self {
        let mut all = Mappings::default();
        for (mapping, with) in mappings {
            let table = match mapping.below {
                true => &mut all.below,
                false => &mut all.exact,
            };
            table.insert(mapping.from.clone().into_bytes(), (mapping, with));
        }
        all
    }
}

impl<T> Mappings<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.below.is_empty()
    }

    /// The place that this path stands for, with what belongs to the mapping.
    pub(super) fn find(&self, path: &[u8], query: &[u8]) -> Option<(Vec<u8>, &T)> {
        if let Some((mapping, with)) = self.exact.get(path) {
            return Some((place(mapping, b"", query), with));
        }
        if self.below.is_empty() {
            return None;
        }
        // From the longest prefix on that ends before a slash.
        let slashes = memchr::memchr_iter(b'/', path).rev();
        for at in slashes {
            if let Some((mapping, with)) = self.below.get(&path[..at]) {
                return Some((place(mapping, &path[at + 1..], query), with));
            }
        }
        None
    }
}

/// Where a mapping leads. The rest of a path can't name another host: it begins with no slash.
fn place(mapping: &Mapping, rest: &[u8], query: &[u8]) -> Vec<u8> {
    let mut place = mapping.to.clone().into_bytes();
    if mapping.keeps_rest {
        let slashes = rest
            .iter()
            .take_while(|byte| matches!(byte, b'/' | b'\\'))
            .count();
        place.push(b'/');
        place.extend_from_slice(&rest[slashes..]);
    }
    if !query.is_empty() && !mapping.to.contains('?') {
        let fragment = memchr::memchr(b'#', &place).unwrap_or(place.len());
        let rest = place.split_off(fragment);
        place.push(b'?');
        place.extend_from_slice(query);
        place.extend_from_slice(&rest);
    }
    place
}
