//! One process (`start_servers 0`): the core on a thread beside the one that runs the app.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::Signal;

use super::{Server, numbered, settings, tls};
use crate::channel;
use crate::channel::worker_end::WorkerEnd;
use crate::core;
use crate::net::listen::SocketFile;
use crate::process::control::{self, MasterEnd, ToCore, ToMaster};
use crate::process::master::{Ended, Roles};
use crate::process::notify::Notifier;
use crate::process::pid_file::PidFile;
use crate::process::signal::{self, Saved};
use crate::process::supervisor::{self, Supervisor};
use crate::process::terminal::Terminal;
use crate::scoreboard::Board;
use crate::worker::{self, Left, Share, Shown};

impl Server<'_> {
    /// Serves until a signal or the app ends it.
    pub(super) fn single(&mut self, board: Arc<Board>) -> Result<Ended> {
        let saved = signal::save(&supervisor::TAKEN)?;
        let (mut control, core_end) = control::pair()?;
        let core = self.start_core(&mut control, core_end)?;
        let (core_side, worker_side) = channel::pair()?;
        if let Err(message) = self.read_certificates(&mut control) {
            let _ = control.tell(ToCore::Quit);
            joined(core)?;
            return Err(anyhow!(message));
        }
        control.tell(ToCore::Accept)?;
        let pid = std::process::id().cast_signed();
        control.tell(ToCore::Worker(1, pid, core_side))?;
        self.tell_listening().map_err(|message| anyhow!(message))?;

        let channel = Rc::new(WorkerEnd::open(worker_side)?);
        let app = self.entry.app(&self.facts, Rc::clone(&channel));
        let mut app = app.map_err(|message| anyhow!(message))?;
        // From now on the core tells of reloads.
        board.reload_ended(1, None, 0);
        self.daemon.ready().map_err(|message| anyhow!(message))?;
        let supervisor = self.supervise(control, &saved)?;
        self.announce();
        let shown = Shown {
            seat: board.take(1, 1),
            title: self.title.clone(),
        };
        let left = worker::serve(&channel, app.as_mut(), Share::endless(), shown);
        supervisor.finish();
        drop(app);
        saved.restore(&supervisor::TAKEN)?;
        joined(core)?;
        Ok(match left {
            Left::Finished => Ended::Master,
            Left::Exit(status) => Ended::Worker(status),
        })
    }

    /// Starts the thread that obeys signals.
    fn supervise(&self, control: MasterEnd, saved: &Saved) -> io::Result<Supervisor> {
        let notifier = Notifier::from_environment();
        notifier.iter().for_each(Notifier::ready);
        let sockets = self.files.clone();
        let pid_file = self.daemon.pid_file()?;
        let settings = supervisor::Settings {
            graceful_timeout: self.config.reload.graceful_timeout,
            has_successor: self.is_supervised(),
            terminal: Terminal::find(),
            is_nohup: saved.ignored(Signal::SIGHUP),
            notifier,
            clean_up: Box::new(move || {
                sockets.iter().for_each(SocketFile::remove);
                pid_file.into_iter().for_each(PidFile::remove);
            }),
        };
        Supervisor::start(control, settings)
    }

    /// Starts the core's thread and waits until it accepts connections.
    fn start_core(
        &mut self,
        control: &mut MasterEnd,
        core_end: OwnedFd,
    ) -> Result<JoinHandle<io::Result<()>>> {
        let listening = numbered(mem::take(&mut self.listening));
        let mut settings = settings::core(self.config);
        settings.dispatch.board = self.board.clone();
        settings.spool.folder = self.spool.clone();
        let logs = core::Logs {
            access: self.access_plan()?,
            reopen: Some(Box::new(self.logs.reopener())),
        };
        let tls = self.config.tls.as_ref();
        let tls =
            tls.map(|tls| tls::settings(tls, self.certificates.as_ref().map(|c| c.files.clone())));
        // All signals are the app's: the thread is born with every one blocked.
        let core = signal::blocked(|| {
            thread::Builder::new()
                .name("gepok-core".to_owned())
                .spawn(|| core::run(listening, core_end, settings, tls, logs))
        })?
        .context("can't start the core's thread")?;
        match control.hear()? {
            Some(ToMaster::Ready) => Ok(core),
            _ => Err(joined(core)
                .err()
                .unwrap_or_else(|| anyhow!("the core ended at once"))),
        }
    }
}

fn joined(core: JoinHandle<io::Result<()>>) -> Result<()> {
    match core.join() {
        Ok(ended) => ended.context("the core failed"),
        Err(_) => Err(anyhow!("the core panicked")),
    }
}
