//! The configuration file: read at the start, and again at each reload. The master reads and checks it, and hands the core its
//! text: the core has no rights of its own. One process reads it on a thread of the core's.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{documents, logs, settings, tls};
use crate::config::Config;
use crate::config::resolved::Listener;
use crate::config::sources::{Sources, Understood};
use crate::core::{Reread, SiteReader};
use crate::files;
use crate::log::host_logs::HostLog;
use crate::net::tls::files::Certificate;
use crate::process::control::{MasterEnd, ToCore};
use crate::process::error::Error;
use crate::process::origin::Origin;
use crate::process::privileges::Identity;
use crate::site;
use crate::worker::HostApps;

/// A larger file is no configuration.
const LARGEST: u64 = 16 << 20;

/// No text in TOML has this byte.
const BETWEEN: char = '\0';

/// What a file says that changes with a reload.
#[derive(Debug)]
pub(super) struct Plan {
    /// The file, and that of media types
    texts: String,
    /// What the server answers itself
    pub(super) site: site::Settings,
    /// The apps of its hosts
    pub(super) hosts: HostApps,
    /// The certificates of the server and its hosts, if TLS is spoken
    pub(super) certificates: Option<Vec<Certificate>>,
    /// The access logs of its hosts
    pub(super) logs: Vec<HostLog>,
}

impl Plan {
    /// Has the core go by this plan.
    ///
    /// # Errors
    /// One sentence; the core goes on as before.
    pub(super) fn tell(&self, core: &mut MasterEnd) -> Result<(), Error> {
        let file = in_memory(&self.texts)?;
        core.ask(ToCore::Site(file.into()))
    }
}

/// The file that the server was started with, and what it was started with beside it.
#[derive(Debug)]
pub struct Configuration {
    sources: Sources,
    origin: Origin,
    /// What all sources said at the start
    started: Understood,
    /// Where the server listens: no reload changes that
    listeners: Vec<Listener>,
    /// The apps that it was started with
    loaded: HostApps,
}

impl Configuration {
    /// The file that these sources name, if they name one.
    pub fn new(
        sources: Sources,
        origin: Origin,
        started: Understood,
        config: &Config,
    ) -> Option<Arc<Configuration>> {
        sources.file()?;
        Some(Arc::new(Configuration {
            loaded: settings::host_apps(config, &origin),
            sources,
            origin,
            started,
            listeners: config.listeners.clone(),
        }))
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn reread(&self, identity: Option<&Identity>) -> Result<Plan, Error> {
        let read = self.read(identity);
        read.map_err(|error| Error::role(format!("{error:#}")))
    }

    /// What the core does with the texts that the master has handed over.
    pub(super) fn of_core(self: &Arc<Self>) -> SiteReader {
        let configuration = Arc::clone(self);
        SiteReader::new(move |file| {
            let mut texts = String::new();
            let read = file.map_or(Ok(0), |mut file| file.read_to_string(&mut texts));
            read.map_err(|error| error.to_string())?;
            let (options, types) = texts.split_once(BETWEEN).unwrap_or((&texts, ""));
            let site = configuration.config(options).and_then(|(config, _)| {
                let files = documents::settings(&config, &configuration.origin, types)?;
                Ok(Reread {
                    site: settings::site(&config, files),
                    certificates: None,
                    logs: logs::of_hosts(&config, &configuration.origin)?,
                    files: Vec::new(),
                })
            });
            site.map_err(|error| format!("{error:#}"))
        })
    }

    /// What the core of one process does at a reload.
    pub(super) fn of_one_process(self: &Arc<Self>) -> SiteReader {
        let configuration = Arc::clone(self);
        SiteReader::new(move |_| {
            let plan = configuration
                .read(None)
                .map_err(|error| format!("{error:#}"))?;
            configuration.has_apps(&plan.hosts)?;
            let files = logs::opened(&plan.logs).map_err(|error| format!("{error:#}"))?;
            Ok(Reread {
                files,
                logs: plan.logs,
                site: plan.site,
                certificates: plan.certificates,
            })
        })
    }

    /// One process has the apps that it has loaded at its start.
    fn has_apps(&self, hosts: &HostApps) -> Result<(), String> {
        let new = hosts
            .apps
            .iter()
            .find(|app| !self.loaded.apps.iter().any(|loaded| loaded.is_as(app)));
        match new {
            Some(app) => Err(format!(
                "{} is loaded only at a restart in one process",
                app.label
            )),
            None if hosts.need_servers && !self.loaded.need_servers => {
                Err("the server's app is loaded only at a restart in one process".to_owned())
            }
            None => Ok(()),
        }
    }

    fn read(&self, identity: Option<&Identity>) -> Result<Plan> {
        let text = super::read_options(&self.sources, &self.origin)?.unwrap_or_default();
        let (config, understood) = self.config(&text)?;
        let located = |error: anyhow::Error| understood.locate(format!("{error:#}"));
        documents::check(&config, &self.origin, identity).map_err(located)?;
        let types = documents::types(&config, &self.origin).map_err(located)?;
        let files = documents::settings(&config, &self.origin, &types).map_err(located)?;
        let site = settings::site(&config, files);
        let logs = logs::of_hosts(&config, &self.origin)?;
        self.warn_of_restart(&understood);
        Ok(Plan {
            texts: format!("{text}{BETWEEN}{types}"),
            site,
            hosts: settings::host_apps(&config, &self.origin),
            logs,
            certificates: config
                .tls
                .as_ref()
                .map(|said| tls::of_server(said, &self.origin)),
        })
    }

    /// The options with this text of the file.
    fn config(&self, text: &str) -> Result<(Config, Understood)> {
        let understood = self.sources.read(Some(text)).map_err(|mistakes| {
            let first = mistakes.into_iter().next();
            first.map_or_else(|| anyhow!("the file has mistakes"), anyhow::Error::from)
        })?;
        let config = Config::resolve_with(&understood.options, Some(self.listeners.clone()))
            .map_err(|error| understood.locate(format!("{error:#}")))?;
        Ok((config, understood))
    }

    fn warn_of_restart(&self, understood: &Understood) {
        let names = self.started.kept_until_restart(understood);
        if names.is_empty() {
            return;
        }
        let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        ::log::warn!(
            "changed options that take effect only at a restart: {}",
            names.join(", ")
        );
    }
}

/// What the server answers itself, by options whose directories and files are there.
///
/// # Errors
/// One sentence.
pub(super) fn site(
    config: &Config,
    origin: &Origin,
    identity: Option<&Identity>,
) -> Result<site::Settings> {
    documents::check(config, origin, identity)?;
    logs::of_hosts(config, origin)?;
    let types = documents::types(config, origin)?;
    let files = documents::settings(config, origin, &types)?;
    Ok(settings::site(config, files))
}

/// The text of a configuration file.
///
/// # Errors
/// Why it can't be read.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = files::read(path)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if length as u64 > LARGEST {
        return Err(io::Error::other("it has more than 16 MiB"));
    }
    Ok(text)
}

fn in_memory(text: &str) -> io::Result<File> {
    let memory = memfd_create("gepok-options", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(memory);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
