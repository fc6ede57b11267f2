//! Which worker runs which request: any idle worker, else one queue for all.
//!
//! Knows no Perl, no HTTP wire and no sockets but the channels. One thread: cells, no locks.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;

use crate::channel::CREDIT;
use crate::channel::core_end::{CoreEnd, Message};
use crate::semantics::message::{Request, ResponseHead};

/// A part of a response, as a connection gets it.
#[derive(Debug)]
pub enum Event {
    /// An interim response.
    Informational(ResponseHead),
    /// The head of the final response, and the length of its content where it is known.
    Head(ResponseHead, Option<u64>),
    /// A piece of content.
    Chunk(Bytes),
    /// The response is complete.
    End,
    /// No worker will complete this response: 502, or a cut where its head has left.
    Failed,
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Queued,
    Worker { number: u32, id: u64 },
    Over,
}

#[derive(Debug)]
struct State {
    request: Request,
    place: Cell<Place>,
    events: RefCell<VecDeque<Event>>,
    waker: RefCell<Option<Waker>>,
    /// Bytes taken by the client for which no credit was given yet.
    taken: Cell<u64>,
}

impl State {
    fn tell(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn finish(&self, event: Event) {
        self.place.set(Place::Over);
        self.tell(event);
    }
}

/// A request in flight, held by its connection. Dropping it means that the client has gone.
#[derive(Debug)]
pub struct Exchange {
    state: Rc<State>,
    dispatch: Rc<Dispatch>,
}

impl Exchange {
    /// The next part of the response. Behind `End` or `Failed` nothing comes.
    pub async fn next(&self) -> Event {
        poll_fn(|context| match self.next_here() {
            Some(event) => Poll::Ready(event),
            None => {
                *self.state.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// The next part, if it is here already.
    pub fn next_here(&self) -> Option<Event> {
        self.state.events.borrow_mut().pop_front()
    }

    /// The client has taken `bytes` of content: the worker may send so many more.
    pub fn taken(&self, bytes: u64) {
        let taken = self.state.taken.get() + bytes;
        let Place::Worker { number, id } = self.state.place.get() else {
            return;
        };
        // Not for each small piece: a frame for every quarter of the window is enough.
        if taken < CREDIT / 4 {
            self.state.taken.set(taken);
        } else {
            self.state.taken.set(0);
            self.dispatch.give_credit(number, id, taken);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.dispatch.client_gone(&self.state);
    }
}

#[derive(Debug)]
struct Worker {
    end: Rc<CoreEnd>,
    open: HashMap<u64, Rc<State>>,
    last_id: u64,
    idle: bool,
}

/// The workers and the requests that wait for one.
#[derive(Debug, Default)]
pub struct Dispatch {
    workers: RefCell<HashMap<u32, Worker>>,
    /// Idle workers, the one that was busy last on top: its caches are warm.
    idle: RefCell<Vec<u32>>,
    queue: RefCell<VecDeque<Rc<State>>>,
}

impl Dispatch {
    /// Hands a request to an idle worker, or queues it.
    pub fn submit(self: &Rc<Self>, request: Request) -> Exchange {
        let state = Rc::new(State {
            request,
            place: Cell::new(Place::Queued),
            events: RefCell::default(),
            waker: RefCell::default(),
            taken: Cell::new(0),
        });
        self.queue.borrow_mut().push_back(Rc::clone(&state));
        self.match_up();
        Exchange {
            state,
            dispatch: Rc::clone(self),
        }
    }

    /// A new worker: it gets requests when it says that it is idle.
    pub fn add_worker(&self, number: u32, end: Rc<CoreEnd>) {
        let worker = Worker {
            end,
            open: HashMap::new(),
            last_id: 0,
            idle: false,
        };
        self.workers.borrow_mut().insert(number, worker);
    }

    /// Whether requests wait or are in work.
    pub fn is_busy(&self) -> bool {
        !self.queue.borrow().is_empty()
            || self
                .workers
                .borrow()
                .values()
                .any(|worker| !worker.open.is_empty())
    }

    /// Tells all workers to leave when they are done.
    pub fn stop_workers(&self) {
        for worker in self.workers.borrow().values() {
            // A broken channel belongs to a worker that is leaving already.
            let _ = worker.end.send_stop();
        }
    }

    /// Sends queued requests to idle workers.
    fn match_up(&self) {
        while !self.queue.borrow().is_empty() {
            let Some(number) = self.idle.borrow_mut().pop() else {
                return;
            };
            let mut workers = self.workers.borrow_mut();
            let Some(worker) = workers.get_mut(&number).filter(|worker| worker.idle) else {
                continue;
            };
            worker.idle = false;
            let Some(state) = self.queue.borrow_mut().pop_front() else {
                return;
            };
            worker.last_id += 1;
            while !worker.end.claims().is_free(worker.last_id) {
                worker.last_id += 1;
            }
            let id = worker.last_id;
            match worker.end.send_request(id, &state.request) {
                Ok(()) => {
                    state.place.set(Place::Worker { number, id });
                    worker.open.insert(id, state);
                }
                Err(error) => {
                    // The worker is dead or dying; the master will tell. It was never sent whole.
                    ::log::debug!("worker {number}: {error}");
                    worker.end.claims().free(id);
                    self.queue.borrow_mut().push_front(state);
                }
            }
        }
    }

    /// What worker `number` said.
    pub fn message(&self, number: u32, message: Message) {
        match message {
            Message::Informational(id, head) => self.tell(number, id, Event::Informational(head)),
            Message::Head(id, head, length) => self.tell(number, id, Event::Head(head, length)),
            Message::Chunk(id, content) => self.chunk(number, id, content),
            Message::End(id) => self.finish(number, id, Event::End),
            Message::Abort(id) => self.finish(number, id, Event::Failed),
            Message::Idle => {
                if let Some(worker) = self.workers.borrow_mut().get_mut(&number) {
                    worker.idle = true;
                    self.idle.borrow_mut().push(number);
                }
                self.match_up();
            }
            Message::Leave => {
                if let Some(worker) = self.workers.borrow_mut().get_mut(&number) {
                    worker.idle = false;
                    let _ = worker.end.send_stop();
                }
            }
        }
    }

    fn open(&self, number: u32, id: u64) -> Option<Rc<State>> {
        self.workers
            .borrow()
            .get(&number)?
            .open
            .get(&id)
            .map(Rc::clone)
    }

    fn tell(&self, number: u32, id: u64, event: Event) {
        if let Some(state) = self.open(number, id) {
            state.tell(event);
        }
    }

    fn chunk(&self, number: u32, id: u64, content: Bytes) {
        let Some(state) = self.open(number, id) else {
            return;
        };
        if state.place.get() == Place::Over {
            // The client has gone: discarded, and the worker goes on to its end.
            self.give_credit(number, id, content.len() as u64);
        } else {
            state.tell(Event::Chunk(content));
        }
    }

    fn finish(&self, number: u32, id: u64, event: Event) {
        let state = match self.workers.borrow_mut().get_mut(&number) {
            Some(worker) => {
                worker.end.claims().free(id);
                worker.open.remove(&id)
            }
            None => None,
        };
        if let Some(state) = state {
            state.finish(event);
        }
    }

    fn give_credit(&self, number: u32, id: u64, amount: u64) {
        if let Some(worker) = self.workers.borrow().get(&number) {
            let _ = worker.end.send_credit(id, amount);
        }
    }

    /// Worker `number` is dead, as waitpid told the master. What it had sent is taken; what it had not
    /// claimed was not run and goes back to the front of the queue; what it had claimed has failed.
    pub fn worker_died(&self, number: u32) {
        let Some(end) = self
            .workers
            .borrow()
            .get(&number)
            .map(|worker| Rc::clone(&worker.end))
        else {
            return;
        };
        loop {
            match end.next_sent() {
                Ok(Some(message)) => self.message(number, message),
                Ok(None) => break,
                Err(error) => {
                    ::log::error!("worker {number}: {error}");
                    break;
                }
            }
        }
        let Some(worker) = self.workers.borrow_mut().remove(&number) else {
            return;
        };
        let mut left: Vec<_> = worker.open.into_iter().collect();
        left.sort_unstable_by_key(|&(id, _)| std::cmp::Reverse(id));
        for (id, state) in left {
            if end.claims().is_claimed(id) {
                state.finish(Event::Failed);
            } else if state.place.get() != Place::Over {
                state.place.set(Place::Queued);
                self.queue.borrow_mut().push_front(state);
            }
        }
        self.match_up();
    }

    /// Nobody waits for this response any more.
    fn client_gone(&self, state: &Rc<State>) {
        match state.place.replace(Place::Over) {
            Place::Queued => self
                .queue
                .borrow_mut()
                .retain(|queued| !Rc::ptr_eq(queued, state)),
            Place::Worker { number, id } => {
                if let Some(worker) = self.workers.borrow().get(&number) {
                    worker.end.claims().set_gone(id);
                }
                // Whoever waits for credit hears of it.
                self.give_credit(number, id, CREDIT);
                // What came in and was not taken.
                state.events.borrow_mut().clear();
            }
            Place::Over => {}
        }
    }
}
