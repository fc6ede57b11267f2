//! Options about the worker processes.

use super::{Category, Entry, Kind, Opt, Preset};

// Far above what a machine runs, far below what a typing error asks for.
const WORKERS: u32 = 10_000;

// As many as a worker's channel holds.
const WORKER_REQUESTS: u32 = 1024;

pub(super) static CATEGORY: Category = Category {
    title: "Processes",
    options: &[
        Opt {
            name: "start_servers",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, WORKERS, |options, count| options.start_servers = count),
            value: "N",
            preset: Preset::Value("3"),
            short: "workers to start with; 0: one process, no fork",
            long: "How many worker processes are started. With 0 nothing is forked: one process does it all, which \
                   debuggers and profilers need.",
            entry: Entry::All,
        },
        Opt {
            name: "max_workers",
            letter: None,
            aliases: &["workers"],
            kind: Kind::Integer(0, WORKERS, |options, count| {
                options.max_workers = Some(count)
            }),
            value: "N",
            preset: Preset::None,
            short: "exactly N workers, whatever start-servers says",
            long: "Exactly so many worker processes, as in Gazelle, Starlet and Starman; it goes before \
                   C<start_servers>. 0 is one process, as in Starlet.",
            entry: Entry::All,
        },
        Opt {
            name: "loop",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, name| options.life.event_loop = Some(name)),
            value: "NAME",
            preset: Preset::Described("none"),
            short: "event loop: poll, AnyEvent, EV, IO::Async, Mojo or a class",
            long: "The event loop that each worker waits in, so that its requests overlap: C<poll>, which is built in, \
                   C<AnyEvent>, C<EV>, C<IO::Async>, C<Mojo>, or a class with the methods that L<Gepok::Loop> \
                   names. C<psgi.nonblocking> is true then, and an app may keep the responder of a delayed response \
                   and answer later. With C<none> a worker serves one request at a time. See F<docs/async.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "worker_requests",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(1, WORKER_REQUESTS, |options, count| {
                options.life.worker_requests = Some(count);
            }),
            value: "N",
            preset: Preset::Described("100 with a loop, else 1"),
            short: "requests of a worker at a time, with an event loop",
            long: "How many requests a worker with an event loop (C<loop>) serves at a time; others wait, or go to \
                   other workers. Without a loop it is 1.",
            entry: Entry::All,
        },
        Opt {
            name: "max_requests_per_child",
            letter: None,
            aliases: &["max_reqs_per_child", "max_requests"],
            kind: Kind::Integer(0, u32::MAX, |options, count| {
                options.max_requests_per_child = count;
            }),
            value: "N",
            preset: Preset::Value("1000"),
            short: "requests until a worker is replaced; 0: never",
            long: "After how many requests a worker is replaced by a fresh one. 0 is never. In other servers 0 is \
                   their default. With C<start_servers> 0 it has no effect: nothing would take the place of \
                   the one process. Gepok 0.292 ended then.",
            entry: Entry::All,
        },
    ],
};
