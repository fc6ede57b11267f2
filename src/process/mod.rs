//! Processes: the master's life, fork, signals, and the words between master and core.
//!
//! Knows no tokio, no HTTP and no Perl: what core and workers do is given as [`master::Roles`].

pub mod control;
pub mod daemon;
pub mod fork;
pub mod handover;
mod heartbeat;
pub mod hung;
pub mod last_words;
mod log_files;
pub mod master;
pub mod notify;
pub mod origin;
pub mod pid_file;
pub mod pool;
pub mod privileges;
pub mod signal;
pub mod supervisor;
pub mod terminal;
pub mod title;
