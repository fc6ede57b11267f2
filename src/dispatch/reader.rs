//! The client that reads a response, as its dispatch sees it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

/// What is known of the client that reads a response.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Bytes that its connection has taken, in all; counted there.
    taken: OnceCell<Rc<Cell<u64>>>,
    /// It is one of the [`super::readers::Readers`].
    pub(super) listed: Cell<bool>,
    pub(super) cut: Cell<bool>,
    /// Wakes the writer of the response, which waits for the client.
    pub(super) writer: RefCell<Option<Waker>>,
    /// Since when its worker waits for the client.
    pub(super) blocked: Cell<Option<Instant>>,
}

impl Reader {
    pub(super) fn is_counted_by(&self, taken: Rc<Cell<u64>>) {
        // There is one connection.
        let _ = self.taken.set(taken);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.get()
    }

    /// The writer of the response waits for the client.
    pub(super) fn waits(&self, writer: &Waker) {
        let mut own = self.writer.borrow_mut();
        if !own.as_ref().is_some_and(|own| own.will_wake(writer)) {
            *own = Some(writer.clone());
        }
    }

    /// Its worker may send more.
    pub(super) fn credited(&self) {
        self.blocked.set(None);
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken.get().map_or(0, |taken| taken.get())
    }
}
