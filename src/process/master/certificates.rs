//! Certificates and keys: the core alone holds them, so that the successor of a dead one has none until it has read the files.

use std::time::{Duration, Instant};

use super::super::error::Error;
use super::Master;

/// How long to wait before files that could not be read are tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Files that a core without certificates could not read.
#[derive(Debug)]
pub(super) struct Unread {
    /// What is wrong: it is logged once.
    why: String,
    /// When they are tried again.
    next: Instant,
}

impl Master<'_> {
    /// At the start: they must be good.
    pub(super) fn read_first_certificates(&mut self) -> Result<(), Error> {
        self.roles.read_certificates(&mut self.core.control)?;
        self.core.has_certificates = true;
        Ok(())
    }

    /// Has the core go by the configuration file that the candidates go by. If that fails, everything stays as it was.
    pub(super) fn use_options(&mut self) -> Result<(), Error> {
        let serves = self.core.serves();
        let core = serves.then_some(&mut self.core.control);
        self.roles.use_options(core)
    }

    /// Opens log files and reads certificates again. If that fails, the core keeps what it has, and the reason is returned.
    pub(super) fn reload_files(&mut self) -> Option<String> {
        // A core that is still starting reads them when it is ready.
        if !self.core.serves() {
            return None;
        }
        let logs = self.roles.reopen_logs(&mut self.core.control);
        let logs = logs.err().map(|error| error.to_string());
        if let Some(message) = &logs {
            ::log::error!("{message}");
        }
        if self.core.has_certificates && self.roles.has_new_certificates() {
            return logs;
        }
        self.unread = None;
        self.read_certificates().or(logs)
    }

    /// When files are to be tried again.
    pub(super) fn next_reading(&self) -> Option<Instant> {
        let running = self.shutdown.is_running();
        self.unread
            .as_ref()
            .filter(|_| running)
            .map(|unread| unread.next)
    }

    /// Tries files again that could not be read, when it is time.
    pub(super) fn read_unread(&mut self) {
        if self
            .next_reading()
            .is_some_and(|next| next <= Instant::now())
        {
            self.read_certificates();
        }
    }

    /// Returns why they can't be read.
    fn read_certificates(&mut self) -> Option<String> {
        match self.roles.read_certificates(&mut self.core.control) {
            Ok(()) => {
                self.core.has_certificates = true;
                if self.unread.take().is_some() {
                    ::log::warn!("the certificates could be read: HTTPS is served again");
                }
                None
            }
            Err(error) if self.core.has_certificates => {
                let why = format!("{error}; the certificates read before stay in use");
                ::log::error!("{why}");
                Some(why)
            }
            Err(error) => {
                let why = error.to_string();
                let known = self.unread.as_ref().map(|unread| &unread.why);
                if known != Some(&why) {
                    ::log::error!(
                        "{why}; the core that died has left no certificates: HTTPS is not served until they can be read"
                    );
                }
                let next = Instant::now() + PAUSE;
                self.unread = Some(Unread {
                    why: why.clone(),
                    next,
                });
                Some(why)
            }
        }
    }
}
