//! The scoreboard as others read it: from the master's descriptors, for people and as JSON.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::{
    ACCEPTED, BORN, CONNECTIONS, CORE, GENERATION, HEADER, LENGTH, NAME, NUMBER, PID, QUEUED,
    RECORD, REQUESTS, SERVED, SINCE, SLOTS, STARTED, STATE, State, TEXT, TEXT_BYTES, now,
};

/// What a server does at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The master's pid.
    pub master: i32,
    /// The core's.
    pub core: i32,
    /// Seconds since the start.
    pub up: f64,
    /// Bytes of the core's resident memory.
    pub core_rss: u64,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections that are open.
    pub connections: u64,
    /// Requests so far.
    pub requests: u64,
    /// Requests that wait for a worker.
    pub queued: u64,
    /// The workers, the oldest first.
    pub workers: Vec<Worker>,
}

/// A worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Worker {
    /// Its pid.
    pub pid: i32,
    /// Its number: each worker has another one.
    pub number: u64,
    /// The generation of the app that it serves.
    pub generation: u64,
    /// What it does.
    pub state: State,
    /// Requests that it has served, the one in hand among them.
    pub requests: u64,
    /// Seconds since its birth.
    pub age: f64,
    /// Bytes of resident memory.
    pub rss: u64,
    /// Seconds since it does what it does.
    pub since: f64,
    /// Method and path of its request, or of the last one.
    pub request: String,
}

/// Reads the scoreboard of the server whose master has this pid.
///
/// # Errors
/// PermissionDenied where it is another user's, NotFound where that process has no scoreboard.
pub fn of(master: i32) -> io::Result<Status> {
    let link = format!("/memfd:{NAME} (deleted)");
    for entry in fs::read_dir(format!("/proc/{master}/fd"))? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == link.as_str()) {
            return read(master, &File::open(&path)?);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn read(master: i32, file: &File) -> io::Result<Status> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    let word = |bytes: &[u8]| {
        let bytes = bytes.iter().rev();
        bytes.fold(0, |word, &byte| word << 8 | u64::from(byte))
    };
    let words: Vec<u64> = bytes.chunks_exact(8).map(word).collect();
    understand(master, &words).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn understand(master: i32, words: &[u64]) -> Option<Status> {
    let (header, records) = words.split_at_checked(HEADER)?;
    let now = now();
    let slots = usize::try_from(header[SLOTS]).ok()?;
    let mut workers: Vec<_> = records
        .chunks_exact(RECORD)
        .take(slots)
        .filter_map(|record| worker(record, now))
        .collect();
    workers.sort_unstable_by_key(|worker| worker.number);
    let core = header[CORE] as i32;
    Some(Status {
        master,
        core,
        up: seconds(header[STARTED], now),
        core_rss: resident(core).unwrap_or(0),
        accepted: header[ACCEPTED],
        connections: header[CONNECTIONS],
        requests: header[REQUESTS],
        queued: header[QUEUED],
        workers,
    })
}

fn worker(record: &[u64], now: u64) -> Option<Worker> {
    let pid = i32::try_from(record[PID]).ok().filter(|&pid| pid > 0)?;
    // Gone, or a zombie, which has no memory.
    let rss = resident(pid).filter(|&rss| rss > 0)?;
    let text: Vec<u8> = record[TEXT..]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    // Odd: it is being written.
    let length = if record[LENGTH].is_multiple_of(2) {
        record[LENGTH] as usize / 2
    } else {
        0
    };
    Some(Worker {
        pid,
        number: record[NUMBER],
        generation: record[GENERATION],
        state: State::of(record[STATE]),
        requests: record[SERVED],
        age: seconds(record[BORN], now),
        rss,
        since: seconds(record[SINCE], now),
        request: text[..length.min(TEXT_BYTES)].escape_ascii().to_string(),
    })
}

fn seconds(from: u64, to: u64) -> f64 {
    to.saturating_sub(from) as f64 / 1000.0
}

/// Bytes of resident memory; nothing where there is no such process.
fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Some(kib.unwrap_or(0) * 1024)
}

impl State {
    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Loading => "loading",
            State::Idle => "idle",
            State::Busy => "busy",
            State::Leaving => "leaving",
        }
    }
}

impl Status {
    /// For people: lines of a header, then a table.
    pub fn text(&self) -> String {
        let busy = self
            .workers
            .iter()
            .filter(|w| w.state == State::Busy)
            .count();
        let mut text = format!(
            "master {}, core {} ({} MiB), up {:.0} s\n\
             connections: {} open, {} accepted\n\
             requests: {} so far, {} in work, {} waiting for a worker\n\n",
            self.master,
            self.core,
            self.core_rss >> 20,
            self.up,
            self.connections,
            self.accepted,
            self.requests,
            busy,
            self.queued,
        );
        text += "    PID  GEN  STATE    REQUESTS     AGE  RSS/MiB  SINCE  REQUEST\n";
        for worker in &self.workers {
            let line = format!(
                "{:>7}  {:>3}  {:<7}  {:>8}  {:>6.0}  {:>7}  {:>5.1}  {}",
                worker.pid,
                worker.generation,
                worker.state.as_str(),
                worker.requests,
                worker.age,
                worker.rss >> 20,
                worker.since,
                worker.request
            );
            text += line.trim_end();
            text += "\n";
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// For programs: one JSON object. Times are seconds, memory is bytes.
    pub fn json(&self) -> String {
        let workers: Vec<_> = self.workers.iter().map(Worker::json).collect();
        format!(
            "{{\"master\":{},\"core\":{},\"core_rss\":{},\"up\":{:.3},\"connections\":{},\"accepted\":{},\
             \"requests\":{},\"queued\":{},\"workers\":[{}]}}",
            self.master,
            self.core,
            self.core_rss,
            self.up,
            self.connections,
            self.accepted,
            self.requests,
            self.queued,
            workers.join(",")
        )
    }
}

impl Worker {
    fn json(&self) -> String {
        format!(
            "{{\"pid\":{},\"number\":{},\"generation\":{},\"state\":\"{}\",\"requests\":{},\"age\":{:.3},\
             \"rss\":{},\"since\":{:.3},\"request\":\"{}\"}}",
            self.pid,
            self.number,
            self.generation,
            self.state.as_str(),
            self.requests,
            self.age,
            self.rss,
            self.since,
            // Escaped already, so that only these two are left to JSON.
            self.request.replace('\\', "\\\\").replace('"', "\\\"")
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use bytes::BytesMut;

    use super::super::{Board, Seat};
    use super::*;
    use crate::semantics::field::{Fields, Span};
    use crate::semantics::message::{RequestHead, Version};

    fn board(slots: usize) -> (Arc<Board>, File) {
        let (board, memory): (Board, OwnedFd) = Board::create(slots).unwrap();
        (Arc::new(board), memory.into())
    }

    fn serve(seat: &Seat, method: &str, target: &str) {
        let bytes = BytesMut::from([method, target].concat().as_bytes()).freeze();
        let (start, end) = (method.len() as u32, (method.len() + target.len()) as u32);
        let span = |start, end| Span { start, end };
        seat.serves(&RequestHead {
            method: span(0, start),
            target: span(start, end),
            version: Version::Http11,
            fields: Fields::new(bytes, Vec::new()).unwrap(),
        });
    }

    #[test]
    fn what_the_processes_write_is_read() {
        let (board, memory) = board(4);
        board.core_begins();
        (0..3).for_each(|_| board.connected());
        board.disconnected();
        board.submitted();
        board.queued(7);
        let seat = board.take(12, 3).unwrap();
        let status = read(1, &memory).unwrap();
        assert_eq!((status.connections, status.accepted), (2, 3));
        assert_eq!((status.requests, status.queued), (1, 7));
        let worker = &status.workers[0];
        assert_eq!((worker.number, worker.generation), (12, 3));
        assert_eq!((worker.state, worker.requests), (State::Loading, 0));

        serve(&seat, "POST", "/a/\"quoted\"?secret=1");
        let status = read(1, &memory).unwrap();
        let worker = &status.workers[0];
        assert_eq!((worker.state, worker.requests), (State::Busy, 1));
        assert_eq!(worker.request, "POST /a/\\\"quoted\\\"");
        let json = status.json();
        assert!(
            json.contains(r#""request":"POST /a/\\\"quoted\\\"""#),
            "{json}"
        );
        assert!(status.text().contains("busy"));

        serve(&seat, "GET", &"x".repeat(1000));
        let worker = &read(1, &memory).unwrap().workers[0];
        assert_eq!(
            worker.request.len(),
            TEXT_BYTES,
            "cut, and the next record is untouched"
        );
        seat.does(State::Idle);
        assert_eq!(read(1, &memory).unwrap().workers[0].state, State::Idle);
    }

    #[test]
    fn records_are_taken_once_and_again_when_their_process_is_gone() {
        let (board, _memory) = board(2);
        let first = board.take(1, 1).unwrap();
        let second = board.take(2, 1).unwrap();
        assert_ne!(first.record, second.record);
        assert!(board.take(3, 1).is_none(), "both are held");
        // No process has this pid: the kernel's limit is below it.
        board.set(second.record + PID, 1 << 30);
        assert_eq!(board.take(4, 1).unwrap().record, second.record);
    }

    #[test]
    fn the_memory_cannot_change_its_size() {
        let (_board, memory) = board(1);
        assert!(memory.set_len(0).is_err() && memory.set_len(1 << 20).is_err());
    }
}
