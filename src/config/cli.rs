//! Options from the binary's command line.

use std::ffi::OsString;
use std::path::PathBuf;

use super::command::{self, Command, Word as CommandWord};
use super::error::Error;
use super::help::Page;
use super::options::Options;
use super::said::{Said, Source};
use super::table::{self, Entry, Opt};

/// What the command line asks for, and the options on it in their order.
#[derive(Debug)]
pub enum Parsed {
    /// To serve: the option `app` says what
    Serve(Vec<Said>),
    /// To control a running server that was started with these options
    Control(Command, Vec<Said>),
    /// To write compressed variants of the files below these directories
    Precompress(Vec<PathBuf>, Vec<Said>),
    /// To say what is wrong with the options of a server
    Check(Vec<Said>),
    /// Only to print this page, and to exit with status 0
    Print(Page),
}

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
        return Err(Error::CommandLine(format!(
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

    let mut typed = Vec::new();
    let mut apps = Vec::new();
    for word in words {
        match word {
            Word::Option(option, value) => typed.push(Said::new(option, value, Source::Typed)),
            Word::App(path) => apps.push(path),
            Word::Print(_) => {}
        }
    }
    let mut options = Options::default();
    typed.iter().try_for_each(|said| said.set(&mut options))?;
    if precompresses {
        if apps.is_empty() {
            return Err(Error::CommandLine(format!(
                "'{}' needs the directories whose files are to be compressed",
                command::PRECOMPRESS.0
            )));
        }
        let directories = apps.into_iter().map(PathBuf::from).collect();
        return Ok(Parsed::Precompress(directories, typed));
    }
    for path in apps {
        if let Some(other) = options.app.path.replace(path.clone()) {
            let why = format!("two apps are given, '{other}' and '{path}'");
            return Err(Error::CommandLine(why));
        }
        let option = table::find("app", Entry::Binary);
        typed.extend(option.map(|option| Said::new(option, path, Source::Typed)));
    }
    match (control, options.app.path) {
        (None, _) => Ok(Parsed::Serve(typed)),
        (Some((CommandWord::Check, _)), _) => Ok(Parsed::Check(typed)),
        (Some((CommandWord::Control(command), _)), None) => Ok(Parsed::Control(command, typed)),
        (Some((CommandWord::Control(_), word)), Some(app)) => Err(Error::CommandLine(format!(
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
            None => Err(Error::CommandLine(format!("option '{name}' needs a value"))),
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
    Error::CommandLine(format!("unknown option '{typed}', {meant}"))
}

fn text(arg: OsString) -> Result<String, Error> {
    arg.into_string()
        .map_err(|arg| Error::CommandLine(format!("'{}' is not UTF-8", arg.display())))
}

#[cfg(test)]
mod tests;
