//! What an app sees of TLS: keys of the env, methods of gepok.socket.

use std::process::Command;
use std::rc::Rc;

use bytes::Bytes;
use gepok::semantics::message::{Request, Tls, TlsVersion};
use gepok::worker::{HostApps, ServerFacts};

use crate::world::{World, listeners, request};

/// A client certificate with names of all kinds, as PEM and as DER.
const ODD: &str = include_str!("../certificates/odd.pem");

fn der(pem: &str) -> Bytes {
    let lines = pem.lines().filter(|line| !line.starts_with("---"));
    let text: String = lines.collect();
    data_encoding::BASE64
        .decode(text.as_bytes())
        .unwrap()
        .into()
}

fn tls() -> Tls {
    Tls {
        version: TlsVersion::Tls13,
        cipher: Bytes::from_static(b"TLS_AES_256_GCM_SHA384"),
        server_name: Some(Bytes::from_static(b"example.org")),
        resumed: false,
        certificates: vec![der(ODD), Bytes::from_static(b"no certificate")],
        distrust: None,
    }
}

fn over(tls: Tls) -> Request {
    Request {
        tls: Some(Rc::new(tls)),
        ..request("GET", "/", &[])
    }
}

/// An app that notes what the expressions give, as one text, with the `SSL_` keys if so wanted.
fn noting(expressions: &str, ssl_env: bool) -> World {
    World::with(
        &format!(
            "sub {{ my $env = shift; my $socket = $env->{{'gepok.socket'}};
                $log[0] = join ';', map {{ defined ? $_ : 'undef' }} do {{ {expressions} }}; [200, [], []] }}"
        ),
        ServerFacts {
            listeners: listeners(),
            multiprocess: true,
            ssl_env,
            psgix_io: true,
            event_loop: None,
            xsendfile: false,
            hosts: HostApps::of_one_host(),
 compress: None,
        },
    )
}

/// What the app has noted.
fn noted(world: &mut World, request: Request) -> String {
    let (_, said) = world.call(request, false);
    assert!(said[0].contains("head 200"), "{said:?}");
    world.text("$log[0]")
}

const KEYS: &str = "map { \"$_=$env->{$_}\" } grep { /HTTPS|SSL_|scheme/ } sort keys %$env";

#[test]
fn only_the_scheme_and_https_tell_of_tls() {
    let mut world = noting(KEYS, false);
    assert_eq!(
        noted(&mut world, over(tls())),
        "HTTPS=on;psgi.url_scheme=https"
    );
    assert_eq!(
        noted(&mut world, request("GET", "/", &[])),
        "psgi.url_scheme=http"
    );
}

#[test]
fn the_option_adds_apaches_keys() {
    let mut world = noting(KEYS, true);
    let text = noted(&mut world, over(tls()));
    let keys: Vec<&str> = text
        .split(';')
        .filter(|key| key.starts_with("SSL"))
        .collect();
    // The name's own semicolon divides one of them.
    assert_eq!(keys[0], "SSL_CIPHER=TLS_AES_256_GCM_SHA384");
    assert_eq!(keys[1], format!("SSL_CLIENT_CERT={ODD}"));
    assert!(
        keys[2].starts_with("SSL_CLIENT_I_DN=CN=second,CN=J"),
        "{text}"
    );
    assert_eq!(keys[3], "SSL_CLIENT_M_SERIAL=0FA0B1C2");
    assert!(keys[4].ends_with(",OU=second=2,OU=\\#first\\ ,O=Odd\\, Even \\+ Co\\"));
    assert_eq!(keys[5], "SSL_CLIENT_VERIFY=SUCCESS");
    assert_eq!(keys[6], "SSL_CLIENT_V_END=Nov 26 13:43:41 2026 GMT");
    assert_eq!(keys[7], "SSL_CLIENT_V_START=Nov 23 13:43:41 2026 GMT");
    assert_eq!(
        keys[8..],
        ["SSL_PROTOCOL=TLSv1.3", "SSL_TLS_SNI=example.org"]
    );
}

#[test]
fn the_keys_are_those_of_the_connection_in_hand() {
    let mut world = noting(
        "map { \"$_=\" . ($env->{$_} // 'undef') } qw(SSL_PROTOCOL SSL_TLS_SNI SSL_CLIENT_VERIFY SSL_CLIENT_M_SERIAL)",
        true,
    );
    let other = Tls {
        version: TlsVersion::Tls12,
        server_name: None,
        certificates: vec![der(include_str!("../certificates/bmp.pem"))],
        distrust: Some(Bytes::from_static(b"certificate has expired")),
        ..tls()
    };
    let unreadable = Tls {
        certificates: vec![Bytes::from_static(b"no certificate")],
        ..tls()
    };
    let none = Tls {
        certificates: Vec::new(),
        ..tls()
    };
    for (tls, expected) in [
        (
            tls(),
            "SSL_PROTOCOL=TLSv1.3;SSL_TLS_SNI=example.org;SSL_CLIENT_VERIFY=SUCCESS;SSL_CLIENT_M_SERIAL=0FA0B1C2",
        ),
        (
            other,
            "SSL_PROTOCOL=TLSv1.2;SSL_TLS_SNI=undef;SSL_CLIENT_VERIFY=FAILED:certificate has expired;SSL_CLIENT_M_SERIAL=80",
        ),
        (
            unreadable,
            "SSL_PROTOCOL=TLSv1.3;SSL_TLS_SNI=example.org;SSL_CLIENT_VERIFY=SUCCESS;SSL_CLIENT_M_SERIAL=undef",
        ),
        (
            none,
            "SSL_PROTOCOL=TLSv1.3;SSL_TLS_SNI=example.org;SSL_CLIENT_VERIFY=NONE;SSL_CLIENT_M_SERIAL=undef",
        ),
    ] {
        assert_eq!(noted(&mut world, over(tls)), expected);
    }
    let plain = noted(&mut world, request("GET", "/", &[]));
    assert_eq!(plain.matches("undef").count(), 4, "{plain}");
}

#[test]
fn gepok_socket_answers_as_io_socket_ssl() {
    let mut world = noting(
        "$socket->is_SSL, $socket->get_sslversion, $socket->get_sslversion_int, $socket->get_cipher,
         $socket->get_servername, $socket->get_session_reused, $socket->isa('IO::Socket::SSL') ? 1 : 0,
         $socket->isa('IO::Socket::INET') ? 1 : 0, $socket->peerport, ref $socket",
        false,
    );
    assert_eq!(
        noted(&mut world, over(tls())),
        "1;TLSv1_3;772;TLS_AES_256_GCM_SHA384;example.org;0;0;1;4711;Gepok::Socket::TCP"
    );
    let other = Tls {
        version: TlsVersion::Tls12,
        server_name: None,
        resumed: true,
        ..tls()
    };
    assert_eq!(
        noted(&mut world, over(other)),
        "1;TLSv1_2;771;TLS_AES_256_GCM_SHA384;undef;1;0;1;4711;Gepok::Socket::TCP"
    );
}

#[test]
fn texts_of_a_certificate_need_no_other_module() {
    let mut world = noting(
        "$socket->peer_certificate('commonName'), $socket->peer_certificate('cn'),
         $socket->peer_certificate('subject') eq $socket->peer_certificate('owner') ? 1 : 0,
         $socket->peer_certificate('issuer') eq $socket->peer_certificate('authority') ? 1 : 0,
         join(' ', ($socket->peer_certificate('subjectAltNames'))[0 .. 3]), $socket->get_fingerprint('sha1'),
         $socket->dump_peer_certificate =~ /\\ASubject Name: .*\\nIssuer  Name: .*\\n\\z/ ? 1 : 0,
         $INC{'Net/SSLeay.pm'}",
        false,
    );
    let text = noted(&mut world, over(tls()));
    let output = Command::new("openssl")
        .args([
            "x509",
            "-noout",
            "-fingerprint",
            "-sha1",
            "-in",
            "tests/certificates/odd.pem",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let digest = told.trim().rsplit('=').next().unwrap();
    let digest = digest.replace(':', "").to_lowercase();
    let name = "Jürgen/Müller";
    assert_eq!(
        text,
        format!("{name};{name};1;1;2 example.org 2 *.example.org;sha1${digest};1;undef")
    );
}

#[test]
fn an_x509_lives_as_long_as_the_handle_and_keeps_it_from_the_next_request() {
    let mut world = noting(
        "my $x509 = $socket->peer_certificate; $x509 == $socket->peer_certificate ? 1 : 0, scalar(my @all = grep { $_ } $socket->peer_certificates),
         Net::SSLeay::PEM_get_string_X509($x509)",
        false,
    );
    for _ in 0..2 {
        assert_eq!(
            noted(&mut world, over(tls())),
            format!("1;1;{}", ODD.trim_end())
        );
    }
    assert_eq!(
        world.text("exists $Net::SSLeay::{X509_free} ? 'loaded' : ''"),
        "loaded"
    );
}

#[test]
fn without_a_certificate_or_without_tls_there_is_nothing() {
    let mut world = noting(
        "(map { my $m = $_; scalar(my @list = $socket->$m) } qw(peer_certificate peer_certificates get_fingerprint
            dump_peer_certificate)), map { scalar(my @list = $socket->peer_certificate($_)) } qw(subject cn subjectAltNames)",
        false,
    );
    let none = Tls {
        certificates: Vec::new(),
        ..tls()
    };
    assert_eq!(noted(&mut world, over(none)), "0;0;0;0;0;0;0");
    // There is one interpreter at a time.
    drop(world);
    let mut world = noting(
        "map { my $m = $_; my @list = $socket->$m; scalar grep { defined } @list } qw(is_SSL get_cipher get_sslversion
            get_servername get_session_reused get_sslversion_int peer_certificate peer_certificates get_fingerprint)",
        false,
    );
    assert_eq!(
        noted(&mut world, request("GET", "/", &[])),
        "0;0;0;0;0;0;0;0;0"
    );
}

#[test]
fn the_verify_callback_has_the_last_word_whatever_it_does() {
    for (callback, refusal, expected) in [
        ("sub { @log = @_; 1 }", None, Ok(true)),
        (
            "sub { @log = @_; 'yes' }",
            Some("certificate has expired"),
            Ok(true),
        ),
        ("sub { 0 }", None, Ok(false)),
        ("sub { '' }", None, Ok(false)),
        ("sub { () }", None, Ok(false)),
        ("sub { die { code => 1 } }", None, Ok(false)),
        ("sub { last }", None, Ok(false)),
        ("sub { exit 5 }", None, Err(5)),
    ] {
        let mut world = World::new("sub { [200, [], []] }");
        let source = format!("package T; our @log; {callback}");
        let code = world.perl().eval("callback", &source).unwrap().unwrap();
        world.at_certificate(code);
        let tls = Tls {
            distrust: refusal.map(|text| Bytes::from_static(text.as_bytes())),
            ..tls()
        };
        assert_eq!(world.verify(&tls), expected, "{callback}");
        if expected == Ok(true) {
            let ok = u8::from(refusal.is_none());
            let error = refusal.unwrap_or("0");
            assert_eq!(
                world.text("join ';', @log[0, 1, 3], $log[4] ? 1 : 0, $log[5]"),
                format!("{ok};0;{error};1;0")
            );
            assert!(world.text("$log[2]").starts_with("/C=DE/ST=Baden"));
        }
        if expected.is_ok() {
            assert_eq!(
                world.get("/").len(),
                4,
                "the app is called behind {callback}"
            );
        }
    }
}

#[test]
fn an_unknown_field_is_refused_by_name() {
    let mut world = noting(
        "eval { $socket->peer_certificate('serial'); 1 } ? 'taken' : $@ =~ /(.*) at /",
        false,
    );
    assert_eq!(
        noted(&mut world, over(tls())),
        "invalid argument for peer_certificate, valid are: authority cn commonName issuer owner subject subjectAltNames"
    );
}
