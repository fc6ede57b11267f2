//! The scoreboard as others read it: from the master's descriptors, and by the core for `status_path`.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io;

use super::connections::STATES;
use super::refusals::Refusals;
use super::reloads::Reloads;
use super::waits::Waits;
use super::{
    ACCEPTED, BORN, Board, CONNECTIONS, CORE, GENERATION, GUARD, HEADER, MASTER, Mapping, NAME,
    NUMBER, PAGE, PID, QUEUED, QUEUED_SINCE, RECORD, REQUESTS, SERVED, SINCE, SLOTS, STARTED,
    STATE, TEXT, WorkerState, lives, now, record_of, seconds,
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
    /// Bytes of the core's resident memory, where the system tells it.
    pub core_rss: Option<u64>,
    /// Connections accepted so far.
    pub accepted: u64,
    /// Connections that are open, in the order of [`STATES`].
    pub connections: [u64; STATES.len()],
    /// Requests so far.
    pub requests: u64,
    /// Requests that wait for a worker.
    pub queued: u64,
    /// Seconds that the first of them has waited.
    pub oldest: f64,
    /// How long those have waited that wait no more.
    pub waits: Waits,
    /// What was refused because a bound was reached.
    pub refusals: Refusals,
    /// How reloads have ended.
    pub reloads: Reloads,
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
    pub state: WorkerState,
    /// Requests that it has served, the one in hand among them.
    pub requests: u64,
    /// Seconds since its birth.
    pub age: f64,
    /// Bytes of resident memory, where the system tells it.
    pub rss: Option<u64>,
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
    read(&memory(master)?)
}

/// The same, but nothing but how reloads have ended, and when that server began: a program that follows in the
/// same process begins another time.
///
/// # Errors
/// As [`of`].
pub fn reloads_of(master: i32) -> io::Result<(u64, Reloads)> {
    let memory = Mapping::open(&memory(master)?)?;
    Ok((memory.get(STARTED), Reloads::read(&memory, now())))
}

/// The memory, as the master has it open.
fn memory(master: i32) -> io::Result<File> {
    let link = format!("/memfd:{NAME} (deleted)");
    for entry in fs::read_dir(format!("/proc/{master}/fd"))? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|target| target.as_os_str() == link.as_str()) {
            return File::open(&path);
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn read(file: &File) -> io::Result<Status> {
    understand(&Mapping::open(file)?).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

impl Board {
    /// What the server does now. It asks the system about each worker, so it may take some milliseconds.
    pub fn status(&self) -> Option<Status> {
        understand(&self.memory)
    }
}

fn understand(memory: &Mapping) -> Option<Status> {
    let header = &memory.snapshot(0..HEADER)[..];
    let now = now();
    let slots = usize::try_from(header[SLOTS]).ok()?;
    let room = (memory.length.get() / 8).saturating_sub(record_of(0)) / PAGE;
    let mut workers: Vec<_> = (0..slots.min(room))
        .filter_map(|slot| worker(memory, record_of(slot), now))
        .collect();
    workers.sort_unstable_by_key(|worker| worker.number);
    let core = header[CORE] as i32;
    let queued = header[QUEUED];
    Some(Status {
        master: header[MASTER] as i32,
        core,
        up: seconds(header[STARTED], now),
        core_rss: resident(core),
        accepted: header[ACCEPTED],
        connections: STATES.map(|(state, _)| header[CONNECTIONS + state as usize]),
        requests: header[REQUESTS],
        queued,
        oldest: if queued > 0 {
            seconds(header[QUEUED_SINCE], now)
        } else {
            0.0
        },
        waits: Waits::read(header, now),
        refusals: Refusals::read(header),
        reloads: Reloads::read(memory, now),
        workers,
    })
}

fn worker(memory: &Mapping, at: usize, now: u64) -> Option<Worker> {
    let record = memory.snapshot(at..at + TEXT);
    let pid = i32::try_from(record[PID]).ok().filter(|&pid| pid > 0)?;
    let rss = resident(pid);
    // A zombie has no memory. Where the system hides processes (hidepid of proc(5)), a signal still finds them.
    if rss == Some(0) || rss.is_none() && !lives(record[PID]) {
        return None;
    }
    Some(Worker {
        pid,
        number: record[NUMBER],
        generation: record[GENERATION],
        state: WorkerState::of(record[STATE]),
        requests: record[SERVED],
        age: seconds(record[BORN], now),
        rss,
        since: seconds(record[SINCE], now),
        request: memory
            .text(at + GUARD, at + TEXT..at + RECORD)
            .escape_ascii()
            .to_string(),
    })
}

/// Bytes of resident memory; nothing where the system shows no such process.
fn resident(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Some(kib.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::super::connections::{self, Connection};
    use super::super::{Board, Seat};
    use super::*;
    use crate::semantics::message::{RequestHead, Timestamp};

    fn board(slots: usize) -> (Arc<Board>, File) {
        let (board, memory): (Board, OwnedFd) = Board::create(slots).unwrap();
        (Arc::new(board), memory.into())
    }

    fn serve(seat: &Seat, method: &str, target: &str) {
        seat.serves(&RequestHead::new(method, target, &[]));
    }

    #[test]
    fn what_the_processes_write_is_read() {
        let (board, memory) = board(4);
        board.core_begins();
        let open = || Connection::new(Some(Arc::clone(&board)), connections::State::Idle);
        let _open = [open(), open()];
        drop(open());
        board.submitted();
        let minute_ago = Timestamp {
            seconds: Timestamp::now().seconds - 60,
            micros: 0,
        };
        board.queued(7, Some(minute_ago));
        let seat = board.take(12, 3).unwrap();
        let status = read(&memory).unwrap();
        assert_eq!(
            (status.connections, status.accepted),
            ([0, 2, 0, 0, 0, 0], 3)
        );
        assert_eq!(status.master, std::process::id() as i32);
        assert!((60.0..62.0).contains(&status.oldest), "{}", status.oldest);
        assert_eq!(board.status().unwrap().connections, status.connections);
        assert_eq!((status.requests, status.queued), (1, 7));
        let worker = &status.workers[0];
        assert_eq!((worker.number, worker.generation), (12, 3));
        assert_eq!((worker.state, worker.requests), (WorkerState::Loading, 0));

        serve(&seat, "POST", "/a/\"quoted\"\u{202e}?secret=1");
        let status = read(&memory).unwrap();
        let worker = &status.workers[0];
        assert_eq!((worker.state, worker.requests), (WorkerState::Busy, 1));
        let plain = r#"POST /a/\"quoted\"\xe2\x80\xae"#;
        assert_eq!(worker.request, plain, "nothing turns the text around it");
        let json = status.json();
        assert!(
            json.contains(r#""request":"POST /a/\\\"quoted\\\"\\xe2\\x80\\xae""#),
            "{json}"
        );
        assert!(status.text().contains("busy"));

        serve(&seat, "GET", &"x".repeat(1000));
        let worker = &read(&memory).unwrap().workers[0];
        assert_eq!(
            worker.request.len(),
            (RECORD - TEXT) * 8,
            "cut, and the next record is untouched"
        );
        seat.does(WorkerState::Idle);
        assert_eq!(read(&memory).unwrap().workers[0].state, WorkerState::Idle);
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

    #[test]
    fn what_could_change_its_size_is_not_looked_at() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        assert!(read(&file).is_err());
    }

    /// As `gepok status` beside a worker that serves one request after the other.
    #[test]
    fn a_path_is_never_one_of_two_requests() {
        let (board, memory) = board(1);
        let seat = board.take(1, 1).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    serve(&seat, "GET", &"a".repeat(150));
                    serve(&seat, "GET", &"b".repeat(180));
                }
                done.store(true, std::sync::atomic::Ordering::Release);
            });
            let mut looks = 0;
            while looks == 0 || !done.load(std::sync::atomic::Ordering::Acquire) {
                looks += 1;
                let request = &read(&memory).unwrap().workers[0].request;
                let whole = request.is_empty()
                    || *request == format!("GET {}", "a".repeat(150))
                    || *request == format!("GET {}", "b".repeat(180));
                assert!(whole, "{request}");
            }
        });
    }
}
