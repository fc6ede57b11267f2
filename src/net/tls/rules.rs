//! The configuration of handshakes.

use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;

use super::certificates::Certificates;
use super::clients::Verifier;

/// The configuration of a handshake.
#[derive(Debug)]
pub(super) struct Rules {
    /// Certificates, versions, and who remembers sessions.
    pub(super) config: Arc<ServerConfig>,
    /// The certificates, and their names.
    pub(super) certificates: Arc<Certificates>,
    /// What is asked of clients.
    pub(super) verifier: Option<Arc<Verifier>>,
}
