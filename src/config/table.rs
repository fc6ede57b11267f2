//! The table of options: one entry for each, and how a text becomes its value.

mod app;
mod connection;
mod daemon;
mod environment;
mod files;
mod identity;
mod life;
mod limits;
mod listen;
mod logging;
mod process;
mod proxies;
mod reload;
mod status;
mod tls;

use std::path::PathBuf;
use std::time::Duration;

use super::error::{Error, Result};

use super::address::{self, Address, Port};
use super::options::Options;

/// Every option, in the order of `--help` and of the documentation.
pub static CATEGORIES: &[&Category] = &[
    &app::CATEGORY,
    &listen::CATEGORY,
    &tls::CATEGORY,
    &files::CATEGORY,
    &process::CATEGORY,
    &reload::CATEGORY,
    &life::CATEGORY,
    &status::CATEGORY,
    &daemon::CATEGORY,
    &proxies::CATEGORY,
    &connection::CATEGORY,
    &environment::CATEGORY,
    &limits::CATEGORY,
    &logging::CATEGORY,
    &identity::CATEGORY,
];

/// Options that belong together.
#[derive(Debug)]
pub struct Category {
    /// Title, as a heading
    pub title: &'static str,
    /// The options, the most used first
    pub options: &'static [Opt],
}

/// One option.
#[derive(Debug)]
pub struct Opt {
    /// Gepok's name, in snake_case; readers take `-` for `_`
    pub name: &'static str,
    /// The letter on the binary's command line; plackup's, where it has one
    pub letter: Option<char>,
    /// The names other servers gave it
    pub aliases: &'static [&'static str],
    /// What values it takes, and where they go
    pub kind: Kind,
    /// What stands for the value in texts; empty for a flag
    pub value: &'static str,
    /// The default
    pub preset: Preset,
    /// One line for `--help`, without an end point
    pub short: &'static str,
    /// Whole sentences in POD for the documentation
    pub long: &'static str,
    /// Who takes it
    pub entry: Entry,
}

/// The default of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// None
    None,
    /// This value
    Value(&'static str),
    /// Decided later, from what this text says
    Described(&'static str),
}

/// Which of the entries take an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// plackup, `Gepok->new` and the binary
    All,
    /// The binary
    Binary,
    /// plackup and `Gepok->new`
    Perl,
}

/// What values an option takes; each kind carries the setter of its field.
#[derive(Debug)]
pub enum Kind {
    /// Yes or no
    Flag(fn(&mut Options, bool)),
    /// A whole number between two bounds, both included
    Integer(u32, u32, fn(&mut Options, u32)),
    /// A duration in seconds, fractions allowed
    Seconds(fn(&mut Options, Duration)),
    /// Permission bits, written in octal as chmod(1) takes them
    Mode(fn(&mut Options, u32)),
    /// Bytes; K, M or G behind the number stand for powers of 1024
    Bytes(fn(&mut Options, u64)),
    /// Any text
    Text(fn(&mut Options, String)),
    /// Any text, given once or more
    Texts(fn(&mut Options, String)),
    /// Names, separated by blanks or commas or repeated
    Names(fn(&mut Options, String)),
    /// A host's name or address
    Host(fn(&mut Options, String)),
    /// TCP addresses, separated by commas or repeated
    Ports(fn(&mut Options, Port)),
    /// Absolute paths, separated by commas or repeated
    Paths(fn(&mut Options, PathBuf)),
    /// A TCP address or the path of a Unix socket, given once or more
    Addresses(fn(&mut Options, Address)),
    /// A code reference, which stays on Perl's side: the text is only [`CODE`]
    Code(fn(&mut Options)),
    /// As `Code`, or 0 or 1 for code that does nothing but return that
    CodeOrConstant(fn(&mut Options, Option<bool>)),
    /// Perl source that gives a code reference, or [`CODE`] for one that stays on Perl's side
    Source(fn(&mut Options, String)),
}

/// What stands in a pair for a code reference.
pub const CODE: &str = "CODE";

/// The longest path that fits sockaddr_un of unix(7), in bytes.
pub const PATH_LIMIT: usize = 107;

// What f64 counts without loss.
const MOST_BYTES: u64 = 1 << 53;

const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Options of commands, which say nothing about a server: no file and no environment variable sets them.
pub const OF_COMMANDS: [&str; 2] = ["json", "print"];

/// Options that a reload takes from the configuration file. All others keep their values until a restart.
const OF_RELOAD: [&str; 17] = [
    "documents",
    "directory",
    "sendfile_root",
    "internal",
    "index_file",
    "directory_list",
    "symlinks",
    "hidden",
    "fallback",
    "cache_control",
    "mime_types",
    "charset",
    "ssl_cert_file",
    "ssl_key_file",
    "status_path",
    "metrics_path",
    "status_allow",
];

/// Whether a reload takes a new value of this option.
pub fn changes_at_reload(option: &Opt) -> bool {
    OF_RELOAD.contains(&option.name)
}

/// All options, category by category.
pub fn options() -> impl Iterator<Item = &'static Opt> {
    CATEGORIES.iter().flat_map(|category| category.options)
}

/// The option of this name or alias, in either spelling, among those the entry takes.
pub fn find(name: &str, entry: Entry) -> Option<&'static Opt> {
    let name = name.replace('-', "_");
    options().find(|option| option.taken_by(entry) && option.names().any(|known| known == name))
}

/// The known name nearest to one that is not known, if any is near enough to be meant.
pub fn nearest(name: &str, entry: Entry) -> Option<&'static str> {
    let name = name.replace('-', "_");
    options()
        .filter(|option| option.taken_by(entry))
        .flat_map(Opt::names)
        .map(|known| (strsim::osa_distance(&name, known), known))
        .filter(|(distance, known)| *distance <= 3 && distance * 3 <= known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

impl Options {
    /// The options with their defaults.
    pub fn new() -> Options {
        let mut defaults = Options::default();
        for option in options() {
            if let Preset::Value(text) = option.preset {
                // That every preset fits its kind is the table's own test.
                let _ = option.set(&mut defaults, text);
            }
        }
        defaults
    }
}

impl Opt {
    /// The name and the aliases.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.aliases.iter().copied())
    }

    /// Whether this entry takes the option.
    pub fn taken_by(&self, entry: Entry) -> bool {
        entry == Entry::All || self.entry == Entry::All || self.entry == entry
    }

    /// Whether it is a yes or no.
    pub fn is_flag(&self) -> bool {
        matches!(self.kind, Kind::Flag(_))
    }

    /// Puts a value into its field; an error names the option and the value.
    pub fn set(&self, options: &mut Options, text: &str) -> Result<()> {
        let name = self.name;
        match self.kind {
            Kind::Flag(set) => match flag(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is neither yes (1) nor no (0)"),
                    ));
                }
            },
            Kind::Integer(min, max, set) => match integer(text, min, max) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is not a whole number from {min} to {max}"),
                    ));
                }
            },
            Kind::Seconds(set) => match seconds(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is not a number of seconds"),
                    ));
                }
            },
            Kind::Mode(set) => match mode(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is not an octal number from 0 to 777"),
                    ));
                }
            },
            Kind::Names(set) => items(text)
                .flat_map(str::split_whitespace)
                .for_each(|item| set(options, item.to_owned())),
            Kind::Bytes(set) => match bytes(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!(
                            "'{text}' is not a number of bytes, as 1000000, 500K, 300M or 1.5G"
                        ),
                    ));
                }
            },
            Kind::Text(set) | Kind::Texts(set) | Kind::Source(set) => {
                set(options, text.to_owned());
            }
            Kind::Host(set) => match address::host(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is not a host name or address"),
                    ));
                }
            },
            Kind::Ports(set) => {
                for item in items(text) {
                    let Some(value) = address::port(item) else {
                        return Err(Error::option(
                            name,
                            format!("'{item}' is not of the form N, :N, *:N, host:N or [v6]:N"),
                        ));
                    };
                    set(options, value);
                }
            }
            Kind::Paths(set) => {
                for item in items(text) {
                    if !item.starts_with('/') {
                        return Err(Error::option(
                            name,
                            format!("'{item}' is not an absolute path"),
                        ));
                    }
                    set(options, PathBuf::from(item));
                }
            }
            Kind::Addresses(set) => match address::any(text) {
                Some(value) => set(options, value),
                None => {
                    return Err(Error::option(
                        name,
                        format!("'{text}' is not host:port, :port, host:port:ssl or a path"),
                    ));
                }
            },
            Kind::Code(set) if text == CODE => set(options),
            Kind::CodeOrConstant(set) if text == CODE => set(options, None),
            Kind::CodeOrConstant(set) if matches!(text, "0" | "1") => {
                set(options, Some(text == "1"));
            }
            Kind::Code(_) => {
                return Err(Error::option(
                    name,
                    format!("'{text}' is not a code reference"),
                ));
            }
            Kind::CodeOrConstant(_) => {
                return Err(Error::option(
                    name,
                    format!("'{text}' is neither a code reference nor 0 or 1"),
                ));
            }
        }
        Ok(())
    }
}

// Perl's false values, its true numbers, and the words of configuration files.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "" | "0" | "no" | "off" | "false" => Some(false),
        "yes" | "on" | "true" => Some(true),
        number => number.parse::<u32>().ok().map(|number| number != 0),
    }
}

fn integer(text: &str, min: u32, max: u32) -> Option<u32> {
    let value = text.trim().parse().ok()?;
    (min..=max).contains(&value).then_some(value)
}

fn seconds(text: &str) -> Option<Duration> {
    let value = Duration::try_from_secs_f64(text.trim().parse().ok()?).ok()?;
    (value <= LONGEST).then_some(value)
}

fn mode(text: &str) -> Option<u32> {
    let digits = text.trim().trim_start_matches("0o");
    let octal = !digits.is_empty() && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let value = octal
        .then(|| u32::from_str_radix(digits, 8).ok())
        .flatten()?;
    (value <= 0o777).then_some(value)
}

// A number, and a unit of powers of 1024: K, KB or KiB, as people write it.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor: u64 = match text[digits.len()..].trim_start() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return None,
    };
    let number: f64 = digits.parse().ok()?;
    let value = number * factor as f64;
    (value >= 0.0 && value <= MOST_BYTES as f64).then_some(value as u64)
}

// The end of a list may be a comma, as Gepok always had it.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests;
