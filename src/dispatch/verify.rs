//! What the app says of clients' certificates (`ssl_verify_callback`): any idle worker is asked.

use std::collections::HashSet;
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Dispatch;
use crate::semantics::message::Tls;

/// Certificates that are remembered at most.
const REMEMBERED: usize = 1024;

/// A question to the app. Nobody waits any more where `answer` is closed.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) tls: Rc<Tls>,
    answer: oneshot::Sender<bool>,
}

/// Certificates that the app has taken. Sessions that are resumed are let in by them: a ticket proves no more than that
/// there was a handshake, because clients get it before the app has spoken.
#[derive(Debug, Default)]
pub(super) struct Taken(HashSet<Bytes>);

impl Taken {
    fn note(&mut self, certificate: &Bytes, good: bool) {
        if !good {
            self.0.remove(certificate);
            return;
        }
        if self.0.len() >= REMEMBERED {
            // Whoever resumes a session is asked for again, no more.
            self.0.clear();
        }
        self.0.insert(certificate.clone());
    }
}

impl Dispatch {
    /// Whether the app takes the client's certificate; nothing where no worker is left to ask, or the one asked hangs. Waits
    /// for an idle worker, and asks another when one dies: the caller limits the time. Dropped, the question is no more.
    pub async fn verify(self: &Rc<Self>, tls: &Rc<Tls>) -> Option<bool> {
        let Some(certificate) = tls.certificates.first() else {
            return Some(false);
        };
        if tls.resumed && self.taken.borrow().0.contains(certificate) {
            return Some(true);
        }
        let (answer, verdict) = oneshot::channel();
        if self.deserted.get() {
            return None;
        }
        let tls = Rc::clone(tls);
        let question = Question {
            tls: Rc::clone(&tls),
            answer,
        };
        self.questions.borrow_mut().push_back(question);
        self.match_up();
        let good = verdict.await.ok();
        let taken = good.unwrap_or(false);
        self.taken.borrow_mut().note(certificate, taken);
        good
    }

    /// Verdicts from before count no more: authorities or app have changed.
    pub fn forget_verdicts(&self) {
        self.taken.borrow_mut().0.clear();
    }

    /// Sends questions to idle workers.
    pub(super) fn ask(self: &Rc<Self>) {
        loop {
            let Some(question) = self.questions.borrow_mut().pop_front() else {
                return;
            };
            if question.answer.is_closed() {
                continue;
            }
            let Some(number) = self.idle.borrow_mut().pop() else {
                self.questions.borrow_mut().push_front(question);
                return;
            };
            let mut workers = self.workers.borrow_mut();
            let asked = match workers.get_mut(&number) {
                Some(worker) => worker.ask(question),
                None => Err(question),
            };
            match asked {
                Ok(id) => self.watch_question(number, id),
                Err(question) => self.questions.borrow_mut().push_front(question),
            }
        }
    }

    /// Worker `number` has answered.
    pub(super) fn verdict(&self, number: u32, id: u64, good: bool) {
        let mut workers = self.workers.borrow_mut();
        if let Some(question) = workers.get_mut(&number).and_then(|w| w.answered(id)) {
            // Nobody may wait any more.
            let _ = question.answer.send(good);
        }
    }
}
