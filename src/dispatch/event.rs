//! The parts of a response on their way to its connection.

use bytes::Bytes;

use super::memory::Reservation;
use crate::body::FileSlice;
use crate::channel::Chunk;
use crate::semantics::field::Fields;
use crate::semantics::message::{Length, ResponseHead};

/// A part of a response, as a connection gets it.
#[derive(Debug)]
pub enum Event {
    /// An interim response.
    Informational(ResponseHead),
    /// The head of the final response, and what is known of its content.
    Head(ResponseHead, Length),
    /// The fields that follow the content, in the place of earlier ones.
    Trailers(Fields),
    /// A piece of content.
    Chunk(Piece),
    /// A piece of content in a file.
    File(FileSlice),
    /// The app wants the client's socket: `Exchange::hand_over` answers.
    Take,
    /// The app's call has ended, and the response has not: the app keeps its writer.
    WriterKept,
    /// The response is complete.
    End,
    /// No worker will complete this response: 502, or a cut where its head has left.
    Failed,
    /// No worker will take this request in time: 503. It was not run.
    Overloaded,
    /// The app has taken too long: 504, or a cut where its head has left.
    TimedOut,
}

/// Content in memory.
#[derive(Debug)]
pub struct Piece {
    /// The content.
    pub chunk: Chunk,
    /// Memory that it holds until it is written.
    pub(super) _held: Option<Reservation>,
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Piece {
            chunk: bytes.into(),
            _held: None,
        }
    }
}

impl Piece {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.chunk.len()
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.chunk.is_empty()
    }
}
