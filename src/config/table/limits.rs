//! Options about what clients may ask for: sizes, rates, numbers, and how strictly their bytes are read.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Limits",
    options: &[
        Opt {
            name: "max_content",
            letter: None,
            aliases: &["max_body_size"],
            kind: Kind::Bytes(|options, size| options.limits.content = size),
            value: "SIZE",
            preset: Preset::Value("1G"),
            short: "longest content of a request; 0: no limit",
            long: "The longest content of a request, in bytes; K, M and G may follow the number. Longer content is \
                   answered with 413, before it is read where its length is announced. 0 is no limit. C<max_spool> limits \
                   content as well: one request may have a quarter of it, which is 1 GiB by default.",
            entry: Entry::All,
        },
        Opt {
            name: "max_target_size",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, size| options.limits.target = size),
            value: "SIZE",
            preset: Preset::Value("16K"),
            short: "longest request target (path and query)",
            long: "The longest request target, in bytes. What is longer is answered with 414.",
            entry: Entry::All,
        },
        Opt {
            name: "max_header_size",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, size| options.limits.field_section = size),
            value: "SIZE",
            preset: Preset::Value("64K"),
            short: "longest header of a request",
            long: "How many bytes all header fields of a request may have together, with their line ends. More are \
                   answered with 431. It holds for trailers as well.",
            entry: Entry::All,
        },
        Opt {
            name: "max_headers",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(1, 10_000, |options, count| options.limits.fields = count),
            value: "N",
            preset: Preset::Value("128"),
            short: "most header fields of a request",
            long: "How many header fields a request may have. More are answered with 431. It holds for trailers as \
                   well.",
            entry: Entry::All,
        },
        Opt {
            name: "min_content_rate",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, rate| options.limits.content_rate = rate),
            value: "SIZE",
            preset: Preset::Value("500"),
            short: "bytes a second content must come at; 0: no limit",
            long: "How many bytes a second the content of a request must come at in the last minute, from its 20th second \
                   on. A slower client is answered with 408. C<timeout> ends content that stops altogether. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "min_response_rate",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, rate| options.limits.response_rate = rate),
            value: "SIZE",
            preset: Preset::Value("500"),
            short: "bytes a second a client must read; 0: no limit",
            long: "How many bytes a second a client must take of a response that waits for it, the app's or a file. One that has taken less in \
                   the last minute, and 64 KiB less than that (the kernel takes content in such pieces), is cut: the connection \
                   is reset, the log and the status tell. It limits nothing while the app is what the client waits for. 0 is \
                   no limit. Whatever the rate is, the slowest clients are cut while requests wait for a worker and \
                   C<max_spool> has no room for responses, and a client that keeps a worker waiting for 5 seconds then.",
            entry: Entry::All,
        },
        Opt {
            name: "max_connections",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, u32::MAX, |options, count| {
                options.limits.connections = count;
            }),
            value: "N",
            preset: Preset::Value("0"),
            short: "connections at a time; 0: as descriptors allow",
            long: "How many connections may be open at a time. Further clients wait in the backlog until one ends. 0 \
                   is as many as there are descriptors (C<ulimit -n>, its hard limit), but for a few.",
            entry: Entry::All,
        },
        Opt {
            name: "max_connections_per_address",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, u32::MAX, |options, count| {
                options.limits.connections_per_address = count;
            }),
            value: "N",
            preset: Preset::Value("0"),
            short: "connections of one client address; 0: no limit",
            long: "How many connections one client's address may have open at a time; in IPv6, one network of 64 bits. \
                   Further ones are closed at once. 0 is no limit, as it must be behind a proxy.",
            entry: Entry::All,
        },
        Opt {
            name: "max_queue",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, u32::MAX, |options, count| options.limits.queue = count),
            value: "N",
            preset: Preset::Value("10000"),
            short: "requests that may wait for a worker; 0: no limit",
            long: "How many requests may wait for a worker. Further ones are answered with 503 and a C<Retry-After> \
                   field. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "queue_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.limits.queue_time = time),
            value: "SECS",
            preset: Preset::Value("60"),
            short: "longest wait for a worker; 0: no limit",
            long: "How long a request may wait for a worker before it is answered with 503 and a C<Retry-After> \
                   field. A request whose client has left does not wait any longer. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "spool_dir",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.limits.spool_dir = Some(path)),
            value: "DIR",
            preset: Preset::Described("TMPDIR, else /var/tmp"),
            short: "folder for content too large for memory",
            long: "The folder for content of requests that is larger than 1 MiB, and of responses that their clients \
                   take too slowly. Its files have no names, are readable by nobody else, and go with their request. A folder that \
                   C<user> may not write to is refused at the start. Without the option it is that of the variable TMPDIR, else \
                   F</var/tmp>; where neither can be written to, content of more than 1 MiB is answered with 507.",
            entry: Entry::All,
        },
        Opt {
            name: "max_spool",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, size| options.limits.spool = size),
            value: "SIZE",
            preset: Preset::Value("4G"),
            short: "space in spool-dir for all of it; 0: no limit",
            long: "How much space the content in C<spool_dir> may take in all: one half is for content of requests, the \
                   other for responses. Of each half nobody may have more than is left for all others: one request \
                   or one client's address alone half of it (a quarter of C<max_spool>), two a third each, and so on. So there is \
                   room for small content however many clients want much. Addresses of the loopback network and Unix sockets are \
                   those of proxies and have no share as a whole, only each of their requests. Content for \
                   which there is no room is answered with 507, before it is read where its length is announced. A response \
                   without room waits for its client, and its worker with it; C<min_response_rate> says how long. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "bare_lf",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.bare_lf = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "let LF without CR end a line of the head",
            long: "Whether an LF without CR ends a line of a request's head, as RFC 9112 allows and nginx has it. With \
                   C<--no-bare-lf> it is answered with 400. In chunked content it always is.",
            entry: Entry::All,
        },
        Opt {
            name: "te_cl",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.te_cl = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "take Transfer-Encoding beside Content-Length",
            long: "Whether a request with both C<Transfer-Encoding> and C<Content-Length> is served: the latter is \
                   ignored, and the connection closes behind the response. Without it such a request, by which others \
                   are smuggled past proxies, is answered with 400. For old clients that can't be mended.",
            entry: Entry::All,
        },
        Opt {
            name: "underscores_in_headers",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.underscores = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "keep header fields with _ in their names",
            long: "Whether header fields with C<_> in their names reach the app. C<X_Auth> and C<X-Auth> are the same \
                   key there, so that a client could slip the former past a proxy that guards the latter. The option's \
                   name is nginx's.",
            entry: Entry::All,
        },
        Opt {
            name: "require_host",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.require_host = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "refuse HTTP/1.1 requests without a Host field",
            long: "Whether an HTTP/1.1 request without a C<Host> field is answered with 400, as RFC 9112 demands. With \
                   C<--no-require-host> it is served, and the app sees no C<HTTP_HOST>. HTTP/1.0 needs no C<Host>.",
            entry: Entry::All,
        },
        Opt {
            name: "target_fragment",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.target_fragment = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "take a request target with # and drop what follows",
            long: "Whether a request target may contain C<#>. What follows it reaches the app in C<REQUEST_URI> only, \
                   as with Gazelle. Without this option the request is answered with 400: clients do not send \
                   fragments (RFC 9112), and a proxy may take the bytes for part of the path.",
            entry: Entry::All,
        },
        Opt {
            name: "worker_no_new_privs",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.worker_no_new_privs = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "workers can gain no privileges, as by sudo",
            long: "Whether workers, and what they start, are kept from gaining privileges by programs as sudo or \
                   sendmail, as C<no_new_privs> of prctl(2) does it. The process that holds the connections always is.",
            entry: Entry::All,
        },
        Opt {
            name: "dumpable",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.limits.dumpable = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "processes dump core, and debuggers may attach",
            long: "Whether the server's processes dump core and can be traced by processes of their own user, as a debugger is one \
                   (C<PR_SET_DUMPABLE> of prctl(2)). Without this option workers and the process that holds the connections don't \
                   and can't, and with C<user> no process does; root can trace them always. Use it to debug only: a core dump may \
                   hold requests and private keys.",
            entry: Entry::All,
        },
    ],
};
