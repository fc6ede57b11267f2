//! Options about the access log and the error log.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Logging",
    options: &[
        Opt {
            name: "access_log_path",
            letter: None,
            aliases: &["access_log"],
            kind: Kind::Text(|options, text| options.logging.access_log_path = Some(text)),
            value: "PLACE",
            preset: Preset::None,
            short: "file, - (stdout), stderr, syslog[:...] or |COMMAND",
            long: "Where the access log goes: a file that is appended to, C<-> or C<stdout>, C<stderr>, C<syslog>, \
                   C<syslog:FACILITY,tag=TAG,server=SOCKET> (any of the three may be left out), or C<|COMMAND>, which \
                   the shell starts once and which reads the lines. An empty text is no log. Without the option \
                   there is none from plackup and the command C<gepok>; C<Gepok-E<gt>new> writes to standard error, \
                   or, in the background, to F</var/log/NAME-access.log> for root and F<~/NAME-access.log> for \
                   others. plackup takes C<--access-log> for itself, for the log that it writes in its own way. See \
                   F<docs/logging.md>.",
            entry: Entry::All,
        },
        Opt {
            name: "access_log_format",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.logging.access_log_format = text),
            value: "FORMAT",
            preset: Preset::Value("combined"),
            short: "combined, common, json, or a text with % directives",
            long: "What a line shows: C<combined>, C<common>, C<combinedio>, C<vhost_combined>, C<json>, or a text with \
                   the C<%> directives of Apache's httpd, as C<%h %t \"%r\" %E<gt>s %b %D>. An unknown directive is \
                   refused. See F<docs/logging.md> for all of them.",
            entry: Entry::All,
        },
        Opt {
            name: "error_log_path",
            letter: None,
            aliases: &["error_log"],
            kind: Kind::Text(|options, text| options.logging.error_log_path = Some(text)),
            value: "FILE",
            preset: Preset::None,
            short: "a file that becomes standard error of all processes",
            long: "A file that becomes standard error of the master, the core and the workers, once all listens: it \
                   gets Gepok's own lines, C<psgi.errors>, warnings, and what programs write that the app starts. \
                   It is appended to. An empty text leaves standard error as it is, and so does the option's absence, but for \
                   a server in the background that was started from Perl: its file is F</var/log/NAME-error.log> for \
                   root and F<~/NAME-error.log> for others.",
            entry: Entry::All,
        },
        Opt {
            name: "log_level",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, text| options.logging.log_level = Some(text)),
            value: "LEVEL",
            preset: Preset::Described("GEPOK_LOG of the environment, else warn"),
            short: "least level of lines: error, warn, info, debug",
            long: "The least level of Gepok's own lines, and of what the app writes through C<psgix.logger>: C<error>, \
                   C<warn>, C<info> or C<debug>; C<off> is none.",
            entry: Entry::All,
        },
        Opt {
            name: "default_logs",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, yes| options.logging.default_logs = yes),
            value: "",
            preset: Preset::Value("0"),
            short: "write logs where no option says so",
            long: "Whether logs go to their default places where C<access_log_path> and C<error_log_path> are not \
                   given. C<Gepok-E<gt>new> turns it on.",
            entry: Entry::Perl,
        },
    ],
};
