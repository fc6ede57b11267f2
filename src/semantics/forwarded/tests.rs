//! Chains of addresses, and whose requests they mark.

use super::*;

/// The table that is also given to nginx; its head says how it is read.
const CHAINS: &str = include_str!("../../../t/forwarded/chains.txt");

fn trusted() -> Networks {
    let network = |(text, bits): (&str, u8)| (text.parse().unwrap(), bits);
    Networks {
        networks: [
            ("127.0.0.0", 8),
            ("10.0.0.0", 8),
            ("192.0.2.7", 32),
            ("::1", 128),
            ("2001:db8:aa::", 48),
        ]
        .map(network)
        .to_vec(),
        unix: true,
    }
}

fn told(name: &str, lines: &[String], field: &Field) -> (Told, Fields) {
    let fields = Fields::from_pairs(lines.iter().map(|line| (name, line)));
    (read(&fields, field, &trusted()), fields)
}

/// A client as the table writes it.
fn shown(told: &Told) -> String {
    let client = match told.client {
        None => "-".to_owned(),
        Some(client) if client.port() == 0 => client.ip().to_string(),
        Some(client) => client.to_string(),
    };
    client + if told.is_cut { "!" } else { "" }
}

/// A link of X-Forwarded-For as an element of Forwarded.
fn element_of(link: &str) -> String {
    let link = link.trim();
    if link.is_empty() {
        return String::new();
    }
    let node = match link.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{link}]"),
        Err(_) => link.to_owned(),
    };
    format!("for=\"{node}\"")
}

fn rows() -> impl Iterator<Item = (Vec<String>, [&'static str; 3])> {
    let rows = CHAINS
        .lines()
        .filter(|row| !row.starts_with('#') && !row.is_empty());
    rows.map(|row| {
        let (row, nginx) = row.rsplit_once(" ; ").unwrap();
        let (row, single) = row.rsplit_once(" ; ").unwrap();
        let (chain, client) = row.rsplit_once(" ; ").unwrap();
        let single = if single == "=" { client } else { single };
        let lines = chain.split("//").map(|line| line.trim().to_owned());
        (lines.collect(), [client, single, nginx])
    })
}

#[test]
fn chains_are_read_from_the_right() {
    let mut count = 0;
    for (lines, [client, single, _]) in rows() {
        let (told, fields) = told("X-Forwarded-For", &lines, &Field::XForwardedFor);
        assert_eq!(shown(&told), client, "X-Forwarded-For: {lines:?}");
        // What is left of the field in the head is the address alone.
        if let (Some(link), Some(address)) = (told.link, told.client) {
            let text = std::str::from_utf8(&fields.bytes()[link.range()]).unwrap();
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(ip.to_canonical(), address.ip(), "{lines:?}");
        }
        let elements = |line: &String| -> String {
            let links: Vec<_> = line.split(',').map(element_of).collect();
            links.join(", ")
        };
        let forwarded: Vec<_> = lines.iter().map(elements).collect();
        let (told, _) = self::told("Forwarded", &forwarded, &Field::Forwarded);
        assert_eq!(shown(&told), client, "Forwarded: {forwarded:?}");

        let field = Field::Single("x-real-ip".to_owned());
        let (told, _) = self::told("X-Real-IP", &lines, &field);
        assert_eq!(shown(&told), single, "X-Real-IP: {lines:?}");
        count += 1;
    }
    assert!(count >= 120, "{count}");
}

#[test]
#[rustfmt::skip] // A table.
fn forwarded_has_a_grammar_of_its_own() {
    for (value, client) in [
        // The examples of RFC 7239.
        ("for=\"_gazonk\"", "-!"),
        ("For=\"[2001:db8:cafe::17]:4711\"", "[2001:db8:cafe::17]:4711"),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
        ("for=192.0.2.43, for=198.51.100.17", "198.51.100.17"),
        ("for=_hidden, for=_SEVKISEK", "-!"),
        ("for=192.0.2.43,for=\"[2001:db8:aa::17]\",for=10.0.0.1", "192.0.2.43"),
        // Names, whatever their case, and pairs in any order; empty ones.
        ("FOR=203.0.113.1", "203.0.113.1"),
        ("proto=https;for=203.0.113.1", "203.0.113.1"),
        (";for=203.0.113.1;;", "203.0.113.1"),
        ("by=10.0.0.1 ; for=203.0.113.1", "203.0.113.1"),
        ("secret=\"a,b;for=6.6.6.6\";for=203.0.113.1", "203.0.113.1"),
        ("for=203.0.113.1;x=\"\\\",for=6.6.6.6\"", "203.0.113.1"),
        ("for=\"203.0\\.113.1\"", "203.0.113.1"),
        ("for=\"203.0.113.1:_port\"", "203.0.113.1"),
        ("for=203.0.113.1:80", "203.0.113.1:80"),
        ("for=[2001:db8::1]", "2001:db8::1"),
        // Without an address, with two, or malformed: nobody knows whose it is.
        ("proto=https", "-!"),
        ("for=", "-!"),
        ("for", "-!"),
        ("for=203.0.113.1;for=203.0.113.2", "-!"),
        ("for=\"203.0.113.1", "-!"),
        ("for=203.0.113.1\"", "-!"),
        ("for=\"203.0.113.1\"x", "-!"),
        ("for=203.0.113.1 x", "-!"),
        ("203.0.113.1", "-!"),
        ("for=203.0.113.1, proto=https", "-!"),
        // A client's open quote must not swallow what the proxy has added.
        ("for=\"6.6.6.6, for=203.0.113.1", "203.0.113.1"),
        ("for=\"6.6.6.6, for=203.0.113.1;proto=\"https\"", "203.0.113.1"),
        ("for=6.6.6.6;x=\"\\, for=203.0.113.1", "203.0.113.1"),
        ("x=\"\", for=\"203.0.113.1\"", "203.0.113.1"),
    ] {
        let (told, _) = told("Forwarded", &[value.to_owned()], &Field::Forwarded);
        assert_eq!(shown(&told), client, "{value}");
    }
}

#[test]
fn scheme_and_host_are_those_of_the_clients_element() {
    let value = "for=6.6.6.6;proto=http;host=evil, \
                 for=203.0.113.1;proto=HTTPS;host=\"shop.example:8443\", \
                 for=10.0.0.1;proto=http;host=inner";
    let (told, fields) = told("Forwarded", &[value.to_owned()], &Field::Forwarded);
    assert_eq!((told.place, told.https), (1, Some(true)));
    let host = &fields.bytes()[told.host.unwrap().range()];
    assert_eq!(host, b"shop.example:8443");
    let element = &fields.bytes()[told.link.unwrap().range()];
    assert!(element.starts_with(b"for=203.0.113.1") && element.ends_with(b"8443\""));
}

#[test]
fn members_are_counted_from_the_right() {
    let fields = Fields::from_pairs([
        ("X-Forwarded-Proto", "ftp, https"),
        ("x-forwarded-proto", ",http,"),
    ]);
    for (place, member) in [(0, "http"), (1, "https"), (2, "ftp"), (9, "ftp")] {
        let found = super::member(&fields, "x-forwarded-proto", place).unwrap();
        assert_eq!(&fields.bytes()[found.range()], member.as_bytes());
    }
    assert_eq!(super::member(&fields, "x-forwarded-host", 0), None);
}

/// A field is as long as a head may be. Each part of it is looked at once.
#[test]
fn long_chains_end() {
    let line = |link: &str, count: usize| vec![vec![link; count].join(",")];
    let (told, _) = told(
        "X-Forwarded-For",
        &line("10.0.0.1", LINKS),
        &Field::XForwardedFor,
    );
    assert!(!told.is_cut && told.place == LINKS - 1);
    let (told, _) = self::told(
        "X-Forwarded-For",
        &line("10.0.0.1", LINKS + 1),
        &Field::XForwardedFor,
    );
    assert!(told.is_cut && told.place == LINKS - 1);
    let mut hidden = vec!["203.0.113.1".to_owned()];
    hidden.extend(line("10.0.0.1", LINKS));
    let (told, _) = self::told("X-Forwarded-For", &hidden, &Field::XForwardedFor);
    assert_eq!(shown(&told), "10.0.0.1!");
    for part in ["", "\"", "\\\"", "for=\"", "for=10.0.0.1", ";"] {
        let begun = std::time::Instant::now();
        for field in [Field::XForwardedFor, Field::Forwarded] {
            let _ = self::told(
                field.name(),
                &line(part, 64 * 1024 / (part.len() + 1)),
                &field,
            );
        }
        assert!(begun.elapsed().as_secs() < 5, "{part}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(value in ".{0,80}", more in "[a-z0-9.:,;=\"\\\\ \\[\\]]{0,60}") {
        for field in [Field::XForwardedFor, Field::Forwarded, Field::Single("x".to_owned())] {
            let lines = [value.clone(), more.clone()];
            let (told, fields) = told(field.name(), &lines, &field);
            for span in [told.link, told.host].into_iter().flatten() {
                proptest::prop_assert!(span.end as usize <= fields.bytes().len());
            }
        }
    }
}
