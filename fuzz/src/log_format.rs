//! Access log formats: any text is a format or refused with a sentence, and what a format writes is one line.

use std::time::Duration;

use gepok::log::format::Format;
use gepok::log::line::Writer;
use gepok::log::record::{Call, Ending, Record};
use gepok::log::time::Zone;
use gepok::semantics::field::Fields;
use gepok::semantics::message::{RequestHead, Timestamp, Version};
use gepok::semantics::source::{Endpoints, Source};

/// The first line is a format, the rest what a client sends.
pub fn check(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == b'\n');
    let (format, client) = match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, data),
    };
    let Ok(text) = std::str::from_utf8(format) else {
        return;
    };
    let format = match Format::parse(text) {
        Ok(format) => format,
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.is_empty() && !sentence.chars().any(char::is_control));
            return;
        }
    };
    let names = ["Host", "Referer", "User-Agent", "Cookie", "Authorization"];
    let fields = Fields::from_pairs(names.map(|name| (name.as_bytes(), client)));
    let Some(first) = fields.lines().first().copied() else {
        return;
    };
    let head = RequestHead {
        method: first.name,
        target: first.value,
        version: Version::Http11,
        fields,
    };
    let (Ok(peer), Ok(local)) = ("[::1]:1".parse(), "127.0.0.1:2".parse()) else {
        return;
    };
    let record = Record {
        host: None,
        listener: 0,
        source: &Source::from(Endpoints::Ip { peer, local }),
        tls: None,
        head: Some(&head),
        line: client,
        started: Timestamp {
            seconds: 1_774_746_000,
            micros: 999_999,
        },
        receiving: None,
        first_byte: Some(Duration::from_micros(7)),
        duration: Duration::from_millis(1500),
        status: Some(404),
        response: client,
        received: 1,
        sent: u64::from(u32::MAX),
        content: 0,
        number: 1,
        stream: None,
        ending: Ending::Closes,
        call: Some(Call {
            pid: 4711,
            id: 1,
            queued: Duration::ZERO,
            called: None,
        }),
    };
    let mut out = Vec::new();
    Writer::new(format, Zone::utc(), vec![("a".into(), "1".into())]).put(&mut out, &record);
    let line = out
        .strip_suffix(b"\n")
        .unwrap_or_else(|| panic!("no line feed ends the line"));
    let control = |byte: &u8| *byte < b' ' && *byte != b'\t';
    assert!(!line.iter().any(control), "a control byte gets out");
}
