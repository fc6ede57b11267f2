//! The two entries from Perl's side: `Gepok::_serve` within a perl ([`embedded`]), and the command with a perl of its own
//! ([`command`]).
//!
//! Both end in [`server::run`]; what differs is who made the interpreter, and who loads the app. What controls a running server
//! ends in [`server::running`].

use std::io;

use crate::config::sources::{Sources, Understood};
use crate::config::{Config, Options, socket_activation};
use crate::process::fork;
use crate::process::handover;
use crate::process::master::Ended;
use crate::process::signal;
use crate::semantics::wording::plain;
use crate::server::{self, Configuration};
use crate::xs::{self, Entries};

use self::perl_entry::PerlEntry;

mod apps;
pub mod command;
mod control;
mod embedded;
mod perl_entry;

/// The exit status for a mistake of the operator's.
const MISTAKE: i32 = 2;
/// The exit status of a command that has failed.
const FAILED: i32 = 1;

/// What Perl code calls.
const ENTRIES: Entries = Entries {
    serve: embedded::serve,
    command: embedded::control,
};

/// Descriptors and signals as the server needs them, whatever it was started with.
fn begin() -> io::Result<()> {
    fork::open_standard()?;
    signal::unblock(handover::is_expected())
}

/// Serves until the server ends.
fn serve(
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
    Ok(Config::resolve_with(options, activated)?)
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
