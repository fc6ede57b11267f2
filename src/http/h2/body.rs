//! The reading half of a stream: the request's content.

use ::http::{Response, StatusCode};
use bytes::{Bytes, BytesMut};
use std::time::Instant;

use super::wire::Wire;
use crate::http::close::Close;
use crate::http::error::{BodyError, Error};
use crate::http::h1::framing::{self, Framing};
use crate::http::limits::Limits;
use crate::http::request_body::{Length, Received, RequestBody};
use crate::pace::Pace;
use crate::scoreboard::connections::State;
use crate::semantics::message::{RequestHead, Timestamp};

impl RequestBody for Wire {
    fn frame(&mut self, head: &RequestHead, limits: &Limits) -> Result<(), Error> {
        self.facts = framing::facts(head, limits)?;
        Ok(())
    }

    fn length(&self) -> Length {
        match self.facts.content {
            Framing::Length(length) => Length::Known(length),
            _ if self.request.is_end_stream() => Length::None,
            Framing::None | Framing::Chunked => Length::Unknown,
        }
    }

    fn announced(&self) -> u64 {
        match self.facts.content {
            Framing::Length(length) => length,
            Framing::None | Framing::Chunked => self.received,
        }
    }

    async fn invite(&mut self) -> Result<(), Close> {
        if self.facts.expects_continue && !self.request.is_end_stream() {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            // A client that has gone is found when its content is read.
            let _ = self.respond.send_informational(head);
        }
        Ok(())
    }

    async fn next(&mut self, least: u64, pace: &mut Pace) -> Result<Received, BodyError> {
        let Some(first) = self.data(pace).await? else {
            return Ok(Received::End);
        };
        if first.len() as u64 >= least {
            return Ok(Received::Data(first));
        }
        let mut piece = BytesMut::from(&first[..]);
        while (piece.len() as u64) < least {
            match self.data(pace).await? {
                Some(more) => piece.extend_from_slice(&more),
                None => break,
            }
        }
        Ok(Received::Data(piece.freeze()))
    }

    /// What was not read is discarded by the crate, which resets the stream after the response (RFC 9113 section 8.1).
    fn skip(&mut self) -> bool {
        true
    }

    fn finished(&self, started: Timestamp) -> Timestamp {
        match self.received {
            0 => started,
            _ => Timestamp::now(),
        }
    }
}

impl Wire {
    /// The content of the next frame. The client may send as much again as was taken before: what is in memory or on the disk by
    /// now.
    async fn data(&mut self, pace: &mut Pace) -> Result<Option<Bytes>, BodyError> {
        let window = self.request.flow_control();
        // A stream that is over needs no window.
        let _ = window.release_capacity(self.unreleased);
        self.unreleased = 0;
        if self.request.is_end_stream() {
            return Ok(None);
        }
        self.shared.shown.set_state(State::Reading);
        let timeout = self.shared.context.settings.timeout;
        self.timer.set(pace.patience(timeout, Instant::now()));
        match self.timer.limit(self.request.data()).await {
            Ok(Some(Ok(piece))) => {
                self.unreleased = piece.len();
                self.received += piece.len() as u64;
                pace.count(piece.len() as u64, Instant::now());
                let most = self.shared.context.settings.limits.content;
                if most.is_some_and(|most| self.received > most) {
                    return Err(BodyError::Refused(Error::ContentTooLarge));
                }
                Ok(Some(piece))
            }
            Ok(Some(Err(_))) => Err(BodyError::Lost(Close::Lost)),
            Ok(None) => Ok(None),
            Err(_) => Err(BodyError::Refused(Error::ContentTooSlow)),
        }
    }
}
