//! Which option was said where, and which of several places counts.
//!
//! The command line comes before the environment, that before what a platform sets, and that before the configuration file.

use super::error::Error;
use super::options::Options;
pub use super::source::Source;
use super::table::{self, Opt, Preset};

/// plackup's port.
const DEFAULT_PORT: u32 = 5000;

/// Options that answer one question together. The first place that says one of them answers it, and what later places say is
/// left out.
const GROUPS: [&[&str]; 2] = [ADDRESSES, &["start_servers", "max_workers"]];

/// Where to listen.
const ADDRESSES: &[&str] = &[
    "http_ports",
    "https_ports",
    "unix_sockets",
    "host",
    "port",
    "listen",
    "socket",
];

/// The two parts of one address: one place may name the host, and another the port.
const PARTS: [&str; 2] = ["host", "port"];

/// An option with its value, as one place says it.
#[derive(Clone, Debug)]
pub struct Said {
    /// The option
    pub option: &'static Opt,
    /// The value as a command line would spell it; several for a list
    pub texts: Vec<String>,
    /// Where it was said
    pub source: Source,
}

impl Said {
    /// One value.
    pub fn new(option: &'static Opt, text: String, source: Source) -> Self {
        Said {
            option,
            texts: vec![text],
            source,
        }
    }

    /// Puts the value into its field.
    ///
    /// # Errors
    /// What is wrong with the value, and where it was said.
    pub fn set(&self, options: &mut Options) -> Result<(), Error> {
        for text in &self.texts {
            let set = self.option.set(options, text);
            set.map_err(|error| self.source.error(error.to_string()))?;
        }
        Ok(())
    }
}

/// The options of the command that are said like that; the others have their defaults.
///
/// # Errors
/// What is wrong with a value.
pub fn options(said: &[Said]) -> Result<Options, Error> {
    let mut options = Options::new();
    options.default_port = Some(DEFAULT_PORT);
    said.iter().try_for_each(|said| said.set(&mut options))?;
    Ok(options)
}

/// What counts of these places, the most important first: each option once, in the order of the table.
pub fn settle(places: &[&[Said]]) -> Vec<Said> {
    let mut settled: Vec<Said> = Vec::new();
    for place in places {
        let mut of_place: Vec<Said> = Vec::new();
        for said in place.iter().filter(|said| !is_answered(&settled, said)) {
            match same(&mut of_place, said.option) {
                // Repeated at one place: a list grows, any other option has the last value.
                Some(known) => known.texts.extend(said.texts.iter().cloned()),
                None => of_place.push(said.clone()),
            }
        }
        settled.append(&mut of_place);
    }
    let place = |said: &Said| table::options().position(|option| option.name == said.option.name);
    settled.sort_by_key(place);
    settled
}

fn same<'a>(said: &'a mut [Said], option: &Opt) -> Option<&'a mut Said> {
    said.iter_mut().find(|said| said.option.name == option.name)
}

/// Whether more important places have said this, or what answers the same question.
fn is_answered(settled: &[Said], said: &Said) -> bool {
    let name = said.option.name;
    let is_said = |name: &str| settled.iter().any(|said| said.option.name == name);
    if is_said(name) {
        return true;
    }
    if PARTS.contains(&name) {
        // A host without a port is completed, but no other address is.
        let others = ADDRESSES.iter().filter(|name| !PARTS.contains(name));
        return others.into_iter().any(|name| is_said(name));
    }
    GROUPS
        .iter()
        .filter(|group| group.contains(&name))
        .flat_map(|group| group.iter())
        .any(|name| is_said(name))
}

/// The place that an error message is about, if it names an option that was said there.
pub fn locate(said: &[Said], message: &str) -> Option<Source> {
    let rest = message.strip_prefix("option '")?;
    let (name, _) = rest.split_once('\'')?;
    let said = said.iter().find(|said| said.option.name == name)?;
    Some(said.source.clone())
}

/// The default of an option as a text, where it has one value.
pub(super) fn preset(option: &Opt) -> Option<&'static str> {
    match option.preset {
        Preset::Value(text) => Some(text),
        Preset::None | Preset::Described(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::table::Entry;

    fn said(name: &str, text: &str, source: Source) -> Said {
        let option = table::find(name, Entry::Binary).expect(name);
        Said::new(option, text.to_owned(), source)
    }

    fn typed(pairs: &[(&str, &str)]) -> Vec<Said> {
        let said = |(name, text): &(&str, &str)| said(name, text, Source::Typed);
        pairs.iter().map(said).collect()
    }

    fn shown(places: &[&[(&str, &str)]]) -> String {
        let places: Vec<_> = places.iter().map(|place| typed(place)).collect();
        let places: Vec<_> = places.iter().map(Vec::as_slice).collect();
        let show = |said: Said| format!("{}={}", said.option.name, said.texts.join("+"));
        let shown: Vec<_> = settle(&places).into_iter().map(show).collect();
        shown.join(" ")
    }

    #[test]
    fn the_first_place_counts() {
        for (places, settled) in [
            (
                &[&[("timeout", "1")][..], &[("timeout", "2"), ("name", "x")]][..],
                "timeout=1 name=x",
            ),
            // A list is replaced, not added to.
            (
                &[&[("include", "a"), ("include", "b")], &[("include", "c")]],
                "include=a+b",
            ),
            // Where to listen is one question.
            (
                &[
                    &[("port", "1")],
                    &[("http_ports", "2"), ("https_ports", "3")],
                ],
                "port=1",
            ),
            (
                &[&[("http_ports", "1")], &[("port", "2"), ("host", "h")]],
                "http_ports=1",
            ),
            (
                &[&[("listen", ":1")], &[("unix_sockets", "/s")]],
                "listen=:1",
            ),
            // The parts of an address complete each other.
            (
                &[&[("port", "1")], &[("host", "h"), ("port", "2")]],
                "host=h port=1",
            ),
            (&[&[("host", "h")], &[("port", "2")]], "host=h port=2"),
            (&[&[("host", "h")], &[("http_ports", "2")]], "host=h"),
            // And so is the number of workers.
            (
                &[&[("start_servers", "0")], &[("max_workers", "8")]],
                "start_servers=0",
            ),
            (
                &[
                    &[("max_workers", "2")],
                    &[("start_servers", "8"), ("max_clients", "9")],
                ],
                "max_workers=2 max_clients=9",
            ),
        ] {
            assert_eq!(shown(places), settled);
        }
    }

    #[test]
    fn a_message_is_traced_to_its_place() {
        let source = Source::File {
            file: "site.toml".into(),
            line: 7,
        };
        let said = [said("symlinks", "x", source.clone())];
        let found = locate(&said, "option 'symlinks': 'x' is not none, owner");
        assert_eq!(found, Some(source));
        assert_eq!(locate(&said, "option 'hidden': x"), None);
        assert_eq!(locate(&said, "the disk is full"), None);
    }
}
