//! What a file of certificates or keys is for, and how errors name it.

use std::path::Path;

/// What a file is for; its number stands in messages from the master to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// A certificate of the server, and those between it and the root.
    Chain = 1,
    /// The private key of the chain at the same position.
    Key,
    /// Certificates of authorities.
    Authorities,
    /// The same, in a folder where there may be other files too.
    InFolder,
    /// Revocation lists.
    Revocations,
}

impl Role {
    /// The role whose discriminant is `number`.
    pub fn from_number(number: u8) -> Option<Self> {
        use Role::{Authorities, Chain, InFolder, Key, Revocations};
        [Chain, Key, Authorities, InFolder, Revocations]
            .into_iter()
            .find(|&role| role as u8 == number)
    }

    /// The option that names such files.
    pub fn option(self) -> &'static str {
        match self {
            Role::Chain => "ssl_cert_file",
            Role::Key => "ssl_key_file",
            Role::Authorities => "ssl_ca_file",
            Role::InFolder => "ssl_ca_path",
            Role::Revocations => "ssl_crl_file",
        }
    }
}

/// How a message about a file begins.
pub(super) fn what(role: Role, path: &Path) -> String {
    format!("option '{}': {}", role.option(), path.display())
}
