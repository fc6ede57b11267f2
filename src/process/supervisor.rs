//! One process (`start_servers 0`): the thread that plays the master. It turns signals into messages for the core, and
//! ends the process if the app does not return in time.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::control::{MasterEnd, ToCore, ToMaster};
use super::error::Error;
use super::fork;
use super::heartbeat::{Beat, Heartbeat};
use super::master::FAST_STOP;
use super::notify::Notifier;
use super::signal::{self, Note};
use super::terminal::Terminal;

/// The signals that stop or reload this server; the notes that they send are in `NOTES`.
pub const TAKEN: [Signal; 4] = [
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGINT,
    Signal::SIGHUP,
];
const NOTES: [&[u8]; 4] = [b"T", b"T", b"I", b"H"];

/// The note of the thread that runs the app: it has left its loop.
const LEFT: &[u8] = b"L";

/// What the thread needs to know.
pub struct Settings {
    /// How long a graceful stop waits for requests.
    pub graceful_timeout: Duration,
    /// Other servers listen on the same sockets when this one stops (Server::Starter).
    pub has_successor: bool,
    /// The terminal at the start.
    pub terminal: Terminal,
    /// SIGHUP was ignored then, as under nohup.
    pub is_nohup: bool,
    /// The service manager, if it wants to be notified.
    pub notifier: Option<Notifier>,
    /// Opens the log files again.
    pub reopen_logs: Box<dyn FnMut() -> Result<Vec<ToCore>, Error> + Send>,
    /// Called before the process is ended from here: removes the files that the server has made.
    pub clean_up: Box<dyn FnOnce() + Send>,
}

/// The state of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// The core finishes the requests that have come.
    Draining {
        until: Instant,
    },
    /// It has finished them; the app is about to leave its loop.
    Drained {
        until: Instant,
    },
    /// The app has left its loop; clients get what they have not read yet.
    Leaving {
        until: Instant,
    },
    /// The app's end of the channel is broken: this process is good for nothing more. Clients get what has been answered.
    Failing {
        until: Instant,
    },
    /// They have it.
    Failed,
    /// The core has gone. The process is ended if the app has not returned by then.
    Stopping {
        until: Instant,
    },
    Over,
}

impl Phase {
    fn due(self) -> Option<Instant> {
        match self {
            Phase::Serving | Phase::Failed | Phase::Over => None,
            Phase::Draining { until }
            | Phase::Drained { until }
            | Phase::Leaving { until }
            | Phase::Failing { until }
            | Phase::Stopping { until } => Some(until),
        }
    }

    /// Whether messages of the core are still expected.
    fn has_core(self) -> bool {
        !matches!(self, Phase::Stopping { .. } | Phase::Failed | Phase::Over)
    }
}

/// The thread, for the one that runs the app.
pub struct Supervisor {
    thread: JoinHandle<()>,
    notes: UnixStream,
}

impl Supervisor {
    /// Starts the thread, with every signal blocked in it. From now on [`signal::noted`] controls the server.
    ///
    /// # Errors
    /// When descriptors or threads run out.
    pub fn start(control: MasterEnd, settings: Settings) -> io::Result<Supervisor> {
        let (notes, notes_end) = UnixStream::pair()?;
        notes_end.set_nonblocking(true)?;
        let socket = notes.as_raw_fd();
        let thread = signal::blocked(|| {
            let supervised = Supervised {
                control,
                notes: notes_end,
                settings,
                phase: Phase::Serving,
                heartbeat: Heartbeat::new(Instant::now()),
                silent: false,
            };
            thread::Builder::new()
                .name("gepok-signals".to_owned())
                .spawn(|| supervised.run())
        })??;
        take_signals(socket);
        Ok(Supervisor { thread, notes })
    }

    /// The app has left its loop: waits until clients have got its responses and the core has been told to leave.
    /// From then on signals have their default actions.
    pub fn finish(self) {
        let _ = (&self.notes).write_all(LEFT);
        // A panic was logged.
        let _ = self.thread.join();
        TAKEN.into_iter().for_each(signal::forget);
    }
}

fn take_signals(socket: RawFd) {
    for (signal, bytes) in TAKEN.into_iter().zip(NOTES) {
        signal::register(signal, Note { socket, bytes });
    }
}

struct Supervised {
    control: MasterEnd,
    notes: UnixStream,
    settings: Settings,
    phase: Phase,
    heartbeat: Heartbeat,
    /// The core's thread does not answer. Nothing can end a thread, so it is only logged.
    silent: bool,
}

impl Supervised {
    fn run(mut self) {
        while self.phase != Phase::Over {
            let (noted, spoke) = self.wait();
            if spoke {
                self.hear_core();
            }
            if noted {
                self.obey_notes();
            }
            self.run_due_timers();
            if let Phase::Stopping { until } = self.phase
                && Instant::now() >= until
            {
                ::log::warn!("the app did not return, and the process is ended");
                (self.settings.clean_up)();
                fork::leave(0);
            }
            // Without the app's END blocks, which may hang. A service manager starts the server again.
            if self.phase == Phase::Failed {
                (self.settings.clean_up)();
                fork::leave(1);
            }
        }
    }

    /// Waits. Returns whether notes have come, and whether the core has sent a message.
    fn wait(&self) -> (bool, bool) {
        let beat = (self.phase == Phase::Serving).then(|| self.heartbeat.due());
        let timeout = match self.phase.due().or(beat) {
            _ if self.control.has_heard() => PollTimeout::ZERO,
            None => PollTimeout::NONE,
            Some(due) => {
                let left = due.saturating_duration_since(Instant::now());
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut polled = vec![PollFd::new(self.notes.as_fd(), PollFlags::POLLIN)];
        if self.phase.has_core() {
            polled.push(PollFd::new(self.control.as_fd(), PollFlags::POLLIN));
        }
        let polls = poll(&mut polled, timeout).is_ok();
        let shown = |at: usize| polls && polled.get(at).and_then(PollFd::any).unwrap_or(false);
        let spoke = self.phase.has_core() && (shown(1) || self.control.has_heard());
        (shown(0), spoke)
    }

    fn hear_core(&mut self) {
        match self.control.hear() {
            Ok(Some(ToMaster::Drained)) => match self.phase {
                Phase::Draining { until } => self.phase = Phase::Drained { until },
                Phase::Leaving { .. } => self.dismiss_core(),
                Phase::Failing { .. } => self.phase = Phase::Failed,
                _ => {}
            },
            Ok(Some(ToMaster::Broken(_))) => self.channel_broken(),
            Ok(Some(ToMaster::Alive)) => {
                self.heartbeat.answered();
                self.settings.notifier.iter().for_each(Notifier::alive);
                if std::mem::take(&mut self.silent) {
                    ::log::warn!("the core's thread answers again");
                }
            }
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // It has died: the app's loop ends when the call in progress has returned.
            Ok(None) | Err(_) => match self.phase {
                Phase::Leaving { .. } => self.phase = Phase::Over,
                Phase::Failing { .. } => self.phase = Phase::Failed,
                _ => self.phase = self.stopping_within(self.settings.graceful_timeout),
            },
        }
    }

    fn obey_notes(&mut self) {
        let mut notes = [0; 256];
        let count = (&self.notes).read(&mut notes).unwrap_or(0);
        for note in &notes[..count] {
            match note {
                b'T' => self.stop(),
                b'I' => self.stop_fast(),
                b'H' if self.phase == Phase::Serving => self.hang_up_or_reload(),
                b'L' => self.app_left(),
                _ => {}
            }
        }
    }

    /// The terminal has gone: a server in the foreground goes with it, unless it was started by nohup.
    fn hang_up_or_reload(&mut self) {
        match self.settings.terminal.has_hung_up() {
            false => self.reload(),
            true if self.settings.is_nohup => {}
            true => {
                ::log::info!("the terminal has hung up");
                self.stop();
            }
        }
    }

    /// Opens the log files again, for both threads, and has the core read the certificates.
    fn reload(&mut self) {
        let logs = (self.settings.reopen_logs)();
        let logs = logs.map(|messages| messages.into_iter().for_each(|message| self.tell(message)));
        self.tell(ToCore::Reread(logs.map_err(|error| error.to_string())));
    }

    fn stop(&mut self) {
        match self.phase {
            Phase::Serving => {
                self.settings.notifier.iter().for_each(Notifier::stopping);
                self.phase = Phase::Draining {
                    until: Instant::now() + self.settings.graceful_timeout,
                };
                self.tell(match self.settings.has_successor {
                    true => ToCore::GiveWay,
                    false => ToCore::Drain,
                });
            }
            // start_server repeats it at its own next HUP: that does not mean a fast stop.
            _ if self.settings.has_successor => {}
            _ => self.stop_fast(),
        }
    }

    fn stop_fast(&mut self) {
        match self.phase {
            Phase::Serving | Phase::Draining { .. } | Phase::Drained { .. } => {
                self.settings.notifier.iter().for_each(Notifier::stopping);
                self.tell(ToCore::Quit);
                self.phase = self.stopping_within(FAST_STOP);
            }
            Phase::Leaving { .. } => self.dismiss_core(),
            Phase::Failing { .. } => self.phase = Phase::Failed,
            Phase::Stopping { until } => {
                let within = until.saturating_duration_since(Instant::now());
                self.phase = self.stopping_within(within.min(FAST_STOP));
            }
            Phase::Failed | Phase::Over => {}
        }
    }

    fn stopping_within(&self, patience: Duration) -> Phase {
        Phase::Stopping {
            until: Instant::now() + patience,
        }
    }

    /// Lets the app's responses reach their clients, even if it has called exit.
    fn app_left(&mut self) {
        let until = match self.phase {
            Phase::Serving => Instant::now() + self.settings.graceful_timeout,
            Phase::Draining { until } => until,
            Phase::Drained { .. } => return self.dismiss_core(),
            Phase::Failing { .. } | Phase::Failed => return,
            Phase::Leaving { .. } | Phase::Stopping { .. } | Phase::Over => {
                self.phase = Phase::Over;
                return;
            }
        };
        self.settings.notifier.iter().for_each(Notifier::stopping);
        self.phase = Phase::Leaving { until };
        self.tell(ToCore::Died(1));
        self.tell(ToCore::NoWorkers);
    }

    /// The app, or what it has loaded, has written to memory or descriptors that are not its own. No other worker could serve.
    fn channel_broken(&mut self) {
        let until = match self.phase {
            Phase::Serving => Instant::now() + self.settings.graceful_timeout,
            Phase::Draining { until } | Phase::Drained { until } | Phase::Leaving { until } => {
                until
            }
            Phase::Failing { .. } | Phase::Stopping { .. } | Phase::Failed | Phase::Over => return,
        };
        ::log::error!("the server ends: its app can't be reached any more");
        self.settings.notifier.iter().for_each(Notifier::stopping);
        self.phase = Phase::Failing { until };
        self.tell(ToCore::Died(1));
        self.tell(ToCore::NoWorkers);
    }

    fn dismiss_core(&mut self) {
        self.tell(ToCore::Quit);
        self.phase = Phase::Over;
    }

    /// Pings the core's thread.
    fn check_core(&mut self) {
        if self.phase != Phase::Serving {
            return;
        }
        match self.heartbeat.beat(Instant::now()) {
            Beat::Ask => self.tell(ToCore::Ping),
            Beat::Dead if !self.silent => {
                self.silent = true;
                ::log::error!(
                    "the core's thread has not answered for 3 seconds: no client is served"
                );
            }
            Beat::Wait | Beat::Dead => {}
        }
    }

    fn run_due_timers(&mut self) {
        self.check_core();
        if self.phase.due().is_none_or(|due| Instant::now() < due) {
            return;
        }
        match self.phase {
            Phase::Draining { .. } | Phase::Leaving { .. } | Phase::Drained { .. } => {
                ::log::warn!("requests were still being served after graceful_timeout");
                self.stop_fast();
            }
            Phase::Failing { .. } => self.phase = Phase::Failed,
            Phase::Serving | Phase::Stopping { .. } | Phase::Failed | Phase::Over => {}
        }
    }

    /// A core that has just died is noticed in `wait`.
    fn tell(&self, word: ToCore) {
        let _ = self.control.tell(word);
    }
}
