//! TLS as the operator said it becomes TLS as the core speaks it; and the way of its files from the master, which
//! opens them, to the core, which reads them.

use std::path::PathBuf;

use anyhow::Result;

use crate::config::options::VerifyCallback;
use crate::config::resolved::Tls;
use crate::net::tls::files::Files;
use crate::net::tls::{Clients, Judge, Settings};
use crate::process::control::{MasterEnd, TlsFile, ToCore};

/// How the core speaks TLS. With `files`, it opens them again itself.
pub(super) fn settings(tls: &Tls, files: Option<Files>) -> Settings {
    let judge = |callback| match callback {
        None => Judge::Authorities,
        Some(VerifyCallback::Code) => Judge::App,
        Some(VerifyCallback::Constant(true)) => Judge::Anything,
        Some(VerifyCallback::Constant(false)) => Judge::Nothing,
    };
    Settings {
        hosts: tls.certificates.iter().map(|c| c.host.clone()).collect(),
        files,
        handshake_timeout: tls.handshake_timeout.unwrap_or_default(),
        clients: tls.clients.as_ref().map(|clients| Clients {
            mandatory: clients.mandatory,
            judge: judge(clients.callback),
        }),
    }
}

/// The files, by names that hold in whatever folder the process will be.
///
/// # Errors
/// When this folder has no name any more.
pub(super) fn files(tls: &Tls) -> Result<Files> {
    let absolute = |path: &PathBuf| Ok(std::path::absolute(path)?);
    let all = |paths: &[PathBuf]| paths.iter().map(absolute).collect::<Result<_>>();
    let clients = tls.clients.as_ref();
    let certificates = tls.certificates.iter();
    Ok(Files {
        certificates: certificates
            .map(|c| Ok((absolute(&c.chain)?, absolute(&c.key)?)))
            .collect::<Result<_>>()?,
        ca_files: clients.map_or(Ok(Vec::new()), |clients| all(&clients.ca_files))?,
        ca_paths: clients.map_or(Ok(Vec::new()), |clients| all(&clients.ca_paths))?,
        crl_files: clients.map_or(Ok(Vec::new()), |clients| all(&clients.crl_files))?,
    })
}

/// Opens the files and has the core read them. The core keeps what it had unless all is well.
///
/// # Errors
/// One sentence that names option, file and reason.
pub(super) fn reread(files: &Files, core: &mut MasterEnd) -> Result<(), String> {
    let opened = files.open().map_err(|error| format!("{error:#}"))?;
    for file in opened {
        let file = TlsFile {
            role: file.role as u8,
            path: file.path,
            file: file.file.into(),
        };
        core.tell(ToCore::TlsFile(file))
            .map_err(|error| format!("the core does not hear: {error}"))?;
    }
    core.ask(ToCore::ReadTls)
}
