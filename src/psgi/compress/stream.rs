//! The content of a response while it is compressed.

use super::failed;
use crate::channel::respond::{Lost, Respond};
use crate::coding::Encoder;
use crate::log::limited;

/// Content is compressed in steps of this size, so that its pieces leave one after the other.
const STEP: usize = 64 * 1024;

/// Content that is being compressed, and what could not be sent yet.
pub(super) struct Stream {
    /// Nothing once the content is complete.
    encoder: Option<Encoder>,
    /// What has come out, and how much of it was sent.
    out: Vec<u8>,
    sent: usize,
    /// Something was written since the last flush.
    dirty: bool,
    /// How much content may still come, where the app has announced a length.
    left: Option<u64>,
    /// More has come, which was logged.
    exceeded: bool,
}

impl Stream {
    pub(super) fn new(encoder: Encoder, left: Option<u64>) -> Self {
        Stream {
            encoder: Some(encoder),
            out: Vec::new(),
            sent: 0,
            dirty: false,
            left,
            exceeded: false,
        }
    }

    /// A content that is complete.
    pub(super) fn of(out: Vec<u8>) -> Self {
        Stream {
            encoder: None,
            out,
            sent: 0,
            dirty: false,
            left: Some(0),
            exceeded: false,
        }
    }

    pub(super) fn take_encoder(&mut self) -> Option<Encoder> {
        self.encoder.take()
    }

    /// Whether all content that was announced has come.
    pub(super) fn is_complete(&self) -> bool {
        self.left == Some(0)
    }

    /// Takes content, and sends what comes out of it. Returns how much was taken: less than all where a signal came while the client
    /// was waited for, or where more than was announced has come.
    pub(super) fn write(
        &mut self,
        id: u64,
        content: &[u8],
        to: &dyn Respond,
    ) -> Result<usize, Lost> {
        let fits = match self.left {
            Some(left) => content
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX)),
            None => content.len(),
        };
        let mut taken = 0;
        for piece in content[..fits].chunks(STEP) {
            // What could not be sent goes first: so no more than a step waits here.
            if !self.send(id, to)? {
                break;
            }
            let encoder = self.encoder.as_mut().ok_or(Lost::Finished)?;
            encoder.write(piece, &mut self.out).map_err(failed)?;
            self.dirty = true;
            taken += piece.len();
            if let Some(left) = &mut self.left {
                *left -= piece.len() as u64;
            }
        }
        self.send(id, to)?;
        Ok(taken)
    }

    /// More content has come than was announced: told once.
    pub(super) fn exceed(&mut self) -> Lost {
        if !std::mem::replace(&mut self.exceeded, true) {
            limited!(
                Error,
                "a response is longer than its Content-Length: the rest is not sent"
            );
        }
        Lost::Complete
    }

    /// Has all that was written leave.
    pub(super) fn flush(&mut self, id: u64, to: &dyn Respond) -> Result<(), Lost> {
        if std::mem::take(&mut self.dirty)
            && let Some(encoder) = &mut self.encoder
        {
            encoder.flush(&mut self.out).map_err(failed)?;
        }
        self.send_all(id, to)
    }

    /// Ends the content. Returns whether it is as long as was announced.
    pub(super) fn finish(&mut self, id: u64, to: &dyn Respond) -> Result<bool, Lost> {
        if self.left.is_some_and(|left| left > 0) {
            return Ok(false);
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.finish(&mut self.out).map_err(failed)?;
        }
        self.send_all(id, to)?;
        Ok(true)
    }

    /// Sends what has come out; false where a signal came first.
    pub(super) fn send(&mut self, id: u64, to: &dyn Respond) -> Result<bool, Lost> {
        if self.sent < self.out.len() {
            self.sent += to.chunk(id, &self.out[self.sent..])?;
        }
        let all = self.sent == self.out.len();
        if all {
            self.out.clear();
            self.sent = 0;
        }
        Ok(all)
    }

    /// The same, whatever signals come: Perl's handlers run when the app goes on. Mostly there is room, since `write` has waited for it.
    fn send_all(&mut self, id: u64, to: &dyn Respond) -> Result<(), Lost> {
        while !self.send(id, to)? {}
        Ok(())
    }
}
