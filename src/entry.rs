//! The two entries from Perl's side: `Gepok::_serve` within a perl, and the command with a perl of its own.
//!
//! Both end in [`server::run`]; what differs is who made the interpreter, and who loads the app. What controls a running server
//! that runs ends in [`running`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context as _, anyhow};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid};

use crate::channel::worker_end::WorkerEnd;
use crate::config::cli::{self, Parsed};
use crate::config::command::{self, Command, Word};
use crate::config::error::Error as Mistake;
use crate::config::help::{self, Page};
use crate::config::options::App as AppOptions;
use crate::config::resolved;
use crate::config::said::Said;
use crate::config::sources::{Sources, Understood};
use crate::config::{
    Config, Options, ParsedOptions, attributes, shown, socket_activation, variables,
};
use crate::perl::{Code, Exit, Failure, Hooks, Interpreter, Perl};
use crate::precompress;
use crate::process::fork::{self, Forked};
use crate::process::handover;
use crate::process::master::Ended;
use crate::process::signal;
use crate::process::terminal;
use crate::psgi::{self, Apps, ChildExit, PsgiApp};
use crate::scoreboard::status;
use crate::semantics::wording::plain;
use crate::server::running::{self, ControlError, Running};
use crate::server::{self, Configuration, Entry, settings};
use crate::worker::{App, HostApp, HostAppSource, HostApps, ServerFacts};
use crate::xs::{self, Entries, Pairs};

/// The exit status for a mistake of the operator's.
const MISTAKE: i32 = 2;
/// The exit statuses of commands to a server: it did not do it, it does not run, only its own user may.
const FAILED: i32 = 1;
const NOT_RUNNING: i32 = 3;
const NOT_ALLOWED: i32 = 4;

/// The loader, which the command carries in itself.
const LOADER: &str = include_str!("../perl/lib/Gepok/Loader.pm");

/// Where the app comes from.
enum Source {
    /// It is here already, or no request can go to it: workers get it by fork.
    Loaded(Option<Code>),
    /// Each worker calls this to get it (Plack::Loader::Delayed).
    Builder(Code),
    /// The master loads it, once it has given up root's rights.
    Preload(AppOptions),
    /// Each worker loads it again (`--no-preload-app`).
    Load(AppOptions),
}

struct PerlEntry {
    perl: Perl,
    /// Nothing once this process has its app.
    source: Option<Source>,
    before_prefork: Option<Code>,
    server_ready: Option<Code>,
    /// Nothing also in a worker, which has it with its app.
    child_exit: Option<ChildExit>,
    /// The same.
    verify_callback: Option<Code>,
    /// A subclass's `access_log`.
    access_log: Option<Code>,
    /// Apps of virtual hosts that are here already.
    of_hosts: HostCodes,
    /// How files of apps are loaded.
    how: AppOptions,
    /// Descriptors that a supervisor has handed in, and copies of them.
    copies: Vec<(RawFd, RawFd)>,
    /// The status that the app has exited with while the master loaded it.
    exited: Option<i32>,
}

impl Entry for PerlEntry {
    fn fork(&mut self) -> io::Result<Forked> {
        Ok(match self.perl.fork()? {
            0 => {
                self.perl.reseed();
                Forked::Child
            }
            pid => Forked::Parent(Pid::from_raw(pid)),
        })
    }

    fn preloads(&self) -> bool {
        matches!(self.source, Some(Source::Loaded(_) | Source::Preload(_)))
    }

    fn is_to_load(&self) -> bool {
        matches!(self.source, Some(Source::Preload(_)))
    }

    fn load(&mut self) -> anyhow::Result<()> {
        let Some(Source::Preload(options)) = &self.source else {
            return Ok(());
        };
        let loaded = self
            .of_hosts
            .load(self.perl, &self.how)
            .and_then(|()| own_app(self.perl, options, &self.of_hosts.hosts));
        match loaded {
            Ok(app) => {
                self.source = Some(Source::Loaded(app));
                Ok(())
            }
            Err(failure) => {
                if let Failure::Exit(status) = &failure {
                    self.exited = Some(*status);
                }
                Err(failed(failure))
            }
        }
    }

    fn copy_of(&self, descriptor: RawFd) -> Option<RawFd> {
        let known = self.copies.iter().find(|(number, _)| *number == descriptor);
        known.map(|(_, copy)| *copy)
    }

    fn before_prefork(&mut self) -> anyhow::Result<()> {
        match self.before_prefork.take().map(|hook| hook.call(&[])) {
            Some(Err(failure)) => Err(anyhow!("before_prefork: {failure}")),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    fn listening(&mut self, told: &[String]) -> anyhow::Result<()> {
        let Some(hook) = self.server_ready.take() else {
            return Ok(());
        };
        let arguments: Vec<_> = told.iter().map(|text| Some(text.as_bytes())).collect();
        match hook.call(&arguments) {
            Ok(_) => Ok(()),
            Err(failure) => Err(anyhow!("server_ready: {failure}")),
        }
    }

    fn app(&mut self, facts: &ServerFacts, channel: Rc<WorkerEnd>) -> anyhow::Result<Box<dyn App>> {
        if facts.multiprocess {
            psgi::take_signals(self.perl).map_err(failed)?;
        }
        let app = match self
            .source
            .take()
            .context("this process has its app already")?
        {
            Source::Loaded(Some(app)) => Some(app),
            Source::Loaded(None) => own_app(self.perl, &self.how, &facts.hosts).map_err(failed)?,
            Source::Builder(builder) => {
                let built = builder.call(&[]).map_err(failed)?;
                let built = built.filter(Code::is_callable);
                Some(built.context("the app's builder gave no code reference")?)
            }
            Source::Preload(options) | Source::Load(options) => {
                own_app(self.perl, &options, &facts.hosts).map_err(failed)?
            }
        };
        let apps = Apps {
            own: app,
            of_hosts: self
                .of_hosts
                .all(self.perl, &self.how, &facts.hosts)
                .map_err(failed)?,
        };
        let app = PsgiApp::new(
            self.perl,
            apps,
            facts.clone(),
            channel,
            self.access_log.take(),
        );
        let mut app = app.map_err(failed)?;
        if let Some(callback) = self.verify_callback.take() {
            app.at_certificate(callback);
        }
        if facts.multiprocess {
            if let Some(hook) = self.child_exit.take() {
                app.at_exit(hook);
            }
            // Again, because the app may have set them while it was loaded.
            psgi::take_signals(self.perl).map_err(failed)?;
        } else {
            psgi::note_signals(self.perl).map_err(failed)?;
        }
        Ok(Box::new(app))
    }
}

/// The app of the server, if requests can go to it.
fn own_app(perl: Perl, options: &AppOptions, hosts: &HostApps) -> Result<Option<Code>, Failure> {
    match hosts.need_servers {
        true => load(perl, options).map(Some),
        false => Ok(None),
    }
}

/// Apps of virtual hosts that this process has, before it knows whether it needs them.
struct HostCodes {
    /// Which hosts have one, at the start.
    hosts: HostApps,
    /// Code references of the program, by the names of their hosts.
    given: HashMap<String, Rc<Code>>,
    /// Those that were loaded, by file or module: hosts that name the same one share it.
    loaded: HashMap<String, Rc<Code>>,
}

impl HostCodes {
    fn new(config: &Config, hooks: &mut Hooks) -> Self {
        let hosts = settings::host_apps(config, &handover::origin());
        let code = |app: &HostApp| {
            let code = hooks.take(&format!("app:{}", app.name))?;
            Some((app.name.clone(), Rc::new(code)))
        };
        HostCodes {
            given: hosts.apps.iter().filter_map(code).collect(),
            hosts,
            loaded: HashMap::new(),
        }
    }

    fn has_files(&self) -> bool {
        let is_file = |app: &HostApp| matches!(app.source, HostAppSource::Named(_));
        self.hosts.apps.iter().any(is_file)
    }

    /// Loads those of the start.
    fn load(&mut self, perl: Perl, how: &AppOptions) -> Result<(), Failure> {
        let hosts = self.hosts.clone();
        self.all(perl, how, &hosts).map(drop)
    }

    /// The apps of these hosts; those that are not here are loaded.
    fn all(
        &mut self,
        perl: Perl,
        how: &AppOptions,
        hosts: &HostApps,
    ) -> Result<HashMap<Vec<u8>, Rc<Code>>, Failure> {
        let mut all = HashMap::new();
        for app in &hosts.apps {
            let code = match &app.source {
                HostAppSource::Code => self.given.get(&app.name).cloned(),
                HostAppSource::Named(name) => Some(match self.loaded.get(name) {
                    Some(code) => Rc::clone(code),
                    None => {
                        let code = Rc::new(load_named(perl, how, name, &app.label)?);
                        self.loaded.insert(name.clone(), Rc::clone(&code));
                        code
                    }
                }),
            };
            let code = code.ok_or_else(|| Failure::Died(format!("{} is not there", app.label)))?;
            all.insert(app.name.clone().into_bytes(), code);
        }
        Ok(all)
    }
}

/// Loads the app of a host.
fn load_named(perl: Perl, how: &AppOptions, name: &str, label: &str) -> Result<Code, Failure> {
    let options = AppOptions {
        path: Some(name.to_owned()),
        eval: None,
        ..how.clone()
    };
    load(perl, &options).map_err(|failure| match failure {
        Failure::Died(why) => Failure::Died(format!("{label} can't be loaded: {why}")),
        other => other,
    })
}

/// What Perl code has died or left with, as an error of the entry's.
fn failed(failure: Failure) -> anyhow::Error {
    anyhow!("{failure}")
}

/// What Perl code calls.
const ENTRIES: Entries = Entries {
    serve,
    command: control_from_perl,
};

fn read(parsed: Pairs) -> Result<ParsedOptions, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let parsed = parsed
        .into_iter()
        .map(|(name, value)| (text(name), text(value)));
    attributes::read(parsed).map_err(|error| format!("{error:#}"))
}

/// Serves for `Gepok::_serve(\@pairs, \%hooks)`.
///
/// # Errors
/// One sentence, with which the Perl caller dies.
pub fn serve(parsed: Pairs, mut hooks: Hooks) -> Result<Exit, String> {
    // Beside the options: how this process was started, and copies of the descriptors that a supervisor has handed in.
    let (started, parsed): (Pairs, Pairs) = parsed
        .into_iter()
        .partition(|(name, _)| name == b".started");
    let (copies, parsed): (Pairs, Pairs) =
        parsed.into_iter().partition(|(name, _)| name == b".copy");
    handover::begin_with(started.into_iter().map(|(_, word)| word));
    begin().map_err(|error| error.to_string())?;
    let mut parsed = read(parsed)?;
    warn(&parsed);
    let access_log = hooks.take("access_log");
    parsed.options.logging.access_hook = access_log.is_some();
    let config = understood_config(&parsed.options)?;
    let mut of_hosts = HostCodes::new(&config, &mut hooks);
    let mut how = parsed.options.app.clone();
    // Unless the program has said it, as plackup does.
    how.env = None;
    let source = match (hooks.take("builder"), hooks.take("app")) {
        (Some(builder), _) => Source::Builder(builder),
        (None, Some(app)) => Source::Loaded(Some(app)),
        (None, None) if of_hosts.hosts.need_servers => {
            return Err("there is no app to run".to_owned());
        }
        (None, None) => Source::Loaded(None),
    };
    let perl = hooks.perl();
    if of_hosts.has_files() {
        perl.provide("Gepok/Loader.pm", LOADER)
            .map_err(|failure| failure.to_string())?;
    }
    if matches!(source, Source::Loaded(_)) && !gives_up_root(&parsed.options) {
        of_hosts
            .load(perl, &how)
            .map_err(|failure| plain(&failure.to_string()).into_owned())?;
    }
    let mut entry = PerlEntry {
        perl,
        source: Some(source),
        before_prefork: hooks.take("before_prefork"),
        server_ready: hooks.take("server_ready"),
        child_exit: child_exit(&parsed.options, &mut hooks)?,
        verify_callback: hooks.take("ssl_verify_callback"),
        access_log,
        of_hosts,
        how,
        copies: copies.iter().filter_map(|(_, text)| copy(text)).collect(),
        exited: None,
    };
    match run(&parsed.options, None, &mut entry)? {
        Ended::Master => Ok(Exit::Return),
        Ended::Worker(status) => Ok(Exit::Leave(status)),
    }
}

/// Descriptors and signals as the server needs them, whatever it was started with.
fn begin() -> io::Result<()> {
    fork::open_standard()?;
    signal::unblock(handover::is_expected())
}

/// `NUMBER=COPY`
fn copy(text: &[u8]) -> Option<(RawFd, RawFd)> {
    let (number, copy) = std::str::from_utf8(text).ok()?.split_once('=')?;
    Some((number.parse().ok()?, copy.parse().ok()?))
}

/// For `Gepok::_control($command, \@pairs)`: the pid of the server that runs and did it, or 0 where none runs.
fn control_from_perl(word: &[u8], parsed: Pairs) -> Result<i32, String> {
    let known = std::str::from_utf8(word).ok().and_then(command::find);
    let Some(Word::Control(command)) = known else {
        return Err("there is no such command".to_owned());
    };
    let parsed = read(parsed)?;
    let found = running::find(&parsed.options, &handover::origin())
        .map_err(|error| plain(&format!("{error:#}")).into_owned())?;
    match found {
        Err(_) => Ok(0),
        Ok(running) => match do_with(&running, command) {
            Ok(()) => Ok(running.pid().as_raw()),
            Err(ControlError::Gone) => Ok(0),
            Err(error) => Err(plain(&error.to_string()).into_owned()),
        },
    }
}

fn do_with(running: &Running, command: Command) -> Result<(), ControlError> {
    match command {
        Command::Stop => running.stop(),
        Command::Restart => running.restart(),
        Command::Reload => running.reload(),
        Command::Status => Ok(()),
    }
}

/// Controls a running server, for the command. Returns the exit status.
fn control_by_command(command: Command, options: &Options) -> i32 {
    let running = match running::find(options, &handover::origin()) {
        Ok(Ok(running)) => running,
        Ok(Err(not_running)) => {
            eprintln!("gepok: {not_running}");
            return NOT_RUNNING;
        }
        Err(error) => return mistake(&format!("{error:#}")),
    };
    let before = running.before();
    let done = do_with(&running, command).and_then(|()| match (command, before) {
        (Command::Reload | Command::Restart, Some(before)) => running.changed(&before, command),
        _ => Ok(running::Code::New),
    });
    match done {
        Ok(code) => {
            if let Some(note) = code.note() {
                eprintln!("gepok: {note}");
            }
            if command == Command::Status {
                println!("{}", describe(running.pid(), options.json));
            }
            0
        }
        Err(error) => {
            eprintln!("gepok: {}", plain(&error.to_string()));
            match error {
                ControlError::Gone => NOT_RUNNING,
                ControlError::NotAllowed(_) => NOT_ALLOWED,
                ControlError::Failed(_) | ControlError::Stays(..) => FAILED,
            }
        }
    }
}

/// How a server does: what its scoreboard tells, where there is one and it may be read.
fn describe(pid: Pid, json: bool) -> String {
    match (status::of(pid.as_raw()), json) {
        (Ok(status), true) => status.json(),
        (Ok(status), false) => format!("running, pid {pid}\n{}", status.text()),
        (Err(_), true) => format!("{{\"master\":{pid}}}"),
        (Err(error), false) => {
            format!("running, pid {pid}; its scoreboard can't be read: {error}")
        }
    }
}

/// Runs the command with the arguments after its name. Returns the exit status: 2 for an operator's mistake.
pub fn command(arguments: impl Iterator<Item = OsString>) -> i32 {
    handover::begin();
    let typed = match cli::parse(arguments) {
        Ok(Parsed::Print(page)) => return print(page),
        Ok(Parsed::Control(command, typed)) => {
            return match understand_leniently(&sources(typed)) {
                Ok(understood) => control_by_command(command, &understood.options),
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
    let of_hosts = understood_config(options).map(|config| HostCodes::new(&config, &mut hooks));
    let mut of_hosts = match of_hosts {
        Ok(of_hosts) => of_hosts,
        Err(message) => return mistake(&understood.locate(message)),
    };
    let source = match prepare(options, &mut of_hosts, interpreter) {
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
    let ended = run(options, file, &mut entry);
    let ended = ended.map_err(|message| understood.locate(message).to_string());
    match (ended, entry.exited) {
        (Ok(Ended::Master), _) => 0,
        (Ok(Ended::Worker(status)), _) | (Err(_), Some(status)) => status,
        (Err(message), None) => mistake(&message),
    }
}

/// What each worker calls before it exits: a code reference, or source that gives one.
fn child_exit(options: &Options, hooks: &mut Hooks) -> Result<Option<ChildExit>, String> {
    let Some(source) = &options.life.child_exit else {
        return Ok(None);
    };
    // The words are those of Gazelle and Starlet.
    let wrong = "child_exit is defined but not a code block";
    let hook = match hooks.take("child_exit") {
        Some(hook) => Some(hook),
        None => match hooks.perl().eval("child_exit", source) {
            Ok(hook) => hook,
            Err(failure) => return Err(format!("{wrong}: {failure}")),
        },
    };
    let hook = hook.filter(Code::is_callable).ok_or(wrong)?;
    Ok(Some(ChildExit {
        hook,
        handler: hooks.take("handler"),
    }))
}

/// Makes the interpreter fit for apps, and loads the app where it is to be preloaded.
fn prepare(
    options: &Options,
    of_hosts: &mut HostCodes,
    interpreter: &Interpreter,
) -> Result<Source, Failure> {
    interpreter.name_executable()?;
    let perl = interpreter.perl();
    perl.provide("Gepok/Loader.pm", LOADER)?;
    let app = options.app.clone();
    Ok(match app.preload {
        true if gives_up_root(options) => Source::Preload(app),
        true => {
            of_hosts.load(perl, &app)?;
            Source::Loaded(own_app(perl, &app, &of_hosts.hosts)?)
        }
        false => Source::Load(app),
    })
}

/// Whether the app is not to be loaded yet: root binds and opens, and the app is another user's.
fn gives_up_root(options: &Options) -> bool {
    let daemon = &options.daemon;
    let named = daemon.user.as_ref().is_some_and(|user| !user.is_empty());
    geteuid().is_root() && (named || !daemon.groups.is_empty())
}

/// Calls `Gepok::Loader::load`.
fn load(perl: Perl, options: &AppOptions) -> Result<Code, Failure> {
    // Strings cross as arguments, lists as a count and their elements.
    let loader = perl.eval(
        "gepok",
        "sub { my ($path, $eval, $env, $inc, @rest) = @_; \
         my @inc = splice @rest, 0, $inc; \
         Gepok::Loader::load($path, { eval => $eval, env => $env, inc => \\@inc, modules => \\@rest }) }",
    )?;
    let count = options.include.len().to_string();
    let lists = options.include.iter().chain(&options.modules);
    let mut arguments: Vec<Option<&[u8]>> = [&options.path, &options.eval, &options.env]
        .into_iter()
        .map(|text| text.as_deref().map(str::as_bytes))
        .collect();
    arguments.push(Some(count.as_bytes()));
    arguments.extend(lists.map(|text| Some(text.as_bytes())));
    let app = match loader {
        Some(loader) => loader.call(&arguments)?,
        None => None,
    };
    app.ok_or_else(|| Failure::Died("the loader gave no app".to_owned()))
}

fn run(
    options: &Options,
    file: Option<(Sources, Understood)>,
    entry: &mut PerlEntry,
) -> Result<Ended, String> {
    let origin = handover::origin();
    config(options)
        .and_then(|config| {
            let configuration = file.and_then(|(sources, understood)| {
                Configuration::new(sources, origin.clone(), understood, &config)
            });
            server::run(&config, configuration, &origin, entry)
        })
        .map_err(|error| plain(&format!("{error:#}")).into_owned())
}

/// The same, before the server runs.
fn understood_config(options: &Options) -> Result<Config, String> {
    config(options).map_err(|error| plain(&format!("{error:#}")).into_owned())
}

/// What the options mean, with the sockets that a supervisor has handed in.
fn config(options: &Options) -> anyhow::Result<Config> {
    let variable = |name: &str| std::env::var(name).ok();
    let activated = socket_activation::sockets(options, std::process::id(), variable)?;
    Config::resolve_with(options, activated)
}

fn warn(parsed: &ParsedOptions) {
    for warning in &parsed.warnings {
        eprintln!("gepok: {warning}");
    }
}

fn mistake(message: &dyn std::fmt::Display) -> i32 {
    eprintln!("gepok: {}", plain(&message.to_string()));
    MISTAKE
}

/// What XSLoader calls. In Rust, because a shared library exports no C symbol of the static library in it.
///
/// # Safety
/// To be called by perl alone.
#[unsafe(no_mangle)]
#[cfg(perl_multiplicity)]
pub unsafe extern "C" fn boot_Gepok(perl: *mut xs::RawPerl, _: *mut std::ffi::c_void) {
    // SAFETY: perl gives its interpreter.
    unsafe { xs::boot(perl, ENTRIES) }
}

/// As above, for a perl that has only one interpreter.
///
/// # Safety
/// To be called by perl alone.
#[unsafe(no_mangle)]
#[cfg(not(perl_multiplicity))]
pub unsafe extern "C" fn boot_Gepok(_: *mut std::ffi::c_void) {
    // SAFETY: NULL stands for the only interpreter.
    unsafe { xs::boot(std::ptr::null_mut(), ENTRIES) }
}
