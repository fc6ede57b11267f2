//! What a core starts with, whether it is a process or a thread of the only one.

#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::{Configuration, Server, settings, tls};
use crate::core;
use crate::log::host_logs::Plans;
use crate::net::listen::Listening;
use crate::net::tls::files::Files;

/// What a core starts with.
pub(super) struct CoreStart {
    listening: Vec<(u16, Listening)>,
    settings: core::Settings,
    tls: Option<crate::net::tls::Settings>,
    logs: Plans,
    /// The descriptors that the core owns or uses, its end of the control socket among them.
    pub(super) keep: Vec<RawFd>,
}

impl Server<'_> {
    /// Gives the listening sockets to a core. With `files`, it opens certificates itself.
    ///
    /// # Errors
    /// When descriptors run out.
    pub(super) fn core_start(
        &mut self,
        control: &OwnedFd,
        files: Option<Files>,
        site_reader: impl Fn(&Arc<Configuration>) -> core::SiteReader,
    ) -> io::Result<CoreStart> {
        let names = self.facts.listeners.iter();
        let names = names.map(|l| (l.server_name.clone(), l.server_port.clone()));
        let logs = self.logs.plans(names.collect())?;
        let sockets = self.listening.iter().map(|l| l.socket.as_raw_fd());
        let mut keep: Vec<_> = sockets.chain([control.as_raw_fd()]).collect();
        keep.extend(logs.own.as_ref().map(|plan| plan.descriptor.as_raw_fd()));
        keep.extend(logs.files.iter().map(|(_, file)| file.as_raw_fd()));
        keep.extend(self.board_file.iter().map(|file| file.file().as_raw_fd()));
        let mut settings = settings::core(self.config);
        settings.dispatch.board = self.board.clone();
        settings.board_file = self.board_file.clone();
        settings.spool.folder = self.spool.clone();
        settings.site = self.site.clone();
        settings.site_reader = self.configuration.as_ref().map(site_reader);
        let tls = self.config.tls.as_ref();
        Ok(CoreStart {
            listening: (0..).zip(mem::take(&mut self.listening)).collect(),
            settings,
            tls: tls.map(|tls| tls::settings(tls, self.config.http2.over_tls, files)),
            logs,
            keep,
        })
    }
}

impl CoreStart {
    /// Runs the core.
    ///
    /// # Errors
    /// As [`core::run`].
    pub(super) fn run(self, control: OwnedFd) -> io::Result<()> {
        core::run(self.listening, control, self.settings, self.tls, self.logs)
    }
}
