//! What the app says of clients' certificates (`ssl_verify_callback`): any idle worker is asked.

use std::collections::HashSet;
use std::net::IpAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Dispatch;
use super::call::{Call, Question};
use super::worker::Worker;
use crate::channel::violation::Violation;
use crate::semantics::message::Tls;

/// Certificates that are remembered at most.
const REMEMBERED: usize = 1024;

/// Certificates that the app has accepted. They let resumed sessions in: a ticket proves no more than that there was a
/// handshake, because clients get it before the app has spoken.
#[derive(Debug, Default)]
pub(super) struct Accepted(HashSet<Bytes>);

impl Accepted {
    fn note(&mut self, certificate: &Bytes, good: bool) {
        if !good {
            self.0.remove(certificate);
            return;
        }
        if self.0.len() >= REMEMBERED {
            // The app is asked again when a session is resumed, no more.
            self.0.clear();
        }
        self.0.insert(certificate.clone());
    }
}

/// Withdraws a question when it is dropped.
struct Asking<'a> {
    dispatch: &'a Rc<Dispatch>,
    call: Call,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // A worker that has claimed it answers, and nobody listens.
        self.dispatch.withdraw(&self.call);
    }
}

impl Dispatch {
    /// Whether the app accepts the client's certificate; `None` if no worker is left to ask, or the one asked hangs. Waits
    /// for an idle worker, and asks another one when a worker dies: the caller limits the time. Dropping the future withdraws
    /// the question.
    pub async fn verify(self: &Rc<Self>, tls: &Rc<Tls>, client: Option<IpAddr>) -> Option<bool> {
        let Some(certificate) = tls.certificates.first() else {
            return Some(false);
        };
        if tls.resumed && self.accepted.borrow().0.contains(certificate) {
            return Some(true);
        }
        if self.deserted.get() {
            return None;
        }
        let (answer, verdict) = oneshot::channel();
        let call = Call::Verify(Rc::new(Question::new(Rc::clone(tls), client, answer)));
        self.queue.borrow_mut().push(call.clone());
        let asking = Asking {
            dispatch: self,
            call,
        };
        self.distribute(asking.call.submitted());
        let good = verdict.await.ok().flatten();
        let mut accepted = self.accepted.borrow_mut();
        accepted.note(certificate, good == Some(true));
        good
    }

    /// Earlier verdicts no longer count: authorities or app have changed.
    pub fn forget_verdicts(&self) {
        self.accepted.borrow_mut().0.clear();
    }

    /// Worker `number` has answered.
    pub(super) fn verdict(&self, number: u32, id: u64, good: bool) -> Result<(), Violation> {
        let mut workers = self.workers.borrow_mut();
        let question = workers.change(number, |worker: &mut Worker| worker.answered(id));
        if let Some(question) = question {
            question?.answer(Some(good));
        }
        Ok(())
    }
}
