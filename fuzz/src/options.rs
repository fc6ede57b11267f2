//! Options: readers refuse with a sentence, and an option means the same from Perl and from the command line.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use gepok::config::cli::{self, Parsed};
use gepok::config::table::{self, Entry};
use gepok::config::{Config, Options, ParsedOptions, attributes, file, said};

/// Lines: the arguments of the command line, and, as `name=value`, the pairs from Perl; and all of it as a configuration file.
pub fn check(data: &[u8]) {
    let args = data.split(|&b| b == b'\n').map(std::ffi::OsStr::from_bytes);
    match cli::parse(args.map(OsString::from)) {
        Ok(
            Parsed::Serve(said)
            | Parsed::Control(_, said)
            | Parsed::Precompress(_, said)
            | Parsed::Check(said),
        ) => match said::options(&said) {
            Ok(options) => check_options(&options),
            Err(error) => panic!("a value that was taken is refused: {error}"),
        },
        Ok(Parsed::Print(_)) => {}
        Err(error) => check_sentence(&error.to_string()),
    }

    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let pairs: Vec<_> = text
        .split('\n')
        .filter_map(|line| line.split_once('='))
        .collect();
    let document = file::parse("site.toml", text);
    for error in &document.errors {
        check_sentence(&error.to_string());
    }
    if let Ok(options) = said::options(&document.said) {
        check_options(&options);
    }
    match attributes::read(pairs.iter().copied()) {
        Ok(ParsedOptions { options, warnings }) => {
            for warning in &warnings {
                check_sentence(warning);
            }
            check_options(&options);
        }
        Err(error) => check_sentence(&error.to_string()),
    }
    for (name, value) in pairs {
        check_both_readers(name, value);
    }
}

fn check_options(options: &Options) {
    match Config::resolve(options) {
        Ok(config) => assert!(!config.listeners.is_empty(), "nowhere to listen"),
        Err(error) => check_sentence(&error.to_string()),
    }
}

fn check_sentence(text: &str) {
    assert!(
        !text.is_empty() && !text.contains('\n'),
        "not one line: {text}"
    );
}

fn check_both_readers(name: &str, value: &str) {
    if !table::find(name, Entry::Perl).is_some_and(|option| option.entry == Entry::All) {
        return;
    }
    let from_perl = attributes::read([(name, value)]);
    let typed = cli::parse([OsString::from(format!("--{name}={value}"))]);
    match (from_perl, typed) {
        (Ok(mut from_perl), Ok(Parsed::Serve(typed))) => {
            // The binary's own.
            let typed = said::options(&typed).unwrap_or_default();
            from_perl.options.default_port = typed.default_port;
            assert_eq!(from_perl.options, typed, "{name}={value}");
        }
        (Err(from_perl), Err(typed)) => assert_eq!(from_perl.to_string(), typed.to_string()),
        (from_perl, typed) => panic!("{name}={value} is {from_perl:?}, but typed {typed:?}"),
    }
}
