//! What a worker says, as the core understands it.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::area::{Area, Chunk};
use super::codec;
use super::frame::{ENDS, Frame, Garbage, IDLE, Kind};
use super::memory::Memory;
use crate::semantics::message::ResponseHead;

/// What a worker says, with the id of the request it speaks of.
#[derive(Debug)]
pub enum Message {
    /// An interim response.
    Informational(u64, ResponseHead),
    /// The head of the final response, and the length of its content where it is known.
    Head(u64, ResponseHead, Option<u64>),
    /// A piece of content.
    Chunk(u64, Chunk),
    /// A piece of content: so many bytes of a file, from an offset on.
    File(u64, OwnedFd, u64, u64),
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
}

impl Message {
    /// What a frame says, but for its marks.
    pub(super) fn new(frame: Frame, memory: &Arc<Memory>) -> Result<Self, Garbage> {
        let id = frame.id;
        Ok(match frame.kind {
            Kind::Informational => {
                Message::Informational(id, codec::get_head(frame.payload, frame.status)?.0)
            }
            Kind::Head => {
                let (head, length) = codec::get_head(frame.payload, frame.status)?;
                Message::Head(id, head, length)
            }
            Kind::Chunk => Message::Chunk(id, frame.payload.into()),
            Kind::Shared => {
                let (at, length) = codec::get_range(frame.payload)?;
                let piece = Area::take(memory, at, length);
                Message::Chunk(id, piece.ok_or(Garbage("content that is nowhere"))?)
            }
            Kind::File => {
                let (offset, length) = codec::get_range(frame.payload)?;
                let file = frame
                    .descriptor
                    .ok_or(Garbage("a file without a descriptor"))?;
                Message::File(id, file, offset, length)
            }
            Kind::End => Message::End(id),
            Kind::Abort => Message::Abort(id),
            Kind::Take => Message::Take(id),
            Kind::Verdict => Message::Verdict(id, frame.status == 1),
            Kind::Idle => Message::Idle,
            Kind::Leaving => Message::Leaving,
            Kind::Wake | Kind::Request | Kind::Credit | Kind::Stop | Kind::Reply | Kind::Verify => {
                return Err(Garbage("not a frame for the core"));
            }
        })
    }
}

/// The messages that a frame's marks stand for, as far as they have not been told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Besides {
    end: Option<u64>,
    idle: bool,
}

impl Besides {
    pub(super) fn of(frame: &Frame) -> Self {
        Besides {
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
