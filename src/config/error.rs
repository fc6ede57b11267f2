//! What is wrong with what an operator has written.

use std::fmt;

/// A mistake: one sentence without a line end. The exit status for it is 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// On the command line
    CommandLine(String),
    /// In an environment variable
    Variable {
        /// The variable
        name: String,
        /// What is wrong
        why: String,
    },
    /// In a configuration file
    File {
        /// The file, as it was named
        file: String,
        /// The line, from 1
        line: usize,
        /// What is wrong
        why: String,
    },
    /// The configuration file can't be read
    Unreadable {
        /// The file, as it was named
        file: String,
        /// Why
        why: String,
    },
}

impl Error {
    /// The line, where it is one of a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Error::File { line, .. } => Some(*line),
            Error::CommandLine(_) | Error::Variable { .. } | Error::Unreadable { .. } => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::CommandLine(why) => f.write_str(why),
            Error::Variable { name, why } => write!(f, "environment variable {name}: {why}"),
            Error::File { file, line, why } => write!(f, "{file}:{line}: {why}"),
            Error::Unreadable { file, why } => {
                write!(f, "option 'config': '{file}' can't be read: {why}")
            }
        }
    }
}

impl std::error::Error for Error {}
