//! What both entries do: they begin, find out what the options mean, and serve.

use std::io;

use super::perl_entry::PerlEntry;
use crate::config::sources::{Sources, Understood};
use crate::config::{Config, Options, socket_activation};
use crate::process::fork;
use crate::process::handover;
use crate::process::master::Ended;
use crate::process::signal;
use crate::semantics::wording::plain;
use crate::server::{self, Configuration};

/// The exit status for a mistake of the operator's.
pub(super) const MISTAKE: i32 = 2;
/// The exit status of a command that has failed.
pub(super) const FAILED: i32 = 1;

/// Descriptors and signals as the server needs them, whatever it was started with.
pub(super) fn begin() -> io::Result<()> {
    fork::open_standard()?;
    signal::unblock(handover::is_expected())
}

/// Serves until the server ends.
pub(super) fn serve(
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
pub(super) fn understood_config(options: &Options) -> Result<Config, String> {
    config(options).map_err(|error| plain(&format!("{error:#}")).into_owned())
}

/// What the options mean, with the sockets that a supervisor has handed in.
pub(super) fn config(options: &Options) -> anyhow::Result<Config> {
    let variable = |name: &str| std::env::var(name).ok();
    let activated = socket_activation::sockets(options, std::process::id(), variable)?;
    Ok(Config::resolve_with(options, activated)?)
}

pub(super) fn mistake(message: &dyn std::fmt::Display) -> i32 {
    eprintln!("gepok: {}", plain(&message.to_string()));
    MISTAKE
}
