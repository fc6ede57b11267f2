//! The words before the binary's options: commands to a running server, the check of a configuration, and what works on files.

/// What to do with a server that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Finish the requests being served, and end
    Stop,
    /// Restart in place, with the same sockets
    Restart,
    /// Replace the workers, read certificates again, reopen log files
    Reload,
    /// Tell whether it runs
    Status,
}

/// What a first word means that is no app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Do this with a server that runs
    Control(Command),
    /// Say what is wrong with the options of a server, and start none
    Check,
}

/// Each command with its word, and one line for `--help`.
pub const COMMANDS: [(Word, &str, &str); 5] = [
    (
        Word::Control(Command::Stop),
        "stop",
        "stop the server that holds the pid file, and wait until it has ended",
    ),
    (
        Word::Control(Command::Restart),
        "restart",
        "restart in place, with a new program, options and app (USR2), and wait for it",
    ),
    (
        Word::Control(Command::Reload),
        "reload",
        "replace workers, reopen files (HUP), and wait for it",
    ),
    (
        Word::Control(Command::Status),
        "status",
        "print whether it runs, and its load",
    ),
    (
        Word::Check,
        "check",
        "check the options and the configuration file, without a start",
    ),
];

/// The command that writes compressed variants of files: its word, its arguments, and one line for `--help`.
pub const PRECOMPRESS: (&str, &str, &str) = (
    "precompress",
    "DIR ...",
    "write compressed variants of files",
);

/// What this word means.
pub fn find(word: &str) -> Option<Word> {
    let found = COMMANDS.iter().find(|(_, name, _)| *name == word);
    found.map(|(meaning, ..)| *meaning)
}

/// The command that is meant by a word which is none, if one is near enough.
pub fn nearest(word: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().map(|(_, name, _)| *name);
    let near = names
        .chain([PRECOMPRESS.0])
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, name)| *distance <= 2 && distance * 3 <= name.len());
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}
