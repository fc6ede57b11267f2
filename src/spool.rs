//! Request content while it comes in: in memory, then in shared memory, then in an unlinked file.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::semantics::message::Content;

/// Content up to this size stays in memory, though in a file's clothes (memfd).
const MEMORY: u64 = 1024 * 1024;

#[derive(Debug)]
enum Held {
    Buffer(BytesMut),
    /// Memory that can be handed over as a descriptor.
    Memory(File),
    Disk(Arc<File>),
}

/// Content on its way in.
#[derive(Debug)]
pub struct Spool {
    held: Held,
    length: u64,
    /// Content up to this size is kept as it is.
    inline: usize,
    folder: PathBuf,
}

impl Spool {
    /// An empty spool: up to `inline` bytes are kept plain, what is large goes to a file in `folder`.
    pub fn new(inline: usize, folder: &Path) -> Self {
        let held = Held::Buffer(BytesMut::new());
        Spool {
            held,
            length: 0,
            inline,
            folder: folder.to_owned(),
        }
    }

    /// Bytes taken so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// When memory, descriptors or the disk are full.
    pub async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        let length = self.length + piece.len() as u64;
        if let Held::Buffer(buffer) = &mut self.held {
            if length <= self.inline as u64 {
                buffer.extend_from_slice(&piece);
                self.length = length;
                return Ok(());
            }
            let name = c"gepok-content";
            let mut memory = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
            memory.write_all(buffer)?;
            self.held = Held::Memory(memory);
        }
        if let Held::Memory(memory) = &mut self.held {
            if length <= MEMORY {
                memory.write_all_at(&piece, self.length)?;
                self.length = length;
                return Ok(());
            }
            let disk = unlinked_file(&self.folder)?;
            let memory = memory.try_clone()?;
            let written = self.length;
            let disk = blocking(move || {
                copy(&memory, &disk, written)?;
                Ok(disk)
            })
            .await?;
            self.held = Held::Disk(Arc::new(disk));
        }
        if let Held::Disk(disk) = &self.held {
            let (disk, at) = (Arc::clone(disk), self.length);
            blocking(move || disk.write_all_at(&piece, at)).await?;
        }
        self.length = length;
        Ok(())
    }

    /// The content, complete.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn finish(self) -> io::Result<Content> {
        let length = self.length;
        Ok(match self.held {
            Held::Buffer(buffer) if buffer.is_empty() => Content::Empty,
            Held::Buffer(buffer) => Content::Inline(buffer.freeze()),
            Held::Memory(memory) => Content::File {
                file: rewound(memory)?,
                length,
            },
            Held::Disk(disk) => Content::File {
                file: rewound(Arc::try_unwrap(disk).or_else(|shared| shared.try_clone())?)?,
                length,
            },
        })
    }
}

/// The offset is shared by all who hold the descriptor: it must stand at the start for the app.
fn rewound(file: File) -> io::Result<OwnedFd> {
    io::Seek::rewind(&mut &file)?;
    Ok(file.into())
}

fn copy(from: &File, to: &File, length: u64) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    let mut at = 0;
    while at < length {
        let count = from.read_at(&mut piece, at)?;
        to.write_all_at(&piece[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

/// Runs `work` on a thread of its own: disks are slow, and the loop goes on meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

/// A file without a name, readable by nobody else.
pub(crate) fn unlinked_file(folder: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    let unnamed = options.clone().custom_flags(libc::O_TMPFILE).open(folder);
    match unnamed {
        // File systems without O_TMPFILE.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let (file, path) = nix::unistd::mkstemp(&folder.join("gepok-XXXXXX"))?;
            std::fs::remove_file(path)?;
            Ok(file.into())
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    async fn spooled(pieces: &[usize]) -> (Vec<u8>, Content) {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(16, folder.path());
        let mut all = Vec::new();
        for (index, &size) in pieces.iter().enumerate() {
            let piece: Vec<u8> = (0..size).map(|at| (at * 7 + index) as u8).collect();
            all.extend_from_slice(&piece);
            spool.push(piece.into()).await.unwrap();
        }
        assert_eq!(spool.length(), all.len() as u64);
        assert!(
            std::fs::read_dir(folder.path()).unwrap().next().is_none(),
            "no name is left"
        );
        (all, spool.finish().unwrap())
    }

    #[tokio::test]
    async fn small_content_stays_plain() {
        assert!(matches!(spooled(&[]).await.1, Content::Empty));
        let (all, content) = spooled(&[10, 6]).await;
        assert!(matches!(content, Content::Inline(bytes) if bytes == all));
    }

    #[tokio::test]
    async fn larger_content_is_a_file_at_its_start_and_whole() {
        for pieces in [&[10, 7][..], &[1000; 40], &[300_000; 5], &[2_000_000, 1]] {
            let (all, content) = spooled(pieces).await;
            let Content::File { file, length } = content else {
                panic!("not a file")
            };
            assert_eq!(length, all.len() as u64);
            let mut read = Vec::new();
            File::from(file).read_to_end(&mut read).unwrap();
            assert!(read == all, "content differs for {pieces:?}");
        }
    }
}
