//! What the processes do, apart from living and dying.

use std::io;
use std::os::fd::OwnedFd;

use super::super::control::MasterEnd;
use super::super::error::Error;
use super::super::fork::Forked;
use super::super::handover::Handover;
use super::super::last_words::LastWords;
use crate::channel::Descriptors;

/// What the processes do, apart from living and dying.
pub trait Roles {
    /// Forks for a worker, by Perl's own fork where there is a Perl.
    ///
    /// # Errors
    /// What fork says.
    fn fork(&mut self) -> io::Result<Forked>;

    /// The core's life, in the core's process. Returns its exit status.
    fn core(&mut self, control: OwnedFd) -> i32;

    /// Reads the configuration file again, if there is one, for the next generation of workers.
    ///
    /// # Errors
    /// One sentence.
    fn read_options(&mut self) -> Result<(), Error>;

    /// Whether the options name other certificates than are in use, which [`Roles::use_options`] has the core read.
    fn has_new_certificates(&self) -> bool;

    /// A new generation is tried from now on, with the file that was read last: its candidates load the apps that the file
    /// names.
    fn try_options(&mut self);

    /// The candidates are about to serve: has the core go by their file. No core: it is not ready.
    ///
    /// # Errors
    /// One sentence. All stays as it was.
    fn use_options(&mut self, core: Option<&mut MasterEnd>) -> Result<(), Error>;

    /// Has the core read certificates and keys, from files that only the master may be able to open: called in the
    /// master when a core is ready and before its first worker is forked, and at each reload. What it opens, it hands over
    /// as descriptors ([`MasterEnd::ask`]).
    ///
    /// # Errors
    /// One sentence for the operator. It stops the start; later it is logged, and the core keeps what it had.
    fn read_certificates(&mut self, core: &mut MasterEnd) -> Result<(), Error>;

    /// Opens the log files again and sends them to the core: called at each reload, and for a core that replaces a dead one.
    ///
    /// # Errors
    /// One sentence, which is logged; what can't be opened stays as it was.
    fn reopen_logs(&mut self, core: &mut MasterEnd) -> Result<(), Error>;

    /// Some child of the master's has died that was no worker; it may be one of these roles' own.
    fn look_after_children(&mut self, core: &mut MasterEnd);

    /// Everything listens: called once in the master.
    ///
    /// # Errors
    /// What the app's hook died with.
    fn listening(&mut self) -> Result<(), Error>;

    /// The first worker has loaded the app: called once in the master.
    ///
    /// # Errors
    /// One sentence, with which the start fails.
    fn serving(&mut self, core: &mut MasterEnd) -> Result<(), Error>;

    /// The server stops: the master closes its copies of the listening sockets.
    fn stop_listening(&mut self);

    /// What the next program gets (USR2): the server's origin, listening sockets, open files, and children that are not the
    /// master's own.
    fn handed_over(&self) -> Handover;

    /// A worker's life, in the worker's process. Returns its exit status. Why it can't begin it tells by `words`.
    fn worker(&mut self, worker: NewWorker) -> i32;
}

/// What a new worker is born with.
#[derive(Debug)]
pub struct NewWorker {
    /// Its number among all workers.
    pub number: u32,
    /// Which loading of the app it serves.
    pub generation: u32,
    /// Whether it is one of a generation that is tried.
    pub candidate: bool,
    /// Its end of the channel.
    pub channel: Descriptors,
    /// Where it says why it can't begin.
    pub words: LastWords,
}
