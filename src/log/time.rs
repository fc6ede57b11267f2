//! Points of time as log lines show them: local time by a rule that is read once, and the conversions of strftime(3).
//!
//! libc's localtime asks the environment, which an app may be changing in the same process. So the rule of the zone
//! is read when the server starts, daylight saving time to come included, and from then on it is only arithmetic.

use std::env;
use std::io::Write;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// The rule by which local time is reckoned.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Zone::utc()
    }
}

impl Zone {
    /// The zone of this process: TZ, else /etc/localtime, else UTC. To be called before an app runs beside us.
    pub fn system() -> Self {
        match env::var("TZ") {
            // As libc has it.
            Ok(name) if name.is_empty() => Some(Zone::utc()),
            Ok(name) => Zone::named(&name),
            Err(_) => std::fs::read("/etc/localtime")
                .ok()
                .and_then(|data| TimeZone::tzif("localtime", &data).ok())
                .map(Zone),
        }
        .unwrap_or_else(Zone::utc)
    }

    /// The zone of a TZ string such as `Europe/Berlin`, `:/etc/localtime` or `CET-1CEST,M3.5.0,M10.5.0/3`, if it is one.
    pub fn named(name: &str) -> Option<Self> {
        let file = name.strip_prefix(':').unwrap_or(name);
        let zone = if file.starts_with('/') {
            TimeZone::tzif(file, &std::fs::read(file).ok()?)
        } else {
            TimeZone::get(file).or_else(|_| TimeZone::posix(file))
        };
        zone.ok().map(Zone)
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Zone(TimeZone::UTC)
    }

    /// Local time at this many seconds since the epoch.
    pub fn at(&self, seconds: i64) -> Civil {
        let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        Civil {
            seconds,
            zoned: time.to_zoned_datetime(self.0.clone()),
        }
    }
}

/// A point of time by calendar and clock.
#[derive(Clone, Debug)]
pub struct Civil {
    /// Seconds since the epoch.
    pub seconds: i64,
    zoned: ZonedDateTime,
}

impl Civil {
    /// Coordinated universal time.
    pub fn utc(seconds: i64) -> Self {
        Zone::utc().at(seconds)
    }

    /// `2026-11-20 12:34:56`
    pub fn put_plain(&self, out: &mut Vec<u8>) {
        self.put(out, "%F %T");
    }

    /// `20/Nov/2026:12:34:56 +0100`: %t of Apache's log formats, within its brackets.
    pub fn put_clf(&self, out: &mut Vec<u8>) {
        self.put(out, "%d/%b/%Y:%T %z");
    }

    /// `2026-11-20T12:34:56.123456+01:00` (RFC 3339).
    pub fn put_rfc3339(&self, out: &mut Vec<u8>, micros: u32) {
        self.put(out, "%FT%T");
        let _ = write!(out, ".{micros:06}");
        self.put(out, "%:z");
    }

    /// `Nov 20 12:34:56`: as syslog(3) has it.
    pub fn put_syslog(&self, out: &mut Vec<u8>) {
        self.put(out, "%b %e %T");
    }

    /// Appends what a format of [`strftime`] asks for.
    pub fn put(&self, out: &mut Vec<u8>, format: &str) {
        let _ = write!(out, "{}", self.zoned.strftime(format));
    }
}

/// The same format in those conversions of strftime(3) that put one number or name in the C locale. An error is the
/// conversion that is not known; %n is none, since a line must stay one.
pub fn strftime(format: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        let spec = chars.next().ok_or("%")?;
        match spec {
            't' => plain.push('\t'),
            'c' => plain.push_str("%a %b %e %T %Y"),
            'D' | 'x' => plain.push_str("%m/%d/%y"),
            'r' => plain.push_str("%I:%M:%S %p"),
            'R' => plain.push_str("%H:%M"),
            'X' => plain.push_str("%T"),
            spec if "%aAbBCdeFgGhHIjklmMpsSTuUVwWyYzZ".contains(spec) => {
                plain.extend(['%', spec]);
            }
            spec => return Err(format!("%{spec}")),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn formatted(civil: &Civil, format: &str) -> String {
        text(|out| civil.put(out, &strftime(format).unwrap()))
    }

    #[test]
    fn dates() {
        for (seconds, plain) in [
            (0, "1970-01-01 00:00:00"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (1_709_251_199, "2024-02-29 23:59:59"),
            (4_102_444_800, "2100-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
        ] {
            let civil = Civil::utc(seconds);
            assert_eq!(text(|out| civil.put_plain(out)), plain);
        }
    }

    #[test]
    fn local_time_follows_the_rule_through_the_year() {
        let zone = Zone::named("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (seconds, clf) in [
            (1_774_745_999, "29/Mar/2026:01:59:59 +0100"),
            (1_774_746_000, "29/Mar/2026:03:00:00 +0200"),
            (1_792_889_999, "25/Oct/2026:02:59:59 +0200"),
            (1_792_890_000, "25/Oct/2026:02:00:00 +0100"),
        ] {
            let civil = zone.at(seconds);
            assert_eq!(text(|out| civil.put_clf(out)), clf);
        }
        let west = Zone::named("<-0330>3:30").unwrap().at(0);
        assert_eq!(
            text(|out| west.put_rfc3339(out, 42)),
            "1969-12-31T20:30:00.000042-03:30"
        );
        assert_eq!(formatted(&west, "%Z %z"), "-0330 -0330");
        assert_eq!(text(|out| west.put_syslog(out)), "Dec 31 20:30:00");
        assert!(Zone::named("no such zone").is_none());
    }

    #[test]
    fn conversions_are_those_of_strftime() {
        let civil = Civil::utc(1_704_099_909);
        for (format, expected) in [
            ("%Y-%m-%dT%H:%M:%S", "2024-01-01T09:05:09"),
            (
                "%F %T|%D|%R|%r",
                "2024-01-01 09:05:09|01/01/24|09:05|09:05:09 AM",
            ),
            ("%a %A %b %B %h", "Mon Monday Jan January Jan"),
            ("%C %y %e|%k|%l|%I|%j", "20 24  1| 9| 9|09|001"),
            ("%u %w %U %W %V %G %g", "1 1 00 01 01 2024 24"),
            ("%s%%%t%Z", "1704099909%\tUTC"),
            ("%c", "Mon Jan  1 09:05:09 2024"),
        ] {
            assert_eq!(formatted(&civil, format), expected, "{format}");
        }
        // Days around the turn of years, whose week is one of another year's.
        for (seconds, week) in [
            (1_609_459_200, "2020-53 5"),
            (1_577_664_000, "2020-01 1"),
            (1_483_228_800, "2016-52 7"),
            (1_230_768_000, "2009-01 4"),
        ] {
            assert_eq!(formatted(&Civil::utc(seconds), "%G-%V %u"), week);
        }
        let midnight = Civil::utc(86_400 * 365);
        assert_eq!(formatted(&midnight, "%k %l %p"), " 0 12 AM");
    }

    #[test]
    fn unknown_conversions_are_named() {
        assert_eq!(strftime("%Y %Q"), Err("%Q".to_owned()));
        assert_eq!(strftime("%Y%n"), Err("%n".to_owned()));
        assert_eq!(strftime("100%"), Err("%".to_owned()));
    }
}
