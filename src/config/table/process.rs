//! Options about the worker processes.

use super::{Category, Entry, Kind, Opt, Preset};

// Far above what a machine runs, far below what a typing error asks for.
const WORKERS: u32 = 10_000;

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
