//! The fields that the server adds to responses, as lines of HTTP/1: made once a second.

use bytes::Bytes;

use crate::semantics::date::{imf_fixdate, seconds_now};

/// Seconds after which a client may try again where the server was overloaded (RFC 9110 section 10.2.3).
pub(super) const RETRY_AFTER: &str = "5";

const DATE: &[u8] = b"Date: ";
const CRLF: &[u8] = b"\r\n";

/// The lines of one second.
#[derive(Debug)]
pub struct ServerFields {
    server: Option<Bytes>,
    second: i64,
    /// Date, then Server if there is to be one.
    lines: Vec<u8>,
}

/// The lines now.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    /// All of them.
    pub all: &'a [u8],
    /// Where the Date field ends and the Server field begins, if there is one.
    pub date: usize,
}

impl ServerFields {
    /// Fields with this value of Server.
    pub fn new(server: Option<Bytes>) -> Self {
        let mut fields = ServerFields {
            server,
            second: 0,
            lines: Vec::new(),
        };
        fields.write(0);
        fields
    }

    /// The lines now.
    pub fn now(&mut self) -> Lines<'_> {
        let second = seconds_now();
        if second != self.second {
            self.write(second);
        }
        Lines {
            all: &self.lines,
            date: DATE.len() + crate::semantics::date::LENGTH + CRLF.len(),
        }
    }

    fn write(&mut self, second: i64) {
        self.second = second;
        let date = imf_fixdate(second);
        self.lines = [DATE, &date, CRLF].concat();
        if let Some(server) = &self.server {
            self.lines
                .extend_from_slice(&[b"Server: ", &server[..], CRLF].concat());
        }
    }
}

impl<'a> Lines<'a> {
    /// The Date field.
    pub fn date(self) -> &'a [u8] {
        &self.all[..self.date]
    }

    /// The value of the Date field.
    pub fn date_value(self) -> &'a [u8] {
        &self.all[DATE.len()..self.date - CRLF.len()]
    }

    /// The Server field, or nothing.
    pub fn server(self) -> &'a [u8] {
        &self.all[self.date..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_follow_the_clock_both_ways() {
        for server in [None, Some(Bytes::from_static(b"S/1"))] {
            let mut fields = ServerFields::new(server.clone());
            for second in [5, 784_111_777, 0] {
                fields.write(second);
                let now = fields.now();
                assert_eq!(now.all, [now.date(), now.server()].concat());
                assert_eq!(now.server().is_empty(), server.is_none());
            }
            fields.write(784_111_777);
            let date = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
            assert!(fields.lines.starts_with(date));
            let now = fields.now();
            assert_ne!(now.date(), date);
            assert_eq!(now.date(), [DATE, now.date_value(), CRLF].concat());
        }
    }
}
