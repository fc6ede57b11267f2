//! The command `gepok`, which brings a perl of its own: what was typed decides what it does.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::ENTRIES;
use super::apps::{HostCodes, own_app, provide_loader};
use super::control::control;
use super::perl_entry::{PerlEntry, Source, child_exit, gives_up_root};
use super::serve::{FAILED, MISTAKE, begin, config, mistake, serve, understood_config};
use crate::config::cli::{self, Parsed};
use crate::config::error::Error as Mistake;
use crate::config::help::{self, Page};
use crate::config::resolved;
use crate::config::said::Said;
use crate::config::sources::{Sources, Understood};
use crate::config::{Config, Options, shown, variables};
use crate::perl::{Failure, Hooks, Interpreter};
use crate::precompress;
use crate::process::handover;
use crate::process::master::Ended;
use crate::process::signal;
use crate::process::terminal;
use crate::psgi;
use crate::semantics::wording::plain;
use crate::server;
use crate::xs;

/// Runs the command with the arguments after its name. Returns the exit status: 2 for an operator's mistake.
pub fn run(arguments: impl Iterator<Item = OsString>) -> i32 {
    handover::begin();
    let typed = match cli::parse(arguments) {
        Ok(Parsed::Print(page)) => return print(page),
        Ok(Parsed::Control(command, typed)) => {
            return match understand_leniently(&sources(typed)) {
                Ok(understood) => control(command, &understood.options),
                Err(error) => mistake(&error),
            };
        }
        Ok(Parsed::Precompress(directories, typed)) => {
            return match understand_leniently(&sources(typed)) {
                Ok(understood) => precompress(&directories, &understood.options),
                Err(error) => mistake(&error),
            };
        }
        Ok(Parsed::Check(typed)) => return check(&sources(typed)),
        Ok(Parsed::Serve(typed)) => typed,
        Err(error) => return mistake(&error),
    };
    let sources = sources(typed);
    for warning in sources.warnings() {
        eprintln!("gepok: {warning}");
    }
    let understood = match understand(&sources) {
        Ok(understood) => understood,
        Err(mistakes) => return mistake(&summary(&mistakes)),
    };
    // Rust ignores it, and programs that the app starts would inherit that.
    let begun = begin()
        .and_then(|()| signal::end_first_process())
        .and_then(|()| signal::set_default(Signal::SIGPIPE));
    if let Err(error) = begun {
        return mistake(&error);
    }
    let interpreter = match Interpreter::start(&[], xs::trampoline(ENTRIES)) {
        Ok(interpreter) => interpreter,
        Err(status) => return status,
    };
    let status = serve_command(understood, sources, &interpreter);
    interpreter.finish(status)
}

/// Writes compressed variants of the files below these directories. Returns the exit status.
fn precompress(directories: &[PathBuf], options: &Options) -> i32 {
    let settings = match resolved::precompress(options) {
        Ok(settings) => settings,
        Err(error) => return mistake(&format!("{error:#}")),
    };
    let types = match settings.mime_types.as_deref().map(server::types_of_file) {
        None => Vec::new(),
        Some(Ok(types)) => types,
        Some(Err(error)) => return mistake(&format!("{error:#}")),
    };
    let mut run = precompress::Run::new(settings.coding, &types, settings.hidden);
    for directory in directories {
        run.directory(directory, &mut |problem| {
            eprintln!("gepok: {}", plain(problem))
        });
    }
    println!("{}", run.summary());
    if run.summary().is_complete() {
        0
    } else {
        FAILED
    }
}

/// Where the command's options come from: what was typed, and the environment.
fn sources(typed: Vec<Said>) -> Sources {
    // What is not UTF-8 is no option's.
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    Sources::new(typed, variables::read(std::env::vars_os().filter_map(text)))
}

/// All options, with those of the configuration file.
fn understand(sources: &Sources) -> Result<Understood, Vec<Mistake>> {
    let text = match server::read_options(sources, &handover::origin()) {
        Ok(text) => text,
        Err(mistake) => return Err(vec![mistake]),
    };
    sources.read(text.as_deref())
}

/// The same for a command that only has to find a server, whose file may have a mistake by now.
fn understand_leniently(sources: &Sources) -> Result<Understood, Mistake> {
    let text = server::read_options(sources, &handover::origin())?;
    sources.read_leniently(text.as_deref())
}

/// The first mistake, and that there are others.
fn summary(mistakes: &[Mistake]) -> String {
    match mistakes {
        [] => String::new(),
        [mistake] => mistake.to_string(),
        [mistake, others @ ..] => {
            let count = others.len();
            format!("{mistake} (and {count} more: 'gepok check' tells them all)")
        }
    }
}

/// Says what is wrong with the options, or prints them where that is wanted. Returns the exit status.
fn check(sources: &Sources) -> i32 {
    for warning in sources.warnings() {
        eprintln!("gepok: {warning}");
    }
    let understood = match understand(sources) {
        Ok(understood) => understood,
        Err(mistakes) => {
            for error in &mistakes {
                mistake(error);
            }
            return MISTAKE;
        }
    };
    let checked =
        config(&understood.options).and_then(|config| server::check(&config, &handover::origin()));
    if let Err(error) = checked {
        return mistake(&understood.locate(format!("{error:#}")));
    }
    let text = match understood.options.app.print {
        true => shown::print(&understood.said, &understood.options.vhosts),
        false => "the options are good\n".to_owned(),
    };
    // A reader may have seen enough.
    let _ = io::stdout().write_all(text.as_bytes());
    0
}

/// Prints what the command says of itself. Returns the exit status.
fn print(page: Page) -> i32 {
    let text = match page {
        Page::Usage | Page::Help => help::help(page, terminal::columns()),
        Page::Precompress => help::precompress(terminal::columns()),
        Page::Version => help::version(),
    };
    // Whoever reads it may have seen enough.
    if io::stdout().write_all(text.as_bytes()).is_err() || page != Page::Version {
        return 0;
    }
    let interpreter = match Interpreter::start(&[], xs::trampoline(ENTRIES)) {
        Ok(interpreter) => interpreter,
        Err(status) => return status,
    };
    let code = "sub { require Config; printf \"perl %vd, %s threads\\n\", $^V, \
                $Config::Config{useithreads} ? 'with' : 'without' }";
    let printed = interpreter.perl().eval("gepok", code);
    let printed = printed.and_then(|code| code.map_or(Ok(None), |code| code.call(&[])));
    let status = printed.map_or_else(|failure| mistake(&failure), |_| 0);
    interpreter.finish(status)
}

fn serve_command(understood: Understood, sources: Sources, interpreter: &Interpreter) -> i32 {
    let options = &understood.options;
    let mut hooks = Hooks::new(interpreter.perl(), Vec::new());
    let config = match understood_config(options) {
        Ok(config) => config,
        Err(message) => return mistake(&understood.locate(message)),
    };
    let mut of_hosts = HostCodes::new(&config, &mut hooks);
    let source = match prepare(options, &config, &mut of_hosts, interpreter) {
        Ok(source) => source,
        Err(Failure::Exit(status)) => return status,
        Err(failure) => return mistake(&failure),
    };
    let child_exit = match child_exit(options, &mut hooks) {
        Ok(child_exit) => child_exit,
        Err(message) => return mistake(&message),
    };
    let mut entry = PerlEntry {
        perl: interpreter.perl(),
        source: Some(source),
        before_prefork: None,
        server_ready: None,
        child_exit,
        verify_callback: None,
        access_log: None,
        of_hosts,
        how: options.app.clone(),
        copies: Vec::new(),
        exited: None,
    };
    let file = Some((sources, understood.clone()));
    let ended = serve(options, file, &mut entry);
    let ended = ended.map_err(|message| understood.locate(message).to_string());
    match (ended, entry.exited) {
        (Ok(Ended::Master), _) => 0,
        (Ok(Ended::Worker(status)), _) | (Err(_), Some(status)) => status,
        (Err(message), None) => mistake(&message),
    }
}

/// Makes the interpreter fit for apps, and loads the app where it is to be preloaded.
fn prepare(
    options: &Options,
    config: &Config,
    of_hosts: &mut HostCodes,
    interpreter: &Interpreter,
) -> Result<Source, Failure> {
    interpreter.name_executable()?;
    let perl = interpreter.perl();
    provide_loader(perl)?;
    let event_loop = config.life.event_loop.as_ref();
    if event_loop.is_some() {
        psgi::provide_loop(perl)?;
    }
    let app = options.app.clone();
    Ok(match app.preload {
        true if gives_up_root(options) => Source::Preload(app),
        true => {
            of_hosts.load(perl, &app)?;
            let app = own_app(perl, &app, &of_hosts.hosts)?;
            // Its class may be in a folder that the app's loader adds to @INC.
            if let Some(looped) = event_loop {
                psgi::load_loop(perl, &looped.name)?;
            }
            Source::Loaded(app)
        }
        false => Source::Load(app),
    })
}
