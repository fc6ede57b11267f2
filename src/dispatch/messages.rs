//! What a worker says, and what becomes of its calls by that.

#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use super::event::Event;
use super::in_flight::InFlight;
use super::report::Report;
use super::worker::Worker;
use super::{Dispatch, now};
use crate::body::FileSlice;
use crate::channel::claim::SLOTS;
use crate::channel::message::Message;
use crate::channel::progress::{FILE_COST, Progress, interim_cost};
use crate::channel::violation::Violation;
use crate::log::limited;

impl Dispatch {
    /// What worker `number` said.
    ///
    /// # Errors
    /// When it may not say that: nothing that it says is taken any more then.
    pub(super) fn message(self: &Rc<Self>, number: u32, message: Message) -> Result<(), Violation> {
        if self.has_deadlines() {
            self.workers.borrow_mut().change(number, Worker::heard);
        }
        match message {
            Message::Informational(id, head, size) => {
                let cost = interim_cost(size);
                let state = self.advance(number, id, |progress| progress.interim(id, cost))?;
                self.costly(number, id, &state, Event::Informational(head), cost);
            }
            Message::Trailers(id, fields, size) => {
                let cost = interim_cost(size);
                let state = self.advance(number, id, |progress| progress.trailers(id, cost))?;
                self.costly(number, id, &state, Event::Trailers(fields), cost);
            }
            Message::Head(id, head, length) => {
                let state = self.advance(number, id, |progress| progress.head(id))?;
                if state.is_read() {
                    state.tell(Event::Head(head, length));
                }
            }
            Message::Chunk(id, content) => self.chunk(number, id, content)?,
            Message::File(id, file, offset, length) => {
                let state = self.advance(number, id, |progress| progress.content(id, FILE_COST))?;
                let slice = FileSlice::new(Arc::new(file.into()), offset, length);
                self.costly(number, id, &state, Event::File(slice), FILE_COST);
            }
            Message::LostFile(id) => {
                let state = self.advance(number, id, |progress| progress.content(id, FILE_COST))?;
                limited!(
                    Error,
                    "a response is cut: no descriptor is left for its file"
                );
                state.finish(Event::Failed);
                self.let_go(&state, number, id);
            }
            Message::Take(id) => self.take(number, id)?,
            Message::Verdict(id, good) => self.verdict(number, id, good)?,
            Message::End(id) => self.finish(number, id, true)?,
            Message::Abort(id) => self.finish(number, id, false)?,
            Message::Idle => self.ready(number)?,
            Message::Leaving => {
                let left = self.workers.borrow_mut().change(number, Worker::leaves);
                left.unwrap_or(Ok(()))?;
                self.worker_leaves(number);
                self.report(Report::Leaving(number));
            }
            Message::Turned => {
                let turned = self.workers.borrow_mut().change(number, Worker::turned);
                turned.unwrap_or(Ok(()))?;
            }
            Message::Wake => {
                let wakes = self.workers.borrow_mut().change(number, |worker| {
                    let _ = worker.end.send_wake();
                    worker.wakes()
                });
                wakes.unwrap_or(Ok(()))?;
            }
        }
        Ok(())
    }

    /// Worker `number` has sent another part of response `id`: `step` judges whether it may come now.
    pub(super) fn advance(
        &self,
        number: u32,
        id: u64,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<Rc<InFlight>, Violation> {
        let workers = self.workers.borrow();
        let worker = workers.get(number).ok_or(Violation::NotOpen(id))?;
        worker.advance(id, step).map(Rc::clone)
    }

    /// The app of worker `number` wants the client's socket.
    fn take(&self, number: u32, id: u64) -> Result<(), Violation> {
        let state = self.advance(number, id, |progress| {
            progress.take();
            Ok(())
        })?;
        if !state.is_read() {
            self.reply(number, id, None);
        } else if !state.ask() {
            return Err(Violation::SecondTake(id));
        }
        Ok(())
    }

    /// Worker `number` is ready for a call.
    fn ready(self: &Rc<Self>, number: u32) -> Result<(), Violation> {
        self.load_window.call_over();
        let now = now();
        let mut workers = self.workers.borrow_mut();
        let ready = workers.change(number, |worker| (worker.ready(now), worker.is_starved()));
        self.load_window.idle(workers.idle());
        drop(workers);
        let Some((loaded, starved)) = ready else {
            return Ok(());
        };
        if loaded? {
            self.watch_load();
        }
        if starved && self.settings.worker_requests.is_none() {
            limited!(
                Warn,
                "worker {number}: its app keeps {SLOTS} writers, so that it can take no request"
            );
        }
        self.distribute(now);
        Ok(())
    }

    /// Worker `number` has ended a response: it is complete, or never will be.
    fn finish(self: &Rc<Self>, number: u32, id: u64, complete: bool) -> Result<(), Violation> {
        let closed = self.workers.borrow_mut().change(number, |worker| {
            let starved = worker.is_starved();
            let state = worker.close(id, self.timed.get(), |progress| match complete {
                true => progress.end(id),
                false => Ok(()),
            });
            (state, starved)
        });
        let Some((state, starved)) = closed else {
            return Ok(());
        };
        state?.finish(match complete {
            true => Event::End,
            false => Event::Failed,
        });
        if starved {
            self.distribute(now());
        }
        Ok(())
    }

    pub(super) fn reply(&self, number: u32, id: u64, socket: Option<OwnedFd>) {
        if let Some(worker) = self.workers.borrow().get(number) {
            let _ = worker.end.send_reply(id, socket);
        }
    }

    /// Worker `number` takes no more calls: what it has not claimed goes to the front of the queue.
    pub(super) fn worker_leaves(self: &Rc<Self>, number: u32) {
        let taken = self.workers.borrow_mut().change(number, Worker::retire);
        self.requeue(taken.unwrap_or_default());
        self.distribute(now());
    }
}
