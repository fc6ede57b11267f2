//! Which virtual host has a request: by its name, by a domain that it is in, or because no other has it.

use std::collections::HashMap;
use std::rc::Rc;

use super::host::Host;

/// The longest host name (RFC 1035 section 2.3.4).
const LONGEST: usize = 255;

/// The hosts by their names.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Box<[u8]>, Rc<Host>>,
    /// By the domain with its dot: `.example.org`
    domains: HashMap<Box<[u8]>, Rc<Host>>,
    /// How many dots a domain has at most
    dots: usize,
    default: Option<Rc<Host>>,
}

impl Hosts {
    /// Adds a host with these names, in lower case.
    pub(super) fn add(&mut self, host: Host, names: &[String], default: bool) {
        let host = Rc::new(host);
        for name in names {
            let key = name.strip_prefix('*').unwrap_or(name);
            let bytes = Box::from(key.as_bytes());
            if key.len() < name.len() {
                let dots = key.bytes().filter(|&byte| byte == b'.').count();
                self.dots = self.dots.max(dots);
                self.domains.insert(bytes, Rc::clone(&host));
            } else {
                self.exact.insert(bytes, Rc::clone(&host));
            }
        }
        if default {
            self.default = Some(host);
        }
    }

    /// The host for `name[:port]` as a client has sent it.
    pub(super) fn find(&self, authority: &[u8]) -> Option<&Rc<Host>> {
        let mut buffer = [0; LONGEST];
        let found = lower(authority, &mut buffer).and_then(|name| {
            let exact = self.exact.get(name);
            exact.or_else(|| self.domain(name))
        });
        found.or(self.default.as_ref())
    }

    /// The host of the longest domain that the name is in.
    fn domain(&self, name: &[u8]) -> Option<&Rc<Host>> {
        if self.domains.is_empty() {
            return None;
        }
        // A name of many parts is looked up no more often than the longest domain has parts.
        let dots = memchr::memchr_iter(b'.', name).rev().take(self.dots);
        let mut found = None;
        for at in dots {
            // `.example.org` is in no domain.
            if at > 0 {
                found = self.domains.get(&name[at..]).or(found);
            }
        }
        found
    }
}

/// The name in lower case, without a port and without the dot at its end.
fn lower<'b>(authority: &[u8], buffer: &'b mut [u8; LONGEST]) -> Option<&'b [u8]> {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority)? + 1,
        _ => memchr::memchr(b':', authority).unwrap_or(authority.len()),
    };
    let name = &authority[..end];
    let name = name.strip_suffix(b".").unwrap_or(name);
    let lower = buffer.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    Some(lower)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn hosts(all: &[(&[&str], bool)]) -> Hosts {
        let mut hosts = Hosts::default();
        for (names, default) in all {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            hosts.add(Host::named(&names[0]), &names, *default);
        }
        hosts
    }

    #[test]
    fn a_name_leads_to_one_host() {
        let all: &[(&[&str], bool)] = &[
            (&["a.org", "www.a.org", "*.a.org"], false),
            (&["b.org", "*.deep.a.org", "[::1]"], false),
            (&["c.org"], true),
        ];
        let with_default = hosts(all);
        let without = hosts(&all[..2]);
        for (asked, name) in [
            ("a.org", Some("a.org")),
            ("A.ORG", Some("a.org")),
            ("a.org.", Some("a.org")),
            ("a.org:8080", Some("a.org")),
            ("a.org.:8080", Some("a.org")),
            ("www.a.org", Some("a.org")),
            ("x.a.org", Some("a.org")),
            ("x.y.z.a.org", Some("a.org")),
            ("deep.a.org", Some("a.org")),
            ("x.deep.a.org", Some("b.org")),
            ("x.y.deep.a.org", Some("b.org")),
            ("b.org", Some("b.org")),
            ("[::1]", Some("b.org")),
            ("[::1]:443", Some("b.org")),
            // Not known
            ("c.b.org", None),
            ("xa.org", None),
            (".a.org", None),
            ("org", None),
            ("a.org..", None),
            ("", None),
            (":80", None),
            ("[::2]", None),
            ("[::1", None),
        ] {
            let found = without.find(asked.as_bytes()).map(|host| host.name());
            assert_eq!(found, name, "{asked}");
            let found = with_default.find(asked.as_bytes()).map(|host| host.name());
            assert_eq!(found, name.or(Some("c.org")), "{asked}");
        }
        let long = format!("{}.a.org", "x".repeat(300));
        assert!(without.find(long.as_bytes()).is_none());
    }

    /// Protects: a request costs little, however many hosts there are. A microsecond is what an optimized build may take; others
    /// get fifty.
    #[test]
    fn ten_thousand_names_are_found_quickly() {
        let mut hosts = Hosts::default();
        let mut asked = Vec::new();
        for number in 0..500 {
            let mut names = vec![format!("host{number}.example.org")];
            names.extend((0..19).map(|alias| format!("alias{alias}.host{number}.example.net")));
            names.push(format!("*.host{number}.example.com"));
            asked.push(names[number % 20].clone());
            asked.push(format!("a.b.host{number}.example.com:8080"));
            hosts.add(Host::named(&names[0]), &names, false);
        }
        asked.push("unknown.example.org".to_owned());
        asked.push("x.".repeat(127));
        let rounds = 100;
        let begun = Instant::now();
        let mut found = 0;
        for _ in 0..rounds {
            for name in &asked {
                found += usize::from(hosts.find(name.as_bytes()).is_some());
            }
        }
        let each = begun.elapsed().as_nanos() / (rounds * asked.len()) as u128;
        assert_eq!(found, rounds * 1000);
        let most = if cfg!(debug_assertions) { 50_000 } else { 1000 };
        assert!(each <= most, "{each} ns for each");
    }

    /// Protects: the number of hosts does not count. What looks at each of them takes five hundred times as long.
    #[test]
    fn a_name_is_found_as_quickly_among_many() {
        let of = |count: usize| {
            let mut all = Hosts::default();
            for number in 0..count {
                let mut names = vec![format!("host{number}.example.org")];
                names.extend((0..19).map(|alias| format!("alias{alias}.host{number}.example.net")));
                names.push(format!("*.host{number}.example.com"));
                all.add(Host::named(&names[0]), &names, false);
            }
            all
        };
        let (few, many) = (of(1), of(500));
        let asked = [
            "alias7.host0.example.net",
            "a.host0.example.com",
            "unknown.org",
        ];
        // The best of many rounds: others may have the processor.
        let time = |hosts: &Hosts| {
            let round = || {
                let begun = Instant::now();
                for name in asked.iter().cycle().take(300) {
                    std::hint::black_box(hosts.find(name.as_bytes()));
                }
                begun.elapsed()
            };
            (0..50).map(|_| round()).min()
        };
        let (few, many) = (time(&few).unwrap(), time(&many).unwrap());
        assert!(
            many < few * 20,
            "{few:?} among 20 names, {many:?} among 10,000"
        );
    }
}
