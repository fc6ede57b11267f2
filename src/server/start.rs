//! What the master does between binding and the first worker: it gives up root's rights, leaves the terminal and tells that it
//! listens.

#![forbid(unsafe_code)]

use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::unistd::getppid;

use super::Server;
use super::daemon::Start;
use super::tls::Certificates;
use crate::process::fork;
use crate::process::signal;
use crate::worker::Address;

impl Server<'_> {
    /// Loads the app as the user that the server will be. Everything that needs root's rights is done.
    pub(super) fn load(&mut self) -> Result<()> {
        self.drop_privileges()?;
        self.leave_terminal()?;
        // Nothing serves yet: a signal ends the start at once.
        signal::end_with_files(self.own_files())?;
        signal::release()?;
        let loaded = self.entry.load();
        signal::keep_files();
        loaded?;
        if self.facts.multiprocess {
            signal::hold_back()?;
        }
        Ok(())
    }

    /// The paths of the files that the server has made and removes at its end.
    fn own_files(&self) -> Vec<CString> {
        let sockets = self.files.iter().map(|file| file.path().to_owned());
        let board = self.board_file.iter().map(|file| file.path().to_owned());
        let pid = self.daemon.kept_file().map(|file| file.path);
        let paths = sockets.chain(board).chain(pid);
        let text = |path: PathBuf| CString::new(path.into_os_string().into_vec()).ok();
        paths.filter_map(text).collect()
    }

    /// What the app can do in this process, it shall not do as root.
    fn drop_privileges(&self) -> Result<()> {
        let dropped = self.daemon.drop_privileges();
        dropped.context("can't give up root's rights")?;
        let keeps = |certificates: &Certificates| certificates.kept_files().next().is_some();
        let dumpable = self.config.limits.dumpable;
        // The kernel does so to a process that changes its user, but not to one that is that user's after a restart in place.
        // No worker, which is the same user's, takes keys from this process.
        if dumpable || self.daemon.changes_user() || self.certificates.as_ref().is_some_and(keeps) {
            nix::sys::prctl::set_dumpable(dumpable)?;
        }
        Ok(())
    }

    fn leave_terminal(&mut self) -> Result<()> {
        let left = self.daemon.load(self.logs.errors().is_some());
        left.context("can't go to the background")?;
        let taken = self.logs.take_standard_error();
        taken.context("can't take the error log")
    }

    /// The sockets listen, and files are open: what is left to do before the first worker.
    pub(super) fn tell_listening(&mut self) -> Result<()> {
        if self.entry.preloads() || !self.facts.multiprocess {
            self.drop_privileges()?;
        }
        if self.start == Start::Trial {
            // What was said about that is forgotten with the rights.
            fork::die_with(getppid())?;
        }
        self.entry.before_prefork()?;
        if let Some(first) = self.facts.listeners.first()
            && self.config.server_ready
            && self.start != Start::Trial
        {
            let scheme = if first.tls { "https" } else { "http" };
            let first = [&first.server_name, &first.server_port, scheme].map(str::to_owned);
            let told: Vec<_> = first.into_iter().chain(self.places()).collect();
            let told = self.entry.listening(&told);
            match (self.start, told) {
                // The server that was tried serves: there is no way back.
                (Start::Again, Err(error)) => ::log::error!("{error:#}"),
                (_, told) => told?,
            }
        }
        self.leave_terminal()
    }

    /// Says where it listens, unless the hook of plackup does, or this is a trial.
    pub(super) fn announce(&self) {
        if self.start == Start::Trial || self.config.server_ready {
            return;
        }
        for place in self.places() {
            crate::log::notice(format_args!("listening on {place}"));
        }
    }

    /// Where it listens, as `http://127.0.0.1:5000/` or `unix:/run/app.sock`.
    fn places(&self) -> impl Iterator<Item = String> + '_ {
        let listeners = self.facts.listeners.iter();
        listeners.map(|listener| match &listener.address {
            Address::Ip(address) if listener.tls => format!("https://{address}/"),
            Address::Ip(address) => format!("http://{address}/"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        })
    }
}
