//! What the core's end of a channel has to send, and what makes it look.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::semantics::message::{Content, Request};

/// Frames that the socket has not taken yet; a descriptor goes with the first byte.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) sent: usize,
    pub(super) ancillary: Ancillary,
}

impl Outgoing {
    /// Whether more frames may be appended.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.ancillary, Ancillary::Nothing)
    }
}

/// What goes with the first byte of a frame.
pub(super) enum Ancillary {
    Nothing,
    Socket(OwnedFd),
    /// The file of this request's content.
    Content(Rc<dyn AsRef<Request>>),
}

impl fmt::Debug for Ancillary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ancillary")
            .field(&self.descriptor())
            .finish()
    }
}

impl Ancillary {
    /// What a request's frame has: its content is shared, not duplicated, which would fail where descriptors have run out.
    pub(super) fn of<R: AsRef<Request> + 'static>(request: &Rc<R>) -> Self {
        match (**request).as_ref().content {
            Content::File { .. } => Ancillary::Content(Rc::<R>::clone(request)),
            Content::Empty | Content::Inline(_) => Ancillary::Nothing,
        }
    }

    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Ancillary::Socket(socket) => Some(socket.as_fd()),
            Ancillary::Content(request) => match &(**request).as_ref().content {
                Content::File { file, .. } => Some(file.as_fd()),
                Content::Empty | Content::Inline(_) => None,
            },
            Ancillary::Nothing => None,
        }
    }
}

/// Has the code that waits for messages look again.
#[derive(Debug, Default)]
pub(super) struct Attention {
    called: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Attention {
    pub(super) fn call(&self) {
        self.called.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether it was called since the last time; if not, it will wake the caller.
    pub(super) fn is_called(&self, context: &Context<'_>) -> bool {
        let called = self.called.take();
        if !called {
            *self.waiting.borrow_mut() = Some(context.waker().clone());
        }
        called
    }
}
