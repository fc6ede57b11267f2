//! Tests of the spellings a command line may have.

use super::*;
use crate::config::{Config, said};

fn said(args: &[&str]) -> Options {
    match parse(args.iter().map(OsString::from)) {
        Ok(Parsed::Serve(said)) => said::options(&said).expect("options"),
        other => panic!("{args:?}: {other:?}"),
    }
}

fn error(args: &[&str]) -> String {
    parse(args.iter().map(OsString::from))
        .expect_err("refused")
        .to_string()
}

#[test]
fn every_spelling_is_taken() {
    for args in [
        &["--max-workers", "7"][..],
        &["--max-workers=7"],
        &["--max_workers=7"],
        &["-max-workers=7"],
        &["-workers=7"],
        &["--workers", "7"],
        &["--workers", "3", "--max-workers", "7"],
    ] {
        assert_eq!(said(args).max_workers, Some(7), "{args:?}");
    }
}

#[test]
fn flags_have_negations_and_take_no_argument() {
    for (arg, on) in [
        ("--preload-app", true),
        ("--enable-preload-app", true),
        ("--preload_app=1", true),
        ("--no-preload-app", false),
        ("--disable-preload_app", false),
        ("-no-preload-app", false),
        ("--preload-app=0", false),
    ] {
        let options = said(&[arg, "my.psgi"]);
        assert_eq!(options.app.preload, on, "{arg}");
        assert_eq!(options.app.path.as_deref(), Some("my.psgi"), "{arg}");
    }
}

#[test]
fn letters_are_those_of_plackup() {
    let options = said(&[
        "-Ilib",
        "-I",
        "t/lib",
        "-MA",
        "-M",
        "B=c",
        "-E",
        "test",
        "-o",
        "127.0.0.1",
        "-p8080",
        "-l",
        ":1",
        "-l",
        "/s",
        "-S",
        "/t",
        "-a",
        "x.psgi",
    ]);
    assert_eq!(said(&["-Dp", "8080"]).app.path, None);
    assert_eq!(said(&["-I=lib"]).app.include, ["lib"]);
    assert_eq!(options.app.include, ["lib", "t/lib"]);
    assert_eq!(options.app.modules, ["A", "B=c"]);
    assert_eq!(options.app.env.as_deref(), Some("test"));
    assert_eq!(options.app.path.as_deref(), Some("x.psgi"));
    assert_eq!(
        Config::resolve(&options).expect("resolved").listeners.len(),
        4
    );
}

#[test]
fn values_are_left_as_they_are() {
    let code = |args: &[&str]| said(args).app.eval;
    let minus = Some("-max-workers=7".to_owned());
    assert_eq!(code(&["-e", "-max-workers=7"]), minus);
    assert_eq!(code(&["-e", "--help"]).as_deref(), Some("--help"));
    assert_eq!(
        code(&["-esub { $_[0] == 1 }"]).as_deref(),
        Some("sub { $_[0] == 1 }")
    );
    assert_eq!(
        said(&["--", "-x.psgi"]).app.path.as_deref(),
        Some("-x.psgi")
    );
}

#[test]
fn without_an_address_it_listens_as_plackup() {
    let config = Config::resolve(&said(&[])).expect("resolved");
    assert_eq!(config.listeners.len(), 1);
    let config = Config::resolve(&said(&["--http-ports", "1,2"])).expect("resolved");
    assert_eq!(config.listeners.len(), 2);
}

#[test]
fn mistakes_are_told_in_one_line() {
    for (args, told) in [
        (
            &["--strat-servers", "1"][..],
            "unknown option '--strat-servers', did you mean '--start-servers'?",
        ),
        (&["--xyz"], "unknown option '--xyz', see gepok --help"),
        (&["stopp"], "unknown command 'stopp', did you mean 'stop'?"),
        (
            &["relaod", "--pid-path=/x"],
            "unknown command 'relaod', did you mean 'reload'?",
        ),
        (&["-x"], "unknown option '-x', see gepok --help"),
        (
            &["--listen-sock=1"],
            "unknown option '--listen-sock', see gepok --help",
        ),
        (
            &["--timeout=-1"],
            "option 'timeout': '-1' is not a number of seconds",
        ),
        (
            &["--timeout", "-1"],
            "option 'timeout': '-1' is not a number of seconds",
        ),
        (
            &["-p", "http"],
            "option 'port': 'http' is not a whole number from 0 to 65535",
        ),
        (
            &["a.psgi", "-a", "b.psgi"],
            "two apps are given, 'b.psgi' and 'a.psgi'",
        ),
        (
            &["a.psgi", "-p", "1", "b.psgi"],
            "two apps are given, 'a.psgi' and 'b.psgi'",
        ),
    ] {
        assert_eq!(error(args), told);
    }
    assert_eq!(error(&["--port"]), "option '--port' needs a value");
    assert_eq!(error(&["-Dp"]), "option '-Dp' needs a value");
    assert_eq!(error(&["-Dx"]), "unknown option '-Dx', see gepok --help");
    for args in [&["--help=1"][..], &["-hv=1"]] {
        let told = error(args);
        assert!(!told.contains('\n') && !told.is_empty(), "{told:?}");
    }
}

#[test]
fn help_and_version_only_print() {
    for (arg, page) in [
        ("-h", Page::Usage),
        ("--help", Page::Help),
        ("-v", Page::Version),
        ("--version", Page::Version),
    ] {
        let parsed = parse([OsString::from(arg)]);
        let is_page = matches!(parsed, Ok(Parsed::Print(found)) if found == page);
        assert!(is_page, "{arg}: {parsed:?}");
    }
}

#[test]
fn a_first_word_that_is_a_command_controls_a_server() {
    for (word, command) in [
        ("stop", Command::Stop),
        ("restart", Command::Restart),
        ("reload", Command::Reload),
        ("status", Command::Status),
    ] {
        let args = [word, "--pid-path", "/p", "-D", "--workers=3"];
        match parse(args.iter().map(OsString::from)) {
            Ok(Parsed::Control(control, said)) => {
                assert_eq!(control, command);
                let options = said::options(&said).expect("options");
                assert_eq!(options.daemon.pid_path, Some("/p".into()));
            }
            other => panic!("{word}: {other:?}"),
        }
    }
    for args in [&["check", "-c", "f"][..], &["check", "--print", "app.psgi"]] {
        let parsed = parse(args.iter().map(OsString::from));
        assert!(matches!(parsed, Ok(Parsed::Check(_))), "{parsed:?}");
    }
    assert_eq!(said(&["./stop"]).app.path.as_deref(), Some("./stop"));
    assert_eq!(said(&["-D", "stop"]).app.path.as_deref(), Some("stop"));
    assert!(error(&["stop", "app.psgi"]).contains("'./stop'"));
    assert!(error(&["stop", "--pid-pth", "x"]).contains("--pid-path"));
}
