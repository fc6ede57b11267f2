//! Workers that break the rules of the channel, one rule after the other: each is given up at once, and its requests fail or go to
//! another worker.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::simulation::request;
use super::worker::Stage;
use super::{Dispatch, Event, Exchange, Report, Settings};
use crate::channel::core_end::CoreEnd;
use crate::channel::pair;
use crate::channel::raw::{self, RawEnd};
use crate::channel::violation::Violation;
use crate::semantics::message::Content;
use crate::spool::{self, Room};

const INFORMATIONAL: u8 = 16;
const HEAD: u8 = 17;
const CHUNK: u8 = 18;
const END: u8 = 19;
const IDLE: u8 = 21;
const FILE: u8 = 22;
const TAKE: u8 = 23;
const WAKE: u8 = 24;
const LEAVING: u8 = 25;
const VERDICT: u8 = 26;
const SHARED: u8 = 27;

/// The mark of a frame with a descriptor.
const WITH_DESCRIPTOR: u8 = 1;

/// A head without fields: length unknown, no lines, no bytes.
fn no_fields() -> Vec<u8> {
    [&u64::MAX.to_le_bytes()[..], &[0; 8]].concat()
}

fn range(at: u64, length: u64) -> Vec<u8> {
    [at.to_le_bytes(), length.to_le_bytes()].concat()
}

/// One request at one worker, which has claimed it; a second request waits there.
struct World {
    dispatch: Rc<Dispatch>,
    reports: UnboundedReceiver<Report>,
    worker: RawEnd,
    first: Exchange,
    second: Exchange,
}

impl World {
    async fn new() -> World {
        let (report, mut reports) = unbounded_channel();
        let settings = Settings::default();
        let room = Rc::new(Room::new(spool::Settings {
            folder: None,
            limit: None,
        }));
        let dispatch = Rc::new(Dispatch::new(settings, room, report));
        let (core, worker) = pair().unwrap();
        let worker = RawEnd::open(worker).unwrap();
        dispatch.start_worker(1, 1, CoreEnd::open(core).unwrap(), false);
        assert!(worker.send(&RawEnd::frame(IDLE, 0, 0, 0, b""), 0));
        assert_eq!(reports.recv().await, Some(Report::Serving(1)));
        let first = dispatch.submit(request(1, Content::Empty), None);
        let second = dispatch.submit(request(2, Content::Empty), None);
        assert!(worker.claim(1), "the first request");
        World {
            dispatch,
            reports,
            worker,
            first,
            second,
        }
    }

    fn frame(&self, kind: u8, status: u16, id: u64, payload: &[u8]) {
        self.worker
            .send(&RawEnd::frame(kind, 0, status, id, payload), 0);
    }

    fn head(&self) {
        self.frame(HEAD, 200, 1, &no_fields());
    }

    /// The rule that the worker has broken.
    async fn violation(&mut self, row: usize) -> Violation {
        let broken = async { while self.reports.recv().await != Some(Report::Broken(1)) {} };
        let told = timeout(Duration::from_secs(10), broken).await;
        assert!(told.is_ok(), "row {row}: it is to be killed");
        match self
            .dispatch
            .workers
            .borrow()
            .get(1)
            .map(|worker| worker.stage)
        {
            Some(Stage::Broken(violation)) => violation,
            stage => panic!("{stage:?}"),
        }
    }

    /// What a client whose request the worker had claimed gets.
    async fn is_failed(&self) {
        let failed = async { while !matches!(self.first.next().await, Event::Failed) {} };
        timeout(Duration::from_secs(10), failed).await.unwrap();
    }
}

fn run<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, test())
}

/// What a worker does.
type Damage = fn(&World);

/// Which violations it may be taken for.
type Expected = fn(Violation) -> bool;

/// A worker's noise, and what it is taken for.
type Flood = (fn(&World), Violation);

/// Protects: no worker can make the core wait, grow or mix up responses. Each rule that a worker can break has a row.
#[test]
fn each_violation_is_noticed_and_costs_what_the_worker_had() {
    #[rustfmt::skip] // A table.
    let damages: [(Damage, Expected); 32] = [
        // Frames that are none.
        (|w| w.frame(99, 0, 1, b""), |v| v == Violation::UnknownKind(99)),
        (|w| w.frame(0, 0, 0, b""), |v| v == Violation::UnknownKind(0)),
        (|w| w.frame(1, 0, 1, b""), |v| v == Violation::WrongDirection(1)),
        (|w| { w.worker.send(&[0xff; 16], 0); }, |v| matches!(v, Violation::UnknownKind(_) | Violation::FrameTooLong(_))),
        (|w| { w.worker.send(&[0xff, 0xff, 0xff, 0x7f, CHUNK, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 0); }, |v| v == Violation::FrameTooLong(0x7fff_ffff)),
        (|w| w.frame(HEAD, 200, 1, b"x"), |v| matches!(v, Violation::Malformed(_))),
        // Order.
        (|w| { w.head(); w.head(); }, |v| v == Violation::SecondHead(1)),
        (|w| { w.head(); w.frame(INFORMATIONAL, 103, 1, &no_fields()); }, |v| v == Violation::InterimAfterHead(1)),
        (|w| w.frame(CHUNK, 0, 1, b"x"), |v| v == Violation::ContentBeforeHead(1)),
        (|w| { w.head(); w.frame(CHUNK, 0, 1, b""); }, |v| v == Violation::EmptyContent(1)),
        (|w| w.frame(END, 0, 1, b""), |v| v == Violation::EndBeforeHead(1)),
        (|w| { w.head(); w.frame(END, 0, 1, b""); w.frame(END, 0, 1, b""); }, |v| v == Violation::NotOpen(1)),
        (|w| w.frame(HEAD, 200, 77, &no_fields()), |v| v == Violation::NotOpen(77)),
        (|w| w.frame(HEAD, 200, 2, &no_fields()), |v| v == Violation::NotClaimed(2)),
        (|w| w.frame(HEAD, 103, 1, &no_fields()), |v| v == Violation::Status(103)),
        (|w| w.frame(INFORMATIONAL, 200, 1, &no_fields()), |v| v == Violation::Status(200)),
        (|w| w.frame(VERDICT, 1, 1, b""), |v| v == Violation::UnaskedVerdict(1)),
        (|w| { w.frame(TAKE, 0, 1, b""); w.frame(TAKE, 0, 1, b""); }, |v| v == Violation::SecondTake(1)),
        (|w| { w.frame(LEAVING, 0, 0, b""); w.frame(LEAVING, 0, 0, b""); }, |v| v == Violation::SecondLeaving),
        (|w| { for _ in 0..3 { w.frame(IDLE, 0, 0, b""); } }, |v| matches!(v, Violation::NotClaimed(2) | Violation::IdleWithoutCall)),
        // Content that is nowhere, and more than there is credit for.
        (|w| { w.head(); w.frame(SHARED, 0, 1, &range(u64::MAX, 2)); }, |v| matches!(v, Violation::OutsideOfArea { .. })),
        (|w| { w.head(); w.worker.send(&RawEnd::frame(SHARED, 0, 0, 1, &range(0, 64 * 1024)).repeat(60), 0); }, |v| v == Violation::NoCredit(1)),
        (|w| { w.worker.send(&RawEnd::frame(INFORMATIONAL, 0, 103, 1, &no_fields()).repeat(1000), 0); }, |v| v == Violation::NoCredit(1)),
        // Descriptors.
        (|w| { w.worker.send(&RawEnd::frame(IDLE, 0, 0, 0, b""), 12); }, |v| matches!(v, Violation::TooManyDescriptors(_))),
        (|w| { for _ in 0..2 { w.worker.send(&[0], 1); } }, |v| matches!(v, Violation::TooManyDescriptors(_))),
        (|w| { w.head(); w.worker.send(&RawEnd::frame(FILE, WITH_DESCRIPTOR, 0, 1, &range(0, 1)), 0); }, |v| v == Violation::MissingDescriptor),
        // The shared memory.
        (|w| { w.worker.scribble_ring(u64::MAX, 1); }, |v| v == Violation::RingPosition),
        (|w| { w.worker.scribble_ring(8, 0); }, |v| matches!(v, Violation::BatchLength(_))),
        (|w| { w.worker.put(&[9, 9, 9]); }, |v| v == Violation::BatchCut),
        (|w| { w.worker.scribble_claim(1, u64::MAX); w.head(); }, |v| v == Violation::ClaimOverwritten(1)),
        // What it says nothing of.
        (|w| w.worker.scribble_claim(1, u64::MAX), |v| v == Violation::ClaimOverwritten(1)),
        (|w| { w.worker.put_silently(&RawEnd::frame(99, 0, 0, 1, b"")); }, |v| v == Violation::UnknownKind(99)),
    ];
    for (number, (damage, expected)) in damages.into_iter().enumerate() {
        run(|| async move {
            let mut world = World::new().await;
            damage(&world);
            let violation = world.violation(number).await;
            assert!(expected(violation), "row {number}: {violation:?}");
            if !matches!(violation, Violation::NotOpen(1) | Violation::SecondLeaving)
                && !matches!(
                    violation,
                    Violation::NotClaimed(2) | Violation::IdleWithoutCall
                )
            {
                world.is_failed().await;
            }
            assert!(world.dispatch.workers.borrow().is_consistent());
        });
    }
}

/// What a worker says without end: it is given up, whatever it reads.
#[test]
fn a_flood_of_what_costs_nothing_ends() {
    let floods: [Flood; 2] = [
        (|world| world.frame(WAKE, 0, 0, b""), Violation::Wakes),
        (|world| world.worker.ring(), Violation::Ringing),
    ];
    for (flood, expected) in floods {
        run(|| async move {
            let mut world = World::new().await;
            let violation = async {
                for turn in 0..1_000_000 {
                    if let Ok(report) = world.reports.try_recv() {
                        assert_eq!(report, Report::Broken(1));
                        break;
                    }
                    flood(&world);
                    if turn % 16 == 0 {
                        world.worker.discard();
                    }
                    tokio::task::yield_now().await;
                }
                world
                    .dispatch
                    .workers
                    .borrow()
                    .get(1)
                    .map(|worker| worker.stage)
            };
            assert_eq!(violation.await, Some(Stage::Broken(expected)));
        });
    }
}

/// Protects the core's memory: what a worker does not read waits for it only up to a bound.
#[test]
fn a_worker_that_reads_nothing_is_given_up() {
    run(|| async {
        let World {
            dispatch,
            mut reports,
            worker,
            first,
            second: _second,
        } = World::new().await;
        // Each question for the socket of a client that has left is answered at once.
        drop(first);
        let take = RawEnd::frame(TAKE, 0, 0, 1, b"");
        let mut taken = 0;
        while reports.try_recv() != Ok(Report::Broken(1)) {
            taken += u32::from(worker.send(&take, 0));
            assert!(taken < 20_000, "its answers are without bound");
            tokio::task::yield_now().await;
        }
        let workers = dispatch.workers.borrow();
        let stage = workers.get(1).map(|worker| worker.stage);
        assert_eq!(stage, Some(Stage::Broken(Violation::NotReading)));
    });
}

/// Protects all workers from a request that breaks the one that runs it, and has its claim word say that it was not begun.
#[test]
fn a_request_breaks_no_worker_after_the_other() {
    run(|| async {
        let World {
            dispatch,
            mut reports,
            worker,
            first,
            second: _second,
        } = World::new().await;
        let mut broken = 0;
        let mut now = (1, worker);
        let failed = async { while !matches!(first.next().await, Event::Failed) {} };
        let mut failed = std::pin::pin!(failed);
        loop {
            // It runs the request, and takes back that it has claimed it. Then another worker comes.
            let (number, worker) = now;
            worker.scribble_claim(1, 1 << 8 | 1);
            let (core, next) = pair().unwrap();
            let next = RawEnd::open(next).unwrap();
            dispatch.start_worker(number + 1, 2, CoreEnd::open(core).unwrap(), false);
            next.send(&RawEnd::frame(IDLE, 0, 0, 0, b""), 0);
            tokio::time::sleep(Duration::from_millis(50)).await;
            worker.send(&RawEnd::frame(HEAD, 0, 200, 1, &no_fields()), 0);
            while reports.recv().await != Some(Report::Broken(number)) {}
            broken += 1;
            now = (number + 1, next);
            let soon = timeout(Duration::from_millis(20), failed.as_mut());
            if soon.await.is_ok() {
                break;
            }
            assert!(broken < 4, "it goes on");
        }
    });
}

/// Protects: requests that a broken worker had not claimed were not run, and go to others.
#[test]
fn what_a_broken_worker_had_not_claimed_goes_to_another() {
    run(|| async {
        let mut world = World::new().await;
        world.frame(99, 0, 0, b"");
        world.violation(0).await;
        world.is_failed().await;
        let (core, worker) = pair().unwrap();
        let worker = RawEnd::open(worker).unwrap();
        let end = CoreEnd::open(core).unwrap();
        world.dispatch.start_worker(2, 2, end, false);
        worker.send(&RawEnd::frame(IDLE, 0, 0, 0, b""), 0);
        assert_eq!(world.reports.recv().await, Some(Report::Serving(2)));
        assert!(worker.claim(1), "its first one");
        worker.send(&RawEnd::frame(HEAD, 0, 200, 1, &no_fields()), 0);
        let head = timeout(Duration::from_secs(10), world.second.next()).await;
        assert!(matches!(head, Ok(Event::Head(..))), "{head:?}");
    });
}

/// Protects a call from waiting for as long as the first one at its worker takes: the claim of a later one was forged, so that it
/// can't be taken back from there one after the other.
#[test]
fn a_call_before_a_forged_claim_goes_to_another() {
    // The clock stands still, so that all calls are quick.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let mut world = World::new().await;
        let submit = |token| world.dispatch.submit(request(token, Content::Empty), None);
        let mut clients = Vec::new();
        for id in 1..60 {
            world.frame(HEAD, 200, id, &no_fields());
            world.frame(END, 0, id, b"");
            world.frame(IDLE, 0, 0, b"");
            let held = || {
                world
                    .dispatch
                    .workers
                    .borrow()
                    .get(1)
                    .map(|worker| worker.waiting())
            };
            while held() != Some(0) {
                tokio::task::yield_now().await;
            }
            assert!(world.worker.claim(id + 1));
            clients.push(submit(id));
        }
        let (second, third) = (clients.pop().unwrap(), submit(60));
        assert_eq!(world.dispatch.workers.borrow().waiting(), 2);
        assert!(world.worker.claim(62), "the last one");
        let (core, other) = pair().unwrap();
        let other = RawEnd::open(other).unwrap();
        let end = CoreEnd::open(core).unwrap();
        world.dispatch.start_worker(2, 2, end, false);
        other.send(&RawEnd::frame(IDLE, 0, 0, 0, b""), 0);
        assert_eq!(world.violation(0).await, Violation::ClaimOrder(62));
        let failed = timeout(Duration::from_secs(10), third.next()).await;
        assert!(matches!(failed, Ok(Event::Failed)), "{failed:?}");
        assert!(other.claim(1), "the call before it");
        other.send(&RawEnd::frame(HEAD, 0, 200, 1, &no_fields()), 0);
        let head = timeout(Duration::from_secs(10), second.next()).await;
        assert!(matches!(head, Ok(Event::Head(..))), "{head:?}");
    });
}

/// Protects a worker from waiting for ever: it gets no credit for a response that was cut, so it must learn that nobody reads it.
#[test]
fn a_worker_whose_file_was_lost_learns_that_nobody_reads() {
    run(|| async {
        let world = World::new().await;
        world.head();
        raw::lose_next_descriptor(true);
        let file = RawEnd::frame(FILE, WITH_DESCRIPTOR, 0, 1, &range(0, 1));
        assert!(world.worker.send(&file, 1));
        world.is_failed().await;
        assert!(raw::lose_next_descriptor(false), "it was not lost");
        assert!(world.worker.is_gone(1));
    });
}
