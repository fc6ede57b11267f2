//! What Perl code calls: `Gepok::_serve` serves within its perl, `Gepok::_control` controls a running server.

use std::os::fd::RawFd;

use super::apps::{HostCodes, provide_loader};
use super::control::do_with;
use super::perl_entry::{PerlEntry, Source, child_exit, gives_up_root};
use super::serve::{begin, understood_config};
use crate::config::command::{self, Word};
use crate::config::{ParsedOptions, attributes};
use crate::perl::{Exit, Hooks};
use crate::process::handover;
use crate::process::master::Ended;
use crate::psgi;
use crate::semantics::wording::plain;
use crate::server::running::{self, ControlError};
use crate::xs::Pairs;

/// Serves for `Gepok::_serve(\@pairs, \%hooks)`.
///
/// # Errors
/// One sentence, with which the Perl caller dies.
pub(super) fn serve(parsed: Pairs, mut hooks: Hooks) -> Result<Exit, String> {
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
    if let Some(looped) = &config.life.event_loop {
        psgi::load_loop(perl, &looped.name)
            .map_err(|failure| plain(&failure.to_string()).into_owned())?;
    }
    if of_hosts.has_files() {
        provide_loader(perl).map_err(|failure| failure.to_string())?;
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
    match super::serve::serve(&parsed.options, None, &mut entry)? {
        Ended::Master => Ok(Exit::Return),
        Ended::Worker(status) => Ok(Exit::Leave(status)),
    }
}

/// For `Gepok::_control($command, \@pairs)`: the pid of the server that runs and did it, or 0 where none runs.
pub(super) fn control(word: &[u8], parsed: Pairs) -> Result<i32, String> {
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

fn read(parsed: Pairs) -> Result<ParsedOptions, String> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let parsed = parsed
        .into_iter()
        .map(|(name, value)| (text(name), text(value)));
    attributes::read(parsed).map_err(|error| format!("{error:#}"))
}

/// `NUMBER=COPY`
fn copy(text: &[u8]) -> Option<(RawFd, RawFd)> {
    let (number, copy) = std::str::from_utf8(text).ok()?.split_once('=')?;
    Some((number.parse().ok()?, copy.parse().ok()?))
}

fn warn(parsed: &ParsedOptions) {
    for warning in &parsed.warnings {
        eprintln!("gepok: {warning}");
    }
}
