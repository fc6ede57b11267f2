//! Content that the app has chunked itself, as Plack::Middleware::Chunked and Mojolicious' `write_chunk` do.
//!
//! It is checked on its way, so that the connection can go on after it. For a client of HTTP/1.0 it is decoded.

use super::chunked::Decoder;
use crate::http::error::Error;
use crate::http::limits::Limits;

/// What of it reaches the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// All of it, framing and trailers too.
    Whole,
    /// The data of the chunks.
    Data,
}

/// The app's chunks on their way to the client.
#[derive(Debug)]
pub struct OwnChunks {
    decoder: Decoder,
    pass: Pass,
}

/// What became of a piece of the app's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Bytes appended that are framing.
    pub framing: usize,
    /// Bytes that follow the last chunk, and are not sent.
    pub beyond: usize,
}

impl OwnChunks {
    /// Before the first chunk.
    pub fn new(pass: Pass) -> Self {
        let decoder = Decoder::new(&Limits::default());
        OwnChunks { decoder, pass }
    }

    /// Appends to `out` what of `piece` is to be sent.
    ///
    /// # Errors
    /// Where the chunks are malformed; the chunks before that have been appended.
    pub fn pass(&mut self, out: &mut Vec<u8>, piece: &[u8]) -> Result<Passed, Error> {
        let mut rest = piece;
        let mut framing = 0;
        while !rest.is_empty() && !self.decoder.is_complete() {
            let step = self.decoder.scan(rest)?;
            let (of_framing, after) = rest.split_at(step.framing);
            let (data, after) = after.split_at(step.data);
            if self.pass == Pass::Whole {
                framing += of_framing.len();
                out.extend_from_slice(of_framing);
            }
            out.extend_from_slice(data);
            rest = after;
        }
        let beyond = rest.len();
        Ok(Passed { framing, beyond })
    }

    /// Whether the last chunk has come, and the empty line after it.
    pub fn is_complete(&self) -> bool {
        self.decoder.is_complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of content that comes in pieces of `step` bytes, and how many bytes are beyond its end.
    fn passed(pass: Pass, content: &str, step: usize) -> (String, Result<usize, Error>, bool) {
        let mut chunks = OwnChunks::new(pass);
        let mut out = Vec::new();
        let mut beyond = 0;
        for piece in content.as_bytes().chunks(step) {
            match chunks.pass(&mut out, piece) {
                Ok(passed) => beyond += passed.beyond,
                Err(error) => {
                    let out = String::from_utf8(out).unwrap();
                    return (out, Err(error), chunks.is_complete());
                }
            }
        }
        let complete = chunks.is_complete();
        (String::from_utf8(out).unwrap(), Ok(beyond), complete)
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn chunks_are_passed_on_or_decoded_however_they_are_cut() {
        for (content, whole, data, beyond, complete) in [
            ("5\r\nhello\r\n0\r\n\r\n", None, "hello", 0, true),
            ("5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nA: b\r\n\r\n", None, "helloabc", 0, true),
            ("0\r\n\r\n", None, "", 0, true),
            ("5\r\nhello\r\n0\r\n\r\nmore", Some("5\r\nhello\r\n0\r\n\r\n"), "hello", 4, true),
            ("5\r\nhel", None, "hel", 0, false),
            ("5\r\nhello\r\n0\r\n", None, "hello", 0, false),
            ("", None, "", 0, false),
        ] {
            for step in 1..=content.len().max(1) {
                let expected = whole.unwrap_or(content).to_owned();
                assert_eq!(passed(Pass::Whole, content, step), (expected, Ok(beyond), complete));
                let expected = data.to_owned();
                assert_eq!(passed(Pass::Data, content, step), (expected, Ok(beyond), complete));
            }
        }
    }

    #[test]
    fn malformed_chunks_are_found() {
        for content in ["hello", "5\r\nhello!\r\n", "\r\n5\r\nhello\r\n"] {
            for pass in [Pass::Whole, Pass::Data] {
                let (out, result, complete) = passed(pass, content, 1);
                assert_eq!((result, complete), (Err(Error::Chunk), false), "{content}");
                assert!(content.contains(&out), "{content}: {out}");
            }
        }
    }
}
