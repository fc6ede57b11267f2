//! TLS as the operator said it becomes TLS as the core speaks it; and the way of its files from the master, which
//! opens them, to the core, which reads them.

#![forbid(unsafe_code)]

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use anyhow::Result;

use crate::config::options::VerifyCallback;
use crate::config::resolved::Tls;
use crate::net::tls::files::{self, Files, KeptFiles};
use crate::net::tls::{Clients, Judge, Settings};
use crate::process::control::{MasterEnd, TlsFile, ToCore};
use crate::process::error::Error;
use crate::process::handover::{Handover, KeptFile, Purpose};
use crate::process::origin::Origin;

/// How the core speaks TLS. With `files`, it opens them again itself.
pub(super) fn settings(tls: &Tls, http2: bool, files: Option<Files>) -> Settings {
    let judge = |callback| match callback {
        None => Judge::Authorities,
        Some(VerifyCallback::Code) => Judge::App,
        Some(VerifyCallback::Constant(true)) => Judge::Anything,
        Some(VerifyCallback::Constant(false)) => Judge::Nothing,
    };
    Settings {
        files,
        http2,
        handshake_timeout: tls.handshake_timeout.unwrap_or_default(),
        clients: tls.clients.as_ref().map(|clients| Clients {
            mandatory: clients.mandatory,
            judge: judge(clients.callback),
        }),
    }
}

/// Certificates and keys: where they are, and those that are open.
#[derive(Debug)]
pub(super) struct Certificates {
    pub(super) files: Files,
    kept: KeptFiles,
}

impl Certificates {
    /// The files, in the folder that the server was started in.
    pub(super) fn new(tls: &Tls, origin: &Origin, handover: &mut Handover) -> Certificates {
        let all = |paths: &[PathBuf]| paths.iter().map(|path| origin.path(path)).collect();
        let clients = tls.clients.as_ref();
        let files = Files {
            certificates: of_server(tls, origin),
            ca_files: clients.map_or(Vec::new(), |clients| all(&clients.ca_files)),
            ca_paths: clients.map_or(Vec::new(), |clients| all(&clients.ca_paths)),
            ca_paths_may_be_empty: clients.is_some_and(|clients| clients.callback.is_some()),
            crl_files: clients.map_or(Vec::new(), |clients| all(&clients.crl_files)),
        };
        let kept = KeptFiles(handover.take_files(Purpose::Tls));
        Certificates { files, kept }
    }

    /// Opens all files and keeps them open: this process is about to give up the rights that this needs.
    ///
    /// # Errors
    /// One sentence that names option, file and reason.
    pub(super) fn keep(&mut self) -> Result<()> {
        let opened = self.files.open(&self.kept)?;
        let files = opened.into_iter().map(|file| (file.path, file.file));
        self.kept = KeptFiles(files.collect());
        Ok(())
    }

    /// Opens all files, and closes them again.
    ///
    /// # Errors
    /// As [`Certificates::keep`].
    pub(super) fn check(&self) -> Result<()> {
        Ok(self.files.open(&self.kept).map(drop)?)
    }

    /// Opens these certificates in the place of those before, and has the core read them with all other files.
    ///
    /// # Errors
    /// As [`send`].
    pub(super) fn try_others(
        &self,
        others: &[files::Certificate],
        core: &mut MasterEnd,
    ) -> Result<(), Error> {
        let files = Files {
            certificates: others.to_vec(),
            ..self.files.clone()
        };
        send(&files, &self.kept, core)
    }

    /// Has the core read all files again. It keeps what it had unless all is well.
    ///
    /// # Errors
    /// As [`send`].
    pub(super) fn read(&self, core: &mut MasterEnd) -> Result<(), Error> {
        send(&self.files, &self.kept, core)
    }

    /// The open files, for the next program of this process.
    pub(super) fn kept_files(&self) -> impl Iterator<Item = KeptFile> {
        self.kept.0.iter().map(|(path, file)| KeptFile {
            descriptor: file.as_raw_fd(),
            purpose: Purpose::Tls,
            path: path.clone(),
        })
    }
}

/// The server's certificates and those of its virtual hosts.
pub(super) fn of_server(tls: &Tls, origin: &Origin) -> Vec<files::Certificate> {
    let certificates = tls.certificates.iter();
    let certificates = certificates.map(|certificate| files::Certificate {
        hosts: certificate.hosts.clone(),
        chain: origin.path(&certificate.chain),
        key: origin.path(&certificate.key),
    });
    certificates.collect()
}

/// Opens the files and has the core read them. The core keeps what it had unless all is well.
///
/// # Errors
/// One sentence that names option, file and reason.
fn send(files: &Files, kept: &KeptFiles, core: &mut MasterEnd) -> Result<(), Error> {
    let opened = files
        .open(kept)
        .map_err(|error| Error::role(format!("{error:#}")))?;
    for file in opened {
        let file = TlsFile {
            role: file.role as u8,
            hosts: file.hosts,
            path: file.path,
            file: file.file.into(),
        };
        core.tell(ToCore::TlsFile(file))
            .map_err(|error| Error::Unheard("certificates", error))?;
    }
    core.ask(ToCore::ReadTls)
}
