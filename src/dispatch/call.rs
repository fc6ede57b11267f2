//! A unit of work for a worker: a request, or the question whether the app accepts a client's certificate.
//!
//! Every call goes the same way: it waits in the queue, a worker claims it, and its end is reported once. A call that no
//! worker has claimed can be taken back and given to another one.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Settings;
use super::event::Event;
use super::flow::Client;
use super::in_flight::{InFlight, Place};
use crate::semantics::message::{Content, RequestTimeout, Tls};

/// A unit of work.
#[derive(Clone, Debug)]
pub(super) enum Call {
    Request(Rc<InFlight>),
    Verify(Rc<Question>),
}

impl Call {
    pub(super) fn place(&self) -> Place {
        match self {
            Call::Request(state) => state.place.get(),
            Call::Verify(question) => question.place.get(),
        }
    }

    /// Moves the call, and returns where it was.
    pub(super) fn set_place(&self, place: Place) -> Place {
        match self {
            Call::Request(state) => state.place.replace(place),
            Call::Verify(question) => question.place.replace(place),
        }
    }

    /// Whether both are the same call.
    pub(super) fn is(&self, other: &Call) -> bool {
        match (self, other) {
            (Call::Request(one), Call::Request(other)) => Rc::ptr_eq(one, other),
            (Call::Verify(one), Call::Verify(other)) => Rc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// When it was submitted.
    pub(super) fn submitted(&self) -> Instant {
        match self {
            Call::Request(state) => state.submitted,
            Call::Verify(question) => question.submitted,
        }
    }

    /// Whose turn it is when it is served.
    pub(super) fn client(&self) -> Client {
        match self {
            Call::Request(state) => Client::new(state.request.source.client(), state.flow.as_ref()),
            Call::Verify(question) => Client::new(question.client, None),
        }
    }

    /// Whether it may wait at a busy worker. A descriptor may not: the worker might die before it has read it. A client in
    /// its handshake may not either: its time is limited.
    pub(super) fn may_wait_at_worker(&self) -> bool {
        match self {
            Call::Request(state) => !matches!(state.request.content, Content::File { .. }),
            Call::Verify(_) => false,
        }
    }

    /// Whether it is for one worker only.
    pub(super) fn is_pinned(&self) -> bool {
        matches!(self, Call::Request(state) if state.is_pinned())
    }

    /// Whether a worker that has not claimed it may lose it to another one.
    pub(super) fn may_move(&self) -> bool {
        !self.is_pinned() && !matches!(self, Call::Request(state) if state.is_suspect.get())
    }

    /// How long the app may work on it without a sign of progress; `None` without limit.
    pub(super) fn timeout(&self, settings: &Settings) -> Option<Duration> {
        match self {
            Call::Request(state) => match state.request.vhost.as_ref().map(|h| h.request_timeout) {
                None | Some(RequestTimeout::OfServer) => settings.request_timeout,
                Some(RequestTimeout::None) => None,
                Some(RequestTimeout::After(limit)) => Some(limit),
            },
            Call::Verify(_) => settings.verify_timeout,
        }
    }

    /// What is called, for the log.
    pub(super) fn describe(&self) -> String {
        match self {
            Call::Request(state) => {
                let head = &state.request.head;
                let (method, target) = (head.method(), head.target());
                format!(
                    "request_timeout: {} {}",
                    method.escape_ascii(),
                    target.escape_ascii()
                )
            }
            Call::Verify(_) => "ssl_verify_callback".to_owned(),
        }
    }

    /// Ends it without a worker's answer. A request gets `event`, a client with a certificate is turned away.
    pub(super) fn fail(&self, event: Event) {
        match self {
            Call::Request(state) => state.finish(event),
            Call::Verify(question) => question.answer(None),
        }
    }
}

/// The question whether the app accepts a client's certificate.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) tls: Rc<Tls>,
    client: Option<IpAddr>,
    pub(super) place: Cell<Place>,
    pub(super) submitted: Instant,
    answer: RefCell<Option<oneshot::Sender<Option<bool>>>>,
}

impl Question {
    pub(super) fn new(
        tls: Rc<Tls>,
        client: Option<IpAddr>,
        answer: oneshot::Sender<Option<bool>>,
    ) -> Self {
        Question {
            tls,
            client,
            place: Cell::new(Place::Queued),
            submitted: super::now(),
            answer: RefCell::new(Some(answer)),
        }
    }

    /// Answers it, once: `None` if there is no verdict.
    pub(super) fn answer(&self, good: Option<bool>) {
        self.place.set(Place::Over);
        if let Some(answer) = self.answer.take() {
            // Nobody may wait any more.
            let _ = answer.send(good);
        }
    }
}
