//! Options from Perl: names and values as plain strings, in order.

use super::error::{Error, Result};

use super::table::{self, Entry, Opt};
use super::{Options, ParsedOptions, file};

/// Reads the attributes of `Gepok->new`, or what plackup passes.
///
/// A repeated name adds to a list and else replaces; `-` in a name counts as `_`; a code reference comes as
/// [`table::CODE`]. An unknown name is a warning, because other servers' options do no harm.
pub fn read<N: AsRef<str>, V: AsRef<str>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Result<ParsedOptions> {
    let mut options = Options::new();
    let mut warnings: Vec<String> = Vec::new();
    for (name, value) in pairs {
        let name = name.as_ref();
        match table::find(name, Entry::Perl).or_else(|| enabled(name)) {
            Some(option) => option.set(&mut options, value.as_ref())?,
            None => {
                let warning = unknown(name);
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
    }
    if let Some(text) = options.vhosts_text.take() {
        let document = file::parse("", &text);
        if let Some(error) = document.errors.into_iter().next() {
            return Err(Error::option("vhosts", format!("{error}")));
        }
        options.vhosts = document.vhosts;
    }
    Ok(ParsedOptions { options, warnings })
}

// A flag in the words of a command line (`enable_ssl`): plackup takes them apart, a program may not.
fn enabled(name: &str) -> Option<&'static Opt> {
    let name = name.strip_prefix("enable")?.strip_prefix(['_', '-'])?;
    table::find(name, Entry::Perl).filter(|option| option.is_flag())
}

fn unknown(name: &str) -> String {
    if table::find(name, Entry::Binary).is_some() {
        return format!("option '{name}' is one of the command gepok and does nothing here");
    }
    if name.replace('-', "_").starts_with("net_server_") {
        return format!("option '{name}' configures Net::Server, which Gepok does not use");
    }
    let nearest = match table::nearest(name, Entry::Perl) {
        Some(known) => format!(", did you mean '{known}'?"),
        None => String::new(),
    };
    format!("unknown option '{name}'{nearest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(pairs: &[(&str, &str)]) -> String {
        read(pairs.iter().copied())
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn names_are_taken_in_every_spelling() {
        for name in ["max_workers", "max-workers", "workers"] {
            let parsed = read([(name, "7")]).expect(name);
            assert_eq!(parsed.options.max_workers, Some(7));
            assert!(parsed.warnings.is_empty());
        }
    }

    #[test]
    fn repeats_add_to_lists_and_replace_else() {
        let parsed = read([
            ("http_ports", "8081, :8082,"),
            ("timeout", "5"),
            ("http_ports", "localhost:8083"),
            ("timeout", "0.25"),
        ])
        .expect("read");
        let ports: Vec<u16> = parsed
            .options
            .http_ports
            .iter()
            .map(|port| port.tcp.port)
            .collect();
        assert_eq!(ports, [8081, 8082, 8083]);
        assert_eq!(parsed.options.timeout.as_millis(), 250);
    }

    #[test]
    fn unknown_names_are_told_once() {
        let pairs = [
            ("strat_servers", "1"),
            ("strat_servers", "2"),
            ("net_server_foo", "1"),
            ("preload_app", "1"),
        ];
        assert_eq!(
            read(pairs).expect("read").warnings,
            [
                "unknown option 'strat_servers', did you mean 'start_servers'?",
                "option 'net_server_foo' configures Net::Server, which Gepok does not use",
                "option 'preload_app' is one of the command gepok and does nothing here",
            ]
        );
    }

    #[test]
    fn errors_name_option_and_value() {
        assert_eq!(
            error(&[("workers", "-1")]),
            "option 'max_workers': '-1' is not a whole number from 0 to 10000"
        );
        assert_eq!(
            error(&[("keepalive", "maybe")]),
            "option 'keepalive': 'maybe' is neither yes (1) nor no (0)"
        );
        assert_eq!(
            error(&[("unix_sockets", "/a,b")]),
            "option 'unix_sockets': 'b' is not an absolute path"
        );
        assert_eq!(
            error(&[("server_ready", "main::ready")]),
            "option 'server_ready': 'main::ready' is not a code reference"
        );
    }
}
