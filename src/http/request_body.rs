//! What the transaction wants of a wire for a request's content.

use bytes::Bytes;

use super::close::Close;
use super::error::{BodyError, Error};
use super::limits::Limits;
use crate::pace::Pace;
use crate::semantics::message::{Http2, RequestHead, Timestamp};

/// A request's content on its way in.
pub(super) trait RequestBody {
    /// Checks what the head says about the content, before anything else is asked.
    ///
    /// # Errors
    /// Why the request is refused.
    fn frame(&mut self, head: &RequestHead, limits: &Limits) -> Result<(), Error>;

    /// The content's length, as far as the head tells it.
    fn length(&self) -> Length;

    /// Bytes that the client has announced so far.
    fn announced(&self) -> u64;

    /// Lets a client send that waits for permission (RFC 9110 section 10.1.1).
    async fn invite(&mut self) -> Result<(), Close>;

    /// The next piece; where it can, of `least` bytes. Those that come must keep `pace`.
    async fn next(&mut self, least: u64, pace: &mut Pace) -> Result<Received, BodyError>;

    /// Skips content that nobody reads, without waiting for it. Whether all of it was here: if not, no request can follow.
    fn skip(&mut self) -> bool;

    /// What only HTTP/2 tells, once the content has come.
    fn http2(&mut self) -> Option<Http2>;

    /// When the last byte came.
    fn finished(&self, started: Timestamp) -> Timestamp;
}

/// What is known of a content's length before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is no content, and none was announced.
    None,
    /// This many bytes, perhaps none.
    Known(u64),
    /// The content's end tells.
    Unknown,
}

/// What came of a request's content.
#[derive(Debug)]
pub(super) enum Received {
    /// Some bytes.
    Data(Bytes),
    /// Nothing yet, but the client has announced more.
    Announced,
    /// All of it has come.
    End,
}
