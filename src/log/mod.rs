//! Gepok's own lines: time, process and level, one write each to standard error.

use std::io::Write;

use ::log::{LevelFilter, Log, Metadata, Record};

use crate::semantics::message::Timestamp;

struct StandardError;

impl Log for StandardError {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("gepok")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let time = utc(Timestamp::now().seconds);
            let (pid, level) = (std::process::id(), record.level().as_str().to_lowercase());
            let line = format!("[{time}] [{pid}] [{level}] {}\n", record.args());
            // One write, so that lines of several processes do not mix. There is nobody to tell of an error.
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Sends the lines of this process, and of those forked from it, to standard error. GEPOK_LOG sets the
/// least level (error, warn, info, debug); warn without it.
pub fn start() {
    let level = std::env::var("GEPOK_LOG")
        .ok()
        .and_then(|level| level.parse().ok());
    // A second start in the same process changes nothing.
    let _ = ::log::set_logger(&StandardError);
    ::log::set_max_level(level.unwrap_or(LevelFilter::Warn));
}

/// `2026-11-20 12:34:56`: UTC, because local time would ask the environment, which the app may be changing.
fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a number of days since the epoch (proleptic Gregorian calendar). Years begin in
/// March here, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (4_102_444_800, "2100-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }
}
