//! Signals to the master: which it takes, the bytes that they become, and what follows.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use nix::sys::signal::Signal;

use super::super::signal::{self, Note, Saved};
use super::super::terminal::Terminal;
use super::Master;

/// Signals that the master handles: those that control servers, and two that would harm it.
pub(super) const TAKEN: [Signal; 10] = {
    let [term, int, quit, hup, usr1, usr2, ttin, ttou] = signal::HELD_BACK;
    let (child, pipe) = (Signal::SIGCHLD, Signal::SIGPIPE);
    [term, int, quit, hup, usr1, usr2, ttin, ttou, child, pipe]
};

/// Signals that stop the server.
pub(super) const STOP_SIGNALS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGINT];

/// The notes of signals that stop the server: they end the wait for an answer of the core.
pub(super) const STOPS: &[u8] = b"TI";

/// The signals that the master has taken over, and what they were before.
#[derive(Debug)]
pub(super) struct Signals {
    saved: Saved,
    terminal: Terminal,
    notes: UnixStream,
    notes_end: UnixStream,
}

impl Signals {
    /// No handler is installed yet. `saved`: the program's own dispositions.
    pub(super) fn new(saved: Saved) -> io::Result<Self> {
        let (notes, notes_end) = UnixStream::pair()?;
        notes.set_nonblocking(true)?;
        Ok(Signals {
            saved,
            terminal: Terminal::find(),
            notes,
            notes_end,
        })
    }

    /// Installs the handlers, each of which sends its note.
    pub(super) fn take(&self) -> io::Result<()> {
        let socket = self.notes_end.as_raw_fd();
        for (signal, bytes) in [
            (Signal::SIGTERM, b"T"),
            (Signal::SIGQUIT, b"T"),
            (Signal::SIGINT, b"I"),
            (Signal::SIGUSR1, b"1"),
            (Signal::SIGUSR2, b"2"),
            (Signal::SIGTTIN, b"+"),
            (Signal::SIGTTOU, b"-"),
            (Signal::SIGCHLD, b"C"),
        ] {
            signal::note(signal, Note { socket, bytes })?;
        }
        let note = |bytes| Note { socket, bytes };
        signal::note_hangups(note(b"X"), note(b"L"), note(b"H"))?;
        // The reader of our log lines may have gone.
        signal::disregard(Signal::SIGPIPE)
    }

    /// Restores the program's own dispositions.
    pub(super) fn restore(&self) -> io::Result<()> {
        self.saved.restore(&TAKEN)
    }

    /// The program's own dispositions, in a process that does not read the notes.
    pub(super) fn into_saved(self) -> Saved {
        self.saved
    }

    /// Where notes arrive.
    pub(super) fn notes(&self) -> io::Result<UnixStream> {
        self.notes.try_clone()
    }

    fn take_notes(&mut self) -> Vec<u8> {
        let mut notes = [0; 256];
        match self.notes.read(&mut notes) {
            Ok(count) => notes[..count].to_vec(),
            Err(_) => Vec::new(),
        }
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notes.as_fd()
    }
}

impl Master<'_> {
    /// Handles the signals that have come.
    pub(super) fn obey_signals(&mut self) {
        for note in self.signals.take_notes() {
            let running = self.shutdown.is_running();
            match note {
                b'C' => {
                    self.hear_all();
                    self.reap();
                    self.roles.look_after_children(&mut self.core.control);
                }
                b'I' => self.stop_fast(),
                b'T' if running || self.shutdown.is_rolling() => self.drain(),
                // start_server repeats it at its own next HUP: that does not mean a fast stop.
                b'T' if self.settings.has_successor => {}
                b'T' => self.stop_fast(),
                b'1' if running => self.start_rolling_stop(),
                b'X' if running => self.hang_up(),
                b'L' if running && self.signals.terminal.has_hung_up() => self.hang_up(),
                b'H' | b'L' if running && self.settings.reload_on_hup => self.begin_restart(),
                b'H' | b'L' if running => self.reload(),
                b'2' if running => self.begin_restart(),
                b'+' if running => self.shift(true),
                b'-' if running => self.shift(false),
                _ => {}
            }
        }
    }

    /// The terminal has gone: a server in the foreground goes with it, as any program does, unless it was started by nohup.
    fn hang_up(&mut self) {
        if !self.signals.saved.ignored(Signal::SIGHUP) {
            ::log::info!("the terminal has hung up");
            self.drain();
        }
    }
}
