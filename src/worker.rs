//! What a worker process does: take a request from its channel, have the app answer it, take the next.
//!
//! Knows no Perl and no HTTP wire: the app is anything that implements [`App`].

use crate::semantics::message::Request;

/// Why a part of a response could not be handed to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The client has left; nobody reads this response any more.
    Client,
    /// The response is over already, or the request is not this worker's.
    Finished,
    /// The channel to the core is gone.
    Core,
}

/// Where responses go. Parts are queued in order; `flush` hands them over in one write.
///
/// Calls name the request by its id, because a writer may be kept by the app longer than the call.
pub trait Respond {
    /// An interim response, status 100 to 199 (RFC 9110 section 15.2).
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost>;
    /// The head of the final response; `length` where the content's length is known beforehand.
    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Option<u64>,
    ) -> Result<(), Lost>;
    /// A piece of content, behind the head. Blocks while the client is too slow to take more.
    fn chunk(&self, id: u64, content: &[u8]) -> Result<(), Lost>;
    /// The response is complete.
    fn end(&self, id: u64) -> Result<(), Lost>;
    /// The response can't be completed: the core answers 502 or, behind the head, cuts the connection.
    fn abort(&self, id: u64);
    /// This worker can take the next request.
    fn idle(&self);
    /// Hands over what is queued.
    fn flush(&self) -> Result<(), Lost>;
}

/// How a call of the app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// The worker is ready for the next request and has said so (`Respond::idle`).
    Done,
    /// The worker shall leave: the app asked for it (psgix.harakiri) or `last` was set.
    Leave,
    /// The app called `exit` with this status; the interpreter can't go on.
    Exit(i32),
}

/// The application, as a worker sees it.
pub trait App {
    /// Answers one request. With `last`, the worker leaves behind it: `Respond::idle` is not called.
    fn call(&mut self, id: u64, request: Request, last: bool) -> Called;
    /// Runs what signals have asked for while the worker waited; the status if a handler called `exit`.
    fn signals(&mut self) -> Option<i32>;
}
