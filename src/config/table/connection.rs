//! Options about a client's connection: time limits and keep-alive.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Connections",
    options: &[
        Opt {
            name: "timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.timeout = time),
            value: "SECS",
            preset: Preset::Value("120"),
            short: "longest time without progress; 0: no limit",
            long: "How long reading a request or writing a response may make no progress before the connection is \
                   closed. It never limits the time a call of the app takes; but where the app keeps a writer after \
                   its call, it is how long that may write nothing before the response is cut. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "header_timeout",
            letter: None,
            aliases: &["read_timeout"],
            kind: Kind::Seconds(|options, time| options.header_timeout = time),
            value: "SECS",
            preset: Preset::Value("30"),
            short: "longest time for a request's head; 0: no limit",
            long: "How long a client may take in all to send the head of a request, counted from its first byte or \
                   from the connection's start. 0 is no limit. Starman calls it C<read_timeout>.",
            entry: Entry::All,
        },
        Opt {
            name: "keepalive",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.keepalive = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "keep connections open for further requests",
            long: "Whether a connection stays open for further requests. C<--disable-keepalive> turns it off.",
            entry: Entry::All,
        },
        Opt {
            name: "keepalive_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.keepalive_timeout = time),
            value: "SECS",
            preset: Preset::Value("10"),
            short: "how long an idle connection is kept; 0: not",
            long: "How long a connection is kept open waiting for its next request. 0 turns keep-alive off.",
            entry: Entry::All,
        },
        Opt {
            name: "max_keepalive_reqs",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, u32::MAX, |options, count| {
                options.max_keepalive_reqs = count;
            }),
            value: "N",
            preset: Preset::Value("0"),
            short: "requests one connection may bring; 0: no limit",
            long: "How many requests one connection may bring. 1 means no keep-alive, 0 is no limit: an idle \
                   connection costs no worker.",
            entry: Entry::All,
        },
        Opt {
            name: "http2",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.http2.over_tls = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "speak HTTP/2 with clients of HTTPS that can",
            long: "Whether clients of HTTPS may choose HTTP/2 in the handshake (ALPN). To an app it makes no difference but \
                   C<SERVER_PROTOCOL>, which is C<HTTP/2>, and that it has no C<psgix.io>.",
            entry: Entry::All,
        },
        Opt {
            name: "h2c",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.http2.h2c = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "take HTTP/2 without TLS too, from clients that begin with it",
            long: "Whether plain ports and Unix sockets take HTTP/2 too, from clients that know beforehand that they can speak it \
                   (prior knowledge). There is no upgrade from HTTP/1.1. It is off because a proxy that lets such bytes \
                   pass would not see the requests in them.",
            entry: Entry::All,
        },
        Opt {
            name: "http2_max_streams",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(1, 10_000, |options, count| {
                options.http2.max_streams = count
            }),
            value: "N",
            preset: Preset::Value("100"),
            short: "requests at a time on one connection of HTTP/2",
            long: "How many requests one connection of HTTP/2 may have at a time. A request counts until its call of the app is over, \
                   also when the client has cancelled it.",
            entry: Entry::All,
        },
    ],
};
