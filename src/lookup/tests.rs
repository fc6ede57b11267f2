//! Lookups against resolvers that lie, fail and hang.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use super::*;

/// Answers by two tables.
struct Tables {
    names: Vec<(&'static str, &'static str)>,
    addresses: Vec<(&'static str, &'static str)>,
    asked: AtomicUsize,
    /// How long it takes for addresses in 192.0.2.0/24.
    slow: Duration,
}

impl Tables {
    fn new(
        names: &[(&'static str, &'static str)],
        addresses: &[(&'static str, &'static str)],
    ) -> Arc<Self> {
        Arc::new(Tables {
            names: names.to_vec(),
            addresses: addresses.to_vec(),
            asked: AtomicUsize::new(0),
            slow: Duration::from_millis(300),
        })
    }
}

impl Resolver for Tables {
    fn name(&self, address: IpAddr) -> io::Result<Option<String>> {
        self.asked.fetch_add(1, SeqCst);
        let text = address.to_string();
        if text.starts_with("192.0.2.") {
            thread::sleep(self.slow);
        }
        let found = self.names.iter().find(|(of, _)| *of == text);
        match found {
            Some((_, "fails")) => Err(io::Error::other("no server answers")),
            Some((_, "panics")) => panic!("as a broken module of the resolver"),
            other => Ok(other.map(|(_, name)| (*name).to_owned())),
        }
    }

    fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // As the system does it: an address is its own.
        if let Ok(address) = name.parse() {
            return Ok(vec![address]);
        }
        let found = self.addresses.iter().filter(|(of, _)| *of == name);
        if name == "fails.example.org" {
            return Err(io::Error::other("no server answers"));
        }
        Ok(found.map(|(_, address)| address.parse().unwrap()).collect())
    }
}

fn known(name: &str) -> HostName {
    HostName::Known(Some(name.into()))
}

fn limits() -> Limits {
    Limits {
        wait: Duration::from_secs(5),
        ..Limits::default()
    }
}

async fn name(lookup: &Lookup, address: &str) -> HostName {
    lookup.name(address.parse().unwrap()).await
}

/// Protects: nobody comes in by a name that he has given to his own address.
#[tokio::test]
async fn only_names_that_lead_back_count() {
    let long = "x.".repeat(130) + "org";
    let long: &'static str = Box::leak(long.into_boxed_str());
    let tables = Tables::new(
        &[
            ("10.0.0.1", "www.example.org"),
            ("10.0.0.2", "WWW2.Example.ORG."),
            ("10.0.0.3", "www.example.org"),
            ("10.0.0.4", "nowhere.example.org"),
            ("10.0.0.5", "10.0.0.5"),
            ("10.0.0.6", "10.0.0.1"),
            ("10.0.0.7", "167772167"),
            ("10.0.0.8", "0x0a000008"),
            ("10.0.0.9", "a..example.org"),
            ("10.0.0.10", "a b.example.org"),
            ("10.0.0.11", ""),
            ("10.0.0.12", "."),
            ("10.0.0.13", long),
            ("10.0.0.14", "fails"),
            ("10.0.0.15", "fails.example.org"),
            ("10.0.0.16", "many.example.org"),
            ("10.0.0.17", "host_17.example.org"),
            ("10.0.0.18", "www.example.org\0.evil.org"),
            ("10.0.0.19", "::a00:13"),
            ("2001:db8::1", "six.example.org"),
            ("2001:db8::2", "six.example.org"),
        ],
        &[
            ("www.example.org", "10.0.0.1"),
            ("www2.example.org", "::ffff:10.0.0.2"),
            ("many.example.org", "10.9.9.9"),
            ("many.example.org", "10.0.0.16"),
            ("host_17.example.org", "10.0.0.17"),
            ("six.example.org", "2001:db8::1"),
            ("167772167", "10.0.0.7"),
            ("0x0a000008", "10.0.0.8"),
            ("", "10.0.0.11"),
            (".", "10.0.0.12"),
            ("a b.example.org", "10.0.0.10"),
            ("a..example.org", "10.0.0.9"),
        ],
    );
    let lookup = Lookup::new(tables, limits());
    let none = || HostName::Known(None);
    for (address, found) in [
        ("10.0.0.1", known("www.example.org")),
        ("::ffff:10.0.0.1", known("www.example.org")),
        ("10.0.0.2", known("www2.example.org")),
        // Names of others
        ("10.0.0.3", none()),
        ("10.0.0.4", none()),
        // What is no name
        ("10.0.0.5", none()),
        ("10.0.0.6", none()),
        ("10.0.0.7", none()),
        ("10.0.0.8", none()),
        ("10.0.0.9", none()),
        ("10.0.0.10", none()),
        ("10.0.0.11", none()),
        ("10.0.0.12", none()),
        ("10.0.0.13", none()),
        ("10.0.0.18", none()),
        ("10.0.0.19", none()),
        // Nobody can tell
        ("10.0.0.14", HostName::Unavailable),
        ("10.0.0.15", HostName::Unavailable),
        ("10.0.0.16", known("many.example.org")),
        ("10.0.0.17", known("host_17.example.org")),
        ("10.0.0.99", none()),
        ("2001:db8::1", known("six.example.org")),
        ("2001:db8::2", none()),
    ] {
        assert_eq!(name(&lookup, address).await, found, "{address}");
    }
}

/// Protects: requests of one client ask once, also those that come while its name is looked up.
#[tokio::test]
async fn an_answer_is_shared_and_kept() {
    let tables = Tables::new(&[("192.0.2.1", "a.org")], &[("a.org", "192.0.2.1")]);
    let lookup = Lookup::new(Arc::<Tables>::clone(&tables), limits());
    let (first, second) = tokio::join!(name(&lookup, "192.0.2.1"), name(&lookup, "192.0.2.1"));
    assert_eq!((&first, &second), (&known("a.org"), &known("a.org")));
    assert_eq!(name(&lookup, "192.0.2.1").await, first);
    assert_eq!(tables.asked.load(SeqCst), 1);
    let short = Limits {
        life: Duration::ZERO,
        ..limits()
    };
    let lookup = Lookup::new(Arc::<Tables>::clone(&tables), short);
    name(&lookup, "192.0.2.1").await;
    name(&lookup, "192.0.2.1").await;
    assert_eq!(tables.asked.load(SeqCst), 3);
}

/// Protects: a resolver that does not answer holds up no request for long, and its late answer still counts.
#[tokio::test]
async fn a_request_waits_for_a_limited_time() {
    let tables = Tables::new(&[("192.0.2.1", "a.org")], &[("a.org", "192.0.2.1")]);
    let brief = Limits {
        wait: Duration::from_millis(20),
        ..limits()
    };
    let lookup = Lookup::new(tables, brief);
    assert_eq!(name(&lookup, "192.0.2.1").await, HostName::Unavailable);
    let until = Instant::now() + Duration::from_secs(20);
    while name(&lookup, "192.0.2.1").await != known("a.org") {
        assert!(Instant::now() < until);
    }
}

/// Protects: memory and threads are bounded, and one network does not use up what is for all.
#[tokio::test]
async fn few_addresses_are_looked_up_at_a_time() {
    let mut tables = Tables::new(&[], &[]);
    Arc::get_mut(&mut tables).unwrap().slow = Duration::from_secs(2);
    let few = Limits {
        wait: Duration::from_millis(1),
        pending: 3,
        of_one: 2,
        kept: 8,
        ..limits()
    };
    let lookup = Lookup::new(Arc::<Tables>::clone(&tables), few);
    let pending = || lookup.state.borrow().pending.len();
    // Each is slow; IPv4 addresses are networks of their own.
    for (address, count) in [("192.0.2.1", 1), ("192.0.2.2", 2), ("192.0.2.3", 3)] {
        assert_eq!(name(&lookup, address).await, HostName::Unavailable);
        assert_eq!(pending(), count);
    }
    assert_eq!(name(&lookup, "10.0.0.1").await, HostName::Unavailable);
    assert_eq!(pending(), 3);
    let until = Instant::now() + Duration::from_secs(20);
    for number in 0..100 {
        let address = format!("10.0.1.{number}");
        while name(&lookup, &address).await != HostName::Known(None) {
            assert!(Instant::now() < until);
        }
        let state = lookup.state.borrow();
        assert!(state.answers.len() + state.older.len() <= few.kept);
    }
}

#[tokio::test]
async fn a_network_has_a_share() {
    struct Slow;
    impl Resolver for Slow {
        fn name(&self, _: IpAddr) -> io::Result<Option<String>> {
            thread::sleep(Duration::from_secs(60));
            Ok(None)
        }
        fn addresses(&self, _: &str) -> io::Result<Vec<IpAddr>> {
            Ok(Vec::new())
        }
    }
    let brief = Limits {
        wait: Duration::from_millis(1),
        of_one: 2,
        ..limits()
    };
    let lookup = Lookup::new(Arc::new(Slow), brief);
    for (address, count) in [
        ("2001:db8::1", 1),
        ("2001:db8::2", 2),
        ("2001:db8::3", 2),
        ("2001:db8:0:1::1", 3),
    ] {
        assert_eq!(name(&lookup, address).await, HostName::Unavailable);
        assert_eq!(lookup.state.borrow().pending.len(), count, "{address}");
    }
}

/// Protects: a thread that fails holds up nobody. The next one is asked.
#[tokio::test]
async fn a_thread_may_fail() {
    let tables = Tables::new(
        &[("10.0.0.1", "panics"), ("10.0.0.2", "b.org")],
        &[("b.org", "10.0.0.2")],
    );
    let lookup = Lookup::new(tables, limits());
    assert_eq!(name(&lookup, "10.0.0.1").await, HostName::Unavailable);
    assert_eq!(name(&lookup, "10.0.0.2").await, known("b.org"));
}
