//! What the options about TLS mean together.

use std::path::PathBuf;
use std::time::Duration;

use super::super::error::{Error, Result};

use super::limit;
use crate::config::options::{Tls as Said, VerifyCallback};

/// How TLS is spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificates, the first for whoever asks for no name that is ours; none: one is made in memory
    pub certificates: Vec<Certificate>,
    /// How long a handshake may take; none: no limit
    pub handshake_timeout: Option<Duration>,
    /// What is asked of clients; none: nothing
    pub clients: Option<Clients>,
}

/// A certificate of the server's and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The hosts it is for, in lower case, or `*.` and a domain; none: the certificate says it
    pub hosts: Option<Vec<String>>,
    /// The chain's file
    pub chain: PathBuf,
    /// The key's file, which may be the chain's
    pub key: PathBuf,
}

/// Which clients may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Whether those without a certificate are refused
    pub mandatory: bool,
    /// Files with certificates of authorities
    pub ca_files: Vec<PathBuf>,
    /// Folders of such files
    pub ca_paths: Vec<PathBuf>,
    /// Files with revocation lists
    pub crl_files: Vec<PathBuf>,
    /// Who has the last word on a certificate
    pub callback: Option<VerifyCallback>,
}

// The bits of IO::Socket::SSL.
const PEER: u32 = 1;
const FAIL_IF_NONE: u32 = 2;

/// A sentence for an operator who has said how TLS is spoken, but not where.
pub(super) fn idle(said: &Said, of_hosts: &[Certificate]) -> Option<&'static str> {
    let idle = said.self_signed || !said.cert_file.is_empty() || !of_hosts.is_empty();
    idle.then_some(
        "option 'ssl_cert_file' does nothing: no port speaks TLS ('https_ports', 'ssl', or 'listen' with HOST:PORT:ssl)",
    )
}

/// Checks the options about TLS; to be called where some listener speaks it.
pub(super) fn tls(said: &Said, of_hosts: Vec<Certificate>) -> Result<Tls> {
    let mut certificates = certificates(said)?;
    certificates.extend(of_hosts);
    if certificates.is_empty() && !said.self_signed {
        return Err(Error::Missing(
            "HTTPS needs option 'ssl_cert_file', or 'ssl_self_signed' for development",
        ));
    }
    Ok(Tls {
        certificates,
        handshake_timeout: limit(said.handshake_timeout),
        clients: clients(said)?,
    })
}

/// The certificates of a virtual host with these names.
pub(super) fn of_host(said: &Said, names: &[String]) -> Result<Vec<Certificate>> {
    let mut certificates = certificates(said)?;
    for certificate in &mut certificates {
        if let Some(hosts) = certificate.hosts.replace(names.to_vec()) {
            return Err(Error::option(
                "ssl_cert_file",
                format!(
                    "'{}=' names a host, and that of a virtual host is for its names",
                    hosts.join(", ")
                ),
            ));
        }
    }
    Ok(certificates)
}

fn clients(said: &Said) -> Result<Option<Clients>> {
    if said.verify_mode & PEER == 0 {
        return Ok(None);
    }
    let none = said.ca_file.is_empty() && said.ca_path.is_empty();
    if none && said.verify_callback.is_none() {
        return Err(Error::needs(
            "ssl_verify_mode",
            "'ssl_ca_file' or 'ssl_ca_path'",
        ));
    }
    if none && !said.crl_file.is_empty() {
        return Err(Error::needs(
            "ssl_crl_file",
            "'ssl_ca_file' or 'ssl_ca_path'",
        ));
    }
    let paths = |texts: &[String]| texts.iter().map(PathBuf::from).collect();
    Ok(Some(Clients {
        mandatory: said.verify_mode & FAIL_IF_NONE != 0,
        ca_files: paths(&said.ca_file),
        ca_paths: paths(&said.ca_path),
        crl_files: paths(&said.crl_file),
        callback: said.verify_callback,
    }))
}

fn certificates(said: &Said) -> Result<Vec<Certificate>> {
    let chains: Vec<_> = said.cert_file.iter().map(|text| named(text)).collect();
    let keys: Vec<_> = said.key_file.iter().map(|text| named(text)).collect();
    if chains.is_empty() && !keys.is_empty() {
        return Err(Error::needs("ssl_key_file", "'ssl_cert_file'"));
    }
    let by_name = keys.iter().any(|(host, _)| host.is_some());
    if !by_name && keys.len() > 1 && keys.len() != chains.len() {
        return Err(Error::option(
            "ssl_key_file",
            format!(
                "there are {} keys for {} certificates",
                keys.len(),
                chains.len()
            ),
        ));
    }
    let mut certificates = Vec::new();
    for (number, (host, chain)) in chains.iter().enumerate() {
        let key = match keys.as_slice() {
            [] => chain,
            keys if by_name => match keys.iter().find(|(other, _)| other == host) {
                Some((_, key)) => key,
                None => {
                    return Err(Error::option(
                        "ssl_key_file",
                        format!("there is no key for the certificate {chain}"),
                    ));
                }
            },
            [(_, key)] => key,
            keys => &keys[number].1,
        };
        certificates.push(Certificate {
            hosts: host.clone().map(|host| vec![host]),
            chain: chain.into(),
            key: key.into(),
        });
    }
    for (host, key) in &keys {
        if by_name && !chains.iter().any(|(other, _)| other == host) {
            return Err(Error::option(
                "ssl_cert_file",
                format!("there is no certificate for the key {key}"),
            ));
        }
    }
    // IO::Socket::SSL's default.
    let is_other = |hosts: &Vec<String>| hosts.iter().all(|host| !host.is_empty());
    certificates.sort_by_key(|certificate| certificate.hosts.as_ref().is_none_or(is_other));
    Ok(certificates)
}

/// Takes `HOST=PATH` apart. What stands before the sign is no host where it has a slash.
fn named(text: &str) -> (Option<String>, &str) {
    let host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_*".contains(&byte);
    match text.split_once('=') {
        Some((name, path)) if name.bytes().all(host) => (Some(name.to_ascii_lowercase()), path),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(chains: &[&str], keys: &[&str]) -> Said {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Said {
            cert_file: texts(chains),
            key_file: texts(keys),
            ..Said::default()
        }
    }

    /// One line for each certificate.
    fn lines(chains: &[&str], keys: &[&str]) -> Result<Vec<String>, String> {
        match certificates(&said(chains, keys)) {
            Ok(certificates) => Ok(certificates
                .iter()
                .map(|c| {
                    let host = c.hosts.as_ref().map(|hosts| hosts.join(","));
                    format!("{host:?} {} {}", c.chain.display(), c.key.display())
                })
                .collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn certificates_find_their_keys() {
        assert_eq!(lines(&["/c"], &["/k"]).unwrap(), ["None /c /k"]);
        assert_eq!(lines(&["/c"], &[]).unwrap(), ["None /c /c"]);
        assert_eq!(
            lines(&["/a", "/b"], &["/k"]).unwrap(),
            ["None /a /k", "None /b /k"]
        );
        assert_eq!(
            lines(&["/a", "/b"], &["/ka", "/kb"]).unwrap(),
            ["None /a /ka", "None /b /kb"]
        );
        assert_eq!(
            lines(&["B.example=/b", "=/a"], &["=/ka", "b.example=/kb"]).unwrap(),
            ["Some(\"\") /a /ka", "Some(\"b.example\") /b /kb"]
        );
        assert_eq!(lines(&["./a=b"], &[]).unwrap(), ["None ./a=b ./a=b"]);
    }

    #[test]
    fn certificates_without_keys_are_told() {
        for (chains, keys, part) in [
            (&[][..], &["/k"][..], "'ssl_key_file' needs"),
            (
                &["/a", "/b"],
                &["/k", "/l", "/m"],
                "3 keys for 2 certificates",
            ),
            (
                &["a=/a", "b=/b"],
                &["a=/k"],
                "no key for the certificate /b",
            ),
            (
                &["a=/a"],
                &["a=/k", "b=/l"],
                "no certificate for the key /l",
            ),
        ] {
            let error = lines(chains, keys).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn verify_modes() {
        let with = |mode, ca: &[&str]| {
            clients(&Said {
                verify_mode: mode,
                ca_file: ca.iter().map(|&path| path.to_owned()).collect(),
                ..Said::default()
            })
        };
        for mode in [0, 2, 4, 6] {
            assert_eq!(with(mode, &[]).unwrap(), None, "{mode}");
        }
        for (mode, mandatory) in [(1, false), (3, true), (5, false), (7, true)] {
            let clients = with(mode, &["/ca"]).unwrap().unwrap();
            assert_eq!(clients.mandatory, mandatory, "{mode}");
        }
        let error = with(1, &[]).unwrap_err().to_string();
        assert!(error.contains("needs 'ssl_ca_file'"), "{error}");
    }
}
