//! Content that its client has not taken yet: in memory, then in an unlinked file, then in its worker.
//!
//! A worker is free as soon as the backlog holds its response. Each byte is credited to the worker once: when
//! memory takes it, when it is on disk, or, where both are full, when the client takes it.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::event::{Event, Piece};
use super::memory::{Memory, Reservation};
use crate::body::FileSlice;
use crate::channel::Chunk;
use crate::disk;
use crate::share::{Holder, Taken};
use crate::spool::{self, Room};

/// Disk space for one response, as nginx has it (proxy_max_temp_file_size); past it the worker waits.
const DISK: u64 = 1024 * 1024 * 1024;

/// From this size on the next piece goes to a new file: the old one gives its space back with its last piece.
const SEGMENT: u64 = 64 * 1024 * 1024;

/// Pieces up to this size are gathered while their client takes its time ...
const SMALL: usize = 4 * 1024;

/// ... and make one of this size at most.
const GATHER: usize = 64 * 1024;

/// A part of a response in its queue.
#[derive(Debug)]
pub(super) enum Part {
    /// What can be taken as it is, and what its taking credits to the worker.
    Event(Event, u64),
    Stored(Rc<Stored>),
}

impl Part {
    /// Copies content out of the shared memory. What goes to the disk has been copied before.
    pub(super) fn make_owned(&mut self) {
        if let Part::Event(Event::Chunk(piece), _) = self {
            piece.chunk.make_owned();
        }
    }

    /// The event, and what is to be credited now.
    pub(super) fn take(self) -> (Event, u64) {
        match self {
            Part::Event(event, credit) => (event, credit),
            Part::Stored(stored) => stored.take(),
        }
    }
}

impl Piece {
    /// Appends a small piece. Returns whether it has.
    fn append(&mut self, content: &Chunk) -> bool {
        let appended = content.len() <= SMALL && self.chunk.append(content, GATHER);
        if let (true, Some(held)) = (appended, &mut self._held) {
            held.grow(content.len() as u64);
        }
        appended
    }
}

/// Content on its way to the disk.
#[derive(Debug)]
pub(super) struct Stored(RefCell<Storage>);

#[derive(Debug)]
enum Storage {
    /// Not yet written, or being written.
    Memory(Piece),
    Disk(FileSlice),
    Taken,
}

impl Stored {
    fn take(&self) -> (Event, u64) {
        match self.0.replace(Storage::Taken) {
            // Its client was quicker than the disk.
            Storage::Memory(piece) => {
                let credit = piece.len() as u64;
                (Event::Chunk(piece), credit)
            }
            Storage::Disk(slice) => (Event::File(slice), 0),
            Storage::Taken => {
                let (chunk, _held) = (Bytes::new().into(), None);
                (Event::Chunk(Piece { chunk, _held }), 0)
            }
        }
    }
}

/// The newest file of one response, and what waits to be written to it.
///
/// No place in it is written twice: sendfile gives a socket the file's own pages, so that bytes which the client has not
/// read yet would change even though they count as sent.
#[derive(Debug, Default)]
struct Spill {
    file: Option<Arc<File>>,
    /// Where the next piece goes.
    end: u64,
    waiting: VecDeque<Rc<Stored>>,
    writing: bool,
}

/// The backlog of one response.
#[derive(Debug)]
pub(super) struct Backlog {
    /// Made when it is first wanted: a request that waits for its response holds none.
    memory: OnceCell<Rc<Memory>>,
    /// Memory that it is a part of.
    within: Rc<Memory>,
    /// Its share of the disk: what is there, or on its way, and not yet sent.
    on_disk: OnceCell<Rc<Holder>>,
    spill: RefCell<Spill>,
    room: Rc<Room>,
    /// Whose share it is.
    client: Option<IpAddr>,
    /// Credit that is too small for a frame of its own.
    pub(super) owed: Cell<u64>,
    /// Bytes that the worker has sent and that were not credited.
    pub(super) ahead: Cell<u64>,
}

impl Backlog {
    pub(super) fn new(within: &Rc<Memory>, room: &Rc<Room>, client: Option<IpAddr>) -> Self {
        Backlog {
            memory: OnceCell::new(),
            within: Rc::clone(within),
            on_disk: OnceCell::new(),
            spill: RefCell::default(),
            room: Rc::clone(room),
            client,
            owed: Cell::new(0),
            ahead: Cell::new(0),
        }
    }

    /// Takes a piece of content: the part to queue, what is credited at once, and whether [`Self::write`] must run.
    pub(super) fn accept(&self, mut content: Chunk) -> (Part, u64, bool) {
        let length = content.len() as u64;
        let fits = self.memory().fits(length);
        if !fits {
            // It may wait for the disk.
            content.make_owned();
        }
        let piece = Piece {
            chunk: content,
            _held: Some(Reservation::new(length, self.memory())),
        };
        let mut spill = self.spill.borrow_mut();
        if !fits && self.on_disk().held() + length <= DISK {
            let stored = Rc::new(Stored(RefCell::new(Storage::Memory(piece))));
            spill.waiting.push_back(Rc::clone(&stored));
            let start = !mem::replace(&mut spill.writing, true);
            return (Part::Stored(stored), 0, start);
        }
        let (now, later) = if fits { (length, 0) } else { (0, length) };
        (Part::Event(Event::Chunk(piece), later), now, false)
    }

    /// Appends content to a part that waits, if both are small, since each part costs memory and a write of its own. Returns what
    /// is credited now, or nothing where it is to be a part by itself.
    pub(super) fn gather(&self, last: &mut Part, content: &Chunk) -> Option<u64> {
        let length = content.len() as u64;
        let fits = self.memory().fits(length);
        match last {
            Part::Event(Event::Chunk(piece), later) if fits == (*later == 0) => {
                let (now, then) = if fits { (length, 0) } else { (0, length) };
                piece.append(content).then(|| {
                    *later += then;
                    now
                })
            }
            Part::Stored(stored) => match &mut *stored.0.borrow_mut() {
                Storage::Memory(piece) => piece.append(content).then_some(0),
                Storage::Disk(_) | Storage::Taken => None,
            },
            Part::Event(..) => None,
        }
    }

    fn memory(&self) -> &Rc<Memory> {
        self.memory
            .get_or_init(|| Memory::of_response(&self.within))
    }

    /// Whether it would be worth while to cut it: it holds room on the disk, or memory that should be there.
    pub(super) fn holds_much(&self) -> bool {
        self.on_disk.get().is_some()
    }

    /// Writes what waits, in order; calls `credit` for each piece that is on the disk.
    ///
    /// # Errors
    /// When a piece can't be written. It stays in memory, and what comes after it waits for the next call.
    pub(super) async fn write(&self, credit: impl Fn(u64)) -> io::Result<()> {
        while let Some((stored, content)) = self.next_waiting() {
            let length = content.len() as u64;
            // While this copy is there, nothing is appended to the piece.
            let (file, offset, space) = self.write_piece(content.clone()).await?;
            self.spill.borrow_mut().waiting.pop_front();
            let mut place = stored.0.borrow_mut();
            drop(content);
            if matches!(*place, Storage::Memory(_)) {
                let slice = FileSlice::new(file, offset, length).holding(space);
                *place = Storage::Disk(slice);
                drop(place);
                credit(length);
            }
        }
        self.spill.borrow_mut().writing = false;
        Ok(())
    }

    /// The next piece that waits for the disk. One that the client has taken already, or that nobody wants any more, does not.
    fn next_waiting(&self) -> Option<(Rc<Stored>, Bytes)> {
        let waiting = &mut self.spill.borrow_mut().waiting;
        while let Some(stored) = waiting.front() {
            if Rc::strong_count(stored) > 1
                && let Storage::Memory(piece) = &*stored.0.borrow()
            {
                return Some((Rc::clone(stored), piece.chunk.to_bytes()));
            }
            waiting.pop_front();
        }
        None
    }

    fn on_disk(&self) -> &Rc<Holder> {
        self.on_disk.get_or_init(|| self.room.response(self.client))
    }

    async fn write_piece(&self, content: Bytes) -> io::Result<(Arc<File>, u64, Taken)> {
        let space = self.on_disk().take(content.len() as u64);
        let space = space.ok_or_else(spool::taken)?;
        let (file, offset) = {
            let mut spill = self.spill.borrow_mut();
            if spill.end >= SEGMENT {
                spill.file = None;
                spill.end = 0;
            }
            let file = match &spill.file {
                Some(file) => Arc::clone(file),
                None => {
                    let file = Arc::new(self.room.file()?);
                    spill.file = Some(Arc::clone(&file));
                    file
                }
            };
            let offset = spill.end;
            spill.end += content.len() as u64;
            (file, offset)
        };
        let to = Arc::clone(&file);
        disk::blocking(move || to.write_all_at(&content, offset)).await?;
        Ok((file, offset, space))
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::OF_RESPONSE;
    use super::*;
    use crate::spool;

    /// A backlog whose memory is full, so that every further piece goes to its file.
    fn full(folder: &std::path::Path) -> (Backlog, Part) {
        let room = Rc::new(Room::new(spool::Settings {
            folder: Some(folder.to_owned()),
            limit: None,
        }));
        let backlog = Backlog::new(&Memory::of_all(), &room, None);
        let (part, _, _) = backlog.accept(Bytes::from(vec![0; OF_RESPONSE as usize]).into());
        (backlog, part)
    }

    async fn stored(backlog: &Backlog, piece: Vec<u8>) -> FileSlice {
        let length = piece.len() as u64;
        let (part, now, start) = backlog.accept(Bytes::from(piece).into());
        assert!(now == 0 && start, "the piece is not for the disk");
        let credited = Cell::new(0);
        backlog.write(|amount| credited.set(amount)).await.unwrap();
        assert_eq!(credited.get(), length);
        match part.take() {
            (Event::File(slice), 0) => slice,
            (event, credit) => panic!("{event:?} and credit of {credit}"),
        }
    }

    #[test]
    fn small_pieces_become_one_and_are_counted() {
        let room = Rc::new(Room::new(spool::Settings {
            folder: None,
            limit: None,
        }));
        let backlog = Backlog::new(&Memory::of_all(), &room, None);
        let (mut part, now, _) = backlog.accept(Bytes::from(vec![b'a'; 10]).into());
        assert_eq!(now, 10);
        for _ in 0..1000 {
            assert_eq!(
                backlog.gather(&mut part, &Bytes::from_static(b"b").into()),
                Some(1)
            );
        }
        assert_eq!(
            backlog.gather(&mut part, &Bytes::from(vec![0; SMALL + 1]).into()),
            None
        );
        assert_eq!(backlog.within.held(), 1010);
        let (event, credit) = part.take();
        assert!(matches!(&event, Event::Chunk(piece) if piece.len() == 1010));
        assert_eq!(credit, 0);
        drop(event);
        assert_eq!(backlog.within.held(), 0);
    }

    #[tokio::test]
    async fn pieces_that_wait_for_the_disk_are_written_together() {
        let folder = tempfile::tempdir().unwrap();
        let (backlog, _memory) = full(folder.path());
        let (mut part, _, start) = backlog.accept(Bytes::from(vec![1; 10]).into());
        assert!(start);
        assert_eq!(
            backlog.gather(&mut part, &Bytes::from(vec![2; 10]).into()),
            Some(0)
        );
        let credited = Cell::new(0);
        let count = |amount| credited.set(credited.get() + amount);
        backlog.write(count).await.unwrap();
        assert_eq!(credited.get(), 20, "once, when it is on the disk");
        assert_eq!(
            backlog.gather(&mut part, &Bytes::from(vec![3; 10]).into()),
            None
        );
        let (event, _) = part.take();
        assert!(matches!(event, Event::File(slice) if slice.length == 20));
    }

    #[tokio::test]
    async fn what_was_sent_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (backlog, _memory) = full(folder.path());
        let slice = stored(&backlog, vec![1; 1000]).await;
        let (file, offset) = (Arc::clone(&slice.file), slice.offset);
        // Sent as far as we know, but a socket may still refer to the file's pages.
        drop(slice);
        stored(&backlog, vec![2; 1000]).await;
        let mut bytes = [0; 1000];
        file.read_exact_at(&mut bytes, offset).unwrap();
        assert_eq!(bytes, [1; 1000]);
    }

    #[tokio::test]
    async fn what_is_being_written_is_still_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (backlog, part) = full(folder.path());
        let (event, _) = part.take();
        assert_eq!(backlog.within.held(), OF_RESPONSE);
        let (late, _, _) = backlog.accept(Bytes::from(vec![0; 1000]).into());
        assert_eq!(
            backlog.within.held(),
            OF_RESPONSE + 1000,
            "it waits for the disk"
        );
        drop((event, late.take()));
        assert_eq!(backlog.within.held(), 0);
    }

    #[tokio::test]
    async fn an_endless_response_gives_its_disk_space_back() {
        let folder = tempfile::tempdir().unwrap();
        let (backlog, _memory) = full(folder.path());
        let piece = 8 * 1024 * 1024;
        // The client is always one piece behind: there is no moment at which all was sent.
        let mut before = stored(&backlog, vec![0; piece]).await;
        let first = Arc::downgrade(&before.file);
        for _ in 0..SEGMENT / piece as u64 {
            let next = stored(&backlog, vec![0; piece]).await;
            assert!(next.offset + next.length <= SEGMENT + piece as u64);
            before = next;
        }
        assert!(first.upgrade().is_none(), "the first file is still there");
        drop(before);
    }
}
