//! The scoreboard as a file (`scoreboard_path`), in the form that Gepok 0.292 documents, for programs that read that.
//!
//! It is written by pwrite and never mapped: truncating it harms no process of the server. A lock tells that its server
//! lives, so that no two write to one file.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use nix::unistd::{Gid, Uid};

use super::{BORN, Board, PID, SERVED, SINCE, STATE, WorkerState, lives, record_of};
use crate::files;
use crate::lock;

/// Bytes of a record: pack("NNSNNCC", pid, child_start, num_reqs, req_start, mtime, ord state, 0).
const BYTES: usize = 20;

/// A scoreboard file that is ours.
#[derive(Debug)]
pub struct BoardFile {
    path: PathBuf,
    file: File,
    /// How many records it has.
    records: usize,
}

impl BoardFile {
    /// Makes the file, with this many free records; one that another server has left is taken over. Nothing where a server
    /// that runs has it: only its successor takes that. `kept` is the one that the program before has held.
    ///
    /// # Errors
    /// A sentence that says why not: it holds something else, or what the system says.
    pub fn create(
        path: &Path,
        records: usize,
        is_successor: bool,
        kept: Option<File>,
    ) -> io::Result<Option<BoardFile>> {
        let mut kept = kept.filter(|kept| lock::is_same(kept, path));
        let file = loop {
            let file = match kept.take() {
                Some(kept) => kept,
                None => open(path)?,
            };
            if lock::take(&file)? {
                if lock::is_same(&file, path) {
                    break file;
                }
                // Its owner has removed it meanwhile.
            } else if is_successor {
                // The server before goes on in its own file, which has no name any more.
                fs::remove_file(path)?;
            } else {
                return Ok(None);
            }
        };
        // Written, not left as a hole: a disk that is full later takes nothing away.
        file.write_all_at(&vec![0; records * BYTES], 0)?;
        file.set_len((records * BYTES) as u64)?;
        Ok(Some(BoardFile {
            path: path.to_owned(),
            file,
            records,
        }))
    }

    /// Gives it to the user that the server will run as, so that a successor in the same process can open it again.
    ///
    /// # Errors
    /// What fchown says.
    pub fn give(&self, user: Uid, group: Gid) -> io::Result<()> {
        Ok(nix::unistd::fchown(&self.file, Some(user), Some(group))?)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for who keeps descriptors open.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Writes what the processes do now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, board: &Board) -> io::Result<()> {
        let mut bytes = board.records(self.records);
        bytes.resize(self.records * BYTES, 0);
        self.file.write_all_at(&bytes, 0)
    }

    /// Removes the file, if it is still this one. Where the folder is closed to a user without root's rights it stays
    /// behind, empty.
    pub fn remove(&self) {
        if lock::is_same(&self.file, &self.path) && fs::remove_file(&self.path).is_err() {
            let _ = self.file.set_len(0);
        }
    }
}

/// Opens the file, and makes it where there is none.
fn open(path: &Path) -> io::Result<File> {
    let file = files::update(path)?;
    let length = file.metadata()?.len();
    if !is_scoreboard(&file, length)? {
        let why = "it holds something else than a scoreboard";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(file)
}

/// Whether the file is empty, or has nothing but records: no file of another kind is overwritten.
fn is_scoreboard(file: &File, length: u64) -> io::Result<bool> {
    // More than any number of workers needs.
    const LONGEST: u64 = 1 << 20;
    if length > LONGEST || !length.is_multiple_of(BYTES as u64) {
        return Ok(false);
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes.chunks_exact(BYTES).all(|record| {
        matches!(record[BYTES - 2], 0 | b'_' | b'R' | b'W') && record[BYTES - 1] == 0
    }))
}

impl Board {
    /// The records of at most this many living workers; those that leave are the first to have no room.
    fn records(&self, most: usize) -> Vec<u8> {
        let word = |index: usize| self.word(index).load(Ordering::Relaxed);
        let slots = (0..self.slots).map(record_of);
        let mut living: Vec<usize> = slots.filter(|&at| lives(word(at + PID))).collect();
        living.sort_by_key(|&at| WorkerState::of(word(at + STATE)) == WorkerState::Leaving);
        let mut bytes = Vec::with_capacity(most * BYTES);
        for at in living.into_iter().take(most) {
            let seconds = |milliseconds: u64| (milliseconds / 1000) as u32;
            let busy = WorkerState::of(word(at + STATE)) == WorkerState::Busy;
            let since = seconds(word(at + SINCE));
            bytes.extend((word(at + PID) as u32).to_be_bytes());
            bytes.extend(seconds(word(at + BORN)).to_be_bytes());
            // S of pack is in the machine's own order. More than it can tell are its most.
            bytes.extend((word(at + SERVED).min(u16::MAX.into()) as u16).to_ne_bytes());
            bytes.extend(if busy { since } else { 0 }.to_be_bytes());
            bytes.extend(since.to_be_bytes());
            bytes.extend([if busy { b'W' } else { b'_' }, 0]);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn create(path: &Path, records: usize) -> io::Result<BoardFile> {
        let made = BoardFile::create(path, records, false, None);
        made.map(|file| file.expect("no server has it"))
    }

    #[test]
    fn a_living_worker_has_a_record_and_the_rest_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let (board, _memory) = Board::create(4).unwrap();
        let board = Arc::new(board);
        let seat = board.take(1, 1).unwrap();
        let file = create(&path, 3).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0; 60]);

        board.set(seat.record + SERVED, 70_000);
        board.set(seat.record + BORN, 1_000_000_500);
        seat.does(WorkerState::Busy);
        board.set(seat.record + SINCE, 1_000_002_999);
        file.write(&board).unwrap();
        let mut record = Vec::new();
        record.extend(std::process::id().to_be_bytes());
        record.extend(1_000_000_u32.to_be_bytes());
        record.extend(65_535_u16.to_ne_bytes());
        record.extend(1_000_002_u32.to_be_bytes());
        record.extend(1_000_002_u32.to_be_bytes());
        record.extend(b"W\0");
        record.resize(60, 0);
        assert_eq!(fs::read(&path).unwrap(), record);

        seat.does(WorkerState::Idle);
        // No process has this pid: the kernel's limit is below it.
        board.set(board.take(2, 1).unwrap().record + PID, 1 << 30);
        file.write(&board).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes[18], &bytes[10..14]), (b'_', &[0; 4][..]));
        assert_eq!(bytes[20..], [0; 40], "a dead worker's place is free");
        file.remove();
        assert!(!path.exists());
    }

    #[test]
    fn no_other_file_is_overwritten_or_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        for content in [&b"root:x:0:0:root:/root:/bin/bash\n"[..], &[b'x'; 40]] {
            fs::write(&path, content).unwrap();
            assert!(create(&path, 3).is_err());
            assert_eq!(fs::read(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        drop(create(&path, 5).unwrap());
        let file = create(&path, 3).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().len(),
            60,
            "a leftover is taken over"
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        file.remove();
        assert!(path.exists(), "it is not the one that was made");
    }

    #[test]
    fn no_two_servers_write_to_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let first = create(&path, 2).unwrap();
        first.file.write_all_at(b"first", 0).unwrap();
        assert!(BoardFile::create(&path, 3, false, None).unwrap().is_none());
        assert!(
            fs::read(&path).unwrap().starts_with(b"first"),
            "left as it is"
        );

        let successor = BoardFile::create(&path, 3, true, None).unwrap().unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0; 60]);
        first.file.write_all_at(b"first", 0).unwrap();
        first.remove();
        assert_eq!(fs::read(&path).unwrap(), [0; 60], "it is the successor's");
        drop(successor);
        create(&path, 3).unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn the_next_program_takes_the_file_that_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("board");
        let before = create(&path, 2).unwrap();
        let kept = before.file.try_clone().unwrap();
        let next = BoardFile::create(&path, 3, false, Some(kept)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [0; 60]);
        drop(before);
        let another = BoardFile::create(&path, 3, false, None).unwrap();
        assert!(another.is_none(), "its lock as well");
        drop(next);
    }
}
