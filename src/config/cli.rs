//! Options from the binary's command line.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use super::command::{self, Command};
use super::help::Page;
use super::table::{self, Entry, Opt};
use super::{Options, ParsedOptions};

// plackup's port.
const DEFAULT_PORT: u32 = 5000;

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// To serve: `options.app` says what
    Serve(Box<ParsedOptions>),
    /// To control a running server that was started with these options
    Control(Command, Box<ParsedOptions>),
    /// To write compressed variants of the files below these directories
    Precompress(Vec<PathBuf>, Box<ParsedOptions>),
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
    let control = args
        .peek()
        .and_then(|word| command::find(word.to_str()?).map(|command| (command, word.clone())));
    let precompresses = args
        .peek()
        .is_some_and(|word| word == command::PRECOMPRESS.0);
    if control.is_some() || precompresses {
        args.next();
    } else if let Some(word) = args.peek().and_then(|word| word.to_str())
        // Else it is a module's name. A file has a dot or a slash in its name.
        && let Some(meant) = command::nearest(word)
    {
        return Err(Error(format!(
            "unknown command '{word}', did you mean '{meant}'?"
        )));
    }
    let words = words(args)?;
    if precompresses
        && words
            .iter()
            .any(|word| matches!(word.page(), Some(Page::Usage | Page::Help)))
    {
        return Ok(Parsed::Print(Page::Precompress));
    }
    if let Some(page) = words.iter().find_map(Word::page) {
        return Ok(Parsed::Print(page));
    }

    let mut options = Options::new();
    options.default_port = Some(DEFAULT_PORT);
    let mut apps = Vec::new();
    for word in words {
        match word {
            Word::Option(option, value) => option
                .set(&mut options, &value)
                .map_err(|error| Error(error.to_string()))?,
            Word::App(path) => apps.push(path),
            Word::Print(_) => {}
        }
    }
    if precompresses {
        if apps.is_empty() {
            return Err(Error(format!(
                "'{}' needs the directories whose files are to be compressed",
                command::PRECOMPRESS.0
            )));
        }
        let parsed = ParsedOptions {
            options,
            warnings: Vec::new(),
        };
        let directories = apps.into_iter().map(PathBuf::from).collect();
        return Ok(Parsed::Precompress(directories, Box::new(parsed)));
    }
    for path in apps {
        if let Some(other) = options.app.path.replace(path.clone()) {
            return Err(Error(format!("two apps are given, '{other}' and '{path}'")));
        }
    }
    let app = options.app.path.clone();
    let parsed = Box::new(ParsedOptions {
        options,
        warnings: Vec::new(),
    });
    match (control, app) {
        (None, _) => Ok(Parsed::Serve(parsed)),
        (Some((command, _)), None) => Ok(Parsed::Control(command, parsed)),
        (Some((_, word)), Some(app)) => Err(Error(format!(
            "'{}' takes options of the server to find it by, but no app '{app}'; an app of that name is './{0}'",
            word.display()
        ))),
    }
}

fn known() -> impl Iterator<Item = &'static Opt> {
    table::options().filter(|option| option.taken_by(Entry::Binary))
}

/// What an argument, or two of them, say.
enum Word {
    Option(&'static Opt, String),
    App(String),
    Print(Page),
}

impl Word {
    fn page(&self) -> Option<Page> {
        match self {
            Word::Print(page) => Some(*page),
            Word::Option(..) | Word::App(_) => None,
        }
    }
}

/// Takes the arguments apart. No crate does it: the ones that are common take the `-max-workers` of plackup for letters.
fn words(args: impl IntoIterator<Item = OsString>) -> Result<Vec<Word>, Error> {
    let mut words = Vec::new();
    let mut args = args.into_iter().map(text);
    while let Some(arg) = args.next() {
        let arg = arg?;
        match arg.strip_prefix('-') {
            None | Some("") => words.push(Word::App(arg)),
            Some("-") => {
                for arg in args.by_ref() {
                    words.push(Word::App(arg?));
                }
            }
            // A value is left as it is, whatever it looks like.
            Some(word) => option(&mut words, &arg, word, || args.next())?,
        }
    }
    Ok(words)
}

/// Reads an argument that begins with a dash; `word` is what follows that.
fn option(
    words: &mut Vec<Word>,
    arg: &str,
    word: &str,
    mut next: impl FnMut() -> Option<Result<String, Error>>,
) -> Result<(), Error> {
    let mut value_of = |option: &'static Opt, value: Option<&str>, name: &str| match value {
        Some(value) => Ok(Word::Option(option, value.to_owned())),
        // `--preload-app app.psgi` must not take the app for its value.
        None if option.is_flag() => Ok(Word::Option(option, "1".to_owned())),
        None => match next() {
            Some(value) => Ok(Word::Option(option, value?)),
            None => Err(Error(format!("option '{name}' needs a value"))),
        },
    };
    let (word, single) = match word.strip_prefix('-') {
        Some(word) => (word, false),
        None => (word, true),
    };
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word, None),
    };
    if let Some((option, implied)) = long(name) {
        words.push(value_of(option, value.or(implied), arg)?);
        return Ok(());
    }
    let page = match word {
        "help" => Some(Page::Help),
        "version" => Some(Page::Version),
        _ => None,
    };
    if let Some(page) = page {
        words.push(Word::Print(page));
        return Ok(());
    }
    let mut rest = if single { word } else { "" };
    if rest.is_empty() {
        return Err(unknown(arg, name));
    }
    // Letters: flags may share one dash, and the value of an option may follow at once.
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match known().find(|option| option.letter == Some(letter)) {
            Some(option) if option.is_flag() && !rest.starts_with('=') => {
                words.push(value_of(option, None, arg)?);
            }
            Some(option) => {
                let value = Some(rest).filter(|rest| !rest.is_empty());
                let value = value.map(|value| value.strip_prefix('=').unwrap_or(value));
                words.push(value_of(option, value, arg)?);
                return Ok(());
            }
            None => words.push(Word::Print(match letter {
                'h' => Page::Usage,
                'v' => Page::Version,
                _ => return Err(unknown(arg, name)),
            })),
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests;
