//! Options about what a running server tells of itself.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Status",
    options: &[Opt {
        name: "json",
        letter: None,
        aliases: &[],
        kind: Kind::Flag(|options, on| options.json = on),
        value: "",
        preset: Preset::Value("0"),
        short: "gepok status: one JSON object instead of a table",
        long: "With the command C<gepok status>: tells one JSON object instead of a table.",
        entry: Entry::Binary,
    }],
};
