//! A request's content on its way in: its framing, its pace, and where it is kept.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use tokio::io::AsyncReadExt;

use super::chunked::{Decoder, Piece};
use super::connection::{Close, Connection, READ};
use super::framing::{Facts, Framing};
use super::write;
use crate::channel::INLINE_CONTENT;
use crate::log::limited;
use crate::pace::Pace;
use crate::scoreboard::connections::State;
use crate::scoreboard::refusals::Refusal;
use crate::semantics::message::Content;
use crate::spool::{Kept, Spool};

/// How long content may come more slowly than `min_content_rate` wants: what is short is read in any case.
const GRACE: Duration = Duration::from_secs(20);

impl Connection {
    /// Reads more into the buffer; content that comes too slowly ends the connection.
    async fn read_more(&mut self, pace: &mut Pace) -> Result<(), Close> {
        self.shown.does(State::Reading);
        self.buffer.reserve(READ);
        let timeout = self.context.settings.timeout;
        self.timer.set(pace.patience(timeout, Instant::now()));
        match self
            .timer
            .limit(self.stream.read_buf(&mut self.buffer))
            .await
        {
            Ok(Ok(0) | Err(_)) => Err(Close::Lost),
            Ok(Ok(read)) => {
                self.account.read += read as u64;
                pace.count(read as u64, Instant::now());
                Ok(())
            }
            Err(_) => Err(self.refuse(408, "the content came too slowly").await),
        }
    }

    /// The request's content, complete, the length that it has or was said to have, and the room that it holds.
    pub(super) async fn read_content(
        &mut self,
        facts: &Facts,
    ) -> Result<(Content, Option<u64>, Option<Kept>), Close> {
        if let Framing::Length(length) = facts.content
            && let Err(error) = self.context.room.has_room(length, self.client())
        {
            return Err(self.cannot_keep(error).await);
        }
        // A client that has begun to send needs no permission (RFC 9110 section 10.1.1).
        if facts.expects_continue && self.buffer.is_empty() {
            self.account.frames(write::CONTINUE.len());
            self.write_all(&mut [IoSlice::new(write::CONTINUE)]).await?;
        }
        if let Framing::None = facts.content {
            return Ok((Content::Empty, None, None));
        }
        let mut pace = Pace::new(self.context.settings.content_rate, GRACE, Instant::now());
        match facts.content {
            Framing::None => Ok((Content::Empty, None, None)),
            Framing::Length(length) if length <= INLINE_CONTENT as u64 => {
                while (self.buffer.len() as u64) < length {
                    self.read_more(&mut pace).await?;
                }
                let content = self.buffer.split_to(length as usize).freeze();
                let content = if length == 0 {
                    Content::Empty
                } else {
                    Content::Inline(content)
                };
                Ok((content, Some(length), None))
            }
            Framing::Length(length) => {
                let mut spool = self.spool();
                while spool.length() < length {
                    if self.buffer.is_empty() {
                        self.read_more(&mut pace).await?;
                    }
                    let left = usize::try_from(length - spool.length()).unwrap_or(usize::MAX);
                    let piece = self.buffer.split_to(left.min(self.buffer.len())).freeze();
                    self.push(&mut spool, piece).await?;
                }
                self.spooled(spool).await
            }
            Framing::Chunked => {
                let mut spool = self.spool();
                let mut decoder = Decoder::new(&self.context.settings.limits);
                loop {
                    let decoded = decoder.decode(&mut self.buffer);
                    self.announced(decoder.announced()).await?;
                    match decoded {
                        Ok(Piece::Data(piece)) => self.push(&mut spool, piece).await?,
                        Ok(Piece::More) => self.read_more(&mut pace).await?,
                        Ok(Piece::End) => return self.spooled(spool).await,
                        Err(error) => return Err(self.refuse(error.status(), &error).await),
                    }
                }
            }
        }
    }

    /// Skips content that nobody wants. Whether all of it was here already: if not, the connection can't go on.
    pub(super) fn skip_content(&mut self, facts: &Facts) -> bool {
        match facts.content {
            Framing::None => true,
            Framing::Length(length) if length <= self.buffer.len() as u64 => {
                self.buffer.advance(length as usize);
                true
            }
            Framing::Length(_) | Framing::Chunked => false,
        }
    }

    /// Refuses content that could not be kept, before the client has sent it.
    async fn announced(&mut self, length: u64) -> Result<(), Close> {
        match self.context.room.could_hold(length) {
            Ok(()) => Ok(()),
            Err(error) => Err(self.cannot_keep(error).await),
        }
    }

    fn spool(&self) -> Spool {
        Spool::new(INLINE_CONTENT, &self.context.room, self.client())
    }

    async fn push(&mut self, spool: &mut Spool, piece: Bytes) -> Result<(), Close> {
        match spool.push(piece).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.cannot_keep(error).await),
        }
    }

    async fn spooled(
        &mut self,
        spool: Spool,
    ) -> Result<(Content, Option<u64>, Option<Kept>), Close> {
        let length = spool.length();
        match spool.finish().await {
            Ok((content, kept)) => Ok((content, Some(length), Some(kept))),
            Err(error) => Err(self.cannot_keep(error).await),
        }
    }

    async fn cannot_keep(&mut self, error: io::Error) -> Close {
        let status = match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _)
            | (io::ErrorKind::FileTooLarge, _) => 507,
            (io::ErrorKind::OutOfMemory, _) | (_, Some(libc::EMFILE | libc::ENFILE)) => 503,
            _ => 500,
        };
        self.shown.counts(Refusal::Content);
        limited!(
            Error,
            "a request's content can't be kept, {status}: {error}"
        );
        self.refuse(status, &error).await
    }
}
