//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use httpdate::HttpDate;
use nix::time::{ClockId, clock_gettime};

use super::message::Timestamp;

/// Length of an IMF-fixdate such as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub const LENGTH: usize = 29;

/// The last second that an IMF-fixdate, with its year of four digits, can name.
const LAST_SECOND: i64 = 253_402_300_799;

/// The IMF-fixdate of a time given in seconds since the epoch.
///
/// Times before 1970 or after the year 9999 are shown as the nearest one in between: a wrong clock must not
/// stop the server.
pub fn imf_fixdate(seconds: i64) -> [u8; LENGTH] {
    let seconds = seconds.clamp(0, LAST_SECOND).unsigned_abs();
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds));
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    // Every date has this length, so the slice takes it whole.
    let _ = write!(&mut text[..], "{date}");
    text
}

/// The seconds since the epoch that an HTTP-date names, in any of its three forms (RFC 9110 section 5.6.7).
///
/// Nothing for what is no date: a recipient ignores such a field.
pub fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim_ascii();
    let date = httpdate::parse_http_date(text).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Seconds since the epoch by the kernel's last tick, some milliseconds ago at most: cheaper than [`Timestamp::now`].
pub fn seconds_now() -> i64 {
    match clock_gettime(ClockId::CLOCK_REALTIME_COARSE) {
        Ok(now) => now.tv_sec(),
        Err(_) => Timestamp::now().seconds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_fixed_form() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
            (LAST_SECOND, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(String::from_utf8_lossy(&imf_fixdate(seconds)), text);
        }
    }

    #[test]
    fn three_forms_of_a_date_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(784_111_777)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(784_111_777)),
            ("Sun Nov  6 08:49:37 1994", Some(784_111_777)),
            (" Sun, 06 Nov 1994 08:49:37 GMT ", Some(784_111_777)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(LAST_SECOND)),
            ("Sun, 06 Nov 1994 08:49:37", None),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 25:49:37 GMT", None),
            ("784111777", None),
            ("", None),
            ("\u{e9}", None),
        ] {
            assert_eq!(parse(text.as_bytes()), seconds, "{text}");
        }
        for seconds in [0, 1, 951_782_400, 1_709_251_199, 4_102_444_799] {
            assert_eq!(parse(&imf_fixdate(seconds)), Some(seconds));
        }
    }

    #[test]
    fn a_clock_out_of_range_does_not_panic() {
        assert_eq!(imf_fixdate(-1), imf_fixdate(0));
        assert_eq!(imf_fixdate(i64::MIN), imf_fixdate(0));
        assert_eq!(imf_fixdate(i64::MAX), imf_fixdate(LAST_SECOND));
    }
}
