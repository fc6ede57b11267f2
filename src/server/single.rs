//! One process (`start_servers 0`): the core on a thread beside the one that runs the app.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::Signal;

use super::{Configuration, Server};
use crate::channel;
use crate::channel::worker_end::WorkerEnd;
use crate::log::own::Threaded;
use crate::net::listen::SocketFile;
use crate::process::control::{self, LogFiles, MasterEnd, ToCore, ToMaster};
use crate::process::fork;
use crate::process::master::{Ended, FAST_STOP, Roles};
use crate::process::notify::Notifier;
use crate::process::pid_file::PidFile;
use crate::process::signal::{self, Saved};
use crate::process::supervisor::{self, Supervisor};
use crate::process::terminal::Terminal;
use crate::scoreboard::Board;
use crate::worker::{self, Budget, Left, Shown};

impl Server<'_> {
    /// Serves until a signal or the app ends it.
    pub(super) fn single(&mut self, board: Arc<Board>) -> Result<Ended> {
        let saved = signal::save(&supervisor::TAKEN)?;
        let (mut control, core_end) = control::pair()?;
        let core = self.start_core(&mut control, core_end)?;
        let (core_side, worker_side) = channel::pair()?;
        if let Err(error) = self.read_certificates(&mut control) {
            let _ = control.tell(ToCore::Quit);
            joined(core)?;
            return Err(error.into());
        }
        control.tell(ToCore::Accept)?;
        let pid = std::process::id().cast_signed();
        control.tell(ToCore::Worker(1, pid, core_side))?;
        self.tell_listening()?;
        share_standard_error(&control)?;

        let channel = Rc::new(WorkerEnd::open(worker_side)?);
        let mut app = self.entry.app(&self.facts, Rc::clone(&channel))?;
        // From now on the core tells of reloads.
        board.reload_ended(1, None, 0);
        self.daemon.ready()?;
        share_standard_error(&control)?;
        let supervisor = self.supervise(control, &saved)?;
        self.announce();
        let shown = Shown {
            seat: board.take(1, 1),
            title: self.title.clone(),
        };
        let left = worker::serve(&channel, app.as_mut(), Budget::unlimited(), shown);
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
            reopen_logs: Box::new(self.logs.reopener()),
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
        let files = self.certificates.as_ref().map(|c| c.files.clone());
        let start = self.core_start(&core_end, files, Configuration::of_one_process)?;
        let moved = start.keep.clone();
        let (tell_table, table) = mpsc::channel();
        // All signals are the app's: the thread is born with every one blocked.
        let core = signal::blocked(|| {
            thread::Builder::new()
                .name("gepok-core".to_owned())
                .spawn(move || {
                    let own = own_descriptors(&start.keep);
                    // Nobody listens any more when the start has failed.
                    let _ = tell_table.send(own?);
                    let _lines = Threaded::start()?;
                    start.run(core_end)
                })
        })?
        .context("can't start the core's thread")?;
        if let Ok(Table::Own) = table.recv() {
            for descriptor in moved {
                // SAFETY: their owners were moved into the closure that is the core's thread, which has its own table.
                unsafe { fork::close_copy(descriptor) };
            }
        }
        match control.hear()? {
            Some(ToMaster::Ready) => Ok(core),
            _ => Err(joined(core)
                .err()
                .unwrap_or_else(|| anyhow!("the core ended at once"))),
        }
    }
}

/// Whose descriptors the core's thread has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    /// Its own: a process that the app forks gets neither clients nor listening sockets.
    Own,
    /// Those of the process, where the system allows nothing else.
    Shared,
}

/// Makes the calling thread's descriptors its own, and closes those that are not the core's.
fn own_descriptors(keep: &[RawFd]) -> io::Result<Table> {
    if let Err(error) = fork::unshare_descriptors() {
        ::log::info!("processes that the app forks hold the clients' sockets: {error}");
        return Ok(Table::Shared);
    }
    // SAFETY: the thread has a table of its own by now, and its values own nothing but what is kept.
    unsafe { fork::close_all_but(keep) };
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Input)?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Output)?;
    Ok(Table::Own)
}

/// Has the core's thread write its lines where this one does.
fn share_standard_error(control: &MasterEnd) -> io::Result<()> {
    control.tell(ToCore::Logs(LogFiles {
        access: None,
        errors: Some(io::stderr().as_fd().try_clone_to_owned()?),
    }))
}

/// The end of the core's thread, which was told to leave.
fn joined(core: JoinHandle<io::Result<()>>) -> Result<()> {
    let until = Instant::now() + FAST_STOP;
    while !core.is_finished() {
        if Instant::now() >= until {
            return Err(anyhow!("the core's thread does not end"));
        }
        thread::sleep(Duration::from_millis(1));
    }
    match core.join() {
        Ok(ended) => ended.context("the core failed"),
        Err(_) => Err(anyhow!("the core panicked")),
    }
}
