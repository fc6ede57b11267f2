//! Options about stopping, reloading and starting again.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Stop and reload",
    options: &[
        Opt {
            name: "graceful_timeout",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.reload.graceful_timeout = time),
            value: "SECONDS",
            preset: Preset::Value("30"),
            short: "how long a graceful stop waits for requests",
            long: "How long a graceful stop (signal TERM or QUIT) waits for requests in flight; then they are cut.",
            entry: Entry::All,
        },
        Opt {
            name: "spawn_interval",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.reload.spawn_interval = time),
            value: "SECONDS",
            preset: Preset::Value("0"),
            short: "pause between the births of two workers",
            long: "With it, workers are started one at a time, so long apart: at the start, at a reload (where each new \
                   one replaces an old one), and when some have died. Signal USR1 stops them as slowly. 0 is no \
                   pause: a reload replaces all workers at once, when all new ones have loaded the app.",
            entry: Entry::All,
        },
        Opt {
            name: "err_respawn_interval",
            letter: None,
            aliases: &[],
            kind: Kind::Seconds(|options, time| options.reload.err_respawn_interval = time),
            value: "SECONDS",
            preset: Preset::Value("1"),
            short: "pause after a worker that failed before it served",
            long: "How long nobody is started when a worker has failed before it could serve, so that an app that does \
                   not start doesn't keep the machine busy. One that fails later is replaced at once.",
            entry: Entry::All,
        },
        Opt {
            name: "check_path",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.reload.check_path = Some(text)),
            value: "PATH",
            preset: Preset::None,
            short: "what new workers must answer before they replace old ones",
            long: "At a reload each new worker is asked GET of this path, before any client's request. Where the \
                   answer is a status of 500 or more, or none within 30 seconds, the old workers stay and the log \
                   says why.",
            entry: Entry::All,
        },
        Opt {
            name: "reload_on_hup",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.reload.reload_on_hup = on),
            value: "",
            preset: Preset::Value("0"),
            short: "signal HUP does what USR2 does",
            long: "Signal HUP begins the server anew in place, as signal USR2 does: the program, its options and the app \
                   are loaded anew, a preloaded app too. Without it HUP replaces the workers alone.",
            entry: Entry::All,
        },
    ],
};
