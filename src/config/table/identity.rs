//! Options about what the server calls itself.

use super::{Category, Entry, Kind, Opt, Preset};
use crate::config::VERSION;

pub(super) static CATEGORY: Category = Category {
    title: "Identity",
    options: &[
        Opt {
            name: "name",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.name = text),
            value: "NAME",
            preset: Preset::Described("the program's file name"),
            short: "the program's name",
            long: "The name of the program, as process titles, C<pgrep> and messages show it.",
            entry: Entry::All,
        },
        Opt {
            name: "product_name",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.product_name = text),
            value: "NAME",
            preset: Preset::Value("Gepok"),
            short: "name in the Server field; empty: no such field",
            long: "The name in the response's field C<Server: NAME/VERSION>; a subclass of Gepok gives its own name. \
                   An empty name leaves the field out.",
            entry: Entry::All,
        },
        Opt {
            name: "product_version",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.product_version = text),
            value: "VERSION",
            preset: Preset::Value(VERSION),
            short: "version behind it; empty: the name alone",
            long: "The version in the response's field C<Server: NAME/VERSION>. An empty version leaves the name alone.",
            entry: Entry::All,
        },
    ],
};
