//! A reload in the core: log files and certificates.

#![forbid(unsafe_code)]

use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;

use super::master::Master;
use crate::http::context::Context;
use crate::net::tls::{self, files::Opened};
use crate::process::control::{LogFiles, ToMaster};
use crate::process::fork;
use crate::scoreboard::Board;

/// In one process, which has no master: reads the certificates, and reports the result of that and of opening the log files.
pub(super) fn all(
    tls: Option<&Rc<tls::Server>>,
    logs: Result<(), String>,
    board: Option<Arc<Board>>,
) {
    if let Some(board) = &board {
        board.reload_asked();
    }
    let tls = tls.cloned();
    spawn_local(async move {
        let certificates = match tls {
            Some(tls) => tls.reload().await,
            None => Ok(()),
        };
        let certificates = certificates
            .map_err(|error| format!("{error}; the certificates read before stay in use"));
        let failures = [logs.err(), certificates.err()];
        let failures = failures.iter().flatten();
        failures.clone().for_each(|why| ::log::error!("{why}"));
        if let Some(board) = board {
            let failure = failures.map(String::as_str).next();
            board.reload_ended(1, failure, board.last_asked());
        }
    });
}

/// Has TLS use these files, and reports the result to the master.
pub(super) fn read_tls(master: &Rc<Master>, tls: Option<&Rc<tls::Server>>, files: Vec<Opened>) {
    let (master, tls) = (Rc::clone(master), tls.cloned());
    spawn_local(async move {
        let read = match tls {
            Some(tls) => tls.load(files).await,
            None => Ok(()),
        };
        master.tell(ToMaster::Answer(read.map_err(|error| error.to_string())));
    });
}

/// Writes to log files that were opened again.
pub(super) fn take_logs(context: &Context, files: LogFiles) {
    if let Some(errors) = files.errors
        && let Err(error) = fork::replace_standard(errors.as_fd(), fork::Standard::Error)
    {
        ::log::error!("can't take the new error log: {error}");
    }
    if let (Some(log), Some(access)) = (&context.log, files.access) {
        log.reopen(access);
    }
}
