//! Workers come and go while requests run: candidates that are tried before they get any, and workers that retire.

use std::io;
use std::rc::Rc;

use super::Dispatch;
use super::backlog::Backlog;
use super::call::Call;
use super::exchange::{Exchange, InFlight};
use super::worker::Worker;
use crate::semantics::message::Request;

impl Dispatch {
    /// Hands a request to the candidate of this number, and to no other worker, whatever becomes of it.
    ///
    /// # Errors
    /// When there is no such candidate, or its channel is broken.
    pub fn submit_to(self: &Rc<Self>, number: u32, request: Request) -> io::Result<Exchange> {
        let backlog = Backlog::new(&self.memory, &self.room, None);
        let state = Rc::new(InFlight::pinned(request, backlog));
        let call = Call::Request(Rc::clone(&state));
        let mut workers = self.workers.borrow_mut();
        let sent = workers.change(number, |worker| worker.send(&call, number, super::now()));
        drop(workers);
        sent.ok_or(io::ErrorKind::NotFound)??;
        Ok(Exchange {
            state,
            dispatch: Rc::clone(self),
        })
    }

    /// A candidate gets requests from now on.
    pub fn admit(self: &Rc<Self>, number: u32) {
        self.workers.borrow_mut().change(number, Worker::admit);
        self.distribute(super::now());
    }

    /// Worker `number` gets no more requests, and leaves after those that it has claimed.
    pub fn retire(self: &Rc<Self>, number: u32) {
        self.worker_leaves(number);
        if let Some(worker) = self.workers.borrow().get(number) {
            // A broken channel belongs to a worker that is leaving already.
            let _ = worker.end.send_stop();
        }
    }
}
