//! The reading half of a stream: the request's content.

use ::http::{Response, StatusCode};
use bytes::{Bytes, BytesMut};
use std::mem;
use std::time::Instant;

use super::request;
use super::wire::Wire;
use crate::http::close::Close;
use crate::http::error::{BodyError, Error};
use crate::http::h1::framing::{self, Framing, Method};
use crate::http::limits::Limits;
use crate::http::request_body::{Length, Received, RequestBody};
use crate::pace::Pace;
use crate::scoreboard::connections::State;
use crate::semantics::message::{Http2, RequestHead, Timestamp};

impl RequestBody for Wire {
    fn frame(&mut self, head: &RequestHead, limits: &Limits) -> Result<(), Error> {
        self.facts = framing::facts(head, limits)?;
        self.most = limits.content;
        Ok(())
    }

    fn length(&self) -> Length {
        if self.protocol.is_some() {
            // What comes belongs to the tunnel.
            return Length::None;
        }
        match self.facts.content {
            // What follows a CONNECT is meant for a tunnel.
            _ if self.facts.method == Method::Connect => Length::None,
            // Trailers may follow.
            Framing::Length(0) if !self.request.is_end_stream() => Length::Unknown,
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
            self.send_interim(head);
        }
        Ok(())
    }

    async fn next(&mut self, least: u64, pace: &mut Pace) -> Result<Received, BodyError> {
        let Some(first) = self.data(pace).await? else {
            return Ok(Received::End);
        };
        let mut piece = first;
        if (piece.len() as u64) < least {
            let mut gathered = BytesMut::from(&piece[..]);
            while (gathered.len() as u64) < least
                && let Some(more) = self.data(pace).await?
            {
                gathered.extend_from_slice(&more);
            }
            piece = gathered.freeze();
        }
        // The request is complete when its stream has ended: what is known to be the last piece waits for that.
        if self.facts.content == Framing::Length(self.received) {
            while self.data(pace).await?.is_some() {}
        }
        Ok(Received::Data(piece))
    }

    /// What was not read is discarded by the crate, which resets the stream after the response (RFC 9113 section 8.1).
    fn skip(&mut self) -> bool {
        true
    }

    fn http2(&mut self) -> Option<Http2> {
        Some(Http2 {
            stream: self.request.stream_id().as_u32(),
            protocol: self.protocol.clone(),
            trailers: mem::take(&mut self.request_trailers),
        })
    }

    fn finished(&self, started: Timestamp) -> Timestamp {
        match self.received {
            0 => started,
            _ => Timestamp::now(),
        }
    }
}

impl Wire {
    /// Takes the fields after the content, if there are any.
    async fn end_of_content(&mut self) -> Result<Option<Bytes>, BodyError> {
        match self.timer.limit(self.request.trailers()).await {
            Ok(Ok(None)) => Ok(None),
            Ok(Ok(Some(fields))) => {
                let limits = &self.shared.context.settings.limits;
                self.request_trailers =
                    request::trailers(&fields, limits).map_err(BodyError::Refused)?;
                Ok(None)
            }
            Ok(Err(_)) => Err(BodyError::Lost(Close::Lost)),
            Err(_) => Err(BodyError::Refused(Error::ContentTooSlow)),
        }
    }

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
                if self.most.is_some_and(|most| self.received > most) {
                    return Err(BodyError::Refused(Error::ContentTooLarge));
                }
                Ok(Some(piece))
            }
            Ok(Some(Err(_))) => Err(BodyError::Lost(Close::Lost)),
            Ok(None) => self.end_of_content().await,
            Err(_) => Err(BodyError::Refused(Error::ContentTooSlow)),
        }
    }
}
