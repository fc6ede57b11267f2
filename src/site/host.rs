//! One virtual host: its redirects, its rules of access, its files.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use super::rules::{Rules, Verdict};
use crate::documents::Files;
use crate::semantics::message::RequestHead;
use crate::semantics::source::Source;
use crate::semantics::target::Target;

/// A path that is somewhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The path, as clients send it.
    pub from: String,
    /// Whether all paths below it are meant, in place of it alone.
    pub below: bool,
    /// The status.
    pub status: u16,
    /// The place to go.
    pub to: String,
    /// Whether the rest of the path follows it.
    pub keeps_rest: bool,
}

/// A virtual host.
#[derive(Debug, Default)]
pub(super) struct Host {
    exact: HashMap<Vec<u8>, Redirect>,
    /// Those of all paths below one. The last of those that begin a path is the longest.
    below: BTreeMap<Vec<u8>, Redirect>,
    rules: Rules,
    pub(super) files: Option<Rc<Files>>,
    #[cfg(test)]
    name: String,
}

/// What a host does with a request, before it looks at files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To another place.
    Redirect(u16, Vec<u8>),
    /// The client may not come here.
    Forbidden,
    /// The host has it.
    Take,
}

impl Host {
    pub(super) fn new(redirects: Vec<Redirect>, rules: Rules, files: Option<Rc<Files>>) -> Self {
        let (below, exact): (Vec<_>, Vec<_>) =
            redirects.into_iter().partition(|redirect| redirect.below);
        let by_path = |redirect: Redirect| (redirect.from.clone().into_bytes(), redirect);
        Host {
            exact: exact.into_iter().map(by_path).collect(),
            below: below.into_iter().map(by_path).collect(),
            rules,
            files,
            #[cfg(test)]
            name: String::new(),
        }
    }

    /// What is to be done with a request before files are looked at.
    pub(super) fn step(&self, head: &RequestHead, client: &Source) -> Step {
        if self.exact.is_empty() && self.below.is_empty() && self.rules.is_empty() {
            return Step::Take;
        }
        // Heads whose target can't be read are refused before.
        let Ok(target) = Target::parse(head.method(), head.target()) else {
            return Step::Take;
        };
        if let Some((status, place)) = self.redirect(&target) {
            return Step::Redirect(status, place);
        }
        match self.rules.verdict(target.path, client) {
            Verdict::Allowed => Step::Take,
            Verdict::Denied => Step::Forbidden,
        }
    }

    fn redirect(&self, target: &Target<'_>) -> Option<(u16, Vec<u8>)> {
        if let Some(redirect) = self.exact.get(target.path) {
            return Some((redirect.status, place(redirect, b"", target.query)));
        }
        if self.below.is_empty() {
            return None;
        }
        // From the longest prefix on that ends before a slash.
        let slashes = memchr::memchr_iter(b'/', target.path).rev();
        for at in slashes {
            if let Some(redirect) = self.below.get(&target.path[..at]) {
                let rest = &target.path[at + 1..];
                return Some((redirect.status, place(redirect, rest, target.query)));
            }
        }
        None
    }
}

/// Where a redirect leads. The rest of a path can't name another host: it begins with no slash.
fn place(redirect: &Redirect, rest: &[u8], query: &[u8]) -> Vec<u8> {
    let mut place = redirect.to.clone().into_bytes();
    if redirect.keeps_rest {
        let slashes = rest
            .iter()
            .take_while(|byte| matches!(byte, b'/' | b'\\'))
            .count();
        place.push(b'/');
        place.extend_from_slice(&rest[slashes..]);
    }
    if !query.is_empty() && !redirect.to.contains('?') {
        let fragment = memchr::memchr(b'#', &place).unwrap_or(place.len());
        let rest = place.split_off(fragment);
        place.push(b'?');
        place.extend_from_slice(query);
        place.extend_from_slice(&rest);
    }
    place
}

#[cfg(test)]
impl Host {
    pub(super) fn named(name: &str) -> Self {
        Host {
            name: name.to_owned(),
            ..Host::default()
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(from: &str, to: &str) -> Redirect {
        let cut = |text: &str| text.strip_suffix("/*").map(str::to_owned);
        Redirect {
            below: cut(from).is_some(),
            from: cut(from).unwrap_or(from.to_owned()),
            status: 307,
            keeps_rest: cut(to).is_some(),
            to: cut(to).unwrap_or(to.to_owned()),
        }
    }

    #[test]
    fn paths_lead_elsewhere() {
        let all = vec![
            redirect("/news", "https://news.example.org/"),
            redirect("/old/*", "/new/*"),
            redirect("/old/deep/*", "/deeper/*"),
            redirect("/gone/*", "/"),
            redirect("/up/*", "/*"),
            redirect("/q", "/s?a=1"),
            redirect("/f", "/s#part"),
        ];
        let host = Host::new(all, Rules::default(), None);
        let client = Source::from(crate::semantics::source::Endpoints::Unix {
            pid: 1,
            uid: 1,
            gid: 1,
        });
        for (target, place) in [
            ("/news", "https://news.example.org/"),
            ("/news?x", "https://news.example.org/?x"),
            ("/old/", "/new/"),
            ("/old/a/b%20c?d=e", "/new/a/b%20c?d=e"),
            ("/old/deep/x", "/deeper/x"),
            ("/old/deeper/x", "/new/deeper/x"),
            ("/gone/x/y", "/"),
            ("/q?b=2", "/s?a=1"),
            ("/f?b=2", "/s?b=2#part"),
            ("http://h/old/x", "/new/x"),
            // No other host's.
            ("/up//evil.org", "/evil.org"),
            ("/up/\\/evil.org", "/evil.org"),
            ("/up/\\\\evil.org", "/evil.org"),
            ("/up///\\evil.org", "/evil.org"),
            // Not redirected.
            ("/old", ""),
            ("/older/x", ""),
            ("/news/", ""),
            ("/NEWS", ""),
        ] {
            let head = RequestHead::new("GET", target, &[]);
            let step = match place {
                "" => Step::Take,
                place => Step::Redirect(307, place.as_bytes().to_vec()),
            };
            assert_eq!(host.step(&head, &client), step, "{target}");
        }
        let head = RequestHead::new("OPTIONS", "*", &[]);
        assert_eq!(host.step(&head, &client), Step::Take);
    }
}
