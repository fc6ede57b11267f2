//! The server's certificates, and which of them a client gets (SNI, RFC 6066 section 3).

use std::sync::Arc;

use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::semantics::message::Tls;

/// A certificate, its key, and the names it is for.
#[derive(Debug)]
pub(super) struct Certificate {
    /// Hosts in lower case; `*.example.org` stands for one label before the domain.
    pub names: Vec<String>,
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
}

/// All certificates; the first is for clients that ask for no name, or for one that none is for.
#[derive(Debug)]
pub(super) struct Certificates(pub Vec<Certificate>);

/// How well a name fits, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Wildcard,
    Exact,
}

impl Certificates {
    /// The certificate for `name`. Of those that fit equally well the first whose key `usable` finds fit for the
    /// client, so that a host may have an ECDSA key and an RSA one for old clients.
    fn choose(
        &self,
        name: Option<&str>,
        usable: impl Fn(&CertifiedKey) -> bool,
    ) -> Option<&Certificate> {
        let name = name.map(str::to_ascii_lowercase);
        let candidates = || self.candidates(name.as_deref());
        candidates()
            .find(|certificate| usable(&certificate.key))
            .or_else(|| candidates().next())
    }

    /// Those that fit a name in lower case best; the first, if none fits.
    fn candidates(&self, name: Option<&str>) -> impl Iterator<Item = &Certificate> {
        let fits = move |certificate: &Certificate| certificate.fit(name?);
        let best = self.0.iter().filter_map(fits).max();
        let fitting = self
            .0
            .iter()
            .filter(move |c| best.is_some() && fits(c) == best);
        fitting.chain(best.is_none().then(|| self.0.first()).flatten())
    }

    /// Whether a client that has asked for one name is to make a new connection for another: the certificate of this one is not
    /// for that name, and another certificate is.
    fn misdirects(&self, asked: &str, host: &str) -> bool {
        let covers = |certificate: &Certificate| certificate.fit(host).is_some();
        !self.candidates(Some(asked)).any(covers) && self.0.iter().any(covers)
    }
}

impl Certificate {
    fn fit(&self, name: &str) -> Option<Fit> {
        self.names.iter().filter_map(|n| fit(n, name)).max()
    }
}

/// Which certificate is for which host, as it was when a connection began.
#[derive(Clone, Debug)]
pub struct CertificateNames(Arc<Certificates>);

impl CertificateNames {
    /// Nothing where there is one certificate: then no connection is better than another.
    pub(super) fn of(certificates: &Arc<Certificates>) -> Option<Self> {
        let several = certificates.0.len() > 1;
        several.then(|| CertificateNames(Arc::clone(certificates)))
    }

    /// Whether a request for this host and port came by the wrong connection. Where the client has asked for no name, a new
    /// connection would be the same.
    pub fn misdirect(&self, tls: &Tls, authority: &[u8]) -> bool {
        let Some(asked) = &tls.server_name else {
            return false;
        };
        let end = memchr::memchr(b':', authority).unwrap_or(authority.len());
        let host = &authority[..end];
        let host = host.strip_suffix(b".").unwrap_or(host);
        if host.is_empty() || host.eq_ignore_ascii_case(asked) {
            return false;
        }
        let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
        self.0.misdirects(&lower(asked), &lower(host))
    }
}

fn fit(pattern: &str, name: &str) -> Option<Fit> {
    if pattern == name {
        return Some(Fit::Exact);
    }
    let (label, domain) = name.split_once('.')?;
    let wild = pattern.strip_prefix("*.")?;
    (!label.is_empty() && wild == domain).then_some(Fit::Wildcard)
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |key: &CertifiedKey| key.key.choose_scheme(schemes).is_some();
        let chosen = self.choose(hello.server_name(), usable)?;
        Some(Arc::clone(&chosen.key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::self_signed;
    use super::*;

    fn certificates(names: &[&[&str]]) -> Certificates {
        let key = self_signed::make().unwrap().key;
        let certificate = |names: &&[&str]| Certificate {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            key: Arc::new(CertifiedKey::new(key.cert.clone(), Arc::clone(&key.key))),
        };
        Certificates(names.iter().map(certificate).collect())
    }

    #[test]
    fn the_name_chooses() {
        let all = certificates(&[
            &["a.example"],
            &["*.b.example", "b.example"],
            &["x.b.example"],
        ]);
        for (name, number) in [
            (None, 0),
            (Some("a.example"), 0),
            (Some("A.Example"), 0),
            (Some("b.example"), 1),
            (Some("c.b.example"), 1),
            (Some("x.b.example"), 2),
            (Some("d.c.b.example"), 0),
            (Some(".b.example"), 0),
            (Some("unknown"), 0),
        ] {
            let chosen = all.choose(name, |_| true).unwrap();
            assert!(std::ptr::eq(chosen, &all.0[number]), "{name:?}");
        }
    }

    #[test]
    fn a_connection_is_for_the_names_of_its_certificate() {
        let all = certificates(&[
            &["a.example", "www.a.example"],
            &["*.b.example"],
            &["x.b.example"],
        ]);
        for (asked, host, misdirected) in [
            ("a.example", "www.a.example", false),
            ("a.example", "x.b.example", true),
            ("a.example", "y.b.example", true),
            ("y.b.example", "z.b.example", false),
            // The wildcard is for it, too.
            ("y.b.example", "x.b.example", false),
            ("x.b.example", "y.b.example", true),
            ("x.b.example", "a.example", true),
            // No certificate is for it.
            ("a.example", "unknown.example", false),
            ("a.example", "b.example", false),
            // The first certificate is for unknown names.
            ("unknown.example", "a.example", false),
            ("unknown.example", "x.b.example", true),
        ] {
            assert_eq!(all.misdirects(asked, host), misdirected, "{asked} {host}");
        }
    }

    #[test]
    fn a_key_that_the_client_can_use_is_preferred() {
        let all = certificates(&[&["a"], &["a"], &["b"]]);
        let second = Arc::clone(&all.0[1].key);
        let usable = |key: &CertifiedKey| std::ptr::eq(key, &*second);
        let chosen = all.choose(Some("a"), usable).unwrap();
        assert!(std::ptr::eq(chosen, &all.0[1]));
        // If none is usable, the handshake fails with the protocol's alert.
        let chosen = all.choose(Some("b"), usable).unwrap();
        assert!(std::ptr::eq(chosen, &all.0[2]));
    }
}
