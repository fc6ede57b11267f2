//! Options from environment variables: `GEPOK_` and the option's name, and those that platforms set.

use super::said::{Said, Source};
use super::table::{self, Entry, Kind, Opt};

const PREFIX: &str = "GEPOK_";

/// Variables of hosting platforms, and the options that they stand for.
const OF_PLATFORMS: [(&str, &str); 2] = [("PORT", "port"), ("WEB_CONCURRENCY", "max_workers")];

/// What the environment says.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    /// By the option's own variable
    pub own: Vec<Said>,
    /// By variables of platforms
    pub of_platform: Vec<Said>,
    /// Variables whose names are nearly an option's: one sentence each
    pub warnings: Vec<String>,
}

/// Reads the options among these variables. An empty one says nothing, as where a file for containers passes an unset one on.
pub fn read(variables: impl IntoIterator<Item = (String, String)>) -> Variables {
    let mut read = Variables::default();
    for (name, text) in variables {
        if text.is_empty() {
            continue;
        }
        let source = Source::Variable(name.clone());
        if let Some((_, option)) = OF_PLATFORMS.iter().find(|(known, _)| *known == name) {
            let option = table::find(option, Entry::Binary);
            let said = option.map(|option| Said::new(option, text, source));
            read.of_platform.extend(said);
        } else if let Some(word) = name.strip_prefix(PREFIX) {
            let word = word.to_ascii_lowercase();
            match option(&word) {
                Some(option) => read.own.push(Said::new(option, text, source)),
                None => read.warnings.extend(misspelt(&name, &word)),
            }
        }
    }
    // The environment has no order.
    read.own.sort_by_key(|said| said.option.name);
    read.warnings.sort();
    read
}

/// The variable of an option; none for an option that is no setting of a server.
pub fn name(option: &Opt) -> Option<String> {
    let taken = option.taken_by(Entry::Binary) && !matches!(option.kind, Kind::Code(_));
    let taken = taken && !table::OF_COMMANDS.contains(&option.name);
    taken.then(|| format!("{PREFIX}{}", option.name.to_ascii_uppercase()))
}

fn option(word: &str) -> Option<&'static Opt> {
    let mut options = table::options();
    options.find(|option| option.name == word && name(option).is_some())
}

fn misspelt(name: &str, word: &str) -> Option<String> {
    let near = table::nearest(word, Entry::Binary)?;
    let meant = table::find(near, Entry::Binary).and_then(self::name)?;
    Some(format!(
        "environment variable {name} is no option's, did you mean {meant}?"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_options_in_capitals() {
        let variables = [
            ("GEPOK_TIMEOUT", "5"),
            ("GEPOK_NAME", ""),
            ("GEPOK_MAX_WORKRES", "7"),
            ("GEPOK_WORKERS", "7"),
            ("GEPOK_HANDOVER", "x"),
            ("GEPOK_JSON", "1"),
            ("GEPOK_LISTEN_SOCK", "3"),
            ("PORT", "8000"),
            ("WEB_CONCURRENCY", "3"),
            ("PATH", "/bin"),
        ];
        let variables = variables.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let read = read(variables);
        let shown = |said: &[Said]| -> Vec<String> {
            let show =
                |said: &Said| format!("{} {:?} {}", said.option.name, said.texts, said.source);
            said.iter().map(show).collect()
        };
        assert_eq!(
            shown(&read.own),
            ["timeout [\"5\"] environment variable GEPOK_TIMEOUT"]
        );
        assert_eq!(
            shown(&read.of_platform),
            [
                "port [\"8000\"] environment variable PORT",
                "max_workers [\"3\"] environment variable WEB_CONCURRENCY"
            ]
        );
        assert_eq!(
            read.warnings,
            [
                "environment variable GEPOK_MAX_WORKRES is no option's, did you mean GEPOK_MAX_WORKERS?",
                "environment variable GEPOK_WORKERS is no option's, did you mean GEPOK_MAX_WORKERS?",
            ]
        );
    }
}
