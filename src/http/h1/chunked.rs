//! Decoding of chunked content (RFC 9112 section 7.1).

use bytes::{Buf, Bytes, BytesMut};

use crate::http::error::Error;
use crate::http::limits::{self, Limits};
use crate::semantics::target::hex_value;

use super::syntax::{is_token_byte, is_value_byte};

/// The most digits of a chunk size, leading zeros included: what 64 bits hold.
const DIGITS: u8 = 16;

/// What a step of decoding gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Some content, never empty.
    Data(Bytes),
    /// The buffer holds no more of it: read on.
    More,
    /// The content and its trailers are complete; what the buffer holds belongs to the next request.
    End,
}

/// What a look at some bytes has found at their front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of framing.
    pub framing: usize,
    /// Bytes of content that follow them.
    pub data: usize,
}

/// Decodes the chunked content of one message.
///
/// Each byte of framing is looked at once, however slowly it comes. Extensions and trailers are checked and
/// dropped. Every line must end in CRLF: a server that took a bare LF could be made to see other chunks
/// than the proxy before it.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of content in all chunks whose size has been read.
    announced: u64,
    /// Bytes that they may have.
    most: u64,
    extensions_left: usize,
    trailers_left: usize,
    trailer_lines_left: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Within the digits of a size.
    Size { size: u64, digits: u8 },
    /// White space after the digits, which only an extension may follow.
    Space { size: u64 },
    /// Within extensions.
    Extension { size: u64 },
    /// Between quotes in an extension: no line may end there, since a reader that knows quotes would read on.
    Quoted { size: u64 },
    /// Behind a backslash between quotes.
    Escaped { size: u64 },
    /// Behind the CR of a size line.
    SizeEnd { size: u64 },
    /// Within data, with this many bytes to come.
    Data { left: u64 },
    /// Behind data.
    DataCr,
    /// Behind the CR that follows data.
    DataEnd,
    /// At the beginning of a line after the last chunk.
    Trailer,
    /// Within a trailer's name.
    TrailerName,
    /// Within a trailer's value.
    TrailerValue,
    /// Behind the CR of a trailer line.
    TrailerEnd,
    /// Behind the CR of the empty line.
    LastLine,
    /// Behind everything.
    End,
}

const NEXT_SIZE: State = State::Size { size: 0, digits: 0 };

impl Decoder {
    /// A decoder at the first chunk.
    pub fn new(limits: &Limits) -> Self {
        Decoder {
            state: NEXT_SIZE,
            announced: 0,
            most: limits.content.unwrap_or(u64::MAX),
            extensions_left: limits::CHUNK_EXTENSIONS,
            trailers_left: limits.field_section,
            trailer_lines_left: limits.fields,
        }
    }

    /// Takes the next piece off the front of `buf`. Behind an error, nothing more can be read.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Piece, Error> {
        let step = self.scan(buf)?;
        buf.advance(step.framing);
        Ok(match step.data {
            0 if self.is_complete() => Piece::End,
            0 => Piece::More,
            data => Piece::Data(buf.split_to(data).freeze()),
        })
    }

    /// Goes over the next bytes, up to the end of what is here of one chunk's data, or of the content. Behind an error,
    /// nothing more can be read.
    pub fn scan(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        for (framing, &byte) in bytes.iter().enumerate() {
            match self.state {
                State::Data { left } => {
                    let data = self.take_data(left, bytes.len() - framing);
                    return Ok(Step { framing, data });
                }
                State::End => return Ok(Step { framing, data: 0 }),
                _ => self.state = self.step(byte)?,
            }
        }
        Ok(Step {
            framing: bytes.len(),
            data: 0,
        })
    }

    /// Whether the content and its trailers are complete.
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// Bytes of content that have been announced so far: they need not have come yet.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Takes as much of a chunk's data as is here, at least a byte.
    fn take_data(&mut self, left: u64, here: usize) -> usize {
        let length = here.min(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - length as u64;
        self.state = if left == 0 {
            State::DataCr
        } else {
            State::Data { left }
        };
        length
    }

    /// The state after one byte of framing.
    fn step(&mut self, byte: u8) -> Result<State, Error> {
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, _) if hex_value(byte).is_some() => {
                if digits == DIGITS {
                    return Err(Error::Chunk);
                }
                State::Size {
                    size: size << 4 | u64::from(hex_value(byte).unwrap_or(0)),
                    digits: digits + 1,
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Error::Chunk),
            (State::Size { size, .. }, b' ' | b'\t') => {
                self.count_extension()?;
                State::Space { size }
            }
            (State::Size { size, .. } | State::Space { size }, b';') => {
                self.count_extension()?;
                State::Extension { size }
            }
            (State::Space { size }, b' ' | b'\t') => {
                self.count_extension()?;
                State::Space { size }
            }
            (State::Size { size, .. } | State::Extension { size }, b'\r') => {
                State::SizeEnd { size }
            }
            (State::Extension { size }, b'"') | (State::Escaped { size }, _)
                if is_value_byte(byte) =>
            {
                self.count_extension()?;
                State::Quoted { size }
            }
            (State::Quoted { size }, b'\\') => {
                self.count_extension()?;
                State::Escaped { size }
            }
            (State::Quoted { size }, b'"') => {
                self.count_extension()?;
                State::Extension { size }
            }
            (State::Quoted { size }, _) if is_value_byte(byte) => {
                self.count_extension()?;
                State::Quoted { size }
            }
            (State::Extension { size }, _) if is_value_byte(byte) => {
                self.count_extension()?;
                State::Extension { size }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer,
            (State::SizeEnd { size }, b'\n') => {
                // At once, not when so much has come: the client may not have sent it yet.
                self.announced = self
                    .announced
                    .checked_add(size)
                    .filter(|&announced| announced <= self.most)
                    .ok_or(Error::ContentTooLarge)?;
                State::Data { left: size }
            }
            (State::DataCr, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => NEXT_SIZE,

            (State::Trailer, b'\r') => State::LastLine,
            (State::LastLine, b'\n') => State::End,
            (State::Trailer, _) if is_token_byte(byte) => {
                self.trailer_lines_left = self
                    .trailer_lines_left
                    .checked_sub(1)
                    .ok_or(Error::TooManyFields)?;
                self.count_trailer()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => {
                self.count_trailer()?;
                State::TrailerValue
            }
            (State::TrailerName, _) if is_token_byte(byte) => {
                self.count_trailer()?;
                State::TrailerName
            }
            (State::TrailerValue, b'\r') => {
                self.count_trailer()?;
                State::TrailerEnd
            }
            (State::TrailerValue, _) if is_value_byte(byte) => {
                self.count_trailer()?;
                State::TrailerValue
            }
            (State::TrailerEnd, b'\n') => {
                self.count_trailer()?;
                State::Trailer
            }

            (
                State::Trailer
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerEnd
                | State::LastLine,
                _,
            ) => return Err(Error::Trailer),
            _ => return Err(Error::Chunk),
        })
    }

    fn count_extension(&mut self) -> Result<(), Error> {
        self.extensions_left = self
            .extensions_left
            .checked_sub(1)
            .ok_or(Error::ChunkExtensionsTooLarge)?;
        Ok(())
    }

    fn count_trailer(&mut self) -> Result<(), Error> {
        self.trailers_left = self
            .trailers_left
            .checked_sub(1)
            .ok_or(Error::FieldSectionTooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decoded content and what is left after it; nothing while the end has not come.
    type Decoded = Result<Option<(Vec<u8>, Vec<u8>)>, Error>;

    fn decode_in_steps(bytes: &[u8], step: usize, limits: &Limits) -> Decoded {
        let mut decoder = Decoder::new(limits);
        let mut buf = BytesMut::new();
        let mut content = Vec::new();
        let mut given = 0;
        loop {
            match decoder.decode(&mut buf)? {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    content.extend_from_slice(&data);
                }
                Piece::More => {
                    assert!(buf.is_empty());
                    if given == bytes.len() {
                        return Ok(None);
                    }
                    let end = (given + step.max(1)).min(bytes.len());
                    buf.extend_from_slice(&bytes[given..end]);
                    given = end;
                }
                Piece::End => {
                    assert_eq!(decoder.decode(&mut buf), Ok(Piece::End));
                    buf.extend_from_slice(&bytes[given..]);
                    return Ok(Some((content, buf.to_vec())));
                }
            }
        }
    }

    /// Decodes at once and byte by byte, which must give the same.
    fn decode(bytes: &[u8]) -> Decoded {
        let limits = Limits::default();
        let whole = decode_in_steps(bytes, bytes.len(), &limits);
        let slow = decode_in_steps(bytes, 1, &limits);
        assert_eq!(whole, slow, "{}", bytes.escape_ascii());
        whole
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn valid_content() {
        for (name, bytes, content, rest) in [
            ("nothing", "0\r\n\r\n", "", ""),
            ("many zeros", "0000\r\n\r\n", "", ""),
            ("sixteen zeros", "0000000000000000\r\n\r\n", "", ""),
            ("one chunk", "5\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("two chunks", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "abcde", ""),
            ("hex, both cases", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ""),
            ("two digits", "10\r\n0123456789abcdef\r\n0\r\n\r\n", "0123456789abcdef", ""),
            ("leading zeros", "0005\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("CRLF as content", "2\r\n\r\n\r\n0\r\n\r\n", "\r\n", ""),
            ("a chunk within", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", ""),
            ("an extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", ""),
            ("an empty extension", "5;\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("space before an extension", "5 \t;a\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("a quoted extension", "5;a=\";\\\"\"\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("UTF-8 in an extension", "5;é\r\nhello\r\n0\r\n\r\n", "hello", ""),
            ("a trailer", "0\r\nA: b\r\n\r\n", "", ""),
            ("two trailers", "0\r\nA: b\r\nC:\r\n\r\n", "", ""),
            ("a pipelined request", "0\r\n\r\nGET / HTTP/1.1\r\n", "", "GET / HTTP/1.1\r\n"),
            ("a line end after", "0\r\n\r\n\r\n", "", "\r\n"),
        ] {
            let expected = (content.as_bytes().to_vec(), rest.as_bytes().to_vec());
            assert_eq!(decode(bytes.as_bytes()), Ok(Some(expected)), "{name}");
        }
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn refused_content() {
        use Error::*;
        for (name, bytes, expected) in [
            ("no size", &b"\r\nhello"[..], Chunk),
            ("space before a size", b" 5\r\nhello\r\n0\r\n\r\n", Chunk),
            ("no hex", b"g\r\n", Chunk),
            ("0x", b"0x5\r\nhello\r\n", Chunk),
            ("plus", b"+5\r\nhello\r\n", Chunk),
            ("minus", b"-1\r\n", Chunk),
            ("underscore", b"1_0\r\n", Chunk),
            ("quoted", b"\"5\"\r\n", Chunk),
            ("comma", b"5,5\r\n", Chunk),
            ("seventeen digits", b"00000000000000005\r\nhello\r\n", Chunk),
            ("beyond 64 bits", b"10000000000000005\r\nhello\r\n", Chunk),
            ("only an extension", b";a\r\n", Chunk),
            ("space after a size", b"5 \r\nhello\r\n", Chunk),
            ("tab after a size", b"5\t\r\nhello\r\n", Chunk),
            ("digits after a space", b"5 5\r\nhello\r\n", Chunk),
            ("LF after a size", b"5\nhello\r\n0\r\n\r\n", Chunk),
            ("LF after an extension", b"5;a\nhello\r\n0\r\n\r\n", Chunk),
            ("LF after the last size", b"0\n\r\n", Chunk),
            ("CR alone after a size", b"5\rhello\r\n", Chunk),
            ("CR twice after a size", b"5\r\r\nhello\r\n", Chunk),
            ("CR within an extension", b"5;a\rb\r\nhello\r\n", Chunk),
            ("NUL within an extension", b"5;\0\r\nhello\r\n", Chunk),
            ("NUL after a size", b"5\0\r\nhello\r\n", Chunk),
            ("LF after data", b"5\r\nhello\n0\r\n\r\n", Chunk),
            ("CR alone after data", b"5\r\nhello\r0\r\n\r\n", Chunk),
            ("data too long", b"5\r\nhello!\r\n0\r\n\r\n", Chunk),
            ("data too short", b"5\r\nhell\r\n0\r\n\r\n", Chunk),
            ("nothing after data", b"5\r\nhello0\r\n\r\n", Chunk),
            ("an empty line before a size", b"5\r\nhello\r\n\r\n0\r\n\r\n", Chunk),
            ("LF as the last line", b"0\r\n\n", Trailer),
            ("CR alone as the last line", b"0\r\n\rG", Trailer),
            ("a trailer without a colon", b"0\r\nA\r\n\r\n", Trailer),
            ("a trailer without a name", b"0\r\n: a\r\n\r\n", Trailer),
            ("space before a trailer's colon", b"0\r\nA : a\r\n\r\n", Trailer),
            ("obs-fold", b"0\r\nA: a\r\n b\r\n\r\n", Trailer),
            ("LF after a trailer", b"0\r\nA: a\n\r\n", Trailer),
            ("CR within a trailer", b"0\r\nA: a\rb\r\n\r\n", Trailer),
            ("NUL within a trailer", b"0\r\nA: \0\r\n\r\n", Trailer),
            ("a request for a trailer", b"0\r\nGET / HTTP/1.1\r\n\r\n", Trailer),
        ] {
            assert_eq!(decode(bytes), Err(expected), "{name}");
        }
    }

    #[test]
    fn content_that_is_not_there_yet() {
        let bytes = b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n";
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn data_is_given_as_it_comes() {
        let mut decoder = Decoder::new(&Limits::default());
        let mut buf = BytesMut::from("ffffffff\r\nab");
        let data = Piece::Data(Bytes::from_static(b"ab"));
        assert_eq!(decoder.decode(&mut buf), Ok(data));
        assert_eq!(decoder.decode(&mut buf), Ok(Piece::More));
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn limits_hold_over_the_whole_message() {
        use Error::*;
        let limits = Limits {
            content: Some(10),
            field_section: 20,
            fields: 3,
            ..Limits::default()
        };
        let extension = |each: usize, chunks: usize| {
            let chunk = format!("1;{}\r\nx\r\n", "a".repeat(each - 1));
            chunk.repeat(chunks) + "0\r\n\r\n"
        };
        for (name, bytes, expected) in [
            ("content", "a\r\n0123456789\r\n0\r\n\r\n".into(), None),
            ("content in two", "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n".into(), None),
            ("content + 1", "b\r\n".into(), Some(ContentTooLarge)),
            ("content + 1 in two", "4\r\n0123\r\n7\r\n".into(), Some(ContentTooLarge)),
            ("the largest chunk", "ffffffffffffffff\r\n".into(), Some(ContentTooLarge)),
            ("trailers", "0\r\nA: 345678901234567\r\n\r\n".into(), None),
            ("trailers + 1", "0\r\nA: 3456789012345678\r\n\r\n".into(), Some(FieldSectionTooLarge)),
            ("trailer without an end", format!("0\r\n{}", "a".repeat(21)), Some(FieldSectionTooLarge)),
            ("trailer lines", "0\r\na:\r\na:\r\na:\r\n\r\n".into(), None),
            ("trailer lines + 1", "0\r\na:\r\na:\r\na:\r\na:\r\n\r\n".into(), Some(TooManyFields)),
            ("extensions", extension(limits::CHUNK_EXTENSIONS / 8, 8), None),
            ("extensions + 8", extension(limits::CHUNK_EXTENSIONS / 8 + 1, 8), Some(ChunkExtensionsTooLarge)),
            ("one long extension", format!("1;{}", "a".repeat(20000)), Some(ChunkExtensionsTooLarge)),
            ("spaces without end", format!("1{}", " ".repeat(20000)), Some(ChunkExtensionsTooLarge)),
        ] {
            for step in [1, bytes.len()] {
                let found = decode_in_steps(bytes.as_bytes(), step, &limits);
                assert_eq!(found.err(), expected, "{name}");
            }
        }
    }

    #[test]
    fn sizes_do_not_overflow_together() {
        let mut decoder = Decoder::new(&Limits::default());
        let mut buf = BytesMut::from("1\r\nx\r\nffffffffffffffff\r\n");
        assert_eq!(
            decoder.decode(&mut buf),
            Ok(Piece::Data(Bytes::from_static(b"x")))
        );
        assert_eq!(decoder.decode(&mut buf), Err(Error::ContentTooLarge));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..40), "(;([a-z= ]|\"([a-z ]|\\\\[a-z\"])*\"){0,9})?"), 0..6),
            trailers in prop::collection::vec("[A-Za-z-]{1,9}:[ -~]{0,9}\r\n", 0..4),
            rest in prop::collection::vec(any::<u8>(), 0..9),
            step in 1usize..30,
        ) {
            let mut bytes = Vec::new();
            let mut content = Vec::new();
            for (data, extension) in &chunks {
                bytes.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                bytes.extend_from_slice(data);
                bytes.extend_from_slice(b"\r\n");
                content.extend_from_slice(data);
            }
            bytes.extend_from_slice(b"0\r\n");
            bytes.extend_from_slice(trailers.concat().as_bytes());
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(&rest);
            let found = decode_in_steps(&bytes, step, &Limits::default());
            prop_assert_eq!(found, Ok(Some((content, rest))));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused_alike(
            bytes in prop::collection::vec(prop_oneof![
                Just(b"3\r\nabc\r\n".to_vec()), Just(b"0\r\n".to_vec()), Just(b"\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..4), "[\r\n\t :;0-9a]{1,3}".prop_map(String::into_bytes),
            ], 0..12),
            step in 1usize..9,
        ) {
            let limits = Limits::default();
            let bytes = bytes.concat();
            prop_assert_eq!(
                decode_in_steps(&bytes, bytes.len(), &limits),
                decode_in_steps(&bytes, step, &limits)
            );
        }
    }
}
