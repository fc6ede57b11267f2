//! Points of time as log lines show them: local time by a rule that is read once, and the conversions of strftime(3).
//!
//! libc's localtime asks the environment, which an app may be changing in the same process. So the rule of the zone
//! is read when the server starts, daylight saving time to come included, and from then on it is only arithmetic.

use std::env;
use std::io::Write;

use tz::TimeZone;

/// The rule by which local time is reckoned.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// The zone of this process: TZ, else /etc/localtime, else UTC. To be called before an app runs beside us.
    pub fn system() -> Self {
        let zone = match env::var("TZ") {
            // As libc has it.
            Ok(name) if name.is_empty() => Ok(TimeZone::utc()),
            Ok(name) => TimeZone::from_posix_tz(&name),
            Err(_) => TimeZone::local(),
        };
        Zone(zone.unwrap_or_else(|_| TimeZone::utc()))
    }

    /// The zone of a TZ string such as `Europe/Berlin` or `CET-1CEST,M3.5.0,M10.5.0/3`, if it is one.
    pub fn named(name: &str) -> Option<Self> {
        TimeZone::from_posix_tz(name).ok().map(Zone)
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Zone(TimeZone::utc())
    }

    /// Local time at so many seconds since the epoch.
    pub fn at(&self, seconds: i64) -> Civil {
        let (offset, name) = match self.0.find_local_time_type(seconds) {
            Ok(kind) => (kind.ut_offset(), kind.time_zone_designation()),
            Err(_) => (0, "UTC"),
        };
        let mut zone = [b' '; ZONE_NAME];
        let length = name.len().min(ZONE_NAME);
        zone[..length].copy_from_slice(&name.as_bytes()[..length]);
        Civil {
            zone,
            zone_length: length as u8,
            ..Civil::of(seconds, offset)
        }
    }
}

/// Longest abbreviation of a zone that is shown.
const ZONE_NAME: usize = 8;

/// A point of time by calendar and clock.
#[derive(Clone, Copy, Debug)]
pub struct Civil {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Year of the common era.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, 1 to 31.
    pub day: u32,
    /// Hour, 0 to 23.
    pub hour: u32,
    /// Minute, 0 to 59.
    pub minute: u32,
    /// Second, 0 to 59.
    pub second: u32,
    /// Seconds east of Greenwich.
    pub offset: i32,
    zone: [u8; ZONE_NAME],
    zone_length: u8,
}

const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Civil {
    /// The time `offset` seconds east of Greenwich.
    pub fn of(seconds: i64, offset: i32) -> Self {
        let local = seconds + i64::from(offset);
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400) as u32);
        let (year, month, day) = civil(days);
        Civil {
            seconds,
            year,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            offset,
            zone: *b"UTC     ",
            zone_length: 3,
        }
    }

    /// Days since Sunday, 0 to 6.
    fn weekday(&self) -> u32 {
        let days = (self.seconds + i64::from(self.offset)).div_euclid(86_400);
        (days + 4).rem_euclid(7) as u32
    }

    /// Days since the first of January.
    fn day_of_year(&self) -> u32 {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = self.month > 2 && is_leap(self.year);
        before[self.month as usize - 1] + self.day - 1 + u32::from(leap)
    }

    /// Year and week of ISO 8601: weeks begin on Monday, the first has the year's first Thursday.
    fn iso_week(&self) -> (i64, u32) {
        let monday_based = (self.weekday() + 6) % 7;
        let week = (self.day_of_year() + 10 - monday_based) / 7;
        match week {
            0 => (self.year - 1, weeks(self.year - 1)),
            week if week > weeks(self.year) => (self.year + 1, 1),
            week => (self.year, week),
        }
    }

    /// `2026-11-20 12:34:56`
    pub fn put_plain(&self, out: &mut Vec<u8>) {
        self.put(
            out,
            &[Conversion::Date, Conversion::Text(b' '), Conversion::Time],
        );
    }

    /// `20/Nov/2026:12:34:56 +0100`: %t of Apache's log formats, within its brackets.
    pub fn put_clf(&self, out: &mut Vec<u8>) {
        put_padded(out, self.day, 2, b'0');
        out.push(b'/');
        out.extend_from_slice(&self.month_name().as_bytes()[..3]);
        let _ = write!(out, "/{:04}:", self.year);
        self.put_time(out);
        out.push(b' ');
        self.put_offset(out, false);
    }

    /// `2026-11-20T12:34:56.123456+01:00` (RFC 3339).
    pub fn put_rfc3339(&self, out: &mut Vec<u8>, micros: u32) {
        self.put(out, &[Conversion::Date, Conversion::Text(b'T')]);
        self.put_time(out);
        let _ = write!(out, ".{micros:06}");
        self.put_offset(out, true);
    }

    /// `Nov 20 12:34:56`: as syslog(3) has it.
    pub fn put_syslog(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.month_name().as_bytes()[..3]);
        out.push(b' ');
        put_padded(out, self.day, 2, b' ');
        out.push(b' ');
        self.put_time(out);
    }

    fn month_name(&self) -> &'static str {
        MONTHS[self.month as usize - 1]
    }

    fn put_time(&self, out: &mut Vec<u8>) {
        put_padded(out, self.hour, 2, b'0');
        out.push(b':');
        put_padded(out, self.minute, 2, b'0');
        out.push(b':');
        put_padded(out, self.second, 2, b'0');
    }

    fn put_offset(&self, out: &mut Vec<u8>, colon: bool) {
        let minutes = self.offset.unsigned_abs() / 60;
        out.push(if self.offset < 0 { b'-' } else { b'+' });
        put_padded(out, minutes / 60, 2, b'0');
        if colon {
            out.push(b':');
        }
        put_padded(out, minutes % 60, 2, b'0');
    }

    /// Appends what the conversions ask for.
    pub fn put(&self, out: &mut Vec<u8>, conversions: &[Conversion]) {
        for conversion in conversions {
            self.put_one(out, *conversion);
        }
    }

    fn put_one(&self, out: &mut Vec<u8>, conversion: Conversion) {
        let twelve = match self.hour % 12 {
            0 => 12,
            hour => hour,
        };
        let weekday = self.weekday();
        let day_name = DAYS[weekday as usize];
        match conversion {
            Conversion::Text(byte) => out.push(byte),
            Conversion::Date => {
                let _ = write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day);
            }
            Conversion::Time => self.put_time(out),
            Conversion::Spec(spec) => match spec {
                b'a' => out.extend_from_slice(&day_name.as_bytes()[..3]),
                b'A' => out.extend_from_slice(day_name.as_bytes()),
                b'b' | b'h' => out.extend_from_slice(&self.month_name().as_bytes()[..3]),
                b'B' => out.extend_from_slice(self.month_name().as_bytes()),
                b'C' => put_padded(out, (self.year / 100) as u32, 2, b'0'),
                b'd' => put_padded(out, self.day, 2, b'0'),
                b'e' => put_padded(out, self.day, 2, b' '),
                b'G' => out.extend_from_slice(self.iso_week().0.to_string().as_bytes()),
                b'g' => put_padded(out, self.iso_week().0.rem_euclid(100) as u32, 2, b'0'),
                b'H' => put_padded(out, self.hour, 2, b'0'),
                b'I' => put_padded(out, twelve, 2, b'0'),
                b'j' => put_padded(out, self.day_of_year() + 1, 3, b'0'),
                b'k' => put_padded(out, self.hour, 2, b' '),
                b'l' => put_padded(out, twelve, 2, b' '),
                b'm' => put_padded(out, self.month, 2, b'0'),
                b'M' => put_padded(out, self.minute, 2, b'0'),
                b'p' => out.extend_from_slice(if self.hour < 12 { b"AM" } else { b"PM" }),
                b's' => out.extend_from_slice(self.seconds.to_string().as_bytes()),
                b'S' => put_padded(out, self.second, 2, b'0'),
                b'u' => put_padded(out, if weekday == 0 { 7 } else { weekday }, 1, b'0'),
                b'U' => put_padded(out, (self.day_of_year() + 7 - weekday) / 7, 2, b'0'),
                b'V' => put_padded(out, self.iso_week().1, 2, b'0'),
                b'w' => put_padded(out, weekday, 1, b'0'),
                b'W' => {
                    let since_monday = (weekday + 6) % 7;
                    put_padded(out, (self.day_of_year() + 7 - since_monday) / 7, 2, b'0');
                }
                b'y' => put_padded(out, self.year.rem_euclid(100) as u32, 2, b'0'),
                b'Y' => out.extend_from_slice(self.year.to_string().as_bytes()),
                b'z' => self.put_offset(out, false),
                b'Z' => out.extend_from_slice(&self.zone[..usize::from(self.zone_length)]),
                // No other is made.
                _ => {}
            },
        }
    }
}

/// A part of a strftime(3) format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// A byte that stands for itself.
    Text(u8),
    /// `%F`
    Date,
    /// `%T`
    Time,
    /// One of the conversions that put a single number or name.
    Spec(u8),
}

/// The conversions of a strftime(3) format, in the C locale. An error is the conversion that is not known.
pub fn conversions(format: &str) -> Result<Vec<Conversion>, String> {
    let mut parts = Vec::new();
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            parts.push(Conversion::Text(byte));
            continue;
        }
        let composed = match bytes.next() {
            Some(b'%') => {
                parts.push(Conversion::Text(b'%'));
                continue;
            }
            Some(b't') => {
                parts.push(Conversion::Text(b'\t'));
                continue;
            }
            Some(b'F') => {
                parts.push(Conversion::Date);
                continue;
            }
            Some(b'T' | b'X') => {
                parts.push(Conversion::Time);
                continue;
            }
            Some(b'c') => "%a %b %e %H:%M:%S %Y",
            Some(b'D' | b'x') => "%m/%d/%y",
            Some(b'r') => "%I:%M:%S %p",
            Some(b'R') => "%H:%M",
            Some(spec) if b"aAbhBCdeGgHIjklmMpsSuUVwWyYzZ".contains(&spec) => {
                parts.push(Conversion::Spec(spec));
                continue;
            }
            Some(spec) => return Err(format!("%{}", char::from(spec))),
            None => return Err("%".to_owned()),
        };
        parts.extend(conversions(composed)?);
    }
    Ok(parts)
}

/// Appends a number, padded to a width of at most three.
fn put_padded(out: &mut Vec<u8>, number: u32, width: usize, pad: u8) {
    let digits = [100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8);
    let mut leading = true;
    for &digit in &digits[3 - width..] {
        leading &= digit == b'0';
        out.push(if leading { pad } else { digit });
    }
    if leading && pad != b'0' {
        // Zero itself is shown.
        out.pop();
        out.push(b'0');
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Weeks of an ISO year: 53 where it begins on a Thursday, or on a Wednesday and is leap.
fn weeks(year: i64) -> u32 {
    let first = Civil {
        year,
        month: 1,
        day: 1,
        ..Civil::of(days_before(year) * 86_400, 0)
    };
    let weekday = first.weekday();
    52 + u32::from(weekday == 4 || (weekday == 3 && is_leap(year)))
}

/// Days from the epoch to the first of January of a year.
fn days_before(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400)
        - (1969 / 4 - 1969 / 100 + 1969 / 400)
}

/// Year, month and day of a number of days since the epoch (proleptic Gregorian calendar). Years begin in
/// March here, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, u32, u32) {
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
    (
        era * 400 + year_of_era + i64::from(month <= 2),
        month as u32,
        day as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn strftime(civil: &Civil, format: &str) -> String {
        text(|out| civil.put(out, &conversions(format).unwrap()))
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
            let civil = Civil::of(seconds, 0);
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
        assert_eq!(strftime(&west, "%Z %z"), "-0330 -0330");
        assert_eq!(text(|out| west.put_syslog(out)), "Dec 31 20:30:00");
        assert!(Zone::named("no such zone").is_none());
    }

    #[test]
    fn conversions_are_those_of_strftime() {
        let civil = Civil::of(1_704_099_909, 0);
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
            assert_eq!(strftime(&civil, format), expected, "{format}");
        }
        // Days around the turn of years, whose week is one of another year's.
        for (seconds, week) in [
            (1_609_459_200, "2020-53 5"),
            (1_577_664_000, "2020-01 1"),
            (1_483_228_800, "2016-52 7"),
            (1_230_768_000, "2009-01 4"),
        ] {
            assert_eq!(strftime(&Civil::of(seconds, 0), "%G-%V %u"), week);
        }
        let midnight = Civil::of(86_400 * 365, 0);
        assert_eq!(strftime(&midnight, "%k %l %p"), " 0 12 AM");
    }

    #[test]
    fn unknown_conversions_are_named() {
        assert_eq!(conversions("%Y %Q"), Err("%Q".to_owned()));
        assert_eq!(conversions("%Y%n"), Err("%n".to_owned()));
        assert_eq!(conversions("100%"), Err("%".to_owned()));
    }
}
