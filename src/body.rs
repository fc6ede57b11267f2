//! A response's content, whatever makes it: bytes, slices of files, or a row of both.
//!
//! Plain data: how it gets to a client is the wire's affair.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use crate::share::Taken;

/// Bytes of a file.
#[derive(Debug)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<File>,
    /// First byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// Disk space of ours that it holds until it is sent.
    held: Option<Taken>,
}

impl FileSlice {
    /// `length` bytes of `file` from `offset` on.
    pub fn new(file: Arc<File>, offset: u64, length: u64) -> Self {
        FileSlice {
            file,
            offset,
            length,
            held: None,
        }
    }

    /// Whether it is a file of ours, which has taken what found no place in memory.
    pub(crate) fn is_spooled(&self) -> bool {
        self.held.is_some()
    }

    /// A slice that holds disk space until it is dropped.
    pub(crate) fn holding(self, held: Taken) -> Self {
        FileSlice {
            held: Some(held),
            ..self
        }
    }
}

/// A part of a response's content.
#[derive(Debug)]
pub enum Part {
    /// Bytes in memory.
    Bytes(Bytes),
    /// Bytes in a file.
    File(FileSlice),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::File(slice) => slice.length,
        }
    }
}

/// Content that is known before the first byte is sent, and so is its length.
#[derive(Debug, Default)]
pub struct Body(VecDeque<Part>);

impl Body {
    /// Bytes of all parts.
    pub fn length(&self) -> u64 {
        self.0.iter().map(Part::length).sum()
    }

    /// Appends a part, as for `multipart/byteranges`.
    pub fn push(&mut self, part: Part) {
        self.0.push_back(part);
    }

    /// Takes the first part off.
    pub fn pop(&mut self) -> Option<Part> {
        self.0.pop_front()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Body(VecDeque::from([Part::Bytes(bytes)]))
    }
}

impl From<Part> for Body {
    fn from(part: Part) -> Self {
        Body(VecDeque::from([part]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_taken_in_their_order_and_counted() {
        let mut body = Body::from("head".to_owned());
        let file = Arc::new(tempfile::tempfile().unwrap());
        body.push(Part::File(FileSlice::new(file, 7, 10)));
        body.push(Part::Bytes(Bytes::from_static(b"tail")));
        assert_eq!(body.length(), 18);
        assert!(matches!(body.pop(), Some(Part::Bytes(bytes)) if bytes == "head"));
        assert!(matches!(body.pop(), Some(Part::File(slice)) if slice.offset == 7));
        assert_eq!(body.length(), 4);
        assert!(body.pop().is_some() && body.pop().is_none());
    }
}
