//! Options about proxies in front.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Proxies in front",
    options: &[
        Opt {
            name: "trusted_proxies",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, network| options.proxies.trusted.push(network)),
            value: "NETWORKS",
            preset: Preset::None,
            short: "proxies whose word about clients counts",
            long: "The proxies whose word about a client's address, scheme and host counts: addresses and networks of IPv4 and \
                   IPv6 (C<192.0.2.7>, C<10.0.0.0/8>, C<2001:db8::/32>), C<unix:> for those that come by a Unix socket, \
                   C<loopback>, and C<private> for the networks of RFC 1918, RFC 4193, RFC 6598 and link-local ones, \
                   separated by blanks or commas. C<REMOTE_ADDR>, the access log, C<status_allow> and all limits by address then go by \
                   the client. Forwarding fields that others send are removed. Without the option nothing is read or removed. See \
                   F<docs/proxies.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "forwarded_header",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, name| options.proxies.header = Some(name)),
            value: "FIELD",
            preset: Preset::Described("X-Forwarded-For"),
            short: "the one field in which they tell addresses",
            long: "The field in which C<trusted_proxies> tell addresses: C<X-Forwarded-For>, C<Forwarded> (RFC 7239), or the name of one \
                   that has a single address, as C<X-Real-IP> or C<CF-Connecting-IP>. Lists are read from the right, and the \
                   first address that is no trusted proxy's is the client's. No other field is read.",
            entry: Entry::All,
        },
        Opt {
            name: "forwarded_proto",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.proxies.proto = on),
            value: "",
            preset: Preset::Value("1"),
            short: "they tell the scheme, too",
            long: "Whether C<X-Forwarded-Proto> of C<trusted_proxies>, or C<proto=> of C<Forwarded>, sets C<psgi.url_scheme> and \
                   C<HTTPS>. Turn it off where a proxy passes on what clients send of that field.",
            entry: Entry::All,
        },
        Opt {
            name: "forwarded_host",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.proxies.host = on),
            value: "",
            preset: Preset::Value("0"),
            short: "they tell host and port, too",
            long: "Whether C<X-Forwarded-Host> and C<X-Forwarded-Port> of C<trusted_proxies>, or C<host=> of C<Forwarded>, set \
                   C<HTTP_HOST> and C<SERVER_PORT>. Only for proxies that set these fields on each request: most pass on what clients \
                   send.",
            entry: Entry::All,
        },
        Opt {
            name: "proxy_protocol",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.proxies.protocol = on),
            value: "",
            preset: Preset::Value("0"),
            short: "connections begin with a PROXY header, on all addresses",
            long: "Whether connections begin with a header of the PROXY protocol, version 1 or 2, as HAProxy and load balancers \
                   send it, on every address; C<:proxy> after an address of C<listen>, C<http_ports>, C<https_ports> or C<unix_sockets> \
                   says so for that one. A connection without it, or from others than C<trusted_proxies>, is closed. Where \
                   C<trusted_proxies> is not given, such an address must be on the loopback interface or a Unix socket.",
            entry: Entry::All,
        },
    ],
};
