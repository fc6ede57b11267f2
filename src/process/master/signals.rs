//! Signals to the master: which it takes, and the bytes that they become.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;

use super::super::signal::{self, Note};
use super::Master;

/// Signals that the master takes over.
pub(super) const TAKEN: [Signal; 6] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGCHLD,
    Signal::SIGPIPE,
];

impl Master<'_> {
    pub(super) fn take_signals(&self) -> io::Result<()> {
        let socket = self.notes_end.as_raw_fd();
        for (signal, bytes) in [
            (Signal::SIGTERM, b"T"),
            (Signal::SIGQUIT, b"T"),
            (Signal::SIGINT, b"I"),
            (Signal::SIGHUP, b"H"),
            (Signal::SIGCHLD, b"C"),
        ] {
            signal::note(signal, Note { socket, bytes })?;
        }
        // Whoever read our log lines may have gone.
        signal::disregard(Signal::SIGPIPE)
    }

    pub(super) fn take_notes(&mut self) -> Vec<u8> {
        let mut notes = [0; 256];
        match self.notes.read(&mut notes) {
            Ok(count) => notes[..count].to_vec(),
            Err(_) => Vec::new(),
        }
    }
}
