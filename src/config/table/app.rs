//! Options that say which app the binary serves; plackup reads its own.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Application",
    options: &[
        Opt {
            name: "app",
            letter: Some('a'),
            aliases: &[],
            kind: Kind::Text(|options, text| options.app.path = Some(text)),
            value: "FILE",
            preset: Preset::Described("app.psgi"),
            short: "the app's file; -a may be left out",
            long: "The file that holds the app, or the name of a module found in C<@INC> that ends with the app. \
                   The option's name may be left out.",
            entry: Entry::Binary,
        },
        Opt {
            name: "eval",
            letter: Some('e'),
            aliases: &[],
            kind: Kind::Text(|options, text| options.app.eval = Some(text)),
            value: "CODE",
            preset: Preset::None,
            short: "Perl code that gives the app",
            long: "Perl code whose value is the app. Where Plack is installed the words of L<Plack::Builder> can be \
                   used, and a file named beside it is the app they wrap.",
            entry: Entry::Binary,
        },
        Opt {
            name: "include",
            letter: Some('I'),
            aliases: &[],
            kind: Kind::Texts(|options, text| options.app.include.push(text)),
            value: "DIR",
            preset: Preset::None,
            short: "a folder to find modules in, repeatable",
            long: "A folder put in front of C<@INC>. Can be repeated.",
            entry: Entry::Binary,
        },
        Opt {
            name: "module",
            letter: Some('M'),
            aliases: &[],
            kind: Kind::Texts(|options, text| options.app.modules.push(text)),
            value: "MODULE",
            preset: Preset::None,
            short: "a module to load before the app, repeatable",
            long: "A module loaded before the app; C<Module=name,name> imports names for C<-e>. Can be repeated.",
            entry: Entry::Binary,
        },
        Opt {
            name: "env",
            letter: Some('E'),
            aliases: &[],
            kind: Kind::Text(|options, text| options.app.env = Some(text)),
            value: "NAME",
            preset: Preset::Described("deployment"),
            short: "PLACK_ENV for the app",
            long: "Sets C<PLACK_ENV> in the environment. Without the option a C<PLACK_ENV> set already is kept, else \
                   it is C<deployment>. Whatever its value, no middleware is put in front of the app.",
            entry: Entry::Binary,
        },
        Opt {
            name: "preload_app",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.app.preload = yes),
            value: "",
            preset: Preset::Value("1"),
            short: "load the app once, before the fork",
            long: "Loads the app once, so that the workers share its memory. With C<--no-preload-app> each worker \
                   loads it for itself, which an app needs that opens connections while it is loaded.",
            entry: Entry::Binary,
        },
        Opt {
            name: "config",
            letter: Some('c'),
            aliases: &[],
            kind: Kind::Text(|options, path| options.app.config = Some(path)),
            value: "FILE",
            preset: Preset::None,
            short: "a file of options in TOML",
            long: "A file in TOML that sets options by their names, as C<max_workers = 4>. The command line and the \
                   environment come before it. A reload reads it again. See F<docs/configuration.md>; \
                   C<gepok check --config FILE> tells what is wrong in it.",
            entry: Entry::Binary,
        },
        Opt {
            name: "print",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.app.print = on),
            value: "",
            preset: Preset::Value("0"),
            short: "gepok check: print all options and their origins",
            long: "With the command C<gepok check>: prints every option with its value, and where that comes from.",
            entry: Entry::Binary,
        },
    ],
};
