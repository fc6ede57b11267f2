//! Processes: the master's life, fork, signals, and the words between master and core.
//!
//! Knows no tokio, no HTTP and no Perl: what core and workers do is given as [`master::Roles`].

pub(crate) mod backtrace;
pub mod control;
pub(crate) mod daemon;
pub mod error;
pub(crate) mod fork;
pub(crate) mod handover;
mod heartbeat;
pub(crate) mod last_words;
pub(crate) mod master;
pub(crate) mod notify;
pub(crate) mod origin;
pub(crate) mod pid_file;
pub(crate) mod pool;
pub(crate) mod privileges;
pub(crate) mod signal;
pub(crate) mod supervisor;
pub(crate) mod terminal;
pub(crate) mod title;
