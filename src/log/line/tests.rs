//! Lines of the access log, by their formats.

use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::record::Call;
use crate::semantics::field::{Line as FieldLine, Span as Part};
use crate::semantics::message::{RequestHead, Version};
use crate::semantics::source::{Proxied, Source};

const HEAD: &[u8] = b"GET /a%20b?c=d HTTP/1.1\r\nHost: example.org:8080\r\nReferer: http://a/\"b\r\n\
    User-Agent: curl\r\nCookie: a=1; sid=x y\r\nCookie: b=2\r\nAuthorization: Basic YW5uIGI6c2VjcmV0\r\n\
    X-Two: 1\r\nx-two: 2\r\n\r\n";

/// A head whose parts are found by their bytes.
fn head(bytes: &'static [u8]) -> RequestHead {
    let bytes = Bytes::from_static(bytes);
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let mut words = lines.next().unwrap().split(|&byte| byte == b' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let fields = lines
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').unwrap();
            FieldLine {
                name: Part::of(&bytes, &line[..colon]),
                value: Part::of(&bytes, &line[colon + 2..]),
            }
        })
        .collect();
    RequestHead {
        method: Part::of(&bytes, method),
        target: Part::of(&bytes, target),
        version: Version::Http11,
        fields: Fields::new(bytes.clone(), fields).unwrap(),
    }
}

fn tcp() -> Source {
    Source::from(Endpoints::Ip {
        peer: "[2001:db8::7]:40000".parse().unwrap(),
        local: "192.0.2.1:8081".parse().unwrap(),
    })
}

fn record<'a>(source: &'a Source, head: &'a RequestHead) -> Record<'a> {
    Record {
        host: None,
        listener: 0,
        source,
        tls: None,
        head: Some(head),
        line: HEAD.split(|&byte| byte == b'\r').next().unwrap(),
        started: Timestamp {
            seconds: 1_774_746_000,
            micros: 250_000,
        },
        receiving: Some(Duration::from_micros(40)),
        first_byte: Some(Duration::from_micros(1_000_900)),
        duration: Duration::from_micros(1_900_123),
        status: Some(200),
        response:
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 12\r\n\r\n",
        received: 300,
        sent: 112,
        content: 12,
        number: 3,
        stream: None,
        ending: Ending::Persists,
        call: Some(Call {
            pid: 4711,
            id: 23,
            queued: Duration::from_micros(60),
            called: Some(Duration::from_millis(1)),
        }),
    }
}

fn writer(format: &str) -> Writer {
    let names = vec![("shop.example".to_owned(), "8081".to_owned())];
    let zone = Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    Writer::new(Format::parse(format).unwrap(), zone, names)
}

fn line(format: &str, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    writer(format).put(&mut out, record);
    let line = String::from_utf8(out).unwrap();
    line.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn combined_is_what_log_readers_expect() {
    let (endpoints, head) = (tcp(), head(HEAD));
    assert_eq!(
        line("combined", &record(&endpoints, &head)),
        r#"2001:db8::7 - ann\x20b [29/Mar/2026:03:00:00 +0200] "GET /a%20b?c=d HTTP/1.1" 200 12 "http://a/\"b" "curl""#
    );
}

#[test]
fn directives() {
    let (endpoints, head) = (tcp(), head(HEAD));
    let record = record(&endpoints, &head);
    for (format, expected) in [
        (
            "%h %a %{c}a %A",
            "2001:db8::7 2001:db8::7 2001:db8::7 192.0.2.1",
        ),
        ("%p %{local}p %{remote}p", "8081 8081 40000"),
        ("%v %V", "shop.example example.org:8080"),
        ("%m %U %q %H", "GET /a%20b ?c=d HTTP/1.1"),
        ("%B %b %I %O %S", "12 12 300 112 412"),
        ("%D %T %{ms}T %{us}T %^FB", "1900123 1 1900 1900123 1000900"),
        ("%{RECEIVE_TIME}x %{QUEUE_TIME}x %{APP_TIME}x", "40 60 1000"),
        ("%s %>s %X %k %P %L", "200 200 + 2 4711 4711-23"),
        ("%{sid}C %{b}C %{nope}C %{id}C", "x y 2 - -"),
        ("%{X-Two}i %{nope}i %{x-tw}i", "1, 2 - -"),
        ("%{Set-Cookie}o %{Content-Length}o %{Content}o", "a, b 12 -"),
        (
            "%{sec}t %{msec}t %{usec}t",
            "1774746000 1774746000250 1774746000250000",
        ),
        ("%{msec_frac}t %{end:usec_frac}t", "250 150123"),
        (
            "%{%F %T %z %Z}t %{end:%S}t",
            "2026-03-29 03:00:00 +0200 CEST 02",
        ),
        ("%404{Referer}i %!404{User-Agent}i", "- curl"),
        ("%{SSL_PROTOCOL}x %{SSL_CIPHER}x", "- -"),
        ("100%% %l", "100% -"),
    ] {
        assert_eq!(line(format, &record), expected, "{format}");
    }
}

#[test]
fn what_is_not_known_is_a_dash() {
    let endpoints = Source::from(Endpoints::Unix {
        pid: 1,
        uid: 2,
        gid: 3,
    });
    let head = head(HEAD);
    let record = Record {
        head: None,
        line: b"",
        listener: 9,
        status: None,
        response: b"",
        receiving: None,
        first_byte: None,
        content: 0,
        ending: Ending::Aborted,
        call: None,
        ..record(&endpoints, &head)
    };
    assert_eq!(
        line(
            r#"%h %A %u "%r" %m %U [%q] %H %v:%p %V %s %b %B %X"#,
            &record
        ),
        r#"unix: unix: - "-" - - [] - -:- - - - 0 X"#
    );
    assert_eq!(
        line(
            "%P %L %^FB %{APP_TIME}x %{Host}i %{a}C %{remote}p %{Date}o",
            &record
        ),
        "- - - - - - - -"
    );
}

#[test]
fn a_refused_request_line_is_shown_as_it_came() {
    let (endpoints, head) = (tcp(), head(HEAD));
    let record = Record {
        head: None,
        line: b"GET /\x1b[2J\" \x80",
        ..record(&endpoints, &head)
    };
    assert_eq!(line("\"%r\"", &record), r#""GET /\x1b[2J\" \x80""#);
}

#[test]
fn tls_is_named_as_mod_ssl_names_it() {
    let (endpoints, head) = (tcp(), head(HEAD));
    let tls = Tls {
        version: TlsVersion::Tls13,
        cipher: Bytes::from_static(b"TLS_AES_256_GCM_SHA384"),
        server_name: Some(Bytes::from_static(b"shop.example")),
        resumed: false,
        certificates: Vec::new(),
        distrust: None,
    };
    let record = Record {
        tls: Some(&tls),
        ..record(&endpoints, &head)
    };
    assert_eq!(
        line("%{SSL_PROTOCOL}x %{SSL_CIPHER}x %{SSL_TLS_SNI}x", &record),
        "TLSv1.3 TLS_AES_256_GCM_SHA384 shop.example"
    );
}

#[test]
fn json_has_everything() {
    let (endpoints, head) = (tcp(), head(HEAD));
    assert_eq!(
        line("json", &record(&endpoints, &head)),
        concat!(
            r#"{"time":"2026-03-29T03:00:00.250000+02:00","remote_addr":"2001:db8::7","remote_port":40000,"proxy_addr":null,"#,
            r#""remote_user":"ann b","server_name":"shop.example","server_port":"8081","host":"example.org:8080","#,
            r#""request":"GET /a%20b?c=d HTTP/1.1","method":"GET","path":"/a%20b","query":"c=d","#,
            r#""protocol":"HTTP/1.1","status":200,"content_bytes":12,"bytes_sent":112,"bytes_received":300,"#,
            r#""duration":1.900123,"receive_time":0.000040,"queue_time":0.000060,"app_time":0.001000,"#,
            r#""first_byte_time":1.000900,"referer":"http://a/\"b","user_agent":"curl","worker":4711,"#,
            r#""request_id":"4711-23","requests_before":2,"stream":null,"connection":"persists","tls_protocol":null,"#,
            r#""tls_cipher":null}"#
        )
    );
}

#[test]
fn the_time_turns_with_the_second() {
    let (endpoints, head) = (tcp(), head(HEAD));
    let mut writer = writer("%t");
    for (seconds, expected) in [
        (0, "[01/Jan/1970:01:00:00 +0100]\n"),
        (1, "[01/Jan/1970:01:00:01 +0100]\n"),
        (1, "[01/Jan/1970:01:00:01 +0100]\n"),
        (0, "[01/Jan/1970:01:00:00 +0100]\n"),
    ] {
        let mut out = Vec::new();
        let started = Timestamp { seconds, micros: 0 };
        let record = Record {
            started,
            ..record(&endpoints, &head)
        };
        writer.put(&mut out, &record);
        assert_eq!(out, expected.as_bytes());
    }
}

#[test]
fn base64_of_known_texts() {
    for (text, bytes) in [
        ("", None),
        ("Zg==", Some(&b"f"[..])),
        ("Zm8", Some(b"fo")),
        ("Zm9v", Some(b"foo")),
        ("Z-9v", None),
    ] {
        assert_eq!(base64(text.as_bytes()).as_deref(), bytes, "{text}");
    }
}

proptest! {
    /// Protects: whatever a client sends, a request has one line of printable ASCII, and quotes hold it.
    #[test]
    fn each_request_has_one_line(raw: Vec<u8>, value: Vec<u8>, response: Vec<u8>) {
        let fields = Fields::from_pairs(
            ["Host", "Referer", "User-Agent", "Cookie", "Authorization"]
                .map(|name| (name.as_bytes(), &value[..])),
        );
        let first = fields.lines()[0];
        let head = RequestHead {
            method: first.name,
            target: first.value,
            version: Version::Http11,
            fields,
        };
        let endpoints = tcp();
        let record = Record { line: &raw, response: &response, ..record(&endpoints, &head) };
        let text = line(r#"%h %u %m %U %V "%r" "%{Referer}i" "%{a}C" "%{X}o" %s"#, &record);
        prop_assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{}", text);
        prop_assert!(text.ends_with("\" 200"));
        let bare = text.split(" \"").next().unwrap();
        prop_assert_eq!(bare.split(' ').count(), 5, "{}", text);

        let json = line("json", &record);
        prop_assert!(!json.chars().any(char::is_control), "{}", json);
    }
}

/// The client is whom a trusted proxy names; `%{c}a` is the proxy.
#[test]
fn proxies_are_not_clients() {
    let (mut source, head) = (tcp(), head(HEAD));
    assert_eq!(
        line("%h %{c}a", &record(&source, &head)),
        "2001:db8::7 2001:db8::7"
    );
    source.proxied = Some(Rc::new(Proxied {
        client: Some("203.0.113.1:0".parse().unwrap()),
        peer: source.peer(),
        ..Proxied::default()
    }));
    let shown = line("%h %a %{c}a %{remote}p %A", &record(&source, &head));
    assert_eq!(shown, "203.0.113.1 203.0.113.1 2001:db8::7 - 192.0.2.1");
    let json = line("json", &record(&source, &head));
    let told = r#""remote_addr":"203.0.113.1","remote_port":null,"proxy_addr":"2001:db8::7","#;
    assert!(json.contains(told), "{json}");
}
