//! Workers that keep the rules of the channel, whatever their apps do: they are slow, hang, die, leave, keep writers.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::rc::Rc;

use super::World;
use super::random::{LONGEST, beginning, content};
use super::worker::{Doing, Ending, Response, Worker, token_of};
use crate::channel::core_end::CoreEnd;
use crate::channel::raw::{self, RawEnd};
use crate::channel::respond::{Lost, Respond};
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::channel::{Descriptors, pair};
use crate::semantics::message::Length;

/// Content that a worker sends before the core has read it.
const MOST_UNREAD: usize = 100_000;

impl World {
    pub(super) fn start_worker(&mut self, candidate: bool) {
        let (core, worker) = pair().unwrap();
        let core = Rc::new(CoreEnd::open(core).unwrap());
        let raw = RawEnd::open(Descriptors {
            socket: worker.socket.try_clone().unwrap(),
            memory: worker.memory.try_clone().unwrap(),
            bell: worker.bell.try_clone().unwrap(),
        });
        let end = WorkerEnd::open(worker).unwrap();
        end.set_nonblocking();
        self.last_worker += 1;
        let (number, end_of_core) = (self.last_worker, Rc::clone(&core));
        self.dispatch
            .add_worker(number, number as i32, end_of_core, candidate);
        let worker = Worker {
            core,
            end,
            raw: raw.unwrap(),
            doing: Doing::Load,
            kept: Vec::new(),
            unread: 0,
            candidate,
            lost: false,
        };
        self.workers.insert(number, worker);
    }

    /// The worker's process dies; waitpid says so, and another one is started.
    pub(super) fn kill(&mut self, number: u32) {
        if self.workers.remove(&number).is_some() {
            for fate in &mut self.fates {
                fate.failed |= fate.worker == number;
            }
            self.dispatch.worker_died(number);
            self.start_worker(false);
        }
    }

    pub(super) fn any_worker(&mut self) -> u32 {
        let at = self.random.below(self.workers.len());
        *self.workers.keys().nth(at).unwrap()
    }

    /// A worker leaves, or is asked to.
    pub(super) fn start_leaving(&mut self) {
        let number = self.any_worker();
        if self.random.one_in(2) {
            self.dispatch.retire(number);
        } else if let Some(worker) = self.workers.get_mut(&number)
            && let Doing::Wait(_) = worker.doing
        {
            worker.end.leaving();
            let _ = worker.end.flush();
            worker.doing = Doing::Left;
        }
    }

    fn plan(&mut self, id: u64, token: u64) -> Response {
        let end = match self.random.below(if self.settling { 8 } else { 60 }) {
            8..10 => Ending::Abort,
            10..13 => Ending::Keep,
            13 => Ending::Hang,
            14 => Ending::Die,
            _ => Ending::Complete,
        };
        let length = match self.random.below(6) {
            0 => 0,
            1 => self.random.below(LONGEST),
            _ => self.random.below(3_000),
        };
        Response {
            id,
            token,
            head: false,
            sent: 0,
            length,
            end,
        }
    }

    /// A worker goes one step further.
    pub(super) fn work(&mut self, number: u32) {
        let Some(mut worker) = self.workers.remove(&number) else {
            return;
        };
        let lives = match worker.is_mad() {
            true => self.rave(number, &mut worker),
            false => self.go_on(number, &mut worker),
        };
        self.workers.insert(number, worker);
        if !lives {
            self.kill(number);
        }
    }

    /// False if the worker dies of it.
    fn go_on(&mut self, number: u32, worker: &mut Worker) -> bool {
        if !worker.kept.is_empty() && (self.settling || self.random.one_in(4)) {
            self.go_on_with_kept(worker);
        }
        let doing = std::mem::replace(&mut worker.doing, Doing::Hang);
        let next = match doing {
            Doing::Load => {
                worker.end.idle();
                Doing::Wait(0)
            }
            Doing::Wait(0) => match self.take_call(number, worker) {
                Some(next) => next,
                None => return false,
            },
            Doing::Wait(steps) => Doing::Wait(steps - 1),
            Doing::Respond(response) => match self.respond(worker, response) {
                Some(next) => next,
                None => return false,
            },
            // Its process ends when its last frames are out.
            Doing::Left if self.random.one_in(4) => return false,
            Doing::Left | Doing::Hang | Doing::Mad(_) => doing,
        };
        worker.doing = next;
        if self.random.one_in(2) || !matches!(worker.doing, Doing::Respond(_)) {
            let _ = worker.end.flush();
        }
        true
    }

    fn go_on_with_kept(&mut self, worker: &mut Worker) {
        let at = self.random.below(worker.kept.len());
        let over = self.write(&worker.end, &mut worker.kept[at], &mut worker.unread);
        let response = &worker.kept[at];
        let whole = response.head && response.sent == response.length;
        if over || (whole && (self.settling || self.random.one_in(8))) {
            let response = worker.kept.swap_remove(at);
            self.fates[response.token as usize].length = Some(response.sent);
            let _ = worker.end.end(response.id);
        }
        let _ = worker.end.flush();
    }

    /// What a worker does that waits for a call; nothing if it dies.
    fn take_call(&mut self, number: u32, worker: &mut Worker) -> Option<Doing> {
        raw::lose_next_descriptor(self.random.one_in(50));
        let next = worker.end.next();
        worker.lost |= raw::lose_next_descriptor(false);
        Some(match next {
            Ok(Incoming::Request(id, request)) => {
                if !worker.end.claim(id).unwrap() {
                    return Some(Doing::Wait(0));
                }
                let token = token_of(request.head.target());
                let fate = &mut self.fates[token as usize];
                fate.runs += 1;
                fate.worker = number;
                assert_eq!(fate.runs, 1, "a request is run twice");
                Doing::Respond(self.plan(id, token))
            }
            Ok(Incoming::Verify(id, _)) => {
                if !worker.end.claim_question(id).unwrap() {
                    Doing::Wait(0)
                } else if self.random.one_in(20) {
                    Doing::Hang
                } else {
                    worker.end.verdict(id, self.random.one_in(2));
                    worker.end.idle();
                    Doing::Wait(0)
                }
            }
            Ok(Incoming::Stop) => {
                worker.end.leaving();
                Doing::Left
            }
            Ok(Incoming::Interrupted) => Doing::Wait(0),
            Ok(Incoming::Closed) => return None,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Doing::Wait(0),
            Err(error) => {
                assert!(
                    worker.lost,
                    "the core sent what no worker understands: {error}"
                );
                return None;
            }
        })
    }

    /// What a worker does that writes a response; nothing if it dies.
    fn respond(&mut self, worker: &mut Worker, mut response: Response) -> Option<Doing> {
        let gone = self.write(&worker.end, &mut response, &mut worker.unread);
        let pause = match self.random.one_in(20) {
            true => self.random.below(50),
            false => 0,
        };
        let whole = response.head && response.sent == response.length;
        let fate = &mut self.fates[response.token as usize];
        match response.end {
            _ if !gone && !whole => return Some(Doing::Respond(response)),
            Ending::Die if !gone => return None,
            Ending::Hang if !gone => return Some(Doing::Respond(response)),
            Ending::Abort if !gone => {
                fate.failed = true;
                worker.end.abort(response.id);
            }
            Ending::Keep if !gone => {
                response.length = LONGEST;
                worker.kept.push(response);
            }
            _ => {
                fate.length = Some(response.sent);
                let _ = worker.end.end(response.id);
            }
        }
        worker.end.idle();
        Some(Doing::Wait(pause))
    }

    /// Writes the next part of a response, as far as its credit goes. True if its client has gone.
    fn write(&mut self, end: &WorkerEnd, response: &mut Response, unread: &mut usize) -> bool {
        if !response.head {
            if self.random.one_in(20) {
                return end.informational(response.id, 103, &[(b"X", b"y")]) == Err(Lost::Client);
            }
            response.head = true;
            let head = end.head(response.id, 200, &[(b"X", b"y")], Length::Unknown);
            return head == Err(Lost::Client);
        }
        let Some(credit) = end.credit(response.id).filter(|&credit| credit > 0) else {
            // A worker that waits for credit reads. What else it reads waits for later.
            end.read_for_later();
            return end.look(response.id) == Err(Lost::Client);
        };
        // A worker that hangs has no more to say.
        if response.sent < response.length && self.random.one_in(50) {
            let given = end.trailers(response.id, &[(b"X", b"y")]);
            return given.and_then(|()| end.flush()) == Err(Lost::Client);
        }
        let most = (credit as usize).min(response.length - response.sent);
        let length = most.min(1 + self.random.below(60_000));
        if *unread + length > MOST_UNREAD {
            return end.look(response.id) == Err(Lost::Client);
        }
        *unread += length;
        let from = response.sent;
        let sent = if length > 0 && self.random.one_in(16) {
            let file = self.files.of(response.token).as_fd();
            let offset = (beginning(response.token) + from) as u64;
            let sent = end.file(response.id, file, offset, length as u64);
            sent.map(|()| length)
        } else {
            end.chunk(response.id, &content(response.token)[from..from + length])
        };
        match sent {
            Ok(taken) => {
                response.sent += taken;
                false
            }
            Err(Lost::Client) => true,
            Err(lost) => panic!("{lost:?} for a response that is open"),
        }
    }
}
