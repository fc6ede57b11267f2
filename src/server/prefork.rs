//! A master with a core and workers (`start_servers` of 1 or more): what each of the processes does.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::configuration::Plan;
use super::daemon::{Daemon, Start};
use super::tls::Certificates;
use super::{Configuration, Server, said, settings};
use crate::channel::Descriptors;
use crate::channel::worker_end::WorkerEnd;
use crate::log::own::Threaded;
use crate::net::tls::files::Certificate;
use crate::process::control::{LogFiles, MasterEnd, ToCore};
use crate::process::daemon::instead_of_terminal;
use crate::process::error::Error;
use crate::process::fork::{self, Forked};
use crate::process::handover::{Handover, KeptFile, Purpose};
use crate::process::master::{self, Ended, NewWorker, Roles};
use crate::process::notify::Notifier;
use crate::process::signal;
use crate::scoreboard::Board;
use crate::worker::{self, Budget, Left, Shown};

impl Server<'_> {
    /// Serves until a signal ends it. Returns in the master, and in each worker that is to exit.
    pub(super) fn prefork(&mut self, board: Arc<Board>) -> Result<Ended> {
        self.show(b"parent");
        let reload = &self.config.reload;
        let trial = self.start == Start::Trial;
        let settings = master::Settings {
            workers: if trial {
                1
            } else {
                self.config.workers.start as usize
            },
            pool: settings::sizes(self.config).filter(|_| !trial),
            graceful_timeout: reload.graceful_timeout,
            spawn_interval: reload.spawn_interval,
            err_respawn_interval: reload.err_respawn_interval,
            check_path: reload.check_path.clone(),
            has_successor: self.is_supervised(),
            program: self.program.take(),
            reload_on_hup: reload.reload_on_hup,
            verdict: self.handover.take_trial(),
            handover: mem::take(&mut self.handover),
            notifier: Notifier::from_environment().filter(|_| !trial),
            board,
        };
        Ok(master::run(settings, self)?)
    }
}

impl Server<'_> {
    /// What is made from now on goes by this plan.
    fn go_by(&mut self, plan: Plan) {
        self.facts.xsendfile = !plan.site.files.sendfile.is_empty();
        self.facts.hosts = plan.hosts;
        if let (Some(certificates), Some(new)) = (&mut self.certificates, plan.certificates) {
            certificates.files.certificates = new;
        }
        self.site = plan.site;
    }

    /// The certificates of this plan, where they are others than those in use.
    fn others<'p>(&self, plan: &'p Plan) -> Option<(&Certificates, &'p [Certificate])> {
        let (certificates, new) = (self.certificates.as_ref()?, plan.certificates.as_ref()?);
        (*new != certificates.files.certificates).then_some((certificates, new))
    }
}

impl Roles for Server<'_> {
    fn fork(&mut self) -> io::Result<Forked> {
        self.entry.fork()
    }

    fn core(&mut self, control: OwnedFd) -> i32 {
        self.show(b"core");
        let start = self.core_start(&control, None, Configuration::of_core);
        let (daemon, master) = (&self.daemon, self.master);
        let dumpable = self.config.limits.dumpable;
        let logs = &self.logs;
        let live = AssertUnwindSafe(move || {
            let mut start = start?;
            start.keep.extend(logs.errors());
            core_process(&start.keep, daemon, master, dumpable)?;
            logs.take_standard_error()?;
            let _lines = Threaded::at_first_line();
            start.run(control)
        });
        match catch_unwind(live) {
            Ok(Ok(())) => 0,
            Ok(Err(error)) => {
                ::log::error!("the core failed: {error}");
                1
            }
            Err(_) => 101,
        }
    }

    fn reopen_logs(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        self.logs.reopen(core)
    }

    fn read_certificates(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        let certificates = self.certificates.as_ref();
        certificates.map_or(Ok(()), |certificates| certificates.read(core))
    }

    fn has_new_certificates(&self) -> bool {
        let plan = self.read.as_ref().or(self.tried.as_ref());
        plan.is_some_and(|plan| self.others(plan).is_some())
    }

    fn read_options(&mut self) -> Result<(), Error> {
        if let Some(configuration) = &self.configuration {
            self.read = Some(configuration.reread(self.daemon.identity())?);
        }
        Ok(())
    }

    fn try_options(&mut self) {
        self.tried = self.read.take();
    }

    fn use_options(&mut self, core: Option<&mut MasterEnd>) -> Result<(), Error> {
        let Some(plan) = self.tried.take() else {
            return Ok(());
        };
        // A core that starts later begins with it.
        let logs = match core {
            Some(core) => {
                if let Some((certificates, others)) = self.others(&plan) {
                    certificates.try_others(others, core)?;
                }
                let logs = self.logs.try_hosts(&plan.logs, Some(core))?;
                plan.tell(core)?;
                logs
            }
            None => self.logs.try_hosts(&plan.logs, None)?,
        };
        self.logs.use_hosts(logs);
        self.go_by(plan);
        Ok(())
    }

    fn look_after_children(&mut self, core: &mut MasterEnd) {
        self.logs.look_after_command(core);
    }

    fn listening(&mut self) -> Result<(), Error> {
        self.tell_listening().map_err(said)
    }

    fn serving(&mut self, core: &mut MasterEnd) -> Result<(), Error> {
        self.announce();
        if self.daemon.is_awaited() {
            let errors = instead_of_terminal()?;
            // A core that has just died is noticed by the master.
            let _ = core.tell(ToCore::Logs(LogFiles {
                access: None,
                errors,
            }));
        }
        self.daemon.ready().map_err(said)
    }

    fn stop_listening(&mut self) {
        self.listening.clear();
        self.handed.clear();
    }

    fn handed_over(&self) -> Handover {
        let board = self.board_file.as_ref().map(|board| KeptFile {
            descriptor: board.file().as_raw_fd(),
            purpose: Purpose::Scoreboard,
            path: board.path().to_owned(),
        });
        let mut files: Vec<_> = self.daemon.kept_file().into_iter().chain(board).collect();
        files.extend(self.logs.kept_files());
        let certificates = self.certificates.iter();
        files.extend(certificates.flat_map(Certificates::kept_files));
        Handover {
            origin: Some(self.origin.clone()),
            sockets: self.handed.clone(),
            files,
            children: self.logs.command().into_iter().collect(),
            ..Handover::default()
        }
    }

    fn worker(&mut self, worker: NewWorker) -> i32 {
        let NewWorker {
            number,
            generation,
            candidate,
            channel,
            words,
        } = worker;
        if let Some(plan) = self.tried.take().filter(|_| candidate) {
            self.go_by(plan);
        }
        // Its files are the core's.
        self.logs.leave();
        self.show(b"child");
        (self.board_memory, self.board_file) = (None, None);
        self.certificates = None;
        let seat = self
            .board
            .take()
            .map(|board| board.take_alone(number, generation));
        let shown = Shown {
            // Without a record it serves as well.
            seat: seat.and_then(Result::ok).flatten(),
            title: self.title.take(),
        };
        let mut words = words.move_high().ok();
        let served = || -> Result<i32> {
            self.daemon.leave_to_master();
            drop_privileges(&self.daemon, self.master)?;
            // Another worker that was taken over reads no requests from this one's memory.
            nix::sys::prctl::set_dumpable(self.config.limits.dumpable)?;
            if self.config.limits.worker_no_new_privs {
                nix::sys::prctl::set_no_new_privs()?;
            }
            let socket = fork::move_high(channel.socket)?;
            let bell = fork::move_high(channel.bell)?;
            let memory = channel.memory;
            let channel = Rc::new(WorkerEnd::open(Descriptors {
                socket,
                memory,
                bell,
            })?);
            let mut app = self
                .entry
                .app(&self.facts, Rc::clone(&channel))
                .context("the app can't be loaded")?;
            self.daemon.ready()?;
            drop(words.take());
            let budget = Budget::draw(&settings::budget(&self.config.life.budget));
            let left = worker::serve(&channel, app.as_mut(), budget, shown);
            Ok(match app.leave(left) {
                Left::Finished => 0,
                Left::Exit(status) => status,
            })
        };
        served().unwrap_or_else(|error| {
            if words.is_some_and(|words| words.say(&format!("{error:#}"))) {
                return 1;
            }
            ::log::error!("{error:#}");
            if self.daemon.take_standard_error_back() {
                ::log::error!("{error:#}");
            }
            1
        })
    }
}

/// What makes a process the core: nothing of the app's is kept open, no key can be read from its memory unless it is `dumpable`,
/// and no signal moves it.
fn core_process(keep: &[i32], daemon: &Daemon, master: Pid, dumpable: bool) -> io::Result<()> {
    // SAFETY: this process is the core from now on: it uses nothing but what is kept, and leaves by _exit, so that no
    // owner of another number closes it.
    unsafe { fork::close_all_but(keep) };
    drop_privileges(daemon, master)?;
    let nothing = std::fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Input)?;
    fork::replace_standard(nothing.as_fd(), fork::Standard::Output)?;
    nix::sys::prctl::set_dumpable(dumpable)?;
    // Nothing it could be made to run gains what it lacks.
    nix::sys::prctl::set_no_new_privs()?;
    // Each client needs a descriptor. The soft limit is for programs that call select(2).
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    signal::block_all()
}

/// In a child of the master: becomes the server's user, and dies with the master as before.
fn drop_privileges(daemon: &Daemon, master: Pid) -> io::Result<()> {
    daemon.drop_privileges()?;
    fork::die_with(master)
}
