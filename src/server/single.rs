//! One process (`start_servers 0`): the core on a thread beside the one that runs the app.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::Signal;

use super::{Server, numbered, settings, tls};
use crate::channel;
use crate::channel::worker_end::WorkerEnd;
use crate::core;
use crate::process::control::{self, MasterEnd, ToCore, ToMaster};
use crate::process::master::{Ended, Roles};
use crate::process::notify::Notifier;
use crate::process::signal::{self, Note};
use crate::scoreboard::Board;
use crate::worker::{self, Left, Share, Shown};

const TAKEN: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGINT,
    Signal::SIGHUP,
];

impl Server<'_> {
    /// Serves until a signal or the app ends it.
    pub(super) fn single(&mut self, board: Arc<Board>) -> Result<Ended> {
        let saved = signal::save(&TAKEN)?;
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
        take_signals(&control, self.is_supervised())?;
        let notifier = Notifier::from_environment();
        notifier.iter().for_each(Notifier::ready);
        let shown = Shown {
            seat: board.take(1, 1),
            title: self.title.clone(),
        };
        let left = worker::serve(&channel, app.as_mut(), Share::endless(), shown);
        drop(app);
        notifier.iter().for_each(Notifier::stopping);
        saved.restore(&TAKEN)?;
        finish(&mut control);
        joined(core)?;
        Ok(match left {
            Left::Finished => Ended::Master,
            Left::Exit(status) => Ended::Worker(status),
        })
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
        let logs = core::Logs {
            access: self.access_plan()?,
            reopen: Some(Box::new(self.logs.reopener())),
        };
        let tls = self.config.tls.as_ref();
        let tls = tls.map(|tls| tls::settings(tls, self.certificates.clone()));
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

/// Signals stop the core; its stop ends the worker's loop.
fn take_signals(control: &MasterEnd, has_successor: bool) -> io::Result<()> {
    let stop = if has_successor {
        &control::GIVE_WAY_WORD
    } else {
        &control::DRAIN_WORD
    };
    let socket = control.as_fd().as_raw_fd();
    for (signal, bytes) in [
        (Signal::SIGTERM, stop),
        (Signal::SIGQUIT, stop),
        (Signal::SIGINT, &control::QUIT_WORD),
        (Signal::SIGHUP, &control::REREAD_WORD),
    ] {
        signal::note(signal, Note { socket, bytes })?;
    }
    Ok(())
}

/// Lets what the app has answered reach its clients, even where it has called exit, and ends the core. One that
/// has left already, as INT makes it, needs no word.
fn finish(control: &mut MasterEnd) {
    for word in [ToCore::Died(1), ToCore::NoWorkers] {
        let _ = control.tell(word);
    }
    loop {
        match control.hear() {
            Ok(Some(ToMaster::Drained) | None) => break,
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let _ = control.tell(ToCore::Quit);
}

fn joined(core: JoinHandle<io::Result<()>>) -> Result<()> {
    match core.join() {
        Ok(ended) => ended.context("the core failed"),
        Err(_) => Err(anyhow!("the core panicked")),
    }
}
