//! The settings of all TLS connections, replaced as a whole when the files are read again.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::server::{
    ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{ServerConfig, version};

use super::certificates::{Certificate, CertificateNames, Certificates};
use super::clients::Verifier;
use super::error::Error;
use super::files::{self, Files, KeptFiles, Opened};
use super::handshake::{self, Handshakes};
use super::rules::Rules;
use super::{Settings, material, self_signed};
use crate::log::limited;
use crate::net::alpn;
use crate::net::stream::Stream;
use crate::semantics::message::Tls;

/// Sessions of clients without tickets that are remembered.
const SESSIONS: usize = 1024;

/// The server's side of TLS.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    provider: Arc<CryptoProvider>,
    /// None until the files were read for the first time.
    rules: watch::Sender<Option<Arc<Rules>>>,
    /// Keys of tickets, which change every few hours; they and the sessions outlive the certificates.
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
    /// The certificate that was made in memory, made once.
    made: RefCell<Option<Arc<CertifiedKey>>>,
    /// Where certificates and keys are, for a core that opens them itself.
    files: RefCell<Option<Files>>,
    handshakes: Handshakes,
}

/// What is known of a connection after its handshake.
#[derive(Debug)]
pub struct Facts {
    /// What the handshake has told.
    pub tls: Rc<Tls>,
    /// Which certificate is for which host, where there are several.
    pub certificates: Option<CertificateNames>,
}

/// What has become of an accepted connection.
#[derive(Debug)]
pub enum Accepted {
    /// TLS is spoken.
    Secure(Stream, Facts),
    /// The client speaks no TLS, as it seems but HTTP.
    Plain(Stream),
    /// There is nobody to answer any more.
    Gone,
}

impl Server {
    /// A server without certificates yet: connections wait for [`Server::load`]. To be called in the core,
    /// because it starts threads.
    ///
    /// # Errors
    /// When threads or random numbers can't be had.
    pub fn new(settings: Settings) -> io::Result<Self> {
        Ok(Server {
            handshakes: Handshakes::start(settings.handshake_timeout)?,
            files: RefCell::new(settings.files.clone()),
            settings,
            provider: Arc::new(aws_lc_rs::default_provider()),
            rules: watch::Sender::new(None),
            tickets: aws_lc_rs::Ticketer::new().map_err(io::Error::other)?,
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            made: RefCell::default(),
        })
    }

    /// How it speaks TLS.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Reads certificates, keys and revocation lists. Connections that begin from now on go by them; what is
    /// wrong with them changes nothing.
    ///
    /// # Errors
    /// One sentence that names option, file and reason.
    pub async fn load(&self, files: Vec<Opened>) -> Result<(), Error> {
        let judge = self.settings.clients.as_ref().map(|clients| clients.judge);
        let made = self.made.borrow().clone();
        // Hundreds of authorities take their time.
        let read = tokio::task::spawn_blocking(move || -> Result<_, Error> {
            let mut material = material::read(files, judge)?;
            let makes_one = material.certificates.is_empty();
            if makes_one {
                let certificate = match made {
                    Some(key) => Certificate {
                        names: Vec::new(),
                        key,
                    },
                    None => self_signed::make()?,
                };
                material.certificates.push(certificate);
            }
            Ok((material, makes_one))
        });
        let read = read.await;
        let (material, makes_one) = read.map_err(|error| Error::Thread("reading", error))??;
        for warning in &material.warnings {
            ::log::warn!("{warning}");
        }
        if let (true, [certificate]) = (makes_one, &material.certificates[..])
            && self.made.borrow().is_none()
        {
            ::log::warn!(
                "a certificate for development was made for {}: browsers warn of it",
                certificate.names.join(", ")
            );
            *self.made.borrow_mut() = Some(Arc::clone(&certificate.key));
        }
        let rules = self.rules(material)?;
        self.rules.send_replace(Some(Arc::new(rules)));
        Ok(())
    }

    /// Opens the files again and reads them, like [`Server::load`]: with `certificates` in place of those before, if that is
    /// given. Does nothing if the settings name no files.
    ///
    /// # Errors
    /// As [`Server::load`].
    pub async fn reload(&self, certificates: Option<Vec<files::Certificate>>) -> Result<(), Error> {
        let Some(mut files) = self.files.borrow().clone() else {
            return Ok(());
        };
        files.certificates = certificates.unwrap_or(files.certificates);
        let opening = files.clone();
        let opened = tokio::task::spawn_blocking(move || opening.open(&KeptFiles::default()));
        let opened = opened.await;
        let opened = opened.map_err(|error| Error::Thread("opening", error))??;
        self.load(opened).await?;
        self.files.replace(Some(files));
        Ok(())
    }

    fn rules(&self, material: material::Material) -> Result<Rules, Error> {
        let verifier = match self.settings.clients {
            Some(clients) => Some(Arc::new(Verifier::new(
                clients,
                material.authorities,
                material.revocations,
                &self.provider,
            )?)),
            None => None,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(Arc::clone(verifier) as _),
            None => builder.with_no_client_auth(),
        };
        let certificates = Arc::new(Certificates(material.certificates));
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as _);
        config.alpn_protocols = match self.settings.http2 {
            true => vec![alpn::HTTP_2.to_vec(), alpn::HTTP_1_1.to_vec()],
            false => vec![alpn::HTTP_1_1.to_vec()],
        };
        config.ticketer = Arc::clone(&self.tickets);
        config.session_storage = Arc::clone(&self.sessions);
        Ok(Rules {
            config: Arc::new(config),
            certificates,
            verifier,
        })
    }

    /// Waits until certificates are there.
    pub async fn ready(&self) {
        // The sender is ours.
        let _ = self.rules.subscribe().wait_for(Option::is_some).await;
    }

    /// Does the handshake of a connection that was just accepted.
    pub async fn accept(&self, stream: Stream) -> Accepted {
        let (Stream::Unregistered(stream), Some(rules)) = (stream, self.rules.borrow().clone())
        else {
            return Accepted::Gone;
        };
        match self.handshake(stream, rules).await {
            Ok(accepted) => accepted,
            Err(error) => {
                limited!(Info, "a TLS handshake failed: {error}");
                Accepted::Gone
            }
        }
    }

    async fn handshake(&self, stream: TcpStream, rules: Arc<Rules>) -> io::Result<Accepted> {
        let certificates = CertificateNames::of(&rules.certificates);
        Ok(match self.handshakes.run(stream, rules).await? {
            handshake::Outcome::Secure(mut stream, tls) => {
                stream.get_mut().0.register()?;
                let facts = Facts {
                    tls: Rc::new(tls),
                    certificates,
                };
                Accepted::Secure(Stream::Tls(stream), facts)
            }
            handshake::Outcome::Plain(stream) => Accepted::Plain(Stream::Unregistered(stream)),
        })
    }
}
