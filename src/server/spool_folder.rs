//! Where content goes that is too large for memory.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::daemon::Daemon;
use crate::config::Config;
use crate::process::origin::Origin;
use crate::spool;

/// Not the usual temporary folder, which may be memory.
const USUAL: &str = "/var/tmp";

/// The folder that the options name, else the first usual one in which the server's user can make files; nothing where there is
/// none.
///
/// # Errors
/// One sentence when the folder that the options name is not usable.
pub(super) fn choose(config: &Config, origin: &Origin, daemon: &Daemon) -> Result<Option<PathBuf>> {
    let check = |folder: &Path| match daemon.identity() {
        Some(identity) => identity.can(|| spool::check(folder)),
        None => spool::check(folder),
    };
    if let Some(folder) = &config.limits.spool_dir {
        if let Err(error) = check(folder) {
            let by = match &config.daemon.user {
                Some(user) => format!(" by user '{user}'"),
                None => String::new(),
            };
            let folder = folder.display();
            bail!("option 'spool_dir': no file can be made in '{folder}'{by}: {error}");
        }
        return Ok(Some(folder.clone()));
    }
    let usual = [origin.temporary.as_deref(), Some(Path::new(USUAL))];
    let usable = usual
        .into_iter()
        .flatten()
        .find(|folder| check(folder).is_ok());
    Ok(usable.map(Path::to_owned))
}
