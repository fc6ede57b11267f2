//! `--help` and `--version`, made of the table.

use std::fmt::Write as _;

use super::VERSION;
use super::command::{COMMANDS, PRECOMPRESS};
use super::table::{self, CATEGORIES, Entry, Opt, Preset};

/// What `precompress` does, for its help and its manual.
pub const PRECOMPRESS_TEXT: &str = "Writes compressed variants of the files below each DIR: app.js.br, app.js.zst and app.js.gz beside app.js. \
    The server sends them in place of the file to clients that accept them. A variant has the time and the permissions of \
    its file. One that has the time already is left as it is; others are replaced. A variant that would not be 5 % smaller is \
    not written, and removed where it exists. Symbolic links are not followed.";

/// Wider lines are hard to read.
const WIDEST: usize = 98;
const NARROWEST: usize = 40;
/// Where texts begin, and where they begin on a line of their own on a narrow terminal.
const TEXT: usize = 34;
const NARROW_TEXT: usize = 8;
const NARROW: usize = 72;

/// What `-h` names: the options that most servers need.
const COMMON: &[&str] = &[
    "eval",
    "env",
    "include",
    "preload_app",
    "host",
    "port",
    "listen",
    "http_ports",
    "https_ports",
    "unix_sockets",
    "max_workers",
    "user",
    "daemonize",
    "pid_path",
    "access_log_path",
    "error_log_path",
];

/// What is printed instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `-h`
    Usage,
    /// `--help`
    Help,
    /// `--version`
    Version,
    /// `precompress --help`
    Precompress,
}

/// What `gepok --version` prints first; the perl tells of itself.
pub fn version() -> String {
    format!(
        "gepok {VERSION}\nTLS by rustls {}, aws-lc-rs {}\n",
        env!("GEPOK_RUSTLS"),
        env!("GEPOK_AWS_LC_RS")
    )
}

/// The options that the command `precompress` takes.
const OF_PRECOMPRESS: &[(&str, &str)] = &[
    (
        "compress",
        "the codings, of zstd, br and gzip (default: all)",
    ),
    (
        "compress_min_length",
        "the least size of files that are compressed",
    ),
    ("compress_types", "media types of files that are compressed"),
    (
        "mime_types",
        "a file of further media types, as /etc/mime.types",
    ),
    ("hidden", "compress .dotfiles and backups~ as well"),
];

/// What `gepok precompress --help` prints on a terminal of so many columns.
pub fn precompress(width: usize) -> String {
    let page_of = Lines {
        width: width.clamp(NARROWEST, WIDEST),
    };
    let mut help = format!(
        "Usage: gepok {} [options] {}\n\n",
        PRECOMPRESS.0, PRECOMPRESS.1
    );
    page_of.paragraph(&mut help, PRECOMPRESS_TEXT);
    help += "\nOptions:\n";
    for (name, short) in OF_PRECOMPRESS {
        if let Some(option) = table::find(name, Entry::Binary) {
            let preset = match option.preset {
                Preset::Value(text) if !option.is_flag() => format!(" (default: {text})"),
                _ => String::new(),
            };
            page_of.entry(&mut help, &left(option), &format!("{short}{preset}"));
        }
    }
    help
}

/// What `gepok -h` and `gepok --help` print on a terminal of so many columns.
pub fn help(page: Page, width: usize) -> String {
    let page_of = Lines {
        width: width.clamp(NARROWEST, WIDEST),
    };
    let mut help = format!(
        "gepok {VERSION}: serves a PSGI app over HTTP\n\n\
         Usage: gepok [options] [app.psgi]\n       \
         gepok [options] -e 'CODE'\n       \
         gepok COMMAND [--pid-path PATH]\n"
    );
    help += "\nCommands:\n";
    for (_, word, text) in COMMANDS {
        page_of.entry(&mut help, &format!("  {word}"), text);
    }
    let (word, arguments, what) = PRECOMPRESS;
    page_of.entry(&mut help, &format!("  {word} {arguments}"), what);
    let is_shown = |option: &Opt| {
        option.taken_by(Entry::Binary) && (page == Page::Help || COMMON.contains(&option.name))
    };
    if page == Page::Usage {
        help += "\nCommon options:\n";
    }
    for category in CATEGORIES {
        let mut options = category
            .options
            .iter()
            .filter(|option| is_shown(option))
            .peekable();
        if page == Page::Help && options.peek().is_some() {
            help += &format!("\n{}:\n", category.title);
        }
        for option in options {
            let mut text = text(option);
            if page == Page::Help {
                text += &also(option);
            }
            page_of.entry(&mut help, &left(option), &text);
        }
    }
    help += "\nOther:\n";
    page_of.entry(&mut help, "  -h", "print the common options");
    page_of.entry(&mut help, "      --help", "print all options");
    page_of.entry(
        &mut help,
        "  -v, --version",
        "print the versions of gepok, perl and TLS",
    );
    help += "\n";
    page_of.paragraph(
        &mut help,
        "--no-NAME or --disable-NAME turns a flag off. All options are described in gepok(1) and by \
         'perldoc Gepok::Options'.",
    );
    help
}

/// The names by which other servers know it.
fn also(option: &Opt) -> String {
    let names = option
        .aliases
        .iter()
        .map(|name| format!("--{}", name.replace('_', "-")));
    match names.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => none,
        names => format!("; also {names}"),
    }
}

/// Text without the codes of POD: `C<x>` is x.
pub(super) fn plain(pod: &str) -> String {
    let mut plain = String::new();
    let mut rest = pod;
    while let Some(at) = rest.find("C<") {
        plain += &rest[..at];
        let code = &rest[at + 2..];
        let end = code.find('>').unwrap_or(code.len());
        plain += &code[..end];
        rest = code.get(end + 1..).unwrap_or_default();
    }
    plain + rest
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
        Preset::Value(text) | Preset::Described(text) => {
            format!(" (default: {})", plain(text))
        }
    };
    format!("{}{preset}", option.short)
}

/// Lines of a page.
struct Lines {
    width: usize,
}

impl Lines {
    // A left side that is too long has the text on the next line.
    fn entry(&self, help: &mut String, left: &str, text: &str) {
        let indent = if self.width < NARROW {
            NARROW_TEXT
        } else {
            TEXT
        };
        let mut line = left.to_owned();
        if line.len() + 2 > indent {
            let _ = writeln!(help, "{line}");
            line.clear();
        }
        self.words(help, line, indent, text);
    }

    fn paragraph(&self, help: &mut String, text: &str) {
        self.words(help, String::new(), 0, text);
    }

    fn words(&self, help: &mut String, mut line: String, indent: usize, text: &str) {
        let mut is_first = true;
        for word in text.split(' ') {
            if !is_first && line.len() + 1 + word.len() > self.width {
                let _ = writeln!(help, "{line}");
                line.clear();
                is_first = true;
            }
            line = match is_first {
                true => format!("{line:indent$}{word}"),
                false => format!("{line} {word}"),
            };
            is_first = false;
        }
        let _ = writeln!(help, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_every_terminal() {
        for page in [Page::Usage, Page::Help, Page::Precompress] {
            for (width, most) in [(60, 60), (80, 80), (98, 98), (300, 98)] {
                let text = match page {
                    Page::Precompress => precompress(width),
                    _ => help(page, width),
                };
                for line in text.lines() {
                    assert!(line.len() <= most && line == line.trim_end(), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn it_names_every_option_and_alias() {
        let help = help(Page::Help, 98);
        for option in table::options() {
            let shown = help.contains(&format!("{} ", left(option).trim()))
                || help.contains(&format!("{}\n", left(option).trim()));
            assert_eq!(shown, option.taken_by(Entry::Binary), "{}", option.name);
            for alias in option.aliases.iter().filter(|_| shown) {
                let alias = format!("--{}", alias.replace('_', "-"));
                assert!(help.contains(&alias), "{alias}");
            }
        }
    }

    #[test]
    fn the_short_page_is_one_screen() {
        let usage = help(Page::Usage, 80);
        assert!(usage.lines().count() <= 52, "{usage}");
        for name in COMMON {
            assert!(table::find(name, Entry::Binary).is_some(), "{name}");
            assert!(usage.contains(&name.replace('_', "-")), "{name}");
        }
    }

    #[test]
    fn the_options_of_precompress_are_options() {
        for (name, _) in OF_PRECOMPRESS {
            assert!(table::find(name, Entry::Binary).is_some(), "{name}");
        }
    }

    #[test]
    fn there_are_no_codes_of_pod() {
        assert_eq!(plain("150, or C<a_b> where C<c>"), "150, or a_b where c");
        let help = help(Page::Help, 98);
        for letter in 'A'..='Z' {
            assert!(!help.contains(&format!("{letter}<")), "{letter}<");
        }
    }
}
