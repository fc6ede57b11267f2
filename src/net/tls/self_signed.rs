//! A certificate for development, made in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificates::Certificate;
use super::error::Error;

const DAY: Duration = Duration::from_secs(86_400);

/// Makes a certificate and its key for this machine.
pub(super) fn make() -> Result<Certificate, Error> {
    let names = names();
    let key = KeyPair::generate().map_err(|error| Error::SelfSigned(error.into()))?;
    let mut params =
        CertificateParams::new(names.clone()).map_err(|error| Error::SelfSigned(error.into()))?;
    params.distinguished_name.remove(DnType::CommonName);
    params
        .distinguished_name
        .push(DnType::CommonName, "Gepok, for development only");
    // Clocks of clients may be behind.
    params.not_before = (SystemTime::now() - DAY).into();
    params.not_after = (SystemTime::now() + 365 * DAY).into();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params
        .self_signed(&key)
        .map_err(|error| Error::SelfSigned(error.into()))?;
    let der = PrivatePkcs8KeyDer::from(key.serialize_der());
    let der = Zeroizing::new(PrivateKeyDer::from(der));
    let key = aws_lc_rs::sign::any_supported_type(&der)
        .map_err(|error| Error::SelfSigned(error.into()))?;
    Ok(Certificate {
        names,
        key: Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)),
    })
}

fn names() -> Vec<String> {
    let mut names = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    let host = nix::unistd::gethostname().ok();
    let host = host.and_then(|host| host.into_string().ok());
    // A name that no certificate can carry would make all others useless.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    names.extend(
        host.filter(|host| !host.is_empty() && host.bytes().all(plain) && !names.contains(host)),
    );
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

    #[test]
    fn it_is_for_this_machine() {
        let made = make().unwrap();
        let (_, certificate) = X509Certificate::from_der(&made.key.cert[0]).unwrap();
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let names = &names.value.general_names;
        assert!(names.contains(&GeneralName::DNSName("localhost")));
        assert!(names.contains(&GeneralName::IPAddress(&[127, 0, 0, 1])));
        assert!(certificate.validity().is_valid());
        assert!(made.key.keys_match().is_ok());
    }
}
