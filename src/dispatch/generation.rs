//! Workers come and go while requests run: candidates that are tried before they get any, and workers that retire.

use std::io;
use std::rc::Rc;

use super::Dispatch;
use super::backlog::Backlog;
use super::call::Call;
use super::exchange::Exchange;
use super::in_flight::InFlight;
use super::worker::Worker;
use crate::semantics::message::Request;

impl Dispatch {
    /// Hands a request to the candidate of this number, and to no other worker, whatever becomes of it. It never waits for another
    /// call, since it could not be taken back for an idle worker.
    ///
    /// # Errors
    /// When there is no such candidate, it has not loaded its app, it has a call, or its channel is broken.
    pub fn submit_to(self: &Rc<Self>, number: u32, request: Request) -> io::Result<Exchange> {
        let backlog = Backlog::new(&self.memory, &self.room, None);
        let state = Rc::new(InFlight::pinned(request, backlog));
        let call = Call::Request(Rc::clone(&state));
        let mut workers = self.workers.borrow_mut();
        let sent = workers.change(number, |worker| match worker.can_be_checked() {
            true => worker.send(&call, number, super::now()),
            false => Err(io::ErrorKind::ResourceBusy.into()),
        });
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

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;
    use tokio::task::LocalSet;

    use super::super::Settings;
    use super::super::simulation::request;
    use super::*;
    use crate::channel::core_end::CoreEnd;
    use crate::channel::message::Message;
    use crate::channel::pair;
    use crate::semantics::message::Content;
    use crate::spool::{self, Room};

    /// Protects: a check can't be moved to another worker, so it would wait for as long as the call before it takes.
    #[test]
    fn only_a_candidate_that_has_no_call_is_checked() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let settings = Settings::default();
            let room = Rc::new(Room::new(spool::Settings {
                folder: None,
                limit: None,
            }));
            let (report, _reports) = unbounded_channel();
            let dispatch = Rc::new(Dispatch::new(settings, room, report));
            let (core, _worker) = pair().unwrap();
            let end = Rc::new(CoreEnd::open(core).unwrap());
            let check = |number| dispatch.submit_to(number, request(1, Content::Empty));
            dispatch.add_worker(1, 1, end, true);
            assert!(check(2).is_err(), "there is none");
            assert!(check(1).is_err(), "it loads its app");
            dispatch.message(1, Message::Idle).unwrap();
            let checked = check(1);
            assert!(checked.is_ok());
            assert!(check(1).is_err(), "it is being checked");
            drop(checked);
            dispatch.admit(1);
            assert!(check(1).is_err(), "it is no candidate any more");
        });
    }
}
