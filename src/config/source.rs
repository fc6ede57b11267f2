//! Where something was said.

use std::fmt;
use std::sync::Arc;

use super::error::Error;

/// Where an option was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On the command line
    Typed,
    /// In this environment variable
    Variable(String),
    /// In a configuration file
    File {
        /// The file, as it was named
        file: Arc<str>,
        /// The line, from 1
        line: usize,
    },
}

impl Source {
    /// A mistake that was made there.
    pub fn error(&self, why: String) -> Error {
        match self {
            Source::Typed => Error::CommandLine(why),
            Source::Variable(name) => Error::Variable {
                name: name.clone(),
                why,
            },
            Source::File { file, line } => Error::File {
                file: file.to_string(),
                line: *line,
                why,
            },
        }
    }
}

impl Source {
    /// The line, where it is one of a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Source::File { line, .. } => Some(*line),
            Source::Typed | Source::Variable(_) => None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Typed => f.write_str("typed"),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::File { file, line } => write!(f, "{file}:{line}"),
        }
    }
}
