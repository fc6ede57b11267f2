//! One request and its response on a connection: `body` reads the one, `writer` writes the other.

use super::chunked::Decoder;
use super::framing::{Facts, Method};
use super::liveness::ClientLiveness;
use super::state::State;
use super::transport::Transport;
use crate::semantics::field::Fields;
use crate::semantics::message::RequestHead;

/// The wire of `http::transaction` for one request.
pub(super) struct Wire<'a> {
    pub(super) io: &'a mut Transport,
    /// What the request's head says about framing and the connection.
    pub(super) facts: Facts,
    /// The request's content.
    pub(super) unread: Unread,
    /// How far the response is.
    pub(super) state: State,
    /// Bytes that have not been written yet.
    pub(super) out: Vec<u8>,
    /// It was logged that the app gives more than it had announced.
    pub(super) too_long: bool,
    /// What follows the content.
    pub(super) trailers: Fields,
    pub(super) liveness: ClientLiveness,
}

/// What of a request's content is still to come.
#[derive(Debug)]
pub(super) enum Unread {
    /// Nothing.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks. `announced` is what the transaction knows of their sizes.
    Chunks { decoder: Decoder, announced: u64 },
}

impl<'a> Wire<'a> {
    /// For the request with this head.
    pub(super) fn new(io: &'a mut Transport, head: &RequestHead) -> Self {
        Wire {
            io,
            // What refuses a HEAD has no content.
            facts: Facts {
                method: Method::of(head),
                ..Facts::UNREAD
            },
            unread: Unread::None,
            state: State::Before,
            out: Vec::new(),
            too_long: false,
            trailers: Fields::default(),
            liveness: ClientLiveness::default(),
        }
    }
}
