//! Clients of HTTP/2 for the core under arbitrary input: frames, and what must hold of those that come back.

use std::collections::BTreeMap;

use super::{Input, read_mark};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Header blocks of requests that clients can send at once, whether that is all of them, and content.
const REQUESTS: [(&[u8], bool, &[u8]); 8] = [
    (b"\x82\x84\x86\x41\x01h", true, b""),
    (b"\x42\x04HEAD\x84\x86\x41\x01h", true, b""),
    (b"\x83\x84\x86\x41\x01h\x5c\x013", false, b"abc"),
    (b"\x83\x84\x86\x41\x01h", false, b""),
    (
        b"\x83\x84\x86\x41\x01h\x00\x06expect\x0c100-continue",
        false,
        b"",
    ),
    (
        b"\x42\x07CONNECT\x40\x09:protocol\x09websocket\x84\x86\x41\x01h",
        false,
        b"",
    ),
    (
        b"\x82\x84\x86\x41\x01h\x60\x03a=b\xbe\xbe\xbe\xbe",
        true,
        b"",
    ),
    (b"\x82\x84\x86\x41\x01h\x00\x02te\x08trailers", true, b""),
];

/// What a client sends first.
pub(super) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    put(&mut bytes, SETTINGS, 0, 0, b"");
    bytes
}

/// A request on the stream of this number.
pub(super) fn request(input: &mut Input<'_>, stream: u32) -> Vec<u8> {
    let (block, is_whole, content) = REQUESTS[input.below(REQUESTS.len())];
    let mut bytes = Vec::new();
    let flags = END_HEADERS | if is_whole { END_STREAM } else { 0 };
    put(&mut bytes, HEADERS, flags, stream, block);
    if !content.is_empty() {
        put(&mut bytes, DATA, END_STREAM, stream, content);
    }
    bytes
}

/// Any frame.
pub(super) fn frame(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let kind = input.below(11) as u8;
    let flags = input.below(64) as u8;
    let stream = input.below(16) as u32;
    put(&mut bytes, kind, flags, stream, input.bytes());
    bytes
}

fn put(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    bytes.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
}

/// What has come on a stream.
#[derive(Default)]
struct Stream {
    content: Vec<u8>,
    is_over: bool,
}

/// Looks at all that has come to client `number`.
///
/// # Panics
/// When it is another client's, comes twice, or comes after the end of its stream.
pub(super) fn check(number: i32, received: &[u8]) {
    let mut streams = BTreeMap::<u32, Stream>::new();
    let mut rest = received;
    while let Some((head, payload)) = rest.split_at_checked(HEAD) {
        let [high, middle, low, kind, flags, a, b, c, d] = *head else {
            break;
        };
        let length = u32::from_be_bytes([0, high, middle, low]) as usize;
        let Some((payload, more)) = payload.split_at_checked(length) else {
            break;
        };
        rest = more;
        let id = u32::from_be_bytes([a, b, c, d]);
        if !matches!(kind, DATA | HEADERS | CONTINUATION | RST_STREAM) {
            continue;
        }
        let stream = streams.entry(id).or_default();
        if kind == RST_STREAM {
            stream.is_over = true;
            continue;
        }
        assert!(!stream.is_over, "a frame after the end of stream {id}");
        stream.is_over = kind != CONTINUATION && flags & END_STREAM != 0;
        if kind == DATA {
            stream.content.extend_from_slice(payload);
        }
    }
    let mut seen = Vec::new();
    for (id, stream) in streams {
        let mut marks = 0;
        for at in 0..stream.content.len() {
            let Some((connection, response)) = read_mark(&stream.content[at..]) else {
                continue;
            };
            assert_eq!(connection, number, "another client's response");
            assert!(!seen.contains(&response), "a response has come twice");
            seen.push(response);
            marks += 1;
        }
        assert!(marks < 2, "two responses on stream {id}");
    }
}
