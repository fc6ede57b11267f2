//! One response: its parts become bytes as they come from the worker.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::iter;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::connection::{Close, Connection};
use super::framing::Facts;
use super::handover::{self, Fetched};
use super::presence::{Change, Presence};
use super::write::{self, Encoder, Frame};
use crate::body::{FileSlice, Part};
use crate::dispatch::{Event, Exchange, Piece};
use crate::documents::{self, of_app};
use crate::http::error::{Error, ResponseError};
use crate::http::timer::Elapsed;
use crate::log::limited;
use crate::net::sendfile::FileSending;
use crate::scoreboard::connections::State;
use crate::semantics::message::{ResponseHead, Version};
use crate::semantics::status;
use crate::site;

/// Pieces of content up to this size are copied behind the bytes before them, so that they leave together.
const COPY: usize = 16 * 1024;

/// Longer ones are written together, about so many bytes at a time.
const GATHER: usize = 256 * 1024;

/// And no more pieces than this.
const GATHER_PIECES: usize = 64;

/// Bytes that hold most heads, and small responses whole.
const SMALL: usize = 512;

/// A response being written.
pub(super) struct Response<'a> {
    connection: &'a mut Connection,
    facts: Facts,
    /// What the app has, where it has fetched the client's socket.
    fetched: Option<Fetched>,
    /// Bytes that have not been written yet.
    out: Vec<u8>,
    /// The content's framing; nothing before the head.
    encoder: Option<Encoder>,
    /// It was told that the app gives more than it had announced.
    too_long: bool,
    presence: Presence,
    /// How long the app may write nothing; zero is no limit.
    silence: Duration,
}

impl<'a> Response<'a> {
    /// The response to a request with these facts.
    pub(super) fn new(connection: &'a mut Connection, facts: Facts) -> Self {
        Response {
            connection,
            facts,
            fetched: None,
            out: Vec::new(),
            encoder: None,
            too_long: false,
            presence: Presence::default(),
            silence: Duration::ZERO,
        }
    }

    /// Writes the response as its parts come. Returns whether the connection persists.
    pub(super) async fn write(self, exchange: &Exchange) -> Result<bool, Close> {
        let mut writing = pin!(self.write_parts(exchange));
        poll_fn(|context| {
            if exchange.is_cut() {
                return Poll::Ready(Err(Close::Cut));
            }
            let written = writing.as_mut().poll(context);
            if written.is_pending() {
                exchange.pauses(context.waker());
            }
            written
        })
        .await
    }

    async fn write_parts(mut self, exchange: &Exchange) -> Result<bool, Close> {
        let mut persistent = self.facts.persistent;
        // What came along with the head.
        let mut along = None;
        loop {
            let event = match along.take().or_else(|| exchange.next_here()) {
                Some(event) => event,
                None => {
                    // What is there goes out before we wait for more.
                    self.flush().await?;
                    if self.is_complete() {
                        exchange.complete();
                        return Ok(persistent);
                    }
                    self.next(exchange).await?
                }
            };
            if self.fetched.is_some() && self.takes_back(&event) {
                self.take_back().await?;
            }
            match event {
                Event::Informational(head) => {
                    let version = self.facts.version;
                    let fields = head.fields.iter();
                    let start = self.out.len();
                    match write::informational(&mut self.out, version, head.status, fields) {
                        Ok(()) => self.connection.account.frames(self.out.len() - start),
                        Err(error) => limited!(Error, "an interim response was dropped: {error}"),
                    }
                }
                Event::Head(head, length) => {
                    if let Some(length) = self.expects_file(exchange, &head, length) {
                        let next = match exchange.next_here() {
                            Some(next) => next,
                            None => {
                                self.flush().await?;
                                self.next(exchange).await?
                            }
                        };
                        if let Event::File(slice) = &next
                            && let Some(documents::Answer { head, body }) =
                                of_app::answer(exchange.head(), &head, slice, length)
                        {
                            // The client gets no more of this response.
                            exchange.complete();
                            return self.own(site::Response { head, body }).await;
                        }
                        along = Some(next);
                    }
                    match self.head(&head, length) {
                        Ok(persists) => persistent = persists,
                        Err(error) => {
                            limited!(Error, "a response can't be sent: {error}");
                            // The client is there, and gets no more of this response.
                            exchange.complete();
                            return self.canned(500).await;
                        }
                    }
                }
                Event::Chunk(piece) if self.codes_itself() => {
                    let passed = self.own_chunks(piece.as_ref());
                    // The worker has its memory back before the client takes what is copied.
                    drop(piece);
                    self.passed(passed).await?;
                }
                Event::File(slice) if self.codes_itself() => self.own_chunks_of(slice).await?,
                Event::Chunk(piece) if piece.as_ref().len() <= COPY => {
                    self.content(piece.as_ref());
                    drop(piece);
                    if self.out.len() > COPY {
                        self.flush().await?;
                    }
                }
                Event::Chunk(piece) => self.large_content(gather(piece, exchange)).await?,
                Event::File(slice) => self.file(slice).await?,
                // An app has no such key then: who asks all the same gets none.
                Event::Take if !self.connection.context.settings.psgix_io => {
                    exchange.hand_over(None);
                }
                Event::Take => {
                    self.flush().await?;
                    // The app may have read what belongs to a next request.
                    self.facts.persistent = false;
                    persistent = false;
                    self.fetched = Some(handover::give(self.connection, exchange)?);
                }
                // Nobody may be left who would end it.
                Event::WriterKept => self.silence = self.connection.context.settings.timeout,
                Event::End if self.fetched.is_some() && self.is_apps() => {
                    self.flush().await?;
                    self.connection.account.handed_over = true;
                    return Err(self.leave().await);
                }
                // The app may have answered by the socket.
                Event::Failed | Event::TimedOut
                    if self.fetched.is_some() && self.encoder.is_none() =>
                {
                    self.connection.account.handed_over = true;
                    return Err(Close::Lost);
                }
                // The client has taken the response for whole, and may have sent its next request.
                Event::Failed | Event::TimedOut
                    if self.encoder.as_ref().is_some_and(Encoder::is_complete) =>
                {
                    return self.end(persistent).await;
                }
                Event::End => return self.end(persistent).await,
                Event::Overloaded => return self.canned(503).await,
                Event::Failed if self.encoder.is_none() => return self.canned(502).await,
                Event::TimedOut if self.encoder.is_none() => return self.canned(504).await,
                Event::Failed | Event::TimedOut => {
                    self.flush().await?;
                    return Err(self.cut());
                }
            }
        }
    }

    /// The length of the file that is to follow this head, if the client gets conditions and ranges for it from us.
    fn expects_file(
        &self,
        exchange: &Exchange,
        head: &ResponseHead,
        length: Option<u64>,
    ) -> Option<u64> {
        let ours = self.connection.context.settings.file_ranges && self.fetched.is_none();
        // The content of a small response comes together with its head, whose fields need no look then.
        (ours && exchange.may_bring_file())
            .then(|| of_app::expected(exchange.head(), head, length))?
    }

    /// Writes a response of the server's own. Returns whether the connection persists.
    pub(super) async fn own(mut self, response: site::Response) -> Result<bool, Close> {
        let site::Response { head, mut body } = response;
        let persistent = match self.head(&head, Some(body.length())) {
            Ok(persistent) => persistent,
            Err(error) => {
                ::log::error!("a response of the server's own can't be sent: {error}");
                return self.canned(500).await;
            }
        };
        while let Some(part) = body.pop() {
            match part {
                Part::Bytes(bytes) if self.out.len() + bytes.len() <= COPY => self.content(&bytes),
                Part::Bytes(bytes) => self.large_content(vec![bytes.into()]).await?,
                Part::File(slice) => self.file(slice).await?,
            }
        }
        self.end(persistent).await
    }

    /// The final response's head. Returns whether the connection persists behind it.
    fn head(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<bool, ResponseError> {
        self.connection.shown.does(State::Writing);
        self.facts.persistent &= self.connection.may_persist();
        let date = self.connection.date();
        let server = self.connection.context.settings.server.as_deref();
        self.out.reserve(SMALL);
        let start = self.out.len();
        let sent = write::head(&mut self.out, &self.facts, head, length, &date, server)?;
        let written = &self.out[start..];
        self.connection.account.answers(head.status, written);
        self.encoder = Some(Encoder::new(sent.body));
        Ok(sent.persistent)
    }

    /// Whether the client has all that it may get, so that its connection can go on. An app that has fetched the socket says
    /// itself when it is done.
    fn is_complete(&self) -> bool {
        let complete = self.encoder.as_ref().is_some_and(Encoder::is_complete);
        complete && self.fetched.is_none()
    }

    /// Whether an app that has fetched the socket keeps the connection when it ends: what is sent now is no HTTP of ours.
    fn is_apps(&self) -> bool {
        self.encoder.as_ref().is_none_or(Encoder::is_tunnel)
    }

    /// Whether what comes is ours to write to a connection whose socket the app has fetched.
    fn takes_back(&self, event: &Event) -> bool {
        match event {
            Event::Take | Event::WriterKept => false,
            Event::End => !self.is_apps(),
            _ => true,
        }
    }

    async fn take_back(&mut self) -> Result<(), Close> {
        match &mut self.fetched {
            Some(fetched) => fetched.take_back(self.connection).await,
            None => Ok(()),
        }
    }

    async fn leave(self) -> Close {
        match self.fetched {
            Some(fetched) => fetched.leave(self.connection).await,
            None => Close::Done,
        }
    }

    /// The next part, as long as the client is there to take it.
    async fn next(&mut self, exchange: &Exchange) -> Result<Event, Close> {
        if let Some(fetched @ (Fetched::Copy | Fetched::Relay(_))) = &mut self.fetched {
            return tokio::select! {
                biased;
                event = exchange.next() => Ok(event),
                () = fetched.run(self.connection) => Err(Close::Lost),
            };
        }
        // An app that has the socket may have written to it: nothing can be said before its head.
        let asks = self.encoder.is_some() || self.fetched.is_none();
        loop {
            let Connection {
                stream,
                context,
                timer,
                ..
            } = &mut *self.connection;
            timer.set(self.silence);
            let waited = timer.limit(async {
                tokio::select! {
                    biased;
                    event = exchange.next() => Ok(event),
                    change = self.presence.change(stream, &context.ticks), if asks => Err(change),
                }
            });
            let change = match waited.await {
                Ok(Ok(event)) => return Ok(event),
                Ok(Err(change)) => change,
                Err(Elapsed) => {
                    limited!(
                        Error,
                        "a writer that outlives its call has written nothing for {:?}: its response is cut",
                        self.silence
                    );
                    return Err(self.cut());
                }
            };
            match change {
                Change::None => {}
                Change::Ask if self.encoder.is_none() && self.facts.version > Version::Http10 => {
                    self.connection.account.frames(write::CONTINUE.len());
                    self.out.extend_from_slice(write::CONTINUE);
                    self.flush().await?;
                }
                // To HTTP/1.0, and behind a head, nothing can be said that is not content.
                Change::Ask => self.connection.stream.probe(),
                Change::Gone => {
                    ::log::debug!("a client left before its response");
                    return Err(Close::Lost);
                }
            }
        }
    }

    /// Content that leaves together with what is before it.
    fn content(&mut self, content: &[u8]) {
        if let Some(frame) = self.frame(content.len()) {
            self.out.extend_from_slice(&content[..frame.length]);
            self.out.extend_from_slice(frame.suffix);
        }
    }

    /// Content that is written from where it is, as one frame.
    async fn large_content(&mut self, mut pieces: Vec<Piece>) -> Result<(), Close> {
        let length = pieces.iter().map(|piece| piece.as_ref().len()).sum();
        let Some(frame) = self.frame(length) else {
            return Ok(());
        };
        if frame.length < length {
            shorten(&mut pieces, frame.length);
        }
        let mut all = slices(&self.out, &pieces);
        let written = self.connection.write_now(&mut all).await?;
        // What the client does not take at once must not keep the worker from its memory.
        let of_out = written.min(self.out.len());
        self.out.drain(..of_out);
        advance(&mut pieces, written - of_out);
        pieces.iter_mut().for_each(|piece| piece.chunk.keep());
        self.connection
            .write_all(&mut slices(&self.out, &pieces))
            .await?;
        self.out.clear();
        self.out.extend_from_slice(frame.suffix);
        Ok(())
    }

    /// Whether the app has chunked its content itself.
    fn codes_itself(&mut self) -> bool {
        let encoder = self.encoder.as_mut();
        encoder.is_some_and(|encoder| encoder.own_chunks().is_some())
    }

    /// Content that the app has chunked itself.
    fn own_chunks(&mut self, content: &[u8]) -> Result<(), Error> {
        let Some(chunks) = self.encoder.as_mut().and_then(Encoder::own_chunks) else {
            return Ok(());
        };
        let passed = chunks.pass(&mut self.out, content)?;
        self.connection.account.frames(passed.framing);
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
        let encoder = self.encoder.as_mut()?;
        let frame = encoder.frame(length);
        if frame.length < length && encoder.has_length() && !self.too_long {
            self.too_long = true;
            limited!(
                Error,
                "a response is longer than its Content-Length: the rest is not sent"
            );
        }
        self.connection.account.frames(frame.overhead());
        self.out.extend_from_slice(frame.prefix.as_bytes());
        Some(frame)
    }

    /// Content from a file: the kernel copies it where the stream allows that.
    async fn file(&mut self, slice: FileSlice) -> Result<(), Close> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let frame = encoder.frame(usize::try_from(slice.length).unwrap_or(usize::MAX));
        self.connection.account.frames(frame.overhead());
        self.out.extend_from_slice(frame.prefix.as_bytes());
        self.flush().await?;
        let connection = &mut *self.connection;
        let timeout = connection.context.settings.timeout;
        let mut sending =
            FileSending::new(Arc::clone(&slice.file), slice.offset, frame.length as u64);
        while sending.left() > 0 {
            connection.timer.set(timeout);
            let left = sending.left();
            let sent = connection
                .timer
                .limit(connection.stream.send_file(&mut sending))
                .await;
            connection.account.wrote(left - sending.left());
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

    /// How the connection ends behind a response that is not whole.
    fn cut(&self) -> Close {
        match &self.encoder {
            Some(encoder) if encoder.ends_by_close() => Close::Cut,
            // The framing tells, and what was sent before still arrives.
            _ => Close::Lost,
        }
    }

    async fn end(mut self, persistent: bool) -> Result<bool, Close> {
        let cut = self.cut();
        let finished = match self.encoder.take() {
            Some(encoder) => encoder.finish(),
            None => return self.canned(502).await,
        };
        match finished {
            Ok(last) => {
                self.connection.account.frames(last.len());
                self.out.extend_from_slice(last);
                self.flush().await?;
                Ok(persistent)
            }
            Err(short) => {
                limited!(Error, "{short}");
                self.flush().await?;
                Err(cut)
            }
        }
    }

    /// Answers for an app that can't.
    async fn canned(mut self, status: u16) -> Result<bool, Close> {
        self.connection.shown.does(State::Writing);
        let persistent =
            self.connection
                .canned(&mut self.out, &self.facts, status, status::reason(status));
        self.flush().await?;
        Ok(persistent)
    }

    async fn flush(&mut self) -> Result<(), Close> {
        let mut out = [IoSlice::new(&self.out)];
        self.connection.write_all(&mut out).await?;
        self.out.clear();
        Ok(())
    }
}

/// `first` and what is here already of the pieces behind it: one write costs less than several.
fn gather(first: Piece, exchange: &Exchange) -> Vec<Piece> {
    let mut length = first.as_ref().len();
    let mut pieces = vec![first];
    while length < GATHER
        && pieces.len() < GATHER_PIECES
        && let Some(piece) = exchange.more_here()
    {
        length += piece.as_ref().len();
        pieces.push(piece);
    }
    pieces
}

/// What is to be written: `out`, then the pieces.
fn slices<'s>(out: &'s [u8], pieces: &'s [Piece]) -> Vec<IoSlice<'s>> {
    let pieces = pieces.iter().map(Piece::as_ref);
    iter::once(out).chain(pieces).map(IoSlice::new).collect()
}

/// Takes the first `written` bytes off.
fn advance(pieces: &mut Vec<Piece>, mut written: usize) {
    pieces.retain_mut(|piece| {
        let gone = written.min(piece.as_ref().len());
        piece.chunk.advance(gone);
        written -= gone;
        !piece.as_ref().is_empty()
    });
}

/// Leaves the first `length` bytes.
fn shorten(pieces: &mut Vec<Piece>, mut length: usize) {
    pieces.retain_mut(|piece| {
        piece.chunk.truncate(length);
        length -= piece.as_ref().len();
        !piece.as_ref().is_empty()
    });
}

impl Connection {
    /// Appends a whole response of the server's own. Returns whether the connection persists.
    pub(super) fn canned(
        &mut self,
        out: &mut Vec<u8>,
        facts: &Facts,
        status: u16,
        text: &str,
    ) -> bool {
        let start = out.len();
        let date = self.date();
        let server = self.context.settings.server.as_deref();
        let persistent = write::canned(out, facts, status, text, &date, server);
        let head = memchr::memmem::find(&out[start..], b"\r\n\r\n")
            .map_or(out.len(), |end| start + end + 4);
        self.account.answers(status, &out[start..head]);
        persistent
    }
}
