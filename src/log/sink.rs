//! Lines on their way out of the core: gathered, and written by a thread, so that no request waits for a disk.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{spawn_blocking, spawn_local};
use tokio::time::{sleep, timeout};

use super::target::{Lost, Target};

/// Lines are written when there are so many bytes of them,
const MANY: usize = 32 * 1024;

/// or after this time: somebody may be watching.
const IDLE: Duration = Duration::from_millis(250);

/// Bytes that wait for a place which takes none; beyond, lines are lost.
const MOST: usize = 1024 * 1024;

/// How long the server's end waits for such a place.
const LAST: Duration = Duration::from_secs(1);

/// Where lines go. A copy is the same sink.
#[derive(Clone, Debug)]
pub(super) struct Sink(Rc<Lines>);

#[derive(Debug)]
struct Lines {
    target: RefCell<Arc<Target>>,
    waiting: RefCell<Vec<u8>>,
    /// Empty, kept for its capacity.
    spare: RefCell<Vec<u8>>,
    /// Lines are being gathered or written.
    busy: Cell<bool>,
    /// Write at once: there are many, or the server ends.
    hurry: Notify,
    ending: Cell<bool>,
    idle: Notify,
    lost: Cell<u64>,
}

impl Sink {
    /// A sink that writes to `target`.
    pub(super) fn new(target: Target) -> Self {
        Sink(Rc::new(Lines {
            target: RefCell::new(Arc::new(target)),
            waiting: RefCell::default(),
            spare: RefCell::default(),
            busy: Cell::new(false),
            hurry: Notify::new(),
            ending: Cell::new(false),
            idle: Notify::new(),
            lost: Cell::new(0),
        }))
    }

    /// Takes the line that `put` appends.
    pub(super) fn put(&self, put: impl FnOnce(&mut Vec<u8>)) {
        let lines = &self.0;
        let mut waiting = lines.waiting.borrow_mut();
        if waiting.len() >= MOST {
            lines.lose(1, "its reader is too slow");
            return;
        }
        put(&mut waiting);
        let length = waiting.len();
        drop(waiting);
        // No timer runs while there is nothing to write.
        if !lines.busy.replace(true) {
            spawn_local(Rc::clone(lines).write());
        }
        if length >= MANY {
            lines.hurry.notify_one();
        }
    }

    /// Writes to `target` from now on.
    pub(super) fn reopen(&self, target: Target) {
        *self.0.target.borrow_mut() = Arc::new(target);
    }

    /// Waits until all lines are written, though not for ever.
    pub(super) async fn finish(&self) {
        let lines = &self.0;
        lines.ending.set(true);
        lines.hurry.notify_one();
        let written = timeout(LAST, async {
            while lines.busy.get() {
                lines.idle.notified().await;
            }
        });
        if written.await.is_err() {
            ::log::warn!("the access log takes no more lines: the last ones are lost");
        }
        lines.ending.set(false);
    }
}

impl Lines {
    async fn write(self: Rc<Self>) {
        loop {
            let many = self.waiting.borrow().len() >= MANY;
            if !many && !self.ending.get() {
                tokio::select! {
                    () = self.hurry.notified() => {}
                    () = sleep(IDLE) => {}
                }
            }
            let bytes = self.waiting.replace(self.spare.take());
            let target = Arc::clone(&self.target.borrow());
            let written = spawn_blocking(move || {
                let written = target.write(&bytes);
                (bytes, written)
            });
            if let Ok((mut bytes, written)) = written.await {
                match written {
                    Ok(()) => self.found(),
                    Err(Lost { lines, error }) => self.lose(lines, error),
                }
                bytes.clear();
                if bytes.capacity() <= 2 * MANY {
                    self.spare.replace(bytes);
                }
            }
            if self.waiting.borrow().is_empty() {
                self.busy.set(false);
                // Each stop of the server waits here: a second one may have joined the first.
                self.idle.notify_waiters();
                return;
            }
        }
    }

    /// Counts lost lines; only the first of a row is worth a warning.
    fn lose(&self, lines: u64, why: impl std::fmt::Display) {
        let before = self.lost.get();
        self.lost.set(before + lines);
        if before == 0 && lines > 0 {
            ::log::warn!("the access log can't be written, lines are lost: {why}");
        }
    }

    fn found(&self) {
        let lost = self.lost.take();
        if lost > 0 {
            ::log::warn!("the access log is written again; {lost} lines were lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::task::LocalSet;

    use super::*;
    use crate::log::destination::{Destination, append};
    use crate::log::time::Zone;

    fn target(path: &Path) -> Target {
        let descriptor = append(path).unwrap();
        Target::new(&Destination::File(path.to_owned()), descriptor, Zone::utc()).unwrap()
    }

    fn put(sink: &Sink, line: &str) {
        sink.put(|out| out.extend_from_slice(format!("{line}\n").as_bytes()));
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    // The clock is tokio's: it stands still while a thread writes, however busy the machine is.
    #[tokio::test(start_paused = true)]
    async fn lines_are_written_in_order_by_size_by_time_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let sink = Sink::new(target(&path));
        let work = async {
            let begun = tokio::time::Instant::now();
            put(&sink, "first");
            while read(&path).is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
            assert!(begun.elapsed() >= IDLE, "one line waits for others");
            // The file has it before the sink hears of that.
            while sink.0.busy.get() {
                sleep(Duration::from_millis(10)).await;
            }
            assert!(begun.elapsed() < 2 * IDLE, "and then nothing is left to do");

            let many = MANY / 6 + 10;
            for number in 0..many {
                put(&sink, &format!("{number:05}"));
            }
            let begun = tokio::time::Instant::now();
            while read(&path).len() < MANY {
                sleep(Duration::from_millis(5)).await;
            }
            assert!(begun.elapsed() < IDLE, "many lines don't wait");
            put(&sink, "last");
            sink.finish().await;
            let text = read(&path);
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines.len(), many + 2);
            assert_eq!((lines[0], lines[many + 1]), ("first", "last"));
            assert!(lines[1..=many].is_sorted());
        };
        LocalSet::new().run_until(work).await;
    }

    // Two stops, one after the other, as two TERMs make them.
    #[tokio::test(start_paused = true)]
    async fn everyone_who_waits_for_the_last_lines_is_woken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let work = async {
            let sink = Sink::new(target(&path));
            put(&sink, "line");
            let begun = tokio::time::Instant::now();
            tokio::join!(sink.finish(), sink.finish(), sink.finish());
            assert!(begun.elapsed() < LAST, "none waits in vain");
            assert_eq!(read(&path), "line\n");
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn a_reopened_log_goes_on_in_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let work = async {
            let sink = Sink::new(target(&path));
            put(&sink, "old");
            sink.finish().await;
            let old = folder.path().join("log.1");
            std::fs::rename(&path, &old).unwrap();
            sink.reopen(target(&path));
            put(&sink, "new");
            sink.finish().await;
            assert_eq!((read(&old), read(&path)), ("old\n".into(), "new\n".into()));
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn a_stalled_reader_costs_lines_but_neither_memory_nor_time() {
        let (reader, writer) = std::io::pipe().unwrap();
        let stalled = Target::new(&Destination::Stdout, writer.into(), Zone::utc()).unwrap();
        let work = async {
            let sink = Sink::new(stalled);
            // More than the pipe holds.
            put(&sink, &"x".repeat(100_000));
            let line = "x".repeat(1000);
            for _ in 0..200 {
                for _ in 0..20 {
                    put(&sink, &line);
                }
                tokio::task::yield_now().await;
            }
            assert!(sink.0.waiting.borrow().len() <= MOST + 100_001);
            assert!(sink.0.lost.get() > 1000);
            sink.finish().await;
            // The thread that writes ends with an error now.
            drop(reader);
        };
        LocalSet::new().run_until(work).await;
    }
}
