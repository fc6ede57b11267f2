//! What the transaction wants of a wire for a response.

use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use super::close::Close;
use super::error::{Error, ResponseError};
use super::request_log::{RequestLog, WireCounts};
use crate::body::FileSlice;
use crate::dispatch::{Exchange, Piece};
use crate::scoreboard::connections::State;
use crate::semantics::field::Fields;
use crate::semantics::message::ResponseHead;

/// A client that gets a response. Its methods return when the bytes are on their way or kept; an error means that the client
/// gets nothing more.
pub(super) trait ResponseSink {
    /// Shows what the connection does.
    fn show(&self, state: State);

    /// The account of this exchange.
    fn log(&mut self) -> &mut RequestLog;

    /// What was counted of this exchange.
    fn counts(&self) -> WireCounts;

    /// Where the bytes are counted that the client has taken: a slow reader is found by this count.
    fn taken(&self) -> Rc<Cell<u64>>;

    /// Queues an interim response.
    ///
    /// # Errors
    /// Where it can't be sent; the final response still can.
    fn informational(&mut self, head: &ResponseHead) -> Result<(), ResponseError>;

    /// Queues the head of the final response, with the length of its content where that is known.
    ///
    /// # Errors
    /// Where it can't be sent; [`ResponseSink::fail`] still can.
    fn head(&mut self, head: &ResponseHead, length: Option<u64>) -> Result<(), ResponseError>;

    /// Keeps the fields that follow the content, in the place of earlier ones. They are dropped where the client takes none.
    fn trailers(&mut self, fields: Fields);

    /// Sends or queues content; `more` gives what follows at once.
    async fn content(
        &mut self,
        piece: Piece,
        more: impl FnMut() -> Option<Piece>,
    ) -> Result<(), Close>;

    /// Sends content from a file.
    async fn file(&mut self, slice: FileSlice) -> Result<(), Close>;

    /// Sends what is queued.
    async fn flush(&mut self) -> Result<(), Close>;

    /// Whether the client has all that it may get, though the source has not ended.
    fn is_complete(&self) -> bool;

    /// Waits for `next` while the client is there; nothing when `limit` is over (zero is no limit).
    async fn wait<T>(
        &mut self,
        next: impl Future<Output = T>,
        limit: Duration,
    ) -> Result<Option<T>, Close>;

    /// Lends the client's socket to the app (`psgix.io`); nothing where the wire shares it between requests.
    async fn lend(&mut self) -> Result<Option<OwnedFd>, Close>;

    /// Whether the app has the client's socket.
    fn is_lent(&self) -> bool;

    /// Takes a socket back that was lent: the app answers as any other.
    async fn take_back(&mut self) -> Result<(), Close>;

    /// The response is complete. `Ok` where another request may follow.
    async fn end(&mut self) -> Result<(), Close>;

    /// The response will not be complete: this status where no head was sent, else a cut.
    async fn fail(&mut self, status: u16) -> Result<(), Close>;

    /// A response that will not be complete is cut.
    fn cut(&mut self) -> Close;

    /// Answers a request that is not served.
    async fn refuse(&mut self, error: Error) -> Close;

    /// Keeps an exchange whose response is complete and whose app runs on: it ends with the connection.
    fn keep(&mut self, exchange: Exchange);
}
