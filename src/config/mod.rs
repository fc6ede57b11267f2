//! The options of Gepok: what was said, and what it means.
//!
//! ```text
//! Gepok->new(...), plackup ─ attributes ─┐
//!                                        ├─ Options (as said) ─ Config (checked, defaults filled)
//! gepok [options] app.psgi ── cli ───────┘
//! ```
//!
//! One [`table`] defines every option; the readers [`attributes`] and [`cli`] and the texts [`help`] and [`pod`] are
//! made of it. To add an option: one entry in a file of `table/`, one field in [`Options`].
//! Knows nothing else of Gepok, and makes no system call.

#![forbid(unsafe_code)]

pub(crate) mod address;
pub mod attributes;
pub mod cli;
pub(crate) mod command;
pub(crate) mod help;
pub mod options;
#[cfg(test)]
mod pod;
pub mod resolved;
pub(crate) mod socket_activation;
pub mod table;

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
