//! Chunked content: how it is cut must not matter, and its last byte is where it says.

use bytes::BytesMut;
use gepok::http::error::Error;
use gepok::http::h1::chunked::{Decoder, Piece};
use gepok::http::limits::Limits;

/// The first byte chooses the limits (odd: small ones), the second the cuts; the content follows.
pub fn check(data: &[u8]) {
    let [size, seed, bytes @ ..] = data else {
        return;
    };
    let limits = if size % 2 == 1 {
        Limits {
            field_section: 20,
            fields: 2,
            content: Some(10),
            ..Limits::default()
        }
    } else {
        Limits::default()
    };
    let whole = decode([bytes].into_iter(), &limits);
    assert_eq!(
        whole,
        decode(super::pieces(bytes, *seed), &limits),
        "cuts change the content"
    );
    let Ok(Decoded { content, end }) = whole else {
        return;
    };
    assert!(
        limits
            .content
            .is_none_or(|limit| content.len() as u64 <= limit)
    );
    let Some(end) = end else {
        return;
    };
    let framed = &bytes[..end];
    let unfinished = decode([&framed[..end - 1]].into_iter(), &limits);
    assert_eq!(
        unfinished,
        Ok(Decoded {
            content: content.clone(),
            end: None
        }),
        "two ends"
    );
    assert_eq!(
        plainly_decoded(framed),
        Some(content),
        "a reader of lines sees other chunks"
    );
}

/// Content as a reader sees it who has it all and looks for line ends first (RFC 9112 section 7.1.3).
fn plainly_decoded(framed: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let mut rest = framed;
    loop {
        let line = take_line(&mut rest)?;
        let digits = line.split(|b| b" \t;".contains(b)).next()?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        match usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()? {
            0 => break,
            size => content.extend(rest.split_off(..size)?),
        }
        if !take_line(&mut rest)?.is_empty() {
            return None;
        }
    }
    while !take_line(&mut rest)?.is_empty() {}
    rest.is_empty().then_some(content)
}

/// Takes the bytes before the next CRLF, and the CRLF.
fn take_line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = rest.windows(2).position(|at| at == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}

#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    content: Vec<u8>,
    /// Bytes taken, where the end has come.
    end: Option<usize>,
}

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>, limits: &Limits) -> Result<Decoded, Error> {
    let mut decoder = Decoder::new(limits);
    let mut content = Vec::new();
    let mut given = 0;
    for piece in pieces {
        let mut buf = BytesMut::from(piece);
        given += piece.len();
        loop {
            match decoder.decode(&mut buf)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(&data);
                }
                Piece::More => {
                    assert!(
                        buf.is_empty(),
                        "what is to come would stand behind what was left"
                    );
                    break;
                }
                Piece::End => {
                    let end = Some(given - buf.len());
                    return Ok(Decoded { content, end });
                }
            }
        }
    }
    Ok(Decoded { content, end: None })
}
