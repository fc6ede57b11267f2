//! What a look-up below a directory may follow, and why it fails.

use std::io;

use nix::errno::Errno;

/// Which symbolic links below a root are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// None
    None,
    /// Those whose owner has what they lead to, inside the root
    Owner,
    /// Those that lead to something inside the root
    #[default]
    Inside,
    /// All, wherever they lead
    Follow,
}

/// Why nothing was opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is nothing of that name that can be sent
    Missing,
    /// It may not be read
    Forbidden,
    /// A symbolic link that is not followed is in the way
    Link,
    /// It needs a disk
    Wait,
    /// The system can't, for now
    Failed(io::Error),
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match errno {
            // ENXIO: a socket's name, or a device that is not there.
            Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG | Errno::ENXIO | Errno::ENODEV => {
                Refusal::Missing
            }
            Errno::EACCES | Errno::EPERM => Refusal::Forbidden,
            Errno::ELOOP | Errno::EXDEV => Refusal::Link,
            errno => Refusal::Failed(errno.into()),
        }
    }
}
