//! Options from the binary's command line.

use std::ffi::OsString;
use std::fmt;

use clap::{Arg, ArgAction};

use super::command::{self, Command};
use super::help::Page;
use super::table::{self, Entry, Kind, Opt};
use super::{Options, Said};

// plackup's port.
const DEFAULT_PORT: u32 = 5000;

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// To serve: `options.app` says what
    Serve(Box<Said>),
    /// To move a server that runs, and was started with these options
    Move(Command, Box<Said>),
    /// Only to print this page, and to exit with status 0
    Print(Page),
}

/// A mistake on the command line, as one line without a line end. The exit status for it is 2.
#[derive(Debug, PartialEq, Eq)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Reads the arguments behind the program's name.
///
/// They may be spelled as plackup takes them: `--max-workers 4`, `--max_workers=4`, `-max-workers=4`,
/// `--disable-keepalive`, `--no-keepalive`. An unknown option is an error here: nobody could tell
/// whether the next argument is its value or the app. A first word that is a command's is no app.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Parsed, Error> {
    let mut args = args.into_iter().peekable();
    let moved = args
        .peek()
        .and_then(|word| command::find(word.to_str()?).map(|command| (command, word.clone())));
    if moved.is_some() {
        args.next();
    } else if let Some(word) = args.peek().and_then(|word| word.to_str())
        // Else it is a module's name. A file has a dot or a slash in its name.
        && let Some(meant) = command::nearest(word)
    {
        return Err(Error(format!(
            "unknown command '{word}', did you mean '{meant}'?"
        )));
    }
    let args = spelled(args)?;
    let matches = command()
        .try_get_matches_from(args)
        .map_err(|error| Error(one_line(&error.to_string())))?;
    let pages = [
        ("help", Page::Help),
        ("usage", Page::Usage),
        ("version", Page::Version),
    ];
    if let Some((_, page)) = pages.into_iter().find(|(flag, _)| matches.get_flag(flag)) {
        return Ok(Parsed::Print(page));
    }

    let mut options = Options::new();
    options.default_port = Some(DEFAULT_PORT);
    for option in known() {
        for value in matches
            .get_many::<String>(option.name)
            .into_iter()
            .flatten()
        {
            option
                .set(&mut options, value)
                .map_err(|error| Error(error.to_string()))?;
        }
    }
    for path in matches.get_many::<String>("FILE").into_iter().flatten() {
        if let Some(other) = options.app.path.replace(path.clone()) {
            return Err(Error(format!("two apps are given, '{other}' and '{path}'")));
        }
    }
    let app = options.app.path.clone();
    let said = Box::new(Said {
        options,
        warnings: Vec::new(),
    });
    match (moved, app) {
        (None, _) => Ok(Parsed::Serve(said)),
        (Some((command, _)), None) => Ok(Parsed::Move(command, said)),
        (Some((_, word)), Some(app)) => Err(Error(format!(
            "'{}' takes options of the server to find it by, but no app '{app}'; an app of that name is './{0}'",
            word.display()
        ))),
    }
}

fn known() -> impl Iterator<Item = &'static Opt> {
    table::options().filter(|option| option.taken_by(Entry::Binary))
}

fn command() -> clap::Command {
    clap::Command::new("gepok")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(known().map(arg))
        .arg(Arg::new("FILE").action(ArgAction::Append).num_args(0..))
        .arg(Arg::new("help").long("help").action(ArgAction::SetTrue))
        .arg(Arg::new("usage").short('h').action(ArgAction::SetTrue))
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::SetTrue),
        )
}

fn arg(option: &'static Opt) -> Arg {
    let arg = Arg::new(option.name)
        .long(option.name.replace('_', "-"))
        .action(ArgAction::Append)
        .allow_negative_numbers(true);
    let arg = match option.letter {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    match option.kind {
        // `--preload-app app.psgi` must not take the app for its value.
        Kind::Flag(_) => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("1"),
        Kind::Text(_) | Kind::Source(_) => arg.value_name(option.value).allow_hyphen_values(true),
        _ => arg.value_name(option.value),
    }
}

// Brings long options to the one spelling clap knows: two dashes, Gepok's name, `=0` or `=1` behind a negatable flag.
fn spelled(args: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, Error> {
    let mut spelled = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let arg = text(arg)?;
        if arg == "--" {
            spelled.push(arg);
            for rest in args.by_ref() {
                spelled.push(text(rest)?);
            }
            break;
        }
        let (arg, awaits_value) = match arg.strip_prefix('-') {
            Some(word) if !word.is_empty() => option(&arg, word)?,
            _ => (arg, false),
        };
        spelled.push(arg);
        // A value is left as it is, whatever it looks like.
        if awaits_value && let Some(value) = args.next() {
            spelled.push(text(value)?);
        }
    }
    Ok(spelled)
}

fn option(arg: &str, word: &str) -> Result<(String, bool), Error> {
    let (word, single) = match word.strip_prefix('-') {
        Some(word) => (word, false),
        None => (word, true),
    };
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    if let Some((long, implied)) = long(name) {
        let value = value.or(implied);
        let takes_value = !long.is_flag() && value.is_none();
        let dashed = long.name.replace('_', "-");
        return Ok(match value {
            Some(value) => (format!("--{dashed}={value}"), false),
            None => (format!("--{dashed}"), takes_value),
        });
    }
    if matches!(word, "help" | "version") || single && matches!(word, "h" | "v") {
        return Ok((arg.to_owned(), false));
    }
    let lettered = |letter: char| known().find(|option| single && option.letter == Some(letter));
    match word.chars().next().and_then(lettered) {
        Some(option) => Ok((arg.to_owned(), word.len() == 1 && !option.is_flag())),
        None => Err(unknown(arg, name)),
    }
}

// An option by its long name; a negatable flag's prefix implies the value.
fn long(name: &str) -> Option<(&'static Opt, Option<&'static str>)> {
    if let Some(option) = table::find(name, Entry::Binary) {
        return Some((option, None));
    }
    let name = name.replace('-', "_");
    [("no_", "0"), ("disable_", "0"), ("enable_", "1")]
        .into_iter()
        .find_map(|(prefix, value)| {
            let flag = table::find(name.strip_prefix(prefix)?, Entry::Binary)?;
            flag.is_flag().then_some((flag, Some(value)))
        })
}

fn unknown(arg: &str, name: &str) -> Error {
    let meant = match table::nearest(name, Entry::Binary) {
        Some(known) => format!("did you mean '--{}'?", known.replace('_', "-")),
        None => "see gepok --help".to_owned(),
    };
    let typed = arg.split('=').next().unwrap_or(arg);
    Error(format!("unknown option '{typed}', {meant}"))
}

fn text(arg: OsString) -> Result<String, Error> {
    arg.into_string()
        .map_err(|arg| Error(format!("'{}' is not UTF-8", arg.display())))
}

// clap tells its errors in paragraphs, the first of which says it.
fn one_line(error: &str) -> String {
    let line = error.lines().next().unwrap_or(error);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests;
