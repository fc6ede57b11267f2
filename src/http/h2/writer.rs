//! The writing half of a stream: parts of a response become frames as they come.

use std::cell::Cell;
use std::future::poll_fn;
use std::mem;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::http::Response;
use bytes::Bytes;

use super::response;
use super::socket::Socket;
use super::wire::{SEND_BUFFER, State, Wire, count, poll_capacity, send_granted};
use crate::body::FileSlice;
use crate::dispatch::{Exchange, Piece};
use crate::http::close::Close;
use crate::http::error::{Error, ResponseError};
use crate::http::h1::framing::Method;
use crate::http::h1::write::{Body, Encoder};
use crate::http::request_log::{RequestLog, WireCounts};
use crate::http::response_sink::ResponseSink;
use crate::log::limited;
use crate::net::sendfile::FileSending;
use crate::scoreboard::connections;
use crate::semantics::field::Fields;
use crate::semantics::message::ResponseHead;
use crate::semantics::status;

/// Pieces of content up to this size are copied after the bytes before them, so that they leave in one frame.
const COPY: usize = 16 * 1024;

impl ResponseSink for Wire {
    fn show(&self, state: connections::State) {
        self.shared.shown.set_state(state);
    }

    fn log(&mut self) -> &mut RequestLog {
        &mut self.log
    }

    fn counts(&self) -> WireCounts {
        self.wire_counts()
    }

    fn taken(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.taken)
    }

    fn informational(&mut self, head: &ResponseHead) -> Result<(), ResponseError> {
        let head = response::informational(head)?;
        self.send_interim(head);
        Ok(())
    }

    fn head(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<(), ResponseError> {
        let context = &self.shared.context;
        let (sent, body) = match (&self.state, head.status) {
            // The app has answered by the socket.
            (State::Content(..) | State::Over, _) => return Err(ResponseError::Status),
            (_, 101) if self.protocol.is_some() => response::switched(head, context)?,
            _ => response::head(self.facts.method, head, length, context)?,
        };
        self.log
            .set_response(sent.status().as_u16(), head.fields.bytes());
        self.state = State::Head(Box::new(sent), Encoder::new(body));
        Ok(())
    }

    fn trailers(&mut self, fields: Fields) {
        self.trailers = response::trailers(&fields);
    }

    async fn content(
        &mut self,
        mut piece: Piece,
        _more: impl FnMut() -> Option<Piece>,
    ) -> Result<(), Close> {
        let Some(encoder) = self.state.encoder() else {
            return Ok(());
        };
        if encoder.own_chunks().is_some() {
            return self.decode(piece.chunk.make_owned()).await;
        }
        let length = self.admit(piece.len());
        if length <= COPY {
            piece.chunk.copy_to(&mut self.out, length);
            drop(piece);
            if self.out.len() > COPY {
                self.flush().await?;
            }
            return Ok(());
        }
        self.flush().await?;
        piece.chunk.truncate(length);
        let content = mem::take(piece.chunk.make_owned());
        self.send(content, Last::No).await
    }

    async fn file(&mut self, slice: FileSlice) -> Result<(), Close> {
        let Some(encoder) = self.state.encoder() else {
            return Ok(());
        };
        let decodes = encoder.own_chunks().is_some();
        let length = match decodes {
            true => slice.length,
            false => {
                let length = usize::try_from(slice.length).unwrap_or(usize::MAX);
                self.admit(length) as u64
            }
        };
        self.flush().await?;
        let mut sending = FileSending::new(Arc::clone(&slice.file), slice.offset, length);
        while sending.left() > 0 {
            let left = usize::try_from(sending.left()).unwrap_or(usize::MAX);
            // What the client does not take yet is not read.
            let wanted = self.granted(left.min(SEND_BUFFER)).await?;
            let Ok(piece) = sending.take(wanted).await else {
                limited!(Error, "a file became shorter while it was being sent");
                return Err(self.cut());
            };
            match decodes {
                true => self.decode(&piece).await?,
                false => self.send(piece, Last::No).await?,
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Close> {
        let out = mem::take(&mut self.out);
        if out.is_empty() {
            self.send_head(Last::No)
        } else {
            self.send(out.into(), Last::No).await
        }
    }

    fn is_complete(&self) -> bool {
        if !matches!(self.socket, Socket::Ours) {
            // The app says itself when it is done.
            return false;
        }
        match &self.state {
            State::Head(_, encoder) | State::Content(_, encoder) => encoder.is_complete(),
            State::Before | State::Over => false,
        }
    }

    async fn wait<T>(
        &mut self,
        next: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<Option<T>, Close> {
        let mut next = pin!(next);
        if self.is_lent() {
            return tokio::select! {
                biased;
                part = next => Ok(Some(part)),
                () = self.run_tunnel() => Err(Close::Lost),
            };
        }
        let Wire {
            timer,
            state,
            respond,
            ..
        } = self;
        timer.set(limit);
        let waited = timer.limit(poll_fn(|waking| {
            if let Poll::Ready(part) = next.as_mut().poll(waking) {
                return Poll::Ready(Ok(part));
            }
            let reset = match state {
                State::Content(stream, _) => stream.poll_reset(waking).map(drop),
                State::Before | State::Head(..) => respond.poll_reset(waking).map(drop),
                State::Over => Poll::Pending,
            };
            reset.map(|()| Err(Close::Lost))
        }));
        match waited.await {
            Ok(waited) => waited.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn lend(&mut self) -> Result<Option<OwnedFd>, Close> {
        if self.protocol.is_none() {
            return Ok(None);
        }
        self.flush().await?;
        self.lend_tunnel().map(Some)
    }

    fn is_lent(&self) -> bool {
        matches!(self.socket, Socket::Lent(_))
    }

    async fn take_back(&mut self) -> Result<(), Close> {
        self.stop_tunnel().await
    }

    async fn end(&mut self) -> Result<(), Close> {
        if self.is_lent() {
            self.log.set_handed_over();
            self.finish_tunnel().await?;
        }
        let Some(encoder) = self.state.encoder() else {
            return match self.state {
                State::Over => Ok(()),
                _ => self.canned(502).await,
            };
        };
        let encoder = mem::replace(encoder, Encoder::new(Body::None));
        if encoder.is_bodiless() {
            self.trailers.clear();
        }
        if let Err(short) = encoder.finish() {
            limited!(Error, "{short}");
            self.flush().await?;
            return Err(Close::Cut);
        }
        self.finish().await
    }

    async fn fail(&mut self, status: u16) -> Result<(), Close> {
        self.take_back().await?;
        match self.state {
            State::Before | State::Head(..) => self.canned(status).await,
            State::Content(..) if self.is_complete() => self.end().await,
            State::Content(..) => {
                self.flush().await?;
                Err(self.cut())
            }
            State::Over => Ok(()),
        }
    }

    fn cut(&mut self) -> Close {
        Close::Cut
    }

    async fn refuse(&mut self, error: Error) -> Close {
        error.refused(&self.shared.shown);
        match self.answer(error.status(), error.text()).await {
            Ok(()) => Close::Refused,
            Err(close) => close,
        }
    }

    fn keep(&mut self, exchange: Exchange) {
        self.shared.keep(exchange);
    }
}

/// Whether a frame is the last one of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Yes,
    No,
}

impl Wire {
    async fn canned(&mut self, status: u16) -> Result<(), Close> {
        self.answer(status, status::reason(status)).await
    }

    /// Sends a whole response of the server's own.
    async fn answer(&mut self, status: u16, text: &str) -> Result<(), Close> {
        let head = response::canned(status, text.len(), &self.shared.context);
        self.log.set_response(status, b"");
        self.trailers.clear();
        self.state = State::Head(Box::new(head), Encoder::new(Body::None));
        self.out = match self.facts.method {
            Method::Head => Vec::new(),
            Method::Connect | Method::Other => text.as_bytes().to_vec(),
        };
        self.finish().await
    }

    /// Sends what is queued as the end of the stream.
    async fn finish(&mut self) -> Result<(), Close> {
        let out = mem::take(&mut self.out);
        let trailers = mem::take(&mut self.trailers);
        match trailers.is_empty() {
            true => self.send(out.into(), Last::Yes).await?,
            false => {
                self.send(out.into(), Last::No).await?;
                if let State::Content(stream, _) = &mut self.state {
                    stream.send_trailers(trailers).map_err(|_| Close::Lost)?;
                }
            }
        }
        self.state = State::Over;
        Ok(())
    }

    /// How much of so much content may be sent.
    fn admit(&mut self, length: usize) -> usize {
        let Some(encoder) = self.state.encoder() else {
            return 0;
        };
        let has_length = encoder.has_length();
        let admitted = encoder.frame(length).length;
        if admitted < length && has_length && !self.too_long {
            self.too_long = true;
            limited!(
                Error,
                "a response is longer than its Content-Length: the rest is not sent"
            );
        }
        admitted
    }

    /// Sends content that the app has chunked itself.
    async fn decode(&mut self, content: &[u8]) -> Result<(), Close> {
        let Some(chunks) = self.state.encoder().and_then(Encoder::own_chunks) else {
            return Ok(());
        };
        let passed = chunks.pass(&mut self.out, content);
        if passed.is_err() || self.out.len() > COPY {
            self.flush().await?;
        }
        match passed {
            Ok(passed) if passed.beyond > 0 && !self.too_long => {
                self.too_long = true;
                limited!(
                    Error,
                    "a response goes on after its last chunk: the rest is not sent"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => {
                limited!(
                    Error,
                    "a response has malformed chunks of the app's: {error}"
                );
                Err(self.cut())
            }
        }
    }

    /// Sends the head, if it waits.
    fn send_head(&mut self, last: Last) -> Result<(), Close> {
        if !matches!(self.state, State::Head(..)) {
            return Ok(());
        }
        let State::Head(head, encoder) = mem::replace(&mut self.state, State::Over) else {
            return Ok(());
        };
        self.shared.shown.set_state(connections::State::Writing);
        let head: Response<()> = *head;
        match self.respond.send_response(head, last == Last::Yes) {
            Ok(stream) => {
                if last == Last::No {
                    self.state = State::Content(stream, encoder);
                }
                Ok(())
            }
            Err(_) => Err(Close::Lost),
        }
    }

    /// Waits until the client takes some of so many bytes of content; returns how many. One that takes nothing for too long has gone.
    async fn granted(&mut self, wanted: usize) -> Result<usize, Close> {
        let State::Content(stream, _) = &mut self.state else {
            return Ok(wanted);
        };
        stream.reserve_capacity(wanted);
        self.timer.set(self.shared.context.settings.timeout);
        let granted = poll_fn(|waking| poll_capacity(stream, waking));
        match self.timer.limit(granted).await {
            Ok(Ok(granted)) => Ok(granted),
            Ok(Err(())) | Err(_) => Err(Close::Lost),
        }
    }

    /// Sends content as the client's window lets it.
    async fn send(&mut self, content: Bytes, last: Last) -> Result<(), Close> {
        let head_only = content.is_empty();
        let waits = matches!(self.state, State::Head(..));
        self.send_head(if head_only { last } else { Last::No })?;
        if head_only && waits {
            return Ok(());
        }
        let State::Content(stream, _) = &mut self.state else {
            return Ok(());
        };
        if content.is_empty() {
            return match last {
                Last::No => Ok(()),
                Last::Yes => stream
                    .send_data(Bytes::new(), true)
                    .map_err(|_| Close::Lost),
            };
        }
        let mut rest = content;
        while !rest.is_empty() {
            let granted = self.granted(rest.len()).await?;
            let State::Content(stream, _) = &mut self.state else {
                return Ok(());
            };
            let before = rest.len();
            let ends = last == Last::Yes;
            send_granted(stream, &mut rest, granted, ends).map_err(|_| Close::Lost)?;
            count(&mut self.log, &self.taken, before - rest.len());
        }
        Ok(())
    }
}
