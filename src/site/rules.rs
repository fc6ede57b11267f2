//! Rules of access: who may come to a path and to what is below it. The rule of the longest path counts, however a client spells
//! the path.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::semantics::access::{Facts, Rule, Verdict};
use crate::semantics::source::Source;
use crate::semantics::target::hex_value;

/// The rules by the parts of their paths.
#[derive(Debug, Default)]
pub(super) struct Rules {
    root: Node,
    count: usize,
}

#[derive(Debug, Default)]
struct Node {
    rule: Option<Rule>,
    below: BTreeMap<Vec<u8>, Node>,
}

impl Rules {
    /// These rules. Of two with the same path the later one counts.
    pub(super) fn new(rules: impl IntoIterator<Item = (String, Rule)>) -> Self {
        let mut all = Rules::default();
        for (path, rule) in rules {
            let parts = path.split('/').filter(|part| !part.is_empty());
            let node = parts.fold(&mut all.root, |node, part| {
                node.below.entry(part.as_bytes().to_vec()).or_default()
            });
            node.rule = Some(rule);
            all.count += 1;
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a client of which this is known may come to the path of a request target. A path that an app may read in two ways
    /// has to be allowed in both.
    pub(super) fn verdict(&self, path: &[u8], client: &Source, facts: &Facts) -> Verdict {
        let rules = self.of(path).into_iter();
        let verdicts = rules.map(|rule| rule.verdict(client, facts));
        verdicts.max().unwrap_or(Verdict::Allowed)
    }

    /// The subroutines in the rules of a path.
    pub(super) fn code(&self, path: &[u8]) -> Vec<u16> {
        let rules = self.of(path).into_iter();
        let mut code: Vec<_> = rules.flat_map(Rule::code).collect();
        code.sort_unstable();
        code.dedup();
        code
    }

    /// The rules of a path: one for each way to read it.
    fn of(&self, path: &[u8]) -> Vec<&Rule> {
        let mut rules = Vec::new();
        if self.is_empty() {
            return rules;
        }
        let decoded = decoded(path);
        let mut resolved: Vec<&[u8]> = Vec::new();
        let mut climbs = false;
        // `%2F` and `\` are separators to some that read the path, and a zero byte is its end to others.
        for part in decoded.split(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            match part {
                b"" | b"." => {}
                b".." => {
                    // Those who do not resolve it see what precedes it.
                    rules.extend(self.rule(&resolved));
                    climbs = true;
                    resolved.pop();
                }
                part => resolved.push(part),
            }
        }
        rules.extend(self.rule(&resolved));
        if climbs || memchr::memchr2(b'\\', 0, &decoded).is_some() {
            let parts = decoded.split(|&byte| byte == b'/');
            let plain: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
            rules.extend(self.rule(&plain));
        }
        rules
    }

    /// The rule of the longest path.
    fn rule(&self, parts: &[&[u8]]) -> Option<&Rule> {
        let mut node = &self.root;
        let mut rule = node.rule.as_ref();
        for part in parts {
            let Some(below) = node.below.get(*part) else {
                break;
            };
            node = below;
            rule = node.rule.as_ref().or(rule);
        }
        rule
    }
}

/// A path whose percent-encoding is decoded, once, where it is well-formed.
fn decoded(path: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'%', path).is_none() {
        return Cow::Borrowed(path);
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let escaped = match rest {
            [b'%', high, low, ..] => hex_value(*high).zip(hex_value(*low)),
            _ => None,
        };
        rest = match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                &rest[3..]
            }
            None => {
                decoded.push(*first);
                tail
            }
        };
    }
    Cow::Owned(decoded)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::semantics::access::{Clients, HostName};
    use crate::semantics::source::Endpoints;

    fn clients(words: &str) -> Vec<Clients> {
        let address = |text: &str| text.parse().unwrap();
        let word = |word: &str| match (word, word.split_once('/'), word.split_once('-')) {
            ("all", ..) => Clients::All,
            ("unix:", ..) => Clients::Unix,
            (word, ..) if word.starts_with('.') => Clients::Domain(word.to_owned()),
            (word, ..) if word.ends_with(".org") => Clients::Host(word.to_owned()),
            (_, Some((network, bits)), _) => {
                Clients::Network(address(network), bits.parse().unwrap())
            }
            (_, _, Some((first, last))) => Clients::Range(address(first), address(last)),
            (word, ..) if word.contains(':') => Clients::Network(address(word), 128),
            (word, ..) => Clients::Network(address(word), 32),
        };
        words
            .split(' ')
            .filter(|word| !word.is_empty())
            .map(word)
            .collect()
    }

    fn rule(allow: &str, deny: &str) -> Rule {
        Rule {
            allow: (allow != "-").then(|| clients(allow)),
            deny: clients(deny),
        }
    }

    fn client(text: &str) -> Source {
        Source::from(match text {
            "unix" => Endpoints::Unix {
                pid: 1,
                uid: 2,
                gid: 3,
            },
            text => Endpoints::Ip {
                peer: (text.parse::<IpAddr>().unwrap(), 1).into(),
                local: (IpAddr::from([127, 0, 0, 1]), 2).into(),
            },
        })
    }

    #[test]
    fn any_of_allow_and_none_of_deny() {
        #[rustfmt::skip]
        let rows = [
            // allow, deny, those who may, those who may not
            ("-", "", "10.0.0.1 192.0.2.1 ::1 unix", ""),
            ("", "", "", "10.0.0.1 ::1 unix"),
            ("all", "", "10.0.0.1 ::1 unix", ""),
            ("-", "all", "", "10.0.0.1 ::1 unix"),
            ("all", "all", "", "10.0.0.1 ::1 unix"),
            ("unix:", "", "unix", "127.0.0.1 ::1"),
            ("-", "unix:", "127.0.0.1 ::1", "unix"),
            ("192.0.2.1", "", "192.0.2.1 ::ffff:192.0.2.1", "192.0.2.2 ::1 ::192.0.2.1 unix"),
            ("10.0.0.0/8", "", "10.0.0.0 10.255.255.255 ::ffff:10.1.2.3", "9.255.255.255 11.0.0.0 ::1 unix"),
            ("10.0.0.0/8", "10.9.0.0/16", "10.8.255.255 10.10.0.0", "10.9.0.0 10.9.255.255 ::ffff:10.9.1.1 11.0.0.1"),
            ("-", "10.9.0.0/16", "10.8.0.1 192.0.2.1 ::1 unix", "10.9.0.1 ::ffff:10.9.0.1"),
            ("10.0.0.0-10.3.255.255", "", "10.0.0.0 10.3.255.255 10.1.0.0 ::ffff:10.2.0.1", "9.255.255.255 10.4.0.0 ::1 unix"),
            ("10.0.0.5-10.0.0.5", "", "10.0.0.5", "10.0.0.4 10.0.0.6"),
            ("2001:db8::/32", "", "2001:db8::1 2001:db8:ffff::", "2001:db9::1 10.0.0.1 ::ffff:10.0.0.1 unix"),
            ("2001:db8::1-2001:db8::ff", "", "2001:db8::1 2001:db8::80 2001:db8::ff", "2001:db8:: 2001:db8::100 10.0.0.1"),
            ("0.0.0.0/0", "", "10.0.0.1 255.255.255.255 ::ffff:1.2.3.4", "::1 unix"),
            ("::/0", "", "::1 2001:db8::1", "10.0.0.1 ::ffff:10.0.0.1 unix"),
            ("::1 127.0.0.0/8 unix:", "127.0.0.2", "::1 127.0.0.1 127.255.0.1 unix", "127.0.0.2 ::2 128.0.0.1"),
            ("0.0.0.0-255.255.255.255", "", "0.0.0.0 255.255.255.255", "::1 unix"),
            ("10.0.0.0/31", "10.0.0.0/32", "10.0.0.1", "10.0.0.0 10.0.0.2"),
        ];
        let mut count = 0;
        for (allow, deny, may, may_not) in rows {
            let rules = Rules::new([("/".to_owned(), rule(allow, deny))]);
            for (clients, verdict) in [(may, Verdict::Allowed), (may_not, Verdict::Denied)] {
                for text in clients.split(' ').filter(|text| !text.is_empty()) {
                    let found = rules.verdict(b"/x", &client(text), &Facts::default());
                    assert_eq!(found, verdict, "allow {allow}, deny {deny}: {text}");
                    count += 1;
                }
            }
        }
        assert!(count >= 80, "{count}");
    }

    /// Protects: where a name decides and is not known, nobody comes in; where an address decides, no name is asked for.
    #[test]
    fn names_decide_where_addresses_do_not() {
        use Verdict::{Allowed, Denied, NeedsName};
        let name = |text: &str| match text {
            "?" => HostName::NotAsked,
            "!" => HostName::Unavailable,
            "-" => HostName::Known(None),
            name => HostName::Known(Some(name.into())),
        };
        let name = |text| Facts {
            name: name(text),
            code: None,
        };
        #[rustfmt::skip]
        let rows = [
            // allow, deny, address, name (?: not asked, !: not available, -: none), verdict
            ("www.a.org", "", "10.0.0.1", "?", NeedsName),
            ("www.a.org", "", "10.0.0.1", "!", Denied),
            ("www.a.org", "", "10.0.0.1", "-", Denied),
            ("www.a.org", "", "10.0.0.1", "www.a.org", Allowed),
            ("www.a.org", "", "::ffff:10.0.0.1", "www.a.org", Allowed),
            ("www.a.org", "", "10.0.0.1", "www.b.org", Denied),
            ("www.a.org", "", "10.0.0.1", "x.www.a.org", Denied),
            ("www.a.org", "", "10.0.0.1", "www.a.org.evil.org", Denied),
            ("www.a.org", "", "10.0.0.1", "wwwxa.org", Denied),
            ("www.a.org", "", "unix", "?", Denied),
            ("www.a.org", "", "unix", "www.a.org", Denied),
            (".a.org", "", "10.0.0.1", "?", NeedsName),
            (".a.org", "", "10.0.0.1", "!", Denied),
            (".a.org", "", "10.0.0.1", "www.a.org", Allowed),
            (".a.org", "", "10.0.0.1", "x.y.a.org", Allowed),
            (".a.org", "", "10.0.0.1", "a.org", Denied),
            (".a.org", "", "10.0.0.1", "bada.org", Denied),
            (".a.org", "", "10.0.0.1", "a.org.evil.com", Denied),
            (".a.org", "", "10.0.0.1", "-", Denied),
            // An address that is allowed needs no name, and one that is denied neither.
            ("10.0.0.0/8 .a.org", "", "10.0.0.1", "?", Allowed),
            ("10.0.0.0/8 .a.org", "", "10.0.0.1", "!", Allowed),
            ("10.0.0.0/8 .a.org", "", "192.0.2.1", "?", NeedsName),
            (".a.org", "10.0.0.0/8", "10.0.0.1", "?", Denied),
            (".a.org", "10.0.0.0/8", "10.0.0.1", "www.a.org", Denied),
            ("192.0.2.1", ".a.org", "10.0.0.1", "?", Denied),
            ("all", ".a.org", "10.0.0.1", "?", NeedsName),
            ("-", ".a.org", "10.0.0.1", "?", NeedsName),
            ("-", ".a.org", "10.0.0.1", "!", Denied),
            ("-", ".a.org", "10.0.0.1", "-", Allowed),
            ("-", ".a.org", "10.0.0.1", "www.a.org", Denied),
            ("-", ".a.org", "10.0.0.1", "www.b.org", Allowed),
            ("-", ".a.org", "unix", "?", Allowed),
            ("-", ".a.org a.org", "10.0.0.1", "a.org", Denied),
            (".a.org", "www.a.org", "10.0.0.1", "?", NeedsName),
            (".a.org", "www.a.org", "10.0.0.1", "www.a.org", Denied),
            (".a.org", "www.a.org", "10.0.0.1", "ftp.a.org", Allowed),
            (".a.org", "www.a.org", "10.0.0.1", "!", Denied),
            ("", ".a.org", "10.0.0.1", "?", Denied),
            ("unix: www.a.org", "", "unix", "?", Allowed),
            ("www.a.org .b.org", "", "2001:db8::1", "x.b.org", Allowed),
        ];
        for (allow, deny, address, host, verdict) in rows {
            let rules = Rules::new([("/".to_owned(), rule(allow, deny))]);
            let found = rules.verdict(b"/x", &client(address), &name(host));
            assert_eq!(
                found, verdict,
                "allow {allow}, deny {deny}: {address}, {host}"
            );
        }
        let mut hidden = client("10.0.0.1");
        hidden.certainty = crate::semantics::source::Certainty::Hidden;
        for (allow, deny, verdict) in [("www.a.org", "", Denied), ("-", "www.a.org", Allowed)] {
            let rules = Rules::new([("/".to_owned(), rule(allow, deny))]);
            assert_eq!(rules.verdict(b"/x", &hidden, &name("?")), verdict);
            assert_eq!(rules.verdict(b"/x", &hidden, &name("www.a.org")), verdict);
        }
    }

    /// Protects: of several readings of a path the one that refuses counts, before a name is asked for.
    #[test]
    fn each_reading_of_a_path_counts() {
        let rules = Rules::new([
            ("/named".to_owned(), rule("www.a.org", "")),
            ("/closed".to_owned(), rule("", "")),
        ]);
        let somebody = client("192.0.2.1");
        for (path, verdict) in [
            ("/x", Verdict::Allowed),
            ("/named/x", Verdict::NeedsName),
            ("/named/../x", Verdict::NeedsName),
            ("/x/../named", Verdict::NeedsName),
            ("/named/../closed", Verdict::Denied),
            ("/closed/../named", Verdict::Denied),
            ("/%6eamed", Verdict::NeedsName),
        ] {
            let found = rules.verdict(path.as_bytes(), &somebody, &Facts::default());
            assert_eq!(found, verdict, "{path}");
        }
    }

    /// Protects: no spelling of a path that leads to the same file or handler goes round its rule.
    #[test]
    fn a_rule_holds_for_every_spelling() {
        let none = || rule("", "");
        let rules = Rules::new([
            ("/private".to_owned(), none()),
            ("/private/open".to_owned(), rule("-", "")),
            ("/a/b c".to_owned(), none()),
            ("/dir/".to_owned(), none()),
        ]);
        #[rustfmt::skip]
        let denied = [
            "/private", "/private/", "/private/x", "/private?", "/private/x/y.html",
            "//private", "///private//x", "/./private", "/.//./private/.", "/x/../private", "/x/y/../../private/z",
            "/%70rivate", "/privat%65/x", "/%2e/private", "/%2E%2e/private", "/x/%2e%2e/private", "/x/.%2e/private",
            "/%2fprivate", "%2fprivate", "/x%2f..%2fprivate", "/private%2fx", "/private%2F..%2Fx", "/x/..%2fprivate",
            "/private/../x", "/private/open/../x", "/private/./x", "/private/%2e%2e/x", "/private//open/../x",
            "/\\private", "\\private", "/x\\..\\private", "/private\\x", "/private%5cx", "/%5cprivate",
            "/private%00", "/private/%00/open", "/private;x/../../private", "/private/%zz", "/../private", "/../../private",
            "/a/b%20c", "/a//b%20c/d", "/a/./b%20c", "/a/x/../b%20c", "/dir", "/dir/", "/dir/x", "//dir",
            "/private/open/..", "/private/open/../", "/private/open\\..\\x", "/private/open/%2e%2e/secret",
        ];
        #[rustfmt::skip]
        let allowed = [
            "/", "", "/privateer", "/privateer/x", "/xprivate", "/x/private", "/Private", "/private.html", "/privat",
            "/private/open", "/private/open/", "/private/open/x", "/private//open/x", "/private/./open", "/private/%6fpen",
            "/a", "/a/b", "/a/b+c", "/a/b%2520c", "/%2570rivate", "/dirt", "/di/r", "/private%20", "/private~",
        ];
        let somebody = client("192.0.2.1");
        for (paths, verdict) in [(&denied[..], Verdict::Denied), (&allowed, Verdict::Allowed)] {
            for path in paths {
                let path = path.split('?').next().unwrap_or_default();
                assert_eq!(
                    rules.verdict(path.as_bytes(), &somebody, &Facts::default()),
                    verdict,
                    "{path}"
                );
            }
        }
        assert!(denied.len() + allowed.len() >= 70);
    }
}
