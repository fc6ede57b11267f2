//! What is wrong with what an operator has written.

use std::fmt;

/// What reading options gives.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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
    /// What an option says, wherever that is
    Option {
        /// The option
        option: String,
        /// What is wrong
        why: String,
    },
    /// An option without another one
    Needs {
        /// The option
        option: &'static str,
        /// What is missing
        what: &'static str,
    },
    /// Options that are missing
    Missing(&'static str),
}

impl Error {
    /// What an option says is wrong.
    pub fn option(option: &str, why: impl Into<String>) -> Error {
        let (option, why) = (option.to_owned(), why.into());
        Error::Option { option, why }
    }

    /// What an environment variable says is wrong.
    pub fn variable(name: &str, why: impl Into<String>) -> Error {
        let (name, why) = (name.to_owned(), why.into());
        Error::Variable { name, why }
    }

    /// An option is of no use without another one.
    pub fn needs(option: &'static str, what: &'static str) -> Error {
        Error::Needs { option, what }
    }

    /// Whether it is about this option.
    pub fn names(&self, name: &str) -> bool {
        match self {
            Error::Option { option, .. } => option == name,
            Error::Needs { option, .. } => *option == name,
            _ => false,
        }
    }

    /// The line, where it is one of a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Error::File { line, .. } => Some(*line),
            Error::CommandLine(_)
            | Error::Variable { .. }
            | Error::Unreadable { .. }
            | Error::Option { .. }
            | Error::Needs { .. }
            | Error::Missing(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::CommandLine(why) => f.write_str(why),
            Error::Missing(why) => f.write_str(why),
            Error::Needs { option, what } => write!(f, "option '{option}' needs {what}"),
            Error::Option { option, why } => write!(f, "option '{option}': {why}"),
            Error::Variable { name, why } => write!(f, "environment variable {name}: {why}"),
            Error::File { file, line, why } => write!(f, "{file}:{line}: {why}"),
            Error::Unreadable { file, why } => {
                write!(f, "option 'config': '{file}' can't be read: {why}")
            }
        }
    }
}

impl std::error::Error for Error {}
