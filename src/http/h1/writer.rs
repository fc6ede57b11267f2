//! The writing half of a request: parts of its response become bytes as they come.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::iter;
use std::mem;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::handover;
use super::liveness::Action;
use super::state::{End, Failure, State};
use super::transport::Transport;
use super::wire::Wire;
use super::write::{self, Encoder, Frame};
use crate::body::FileSlice;
use crate::dispatch::{Exchange, Piece};
use crate::http::close::Close;
use crate::http::error::{Error, ResponseError};
use crate::http::request_log::{RequestLog, WireCounts};
use crate::http::response_sink::ResponseSink;
use crate::http::timer::Elapsed;
use crate::iovec::{IoVec, Next};
use crate::log::limited;
use crate::net::sendfile::FileSending;
use crate::scoreboard::connections;
use crate::semantics::field::Fields;
use crate::semantics::message::{ResponseHead, Version};
use crate::semantics::status;

/// Pieces of content up to this size are copied after the bytes before them, so that they leave together.
const COPY: usize = 16 * 1024;

/// Longer ones are written together, about this many bytes at a time.
const GATHER: usize = 256 * 1024;

/// And no more pieces than this.
const GATHER_PIECES: usize = 64;

/// Bytes that hold most heads, and small responses whole.
const SMALL: usize = 512;

impl ResponseSink for Wire<'_> {
    fn show(&self, state: connections::State) {
        self.io.shown.set_state(state);
    }

    fn log(&mut self) -> &mut RequestLog {
        &mut self.io.log
    }

    fn counts(&self) -> WireCounts {
        self.io.counts(self.io.buffer.len())
    }

    fn taken(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.io.taken)
    }

    fn informational(&mut self, head: &ResponseHead) -> Result<(), ResponseError> {
        let (version, fields) = (self.facts.version, head.fields.iter());
        let start = self.out.len();
        write::informational(&mut self.out, version, head.status, fields)?;
        self.io.log.add_framing(self.out.len() - start);
        Ok(())
    }

    fn head(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<(), ResponseError> {
        let io = &mut *self.io;
        io.shown.set_state(connections::State::Writing);
        self.facts.persistent &= io.may_persist();
        if self.out.capacity() == 0 {
            self.out = io.context.take_out();
        }
        self.out.reserve(SMALL);
        // Only chunks can have trailers.
        let length = length.filter(|_| self.trailers.is_empty());
        let start = self.out.len();
        let mut fields = io.context.server_fields.borrow_mut();
        let sent = write::head(&mut self.out, &self.facts, head, length, fields.now())?;
        drop(fields);
        io.log.set_response(head.status, &self.out[start..]);
        self.facts.persistent = sent.persistent;
        self.state.begin(Encoder::new(sent.body));
        Ok(())
    }

    fn trailers(&mut self, fields: Fields) {
        if self.facts.trailers {
            self.trailers = fields;
        }
    }

    async fn content(
        &mut self,
        mut piece: Piece,
        more: impl FnMut() -> Option<Piece>,
    ) -> Result<(), Close> {
        if self.codes_itself() {
            let passed = self.own_chunks(piece.chunk.make_owned());
            drop(piece);
            return self.passed(passed).await;
        }
        if piece.len() > COPY {
            return self.large_content(gather(piece, more)).await;
        }
        if let Some(frame) = self.frame(piece.len()) {
            piece.chunk.copy_to(&mut self.out, frame.length);
            self.out.extend_from_slice(frame.suffix);
        }
        drop(piece);
        if self.out.len() > COPY {
            self.flush().await?;
        }
        Ok(())
    }

    /// The kernel copies it where the stream allows that.
    async fn file(&mut self, slice: FileSlice) -> Result<(), Close> {
        if self.codes_itself() {
            return self.own_chunks_of(slice).await;
        }
        let length = usize::try_from(slice.length).unwrap_or(usize::MAX);
        let Some(frame) = self.frame(length) else {
            return Ok(());
        };
        let mut sending =
            FileSending::new(Arc::clone(&slice.file), slice.offset, frame.length as u64);
        // One packet for the head and the file's first bytes, where these need no disk.
        if !self.out.is_empty() && !self.io.stream.is_tls() && sending.is_warm() {
            let sent = self.io.send_now(&[self.out[..].into()], Next::More)?;
            self.out.drain(..sent);
        }
        self.flush().await?;
        while sending.left() > 0 {
            let io = &mut *self.io;
            io.timer.set(io.context.settings.timeout);
            let left = sending.left();
            let sent = io.timer.limit(io.stream.send_file(&mut sending)).await;
            io.add_sent(left - sending.left());
            match sent {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    limited!(Error, "a file became shorter while it was being sent");
                    return Err(self.cut());
                }
                _ => return Err(Close::Lost),
            }
        }
        self.out.extend_from_slice(frame.suffix);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Close> {
        if self.out.is_empty() && !self.io.stream.has_unsent_records() {
            return Ok(());
        }
        self.io.write_all(&mut [IoSlice::new(&self.out)]).await?;
        self.out.clear();
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.state.is_complete()
    }

    async fn wait<T>(
        &mut self,
        next: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<Option<T>, Close> {
        let mut next = pin!(next);
        if let State::Lent(lent, _) = &mut self.state {
            return tokio::select! {
                biased;
                part = next => Ok(Some(part)),
                () = lent.run(self.io) => Err(Close::Lost),
            };
        }
        let watches = !self.state.is_uncertain();
        loop {
            let Transport {
                stream,
                context,
                timer,
                ..
            } = &mut *self.io;
            timer.set(limit);
            let waited = timer.limit(async {
                tokio::select! {
                    biased;
                    part = &mut next => Ok(part),
                    action = self.liveness.change(stream, &context.ticks), if watches => Err(action),
                }
            });
            let action = match waited.await {
                Ok(Ok(part)) => return Ok(Some(part)),
                Ok(Err(action)) => action,
                Err(Elapsed) => return Ok(None),
            };
            match action {
                Action::None => {}
                Action::Probe if !self.state.has_head() && self.facts.version > Version::Http10 => {
                    self.io.log.add_framing(write::CONTINUE.len());
                    self.out.extend_from_slice(write::CONTINUE);
                    self.flush().await?;
                }
                // To HTTP/1.0, and after a head, nothing can be said that is not content.
                Action::Probe => self.io.stream.probe(),
                Action::GiveUp => {
                    ::log::debug!("a client left before its response");
                    return Err(Close::Lost);
                }
            }
        }
    }

    async fn lend(&mut self) -> Result<Option<OwnedFd>, Close> {
        self.flush().await?;
        // The app may have read what belongs to a next request.
        self.facts.persistent = false;
        let (lent, socket) = handover::lend(self.io)?;
        self.state.lend(lent);
        Ok(Some(socket))
    }

    fn is_lent(&self) -> bool {
        matches!(self.state, State::Lent(..))
    }

    async fn take_back(&mut self) -> Result<(), Close> {
        if let Some((lent, encoder)) = self.state.take_lent() {
            let returned = lent.take_back(self.io).await?;
            self.state.give_back(returned, encoder);
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), Close> {
        let cut = self.cut();
        let (encoder, _relay) = match self.state.end() {
            End::Nothing => return self.canned(502).await,
            End::Content(encoder, relay) => (encoder, relay),
            End::TakeBack(lent, encoder) => (encoder, Some(lent.take_back(self.io).await?)),
            End::Leave(lent) => {
                self.io.log.set_handed_over();
                self.flush().await?;
                return Err(match lent {
                    Some(lent) => lent.leave(self.io).await,
                    None => Close::Done,
                });
            }
        };
        let finished = encoder.finish();
        match &finished {
            Ok(last) if *last == write::LAST_CHUNK && !self.trailers.is_empty() => {
                let start = self.out.len();
                write::last_chunk(&mut self.out, self.trailers.iter());
                self.io.log.add_framing(self.out.len() - start);
            }
            Ok(last) => {
                self.io.log.add_framing(last.len());
                self.out.extend_from_slice(last);
            }
            Err(short) => limited!(Error, "{short}"),
        }
        self.flush().await?;
        self.io.context.give_out(mem::take(&mut self.out));
        finished.map_err(|_| cut)?;
        self.persists()
    }

    async fn fail(&mut self, status: u16) -> Result<(), Close> {
        self.take_back().await?;
        match self.state.fail() {
            Failure::Tell => self.canned(status).await,
            Failure::HandedOver => {
                self.io.log.set_handed_over();
                Err(Close::Lost)
            }
            Failure::Whole => self.end().await,
            Failure::Cut => {
                self.flush().await?;
                Err(self.cut())
            }
        }
    }

    fn cut(&mut self) -> Close {
        match self.state.ends_by_close() {
            true => Close::Cut,
            // The framing tells, and what was sent before still arrives.
            false => Close::Lost,
        }
    }

    async fn refuse(&mut self, error: Error) -> Close {
        self.io.refuse(self.facts.method, error).await
    }

    fn keep(&mut self, exchange: Exchange) {
        self.io.running_on.retain(Exchange::is_running_on);
        self.io.running_on.push(exchange);
    }
}

impl Wire<'_> {
    /// Whether another request may follow.
    fn persists(&self) -> Result<(), Close> {
        self.facts.persistent.then_some(()).ok_or(Close::Done)
    }

    /// Answers for an app that can't.
    async fn canned(&mut self, status: u16) -> Result<(), Close> {
        let text = status::reason(status);
        self.io.canned(&mut self.out, &self.facts, status, text);
        self.flush().await?;
        self.persists()
    }

    /// Content that is written from where it is, as one frame.
    async fn large_content(&mut self, mut pieces: Vec<Piece>) -> Result<(), Close> {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        let Some(frame) = self.frame(length) else {
            return Ok(());
        };
        if frame.length < length {
            shorten(&mut pieces, frame.length);
        }
        // TLS reads it more than once; a socket gets it from where it is.
        if !self.io.stream.is_tls() {
            let sent = self
                .io
                .send_now(&iovecs(&self.out, &pieces), Next::Unknown)?;
            let of_out = sent.min(self.out.len());
            self.out.drain(..of_out);
            advance(&mut pieces, sent - of_out);
        }
        // What the client does not take at once must not keep the worker from its memory.
        self.io
            .write_all(&mut slices(&self.out, &mut pieces))
            .await?;
        self.out.clear();
        self.out.extend_from_slice(frame.suffix);
        Ok(())
    }

    /// Whether the app has chunked its content itself.
    fn codes_itself(&mut self) -> bool {
        let encoder = self.state.encoder();
        encoder.is_some_and(|encoder| encoder.own_chunks().is_some())
    }

    /// Content that the app has chunked itself.
    fn own_chunks(&mut self, content: &[u8]) -> Result<(), Error> {
        let Some(chunks) = self.state.encoder().and_then(Encoder::own_chunks) else {
            return Ok(());
        };
        let passed = chunks.pass(&mut self.out, content)?;
        self.io.log.add_framing(passed.framing);
        if passed.beyond > 0 && !self.too_long {
            self.too_long = true;
            limited!(
                Error,
                "a response goes on after its last chunk: the rest is not sent"
            );
        }
        Ok(())
    }

    /// Writes it if it is much. Malformed chunks are cut where that shows.
    async fn passed(&mut self, passed: Result<(), Error>) -> Result<(), Close> {
        if passed.is_err() || self.out.len() > COPY {
            self.flush().await?;
        }
        passed.map_err(|error| {
            limited!(
                Error,
                "a response has malformed chunks of the app's: {error}"
            );
            self.cut()
        })
    }

    /// The same from a file.
    async fn own_chunks_of(&mut self, slice: FileSlice) -> Result<(), Close> {
        let mut sending = FileSending::new(Arc::clone(&slice.file), slice.offset, slice.length);
        while sending.left() > 0 {
            let Ok(piece) = sending.next().await.map(<[u8]>::to_vec) else {
                limited!(Error, "a file became shorter while it was being sent");
                return Err(self.cut());
            };
            sending.advance(piece.len());
            let passed = self.own_chunks(&piece);
            self.passed(passed).await?;
        }
        Ok(())
    }

    /// How so much content is sent; begins its frame. Nothing before the head, which the worker sends first.
    fn frame(&mut self, length: usize) -> Option<Frame> {
        let encoder = self.state.encoder()?;
        let frame = encoder.frame(length);
        if frame.length < length && encoder.has_length() && !self.too_long {
            self.too_long = true;
            limited!(
                Error,
                "a response is longer than its Content-Length: the rest is not sent"
            );
        }
        self.io.log.add_framing(frame.overhead());
        self.out.extend_from_slice(frame.prefix.as_bytes());
        Some(frame)
    }
}

/// `first` and what is here already of the pieces after it: one write costs less than several.
fn gather(first: Piece, mut more: impl FnMut() -> Option<Piece>) -> Vec<Piece> {
    let mut length = first.len();
    let mut pieces = vec![first];
    while length < GATHER
        && pieces.len() < GATHER_PIECES
        && let Some(piece) = more()
    {
        length += piece.len();
        pieces.push(piece);
    }
    pieces
}

/// What is to be sent now: `out`, then the pieces.
fn iovecs<'s>(out: &'s [u8], pieces: &'s [Piece]) -> Vec<IoVec<'s>> {
    let pieces = pieces.iter().map(|piece| piece.chunk.as_iovec());
    iter::once(out.into()).chain(pieces).collect()
}

/// What is to be written: `out`, then the pieces, which are copied out of shared memory.
fn slices<'s>(out: &'s [u8], pieces: &'s mut [Piece]) -> Vec<IoSlice<'s>> {
    let pieces = pieces.iter_mut().map(|piece| &piece.chunk.make_owned()[..]);
    iter::once(out).chain(pieces).map(IoSlice::new).collect()
}

/// Takes the first `written` bytes off.
fn advance(pieces: &mut Vec<Piece>, mut written: usize) {
    pieces.retain_mut(|piece| {
        let gone = written.min(piece.len());
        piece.chunk.advance(gone);
        written -= gone;
        !piece.is_empty()
    });
}

/// Leaves the first `length` bytes.
fn shorten(pieces: &mut Vec<Piece>, mut length: usize) {
    pieces.retain_mut(|piece| {
        piece.chunk.truncate(length);
        length -= piece.len();
        !piece.is_empty()
    });
}
