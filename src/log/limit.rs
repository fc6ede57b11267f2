//! Lines that a client or a worker can provoke: of each kind and text one a minute, with the number of the others.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ::log::Level;

const MINUTE: Duration = Duration::from_secs(60);

/// The kinds of which a line was written, for the summary when their minute is over.
static WRITTEN: Mutex<Vec<&Kind>> = Mutex::new(Vec::new());

/// Writes a line as `log::warn!` and its like do, but the same text at most once a minute. The others are counted.
macro_rules! limited {
    ($level:ident, $($text:tt)+) => {{
        static KIND: $crate::log::limit::Kind = $crate::log::limit::Kind::new();
        KIND.log(::log::Level::$level, format_args!($($text)+));
    }};
}
pub(crate) use limited;

/// Texts of one kind that are distinguished; in a minute with more of them the others are only counted.
const TEXTS: usize = 8;

/// One kind of lines.
#[derive(Debug)]
pub(crate) struct Kind {
    rows: Mutex<Vec<Row>>,
    /// Lines that came while the lock was held.
    missed: AtomicU64,
}

/// Lines of one text.
#[derive(Debug)]
struct Row {
    text: String,
    level: Level,
    /// When it was written last.
    at: Instant,
    /// How often it was left out since then.
    more: u64,
}

impl Kind {
    pub(crate) const fn new() -> Self {
        Kind {
            rows: Mutex::new(Vec::new()),
            missed: AtomicU64::new(0),
        }
    }

    /// Writes the line, or counts it.
    pub(crate) fn log(&'static self, level: Level, text: fmt::Arguments<'_>) {
        if level > ::log::max_level() {
            return;
        }
        let (lines, first) = self.event(Instant::now(), level, text.to_string());
        if first && let Ok(mut written) = WRITTEN.try_lock() {
            written.push(self);
        }
        write(lines);
    }

    /// The lines to write now, and whether the kind had none in the last minute.
    fn event(&self, now: Instant, level: Level, text: String) -> (Vec<(Level, String)>, bool) {
        // Held elsewhere; in a process that was forked meanwhile, for ever.
        let Ok(mut rows) = self.rows.try_lock() else {
            self.missed.fetch_add(1, Relaxed);
            return (Vec::new(), false);
        };
        let first = rows.is_empty();
        let missed = self.missed.swap(0, Relaxed);
        let mut lines = Vec::new();
        let mut known = false;
        rows.retain_mut(|row| {
            let over = now.duration_since(row.at) >= MINUTE;
            if row.text == text {
                row.more += missed;
                if over {
                    lines.push((level, row.line(now)));
                    (row.at, row.more) = (now, 0);
                } else {
                    row.more += 1;
                }
                known = true;
                return true;
            }
            if over && row.more > 0 {
                lines.push((row.level, row.line(now)));
            }
            !over
        });
        if !known {
            match rows.len() {
                TEXTS.. => rows[0].more += missed + 1,
                _ => {
                    rows.push(Row {
                        text: text.clone(),
                        level,
                        at: now,
                        more: missed,
                    });
                    lines.push((level, text));
                }
            }
        }
        (lines, first)
    }

    /// The summaries that are due, and when the next one may be; no time if no line of this kind was written in the last minute.
    fn summaries(&self, now: Instant) -> (Vec<(Level, String)>, Option<Duration>) {
        let mut lines = Vec::new();
        let Ok(mut rows) = self.rows.try_lock() else {
            return (lines, Some(MINUTE));
        };
        let mut next = None;
        rows.retain_mut(|row| {
            let left = match MINUTE.saturating_sub(now.duration_since(row.at)) {
                Duration::ZERO if row.more == 0 => return false,
                Duration::ZERO => {
                    lines.push((row.level, row.line(now)));
                    // It is the next minute's line.
                    (row.at, row.more) = (now, 0);
                    MINUTE
                }
                left => left,
            };
            next = earlier(next, left);
            true
        });
        (lines, next)
    }
}

impl Row {
    fn line(&self, now: Instant) -> String {
        let Row { text, more, .. } = self;
        match (more, now.duration_since(self.at).as_secs() / 60) {
            (0, _) => text.clone(),
            (_, ..2) => format!("{text} (and {more} more in the last minute)"),
            (_, minutes) => format!("{text} (and {more} more in the last {minutes} minutes)"),
        }
    }
}

/// Writes the summaries that are due. Returns when the next one may be.
pub(super) fn write_summaries() -> Option<Duration> {
    let now = Instant::now();
    let mut next = None;
    let mut due = Vec::new();
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    written.retain(|kind| {
        let (lines, left) = kind.summaries(now);
        due.extend(lines);
        next = left.map_or(next, |left| earlier(next, left));
        left.is_some()
    });
    drop(written);
    write(due);
    next
}

fn write(lines: Vec<(Level, String)>) {
    for (level, line) in lines {
        super::write(&level.as_str().to_lowercase(), line);
    }
}

fn earlier(one: Option<Duration>, other: Duration) -> Option<Duration> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &Kind, at: Instant, text: &str) -> Vec<String> {
        let (lines, _) = kind.event(at, Level::Warn, text.to_owned());
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn summaries(kind: &Kind, at: Instant) -> Vec<String> {
        let (lines, _) = kind.summaries(at);
        lines.into_iter().map(|(_, line)| line).collect()
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn one_line_a_minute_tells_of_the_others() {
        let kind = Kind::new();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(event(&kind, start, "a"), ["a"]);
        assert_eq!(
            kind.summaries(at(20)),
            (Vec::new(), Some(Duration::from_secs(40)))
        );
        assert_eq!(event(&kind, at(1), "a"), NOTHING);
        assert_eq!(event(&kind, at(59), "a"), NOTHING);
        assert_eq!(
            event(&kind, at(61), "a"),
            ["a (and 2 more in the last minute)"]
        );
        assert_eq!(event(&kind, at(62), "a"), NOTHING);
        assert_eq!(
            summaries(&kind, at(121)),
            ["a (and 1 more in the last minute)"]
        );
        // That was this minute's line.
        assert_eq!(event(&kind, at(122), "a"), NOTHING);
        assert_eq!(
            event(&kind, at(721), "b"),
            ["a (and 1 more in the last 10 minutes)", "b"]
        );
        assert_eq!(kind.summaries(at(900)), (Vec::new(), None));
        assert_eq!(event(&kind, at(901), "b"), ["b"]);
    }

    /// Protects: another reason is not hidden by the first one's count, nor can a client write endless ones.
    #[test]
    fn a_few_texts_are_told_apart() {
        let kind = Kind::new();
        let start = Instant::now();
        let written: usize = (0..100)
            .map(|number| event(&kind, start, &format!("reason {number}")).len())
            .sum();
        assert_eq!(written, TEXTS);
        assert_eq!(
            summaries(&kind, start + MINUTE),
            ["reason 0 (and 92 more in the last minute)"]
        );
    }

    /// Protects: a process that was forked while the lock was held must not wait for it.
    #[test]
    fn a_lock_that_is_held_costs_the_line_only() {
        let kind = Kind::new();
        let held = kind.rows.lock();
        assert_eq!(event(&kind, Instant::now(), "a"), NOTHING);
        assert_eq!(kind.summaries(Instant::now()), (Vec::new(), Some(MINUTE)));
        drop(held);
        let start = Instant::now();
        assert_eq!(event(&kind, start, "b"), ["b"]);
        assert_eq!(
            summaries(&kind, start + MINUTE),
            ["b (and 1 more in the last minute)"]
        );
    }
}
