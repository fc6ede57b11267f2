//! Log files on their way from the master to the core.

#![forbid(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

/// Log files, those of them that there are.
#[derive(Debug, Default)]
pub struct LogFiles {
    /// What the access log goes to.
    pub access: Option<OwnedFd>,
    /// What becomes standard error.
    pub errors: Option<OwnedFd>,
}

/// Which files come, in this order.
const ACCESS: u8 = 1;
const ERRORS: u8 = 2;

impl LogFiles {
    /// Which of them there are, as one byte, and their descriptors.
    pub(super) fn encode(&self) -> (u8, Vec<RawFd>) {
        let both = [(ACCESS, &self.access), (ERRORS, &self.errors)];
        let there = both.iter().filter(|(_, file)| file.is_some());
        let files = both.iter().filter_map(|(_, file)| file.as_ref());
        (
            there.map(|(flag, _)| flag).sum(),
            files.map(AsRawFd::as_raw_fd).collect(),
        )
    }

    /// The same on the other side; nothing where a file is missing.
    pub(super) fn decode(there: u8, files: Vec<OwnedFd>) -> Option<LogFiles> {
        let mut files = files.into_iter();
        let mut next = |flag| match there & flag {
            0 => Some(None),
            _ => files.next().map(Some),
        };
        Some(LogFiles {
            access: next(ACCESS)?,
            errors: next(ERRORS)?,
        })
    }
}
