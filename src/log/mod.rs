//! Gepok's own lines: time, process and level, to standard error (`own`, `limit`). Below it, the access log.

#![forbid(unsafe_code)]

pub(crate) mod access;
pub(crate) mod destination;
mod escape;
pub mod format;
pub(crate) mod host_logs;
pub(crate) mod limit;
pub mod line;
pub(crate) mod own;
pub mod record;
mod sink;
mod target;
pub mod time;

use std::fmt::{self, Display};
use std::io::Write;

use ::log::{LevelFilter, Log, Metadata, Record};

pub(crate) use self::limit::limited;
use self::time::Civil;
use crate::semantics::message::Timestamp;
use crate::semantics::wording::plain;

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gepok")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            write(&record.level().as_str().to_lowercase(), record.args());
        }
    }

    fn flush(&self) {
        own::flush();
    }
}

fn write(level: &str, text: impl Display) {
    own::put(&line(level, text));
}

fn line(level: &str, text: impl Display) -> Vec<u8> {
    let mut line = vec![b'['];
    // UTC: the lines of all processes must be in one order, and local time may jump back.
    Civil::utc(Timestamp::now().seconds).put_plain(&mut line);
    let pid = std::process::id();
    let text = text.to_string();
    let text = plain(&text);
    let _ = writeln!(line, "] [{pid}] [{level}] {}", escape::visible(&text));
    line
}

/// Writes a whole line of ours, without waiting for the reader of standard error.
pub fn write_line(line: &[u8]) {
    own::put(line);
}

/// A line about the server's life that is no warning, and is written at every level but error and off.
pub fn notice(text: fmt::Arguments<'_>) {
    if ::log::max_level() >= LevelFilter::Warn {
        write("notice", text);
    }
}

/// Sends the lines of this process, and of those forked from it, to standard error. Their least level is `level`,
/// else what GEPOK_LOG says (off, error, warn, info, debug), else warn.
pub fn start(level: Option<&str>) {
    let level = level
        .map(str::to_owned)
        .or_else(|| std::env::var("GEPOK_LOG").ok())
        .and_then(|level| level.parse().ok());
    // A second start in the same process changes nothing.
    let _ = ::log::set_logger(&StandardError);
    ::log::set_max_level(level.unwrap_or(LevelFilter::Warn));
}
