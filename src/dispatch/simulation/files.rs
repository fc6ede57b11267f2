//! The files that requests and responses of one run carry. No other test has them open, so the descriptors of a run can be counted.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Files: enough to see that a response gets another's.
const COUNT: usize = 4;

/// What tells one file from all others.
type Identity = (u64, u64);

fn identity(metadata: std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// The files of a run. Their content does not matter: nothing reads it.
pub(super) struct Files(Vec<(File, Identity)>);

impl Files {
    pub(super) fn new() -> Self {
        let file = || {
            let file = File::from(memfd_create(c"simulated", MFdFlags::MFD_CLOEXEC).unwrap());
            let identity = identity(file.metadata().unwrap());
            (file, identity)
        };
        Files((0..COUNT).map(|_| file()).collect())
    }

    /// The file with the content of this response.
    pub(super) fn of(&self, token: u64) -> &File {
        &self.0[token as usize % COUNT].0
    }

    /// A descriptor of that file, for the content of a request.
    pub(super) fn copy(&self, token: u64) -> OwnedFd {
        self.of(token).try_clone().unwrap().into()
    }

    /// Whether a response has got its own file.
    pub(super) fn is_of(&self, token: u64, file: &File) -> bool {
        identity(file.metadata().unwrap()) == self.0[token as usize % COUNT].1
    }

    /// How many descriptors of these files this process has open, beside the run's own.
    pub(super) fn left_open(&self) -> usize {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        // Other tests open and close descriptors meanwhile.
        let open = open.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
        let ours = open
            .map(identity)
            .filter(|one| self.0.iter().any(|(_, ours)| ours == one));
        ours.count() - self.0.len()
    }
}
