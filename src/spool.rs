//! Request content while it comes in: in memory, then in shared memory, then in an unlinked file; and the room for
//! all that is spooled.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::disk::blocking;
use crate::semantics::message::Content;

/// Content up to this size stays in memory, though in a file's clothes (memfd).
const MEMORY: u64 = 1024 * 1024;

/// Memory that all such content may hold; when it is taken, content goes to disk at once.
const MEMORY_IN_ALL: u64 = 64 * 1024 * 1024;

/// Where what is too large for memory goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of its files.
    pub folder: Option<PathBuf>,
    /// Bytes that they may hold together; none: no limit.
    pub limit: Option<u64>,
}

/// Room for what is spooled, shared by all requests and responses.
#[derive(Debug)]
pub struct Room {
    settings: Settings,
    on_disk: Rc<Cell<u64>>,
    in_memory: Rc<Cell<u64>>,
}

impl Room {
    /// Room that is empty yet.
    pub fn new(settings: Settings) -> Self {
        Room {
            settings,
            on_disk: Rc::default(),
            in_memory: Rc::default(),
        }
    }

    /// A file on disk, for bytes that [`Room::disk`] has granted.
    pub(crate) fn file(&self) -> io::Result<File> {
        match &self.settings.folder {
            Some(folder) => unlinked_file(folder),
            None => Err(no_folder()),
        }
    }

    /// Refuses content of so many bytes if it never fits, however much is free.
    ///
    /// # Errors
    /// StorageFull.
    pub(crate) fn could_hold(&self, bytes: u64) -> io::Result<()> {
        match self.settings.limit {
            Some(limit) if bytes > limit.max(MEMORY) => {
                let text = format!("{bytes} bytes are more than option 'max_spool' allows");
                Err(io::Error::new(io::ErrorKind::StorageFull, text))
            }
            _ => Ok(()),
        }
    }

    /// Takes space for files.
    ///
    /// # Errors
    /// StorageFull where there is not so much left.
    pub(crate) fn disk(&self, bytes: u64) -> io::Result<Held> {
        if self.settings.folder.is_none() {
            return Err(no_folder());
        }
        let taken = self.on_disk.get().checked_add(bytes);
        if taken.is_none_or(|taken| self.settings.limit.is_some_and(|limit| taken > limit)) {
            let text = "the space that option 'max_spool' allows is taken";
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(Held::new(bytes, &self.on_disk))
    }

    fn memory(&self, bytes: u64) -> Option<Held> {
        (self.in_memory.get() + bytes <= MEMORY_IN_ALL).then(|| Held::new(bytes, &self.in_memory))
    }
}

/// Space that something holds, given back when it is gone.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: u64,
    of: Rc<Cell<u64>>,
}

impl Held {
    pub(crate) fn new(bytes: u64, of: &Rc<Cell<u64>>) -> Self {
        of.set(of.get() + bytes);
        Held {
            bytes,
            of: Rc::clone(of),
        }
    }

    /// Makes two of one.
    fn add(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.set(self.of.get() - self.bytes);
    }
}

#[derive(Debug)]
enum Place {
    Buffer(BytesMut),
    /// Memory that can be handed over as a descriptor.
    Memory(File, Held),
    Disk(Arc<File>, Held),
}

/// Room that a request's content holds, to be kept until the request is over.
#[derive(Debug)]
pub struct Kept {
    _held: Option<Held>,
}

/// Content on its way in.
#[derive(Debug)]
pub struct Spool {
    place: Place,
    length: u64,
    /// Content up to this size is kept as it is.
    inline: usize,
    room: Rc<Room>,
}

impl Spool {
    /// An empty spool: up to `inline` bytes are kept plain, what is large goes to a file.
    pub fn new(inline: usize, room: &Rc<Room>) -> Self {
        Spool {
            place: Place::Buffer(BytesMut::new()),
            length: 0,
            inline,
            room: Rc::clone(room),
        }
    }

    /// Bytes taken so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// When memory, descriptors, the disk or our room there are full.
    pub async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        let count = piece.len() as u64;
        let length = self.length + count;
        if let Place::Buffer(buffer) = &mut self.place {
            if length <= self.inline as u64 {
                buffer.extend_from_slice(&piece);
                self.length = length;
                return Ok(());
            }
            let written = Bytes::from(std::mem::take(buffer));
            self.place = match self.room.memory(self.length) {
                Some(held) => {
                    let name = c"gepok-content";
                    let mut memory = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
                    memory.write_all(&written)?;
                    Place::Memory(memory, held)
                }
                None => {
                    let held = self.room.disk(self.length)?;
                    let disk = Arc::new(self.room.file()?);
                    let to = Arc::clone(&disk);
                    blocking(move || to.write_all_at(&written, 0)).await?;
                    Place::Disk(disk, held)
                }
            };
        }
        if let Place::Memory(memory, held) = &mut self.place {
            let more = self.room.memory(count).filter(|_| length <= MEMORY);
            if let Some(more) = more {
                memory.write_all_at(&piece, self.length)?;
                held.add(more);
                self.length = length;
                return Ok(());
            }
            let held = self.room.disk(self.length)?;
            let disk = self.room.file()?;
            let memory = memory.try_clone()?;
            let written = self.length;
            let disk = blocking(move || {
                copy(&memory, &disk, written)?;
                Ok(disk)
            })
            .await?;
            self.place = Place::Disk(Arc::new(disk), held);
        }
        if let Place::Disk(disk, held) = &mut self.place {
            held.add(self.room.disk(count)?);
            let (disk, at) = (Arc::clone(disk), self.length);
            blocking(move || disk.write_all_at(&piece, at)).await?;
        }
        self.length = length;
        Ok(())
    }

    /// The content, complete, and the room it holds.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn finish(self) -> io::Result<(Content, Kept)> {
        let length = self.length;
        let (content, held) = match self.place {
            Place::Buffer(buffer) if buffer.is_empty() => (Content::Empty, None),
            Place::Buffer(buffer) => (Content::Inline(buffer.freeze()), None),
            Place::Memory(memory, held) => {
                let file = rewound(memory)?;
                (Content::File { file, length }, Some(held))
            }
            Place::Disk(disk, held) => {
                let file = rewound(Arc::try_unwrap(disk).or_else(|shared| shared.try_clone())?)?;
                (Content::File { file, length }, Some(held))
            }
        };
        Ok((content, Kept { _held: held }))
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

/// Whether files can be made in `folder`: better told at the start than to the first client who needs one.
///
/// # Errors
/// One sentence for the operator.
pub fn check(folder: &Path) -> io::Result<()> {
    unlinked_file(folder).map(drop)
}

fn no_folder() -> io::Error {
    let text = "there is no folder for content that is too large for memory (option 'spool_dir')";
    io::Error::new(io::ErrorKind::StorageFull, text)
}

/// A file without a name, readable by nobody else.
fn unlinked_file(folder: &Path) -> io::Result<File> {
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
        let room = Rc::new(in_folder(folder.path(), None));
        spooled_in(&room, pieces).await
    }

    async fn spooled_in(room: &Rc<Room>, pieces: &[usize]) -> (Vec<u8>, Content) {
        let mut spool = Spool::new(16, room);
        let mut all = Vec::new();
        for (index, &size) in pieces.iter().enumerate() {
            let piece: Vec<u8> = (0..size).map(|at| (at * 7 + index) as u8).collect();
            all.extend_from_slice(&piece);
            spool.push(piece.into()).await.unwrap();
        }
        assert_eq!(spool.length(), all.len() as u64);
        assert!(
            std::fs::read_dir(room.settings.folder.as_ref().unwrap())
                .unwrap()
                .next()
                .is_none(),
            "no name is left"
        );
        (all, spool.finish().unwrap().0)
    }

    fn in_folder(folder: &Path, limit: Option<u64>) -> Room {
        Room::new(Settings {
            folder: Some(folder.to_owned()),
            limit,
        })
    }

    fn is_whole(all: &[u8], content: Content) -> bool {
        let Content::File { file, length } = content else {
            panic!("not a file")
        };
        assert_eq!(length, all.len() as u64);
        let mut read = Vec::new();
        File::from(file).read_to_end(&mut read).unwrap();
        read == all
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
            assert!(is_whole(&all, content), "content differs for {pieces:?}");
        }
    }

    #[tokio::test]
    async fn room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), Some(3_000_000)));
        let held = |room: &Room| (room.in_memory.get(), room.on_disk.get());
        let mut spool = Spool::new(16, &room);
        spool.push(vec![0; 1000].into()).await.unwrap();
        assert_eq!(held(&room), (1000, 0));
        spool.push(vec![0; 2_000_000].into()).await.unwrap();
        assert_eq!(held(&room), (0, 2_001_000));
        let (_content, kept) = spool.finish().unwrap();
        assert_eq!(held(&room), (0, 2_001_000), "the request has not ended");

        let mut second = Spool::new(16, &room);
        second.push(vec![0; 17].into()).await.unwrap();
        let full = second.push(vec![0; 1_100_000].into()).await.unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        drop(second);
        drop(kept);
        assert_eq!(held(&room), (0, 0));
    }

    #[tokio::test]
    async fn where_memory_is_taken_content_goes_to_disk() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), None));
        let _taken = room.memory(MEMORY_IN_ALL - 100).unwrap();
        for pieces in [&[10, 90][..], &[90, 90, 90], &[10, 200, 200]] {
            let (all, content) = spooled_in(&room, pieces).await;
            assert!(is_whole(&all, content), "content differs for {pieces:?}");
        }
    }
}
