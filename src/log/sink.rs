//! Lines on their way out of a process: gathered, and written by a thread, so that nothing else waits for a disk or a pipe.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::limit;
use super::target::{Lost, Target};

/// Lines are written when there are this many bytes of them,
const MANY: usize = 32 * 1024;

/// or after this time: somebody may be watching. The server's own lines are few and don't wait for others.
const IDLE: Duration = Duration::from_millis(250);

/// Bytes that wait for a target which takes none; beyond, lines are lost.
const MOST: usize = 1024 * 1024;

/// How long the server's end waits for such a target.
const LAST: Duration = Duration::from_secs(1);

/// Whose lines they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// The access log's.
    AccessLog,
    /// The server's own, on standard error.
    Server,
}

/// Where lines go. Its thread ends when it is dropped, after the last line.
#[derive(Debug)]
pub(super) struct Sink(Arc<Shared>);

/// What the thread shares with the callers of [`Sink::put`].
#[derive(Debug)]
struct Shared {
    lines: Mutex<Lines>,
    /// There is something to do for the thread.
    work: Condvar,
    /// The thread has written everything.
    idle: Condvar,
    whose: Whose,
}

#[derive(Debug)]
struct Lines {
    target: Arc<Target>,
    waiting: Vec<u8>,
    /// Empty, kept for its capacity.
    spare: Vec<u8>,
    /// The thread is in a write.
    writing: bool,
    /// How many wait in [`Sink::flush`].
    flushing: u32,
    closed: bool,
    /// Lost since the last write that went well.
    lost: u64,
}

impl Sink {
    /// A sink that writes to `target`.
    ///
    /// # Errors
    /// When there can't be another thread.
    pub(super) fn new(target: Target, whose: Whose) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lines: Mutex::new(Lines {
                target: Arc::new(target),
                waiting: Vec::new(),
                spare: Vec::new(),
                writing: false,
                flushing: 0,
                closed: false,
                lost: 0,
            }),
            work: Condvar::new(),
            idle: Condvar::new(),
            whose,
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("gepok-log".to_owned())
            .spawn(move || of_thread.run())?;
        Ok(Sink(shared))
    }

    /// Takes the line that `put` appends.
    pub(super) fn put(&self, put: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = self.0.lines();
        let before = lines.waiting.len();
        if before >= MOST {
            drop(lines);
            self.0.lose(1, &"its reader is too slow");
            return;
        }
        put(&mut lines.waiting);
        let length = lines.waiting.len();
        drop(lines);
        if before == 0 || (before < MANY && length >= MANY) {
            self.0.work.notify_one();
        }
    }

    /// Writes to `target` from now on.
    pub(super) fn reopen(&self, target: Target) {
        self.0.lines().target = Arc::new(target);
    }

    /// Waits until all lines are written, though not for ever. Whether they are.
    pub(super) fn flush(&self) -> bool {
        self.0.flush()
    }

    /// The same within the event loop, which goes on meanwhile.
    pub(super) async fn finish(&self) {
        let shared = Arc::clone(&self.0);
        let flushed = tokio::task::spawn_blocking(move || shared.flush());
        if let Ok(false) = flushed.await {
            ::log::warn!("the access log takes no more lines: the last ones are lost");
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.lines().closed = true;
        self.0.work.notify_one();
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread.
    fn run(&self) {
        loop {
            // Outside of the lock: it puts lines.
            let next = match self.whose {
                Whose::AccessLog => None,
                Whose::Server => limit::write_summaries(),
            };
            let mut lines = self.lines();
            if lines.waiting.is_empty() {
                if lines.closed {
                    return;
                }
                lines = self.wait(lines, next);
            }
            if self.whose == Whose::AccessLog && !lines.waiting.is_empty() && !lines.must_hurry() {
                let waited = self
                    .work
                    .wait_timeout_while(lines, IDLE, |lines| !lines.must_hurry());
                lines = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            if !lines.waiting.is_empty() {
                self.write(lines);
            }
        }
    }

    fn wait<'a>(
        &self,
        lines: MutexGuard<'a, Lines>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Lines> {
        match limit {
            Some(limit) => {
                let waited = self.work.wait_timeout(lines, limit);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.work.wait(lines);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        }
    }

    /// Writes what waits, outside of the lock.
    fn write(&self, mut lines: MutexGuard<'_, Lines>) {
        let spare = mem::take(&mut lines.spare);
        let mut bytes = mem::replace(&mut lines.waiting, spare);
        let target = Arc::clone(&lines.target);
        lines.writing = true;
        drop(lines);
        match target.write(&bytes) {
            Ok(()) => self.found(),
            Err(Lost { lines, error }) => self.lose(lines, &error),
        }
        bytes.clear();
        let mut lines = self.lines();
        if bytes.capacity() <= 2 * MANY {
            lines.spare = bytes;
        }
        lines.writing = false;
        if lines.is_idle() {
            self.idle.notify_all();
        }
    }

    fn flush(&self) -> bool {
        let mut lines = self.lines();
        lines.flushing += 1;
        self.work.notify_one();
        let waited = self
            .idle
            .wait_timeout_while(lines, LAST, |lines| !lines.is_idle());
        lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        lines.flushing -= 1;
        lines.is_idle()
    }

    /// Counts lost lines; only the first of a row is worth a warning.
    fn lose(&self, lost: u64, why: &dyn fmt::Display) {
        let before = {
            let mut lines = self.lines();
            let before = lines.lost;
            lines.lost += lost;
            before
        };
        if self.whose == Whose::AccessLog && before == 0 && lost > 0 {
            ::log::warn!("the access log can't be written, lines are lost: {why}");
        }
    }

    fn found(&self) {
        match (mem::take(&mut self.lines().lost), self.whose) {
            (0, _) => {}
            (lost, Whose::AccessLog) => {
                ::log::warn!("the access log is written again; {lost} lines were lost");
            }
            (lost, Whose::Server) => ::log::warn!("{}", lost_lines(lost)),
        }
    }
}

/// The message for lines of the server's own that were lost.
pub(super) fn lost_lines(lost: u64) -> String {
    let lines = if lost == 1 { "line was" } else { "lines were" };
    format!("{lost} {lines} lost: standard error did not take them in time")
}

impl Lines {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && !self.writing
    }

    /// Write at once: there are many, or the server ends.
    fn must_hurry(&self) -> bool {
        self.waiting.len() >= MANY || self.flushing > 0 || self.closed
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use super::*;
    use crate::files::append;
    use crate::log::destination::Destination;
    use crate::log::time::Zone;

    fn target(path: &Path) -> Target {
        let descriptor = append(path).unwrap();
        Target::new(&Destination::File(path.to_owned()), descriptor, Zone::utc()).unwrap()
    }

    fn sink(path: &Path) -> Sink {
        Sink::new(target(path), Whose::AccessLog).unwrap()
    }

    fn put(sink: &Sink, line: &str) {
        sink.put(|out| out.extend_from_slice(format!("{line}\n").as_bytes()));
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    fn soon(is: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn lines_are_written_in_order_by_size_by_time_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = sink(&path);
        let begun = Instant::now();
        put(&sink, "first");
        soon(|| !read(&path).is_empty());
        assert!(begun.elapsed() >= IDLE, "one line waits for others");

        let many = MANY / 6 + 10;
        for number in 0..many {
            put(&sink, &format!("{number:05}"));
        }
        soon(|| read(&path).len() >= MANY);
        put(&sink, "last");
        assert!(sink.flush());
        let text = read(&path);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), many + 2);
        assert_eq!((lines[0], lines[many + 1]), ("first", "last"));
        assert!(lines[1..=many].is_sorted());
    }

    /// Two stops, one after the other, as two TERMs make them.
    #[test]
    fn everyone_who_waits_for_the_last_lines_is_woken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = sink(&path);
        put(&sink, "line");
        thread::scope(|scope| {
            let waiting = [(); 3].map(|()| scope.spawn(|| sink.flush()));
            for waits in waiting {
                assert!(waits.join().unwrap(), "none waits in vain");
            }
        });
        assert_eq!(read(&path), "line\n");
    }

    /// Protects: a log that is dropped keeps neither its last lines nor its thread.
    #[test]
    fn a_dropped_sink_writes_its_last_lines_and_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = sink(&path);
        put(&sink, "line");
        let shared = Arc::clone(&sink.0);
        drop(sink);
        soon(|| Arc::strong_count(&shared) == 1);
        assert_eq!(read(&path), "line\n");
    }

    #[test]
    fn a_reopened_log_goes_on_in_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = sink(&path);
        put(&sink, "old");
        sink.flush();
        let old = folder.path().join("log.1");
        std::fs::rename(&path, &old).unwrap();
        sink.reopen(target(&path));
        put(&sink, "new");
        sink.flush();
        assert_eq!((read(&old), read(&path)), ("old\n".into(), "new\n".into()));
    }

    #[test]
    fn a_stalled_reader_costs_lines_but_neither_memory_nor_time() {
        let (reader, writer) = std::io::pipe().unwrap();
        let stalled = Target::new(&Destination::Stdout, writer.into(), Zone::utc()).unwrap();
        let sink = Sink::new(stalled, Whose::AccessLog).unwrap();
        // More than the pipe holds.
        put(&sink, &"x".repeat(100_000));
        soon(|| sink.0.lines().writing);
        let line = "x".repeat(1000);
        for _ in 0..4000 {
            put(&sink, &line);
        }
        assert!(sink.0.lines().waiting.len() <= MOST + 1001);
        assert!(sink.0.lines().lost > 1000);
        assert!(!sink.flush());
        // The thread that writes ends with an error now.
        drop(reader);
    }
}
