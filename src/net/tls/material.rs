//! What is in the files: read, checked, and told in one sentence where it can't serve.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use data_encoding::BASE64;
use memchr::memmem;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, PrivatePkcs1KeyDer,
    PrivatePkcs8KeyDer, PrivateSec1KeyDer, SubjectPublicKeyInfoDer,
};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, X509Certificate, X509Version};
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::Judge;
use super::certificates::Certificate;
use super::error::{Error, Flaw};
use super::files::Opened;
use super::role::{Role, what};

/// No file of certificates is larger; a device without an end must not fill the memory.
const LIMIT: u64 = 64 * 1024 * 1024;

/// What an ASN.1 sequence begins with, as a file in DER does.
const SEQUENCE: u8 = 0x30;

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Material {
    /// The server's certificates.
    pub certificates: Vec<Certificate>,
    /// Certificates of authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Revocation lists.
    pub revocations: Vec<CertificateRevocationListDer<'static>>,
    /// What deserves a line in the log: one sentence each.
    pub warnings: Vec<String>,
}

/// Reads the files. A folder without certificates is a warning where somebody other than the authorities judges clients.
///
/// # Errors
/// One sentence that names option, file and reason.
pub(super) fn read(files: Vec<Opened>, judge: Option<Judge>) -> Result<Material, Error> {
    let mut material = Material::default();
    let mut chain = None;
    let mut folder_of = None;
    for file in files {
        let failed = |flaw| Error::File(file.role, file.path.clone(), flaw);
        match file.role {
            Role::Chain => {
                let found = certificates(&file).map_err(failed)?;
                chain = Some((found, file.path.clone(), file.hosts.clone()));
            }
            Role::Key => {
                material.warnings.extend(readable_by_all(&file));
                let key = private_key(&file).map_err(failed)?;
                let (chain, path, hosts) = chain.take().ok_or(Error::KeyAlone)?;
                let own = parsed(&chain[0])
                    .map_err(|flaw| Error::File(Role::Chain, path.clone(), flaw))?;
                if !is_of(&*key, &own) {
                    return Err(failed(Flaw::OtherKey(path)));
                }
                material.warnings.extend(out_of_time(&own, &path));
                let names = hosts.unwrap_or_else(|| names(&own));
                let key = Arc::new(CertifiedKey::new(chain, key));
                material.certificates.push(Certificate { names, key });
            }
            Role::Authorities => {
                let found = certificates(&file).map_err(failed)?;
                material.authorities.extend(found);
            }
            Role::InFolder => {
                material
                    .authorities
                    .extend(certificates(&file).unwrap_or_default());
                folder_of = file.path.parent().map(ToOwned::to_owned);
            }
            Role::Revocations => {
                let found = revocations(&file, &mut material.warnings).map_err(failed)?;
                material.revocations.extend(found);
            }
        }
    }
    if let Some(folder) = folder_of.filter(|_| material.authorities.is_empty()) {
        let error = Error::File(Role::InFolder, folder, Flaw::NoCertificateInFolder);
        match judge {
            None | Some(Judge::Authorities) => return Err(error),
            Some(Judge::App | Judge::Anything | Judge::Nothing) => {
                material.warnings.push(error.to_string());
            }
        }
    }
    Ok(material)
}

fn bytes(file: &Opened) -> Result<Vec<u8>, Flaw> {
    // Room for all, and for the end: memory that a growing vector leaves is not overwritten.
    let length = file.file.metadata()?.len().min(LIMIT);
    let mut bytes = Vec::with_capacity(length as usize + 64);
    let read = (&file.file).take(LIMIT + 1).read_to_end(&mut bytes)?;
    match read as u64 <= LIMIT {
        true => Ok(bytes),
        false => Err(Flaw::TooLarge),
    }
}

fn in_pem<T: PemObject>(bytes: &[u8]) -> Result<Vec<T>, Flaw> {
    let pem = |error| match error {
        pem::Error::MissingSectionEnd { .. } => Flaw::PemEnd,
        error => Flaw::Pem(error.to_string()),
    };
    T::pem_slice_iter(bytes)
        .map(|item| item.map_err(pem))
        .collect()
}

/// The certificates of a file, at least one.
fn certificates(file: &Opened) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    let bytes = bytes(file)?;
    let found = if bytes.first() == Some(&SEQUENCE) {
        vec![CertificateDer::from(bytes)]
    } else {
        in_pem(&bytes)?
    };
    if found.is_empty() {
        return Err(Flaw::NoCertificate);
    }
    for der in &found {
        parsed(der)?;
    }
    Ok(found)
}

fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Flaw> {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(error) => Err(Flaw::Certificate(error.to_string())),
    }
}

/// The private key of a file. Its text and its bytes are overwritten before their memory is freed.
fn private_key(file: &Opened) -> Result<Arc<dyn SigningKey>, Flaw> {
    let bytes = Zeroizing::new(bytes(file)?);
    let der = if bytes.first() == Some(&SEQUENCE) {
        PrivateKeyDer::try_from(&bytes[..])
            .map_err(|_| Flaw::NoKey)?
            .clone_key()
    } else {
        let found = |words: &[u8]| memmem::find(&bytes, words).is_some();
        if found(b"BEGIN ENCRYPTED PRIVATE KEY") || found(b"Proc-Type: 4,ENCRYPTED") {
            return Err(Flaw::EncryptedKey);
        }
        key_in_pem(&bytes)?
    };
    let der = Zeroizing::new(der);
    aws_lc_rs::sign::any_supported_type(&der).map_err(|_| Flaw::Key)
}

/// The first private key in PEM. The reader of certificates would leave copies of the key's text in freed memory.
fn key_in_pem(text: &[u8]) -> Result<PrivateKeyDer<'static>, Flaw> {
    let key = |label: &str| {
        let begin = format!("-----BEGIN {label}-----");
        Some(memmem::find(text, begin.as_bytes())? + begin.len())
    };
    let found = [
        (key("PRIVATE KEY"), "PRIVATE KEY"),
        (key("RSA PRIVATE KEY"), "RSA PRIVATE KEY"),
        (key("EC PRIVATE KEY"), "EC PRIVATE KEY"),
    ];
    let found = found
        .iter()
        .filter_map(|(at, label)| Some(((*at)?, *label)));
    let (at, label) = found.min().ok_or(Flaw::NoKey)?;
    let end = memmem::find(&text[at..], format!("-----END {label}-----").as_bytes());
    let end = at + end.ok_or(Flaw::PemEnd)?;
    let mut base64 = Zeroizing::new(Vec::with_capacity(end - at));
    base64.extend(text[at..end].iter().filter(|b| !b.is_ascii_whitespace()));
    let der = BASE64
        .decode(&base64)
        .map_err(|error| Flaw::Pem(error.to_string()))?;
    Ok(match label {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    })
}

/// A sentence about a key's file that everybody on this machine may read.
fn readable_by_all(file: &Opened) -> Option<String> {
    let mode = file.file.metadata().ok()?.mode();
    (mode & 0o004 != 0).then(|| {
        format!(
            "{}: every user of this machine can read the key (mode {:03o})",
            what(file.role, &file.path),
            mode & 0o777
        )
    })
}

fn is_of(key: &dyn SigningKey, certificate: &X509Certificate<'_>) -> bool {
    let public = SubjectPublicKeyInfoDer::from(certificate.public_key().raw);
    key.public_key().is_none_or(|key| key == public)
}

/// A sentence about a certificate whose time is not now.
fn out_of_time(certificate: &X509Certificate<'_>, path: &Path) -> Option<String> {
    let (now, validity) = (ASN1Time::now(), certificate.validity());
    let what = what(Role::Chain, path);
    if validity.not_after < now {
        let end = validity.not_after;
        Some(format!("{what}: the certificate expired on {end}"))
    } else if validity.not_before > now {
        let begin = validity.not_before;
        Some(format!(
            "{what}: the certificate is not valid before {begin}"
        ))
    } else {
        None
    }
}

/// The hosts that a certificate is for (RFC 9525); its common name where it has no others, as old ones.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            if let GeneralName::DNSName(name) = name {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_ascii_lowercase())));
    }
    names
}

fn revocations(
    file: &Opened,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Flaw> {
    let bytes = bytes(file)?;
    let found: Vec<CertificateRevocationListDer<'static>> = if bytes.first() == Some(&SEQUENCE) {
        vec![bytes.into()]
    } else {
        in_pem(&bytes)?
    };
    if found.is_empty() {
        return Err(Flaw::NoList);
    }
    for der in &found {
        let (_, list) = CertificateRevocationList::from_der(der)
            .map_err(|error| Flaw::List(error.to_string()))?;
        if list.version() != Some(X509Version(1)) {
            return Err(Flaw::ListVersion);
        }
        if let Some(end) = list.next_update().filter(|&end| end < ASN1Time::now()) {
            warnings.push(format!(
                "{}: the time of the list ended on {end}; its authority's clients are refused",
                what(file.role, &file.path)
            ));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
