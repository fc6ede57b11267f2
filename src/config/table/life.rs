//! Options about the life of workers: how many there are, what each may use, and what ends it.

use super::{Category, Entry, Kind, Opt, Preset};

// As in table::process.
const WORKERS: u32 = 10_000;

pub(super) static CATEGORY: Category = Category {
    title: "Life of workers",
    options: &[
        Opt {
            name: "max_clients",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(1, WORKERS, |options, count| {
                options.life.max_clients = Some(count)
            }),
            value: "N",
            preset: Preset::Described("150, or C<start_servers> where that is more"),
            short: "workers at most, while requests wait",
            long: "While requests wait for a worker, or fewer than C<min_spare_servers> workers are idle, more are \
                   started, up to so many. Clients are not counted: slow and idle ones occupy no worker. With \
                   C<max_workers> the number does not change.",
            entry: Entry::All,
        },
        Opt {
            name: "min_spare_servers",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, WORKERS, |options, count| {
                options.life.min_spare_servers = count;
            }),
            value: "N",
            preset: Preset::Value("1"),
            short: "idle workers kept ready for more requests",
            long: "When fewer workers than that are idle, another is started. 0 waits until a request has to wait.",
            entry: Entry::All,
        },
        Opt {
            name: "max_spare_servers",
            letter: None,
            aliases: &[],
            kind: Kind::Integer(0, WORKERS, |options, count| {
                options.life.max_spare_servers = Some(count);
            }),
            value: "N",
            preset: Preset::Described("C<start_servers>"),
            short: "idle workers above this number are let go",
            long: "When more workers than that were idle all through C<idle_worker_timeout>, those above it are let \
                   go, down to C<start_servers>.",
            entry: Entry::All,
        },
        Opt {
            name: "idle_worker_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.life.idle_worker_timeout = time),
            value: "SECONDS",
            preset: Preset::Value("10"),
            short: "how long workers too many are kept",
            long: "How long workers that nobody needs are kept, see C<max_spare_servers>.",
            entry: Entry::All,
        },
        Opt {
            name: "min_reqs_per_child",
            letter: None,
            aliases: &["min_requests_per_child"],
            kind: Kind::Integer(0, u32::MAX, |options, count| {
                options.life.min_reqs_per_child = count;
            }),
            value: "N",
            preset: Preset::Value("0"),
            short: "each worker draws its requests from N to the maximum",
            long: "Each worker chooses at random how many requests it serves, from this number to \
                   C<max_requests_per_child>, so that they are not all replaced at once. 0: all serve the maximum.",
            entry: Entry::All,
        },
        Opt {
            name: "max_worker_age",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.life.max_worker_age = time),
            value: "SECONDS",
            preset: Preset::Value("0"),
            short: "age at which a worker is replaced; 0: never",
            long: "A worker of this age is replaced by a fresh one, behind the request in hand. Each draws its own \
                   limit from the last tenth, so that they are not all replaced at once. 0 is never.",
            entry: Entry::All,
        },
        Opt {
            name: "max_worker_rss",
            letter: None,
            aliases: &[],
            kind: Kind::Bytes(|options, bytes| options.life.max_worker_rss = bytes),
            value: "BYTES",
            preset: Preset::Value("0"),
            short: "resident memory at which a worker is replaced",
            long: "A worker that occupies so much memory (resident set size, with what it shares with others) is \
                   replaced by a fresh one, behind the request in hand. The number may end in K, M or G. Each draws \
                   its own limit from the last tenth. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "request_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.life.request_timeout = time),
            value: "SECONDS",
            preset: Preset::Value("0"),
            short: "how long the app may be silent on a request; 0: for ever",
            long: "How long an app may take from the begin of its call to the response's head, and then between two \
                   parts of the content. Beyond that the client gets 504 (behind the head the connection is cut), \
                   the log says where in the app the worker was, and the worker is killed and replaced. Time in \
                   which the app waits for a slow client does not count, nor what it does with the client's socket \
                   (C<psgix.io>) or after it has ended its response. 0 is no limit.",
            entry: Entry::All,
        },
        Opt {
            name: "child_exit",
            letter: None,
            aliases: &[],
            kind: Kind::Source(|options, source| options.life.child_exit = Some(source)),
            value: "CODE",
            preset: Preset::None,
            short: "Perl code that each worker calls before it exits",
            long: "A code reference, or Perl source that gives one, called once in each worker right before it exits, \
                   whatever the reason, but for a kill. Its arguments are the Gepok object (undefined under the \
                   command C<gepok>) and the app.",
            entry: Entry::All,
        },
    ],
};
