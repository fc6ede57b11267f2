//! The path of a request, part by part.

use std::borrow::Cow;

use crate::semantics::target::{Target, decode_path};

/// The decoded parts of a path between its slashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    /// The parts, up to the first that no file can have.
    pub(super) names: Vec<Vec<u8>>,
    /// Whether it ends with a slash.
    pub(super) slash: bool,
    /// Whether all parts could name a file.
    pub(super) sound: bool,
}

impl Parts {
    /// The parts of this request target's path; nothing where it has none.
    pub(super) fn of(method: &[u8], target: &[u8]) -> Option<Self> {
        Parts::of_path(Target::parse(method, target).ok()?.path)
    }

    /// The parts of the path of a URL, which begins with a slash.
    pub(super) fn of_path(path: &[u8]) -> Option<Self> {
        // Decoded once and before anything looks at it: what is decoded has no second meaning.
        Parts::split(path, |name| decode_path(name).ok())
    }

    /// The parts of an absolute path of the file system.
    pub(super) fn of_plain(path: &[u8]) -> Option<Self> {
        Parts::split(path, |name| Some(Cow::Borrowed(name)))
    }

    fn split<'p>(
        path: &'p [u8],
        decode: impl Fn(&'p [u8]) -> Option<Cow<'p, [u8]>>,
    ) -> Option<Self> {
        let path = path.strip_prefix(b"/")?;
        let mut parts = Parts {
            sound: true,
            ..Parts::default()
        };
        let mut raw = path.split(|&byte| byte == b'/').peekable();
        while let Some(name) = raw.next() {
            if name.is_empty() && raw.peek().is_none() {
                parts.slash = true;
                break;
            }
            match decode(name) {
                Some(name) if is_name(&name) => parts.names.push(name.into_owned()),
                _ => {
                    parts.sound = false;
                    break;
                }
            }
        }
        Some(parts)
    }
}

/// Whether a file can have this name. `.` and `..` are resolved by clients (RFC 3986 section 5.2.4): here they name nothing.
fn is_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// Whether files of this name are not for everybody: those that begin with a dot, and the copies that editors leave. What is
/// meant for clients in spite of that is in `.well-known` (RFC 8615).
pub(crate) fn is_hidden(name: &[u8]) -> bool {
    name != b".well-known" && name.starts_with(b".") || name.len() > 1 && name.ends_with(b"~")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_apart() {
        for (target, names, slash, sound) in [
            ("/", &[][..], true, true),
            ("/a", &["a"], false, true),
            ("/a/", &["a"], true, true),
            ("/a/b%20c?q/..", &["a", "b c"], false, true),
            ("/%252e%252e/a", &["%2e%2e", "a"], false, true),
            ("/a//b", &["a"], false, false),
            ("//", &[], false, false),
            ("//a", &[], false, false),
            ("/a/../b", &["a"], false, false),
            ("/a/..", &["a"], false, false),
            ("/a/./b", &["a"], false, false),
            ("/%2e%2e/etc", &[], false, false),
            ("/.%2E/etc", &[], false, false),
            ("/a%2fb", &[], false, false),
            ("/a%2F..%2Fb", &[], false, false),
            ("/a/%00", &["a"], false, false),
            ("/a/%zz", &["a"], false, false),
            ("/..\\..\\a", &["..\\..\\a"], false, true),
            ("/...", &["..."], false, true),
            ("http://h/a", &["a"], false, true),
            ("http://h", &[], true, true),
        ] {
            let parts = Parts::of(b"GET", target.as_bytes()).unwrap();
            let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            let expected = Parts {
                names,
                slash,
                sound,
            };
            assert_eq!(parts, expected, "{target}");
        }
        assert_eq!(Parts::of(b"OPTIONS", b"*"), None);
        assert_eq!(Parts::of(b"CONNECT", b"h:1"), None);
    }

    #[test]
    fn some_names_are_hidden() {
        for (name, hidden) in [
            (".git", true),
            (".htaccess", true),
            ("a.txt~", true),
            (".well-known", false),
            ("a.b", false),
            ("~", false),
            ("~user", false),
        ] {
            assert_eq!(is_hidden(name.as_bytes()), hidden, "{name}");
        }
    }
}
