//! Forwarding fields of trusted proxies, and of strangers.

use super::*;
use crate::semantics::source::Endpoints;

fn settings(field: Field) -> Settings {
    Settings {
        trusted: Networks {
            networks: vec![
                ("127.0.0.0".parse().unwrap(), 8),
                ("10.0.0.0".parse().unwrap(), 8),
            ],
            unix: false,
        },
        field,
        scheme: true,
        host: false,
    }
}

fn from(address: &str) -> Source {
    let ip: std::net::IpAddr = address.parse().unwrap();
    Source::from(Endpoints::Ip {
        peer: (ip, 1).into(),
        local: (ip, 2).into(),
    })
}

/// What a trusted proxy's request comes to: the source, and the fields that are left.
fn read(settings: &Settings, fields: &[(&str, &str)]) -> (Source, Vec<String>) {
    let mut head = RequestHead::new("GET", "/", fields);
    let source = settings.read(&mut head, &from("127.0.0.1"));
    (source, left(&head))
}

fn left(head: &RequestHead) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let lines = head.fields.iter();
    lines
        .map(|(name, value)| format!("{}: {}", text(name), text(value)))
        .collect()
}

/// Everything by which a client could pretend to be another.
const EVERY: &[(&str, &str)] = &[
    ("Forwarded", "for=10.0.0.9;proto=https;host=evil"),
    ("X-Forwarded-For", "10.0.0.9"),
    ("x_forwarded_for", "10.0.0.9"),
    ("X-FORWARDED-Proto", "https"),
    ("X-Forwarded-Host", "evil"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-User", "root"),
    ("X-Forwarded", "x"),
    ("X-Real-IP", "10.0.0.9"),
    ("CF-Connecting-IP", "10.0.0.9"),
    ("True-Client-IP", "10.0.0.9"),
    ("Fastly-Client-IP", "10.0.0.9"),
    ("Client-IP", "10.0.0.9"),
    ("X-Scheme", "https"),
    ("Front-End-Https", "on"),
];

#[test]
fn what_strangers_send_is_dropped() {
    let settings = settings(Field::Single("my-address".to_owned()));
    let mut fields = vec![
        ("Host", "x"),
        ("My-Address", "10.0.0.9"),
        ("Accept", "y"),
        ("X-Forward", "z"),
    ];
    fields.extend(EVERY);
    let mut head = RequestHead::new("GET", "/", &fields);
    let stranger = from("203.0.113.1");
    assert_eq!(Settings::of(Some(&settings), &stranger), Forwarding::Drop);
    let source = settings.drop_fields(&mut head, &stranger, Certainty::Known);
    assert_eq!(left(&head), ["Host: x", "Accept: y", "X-Forward: z"]);
    assert_eq!(source.address(), stranger.address());
    assert_eq!((source.proxied, source.certainty), (None, Certainty::Known));
}

#[test]
fn who_is_trusted_is_known_before_a_request() {
    let settings = settings(Field::XForwardedFor);
    let of = |source: &Source| Settings::of(Some(&settings), source);
    assert_eq!(of(&from("10.1.2.3")), Forwarding::Read);
    assert_eq!(of(&from("192.0.2.1")), Forwarding::Drop);
    let unix = Source::from(Endpoints::Unix {
        pid: 1,
        uid: 2,
        gid: 3,
    });
    assert_eq!(of(&unix), Forwarding::Drop);
    assert_eq!(Settings::of(None, &from("10.1.2.3")), Forwarding::Pass);
}

#[test]
fn of_a_proxys_fields_the_app_sees_what_is_proven() {
    let (source, left) = read(
        &settings(Field::XForwardedFor),
        &[
            ("Host", "x"),
            ("X-Forwarded-For", "6.6.6.6, 203.0.113.1:567"),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Proto", "http, https"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-User", "alice"),
            ("X-Real-IP", "6.6.6.6"),
        ],
    );
    assert_eq!(
        left,
        [
            "Host: x",
            "X-Forwarded-For: 203.0.113.1",
            "X-Forwarded-Proto: http",
            "X-Forwarded-User: alice",
        ]
    );
    assert_eq!(source.address(), Some("203.0.113.1:567".parse().unwrap()));
    assert_eq!(source.peer(), Some("127.0.0.1".parse().unwrap()));
    assert_eq!(source.certainty, Certainty::Known);
    let proxied = source.proxied.unwrap();
    assert_eq!(
        proxied.chain.as_deref(),
        Some(&b"6.6.6.6, 203.0.113.1:567, 10.0.0.1"[..])
    );
    assert_eq!((proxied.https, proxied.port), (Some(false), None));
}

#[test]
fn each_kind_of_field_is_read_alone() {
    for (field, client) in [
        (Field::XForwardedFor, "10.0.0.9"),
        (Field::Forwarded, "10.0.0.9"),
        (Field::Single("cf-connecting-ip".to_owned()), "10.0.0.9"),
    ] {
        let name = field.name().to_owned();
        let (source, left) = read(&settings(field), EVERY);
        assert_eq!(source.address().unwrap().ip().to_string(), client, "{name}");
        let own = |line: &&String| line.to_ascii_lowercase().starts_with(&name);
        assert_eq!(left.iter().filter(own).count(), 1, "{left:?}");
        let others = left.len() - usize::from(name != "forwarded") - 2;
        assert_eq!(
            others, 0,
            "the scheme, the user's name and {name}: {left:?}"
        );
    }
}

#[test]
fn a_proxy_that_does_not_say_for_whom_hides_the_client() {
    let own = settings(Field::XForwardedFor);
    for (fields, certainty) in [
        (&[("Host", "x")][..], Certainty::Known),
        (&[("Via", "1.1 x")], Certainty::Hidden),
        (&[("X-Real-IP", "203.0.113.1")], Certainty::Hidden),
        (&[("X-Forwarded-For", "unknown")], Certainty::Hidden),
        (
            &[("X-Forwarded-For", "unknown, 10.0.0.1")],
            Certainty::Hidden,
        ),
        (&[("X-Forwarded-For", "10.0.0.1")], Certainty::Known),
    ] {
        assert_eq!(read(&own, fields).0.certainty, certainty, "{fields:?}");
    }
}

#[test]
#[rustfmt::skip] // A table.
fn host_and_port_are_taken_where_that_is_wanted() {
    let mut with_host = settings(Field::XForwardedFor);
    with_host.host = true;
    for (fields, host, port) in [
        (&[("X-Forwarded-Host", "shop.example")][..], "shop.example", None),
        (&[("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Proto", "https")], "shop.example", Some(443)),
        (&[("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Proto", "http")], "shop.example", Some(80)),
        (&[("X-Forwarded-Host", "shop.example:8443"), ("X-Forwarded-Proto", "https")], "shop.example:8443", Some(8443)),
        (&[("X-Forwarded-Host", "[2001:db8::1]:8443")], "[2001:db8::1]:8443", Some(8443)),
        (&[("X-Forwarded-Host", "[2001:db8::1]")], "[2001:db8::1]", None),
        (&[("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Port", "8443")], "shop.example", Some(8443)),
        (&[("X-Forwarded-Host", "evil, shop.example")], "shop.example", None),
        (&[("X-Forwarded-Host", "a b")], "inner", None),
        (&[("X-Forwarded-Host", "")], "inner", None),
        (&[("X-Forwarded-Host", "user@shop.example")], "inner", None),
        (&[("X-Forwarded-Host", "shop.example"), ("X-Forwarded-Port", "0")], "shop.example", None),
        (&[("X-Forwarded-Port", "8443")], "inner", None),
    ] {
        let fields: Vec<_> = [("Host", "inner")].iter().chain(fields).copied().collect();
        let (source, left) = read(&with_host, &fields);
        assert_eq!(left[0], format!("Host: {host}"), "{fields:?}");
        let told = source.proxied.and_then(|proxied| proxied.port);
        assert_eq!(told, port, "{fields:?}");
    }
    with_host.field = Field::Forwarded;
    let value = "for=203.0.113.1;host=\"shop.example:8443\";proto=https";
    let (source, left) = read(&with_host, &[("Host", "inner"), ("Forwarded", value)]);
    assert_eq!(left, ["Host: shop.example:8443", &format!("Forwarded: {value}")]);
    assert!(source.is_https(false));
    let mut without = settings(Field::Forwarded);
    without.scheme = false;
    let (source, left) = read(&without, &[("Host", "inner"), ("Forwarded", value)]);
    assert_eq!(left[0], "Host: inner");
    assert!(!source.is_https(false) && source.is_https(true));
}
