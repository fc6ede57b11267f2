//! Tests of what options mean together.

use super::*;
use crate::config::attributes;

fn config(pairs: &[(&str, &str)]) -> Config {
    let said = attributes::read(pairs.iter().copied()).expect("read");
    assert!(said.warnings.is_empty(), "{:?}", said.warnings);
    Config::resolve(&said.options).expect("resolved")
}

fn error(pairs: &[(&str, &str)]) -> String {
    let said = attributes::read(pairs.iter().copied()).expect("read");
    Config::resolve(&said.options)
        .expect_err("refused")
        .to_string()
}

// One line for each listener: place, SERVER_NAME, SERVER_PORT, remote.
fn listeners(pairs: &[(&str, &str)]) -> Vec<String> {
    let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "bound".to_owned());
    let line = |listener: &Listener| {
        let place = match &listener.bind {
            Bind::Tcp(tcp) => format!("{} {}", tcp.host, tcp.port),
            Bind::Unix(path) => path.display().to_string(),
            Bind::Inherited(fd) | Bind::Activated(fd) => format!("fd {fd}"),
        };
        let (name, port) = (told(&listener.server_name), told(&listener.server_port));
        format!("{place} | {name} | {port} | {:?}", listener.remote)
    };
    config(pairs).listeners.iter().map(line).collect()
}

#[test]
fn defaults_are_those_of_gepok() {
    let config = config(&[("default_port", "5000")]);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.backlog, 4096);
    let workers = Workers {
        start: 3,
        fixed: false,
    };
    assert_eq!(config.workers, workers);
    let life = Life {
        most: 150,
        min_spare: 1,
        max_spare: 3,
        idle_timeout: Duration::from_secs(10),
        budget: Budget {
            requests: Some((1000, 1000)),
            age: None,
            rss: None,
        },
        request_timeout: None,
        event_loop: None,
    };
    assert_eq!(config.life, life);
    assert_eq!(config.timeout, Some(Duration::from_secs(120)));
    assert_eq!(config.header_timeout, Some(Duration::from_secs(30)));
    let keepalive = Keepalive {
        timeout: Duration::from_secs(10),
        max_requests: None,
    };
    assert_eq!(config.keepalive, Some(keepalive));
    assert_eq!(config.name, "gepok");
    assert_eq!(
        config.server,
        Some(format!("Gepok/{}", crate::config::VERSION))
    );
    assert!(!config.server_ready);
}

#[test]
fn each_kind_of_listener_tells_its_own_names() {
    let all = [
        ("host", "localhost"),
        ("port", "80"),
        ("listen", "[::1]:81"),
        ("listen", ":82"),
        ("listen", "/l"),
        ("socket", "s"),
        ("http_ports", "localhost:83,0"),
        ("unix_sockets", "/u"),
    ];
    assert_eq!(
        listeners(&all),
        [
            "localhost 83 | bound | bound | Peer",
            "0.0.0.0 0 | bound | bound | Peer",
            "/u | /u | 0 | Gepok",
            "localhost 80 | localhost | bound | Peer",
            "::1 81 | [::1] | bound | Peer",
            "0.0.0.0 82 | bound | bound | Peer",
            "/l | 0 | /l | Starlet",
            "s | 0 | s | Starlet",
        ]
    );
}

#[test]
fn the_same_address_is_one_listener() {
    let twice = [
        ("port", "80"),
        ("listen", ":80"),
        ("socket", "/s"),
        ("listen", "/s"),
    ];
    assert_eq!(listeners(&twice).len(), 2);
    assert_eq!(listeners(&[("http_ports", "0,0")]).len(), 2);
}

#[test]
fn a_socket_handed_in_stands_for_host_and_port() {
    let pairs = [
        ("listen_sock", "7"),
        ("host", "h"),
        ("port", "80"),
        ("default_port", "5000"),
    ];
    assert_eq!(listeners(&pairs), ["fd 7 | bound | bound | Peer"]);
}

#[test]
fn the_default_port_is_for_who_names_no_address() {
    let default = ("default_port", "5000");
    assert_eq!(
        listeners(&[default]),
        ["0.0.0.0 5000 | bound | bound | Peer"]
    );
    assert_eq!(listeners(&[default, ("http_ports", "80")]).len(), 1);
    assert_eq!(
        listeners(&[default, ("socket", "/s"), ("host", "h")]).len(),
        1
    );
    assert_eq!(
        listeners(&[default, ("host", "::1"), ("http_ports", "80")]),
        [
            "0.0.0.0 80 | bound | bound | Peer",
            "::1 5000 | [::1] | bound | Peer"
        ]
    );
}

#[test]
fn no_address_is_refused() {
    assert_eq!(
        error(&[("http_ports", "")]),
        "Please specify at least one HTTP/HTTPS/Unix socket port"
    );
    assert_eq!(error(&[("host", "h")]), "option 'host': 'h' needs a 'port'");
}

#[test]
fn paths_fit_a_socket_address() {
    let long = format!("/{}", "x".repeat(PATH_LIMIT));
    assert!(error(&[("socket", &long)]).starts_with("option 'socket': '/xxx"));
    assert!(error(&[("unix_sockets", "/a\0b")]).ends_with("has a zero byte"));
}

#[test]
fn max_workers_is_exact() {
    let pairs = [("port", "1"), ("workers", "5"), ("start_servers", "2")];
    let workers = Workers {
        start: 5,
        fixed: true,
    };
    assert_eq!(config(&pairs).workers, workers);
}

#[test]
fn zero_means_no_limit_or_none_at_all() {
    let none = config(&[
        ("port", "1"),
        ("timeout", "0"),
        ("read_timeout", "0"),
        ("max_reqs_per_child", "0"),
        ("max_workers", "0"),
    ]);
    assert_eq!((none.timeout, none.header_timeout), (None, None));
    assert_eq!((none.life.budget.requests, none.workers.start), (None, 0));
    for (name, value) in [
        ("keepalive", ""),
        ("keepalive_timeout", "0"),
        ("max_keepalive_reqs", "1"),
    ] {
        assert_eq!(
            config(&[("port", "1"), (name, value)]).keepalive,
            None,
            "{name}"
        );
    }
}

#[test]
fn the_server_field_is_as_said() {
    let server = |name: &str, version: &str| {
        let pairs = [
            ("port", "1"),
            ("product_name", name),
            ("product_version", version),
        ];
        config(&pairs).server
    };
    assert_eq!(server("My::App", "1.0").as_deref(), Some("My::App/1.0"));
    assert_eq!(server("Web", "").as_deref(), Some("Web"));
    assert_eq!(server("", "1.0"), None);
    assert_eq!(
        error(&[("port", "1"), ("product_name", "a\r\nb")]),
        r"option 'product_name': 'a\r\nb' can't stand in a header field"
    );
}

// For each listener, whether it speaks TLS.
fn secure(pairs: &[(&str, &str)]) -> Vec<bool> {
    let certificate = ("ssl_cert_file", "/c.pem");
    let pairs: Vec<_> = pairs.iter().copied().chain([certificate]).collect();
    let listeners = config(&pairs).listeners;
    listeners.iter().map(|listener| listener.tls).collect()
}

#[test]
fn tls_is_spoken_where_it_was_said() {
    assert_eq!(
        secure(&[
            ("http_ports", "80"),
            ("https_ports", "443,8443"),
            ("unix_sockets", "/s")
        ]),
        [false, true, true, false]
    );
    assert_eq!(secure(&[("ssl", "1"), ("port", "443")]), [true]);
    assert_eq!(secure(&[("enable_ssl", "1"), ("port", "443")]), [true]);
    assert_eq!(secure(&[("ssl", "1"), ("default_port", "5000")]), [true]);
    assert_eq!(
        secure(&[("listen", ":443:ssl"), ("listen", ":80"), ("listen", "/s")]),
        [true, false, false]
    );
    assert_eq!(secure(&[("ssl", "1"), ("http_ports", "80")]), [false]);
    assert_eq!(config(&[("http_ports", "80")]).tls, None);
}

#[test]
fn tls_needs_a_certificate_and_a_port_of_its_own() {
    let both = [("http_ports", "80"), ("https_ports", "80")];
    assert_eq!(
        error(&both),
        "option 'https_ports': 0.0.0.0:80 is also among 'http_ports'"
    );
    for pairs in [
        &[("https_ports", "443")][..],
        &[("ssl", "1"), ("port", "443")],
    ] {
        let error = error(pairs);
        assert!(error.contains("needs option 'ssl_cert_file'"), "{error}");
    }
    let good = config(&[("https_ports", "443"), ("ssl_self_signed", "1")]);
    assert!(good.warnings.is_empty());
    // Nobody shall believe that such a port speaks TLS.
    let plain = config(&[("http_ports", "443"), ("ssl_cert", "/c.pem")]);
    assert!(plain.warnings[0].contains("no port speaks TLS"));
}

#[test]
fn verify_callbacks() {
    let callback = |value| {
        let pairs = [
            ("https_ports", "443"),
            ("ssl_self_signed", "1"),
            ("ssl_verify_mode", "1"),
            ("ssl_verify_callback", value),
        ];
        config(&pairs).tls.and_then(|tls| tls.clients?.callback)
    };
    use crate::config::options::VerifyCallback;
    assert_eq!(callback("0"), Some(VerifyCallback::Constant(false)));
    assert_eq!(callback("1"), Some(VerifyCallback::Constant(true)));
    assert_eq!(callback("CODE"), Some(VerifyCallback::Code));
}

#[test]
fn the_pool_grows_unless_its_size_was_said() {
    let sizes = |pairs: &[(&str, &str)]| {
        let config = config(&[&[("port", "1")], pairs].concat());
        let life = config.life;
        (
            config.workers.start,
            life.most,
            life.min_spare,
            life.max_spare,
        )
    };
    assert_eq!(sizes(&[("start_servers", "200")]), (200, 200, 1, 200));
    assert_eq!(sizes(&[("max_clients", "2")]), (2, 2, 1, 2));
    assert_eq!(
        sizes(&[("workers", "5"), ("max_clients", "20")]),
        (5, 5, 1, 5)
    );
    assert_eq!(
        sizes(&[("min_spare_servers", "4"), ("start_servers", "2")]),
        (2, 150, 4, 4)
    );
    assert_eq!(
        error(&[("min_spare_servers", "5"), ("max_spare_servers", "4")]),
        "option 'max_spare_servers': 4 is less than min_spare_servers, 5"
    );
}

#[test]
fn requests_of_a_worker_are_a_span() {
    let span = |least, most| {
        let pairs = [
            ("port", "1"),
            ("min_reqs_per_child", least),
            ("max_reqs_per_child", most),
        ];
        config(&pairs).life.budget.requests
    };
    assert_eq!(span("0", "100"), Some((100, 100)));
    assert_eq!(span("80", "100"), Some((80, 100)));
    assert_eq!(span("0", "0"), None);
    assert_eq!(
        error(&[("min_reqs_per_child", "1001")]),
        "option 'min_reqs_per_child': 1001 is more than max_requests_per_child, 1000"
    );
}
