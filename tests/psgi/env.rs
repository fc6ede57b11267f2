//! The env, key by key, and the objects in it.

use std::io::Write;

use gepok::semantics::message::{Content, Request, Version};
use gepok::semantics::source::{Endpoints, Source};
use gepok::worker::Called;

use crate::world::{World, request};

/// Shows every key with its value, references as far as they are plain data.
const DUMP: &str = r#"
    sub show {
        my ($value) = @_;
        return 'undef' unless defined $value;
        return '[' . join(',', map { show($_) } @$value) . ']' if ref $value eq 'ARRAY';
        return ref $value || $value;
    }
    sub { my $env = shift; [200, [], [map { "$_=" . show($env->{$_}) . "\n" } sort keys %$env]] }
"#;

fn dump(request: Request) -> Vec<String> {
    let mut world = World::new(&DUMP.replace("[200, [],", "errors({}); [200, [],"));
    let (called, said) = world.call(request, false);
    assert_eq!(called, Called::Done);
    said[1]
        .strip_prefix("1 chunk ")
        .or_else(|| panic!("{said:?}"))
        .unwrap()
        .split_terminator("\\n")
        .map(str::to_owned)
        .collect()
}

/// The value of one key as the app shows it.
fn value(app_expression: &str, request: Request) -> String {
    let mut world = World::new(&format!(
        "sub {{ my $env = shift; my @value = do {{ {app_expression} }}; [200, [], ['=', map {{ defined $_ ? \"$_;\" : 'undef;' }} @value]] }}"
    ));
    let (_, said) = world.call(request, false);
    said[1]
        .strip_prefix("1 chunk =")
        .unwrap_or_else(|| panic!("{said:?}"))
        .to_owned()
}

fn unix(listener: u16) -> Request {
    Request {
        listener,
        source: Source::from(Endpoints::Unix {
            pid: 42,
            uid: 1000,
            gid: 100,
        }),
        ..request("GET", "/", &[])
    }
}

#[test]
fn every_key_and_no_other() {
    let said = dump(Request {
        content: Content::Inline("abc".into()),
        content_length: Some(3),
        ..request(
            "POST",
            "/a%20b//c%252c+d?x=%20&y#frag",
            &[
                ("Host", "example"),
                ("content-TYPE", "text/plain"),
                ("Content-Length", "03"),
                ("Transfer-Encoding", "chunked"),
                ("Proxy", "http://evil"),
                ("X-Own-Field", "1"),
                ("Connection", "close"),
            ],
        )
    });
    assert_eq!(
        said,
        [
            "CONTENT_LENGTH=3",
            "CONTENT_TYPE=text/plain",
            "HTTP_CONNECTION=close",
            "HTTP_HOST=example",
            "HTTP_X_OWN_FIELD=1",
            "PATH_INFO=/a b//c%2c+d",
            "QUERY_STRING=x=%20&y",
            "REMOTE_ADDR=192.0.2.7",
            "REMOTE_PORT=4711",
            "REQUEST_METHOD=POST",
            "REQUEST_URI=/a%20b//c%252c+d?x=%20&y#frag",
            "SCRIPT_NAME=",
            "SERVER_NAME=gepok.example",
            "SERVER_PORT=80",
            "SERVER_PROTOCOL=HTTP/1.1",
            "gepok=1",
            "gepok.client_protocol=HTTP/1.1",
            "gepok.connect_time=[10,500000]",
            "gepok.finish_request_time=[12,500000]",
            "gepok.httpd_socket=Gepok::Socket::TCP",
            "gepok.socket=Gepok::Socket::TCP",
            "gepok.start_request_time=[11,500000]",
            "gepok.unix_socket=0",
            "psgi.errors=GLOB",
            "psgi.input=GLOB",
            "psgi.multiprocess=1",
            "psgi.multithread=0",
            "psgi.nonblocking=0",
            "psgi.run_once=0",
            "psgi.streaming=1",
            "psgi.url_scheme=http",
            "psgi.version=[1,1]",
            "psgix.cleanup=1",
            "psgix.cleanup.handlers=[]",
            "psgix.client_gone=CODE",
            "psgix.harakiri=1",
            "psgix.informational=CODE",
            "psgix.input.buffered=1",
            "psgix.io=Gepok::Socket::TCP",
            "psgix.logger=CODE",
        ]
    );
}

#[test]
fn a_request_without_content_has_no_length() {
    let said = dump(request("GET", "/", &[]));
    assert!(!said.iter().any(|line| line.starts_with("CONTENT_")));
    assert!(said.contains(&"QUERY_STRING=".to_owned()));
}

#[test]
fn an_empty_chunked_content_has_the_length_0() {
    let empty = Request {
        content_length: Some(0),
        ..request("POST", "/", &[("Transfer-Encoding", "chunked")])
    };
    assert_eq!(
        value("@$env{'CONTENT_LENGTH', 'HTTP_TRANSFER_ENCODING'}", empty),
        "0;undef;"
    );
}

#[test]
fn the_protocol_is_the_clients() {
    let mut old = request("GET", "/", &[]);
    old.head.version = Version::Http10;
    assert_eq!(
        value("@$env{'SERVER_PROTOCOL', 'gepok.client_protocol'}", old),
        "HTTP/1.0;HTTP/1.0;"
    );
}

#[test]
fn the_forms_of_a_target() {
    let parts = "@$env{'PATH_INFO', 'QUERY_STRING', 'REQUEST_URI'}";
    for (method, target, shown) in [
        ("GET", "/", "/;;/;"),
        ("GET", "/a?b?c", "/a;b?c;/a?b?c;"),
        (
            "GET",
            "http://host:8080/p%41?q",
            "/pA;q;http://host:8080/p%41?q;",
        ),
        ("GET", "http://host?q", "/;q;http://host?q;"),
        ("OPTIONS", "*", ";;*;"),
        ("CONNECT", "host:443", ";;host:443;"),
        ("GET", "/\u{e9}", r"/\xc3\xa9;;/\xc3\xa9;"),
    ] {
        assert_eq!(
            value(parts, request(method, target, &[])),
            shown,
            "{target}"
        );
    }
}

#[test]
fn repeated_fields_are_joined_in_order_and_cookies_by_semicolons() {
    let fields = [
        ("X-Own", "1"),
        ("Cookie", "a=1"),
        ("Accept", "x"),
        ("x-own", ""),
        ("cookie", "b=2"),
        ("ACCEPT", "y"),
        ("X-OWN", "3"),
        ("Content-Type", "a/b"),
        ("Content-Type", "c/d"),
    ];
    assert_eq!(
        value(
            "@$env{qw(HTTP_X_OWN HTTP_COOKIE HTTP_ACCEPT CONTENT_TYPE)}",
            request("GET", "/", &fields)
        ),
        "1, , 3;a=1; b=2;x, y;a/b, c/d;"
    );
}

#[test]
fn many_fields_and_long_names() {
    let names: Vec<String> = (0..128)
        .map(|n| format!("X-{n}-{}", "n".repeat(8 * n)))
        .collect();
    let fields: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &name[2..4])).collect();
    let key = names[127].to_uppercase().replace('-', "_");
    assert_eq!(
        value(
            &format!("scalar(grep /^HTTP_X_/, keys %$env), $env->{{'HTTP_{key}'}}"),
            request("GET", "/", &fields)
        ),
        "128;12;"
    );
}

#[test]
fn unix_sockets_tell_what_their_family_of_options_tells() {
    let keys = "(map { $env->{$_} } qw(SERVER_NAME SERVER_PORT REMOTE_ADDR REMOTE_PORT gepok.unix_socket)), exists $env->{REMOTE_ADDR}";
    assert_eq!(value(keys, unix(1)), "/run/gepok;0;127.0.0.1;undef;1;1;");
    assert_eq!(value(keys, unix(2)), "0;/run/starlet;undef;0;1;1;");
}

#[test]
fn an_ipv4_client_of_an_ipv6_socket_is_shown_as_ipv4() {
    let mut mapped = request("GET", "/", &[]);
    mapped.source.endpoints = Endpoints::Ip {
        peer: "[::ffff:192.0.2.9]:1".parse().unwrap(),
        local: "[::1]:80".parse().unwrap(),
    };
    assert_eq!(
        value(
            "$env->{REMOTE_ADDR}, $env->{'gepok.socket'}->sockhost",
            mapped
        ),
        "192.0.2.9;::1;"
    );
}

#[test]
fn the_socket_object_answers_from_what_the_core_sent() {
    let asked = "require Socket; my $s = $env->{'gepok.socket'}; my $l = $env->{'gepok.httpd_socket'};
        (map { $s->$_ } qw(peerhost peerport sockhost sockport)),
        Socket::inet_ntoa($s->peeraddr), Socket::inet_ntoa($s->sockaddr),
        (Socket::unpack_sockaddr_in($s->peername))[0], $s->sockdomain == Socket::AF_INET(),
        $s->connected ? 'connected' : 'not', $l->connected ? 'connected' : 'not',
        (map { $l->$_ } qw(sockhost sockport peerhost peerport)), $s->hostpath, scalar(my @none = $s->peercred)";
    assert_eq!(
        value(asked, request("GET", "/", &[])),
        "192.0.2.7;4711;192.0.2.1;80;192.0.2.7;192.0.2.1;4711;1;connected;not;127.0.0.1;80;undef;undef;undef;0;"
    );
    let asked = "my $s = $env->{'gepok.socket'}; my $l = $env->{'gepok.httpd_socket'};
        $s->hostpath, $s->peercred, $s->peerhost, $s->connected ? 1 : 0, $l->hostpath, $l->connected ? 1 : 0";
    assert_eq!(
        value(asked, unix(1)),
        "/run/gepok;42;1000;100;undef;1;/run/gepok;0;"
    );
}

#[test]
fn what_an_app_assigns_in_its_env_stays_in_it() {
    let mut world = World::new(
        "sub {
            my $env = shift;
            my @before = map { ref $_ eq 'ARRAY' ? @$_ : $_ } map { $env->{$_} } grep { !/socket|input|errors|informational/ } sort keys %$env;
            for (values %$env) { if (ref $_ eq 'ARRAY') { push @$_, 'changed' if \"@$_\" } else { $_ = 'changed' } }
            [200, [], [map { defined $_ ? \"$_ \" : 'undef ' } @before]]
        }",
    );
    let first = world.get("/")[1].clone();
    assert_eq!(world.get("/")[1], first.replacen('1', "2", 1));
}

#[test]
fn every_way_to_read_the_content() {
    let ways = [
        (
            "$input->read(my $buffer, 5); $input->read($buffer, 99, 5); $buffer",
            "line1\\nline2\\nend",
        ),
        ("read $input, my $buffer, 7; $buffer", "line1\\nl"),
        ("join '|', <$input>", "line1\\n|line2\\n|end"),
        ("my $line = <$input>; $line . $.", "line1\\n1"),
        (
            "join '|', $input->getline, $input->getlines",
            "line1\\n|line2\\n|end",
        ),
        ("local $/; <$input>", "line1\\nline2\\nend"),
        (
            "<$input>; seek $input, -3, 2; join '|', tell $input, <$input>",
            "12|end",
        ),
        ("<$input>; $input->seek(0, 0); $input->getline", "line1\\n"),
        (
            "my $n = 0; $n += length while <$input>; $n . (eof $input ? 'eof' : '')",
            "15eof",
        ),
        (
            "my $n = 0; while (!eof($input)) { getc $input; $n++ } $n",
            "15",
        ),
        (
            "$input->binmode(':raw'); binmode $input; scalar <$input>",
            "line1\\n",
        ),
        (
            "seek $input, 1, 0; read $input, my $buffer, 3; $buffer",
            "ine",
        ),
        ("fileno $input > 2 ? 'file' : fileno $input", ""),
        ("$input->opened ? 'open' : 'closed'", "open"),
    ];
    for (way, expected) in ways {
        let app = format!("my $input = $env->{{'psgi.input'}}; {way}");
        let inline = Request {
            content: Content::Inline("line1\nline2\nend".into()),
            content_length: Some(15),
            ..request("POST", "/", &[])
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"line1\nline2\nend").unwrap();
        let spooled = Request {
            content: Content::File {
                file: file.into(),
                length: 15,
            },
            content_length: Some(15),
            ..request("POST", "/", &[])
        };
        let (of_inline, of_file) = if way.contains("fileno") {
            ("-1", "file")
        } else {
            (expected, expected)
        };
        assert_eq!(value(&app, inline), format!("{of_inline};"), "{way}");
        assert_eq!(value(&app, spooled), format!("{of_file};"), "{way}");
    }
}

#[test]
fn content_is_bytes() {
    let bytes = Request {
        content: Content::Inline((&b"\xc3\xa9\x00\xff\r\n"[..]).into()),
        content_length: Some(6),
        ..request("POST", "/", &[])
    };
    assert_eq!(
        value(
            "local $/; my $text = readline $env->{'psgi.input'}; length $text, unpack 'H*', $text",
            bytes
        ),
        "6;c3a900ff0d0a;"
    );
}

#[test]
fn the_empty_content_is_the_same_for_each_request_whatever_was_done_to_it() {
    for harm in [
        "close $_[0]{'psgi.input'}",
        "push @T::kept, $_[0]{'psgi.input'}",
        "bless $_[0]{'psgi.input'}, 'Other'",
        "binmode $_[0]{'psgi.input'}, ':encoding(UTF-8)'",
        "binmode $_[0]{'psgi.input'}, ':utf8'",
        "my @lines = readline $_[0]{'psgi.input'}",
        "seek $_[0]{'psgi.input'}, 0, 2",
        "open $_[0]{'psgi.input'}, '<', \\'other content'",
        "*{$_[0]{'psgi.input'}} = *STDIN",
        "undef *{$_[0]{'psgi.input'}}",
    ] {
        let mut world = World::new(&format!(
            "sub {{
                my $input = $_[0]{{'psgi.input'}};
                my @seen = (ref $input, $input->opened ? 'open' : 'closed', eof($input) ? 'eof' : 'more',
                    $input->read(my $buffer, 10), join ' ', PerlIO::get_layers($input));
                {{ no strict; no warnings; our @kept; {harm}; }}
                [200, [], ['=', join ' ', @seen]]
            }}"
        ));
        for id in 1..4 {
            assert_eq!(
                world.get("/")[1],
                format!("{id} chunk =GLOB open eof 0 scalar"),
                "{harm}"
            );
        }
    }
}

#[test]
fn a_spooled_file_is_closed_with_its_request() {
    let mut world = World::new("sub { [200, [], [fileno $_[0]{'psgi.input'}]] }");
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let spooled = Request {
            content: Content::File {
                file: tempfile::tempfile().unwrap().into(),
                length: 0,
            },
            content_length: Some(0),
            ..request("POST", "/", &[])
        };
        let (_, said) = world.call(spooled, false);
        numbers.push(said[1].split(' ').next_back().unwrap().to_owned());
    }
    assert_eq!(numbers[1], numbers[2], "descriptors leak: {numbers:?}");
}

#[test]
fn psgi_errors_takes_print_and_follows_a_reopened_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("errors");
    let mut world = World::new(&format!(
        "sub {{
            open my $saved, '>&', \\*STDERR or die;
            open STDERR, '>', '{}' or die;
            $_[0]{{'psgi.errors'}}->print('by method ');
            print {{$_[0]{{'psgi.errors'}}}} 'by print';
            $_[0]{{'psgi.errors'}}->flush;
            open STDERR, '>&', $saved or die;
            [200, [], []]
        }}",
        path.display()
    ));
    world.get("/");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "by method by print");
}

#[test]
fn a_request_of_an_unknown_listener_is_given_up() {
    let mut world = World::new("sub { [200, [], []] }");
    let stray = Request {
        listener: 9,
        ..request("GET", "/", &[])
    };
    assert_eq!(
        world.call(stray, false),
        (
            Called::Done,
            vec!["1 abort".into(), "idle".into(), "flush".into()]
        )
    );
}
