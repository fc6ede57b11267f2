//! A simulated world around [`Dispatch`]: scripted clients and workers over real channels, on one thread, with a virtual clock.
//!
//! A seed decides all that happens: which client sends or leaves, which worker claims, writes, keeps a writer, hangs, dies or
//! breaks every rule of its channel, how far the core has read, which descriptors are lost, and how time passes. After each step
//! [`World::check`] holds the invariants of the dispatch against the world, and at the end of a run every request must have ended.
//!
//! `GEPOK_SEED=7 cargo test --lib simulation` replays one run; `GEPOK_STEPS` sets how many steps all runs have together, and
//! `GEPOK_SEED_FROM` with which seed they begin.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

use self::clients::Client;
use self::files::Files;
use self::random::Random;
use self::worker::{Worker, token_of};
use super::{Dispatch, Report, Settings};
use crate::channel::message::Message;
use crate::channel::raw;
use crate::channel::violation::ChannelError;
use crate::semantics::message::{Content, Request, RequestHead, Tls, TlsVersion};
use crate::semantics::source::Endpoints;
use crate::spool::{self, Room};

mod clients;
mod files;
mod garbage;
mod invariants;
pub(crate) mod random;
mod worker;
mod workers;

/// Steps of one run, before all comes to its end.
const RUN: u64 = 2_000;

/// After this number of steps a long test says how far it is.
const PROGRESS: u64 = 10_000_000;

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

/// What has become of a request.
#[derive(Clone, Debug, Default)]
struct Fate {
    /// How often it was run.
    runs: u8,
    /// The worker that has claimed it; 0 is none.
    worker: u32,
    /// How long its response is, once its worker has ended it.
    length: Option<usize>,
    /// There is a reason why it may fail.
    failed: bool,
    /// Its worker has gone mad.
    mad: bool,
}

struct World {
    random: Random,
    dispatch: Rc<Dispatch>,
    reports: UnboundedReceiver<Report>,
    files: Files,
    workers: BTreeMap<u32, Worker>,
    clients: Vec<Client>,
    questions: Vec<JoinHandle<Option<bool>>>,
    last_worker: u32,
    /// Of each request; the index is its token.
    fates: Vec<Fate>,
    settling: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let room = Rc::new(Room::new(spool::Settings {
            folder: Some(std::env::temp_dir()),
            limit: None,
        }));
        let (report, reports) = unbounded_channel();
        let settings = Settings {
            request_timeout: Some(Duration::from_secs(5)),
            worker_requests: None,
            verify_timeout: Some(Duration::from_secs(2)),
            board: None,
            tell_load: random.one_in(2),
            queue: random.one_in(2).then_some(10),
            queue_time: random.one_in(2).then_some(Duration::from_secs(3)),
            response_rate: 0,
        };
        let timed = random.one_in(2);
        let dispatch = Rc::new(Dispatch::new(settings, room, report));
        dispatch.keep_times(timed);
        let mut world = World {
            random,
            dispatch,
            reports,
            files: Files::new(),
            workers: BTreeMap::new(),
            clients: Vec::new(),
            questions: Vec::new(),
            last_worker: 0,
            fates: Vec::new(),
            settling: false,
        };
        for _ in 0..=world.random.below(4) {
            world.start_worker(false);
        }
        world
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
            15..16 if self.random.one_in(4) => {
                let number = self.any_worker();
                self.go_mad(number);
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

    fn request_content(&mut self, token: u64) -> Content {
        match self.random.below(8) {
            0 => Content::File {
                file: self.files.copy(token),
                length: 0,
            },
            1 => Content::Inline(Bytes::from(vec![b'x'; self.random.below(5_000)])),
            _ => Content::Empty,
        }
    }

    fn token(&mut self) -> u64 {
        self.fates.push(Fate::default());
        self.fates.len() as u64 - 1
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
                    self.clients.push(Client::new(token, exchange, true));
                }
            }
            1 => self.dispatch.admit(number),
            _ => self.dispatch.retire(number),
        }
        if let Some(worker) = self.workers.get_mut(&number) {
            worker.candidate = self.random.one_in(2);
        }
    }

    /// The core reads some of what a worker has sent, as `Dispatch::read` does.
    fn hear(&mut self, number: u32) {
        for _ in 0..=self.random.below(6) {
            let Some(worker) = self.workers.get_mut(&number) else {
                return;
            };
            if self.dispatch.is_broken(number) {
                return;
            }
            raw::lose_next_descriptor(self.random.one_in(100));
            let step = worker.core.step();
            raw::lose_next_descriptor(false);
            let (mad, dispatch) = (worker.is_mad(), Rc::clone(&self.dispatch));
            let taken = match step {
                Ok(None) => {
                    worker.unread = 0;
                    return;
                }
                Ok(Some(message)) => {
                    if let Message::LostFile(id) = &message {
                        self.lost_file(number, *id);
                    }
                    let taken = dispatch.message(number, message);
                    taken.map_err(ChannelError::from)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                assert!(mad, "what a worker may say: {error}");
                dispatch.worker_broken(number, error.into());
            }
        }
    }

    /// The file of a response could not be received, so the response is cut.
    fn lost_file(&mut self, number: u32, id: u64) {
        let workers = self.dispatch.workers.borrow();
        let response = workers.get(number).and_then(|worker| worker.response(id));
        if let Some(state) = response {
            let token = token_of(state.request.head.target());
            self.fates[token as usize].failed = true;
        }
    }

    /// What the master does: it kills workers that hang, or have broken their channels.
    fn obey_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            match report {
                Report::Hung { number, .. } => self.kill(number),
                Report::Broken(number) => {
                    let mad = self.workers.get(&number).is_none_or(Worker::is_mad);
                    assert!(mad, "worker {number} is taken for broken");
                    self.kill(number);
                }
                _ => {}
            }
        }
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

/// Protects: no request, worker, descriptor or byte is lost, whatever clients and workers do.
#[test]
fn every_request_ends_once_and_no_worker_is_lost() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("GEPOK_SEED") {
        return run(seed);
    }
    let steps = number("GEPOK_STEPS").unwrap_or(1_000_000);
    let first = number("GEPOK_SEED_FROM").unwrap_or(1);
    for (done, seed) in (0..steps.div_ceil(RUN)).zip(first..) {
        run(seed);
        if ((done + 1) * RUN).is_multiple_of(PROGRESS) {
            eprintln!("{} steps, seed {seed}", (done + 1) * RUN);
        }
    }
}
