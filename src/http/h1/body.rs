//! The reading half of a request: its content, taken out of its framing.

use std::io::IoSlice;

use bytes::Buf;

use super::chunked::{Decoder, Piece};
use super::framing::{self, Framing};
use super::wire::{Unread, Wire};
use super::write;
use crate::http::close::Close;
use crate::http::error::{BodyError, Error};
use crate::http::limits::Limits;
use crate::http::request_body::{Length, Received, RequestBody};
use crate::pace::Pace;
use crate::semantics::message::{Http2, RequestHead, Timestamp};

impl RequestBody for Wire<'_> {
    fn frame(&mut self, head: &RequestHead, limits: &Limits) -> Result<(), Error> {
        self.facts = framing::facts(head, limits)?;
        self.io.served += 1;
        self.facts.persistent &= self.io.may_persist();
        self.unread = match self.facts.content {
            Framing::None => Unread::None,
            Framing::Length(length) => Unread::Length(length),
            Framing::Chunked => Unread::Chunks {
                decoder: Decoder::new(limits),
                announced: 0,
            },
        };
        Ok(())
    }

    fn length(&self) -> Length {
        match self.facts.content {
            Framing::None => Length::None,
            Framing::Length(length) => Length::Known(length),
            Framing::Chunked => Length::Unknown,
        }
    }

    fn announced(&self) -> u64 {
        match (&self.unread, self.facts.content) {
            (Unread::Chunks { decoder, .. }, _) => decoder.announced(),
            (_, Framing::Length(length)) => length,
            (_, Framing::None | Framing::Chunked) => 0,
        }
    }

    async fn invite(&mut self) -> Result<(), Close> {
        // A client that has begun to send needs no permission.
        if self.facts.expects_continue && self.io.buffer.is_empty() {
            self.io.log.add_framing(write::CONTINUE.len());
            let mut all = [IoSlice::new(write::CONTINUE)];
            self.io.write_all(&mut all).await?;
        }
        Ok(())
    }

    async fn next(&mut self, least: u64, pace: &mut Pace) -> Result<Received, BodyError> {
        let io = &mut *self.io;
        match &mut self.unread {
            Unread::None | Unread::Length(0) => Ok(Received::End),
            Unread::Length(left) => {
                let wanted = least.clamp(1, *left);
                while (io.buffer.len() as u64) < wanted {
                    io.read_more(pace).await?;
                }
                let length = usize::try_from(*left).unwrap_or(usize::MAX);
                let piece = io.buffer.split_to(length.min(io.buffer.len()));
                *left -= piece.len() as u64;
                Ok(Received::Data(piece.freeze()))
            }
            Unread::Chunks { decoder, announced } => loop {
                match decoder.decode(&mut io.buffer).map_err(BodyError::Refused)? {
                    Piece::Data(piece) => return Ok(Received::Data(piece)),
                    Piece::End => return Ok(Received::End),
                    Piece::More if decoder.announced() > *announced => {
                        *announced = decoder.announced();
                        return Ok(Received::Announced);
                    }
                    Piece::More => io.read_more(pace).await?,
                }
            },
        }
    }

    fn skip(&mut self) -> bool {
        let here = match self.facts.content {
            Framing::None => true,
            Framing::Length(length) if length <= self.io.buffer.len() as u64 => {
                self.io.buffer.advance(length as usize);
                true
            }
            Framing::Length(_) | Framing::Chunked => false,
        };
        self.facts.persistent &= here;
        here
    }

    fn http2(&mut self) -> Option<Http2> {
        None
    }

    fn finished(&self, started: Timestamp) -> Timestamp {
        self.io.finished(started)
    }
}
