//! TLS for the server's connections: certificates, handshakes, and their results. Private keys exist only here, in the
//! core.
//!
//! ```text
//! files (opened by the master) → material (read and checked) → server → handshake → Stream::Tls
//! ```

#![forbid(unsafe_code)]

mod certificates;
mod clients;
pub mod error;
mod facts;
pub mod files;
mod handshake;
mod material;
mod role;
mod rules;
mod self_signed;
mod server;

use std::time::Duration;

use self::files::Files;

pub use self::certificates::CertificateNames;
pub use self::server::{Accepted, Server};

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where certificates and keys are, for a core that opens them itself, because there is no master.
    pub files: Option<Files>,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// How long a handshake may take; zero is no limit.
    pub handshake_timeout: Duration,
    /// What is asked of clients; none: nothing.
    pub clients: Option<Clients>,
}

impl Settings {
    /// Whether the app has the last word on clients' certificates.
    pub fn asks_app(&self) -> bool {
        self.clients
            .is_some_and(|clients| clients.judge == Judge::App)
    }
}

/// Which clients may connect.
#[derive(Clone, Copy, Debug)]
pub struct Clients {
    /// Whether those without a certificate are refused.
    pub mandatory: bool,
    /// Who says whether a certificate is good.
    pub judge: Judge,
}

/// Who says whether a client's certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The authorities and their revocation lists.
    Authorities,
    /// The app, who is told what the authorities say ([`crate::semantics::message::Tls::distrust`]).
    App,
    /// Nobody: every certificate is good.
    Anything,
    /// Nobody: no certificate is good.
    Nothing,
}
