//! `--help` and `--version`, made of the table.

use std::fmt::Write as _;

use super::VERSION;
use super::command::COMMANDS;
use super::table::{CATEGORIES, Entry, Opt, Preset};

const WIDTH: usize = 98;
const TEXT: usize = 34;

/// What `gepok --version` prints.
pub fn version() -> String {
    format!("gepok {VERSION}\n")
}

/// What `gepok --help` prints.
pub fn help() -> String {
    let mut help = format!(
        "gepok {VERSION}: serves a PSGI app over HTTP\n\n\
         Usage: gepok [options] [app.psgi]\n       \
         gepok [options] -e 'sub {{ [200, [], [\"hello\\n\"]] }}'\n       \
         gepok COMMAND [--pid-path PATH] [--name NAME]\n"
    );
    help += "\nCommands, for a server that runs:\n";
    for (_, word, text) in COMMANDS {
        entry(&mut help, &format!("  {word}"), text);
    }
    for category in CATEGORIES {
        let mut options = category
            .options
            .iter()
            .filter(|option| option.taken_by(Entry::Binary))
            .peekable();
        if options.peek().is_some() {
            help += &format!("\n{}:\n", category.title);
        }
        for option in options {
            entry(&mut help, &left(option), &text(option));
        }
    }
    help += "\nOther:\n";
    entry(&mut help, "  -h, --help", "print this text");
    entry(&mut help, "  -v, --version", "print the version");
    help += "\nFlags are turned off by --no-NAME or --disable-NAME. Each option is told in full by\n\
             perldoc Gepok::Options\n";
    help
}

fn left(option: &Opt) -> String {
    let letter = match option.letter {
        Some(letter) => format!("-{letter}, "),
        None => "    ".to_owned(),
    };
    // A flag is shown in the form that changes something.
    let no = match (option.is_flag(), option.preset) {
        (true, Preset::Value("1")) => "[no-]",
        _ => "",
    };
    let (name, value) = (option.name.replace('_', "-"), option.value);
    format!("  {letter}--{no}{name} {value}")
        .trim_end()
        .to_owned()
}

fn text(option: &Opt) -> String {
    let preset = match option.preset {
        Preset::None => String::new(),
        Preset::Value("1") if option.is_flag() => " (default: on)".to_owned(),
        Preset::Value(_) if option.is_flag() => " (default: off)".to_owned(),
        Preset::Value(text) | Preset::Described(text) => format!(" (default: {text})"),
    };
    format!("{}{preset}", option.short)
}

// A left side that is too long has the text on the next line.
fn entry(help: &mut String, left: &str, text: &str) {
    let mut line = left.to_owned();
    if line.len() + 2 > TEXT {
        let _ = writeln!(help, "{line}");
        line.clear();
    }
    for word in text.split(' ') {
        if line.len() > TEXT && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(help, "{line}");
            line.clear();
        }
        if line.len() < TEXT {
            line = format!("{line:TEXT$}{word}");
        } else {
            line = format!("{line} {word}");
        }
    }
    let _ = writeln!(help, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table;

    #[test]
    fn it_fits_a_terminal_and_names_every_option() {
        let help = help();
        for line in help.lines() {
            assert!(line.len() <= WIDTH && line == line.trim_end(), "{line:?}");
        }
        for option in table::options() {
            let shown = help.contains(&format!("{} ", left(option).trim()))
                || help.contains(&format!("{}\n", left(option).trim()));
            assert_eq!(shown, option.taken_by(Entry::Binary), "{}", option.name);
        }
    }
}
