//! Options about the background, the pid file and privileges.

use super::{Category, Entry, Kind, Opt, Preset};

pub(super) static CATEGORY: Category = Category {
    title: "Background and privileges",
    options: &[
        Opt {
            name: "daemonize",
            letter: Some('D'),
            aliases: &[],
            kind: Kind::Flag(|options, on| options.daemon.daemonize = on),
            value: "",
            preset: Preset::Described("1 for Gepok->new, else 0"),
            short: "run in the background once the app is loaded",
            long: "Whether the server leaves its terminal: a new session, F</> as its folder (see C<chdir>), standard \
                   input from F</dev/null>, a pid file. The process that was started returns with status 0 when \
                   everything listens and the first worker has loaded the app; what hinders that is told before, \
                   with another status, and nothing is left behind. Ctrl-C ends a start that takes too long. Standard \
                   output becomes F</dev/null> too, and standard error where it is a terminal. Under Server::Starter \
                   nothing leaves.",
            entry: Entry::All,
        },
        Opt {
            name: "pid_path",
            letter: None,
            aliases: &["pid"],
            kind: Kind::Text(|options, path| options.daemon.pid_path = Some(path.into())),
            value: "PATH",
            preset: Preset::Described("/var/run/NAME.pid for root, else ~/NAME.pid"),
            short: "the pid file",
            long: "The file that holds the pid of the master, locked while it lives, and removed when it ends. It is \
                   written when this option is given, and in the background. A server whose pid file is held by \
                   another does not start, but for a successor under Server::Starter, which replaces the file; one left by \
                   a dead server is taken over. C<''> is no such file.",
            entry: Entry::All,
        },
        Opt {
            name: "scoreboard_path",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, path| options.daemon.scoreboard_path = Some(path.into())),
            value: "PATH",
            preset: Preset::Described("/var/run/NAME.scoreboard for root, else ~/NAME.scoreboard"),
            short: "a file that tells what workers do",
            long: "A file that tells other programs what the workers do, within a second of each change; see \
                   docs/status.md for its form. It is written when this option is given, and in the background, \
                   and removed at the end. A server does not start whose file is that of another one which is running, \
                   but for a successor under Server::Starter, which makes the file anew. C<''> or C<0> disables it, \
                   and with it the change of the pool's size: as many workers as C<start_servers> says stay.",
            entry: Entry::All,
        },
        Opt {
            name: "chdir",
            letter: None,
            aliases: &["working_dir"],
            kind: Kind::Text(|options, path| options.daemon.chdir = Some(path.into())),
            value: "DIR",
            preset: Preset::Described("/ in the background, else unchanged"),
            short: "the folder to run in",
            long: "The folder the server changes to when all listens and is opened; relative paths of other options \
                   are those of the folder it was started in, whatever folder the app changes to, and so is the app's own path. In the background the \
                   folder is F</>, except that where each worker loads the app for itself it stays what it was.",
            entry: Entry::All,
        },
        Opt {
            name: "umask",
            letter: None,
            aliases: &[],
            kind: Kind::Mode(|options, mask| options.daemon.umask = Some(mask)),
            value: "MASK",
            preset: Preset::Described("unchanged"),
            short: "permissions that new files shall not have, as 027",
            long: "Permissions, in octal, that files made by the server and the app shall not have. From Perl it is \
                   a string: C<'027'>.",
            entry: Entry::All,
        },
        Opt {
            name: "require_root",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.daemon.require_root = on),
            value: "",
            preset: Preset::Value("0"),
            short: "refuse to start without root's rights",
            long: "Whether to refuse to start where the effective user is not root.",
            entry: Entry::All,
        },
        Opt {
            name: "user",
            letter: None,
            aliases: &[],
            kind: Kind::Text(|options, user| options.daemon.user = Some(user)),
            value: "USER",
            preset: Preset::Described("unchanged"),
            short: "the user to run as, for a start as root",
            long: "The user, by name or number, to run as when all sockets and files are open: the core and the \
                   workers, and where the app is loaded before the fork the master too. The command C<gepok> loads the \
                   app after that, as the user; plackup and scripts have loaded it before, as root. The app of a server that \
                   was started by root and given no user has root's rights; there is a warning, which C<root> as \
                   this option's value takes away.",
            entry: Entry::All,
        },
        Opt {
            name: "group",
            letter: None,
            aliases: &[],
            kind: Kind::Names(|options, group| options.daemon.groups.push(group)),
            value: "GROUPS",
            preset: Preset::Described("the groups of the user"),
            short: "the groups to run with, by blanks or commas",
            long: "The groups, by name or number, to run with: the first is the primary one, and no others remain. \
                   Several are separated by blanks or commas. Without it they are those that the system's files \
                   give to C<user>.",
            entry: Entry::All,
        },
        Opt {
            name: "proctitle",
            letter: None,
            aliases: &[],
            kind: Kind::Flag(|options, on| options.daemon.proctitle = on),
            value: "",
            preset: Preset::Value("1"),
            short: "processes tell in their titles what they do",
            long: "Whether the processes show in ps(1) which of the server they are and what they do: C<NAME [parent]>, \
                   C<NAME [core]>, and of workers C<NAME [child]> while they load the app, C<NAME [listening]>, \
                   C<NAME [serving GET /path]>, never with the query, and C<NAME [leaving]>. The title takes the \
                   place of the command line and is cut to its length. An app that sets C<$0> while it answers goes before it.",
            entry: Entry::All,
        },
    ],
};
