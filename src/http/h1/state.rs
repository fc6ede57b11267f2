//! How far a response is, and who has the client's socket meanwhile: the only place where that changes.

use std::mem;

use super::handover::{LentSocket, Returned};
use super::write::Encoder;

/// The state of a response.
#[derive(Debug, Default)]
pub(super) enum State {
    /// The final head is to come.
    #[default]
    Before,
    /// The head is written, and content follows.
    Content(Encoder),
    /// The app has the socket; with the encoder where the head was written before.
    Lent(LentSocket, Option<Encoder>),
    /// The app has had the socket, and answers as any other.
    Returned(Returned, Option<Encoder>),
}

/// What the end of an app's response means.
pub(super) enum End {
    /// There is no response.
    Nothing,
    /// Its content is complete. The end of a relay stays open until that is written.
    Content(Encoder, Option<Returned>),
    /// As above, but the app still has the socket.
    TakeBack(LentSocket, Encoder),
    /// The app keeps the connection: it answers by the socket, or what follows its head is no HTTP.
    Leave(Option<LentSocket>),
}

/// What it means that an app's response will not be complete.
pub(super) enum Failure {
    /// The client can still be told.
    Tell,
    /// The app may have answered by the socket.
    HandedOver,
    /// The client has taken the response for whole, and may have sent its next request.
    Whole,
    /// What was sent is cut.
    Cut,
}

impl State {
    /// The content's framing, once the head is written.
    pub(super) fn encoder(&mut self) -> Option<&mut Encoder> {
        match self {
            State::Before => None,
            State::Content(encoder) => Some(encoder),
            State::Lent(_, encoder) | State::Returned(_, encoder) => encoder.as_mut(),
        }
    }

    /// As [`State::encoder`], to look at.
    fn framing(&self) -> Option<&Encoder> {
        match self {
            State::Before => None,
            State::Content(encoder) => Some(encoder),
            State::Lent(_, encoder) | State::Returned(_, encoder) => encoder.as_ref(),
        }
    }

    /// Whether the head is written.
    pub(super) fn has_head(&self) -> bool {
        self.framing().is_some()
    }

    /// Whether an app that had the socket may have written to it, so that nothing can be said before its head.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self, State::Lent(..) | State::Returned(_, None))
    }

    /// Whether the client has all that it may get, so that its connection can go on. An app that has had the socket says itself
    /// when it is done.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self, State::Content(encoder) if encoder.is_complete())
    }

    /// Whether only the connection's close ends the content, so that a cut must not look like an end.
    pub(super) fn ends_by_close(&self) -> bool {
        self.framing().is_some_and(Encoder::ends_by_close)
    }

    /// The head is written.
    pub(super) fn begin(&mut self, encoder: Encoder) {
        *self = match mem::take(self) {
            State::Before | State::Content(_) => State::Content(encoder),
            State::Lent(lent, _) => State::Lent(lent, Some(encoder)),
            State::Returned(returned, _) => State::Returned(returned, Some(encoder)),
        };
    }

    /// The app gets the socket.
    pub(super) fn lend(&mut self, lent: LentSocket) {
        *self = match mem::take(self) {
            State::Before => State::Lent(lent, None),
            State::Content(encoder) => State::Lent(lent, Some(encoder)),
            State::Lent(_, encoder) | State::Returned(_, encoder) => State::Lent(lent, encoder),
        };
    }

    /// What the app has, if it has the socket: [`State::give_back`] must follow.
    pub(super) fn take_lent(&mut self) -> Option<(LentSocket, Option<Encoder>)> {
        match mem::take(self) {
            State::Lent(lent, encoder) => Some((lent, encoder)),
            other => {
                *self = other;
                None
            }
        }
    }

    /// The socket is ours again.
    pub(super) fn give_back(&mut self, returned: Returned, encoder: Option<Encoder>) {
        *self = State::Returned(returned, encoder);
    }

    /// The app has ended its response.
    pub(super) fn end(&mut self) -> End {
        match mem::take(self) {
            State::Before => End::Nothing,
            State::Content(encoder) => End::Content(encoder, None),
            State::Lent(lent, Some(encoder)) if !encoder.is_tunnel() => {
                End::TakeBack(lent, encoder)
            }
            State::Lent(lent, _) => End::Leave(Some(lent)),
            State::Returned(returned, Some(encoder)) if !encoder.is_tunnel() => {
                End::Content(encoder, Some(returned))
            }
            State::Returned(..) => End::Leave(None),
        }
    }

    /// The app will not end its response.
    pub(super) fn fail(&self) -> Failure {
        match self {
            State::Before => Failure::Tell,
            State::Lent(_, None) | State::Returned(_, None) => Failure::HandedOver,
            State::Content(encoder)
            | State::Lent(_, Some(encoder))
            | State::Returned(_, Some(encoder)) => match encoder.is_complete() {
                true => Failure::Whole,
                false => Failure::Cut,
            },
        }
    }
}
