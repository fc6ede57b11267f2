//! What a worker says, as the core understands it.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::chunk::Chunk;
use super::codec;
use super::frame::{Descriptor, ENDS, Frame, IDLE, Kind, OF_FILE, PIECE};
use super::memory::Memory;
use super::violation::Violation;
use crate::semantics::field::Fields;
use crate::semantics::message::{Length, ResponseHead};

/// What a worker says, with the id of the request it speaks of.
#[derive(Debug)]
pub enum Message {
    /// An interim response, and how long it was as a frame.
    Informational(u64, ResponseHead, usize),
    /// The head of the final response, and what is known of its content.
    Head(u64, ResponseHead, Length),
    /// The fields that follow the content, and how long they were as a frame.
    Trailers(u64, Fields, usize),
    /// A piece of content.
    Chunk(u64, Chunk),
    /// A piece of content in a file: its offset and length.
    File(u64, OwnedFd, u64, u64),
    /// A piece of content in a file whose descriptor could not be received: they have run out.
    LostFile(u64),
    /// The response is complete.
    End(u64),
    /// The response can't be completed.
    Abort(u64),
    /// The app wants the client's socket.
    Take(u64),
    /// Whether the app takes the client's certificate.
    Verdict(u64, bool),
    /// The worker is ready for a request.
    Idle,
    /// The worker takes no request any more.
    Leaving,
    /// The worker wants to be woken.
    Wake,
    /// The worker's event loop has turned, as the core asked.
    Turned,
}

impl Message {
    /// What a frame says, but for its marks.
    pub(super) fn new(frame: Frame, memory: &Arc<Memory>) -> Result<Self, Violation> {
        let id = frame.id;
        Ok(match frame.kind {
            Kind::Informational => match frame.status {
                100 | 102..=199 => {
                    let size = frame.payload.len();
                    let (head, _) = codec::get_head(frame.payload, frame.status)?;
                    Message::Informational(id, head, size)
                }
                other => return Err(Violation::Status(other)),
            },
            Kind::Head => match frame.status {
                101 | 200..=999 => {
                    let marks = frame.marks;
                    let (head, length) = codec::get_head(frame.payload, frame.status)?;
                    let length = match length {
                        None => Length::Unknown,
                        Some(length) if marks & OF_FILE != 0 => Length::File(length),
                        Some(length) => Length::Known(length),
                    };
                    Message::Head(id, head, length)
                }
                other => return Err(Violation::Status(other)),
            },
            Kind::Chunk if frame.payload.len() > PIECE => {
                return Err(Violation::FrameTooLong(frame.payload.len()));
            }
            Kind::Chunk => Message::Chunk(id, frame.payload.into()),
            Kind::Shared => {
                let (at, length) = codec::get_range(frame.payload)?;
                let piece = Chunk::in_area(memory, at, length).filter(|_| length <= PIECE as u64);
                Message::Chunk(id, piece.ok_or(Violation::OutsideOfArea { at, length })?)
            }
            Kind::File => {
                let (offset, length) = codec::get_range(frame.payload)?;
                match frame.descriptor {
                    Descriptor::Here(file) => Message::File(id, file, offset, length),
                    Descriptor::Lost => Message::LostFile(id),
                    Descriptor::None => return Err(Violation::MissingDescriptor),
                }
            }
            Kind::Trailers => {
                let size = frame.payload.len();
                let (head, _) = codec::get_head(frame.payload, 0)?;
                Message::Trailers(id, head.fields, size)
            }
            Kind::End => Message::End(id),
            Kind::Abort => Message::Abort(id),
            Kind::Take => Message::Take(id),
            Kind::Verdict => Message::Verdict(id, frame.status == 1),
            Kind::Idle => Message::Idle,
            Kind::Leaving => Message::Leaving,
            Kind::Wake => Message::Wake,
            Kind::Turned => Message::Turned,
            Kind::Request | Kind::Credit | Kind::Stop | Kind::Reply | Kind::Verify | Kind::Ask => {
                return Err(Violation::WrongDirection(frame.kind as u8));
            }
        })
    }
}

/// The messages that a frame's marks stand for, as far as they have not been returned.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PiggybackedEvents {
    end: Option<u64>,
    idle: bool,
}

impl PiggybackedEvents {
    pub(super) fn of(frame: &Frame) -> Self {
        PiggybackedEvents {
            end: (frame.marks & ENDS != 0).then_some(frame.id),
            idle: frame.marks & IDLE != 0,
        }
    }

    pub(super) fn next(&mut self) -> Option<Message> {
        match self.end.take() {
            Some(id) => Some(Message::End(id)),
            None => std::mem::take(&mut self.idle).then_some(Message::Idle),
        }
    }
}
