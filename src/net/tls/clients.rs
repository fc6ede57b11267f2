//! Client certificates: what is asked for, and whether it is to be trusted.

use std::sync::Arc;

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    CertRevocationListError, CertificateError, DigitallySignedStruct, DistinguishedName, Error,
    RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::error::Error as TlsError;
use super::{Clients, Judge};

/// Judges the certificates of clients.
#[derive(Debug)]
pub(super) struct Verifier {
    mandatory: bool,
    judge: Judge,
    /// Chains and revocation lists; none where there are no authorities.
    chains: Option<Arc<dyn ClientCertVerifier>>,
    /// A certificate among the authorities is trusted as it is, so that a client may use a self-signed one.
    authorities: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// A verifier that trusts `authorities`, but not what `revocations` name.
    ///
    /// With revocation lists, a certificate without the list of its authority is refused, and one whose list has
    /// expired, as OpenSSL does with X509_V_FLAG_CRL_CHECK.
    pub(super) fn new(
        clients: Clients,
        authorities: Vec<CertificateDer<'static>>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let (good, _) = roots.add_parsable_certificates(authorities.iter().cloned());
        if good == 0 && !authorities.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let chains = if roots.is_empty() {
            None
        } else {
            let provider = Arc::clone(provider);
            let mut builder =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            if !revocations.is_empty() {
                builder = builder
                    .with_crls(revocations)
                    .only_check_end_entity_revocation()
                    .enforce_revocation_expiration();
            }
            Some(builder.build().map_err(|error| match error {
                VerifierBuilderError::InvalidCrl(error) => {
                    TlsError::RevocationList(refusal(&error).to_string())
                }
                error => TlsError::Verifier(error.into()),
            })?)
        };
        Ok(Verifier {
            mandatory: clients.mandatory,
            judge: clients.judge,
            chains,
            authorities,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Why the authorities don't vouch for these certificates (the client's own first), although the handshake let them pass.
    pub(super) fn distrust(&self, certificates: &[CertificateDer<'_>]) -> Option<Error> {
        let (own, others) = certificates.split_first()?;
        if self.judge == Judge::Authorities {
            return None;
        }
        self.by_authorities(own, others, UnixTime::now()).err()
    }

    /// Why a session that is resumed must not go on: since it began, the certificate may have expired or
    /// been revoked.
    pub(super) fn refusal(&self, certificates: &[CertificateDer<'_>]) -> Option<Error> {
        let (own, others) = certificates.split_first()?;
        self.verify_client_cert(own, others, UnixTime::now()).err()
    }

    fn by_authorities(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let Some(chains) = &self.chains else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match chains.verify_client_cert(own, others, now) {
            // The rules for chains want no authority at their end.
            Err(Error::InvalidCertificate(
                CertificateError::Other(_) | CertificateError::UnknownIssuer,
            )) if self.authorities.iter().any(|trusted| trusted == own) => valid(own, now),
            verified => verified,
        }
    }
}

/// Whether it is the time of a certificate that is trusted for itself.
fn valid(own: &CertificateDer<'_>, now: UnixTime) -> Result<ClientCertVerified, Error> {
    let (_, certificate) =
        X509Certificate::from_der(own).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now > validity.not_after.timestamp() {
        Err(CertificateError::Expired.into())
    } else if now < validity.not_before.timestamp() {
        Err(CertificateError::NotValidYet.into())
    } else {
        Ok(ClientCertVerified::assertion())
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match (&self.chains, self.judge) {
            // Clients must not keep back certificates that are good here.
            (Some(chains), Judge::Authorities) => chains.root_hint_subjects(),
            _ => &[],
        }
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.judge {
            Judge::Authorities => self.by_authorities(own, others, now),
            Judge::App | Judge::Anything => Ok(ClientCertVerified::assertion()),
            Judge::Nothing => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
/// Why a revocation list is refused.
fn refusal(error: &CertRevocationListError) -> &'static str {
    match error {
        CertRevocationListError::BadSignature => "its signature is wrong",
        CertRevocationListError::IssuerInvalidForCrl => "its issuer may not sign lists",
        CertRevocationListError::UnsupportedCrlVersion
        | CertRevocationListError::UnsupportedCriticalExtension
        | CertRevocationListError::UnsupportedDeltaCrl
        | CertRevocationListError::UnsupportedIndirectCrl
        | CertRevocationListError::UnsupportedRevocationReason => {
            "it is of a kind that is not supported"
        }
        _ => "it is damaged",
    }
}
