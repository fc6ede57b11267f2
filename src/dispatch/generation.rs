//! Workers come and go while requests run: candidates that are tried before they get any, and workers that retire.

use std::io;
use std::rc::Rc;

use super::Dispatch;
use super::backlog::Backlog;
use super::exchange::{Exchange, InFlight, Place};
use crate::semantics::message::Request;

impl Dispatch {
    /// Hands a request to the candidate of this number, and to no other worker, whatever becomes of it.
    ///
    /// # Errors
    /// When there is no such candidate, or its channel is broken.
    pub fn submit_to(self: &Rc<Self>, number: u32, request: Request) -> io::Result<Exchange> {
        let backlog = Backlog::new(&self.memory, &self.room);
        let state = Rc::new(InFlight::pinned(request, backlog));
        let mut workers = self.workers.borrow_mut();
        let worker = workers.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        let id = worker.send(&state)?;
        state.place.set(Place::Worker { number, id });
        Ok(Exchange {
            state,
            dispatch: Rc::clone(self),
        })
    }

    /// A candidate gets requests from now on.
    pub fn admit(self: &Rc<Self>, number: u32) {
        if let Some(worker) = self.workers.borrow_mut().get_mut(&number) {
            worker.admitted = true;
        }
        self.look_at(number);
        self.match_up();
    }

    /// Worker `number` gets no more requests, and leaves behind those that it has claimed.
    pub fn retire(self: &Rc<Self>, number: u32) {
        self.worker_leaves(number);
        if let Some(worker) = self.workers.borrow().get(&number) {
            // A broken channel belongs to a worker that is leaving already.
            let _ = worker.end.send_stop();
        }
    }
}
