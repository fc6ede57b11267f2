//! Files of certificates and keys, opened in the master, read in the core: no process that runs the app has ever
//! held a key's bytes.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{Error, Flaw};
pub use super::role::Role;
use super::role::what;
use crate::files;

/// A file that is open and has not been read.
#[derive(Debug)]
pub struct Opened {
    /// What it is for.
    pub role: Role,
    /// Its name, for messages.
    pub path: PathBuf,
    /// Of a certificate: the hosts it is for; none: it names them itself.
    pub hosts: Option<Vec<String>>,
    /// The file.
    pub file: File,
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The hosts it is for, in lower case, the empty one for clients that ask for no other host; none: the certificate names
    /// them.
    pub hosts: Option<Vec<String>>,
    /// The chain.
    pub chain: PathBuf,
    /// The key, which may be the same file.
    pub key: PathBuf,
}

/// Where certificates and keys are.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The certificates, the first for clients that ask for no host that another is for. Without any, one is made in memory.
    pub certificates: Vec<Certificate>,
    /// Certificates of authorities.
    pub ca_files: Vec<PathBuf>,
    /// Folders of such.
    pub ca_paths: Vec<PathBuf>,
    /// Whether such a folder may have no file in it: where a callback decides.
    pub ca_paths_may_be_empty: bool,
    /// Revocation lists.
    pub crl_files: Vec<PathBuf>,
}

/// Files that were open before the process lost the right to open them.
#[derive(Debug, Default)]
pub struct KeptFiles(pub Vec<(PathBuf, File)>);

impl KeptFiles {
    fn file(&self, path: &Path) -> Option<io::Result<File>> {
        let (_, file) = self.0.iter().find(|(kept, _)| kept == path)?;
        ::log::warn!(
            "{} can't be opened by this user: it is read as it was opened at the start",
            path.display()
        );
        // What has read it before has left the position at the end.
        Some(
            file.try_clone()
                .and_then(|mut file| file.rewind().map(|()| file)),
        )
    }

    fn in_folder(&self, folder: &Path) -> Vec<PathBuf> {
        let paths = self.0.iter().map(|(path, _)| path);
        paths
            .filter(|path| path.parent() == Some(folder))
            .cloned()
            .collect()
    }
}

impl Files {
    /// Opens all the files, and those in the folders; of those that may not be opened, the `kept` ones.
    ///
    /// # Errors
    /// One sentence that names option and file.
    pub fn open(&self, kept: &KeptFiles) -> Result<Vec<Opened>, Error> {
        let open = |role, path: &Path| open(role, path, kept);
        let mut opened = Vec::new();
        for Certificate { hosts, chain, key } in &self.certificates {
            opened.push(Opened {
                hosts: hosts.clone(),
                ..open(Role::Chain, chain)?
            });
            opened.push(open(Role::Key, key)?);
        }
        for path in &self.ca_files {
            opened.push(open(Role::Authorities, path)?);
        }
        for path in &self.ca_paths {
            let of_folder = open_folder(path, kept, self.ca_paths_may_be_empty)?;
            if of_folder.is_empty() {
                ::log::warn!("{}: there is no file in it", what(Role::InFolder, path));
            }
            opened.extend(of_folder);
        }
        for path in &self.crl_files {
            opened.push(open(Role::Revocations, path)?);
        }
        Ok(opened)
    }
}

fn open(role: Role, path: &Path, kept: &KeptFiles) -> Result<Opened, Error> {
    let opened = match files::read(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            kept.file(path).unwrap_or(Err(error))
        }
        opened => opened,
    };
    let file = opened.map_err(|error| Error::File(role, path.to_owned(), error.into()))?;
    Ok(Opened {
        role,
        path: path.to_owned(),
        hosts: None,
        file,
    })
}

/// The files of a folder, each once: those that `openssl rehash` links to have two names. Links that lead nowhere
/// and files that went away meanwhile are passed over.
fn open_folder(folder: &Path, kept: &KeptFiles, may_be_empty: bool) -> Result<Vec<Opened>, Error> {
    let failed = |flaw| Error::File(Role::InFolder, folder.to_owned(), flaw);
    let listed = fs::read_dir(folder).and_then(|entries| {
        let paths = entries.map(|entry| Ok(entry?.path()));
        paths.collect::<io::Result<Vec<_>>>()
    });
    let mut paths = match (listed, kept.in_folder(folder)) {
        (Err(error), paths)
            if error.kind() == io::ErrorKind::PermissionDenied && !paths.is_empty() =>
        {
            let opened = paths.iter().map(|path| open(Role::InFolder, path, kept));
            return opened.collect();
        }
        (listed, _) => listed.map_err(|error| failed(error.into()))?,
    };
    paths.sort_unstable();
    let mut seen = HashSet::new();
    let mut opened = Vec::new();
    for path in paths {
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if metadata.is_file() && seen.insert((metadata.dev(), metadata.ino())) {
            opened.push(open(Role::InFolder, &path, kept)?);
        }
    }
    match opened.is_empty() && !may_be_empty {
        true => Err(failed(Flaw::NoFile)),
        false => Ok(opened),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_folder_gives_each_file_once() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("ca.pem"), "x").unwrap();
        symlink("ca.pem", at("1a2b3c4d.0")).unwrap();
        symlink("nowhere", at("5e6f7a8b.0")).unwrap();
        fs::create_dir(at("sub")).unwrap();
        let opened = open_folder(folder.path(), &KeptFiles::default(), false).unwrap();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].role, Role::InFolder);
    }

    #[test]
    fn messages_name_option_and_file() {
        let files = |ca_path: &Path| Files {
            ca_paths: vec![ca_path.to_owned()],
            ..Files::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let error = format!(
            "{:#}",
            files(folder.path())
                .open(&KeptFiles::default())
                .unwrap_err()
        );
        assert!(error.starts_with("option 'ssl_ca_path': /"), "{error}");
        assert!(error.ends_with(": there is no file in it"), "{error}");
        let missing = folder.path().join("missing");
        let files = Files {
            certificates: vec![Certificate {
                hosts: None,
                chain: missing.clone(),
                key: missing,
            }],
            ..Files::default()
        };
        let error = format!("{:#}", files.open(&KeptFiles::default()).unwrap_err());
        assert!(error.contains("'ssl_cert_file'"), "{error}");
        assert!(
            error.contains("/missing: No such file or directory"),
            "{error}"
        );
    }
}
