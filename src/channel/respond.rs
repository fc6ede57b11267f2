//! What a response is made of, as a worker hands it to the core: the seam between psgi and the channel.

#![forbid(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};

use crate::semantics::message::Length;

/// Why a part of a response could not be handed to the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The client has left; nobody reads this response any more.
    Client,
    /// The client has all the content that the response may have; nothing more is sent.
    Complete,
    /// The response is over already, or the request is not this worker's.
    Finished,
    /// The channel to the core is gone.
    Core,
    /// The fields are more than the channel carries; nothing was sent.
    TooLarge,
}

/// Where responses go. Parts are queued in order; `flush` hands them over in one write.
///
/// Calls name the request by its id, because a writer may be kept by the app longer than the call.
pub trait Respond {
    /// An interim response, status 100 to 199 (RFC 9110 section 15.2).
    fn informational(&self, id: u64, status: u16, fields: &[(&[u8], &[u8])]) -> Result<(), Lost>;
    /// Fields that follow the content (RFC 9110 section 6.5), in the place of those that were given before.
    fn trailers(&self, id: u64, fields: &[(&[u8], &[u8])]) -> Result<(), Lost>;
    /// The head of the final response, and what is known of its content.
    fn head(
        &self,
        id: u64,
        status: u16,
        fields: &[(&[u8], &[u8])],
        length: Length,
    ) -> Result<(), Lost>;
    /// A piece of content, after the head. Blocks while the client is too slow to take more. Returns how many bytes
    /// were taken: less than all where a signal came meanwhile. What exceeds the Content-Length is not sent, and
    /// [`Lost::Complete`].
    fn chunk(&self, id: u64, content: &[u8]) -> Result<usize, Lost>;
    /// A piece of content, after the head: `length` bytes of a regular file from `offset` on. The core
    /// sends it; a file that has become shorter by then costs the client's connection.
    fn file(&self, id: u64, file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<(), Lost>;
    /// The client's socket, for an app that speaks to it itself (psgix.io). A response may still
    /// follow; `end` without a head leaves the connection to the app.
    fn take(&self, id: u64) -> Result<OwnedFd, Lost>;
    /// Whether the client is still there and may be sent more content. A look at memory, for apps that ask often.
    fn look(&self, id: u64) -> Result<(), Lost>;
    /// The response is complete.
    fn end(&self, id: u64) -> Result<(), Lost>;
    /// The response can't be completed: the core answers 502 or, after the head, cuts the connection.
    fn abort(&self, id: u64);
    /// This worker can take the next request.
    fn idle(&self);
    /// Hands over what is queued.
    fn flush(&self) -> Result<(), Lost>;
}
