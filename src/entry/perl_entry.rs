//! What the server calls of Perl's side: it forks with Perl's own fork, calls the hooks, and makes the app of a worker.

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use anyhow::{Context as _, anyhow};
use nix::unistd::{Pid, geteuid};

use super::apps::{HostCodes, own_app};
use crate::channel::worker_end::WorkerEnd;
use crate::config::Options;
use crate::config::options::App as AppOptions;
use crate::perl::{Code, Failure, Hooks, Perl};
use crate::process::fork::Forked;
use crate::psgi::{self, Apps, ChildExit, PsgiApp};
use crate::server::Entry;
use crate::worker::{App, ServerFacts};

/// Where the app comes from.
pub(super) enum Source {
    /// It is here already, or no request can go to it: workers get it by fork.
    Loaded(Option<Code>),
    /// Each worker calls this to get it (Plack::Loader::Delayed).
    Builder(Code),
    /// The master loads it, once it has given up root's rights.
    Preload(AppOptions),
    /// Each worker loads it again (`--no-preload-app`).
    Load(AppOptions),
}

/// The perl of this process, and what the program has given to it.
pub(super) struct PerlEntry {
    pub(super) perl: Perl,
    /// Nothing once this process has its app.
    pub(super) source: Option<Source>,
    pub(super) before_prefork: Option<Code>,
    pub(super) server_ready: Option<Code>,
    /// Nothing also in a worker, which has it with its app.
    pub(super) child_exit: Option<ChildExit>,
    /// The same.
    pub(super) verify_callback: Option<Code>,
    /// A subclass's `access_log`.
    pub(super) access_log: Option<Code>,
    /// Apps of virtual hosts that are here already.
    pub(super) of_hosts: HostCodes,
    /// How files of apps are loaded.
    pub(super) how: AppOptions,
    /// Descriptors that a supervisor has handed in, and copies of them.
    pub(super) copies: Vec<(RawFd, RawFd)>,
    /// The status that the app has exited with while the master loaded it.
    pub(super) exited: Option<i32>,
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
        if facts.event_loop.is_some() {
            psgi::provide_loop(self.perl).map_err(failed)?;
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
        // After the app, whose choice of modules decides which loop AnyEvent takes.
        if let Some(name) = &facts.event_loop {
            psgi::begin_loop(self.perl, name).map_err(failed)?;
        }
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

/// What each worker calls before it exits: a code reference, or source that gives one.
pub(super) fn child_exit(
    options: &Options,
    hooks: &mut Hooks,
) -> Result<Option<ChildExit>, String> {
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

/// Whether the app is not to be loaded yet: root binds and opens, and the app is another user's.
pub(super) fn gives_up_root(options: &Options) -> bool {
    let daemon = &options.daemon;
    let named = daemon.user.as_ref().is_some_and(|user| !user.is_empty());
    geteuid().is_root() && (named || !daemon.groups.is_empty())
}

/// What Perl code has died or left with, as an error of the entry's.
fn failed(failure: Failure) -> anyhow::Error {
    anyhow!("{failure}")
}
