//! Request content while it comes in: in memory, then in shared memory, then in an unlinked file; and the room for
//! all that is spooled.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::disk::blocking;
use crate::semantics::message::Content;
use crate::share::{Holder, Pool, Taken};

/// Content up to this size stays in memory, though in a file's clothes (memfd).
const MEMORY: u64 = 1024 * 1024;

/// Memory that all such content may hold; when it is taken, content goes to disk at once.
const MEMORY_IN_ALL: u64 = 64 * 1024 * 1024;

/// Memory that heads which have come in part, and requests that are not answered yet, may have in all.
const HEADS: u64 = 64 * 1024 * 1024;

/// Pieces of content are gathered up to this size before a thread writes them to the disk.
const GATHER: usize = 64 * 1024;

/// And up to this size before they are copied to shared memory.
const GATHER_IN_MEMORY: usize = 16 * 1024;

/// Where what is too large for memory goes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of its files.
    pub folder: Option<PathBuf>,
    /// Bytes that they may hold together, half of it for requests and half for responses; none: no limit.
    pub limit: Option<u64>,
}

/// Room for what waits: for content that comes in, for responses that their clients take slowly, and for requests. Nobody gets
/// more of it than a share ([`Pool`]).
#[derive(Debug)]
pub struct Room {
    folder: Option<PathBuf>,
    /// Files of requests' content: half of the limit.
    requests: Rc<Pool>,
    /// Files of responses: the other half.
    responses: Rc<Pool>,
    /// Content of requests that is kept in memory.
    content: Rc<Pool>,
    heads: Rc<Pool>,
}

impl Room {
    /// Room that is empty yet.
    pub fn new(settings: Settings) -> Self {
        let half = settings.limit.map(|limit| limit / 2);
        Room {
            folder: settings.folder,
            requests: Pool::new(half),
            responses: Pool::new(half),
            content: Pool::new(Some(MEMORY_IN_ALL)),
            heads: Pool::new(Some(HEADS)),
        }
    }

    /// Memory for heads that have come in part, and for requests that are not answered yet.
    pub fn heads(&self) -> &Rc<Pool> {
        &self.heads
    }

    /// A file on disk, for bytes that were taken of a share before.
    pub(crate) fn file(&self) -> io::Result<File> {
        match &self.folder {
            Some(folder) => unlinked_file(folder),
            None => Err(no_folder()),
        }
    }

    /// A share of the files of responses.
    pub(crate) fn response(&self, client: Option<IpAddr>) -> Rc<Holder> {
        self.responses.holder(client)
    }

    /// Refuses content of this many bytes if it never fits, however much is free.
    ///
    /// # Errors
    /// StorageFull.
    pub(crate) fn could_hold(&self, bytes: u64) -> io::Result<()> {
        match self.requests.largest_share() {
            Some(most) if bytes > most.max(MEMORY) => Err(full(format!(
                "{bytes} bytes are more than one request may have of option 'max_spool': a quarter, {most} bytes"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses content of this length if there is no room for it now.
    ///
    /// # Errors
    /// StorageFull.
    pub(crate) fn has_room(&self, bytes: u64, client: Option<IpAddr>) -> io::Result<()> {
        self.could_hold(bytes)?;
        match bytes <= MEMORY || self.requests.holder(client).may_take(bytes) {
            true => Ok(()),
            false => Err(taken()),
        }
    }
}

fn full(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, text)
}

/// Somebody's share is used up.
pub(crate) fn taken() -> io::Error {
    full("its share of the space that option 'max_spool' allows is taken".to_owned())
}

#[derive(Debug)]
enum Place {
    /// Plain, and small.
    Buffer,
    /// Memory that can be handed over as a descriptor.
    Memory(File, Taken),
    Disk(Arc<File>, Taken),
}

/// Room that a request's content holds, to be kept until the request is over.
#[derive(Debug)]
pub struct Reserved {
    _held: Option<Taken>,
}

/// Content on its way in.
#[derive(Debug)]
pub struct Spool {
    place: Place,
    /// Bytes there.
    written: u64,
    /// What has come after them: small pieces are gathered.
    buffer: BytesMut,
    /// Content up to this size is kept as it is.
    inline: usize,
    room: Rc<Room>,
    client: Option<IpAddr>,
}

impl Spool {
    /// An empty spool: up to `inline` bytes are kept plain, what is large goes to a file.
    pub fn new(inline: usize, room: &Rc<Room>, client: Option<IpAddr>) -> Self {
        Spool {
            place: Place::Buffer,
            written: 0,
            buffer: BytesMut::new(),
            inline,
            room: Rc::clone(room),
            client,
        }
    }

    /// Bytes taken so far.
    pub fn length(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Takes a piece of content.
    ///
    /// # Errors
    /// When memory, descriptors, the disk or our room there are full.
    pub async fn push(&mut self, piece: Bytes) -> io::Result<()> {
        if self.buffer.len() + piece.len() > self.gathers() {
            let buffered = self.buffer.split().freeze();
            self.write(buffered).await?;
            if piece.len() >= self.gathers() {
                return self.write(piece).await;
            }
        }
        self.buffer.extend_from_slice(&piece);
        Ok(())
    }

    /// Up to which size pieces are gathered.
    fn gathers(&self) -> usize {
        match self.place {
            Place::Buffer => self.inline,
            Place::Memory(..) => GATHER_IN_MEMORY,
            Place::Disk(..) => GATHER,
        }
    }

    /// Writes a piece to its place, and moves to a larger one where it does not fit.
    async fn write(&mut self, piece: Bytes) -> io::Result<()> {
        if piece.is_empty() {
            return Ok(());
        }
        let count = piece.len() as u64;
        let length = self.written + count;
        if let Place::Buffer = self.place {
            let memory = memfd_create(c"gepok-content", MFdFlags::MFD_CLOEXEC)?;
            let held = Taken::nothing(&self.room.content.holder(None));
            self.place = Place::Memory(memory.into(), held);
        }
        if let Place::Memory(memory, held) = &mut self.place {
            if length <= MEMORY && held.grow(count) {
                memory.write_all_at(&piece, self.written)?;
                self.written = length;
                return Ok(());
            }
            let memory = memory.try_clone()?;
            self.place = self.on_disk()?;
            if let Place::Disk(disk, held) = &mut self.place {
                grow(held, self.written)?;
                let (disk, written) = (Arc::clone(disk), self.written);
                blocking(move || copy(&memory, &disk, written)).await?;
            }
        }
        if let Place::Disk(disk, held) = &mut self.place {
            grow(held, count)?;
            let (disk, at) = (Arc::clone(disk), self.written);
            blocking(move || disk.write_all_at(&piece, at)).await?;
        }
        self.written = length;
        Ok(())
    }

    /// An empty file on disk.
    fn on_disk(&self) -> io::Result<Place> {
        let disk = self.room.file()?;
        let held = Taken::nothing(&self.room.requests.holder(self.client));
        Ok(Place::Disk(Arc::new(disk), held))
    }

    /// The content, complete, and the room it holds.
    ///
    /// # Errors
    /// When descriptors, the disk or our room there are full.
    pub async fn finish(mut self) -> io::Result<(Content, Reserved)> {
        let rest = self.buffer.split().freeze();
        if !matches!(self.place, Place::Buffer) {
            self.write(rest.clone()).await?;
        }
        let length = self.written;
        let (file, held) = match self.place {
            Place::Buffer if rest.is_empty() => {
                return Ok((Content::Empty, Reserved { _held: None }));
            }
            Place::Buffer => return Ok((Content::Inline(rest), Reserved { _held: None })),
            Place::Memory(memory, held) => (memory, held),
            Place::Disk(disk, held) => (
                Arc::try_unwrap(disk).or_else(|shared| shared.try_clone())?,
                held,
            ),
        };
        let file = rewound(file)?;
        Ok((
            Content::File { file, length },
            Reserved { _held: Some(held) },
        ))
    }
}

fn grow(held: &mut Taken, bytes: u64) -> io::Result<()> {
    match held.grow(bytes) {
        true => Ok(()),
        false => Err(taken()),
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

/// Whether files can be made in `folder`: better found at the start than by the first client that needs one.
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
        let mut spool = Spool::new(16, room, None);
        let mut all = Vec::new();
        for (index, &size) in pieces.iter().enumerate() {
            let piece: Vec<u8> = (0..size).map(|at| (at * 7 + index) as u8).collect();
            all.extend_from_slice(&piece);
            spool.push(piece.into()).await.unwrap();
        }
        assert_eq!(spool.length(), all.len() as u64);
        assert!(
            std::fs::read_dir(room.folder.as_ref().unwrap())
                .unwrap()
                .next()
                .is_none(),
            "no name is left"
        );
        (all, spool.finish().await.unwrap().0)
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
    async fn pieces_of_one_byte_are_gathered() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), None));
        let mut spool = Spool::new(16, &room, None);
        spool.push(vec![0; 2_000_000].into()).await.unwrap();
        for _ in 0..GATHER {
            spool.push(Bytes::from_static(b"x")).await.unwrap();
        }
        assert_eq!(spool.written, 2_000_000, "nothing was written for them");
        spool.push(Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(spool.written, 2_000_000 + GATHER as u64);
        assert_eq!(spool.length(), spool.written + 1);
    }

    #[tokio::test]
    async fn room_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), Some(12_000_000)));
        let free = |room: &Room| room.requests.holder(None).may_take(3_000_000);
        let mut spool = Spool::new(16, &room, None);
        spool.push(vec![0; 2_001_000].into()).await.unwrap();
        let (_content, kept) = spool.finish().await.unwrap();
        assert!(!free(&room), "the request has not ended");

        let mut second = Spool::new(16, &room, None);
        second.push(vec![0; 17].into()).await.unwrap();
        let full = second.push(vec![0; 2_100_000].into()).await.unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        drop(second);
        drop(kept);
        assert!(free(&room));
    }

    #[tokio::test]
    async fn what_would_never_fit_or_does_not_now_is_refused_before_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), Some(16 << 20)));
        assert!(room.could_hold(4 << 20).is_ok());
        assert!(room.could_hold((4 << 20) + 1).is_err(), "a quarter");
        let mut spool = Spool::new(16, &room, None);
        spool.push(vec![0; 4 << 20].into()).await.unwrap();
        assert!(room.has_room(2 << 20, None).is_ok());
        assert!(room.has_room(3 << 20, None).is_err());
        assert!(room.has_room(MEMORY, None).is_ok(), "it stays in memory");
    }

    #[tokio::test]
    async fn where_memory_is_taken_content_goes_to_disk() {
        let folder = tempfile::tempdir().unwrap();
        let room = Rc::new(in_folder(folder.path(), None));
        let holders = [(); 40].map(|()| room.content.holder(None));
        let taken: Vec<_> = std::iter::repeat_with(|| holders.iter().find_map(|h| h.take(50)))
            .map_while(|taken| taken)
            .collect();
        for pieces in [&[10, 90][..], &[90, 90, 90], &[10, 2_000_000, 200]] {
            let (all, content) = spooled_in(&room, pieces).await;
            assert!(is_whole(&all, content), "content differs for {pieces:?}");
        }
        drop(taken);
    }
}
