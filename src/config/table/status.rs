//! Options about what a running server tells of itself.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Status",
    options: &[
        Opt {
            name: "status_path",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.status_path = Some(path)),
            value: "PATH",
            preset: Preset::None,
            short: "a path at which the server tells what it does",
            long: "A path, as F</server-status>, at which the server itself answers GET and HEAD with what its processes and \
                   connections do: as a page for browsers, as JSON where the query is C<json> or the client accepts \
                   C<application/json>, as text for others. No worker has a part in it, so it answers when all of them hang. The app does \
                   not see requests for this path; other spellings of it, as F</server%2dstatus>, go to the app. Without the option, or with C<''>, there is none. See F<docs/status.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "metrics_path",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.metrics_path = Some(path)),
            value: "PATH",
            preset: Preset::None,
            short: "a path at which the server gives metrics to Prometheus",
            long: "A path, as F</metrics>, at which the server itself answers GET and HEAD with metrics of requests, queue, workers, \
                   connections and its core, in the text format of Prometheus or, where the client prefers it, of \
                   OpenMetrics. No worker has a part in it, so it answers when all of them hang. Requests are \
                   counted from the start or the reload on that brings this option; later reloads and new workers set no counter back. \
                   Without the option, or with C<''>, there is none. See F<docs/metrics.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "status_allow",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, network| options.status_allow.push(network)),
            value: "NETWORKS",
            preset: Preset::Described("127.0.0.0/8, ::1 and unix:"),
            short: "who sees status, metrics: addresses, networks, unix:, all",
            long: "Whose requests for C<status_path> and C<metrics_path> are answered; others get 403. Addresses and networks of IPv4 and IPv6 \
                   (C<192.0.2.7>, C<10.0.0.0/8>, C<2001:db8::/32>), C<unix:> for clients that come by a Unix socket, \
                   and C<all>, separated by blanks or commas. The address of the connection counts. A request that a \
                   proxy has forwarded (it carries C<Forwarded>, C<Via>, C<X-Forwarded-For> or another such field) \
                   is refused, unless C<all> are allowed: see F<docs/status.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "json",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.json = on),
            value: "",
            preset: Preset::Value("0"),
            short: "gepok status: one JSON object instead of a table",
            long: "With the command C<gepok status>: tells one JSON object instead of a table.",
            entry: Entry::Binary,
        },
    ],
};
