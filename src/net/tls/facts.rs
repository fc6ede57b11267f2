//! What a handshake has told, in the words of OpenSSL, which apps know.

use bytes::Bytes;
use tokio_rustls::rustls::{
    CertificateError, CipherSuite, Error, HandshakeKind, ProtocolVersion, ServerConnection,
};

use super::clients::Verifier;
use crate::semantics::message::{Tls, TlsVersion};

/// What `session` has agreed upon, and whether `verifier` trusts its client.
pub(super) fn facts(session: &ServerConnection, verifier: Option<&Verifier>) -> Tls {
    let certificates = session.peer_certificates().unwrap_or_default();
    let distrust = verifier.and_then(|verifier| verifier.distrust(certificates));
    let suite = session.negotiated_cipher_suite();
    Tls {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        },
        cipher: Bytes::from(suite.map(|suite| cipher(suite.suite())).unwrap_or_default()),
        server_name: session
            .server_name()
            .map(|name| Bytes::copy_from_slice(name.as_bytes())),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        certificates: certificates
            .iter()
            .map(|certificate| Bytes::copy_from_slice(certificate))
            .collect(),
        distrust: distrust.map(|error| Bytes::from(reason(&error))),
    }
}

/// OpenSSL's name: suites of TLS 1.3 keep their own, those before lose `TLS`, `WITH` and some signs.
fn cipher(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    if let Some(name) = name.strip_prefix("TLS13_") {
        return format!("TLS_{name}");
    }
    let name = name.strip_prefix("TLS_").unwrap_or(name);
    let name = name.replace("_WITH_", "_").replace("AES_", "AES");
    let name = name
        .strip_suffix("_POLY1305_SHA256")
        .map_or_else(|| name.clone(), |chacha| format!("{chacha}_POLY1305"));
    name.replace('_', "-")
}

/// What X509_verify_cert_error_string(3) would say.
pub(super) fn reason(error: &Error) -> String {
    let Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    let words = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate is not yet valid"
        }
        CertificateError::Revoked => "certificate revoked",
        CertificateError::UnknownIssuer => "unable to get local issuer certificate",
        CertificateError::UnknownRevocationStatus => "unable to get certificate CRL",
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "CRL has expired",
        CertificateError::BadSignature => "certificate signature failure",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "unsuitable certificate purpose"
        }
        CertificateError::UnhandledCriticalExtension => "unhandled critical extension",
        error => return error.to_string(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_openssl() {
        let names: Vec<_> = tokio_rustls::rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES
            .iter()
            .map(|suite| cipher(suite.suite()))
            .collect();
        assert_eq!(
            names,
            [
                "TLS_AES_256_GCM_SHA384",
                "TLS_AES_128_GCM_SHA256",
                "TLS_CHACHA20_POLY1305_SHA256",
                "ECDHE-ECDSA-AES256-GCM-SHA384",
                "ECDHE-ECDSA-AES128-GCM-SHA256",
                "ECDHE-ECDSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES256-GCM-SHA384",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-CHACHA20-POLY1305",
            ]
        );
    }
}
