//! The apps of the server and of its virtual hosts: which of them the program has given, and how the others are loaded.

use std::collections::HashMap;
use std::rc::Rc;

use crate::config::Config;
use crate::config::options::App as AppOptions;
use crate::perl::{Code, Failure, Hooks, Perl};
use crate::process::handover;
use crate::server::settings;
use crate::worker::{HostApp, HostAppSource, HostApps};

/// The loader, which the command carries in itself.
const LOADER: &str = include_str!("../../perl/lib/Gepok/Loader.pm");

/// Makes the loader known to a perl that may not find its file.
pub(super) fn provide_loader(perl: Perl) -> Result<(), Failure> {
    perl.provide("Gepok/Loader.pm", LOADER)
}

/// The app of the server, if requests can go to it.
pub(super) fn own_app(
    perl: Perl,
    options: &AppOptions,
    hosts: &HostApps,
) -> Result<Option<Code>, Failure> {
    match hosts.need_servers {
        true => load(perl, options).map(Some),
        false => Ok(None),
    }
}

/// Apps of virtual hosts that this process has, before it knows whether it needs them.
pub(super) struct HostCodes {
    /// Which hosts have one, at the start.
    pub(super) hosts: HostApps,
    /// Code references of the program, by the names of their hosts.
    given: HashMap<String, Rc<Code>>,
    /// Those that were loaded, by file or module: hosts that name the same one share it.
    loaded: HashMap<String, Rc<Code>>,
}

impl HostCodes {
    pub(super) fn new(config: &Config, hooks: &mut Hooks) -> Self {
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

    pub(super) fn has_files(&self) -> bool {
        let is_file = |app: &HostApp| matches!(app.source, HostAppSource::Named(_));
        self.hosts.apps.iter().any(is_file)
    }

    /// Loads those of the start.
    pub(super) fn load(&mut self, perl: Perl, how: &AppOptions) -> Result<(), Failure> {
        let hosts = self.hosts.clone();
        self.all(perl, how, &hosts).map(drop)
    }

    /// The apps of these hosts; those that are not here are loaded.
    pub(super) fn all(
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
