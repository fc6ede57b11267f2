//! The options of Gepok: what was said, and what it means.
//!
//! ```text
//! Gepok->new(...), plackup ─ attributes ──────────┐
//! gepok [options] app.psgi ─ cli ───────┐         ├─ Options (as said) ─ Config (checked, defaults filled)
//! GEPOK_MAX_WORKERS=4 ────── variables ─┼─ said ──┘
//! --config site.toml ─────── file ──────┘
//! ```
//!
//! [`said`] decides which of several places counts, and remembers it for messages and for `gepok check --print`.
//!
//! One [`table`] defines every option; the readers [`attributes`] and [`cli`] and the texts [`help`] and [`pod`] are
//! made of it. To add an option: one entry in a file of `table/`, one field in [`Options`].
//! Of Gepok it knows only the types of what it reads (`semantics`, `coding`), and makes no system call.

#![forbid(unsafe_code)]

pub(crate) mod address;
pub mod attributes;
pub mod cli;
pub(crate) mod command;
pub mod error;
pub mod file;
pub(crate) mod help;
pub mod options;
#[cfg(test)]
mod pod;
pub mod resolved;
pub mod said;
pub(crate) mod shown;
pub(crate) mod socket_activation;
pub mod source;
pub mod sources;
pub mod table;
mod value;
pub mod variables;
pub mod vhost;
mod vhosts;

pub use options::Options;
pub use resolved::Config;

/// Gepok's version as Perl writes it: `$Gepok::VERSION`, and the default of `product_version`.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION_MAJOR"),
    ".",
    env!("CARGO_PKG_VERSION_MINOR")
);

/// What a reader has understood: the options, and a sentence for each thing that deserves a warning.
#[derive(Debug)]
pub struct ParsedOptions {
    /// The options, defaults included.
    pub options: Options,
    /// One line each, without a line end, for standard error.
    pub warnings: Vec<String>,
}
