//! Content codings that make content smaller (RFC 9110 section 8.4.1): gzip, brotli and zstd.

#![forbid(unsafe_code)]

mod encoder;
mod types;

pub use self::encoder::{Effort, Encoder};
pub use self::types::{Types, shrinks};

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Brotli (RFC 7932)
    Brotli,
    /// Zstandard (RFC 8878)
    Zstd,
    /// RFC 1952
    Gzip,
}

impl Coding {
    /// All, the one with the smallest results first.
    pub const ALL: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

    /// Its name in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
            Coding::Gzip => "gzip",
        }
    }

    /// The ending of names of files that have it.
    pub fn ending(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Zstd => ".zst",
            Coding::Gzip => ".gz",
        }
    }

    /// The coding of this name.
    pub fn named(name: &str) -> Option<Self> {
        Coding::ALL.into_iter().find(|coding| coding.name() == name)
    }
}

/// Which content is compressed while it is sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The codings, the server's favourite first.
    pub codings: Vec<Coding>,
    /// The media types.
    pub types: Types,
    /// The least length, where it is known.
    pub min_length: u64,
}
