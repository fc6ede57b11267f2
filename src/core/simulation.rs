//! A simulated master and simulated workers around the core's own code: what they tell each other, in any order.
//!
//! A seed decides all that happens: which word comes next, for workers that live, are dead or never were; whether its descriptors
//! are lost; how long the master leaves words unread, so that its socket is full; when workers are ready, leave or die; when the
//! master drains the core, or dies. Words that ask for an answer get one each, the others none, and the core lives on until it is
//! told to leave.
//!
//! `GEPOK_SEED=7 cargo test --lib core::simulation` replays one run; `GEPOK_RUNS` sets how many there are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::task::{JoinHandle, LocalSet, spawn_local, yield_now};

use super::fuzz::settings;
use super::{Core, Plans};
use crate::channel::pair;
use crate::channel::respond::Respond;
use crate::channel::worker_end::{Incoming, WorkerEnd};
use crate::dispatch::simulation::random::Random;
use crate::process::control::{self, LogFiles, MasterEnd, TlsFile, ToCore, ToMaster};

/// Steps of one run, before all comes to its end.
const RUN: usize = 300;

/// Rounds of a tenth of a second in which all must come to its end: longer than a check may take.
const ROUNDS: usize = 400;

/// How long a core may take in real time to end.
const PATIENCE: Duration = Duration::from_secs(2);

/// Rounds after the core's end.
const AFTER: usize = 40;

/// What has been asked, told and heard about one worker.
#[derive(Debug, Default)]
struct Told {
    ready: bool,
    leaving: bool,
    died: bool,
    checks: usize,
    serving: usize,
    left: usize,
    checked: usize,
    unconnected: usize,
}

/// What is expected of the core.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Serving,
    Draining,
    /// It was told to leave, or its master has died.
    Leaving,
}

struct World {
    random: Random,
    core: JoinHandle<std::io::Result<()>>,
    master: Option<MasterEnd>,
    workers: BTreeMap<u32, WorkerEnd>,
    told: BTreeMap<u32, Told>,
    life: Life,
    last: u32,
    /// How often descriptors were to be lost.
    losses: usize,
    pings: usize,
    alive: usize,
    questions: usize,
    answers: usize,
    refusals: usize,
    drained: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let (master, core_end) = control::pair().unwrap();
        // A few words fill the socket.
        setsockopt(&core_end, sockopt::SndBuf, &0).unwrap();
        let mut settings = settings();
        settings.dispatch.tell_load = true;
        let core = Core::start(Vec::new(), core_end, settings, None, Plans::default());
        let mut core = core.unwrap();
        World {
            random: Random::new(seed),
            core: spawn_local(async move { core.obey().await }),
            master: Some(master),
            workers: BTreeMap::new(),
            told: BTreeMap::new(),
            life: Life::Serving,
            last: 0,
            losses: 0,
            pings: 0,
            alive: 0,
            questions: 0,
            answers: 0,
            refusals: 0,
            drained: 0,
        }
    }

    fn tell(&self, word: ToCore) {
        if let Some(master) = &self.master {
            let told = master.tell(word);
            assert!(told.is_ok() || self.life == Life::Leaving, "{told:?}");
        }
    }

    /// A worker that was started, one that is dead, or one that never was.
    fn any_number(&mut self) -> u32 {
        self.random.below(self.last as usize + 2) as u32
    }

    fn told(&mut self, number: u32) -> &mut Told {
        self.told.entry(number).or_default()
    }

    fn may_lose(&mut self) {
        if self.random.one_in(4) {
            self.losses += 1;
            control::lose_next_descriptors(true);
        }
    }

    fn file(&self) -> std::os::fd::OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..8 if self.workers.len() < 8 => self.start_worker(),
            8..30 => self.work(),
            30..45 => self.hear(),
            45..60 => {
                self.pings += 1;
                self.tell(ToCore::Ping);
            }
            60..66 => {
                let number = self.any_number();
                self.told(number).checks += 1;
                self.tell(ToCore::Check(number, "/".to_owned()));
            }
            66..70 => {
                let number = self.any_number();
                self.tell(ToCore::Admit(number));
            }
            70..73 => {
                let number = self.any_number();
                self.tell(ToCore::Retire(number));
            }
            73..76 => self.die(),
            76..80 => {
                self.may_lose();
                let (role, path) = (self.random.below(8) as u8, "key".into());
                let file = self.file();
                self.tell(ToCore::TlsFile(TlsFile {
                    role,
                    hosts: None,
                    path,
                    file,
                }));
            }
            80..83 => {
                self.questions += 1;
                self.tell(ToCore::ReadTls);
            }
            83..85 => {
                self.may_lose();
                let files = LogFiles {
                    access: Some(self.file()),
                    errors: None,
                };
                self.tell(ToCore::Logs(files));
            }
            85..88 => self.tell(ToCore::Accept),
            88 if self.random.one_in(20) => self.end(),
            _ => {}
        }
        let ended = self.core.is_finished();
        assert!(!ended || self.life == Life::Leaving, "the core has left");
    }

    fn start_worker(&mut self) {
        let (core, worker) = pair().unwrap();
        fcntl(&worker.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        self.last += 1;
        let number = self.last;
        self.workers
            .insert(number, WorkerEnd::open(worker).unwrap());
        self.told(number);
        self.may_lose();
        let word = match self.random.one_in(2) {
            true => ToCore::Worker(number, number as i32, core),
            false => ToCore::Candidate(number, number as i32, core),
        };
        self.tell(word);
    }

    fn any_worker(&mut self) -> Option<u32> {
        let at = self.random.below(self.workers.len().max(1));
        self.workers.keys().nth(at).copied()
    }

    /// A worker goes one step further.
    fn work(&mut self) {
        if let Some(number) = self.any_worker() {
            self.go_on(number);
        }
    }

    fn go_on(&mut self, number: u32) {
        let leaves = self.random.one_in(30);
        let (Some(end), Some(told)) = (self.workers.get(&number), self.told.get_mut(&number))
        else {
            return;
        };
        if !told.ready {
            told.ready = true;
            end.idle();
        } else if !told.leaving {
            match end.next() {
                Ok(Incoming::Request(id, _)) if end.claim(id).unwrap() => {
                    // A client that has gone needs no answer.
                    let _ = end.head(id, 200, &[], crate::semantics::message::Length::Unknown);
                    let _ = end.end(id);
                    end.idle();
                }
                Ok(Incoming::Stop) => {
                    told.leaving = true;
                    end.leaving();
                }
                Ok(Incoming::Closed) => {
                    self.workers.remove(&number);
                    return;
                }
                _ if leaves => {
                    told.leaving = true;
                    end.leaving();
                }
                _ => {}
            }
        }
        let _ = end.flush();
    }

    /// A worker dies; waitpid says so, or a word about another one comes that is dead already.
    fn die(&mut self) {
        let number = match self.any_worker() {
            Some(number) if self.random.one_in(2) => number,
            _ => self.any_number(),
        };
        // One that was not started yet may not be taken for dead.
        if number <= self.last {
            self.workers.remove(&number);
            self.told(number).died = true;
            self.tell(ToCore::Died(number));
        }
    }

    fn end(&mut self) {
        match (self.random.below(6), self.life) {
            (0, _) => {
                self.life = Life::Leaving;
                self.master = None;
            }
            (1, _) => {
                self.life = Life::Leaving;
                self.tell(ToCore::Quit);
            }
            // Said twice, it means that nobody wants to wait.
            (2, Life::Draining) => {
                self.life = Life::Leaving;
                self.tell(ToCore::Drain);
            }
            (3 | 4, Life::Serving) => {
                self.life = Life::Draining;
                let word = match self.random.below(3) {
                    0 => ToCore::Drain,
                    1 => ToCore::GiveWay,
                    _ => ToCore::NoWorkers,
                };
                self.tell(word);
            }
            _ => {}
        }
    }

    /// The master hears some words.
    fn hear(&mut self) {
        for _ in 0..=self.random.below(8) {
            let Some(master) = &mut self.master else {
                return;
            };
            let Ok(Some(word)) = master.hear_until(Instant::now()) else {
                return;
            };
            match word {
                ToMaster::Alive => self.alive += 1,
                ToMaster::Serving(number) => {
                    let told = self.told(number);
                    assert_eq!(told.left, 0, "it serves and has left");
                    told.serving += 1;
                }
                ToMaster::Leaving(number) => self.told(number).left += 1,
                ToMaster::Checked(number, _) => self.told(number).checked += 1,
                ToMaster::Unconnected(number, _) => self.told(number).unconnected += 1,
                ToMaster::Answer(answer) => {
                    self.answers += 1;
                    self.refusals += usize::from(answer.is_err());
                }
                ToMaster::Drained => self.drained += 1,
                ToMaster::Ready | ToMaster::Load(_) => {}
                // A core that has been told to leave hears of no death any more.
                ToMaster::Hung(..) | ToMaster::Broken(_) => {
                    assert_eq!(self.life, Life::Leaving, "{word:?}");
                }
            }
        }
    }

    /// Lets all come to its end.
    async fn settle(&mut self) {
        // Workers still read what a core that has ended had told them.
        let mut after = 0;
        let patience = Instant::now() + PATIENCE;
        for _ in 0..ROUNDS {
            // A thread that reads files for the core has its own time.
            while self.life == Life::Leaving
                && !self.core.is_finished()
                && Instant::now() < patience
            {
                std::thread::sleep(Duration::from_millis(1));
                yield_now().await;
            }
            after += usize::from(self.life == Life::Leaving && self.core.is_finished());
            if after > AFTER {
                break;
            }
            for number in self.workers.keys().copied().collect::<Vec<_>>() {
                self.go_on(number);
            }
            self.hear();
            for _ in 0..8 {
                yield_now().await;
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        for _ in 0..100 {
            self.hear();
        }
        self.check();
    }

    /// What is true when nothing happens any more.
    fn check(&self) {
        assert_eq!(self.core.is_finished(), self.life == Life::Leaving);
        if self.life == Life::Leaving {
            let told = self.told.iter();
            let mut connected = told.filter(|(_, told)| told.unconnected == 0 && !told.died);
            let all_left = connected.all(|(number, told)| {
                told.leaving || !self.workers.contains_key(number) || self.losses > 0
            });
            assert!(all_left, "a worker was not told to leave");
            return;
        }
        assert_eq!(self.alive, self.pings, "answers to Ping");
        assert_eq!(self.answers, self.questions, "answers to ReadTls");
        assert_eq!(
            self.drained,
            usize::from(self.life == Life::Draining),
            "words that the core is drained"
        );
        let unconnected: usize = self.told.values().map(|told| told.unconnected).sum();
        assert!(
            unconnected + self.refusals <= self.losses,
            "refused without a reason"
        );
        for (number, told) in &self.told {
            assert_eq!(
                told.checked, told.checks,
                "answers to Check {number}: {told:?}"
            );
            assert!(
                told.serving + told.unconnected <= 1 && told.left <= 1,
                "{number}: {told:?}"
            );
            if told.ready && !told.died {
                assert_eq!(
                    told.serving + told.unconnected,
                    1,
                    "what became of worker {number}: {told:?}"
                );
            }
            if told.leaving && !told.died {
                assert_eq!(told.left, 1, "that worker {number} leaves: {told:?}");
            }
        }
    }
}

/// What becomes of the master after its last step.
#[derive(Clone, Copy, PartialEq)]
enum Master {
    Lives,
    Dies,
}

fn run(seed: u64, steps: usize, master: Master) {
    struct Replay(u64);
    impl Drop for Replay {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!(
                    "replay: GEPOK_SEED={} cargo test --lib core::simulation",
                    self.0
                );
            }
        }
    }
    let _replay = Replay(seed);
    control::lose_next_descriptors(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        // Sockets are looked at after each turn of a task: how many turns there are is no accident then.
        .event_interval(1)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
            for _ in 0..world.random.below(4) {
                yield_now().await;
            }
            if world.random.one_in(10) {
                let time = world.random.below(40) as u64;
                tokio::time::advance(Duration::from_millis(time)).await;
            }
        }
        if master == Master::Dies {
            world.life = Life::Leaving;
            world.master = None;
        }
        world.settle().await;
    });
}

/// Protects: no word between master and core is lost or answered twice, and none ends the core but those that shall.
#[test]
fn each_word_has_its_answer_and_none_ends_the_core() {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("GEPOK_SEED") {
        return run(seed, RUN, Master::Lives);
    }
    for seed in 1..=number("GEPOK_RUNS").unwrap_or(300) {
        run(seed, RUN, Master::Lives);
    }
}

/// Protects: whatever the master had said last, and whatever it has left unread, the core ends when it dies, and no worker is
/// left with a channel that nobody reads.
#[test]
fn the_core_ends_after_whichever_word_its_master_dies() {
    for steps in 0..RUN {
        run(1 + steps as u64 % 7, steps, Master::Dies);
    }
}
