//! What TLS adds to the env, and the texts of certificates for `gepok.socket`.

use std::cell::RefCell;

use bytes::Bytes;
use perl_sys::{GP_UNKNOWN_KEY, gp_entry, gp_slice};

use super::listener::put_bytes;
use crate::certificate::{self, Certificate};
use crate::perl::{UNDEF, bytes, slice};
use crate::semantics::message::{Tls, TlsVersion};
use crate::semantics::proxy_header::ProxyTls;

/// The optional keys, named and filled as Apache's mod_ssl does it.
#[derive(Default)]
pub(super) struct SslKeys {
    /// The client certificate read last: a connection's requests come with the same one.
    client: Option<Client>,
    /// `SSL_CLIENT_VERIFY`
    verify: Vec<u8>,
}

/// A client's certificate and the keys it gives.
struct Client {
    der: Bytes,
    keys: Vec<(&'static str, String)>,
}

impl SslKeys {
    /// Adds the keys; their values stay good until the next call.
    pub(super) fn put(&mut self, entries: &mut Vec<gp_entry>, tls: &Tls) {
        let mut put = |name: &'static str, value: &[u8]| {
            entries.push(gp_entry {
                key: GP_UNKNOWN_KEY,
                name: slice(name.as_bytes()),
                value: slice(value),
            });
        };
        let protocol = match tls.version {
            TlsVersion::Tls12 => "TLSv1.2",
            TlsVersion::Tls13 => "TLSv1.3",
        };
        put("SSL_PROTOCOL", protocol.as_bytes());
        put("SSL_CIPHER", &tls.cipher);
        if let Some(name) = &tls.server_name {
            put("SSL_TLS_SNI", name);
        }
        self.verify.clear();
        match (&tls.certificates[..], &tls.distrust) {
            ([], _) => self.verify.extend_from_slice(b"NONE"),
            (_, None) => self.verify.extend_from_slice(b"SUCCESS"),
            (_, Some(why)) => self.verify.extend([&b"FAILED:"[..], why].concat()),
        }
        put("SSL_CLIENT_VERIFY", &self.verify);
        if let Some(der) = tls.certificates.first() {
            if self.client.as_ref().is_none_or(|known| known.der != der) {
                self.client = Some(Client::read(der));
            }
            for (name, value) in self.client.iter().flat_map(|client| &client.keys) {
                put(name, value.as_bytes());
            }
        }
    }
}

impl SslKeys {
    /// Adds what a PROXY header tells of the TLS between the client and the proxy.
    pub(super) fn put_proxys(
        &mut self,
        entries: &mut Vec<gp_entry>,
        tls: &ProxyTls<'_>,
        server_name: Option<&[u8]>,
    ) {
        let verify: &[u8] = match (tls.has_certificate, tls.is_verified) {
            (false, _) => b"NONE",
            (true, true) => b"SUCCESS",
            (true, false) => b"FAILED",
        };
        for (name, value) in [
            ("SSL_PROTOCOL", tls.version),
            ("SSL_CIPHER", tls.cipher),
            ("SSL_TLS_SNI", server_name),
            ("SSL_CLIENT_VERIFY", Some(verify)),
            ("SSL_CLIENT_S_DN_CN", tls.common_name),
        ] {
            if let Some(value) = value {
                entries.push(gp_entry {
                    key: GP_UNKNOWN_KEY,
                    name: slice(name.as_bytes()),
                    value: slice(value),
                });
            }
        }
    }
}

impl Client {
    fn read(der: &Bytes) -> Self {
        let mut keys = vec![("SSL_CLIENT_CERT", certificate::pem(der))];
        if let Some(certificate) = Certificate::parse(der) {
            keys.extend([
                ("SSL_CLIENT_S_DN", certificate.subject().rfc2253()),
                ("SSL_CLIENT_I_DN", certificate.issuer().rfc2253()),
                ("SSL_CLIENT_M_SERIAL", certificate.serial()),
                ("SSL_CLIENT_V_START", certificate.not_before()),
                ("SSL_CLIENT_V_END", certificate.not_after()),
            ]);
        }
        Client {
            // Not a part of the request's bytes: those are many more.
            der: Bytes::copy_from_slice(der),
            keys,
        }
    }
}

/// A certificate's texts, packed for `Gepok::Socket`: subject, issuer, a list of one common name or none, then the other
/// names, each as its kind and value. Nothing where it can't be read.
fn texts(der: &[u8]) -> Option<Vec<u8>> {
    let certificate = Certificate::parse(der)?;
    let subject = certificate.subject();
    let mut packed = Vec::new();
    put_bytes(&mut packed, subject.oneline().as_bytes());
    put_bytes(&mut packed, certificate.issuer().oneline().as_bytes());
    let mut common = Vec::new();
    if let Some(name) = subject.common_name() {
        put_bytes(&mut common, name);
    }
    put_bytes(&mut packed, &common);
    for (kind, value) in certificate.alt_names() {
        put_bytes(&mut packed, kind.to_string().as_bytes());
        put_bytes(&mut packed, &value);
    }
    Some(packed)
}

thread_local! {
    /// What C was given last.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The texts of a certificate, for C; they stay good until this thread's next call.
///
/// # Safety
/// `der` must be readable during the call.
pub(super) unsafe extern "C" fn certificate_texts(der: gp_slice) -> gp_slice {
    // SAFETY: the caller's promise.
    let der = unsafe { bytes(der) };
    // A panic must not cross C's frames; nothing is the answer to it.
    let packed = std::panic::catch_unwind(|| texts(der)).ok().flatten();
    let Some(packed) = packed else { return UNDEF };
    PACKED.with_borrow_mut(|kept| {
        *kept = packed;
        slice(kept)
    })
}
