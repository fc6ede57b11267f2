//! Why TLS can't be spoken with the files that the options name.

use std::error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use super::role::{Role, what};

/// An error of TLS. Its text is one sentence for the operator, which names option and file.
#[derive(Debug)]
pub enum Error {
    /// A file, or a folder of authorities, can't serve.
    File(Role, PathBuf, Flaw),
    /// A key has no certificate before it.
    KeyAlone,
    /// No certificate among those of the authorities can be used.
    NoAuthority,
    /// A revocation list can't be used: why.
    RevocationList(String),
    /// What is asked of client certificates can't be done.
    Verifier(Box<dyn error::Error + Send + Sync>),
    /// No certificate for development can be made.
    SelfSigned(Box<dyn error::Error + Send + Sync>),
    /// The library refuses the configuration.
    Library(tokio_rustls::rustls::Error),
    /// The thread that opens or reads the files has failed.
    Thread(&'static str, tokio::task::JoinError),
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum Flaw {
    /// It can't be opened or read.
    System(io::Error),
    /// It is longer than any such file.
    TooLarge,
    /// Its PEM ends too early.
    PemEnd,
    /// Its PEM is damaged: how.
    Pem(String),
    /// There is no certificate in it.
    NoCertificate,
    /// A certificate in it is damaged: how.
    Certificate(String),
    /// There is no private key in it.
    NoKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key can't be used.
    Key,
    /// The private key is not that of the certificate in this file.
    OtherKey(PathBuf),
    /// There is no revocation list in it.
    NoList,
    /// A revocation list in it is damaged: how.
    List(String),
    /// A revocation list in it is of version 1.
    ListVersion,
    /// No file is in the folder.
    NoFile,
    /// No file in the folder holds a certificate.
    NoCertificateInFolder,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(role, path, flaw) => write!(f, "{}: {flaw}", what(*role, path)),
            Error::KeyAlone => f.write_str("a key without a chain"),
            Error::NoAuthority => {
                f.write_str("no certificate among those of the authorities can be used")
            }
            Error::RevocationList(why) => write!(
                f,
                "client certificates can't be verified: option 'ssl_crl_file': a list can't be used: {why}"
            ),
            Error::Verifier(error) => {
                write!(f, "client certificates can't be verified: {error}")
            }
            Error::SelfSigned(error) => {
                write!(f, "can't make a certificate for development: {error}")
            }
            Error::Library(error) => error.fmt(f),
            Error::Thread(what, error) => write!(f, "{what} certificates failed: {error}"),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::System(error) => error.fmt(f),
            Flaw::TooLarge => f.write_str("it is too large for such a file"),
            Flaw::PemEnd => f.write_str("its PEM has no end"),
            Flaw::Pem(why) => write!(f, "its PEM is damaged: {why}"),
            Flaw::NoCertificate => f.write_str("there is no certificate in it"),
            Flaw::Certificate(why) => write!(f, "its certificate is damaged: {why}"),
            Flaw::NoKey => f.write_str("there is no private key in it"),
            Flaw::EncryptedKey => f.write_str(
                "the key is encrypted, and a server has nobody to ask for its passphrase \
                 (openssl pkey -in FILE -out FILE takes it off)",
            ),
            Flaw::Key => f.write_str(
                "the key is damaged or of a kind that is not supported: RSA of 2048 to 8192 bits, ECDSA on P-256, \
                 P-384 or P-521, or Ed25519",
            ),
            Flaw::OtherKey(chain) => write!(
                f,
                "the key does not belong to the certificate in {}",
                chain.display()
            ),
            Flaw::NoList => f.write_str("there is no revocation list in it"),
            Flaw::List(why) => write!(f, "its revocation list is damaged: {why}"),
            Flaw::ListVersion => f.write_str(
                "its revocation list is of version 1, which is not supported (with `crlnumber` in its \
                 configuration, openssl ca writes version 2)",
            ),
            Flaw::NoFile => f.write_str("there is no file in it"),
            Flaw::NoCertificateInFolder => f.write_str("no file in it holds a certificate"),
        }
    }
}

impl error::Error for Error {}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Flaw::System(error)
    }
}

impl From<tokio_rustls::rustls::Error> for Error {
    fn from(error: tokio_rustls::rustls::Error) -> Self {
        Error::Library(error)
    }
}
