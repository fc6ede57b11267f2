//! Tests of the table itself, so that an entry can't be half right.

use std::collections::HashMap;

use super::*;

#[test]
fn no_name_is_taken_twice() {
    let mut taken = HashMap::new();
    let mut letters = HashMap::new();
    for option in options() {
        for name in option.names() {
            let other = taken.insert(name, option.name);
            assert_eq!(other, None, "{name} of {} is taken", option.name);
        }
        if let Some(letter) = option.letter {
            let other = letters.insert(letter, option.name);
            assert_eq!(other, None, "-{letter} of {} is taken", option.name);
            assert!(!"hv".contains(letter), "-{letter} is for help or version");
        }
    }
}

#[test]
fn names_are_in_snake_case() {
    for name in options().flat_map(Opt::names) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(name.bytes().all(plain) && name.len() > 1, "{name}");
        // These would be read as a flag's negation.
        for prefix in ["no_", "enable_", "disable_"] {
            assert!(!name.starts_with(prefix), "{name}");
        }
    }
}

#[test]
fn texts_are_whole() {
    for option in options() {
        let (name, short, long) = (option.name, option.short, option.long);
        assert!(
            !short.is_empty() && !short.ends_with('.'),
            "{name}: {short}"
        );
        assert!(
            short.len() <= 60,
            "{name}: the short text is too long for --help"
        );
        assert!(
            long.ends_with('.') && !long.contains("  "),
            "{name}: {long}"
        );
        assert_eq!(
            option.value.is_empty(),
            option.is_flag(),
            "{name}: placeholder"
        );
        assert_eq!(
            option.value,
            option.value.to_uppercase(),
            "{name}: placeholder"
        );
    }
}

#[test]
fn presets_fit_their_kinds() {
    for option in options() {
        if let Preset::Value(text) = option.preset {
            option
                .set(&mut Options::default(), text)
                .expect(option.name);
        }
        assert!(
            !option.is_flag() || option.preset != Preset::None,
            "{}",
            option.name
        );
    }
}

#[test]
fn every_option_reaches_a_field() {
    for option in options() {
        let text = match option.kind {
            Kind::Flag(_) if option.preset == Preset::Value("1") => "0",
            Kind::Flag(_) => "1",
            Kind::Integer(_, 0..17, _) => "3",
            Kind::Integer(..) | Kind::Seconds(_) | Kind::Ports(_) | Kind::Addresses(_) => "17",
            Kind::Mode(_) | Kind::Bytes(_) => "17",
            Kind::Text(_) | Kind::Texts(_) | Kind::Names(_) | Kind::Host(_) | Kind::Source(_) => {
                "text"
            }
            Kind::Paths(_) => "/path",
            Kind::Code(_) | Kind::CodeOrConstant(_) => CODE,
        };
        let mut options = Options::new();
        option.set(&mut options, text).expect(option.name);
        assert_ne!(options, Options::new(), "{} sets nothing", option.name);
    }
}

#[test]
fn values_are_read_by_their_kind() {
    for (text, value) in [
        ("", Some(false)),
        ("0", Some(false)),
        ("off", Some(false)),
        ("1", Some(true)),
        ("Yes", Some(true)),
        ("5", Some(true)),
        ("maybe", None),
        ("-1", None),
    ] {
        assert_eq!(flag(text), value, "{text}");
    }
    for (text, millis) in [
        ("1", Some(1000)),
        ("0.5", Some(500)),
        (" 2 ", Some(2000)),
        ("0", Some(0)),
    ] {
        assert_eq!(seconds(text).map(|time| time.as_millis()), millis);
    }
    for text in ["", "-1", "nan", "inf", "1e300", "2 s", "999999999"] {
        assert_eq!(seconds(text), None, "{text}");
    }
    for (text, value) in [("660", Some(0o660)), ("0022", Some(0o22)), ("0o7", Some(7))] {
        assert_eq!(mode(text), value, "{text}");
    }
    for text in ["", "8", "-1", "1000", "0x1", "rw"] {
        assert_eq!(mode(text), None, "{text}");
    }
    assert_eq!(integer("8", 0, 8), Some(8));
    for text in ["", "9", "-1", "1.5", "0x1", "99999999999"] {
        assert_eq!(integer(text, 0, 8), None, "{text}");
    }
}

#[test]
fn bytes_have_units() {
    for (text, value) in [
        ("0", Some(0)),
        ("1048576", Some(1 << 20)),
        ("300M", Some(300 << 20)),
        (" 1.5 GiB ", Some(3 << 29)),
        ("2kb", Some(2048)),
        ("7b", Some(7)),
        ("1e3", Some(1000)),
    ] {
        assert_eq!(bytes(text), value, "{text}");
    }
    for text in ["", "M", "-1", "1T", "10%", "nan", "inf", "1 M M", "1e300"] {
        assert_eq!(bytes(text), None, "{text}");
    }
}

#[test]
fn near_names_are_found() {
    for (typed, meant) in [
        ("strat_servers", Some("start_servers")),
        ("http-port", Some("http_ports")),
        ("worker", Some("workers")),
        ("max_request", Some("max_requests")),
        ("nam", Some("name")),
        ("xyz", None),
    ] {
        assert_eq!(nearest(typed, Entry::Perl), meant, "{typed}");
    }
    assert_eq!(nearest("preload_ap", Entry::Perl), None);
    assert_eq!(nearest("preload_ap", Entry::Binary), Some("preload_app"));
}
