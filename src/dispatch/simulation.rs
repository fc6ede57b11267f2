//! A simulated world around [`Dispatch`]: scripted clients and workers over real channels, on one thread, with a virtual clock.
//!
//! A seed decides all that happens: which client sends or leaves, which worker claims, writes, keeps a writer, hangs, dies or
//! sends garbage, how far the core has read, and how time passes. After each step [`World::check`] holds the invariants of
//! the dispatch against the world, and at the end of a run every request must have ended.
//!
//! `GEPOK_SEED=7 cargo test --lib simulation` replays one run; `GEPOK_STEPS` sets how many steps all runs have together.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

use super::call::Call;
use super::exchange::Place;
use super::worker::Stage;
use super::{Dispatch, Event, Exchange, Report, Settings};
use crate::channel::core_end::CoreEnd;
use crate::channel::pair;
use crate::channel::respond::{Lost, Respond};
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::semantics::message::{Content, Endpoints, Request, RequestHead, Tls, TlsVersion};
use crate::spool::{self, Room};

/// Steps of one run, before all comes to its end.
const RUN: u64 = 2_000;

/// Rounds in which all must come to its end.
const ROUNDS: usize = 3_000;

/// Content of one response at most: it fits into the core's memory, so that no thread writes it to a disk.
const LONGEST: usize = 600_000;

/// Content that a worker sends before the core has read it.
const MOST_UNREAD: usize = 100_000;

/// Random numbers that a seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }
}

/// The content of every response begins at another place of this.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(0);
    let words = (0..LONGEST / 8 + 1024).flat_map(|_| random.next().to_le_bytes());
    words.collect()
});

/// The content of the response to this request.
fn content(token: u64) -> &'static [u8] {
    &PATTERN[token as usize * 61 % 8000..]
}

pub(super) fn request(token: u64, content: Content) -> Request {
    let head = RequestHead::new("GET", &format!("/{token}"), &[("Host", "h")]);
    Request::local(head, content)
}

/// The ends of a connection of the client with this number; 0 is a proxy on this machine.
pub(super) fn endpoints(client: u8) -> Endpoints {
    let address = match client {
        0 => Ipv4Addr::LOCALHOST,
        _ => Ipv4Addr::new(192, 0, 2, client),
    };
    Endpoints::Ip {
        peer: SocketAddr::from((address, 1)),
        local: SocketAddr::from((address, 80)),
    }
}

/// A client that waits for a response.
struct Client {
    token: u64,
    exchange: Exchange,
    head: bool,
    received: usize,
    pinned: bool,
}

/// A response that a worker writes.
#[derive(Debug)]
struct Response {
    id: u64,
    token: u64,
    head: bool,
    sent: usize,
    length: usize,
    end: Ending,
}

/// What becomes of a response, or of its worker.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Complete,
    Abort,
    /// The call ends, its writer does not.
    Keep,
    /// The call never ends.
    Hang,
    /// The worker dies.
    Die,
}

enum Doing {
    Load,
    /// Waits for calls; not before so many steps have passed, as if an env were being destroyed.
    Wait(usize),
    Respond(Response),
    /// It does nothing until it is killed.
    Hang,
    /// It has said that it leaves.
    Left,
}

struct Worker {
    core: Rc<CoreEnd>,
    end: WorkerEnd,
    doing: Doing,
    kept: Vec<Response>,
    /// Content that the core has not read, at most. A real worker waits when its socket is full.
    unread: usize,
    candidate: bool,
}

struct World {
    random: Random,
    dispatch: Rc<Dispatch>,
    reports: UnboundedReceiver<Report>,
    workers: BTreeMap<u32, Worker>,
    clients: Vec<Client>,
    questions: Vec<JoinHandle<Option<bool>>>,
    last_worker: u32,
    /// How often each request was run. Its index is the request's token.
    runs: Vec<u8>,
    /// How long each response is; `None` while its worker has not ended it.
    lengths: Vec<Option<usize>>,
    settling: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let room = Rc::new(Room::new(spool::Settings {
            folder: Some(std::env::temp_dir()),
            limit: None,
        }));
        let (report, reports) = unbounded_channel();
        let settings = Settings {
            request_timeout: Some(Duration::from_secs(5)),
            verify_timeout: Some(Duration::from_secs(2)),
            board: None,
            tell_load: random.one_in(2),
            queue: random.one_in(2).then_some(10),
            queue_time: random.one_in(2).then_some(Duration::from_secs(3)),
            response_rate: 0,
        };
        let timed = random.one_in(2);
        let dispatch = Rc::new(Dispatch::new(settings, room, report, timed));
        let mut world = World {
            random,
            dispatch,
            reports,
            workers: BTreeMap::new(),
            clients: Vec::new(),
            questions: Vec::new(),
            last_worker: 0,
            runs: Vec::new(),
            lengths: Vec::new(),
            settling: false,
        };
        for _ in 0..=world.random.below(4) {
            world.start_worker(false);
        }
        world
    }

    fn start_worker(&mut self, candidate: bool) {
        let (core, worker) = pair().unwrap();
        let core = Rc::new(CoreEnd::open(core).unwrap());
        let end = WorkerEnd::open(worker).unwrap();
        end.set_nonblocking();
        self.last_worker += 1;
        let (number, end_of_core) = (self.last_worker, Rc::clone(&core));
        self.dispatch
            .add_worker(number, number as i32, end_of_core, candidate);
        let worker = Worker {
            core,
            end,
            doing: Doing::Load,
            kept: Vec::new(),
            unread: 0,
            candidate,
        };
        self.workers.insert(number, worker);
    }

    /// The worker's process dies; waitpid says so, and another one is started.
    fn kill(&mut self, number: u32) {
        if self.workers.remove(&number).is_some() {
            self.dispatch.worker_died(number);
            self.start_worker(false);
        }
    }

    fn any_worker(&mut self) -> u32 {
        let at = self.random.below(self.workers.len());
        *self.workers.keys().nth(at).unwrap()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..12 if self.clients.len() < 60 => self.send(),
            12..14 => self.leave(),
            14..15 if self.questions.len() < 5 => self.ask(),
            15..16 if self.random.one_in(8) => {
                let number = self.any_worker();
                self.kill(number);
            }
            16..17 if self.random.one_in(4) => self.start_leaving(),
            17..18 if self.workers.len() < 6 && self.random.one_in(4) => self.start_worker(true),
            18..20 => self.judge_candidates(),
            20..50 => {
                let number = self.any_worker();
                self.work(number);
            }
            50..75 => {
                let number = self.any_worker();
                self.hear(number);
            }
            _ => self.receive(),
        }
        self.obey_reports();
        self.check();
    }

    fn content(&mut self) -> Content {
        match self.random.below(8) {
            0 => Content::File {
                file: std::fs::File::open("/dev/null").unwrap().into(),
                length: 0,
            },
            1 => Content::Inline(Bytes::from(vec![b'x'; self.random.below(5_000)])),
            _ => Content::Empty,
        }
    }

    fn token(&mut self) -> u64 {
        self.runs.push(0);
        self.lengths.push(None);
        self.runs.len() as u64 - 1
    }

    fn add_client(&mut self, token: u64, exchange: Exchange, pinned: bool) {
        self.clients.push(Client {
            token,
            exchange,
            head: false,
            received: 0,
            pinned,
        });
    }

    fn send(&mut self) {
        for _ in 0..=self.random.below(4) {
            let token = self.token();
            let mut request = request(token, self.content());
            request.endpoints = endpoints(self.random.below(3) as u8);
            let exchange = self.dispatch.submit(request);
            self.add_client(token, exchange, false);
        }
    }

    fn leave(&mut self) {
        if !self.clients.is_empty() {
            let at = self.random.below(self.clients.len());
            self.clients.swap_remove(at);
        }
    }

    /// A client that shows a certificate. It may leave before there is a verdict.
    fn ask(&mut self) {
        self.questions.retain(|question| !question.is_finished());
        let dispatch = Rc::clone(&self.dispatch);
        let tls = Rc::new(Tls {
            version: TlsVersion::Tls13,
            cipher: Bytes::new(),
            server_name: None,
            resumed: false,
            certificates: vec![Bytes::from_static(b"certificate")],
            distrust: None,
        });
        // Some wait for as long as it takes.
        let patience = match self.random.one_in(2) {
            true => Duration::from_millis(self.random.below(4_000) as u64),
            false => Duration::from_secs(3600),
        };
        self.questions.push(spawn_local(async move {
            let verdict = dispatch.verify(&tls, None);
            tokio::time::timeout(patience, verdict).await.ok().flatten()
        }));
    }

    fn start_leaving(&mut self) {
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

    /// Candidates get a check, and are admitted or retired.
    fn judge_candidates(&mut self) {
        let Some(number) = self
            .workers
            .iter()
            .find(|(_, worker)| worker.candidate)
            .map(|(&number, _)| number)
        else {
            return;
        };
        match self.random.below(3) {
            0 => {
                let token = self.token();
                let request = request(token, Content::Empty);
                if let Ok(exchange) = self.dispatch.submit_to(number, request) {
                    self.add_client(token, exchange, true);
                }
            }
            1 => self.dispatch.admit(number),
            _ => self.dispatch.retire(number),
        }
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.candidate = self.random.one_in(2);
        }
    }

    /// The core reads some of what a worker has sent.
    fn hear(&mut self, number: u32) {
        for _ in 0..=self.random.below(6) {
            let Some(worker) = self.workers.get_mut(&number) else {
                return;
            };
            match worker.core.step() {
                Ok(Some(message)) => {
                    let taken = self.dispatch.message(number, message);
                    assert_eq!(taken, Ok(()), "what a worker may say");
                }
                Ok(None) => {
                    worker.unread = 0;
                    return;
                }
                Err(error) => panic!("what a worker may send: {error}"),
            }
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
    fn work(&mut self, number: u32) {
        let Some(mut worker) = self.workers.remove(&number) else {
            return;
        };
        let lives = self.go_on(&mut worker);
        self.workers.insert(number, worker);
        if !lives {
            self.kill(number);
        }
    }

    /// False if the worker dies of it.
    fn go_on(&mut self, worker: &mut Worker) -> bool {
        if !worker.kept.is_empty() && (self.settling || self.random.one_in(4)) {
            let at = self.random.below(worker.kept.len());
            let over = self.write(&worker.end, &mut worker.kept[at], &mut worker.unread);
            let response = &worker.kept[at];
            if over
                || (response.sent == response.length && (self.settling || self.random.one_in(8)))
            {
                let response = worker.kept.swap_remove(at);
                self.lengths[response.token as usize] = Some(response.sent);
                let _ = worker.end.end(response.id);
            }
            let _ = worker.end.flush();
        }
        match &mut worker.doing {
            Doing::Load => {
                worker.end.idle();
                worker.doing = Doing::Wait(0);
            }
            Doing::Wait(steps) if *steps > 0 => *steps -= 1,
            Doing::Wait(_) => match worker.end.next() {
                Ok(Incoming::Request(id, request)) => {
                    if worker.end.claim(id).unwrap() {
                        let token = std::str::from_utf8(&request.head.target()[1..]).unwrap();
                        let token: u64 = token.parse().unwrap();
                        self.runs[token as usize] += 1;
                        assert_eq!(self.runs[token as usize], 1, "a request is run twice");
                        worker.doing = Doing::Respond(self.plan(id, token));
                    }
                }
                Ok(Incoming::Verify(id, _)) => {
                    if !worker.end.claim_question(id).unwrap() {
                    } else if self.random.one_in(20) {
                        worker.doing = Doing::Hang;
                    } else {
                        worker.end.verdict(id, self.random.one_in(2));
                        worker.end.idle();
                    }
                }
                Ok(Incoming::Stop) => {
                    worker.end.leaving();
                    worker.doing = Doing::Left;
                }
                Ok(Incoming::Interrupted) => {}
                Ok(Incoming::Closed) => return false,
                Err(error) => {
                    let empty = error.kind() == std::io::ErrorKind::WouldBlock;
                    assert!(empty, "the core sent what no worker understands: {error}");
                }
            },
            Doing::Respond(response) => {
                let mut response = std::mem::replace(
                    response,
                    Response {
                        id: 0,
                        token: 0,
                        head: false,
                        sent: 0,
                        length: 0,
                        end: Ending::Complete,
                    },
                );
                let over = self.write(&worker.end, &mut response, &mut worker.unread);
                let rest = Doing::Wait(match self.random.one_in(20) {
                    true => self.random.below(50),
                    false => 0,
                });
                if !over && response.sent < response.length {
                    worker.doing = Doing::Respond(response);
                } else if over || matches!(response.end, Ending::Complete) {
                    self.lengths[response.token as usize] = Some(response.sent);
                    let _ = worker.end.end(response.id);
                    worker.end.idle();
                    worker.doing = rest;
                } else {
                    match response.end {
                        Ending::Abort => {
                            worker.end.abort(response.id);
                            worker.end.idle();
                            worker.doing = rest;
                        }
                        Ending::Keep => {
                            response.length = LONGEST;
                            worker.kept.push(response);
                            worker.end.idle();
                            worker.doing = rest;
                        }
                        Ending::Die => return false,
                        Ending::Hang | Ending::Complete => worker.doing = Doing::Respond(response),
                    }
                }
            }
            Doing::Hang => {}
            // Its process ends when its last frames are out.
            Doing::Left => return !self.random.one_in(4),
        }
        if self.random.one_in(2) || !matches!(worker.doing, Doing::Respond(_)) {
            let _ = worker.end.flush();
        }
        true
    }

    /// Writes the next part of a response, as far as its credit goes. True if its client has gone.
    fn write(&mut self, end: &WorkerEnd, response: &mut Response, unread: &mut usize) -> bool {
        if !response.head {
            response.head = true;
            let head = end.head(response.id, 200, &[(b"X", b"y")], None);
            return head == Err(Lost::Client);
        }
        let Some(credit) = end.credit(response.id).filter(|&credit| credit > 0) else {
            // A worker that waits for credit reads. What else it reads waits for later.
            end.read_for_later();
            return end.look(response.id) == Err(Lost::Client);
        };
        let most = (credit as usize).min(response.length - response.sent);
        let length = most.min(1 + self.random.below(60_000));
        if *unread + length > MOST_UNREAD {
            return end.look(response.id) == Err(Lost::Client);
        }
        *unread += length;
        let from = response.sent;
        let piece = &content(response.token)[from..from + length];
        match end.chunk(response.id, piece) {
            Ok(taken) => {
                response.sent += taken;
                false
            }
            Err(Lost::Client) => true,
            Err(lost) => panic!("{lost:?} for a response that is open"),
        }
    }

    /// A client takes some of what has come for it.
    fn receive(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.random.below(self.clients.len());
        if self.random.one_in(10) {
            self.clients[at].exchange.on_write_blocked(Waker::noop());
        }
        for _ in 0..=self.random.below(8) {
            let client = &mut self.clients[at];
            let Some(event) = client.exchange.try_next() else {
                return;
            };
            match event {
                Event::Head(..) => {
                    assert!(!client.head, "a second head");
                    client.head = true;
                }
                Event::Chunk(piece) => {
                    assert!(client.head, "content before the head");
                    let right = &content(client.token)[client.received..];
                    assert!(
                        right.starts_with(piece.as_ref()),
                        "another response's bytes"
                    );
                    client.received += piece.as_ref().len();
                }
                Event::WriterKept => {}
                Event::End => {
                    assert!(client.head, "an end without a head");
                    let length = self.lengths[client.token as usize];
                    assert_eq!(length, Some(client.received), "the response is not whole");
                    return self.end(at);
                }
                Event::Failed | Event::TimedOut => return self.end(at),
                Event::Overloaded => {
                    assert_eq!(
                        self.runs[client.token as usize], 0,
                        "a 503 for what was run"
                    );
                    return self.end(at);
                }
                Event::Informational(_) | Event::File(_) | Event::Take => {
                    panic!("what no worker has sent")
                }
            }
        }
    }

    /// The client has its response. Nothing comes after that.
    fn end(&mut self, at: usize) {
        let client = self.clients.swap_remove(at);
        assert!(client.exchange.try_next().is_none(), "more than one end");
    }

    /// What the master does: it kills workers that hang.
    fn obey_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            if let Report::Hung { number, .. } = report {
                self.kill(number);
            }
        }
    }

    /// What is true after each step.
    fn check(&self) {
        let workers = self.dispatch.workers.borrow();
        assert!(workers.is_consistent(), "what is derived from the workers");
        let queued = self.dispatch.queue.borrow().len();
        if workers.idle() > 0 {
            assert_eq!(queued, 0, "a call is queued while a worker is idle");
            let waiting = workers
                .iter()
                .flat_map(|(_, worker)| worker.waiting_unclaimed());
            assert_eq!(waiting.count(), 0, "a call waits at a busy worker");
        }
        for client in &self.clients {
            let state = &client.exchange.state;
            if let Place::Worker { number, id } = state.place.get() {
                let open = workers.get(number).and_then(|worker| worker.response(id));
                let is_here = open.is_some_and(|open| Rc::ptr_eq(open, state));
                assert!(is_here, "a request is not where it says");
            } else if state.place.get() == Place::Queued {
                assert!(!client.pinned, "a candidate's check is queued");
            }
        }
    }

    /// Lets all come to its end: no new requests, every worker goes on, every client takes what it gets.
    async fn settle(&mut self) {
        self.settling = true;
        for round in 0..ROUNDS {
            for number in self.workers.keys().copied().collect::<Vec<_>>() {
                self.work(number);
                self.hear(number);
                self.obey_reports();
            }
            for _ in 0..self.clients.len() {
                self.receive();
            }
            self.check();
            tokio::time::advance(Duration::from_millis(10)).await;
            yield_now().await;
            if round > 200 && self.rests() {
                return self.check_rest();
            }
        }
        let states: Vec<_> = self
            .clients
            .iter()
            .map(|client| (client.token, client.exchange.state.place.get()))
            .collect();
        let workers = self.dispatch.workers.borrow();
        let held: Vec<_> = workers
            .iter()
            .map(|(number, worker)| (number, worker.stage, worker.first().map(Call::place)))
            .collect();
        panic!("without an end: {states:?}, {held:?}");
    }

    fn rests(&self) -> bool {
        let workers = self.dispatch.workers.borrow();
        self.clients.is_empty()
            && self.questions.iter().all(JoinHandle::is_finished)
            && self.workers.values().all(Worker::rests)
            && workers.iter().all(|(_, worker)| worker.first().is_none())
    }

    /// What is true when nothing happens any more.
    fn check_rest(&self) {
        let workers = self.dispatch.workers.borrow();
        assert_eq!(self.dispatch.queue.borrow().len(), 0);
        assert_eq!(self.dispatch.memory.get(), 0, "memory of responses is lost");
        for (number, worker) in workers.iter() {
            assert!(
                self.workers[&number].core.has_no_request(),
                "worker {number} has lost a slot"
            );
            let serves = worker.stage == Stage::Serving;
            assert_eq!(worker.is_idle(), serves, "worker {number} is lost");
        }
        let serving = workers.iter().filter(|(_, w)| w.stage == Stage::Serving);
        assert_eq!(workers.idle(), serving.count());
    }
}

impl Worker {
    fn rests(&self) -> bool {
        self.kept.is_empty() && matches!(self.doing, Doing::Wait(0))
    }
}

fn run(seed: u64) {
    struct Replay(u64);
    impl Drop for Replay {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("replay: GEPOK_SEED={} cargo test --lib simulation", self.0);
            }
        }
    }
    let _replay = Replay(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut world = World::new(seed);
        for _ in 0..RUN {
            world.step();
            if world.random.one_in(10) {
                let time = world.random.below(40) as u64;
                tokio::time::advance(Duration::from_millis(time)).await;
            }
            yield_now().await;
        }
        world.settle().await;
    });
}

/// Protects: no request, worker or byte is lost, whatever clients and workers do.
#[test]
fn every_request_ends_once_and_no_worker_is_lost() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("GEPOK_SEED") {
        return run(seed);
    }
    let steps = number("GEPOK_STEPS").unwrap_or(1_000_000);
    for seed in 1..=steps.div_ceil(RUN) {
        run(seed);
    }
}
