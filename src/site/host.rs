//! One virtual host: its redirects, its rules of access, its files.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::homes::Homes;
use super::mappings::Mappings;
use super::rules::Rules;
use super::{Decision, Responder};
use crate::documents::Files;
use crate::semantics::access::{Facts, Verdict};
use crate::semantics::code::{Code, Known, Question};
use crate::semantics::mapping::{Mapping, Redirect};
use crate::semantics::message::{RequestHead, VirtualHost};
use crate::semantics::source::Source;
use crate::semantics::target::{Target, decode_path};

/// A virtual host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// What the app learns of it.
    pub(super) vhost: Rc<VirtualHost>,
    /// With the status of each.
    pub(super) redirects: Mappings<u16>,
    pub(super) rewrites: Mappings<()>,
    pub(super) rules: Rules,
    /// What code of the program decides.
    pub(super) code: Option<Code>,
    pub(super) files: Option<Rc<Files>>,
    /// The directories of the system's users.
    pub(super) homes: Option<Rc<Homes>>,
    /// The paths of the pages of errors, by their statuses.
    pub(super) error_pages: BTreeMap<u16, String>,
    /// Bytes of content that a request may have, where that is another limit than the server's.
    pub(super) max_content: Option<u64>,
}

/// What a host does with a request, before it looks at files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To another place.
    Redirect(u16, Vec<u8>),
    /// The client may not come here.
    Forbidden,
    /// That depends on the name of the client's host.
    NeedsName,
    /// That depends on code.
    /// It sees this target where that is another than the client's.
    Ask(Question, Option<Vec<u8>>),
    /// The host has it, for this target where it is another than the client's.
    Take(Option<Vec<u8>>),
}

pub(super) fn redirects(redirects: Vec<Redirect>) -> Mappings<u16> {
    let redirects = redirects.into_iter();
    redirects
        .map(|redirect| (redirect.mapping, redirect.status))
        .collect()
}

pub(super) fn rewrites(rewrites: Vec<Mapping>) -> Mappings<()> {
    rewrites.into_iter().map(|mapping| (mapping, ())).collect()
}

impl Host {
    /// Who answers a request for the directory of a user, if it is for one; nothing inside where that depends on
    /// the name of the client's host.
    pub(super) fn user(
        &self,
        head: &RequestHead,
        client: &Source,
        facts: &Facts,
    ) -> Option<Option<Decision>> {
        let homes = self.homes.as_ref()?;
        let user = Homes::user(head)?;
        let responder = match homes.rule().verdict(client, facts) {
            Verdict::Allowed => Responder::User(Rc::clone(homes), user),
            // No code can stand there.
            Verdict::Denied | Verdict::NeedsCode => Responder::Refusal(403),
            Verdict::NeedsName => return Some(None),
        };
        Some(Some(Decision::Server(responder)))
    }

    /// What is to be done with a request before files are looked at; so much is known of it.
    pub(super) fn step(&self, head: &RequestHead, client: &Source, known: &Known) -> Step {
        let has_code = self.code.is_some();
        if !has_code
            && self.redirects.is_empty()
            && self.rewrites.is_empty()
            && self.rules.is_empty()
        {
            return Step::Take(None);
        }
        // Heads whose target can't be read are refused before.
        let Ok(target) = Target::parse(head.method(), head.target()) else {
            return Step::Take(None);
        };
        if let Some((place, &status)) = self.redirects.find(target.path, target.query) {
            return Step::Redirect(status, place);
        }
        // Once: what it is rewritten to is not looked up again.
        let rewritten = self.rewrites.find(target.path, target.query);
        let mut rewritten = rewritten.map(|(place, ())| place);
        let rewrites = self.code.as_ref().is_some_and(|code| code.rewrite);
        if rewrites && rewritten.is_none() {
            match &known.rewritten {
                None => return Step::Ask(Question::Rewrite, None),
                Some(place) => rewritten = place.clone().map(|place| with(place, target.query)),
            }
        }
        let path = match &rewritten {
            Some(place) => memchr::memchr(b'?', place).map_or(&place[..], |end| &place[..end]),
            None => target.path,
        };
        let question = match self.rules.verdict(path, client, &known.client) {
            Verdict::Allowed => self.place(path, known),
            Verdict::NeedsName => return Step::NeedsName,
            Verdict::NeedsCode => Some(Question::Rules(self.rules.code(path))),
            Verdict::Denied => return Step::Forbidden,
        };
        let rewritten = rewritten.map(|place| match target.authority {
            Some(authority) => [b"http://", authority, &place].concat(),
            None => place,
        });
        match question {
            Some(question) => Step::Ask(question, rewritten),
            None => Step::Take(rewritten),
        }
    }

    /// The handler of this path, or the code that finds the files there.
    fn place(&self, path: &[u8], known: &Known) -> Option<Question> {
        let code = self.code.as_ref()?;
        let decoded = decode_path(path).ok()?;
        let is_it = |handler: &&String| handler.as_bytes() == &decoded[..];
        if let Some(handler) = code.handlers.iter().find(is_it) {
            return Some(Question::Handler(handler.clone()));
        }
        // What has several readings has no place there.
        let mut parts = decoded
            .split(|&byte| matches!(byte, b'/' | b'\\' | 0))
            .skip(1);
        let is_plain = !decoded.contains(&0) && !decoded.contains(&b'\\');
        if known.has_no_location || !is_plain || parts.any(|part| part == b"." || part == b"..") {
            return None;
        }
        let is_below = |location: &&String| {
            let rest = decoded.strip_prefix(location.trim_end_matches('/').as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let locations = code.locations.iter().filter(is_below);
        let longest = locations.max_by_key(|location| location.len());
        longest.map(|location| Question::Location(location.clone()))
    }
}

/// A place with the query of the request, unless it has one.
fn with(mut place: Vec<u8>, query: &[u8]) -> Vec<u8> {
    if !query.is_empty() && !place.contains(&b'?') {
        place.push(b'?');
        place.extend_from_slice(query);
    }
    place
}

#[cfg(test)]
impl Host {
    pub(super) fn named(name: &str) -> Self {
        let vhost = VirtualHost {
            name: name.to_owned().into(),
            ..VirtualHost::default()
        };
        Host {
            vhost: Rc::new(vhost),
            ..Host::default()
        }
    }

    pub(super) fn name(&self) -> &str {
        std::str::from_utf8(&self.vhost.name).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::access::Rule;

    fn redirect(from: &str, to: &str) -> Redirect {
        let cut = |text: &str| text.strip_suffix("/*").map(str::to_owned);
        Redirect {
            mapping: Mapping {
                below: cut(from).is_some(),
                from: cut(from).unwrap_or(from.to_owned()),
                keeps_rest: cut(to).is_some(),
                to: cut(to).unwrap_or(to.to_owned()),
            },
            status: 307,
        }
    }

    /// Protects: a path is rewritten once, whatever it leads to, and the rule of what it leads to holds.
    #[test]
    fn paths_stand_for_others() {
        let mapping = |from, to| redirect(from, to).mapping;
        let all = vec![
            mapping("/", "/index-en.html"),
            mapping("/a/*", "/b/*"),
            mapping("/b/*", "/a/*"),
            mapping("/same", "/same"),
            mapping("/q", "/s?a=1"),
            mapping("/p", "/private/x"),
            mapping("/up/*", "/*"),
        ];
        let rules = Rules::new([(
            "/private".to_owned(),
            Rule {
                allow: Some(Vec::new()),
                deny: Vec::new(),
            },
        )]);
        let moved = vec![redirect("/a/moved", "/")];
        let host = Host {
            redirects: redirects(moved),
            rewrites: rewrites(all),
            rules,
            ..Host::default()
        };
        let client = Source::from(crate::semantics::source::Endpoints::Unix {
            pid: 1,
            uid: 1,
            gid: 1,
        });
        let take = |target: &str| Step::Take(Some(target.as_bytes().to_vec()));
        for (target, step) in [
            ("/", take("/index-en.html")),
            ("/?x=1", take("/index-en.html?x=1")),
            ("/a/x%20y?z", take("/b/x%20y?z")),
            ("/b/x", take("/a/x")),
            ("/same", take("/same")),
            ("/q?b", take("/s?a=1")),
            ("http://h:80/a/x", take("http://h:80/b/x")),
            ("/up//x", take("/x")),
            ("/a/moved", Step::Redirect(307, b"/".to_vec())),
            // What it stands for has a rule.
            ("/p", Step::Forbidden),
            ("/up/private", Step::Forbidden),
            ("/up/%70rivate/x?y", Step::Forbidden),
            ("/a/../private", Step::Forbidden),
            // Not rewritten.
            ("/a", Step::Take(None)),
            ("/other", Step::Take(None)),
            ("/private/x", Step::Forbidden),
        ] {
            let head = RequestHead::new("GET", target, &[]);
            assert_eq!(
                host.step(&head, &client, &Known::default()),
                step,
                "{target}"
            );
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
        let host = Host {
            redirects: redirects(all),
            ..Host::default()
        };
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
                "" => Step::Take(None),
                place => Step::Redirect(307, place.as_bytes().to_vec()),
            };
            assert_eq!(
                host.step(&head, &client, &Known::default()),
                step,
                "{target}"
            );
        }
        let head = RequestHead::new("OPTIONS", "*", &[]);
        assert_eq!(
            host.step(&head, &client, &Known::default()),
            Step::Take(None)
        );
    }
}
