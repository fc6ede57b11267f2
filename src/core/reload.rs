//! A reload in the core: options, log files and certificates.

#![forbid(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;

use super::master::Master;
use crate::disk;
use crate::http::context::Context;
use crate::log::host_logs::{self, HostLog};
use crate::net::tls::{self, files::Certificate, files::Opened};
use crate::process::control::{LogFiles, ToMaster};
use crate::process::fork;
use crate::scoreboard::Board;
use crate::site;

/// In one process, which has no master: reads the certificates, and reports the result of that and of opening the log files.
pub(super) fn all(
    tls: Option<&Rc<tls::Server>>,
    logs: Result<(), String>,
    site: impl Future<Output = Result<Option<Vec<Certificate>>, String>> + 'static,
    board: Option<Arc<Board>>,
) {
    if let Some(board) = &board {
        board.reload_asked();
    }
    let tls = tls.cloned();
    spawn_local(async move {
        let site = site.await;
        let certificates = match tls {
            Some(tls) => tls.reload(site.clone().ok().flatten()).await,
            None => Ok(()),
        };
        let certificates = certificates
            .map_err(|error| format!("{error}; the certificates read before stay in use"));
        let failures = [site.err(), logs.err(), certificates.err()];
        let failures = failures.iter().flatten();
        failures.clone().for_each(|why| ::log::error!("{why}"));
        if let Some(board) = board {
            let failure = failures.map(String::as_str).next();
            board.reload_ended(1, failure, board.last_asked());
        }
    });
}

/// Makes a site of the file that the master has handed over, or in one process of files that it reads itself. May wait for a
/// disk.
#[derive(Clone)]
pub struct SiteReader(Arc<Read>);

/// What has been read.
#[derive(Debug)]
pub struct Reread {
    /// What the server answers itself.
    pub site: site::Settings,
    /// The certificates, where the core opens their files itself.
    pub certificates: Option<Vec<Certificate>>,
    /// The access logs of virtual hosts.
    pub logs: Vec<HostLog>,
    /// Their files, where the core opens them itself.
    pub files: Vec<host_logs::Opened>,
}

type Read = dyn Fn(Option<File>) -> Result<Reread, String> + Send + Sync;

impl SiteReader {
    /// One that does this.
    pub fn new(
        read: impl Fn(Option<File>) -> Result<Reread, String> + Send + Sync + 'static,
    ) -> Self {
        SiteReader(Arc::new(read))
    }
}

impl fmt::Debug for SiteReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SiteReader")
    }
}

/// Has requests go where this reader says. Connections stay as they are. Returns the certificates that are to be read.
pub(super) fn site(
    reader: Option<SiteReader>,
    context: &Rc<Context>,
    file: Option<File>,
) -> impl Future<Output = Result<Option<Vec<Certificate>>, String>> + 'static {
    let context = Rc::clone(context);
    async move {
        let Some(reader) = reader else {
            return Ok(None);
        };
        let read = disk::blocking(move || Ok((reader.0)(file))).await;
        let Reread {
            site,
            certificates,
            logs,
            files,
        } = read.map_err(|error| error.to_string())??;
        context.site.replace(site);
        context.logs.replace(logs, files);
        context.keep_times();
        Ok(certificates)
    }
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
    if let Some(access) = files.access {
        context.logs.reopen(access);
    }
}
