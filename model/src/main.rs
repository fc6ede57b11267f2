//! The claim words, the ring and the area for content of Gepok's channel, and the texts of its scoreboard, under loom: it runs each model in every order of the two
//! processes' steps that the memory model allows.
//!
//! The files are the channel's own, over loom's atomics and with less room, so that a model comes to the end of it.
//! `cargo run --package gepok-model` runs them all.

// A model fails as a test does, and needs a part of what it includes.
#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a model"
)]

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

    pub(super) const SLOTS: usize = 2;
    pub(super) const WORDS: usize = 4;
    pub(super) const LONGEST: usize = 16;
    pub(super) const AREA: usize = 4;

    /// One cell for each byte of the area: loom sees where one side writes what the other may be reading.
    #[derive(Debug, Default)]
    pub(super) struct Accesses([loom::cell::UnsafeCell<()>; AREA]);

    impl Accesses {
        pub(super) fn write(&self, at: usize, length: usize) {
            self.0[at..at + length]
                .iter()
                .for_each(|cell| cell.with_mut(|_| ()));
        }

        pub(super) fn read(&self, at: usize, length: usize) {
            self.0[at..at + length]
                .iter()
                .for_each(|cell| cell.with(|_| ()));
        }
    }

    pub(super) use loom::thread::yield_now;
    pub(super) const TRIES: usize = 2;
}

#[path = "../../src/channel/area.rs"]
mod area;
#[path = "../../src/channel/claim.rs"]
mod claim;
#[path = "../../src/channel/ring.rs"]
mod ring;
#[path = "../../src/scoreboard/text.rs"]
mod text;
#[path = "../../src/channel/violation.rs"]
mod violation;

use std::collections::VecDeque;

use bytes::BytesMut;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use area::{Area, Cursor};
use claim::{Claim, Claimed, Claims, Client};
use ring::{Reader, Ring};
use sync::AtomicU64;

/// Protects channel rule 4: core and worker never both have a request, and one of them always has it.
fn a_request_is_either_claimed_or_taken_back() {
    loom::model(|| {
        let claims = Arc::new(Claims::default());
        claims.offer(1);
        let worker = {
            let claims = Arc::clone(&claims);
            thread::spawn(move || claims.claim(1))
        };
        let taken_back = claims.revoke(1);
        match worker.join().unwrap() {
            Claimed::Yes => assert_eq!(taken_back, Claim::Claimed),
            Claimed::TakenBack => assert_eq!(taken_back, Claim::Offered),
            Claimed::Overwritten => panic!("nobody has written that"),
        }
    });
}

/// Protects channel rule 1: that the client has left is told to the worker, whenever it claims.
fn that_a_client_has_gone_is_never_lost() {
    loom::model(|| {
        let claims = Arc::new(Claims::default());
        claims.offer(1);
        let worker = {
            let claims = Arc::clone(&claims);
            thread::spawn(move || claims.claim(1))
        };
        claims.set_gone(1);
        assert_eq!(worker.join().unwrap(), Claimed::Yes);
        assert!(claims.client(1) == Client::Gone && claims.look(1) == Claim::Claimed);
    });
}

/// What goes by the socket.
enum Sent {
    Batch(&'static [u8]),
    Wake,
}

/// A socket: whoever reads it sleeps until something comes.
#[derive(Default)]
struct Socket {
    sent: Mutex<Vec<Sent>>,
    readable: Condvar,
}

impl Socket {
    fn send(&self, sent: Sent) {
        self.sent.lock().unwrap().push(sent);
        self.readable.notify_one();
    }

    fn receive(&self) -> Vec<Sent> {
        let mut sent = self.sent.lock().unwrap();
        while sent.is_empty() {
            sent = self.readable.wait(sent).unwrap();
        }
        std::mem::take(&mut sent)
    }
}

/// Protects channel rule 3: what the worker says arrives whole, once and in order, whichever way it goes; and a core
/// that sleeps is woken.
fn what_the_worker_says_arrives_in_order(batches: &'static [&'static [u8]]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(move || {
        let ring = Arc::new(Ring::default());
        let socket = Arc::new(Socket::default());
        let worker = {
            let (ring, socket) = (Arc::clone(&ring), Arc::clone(&socket));
            thread::spawn(move || {
                let mut sent = 0;
                for batch in batches {
                    if ring.is_socket_acknowledged(sent) && ring.put(batch) {
                        if ring.needs_wakeup() {
                            socket.send(Sent::Wake);
                        }
                    } else {
                        sent += batch.len() as u64;
                        socket.send(Sent::Batch(batch));
                    }
                }
            })
        };
        let whole = batches.concat();
        let mut reader = Reader::default();
        let mut got = BytesMut::new();
        let mut received = VecDeque::new();
        while got.len() < whole.len() {
            if reader.take(&ring, &mut got).unwrap() {
                continue;
            }
            match received.pop_front() {
                Some(Sent::Batch(batch)) => {
                    got.extend_from_slice(batch);
                    reader.acknowledge_socket(&ring, batch.len() as u64);
                }
                Some(Sent::Wake) => {}
                None if reader.prepare_sleep(&ring) => {
                    received.extend(socket.receive());
                    ring.wake_up();
                }
                None => {}
            }
        }
        assert_eq!(got, whole);
        worker.join().unwrap();
    });
}

/// Three batches, of which not all fit into the ring at once.
fn batches_that_fill_the_ring() {
    what_the_worker_says_arrives_in_order(&[b"one", b"two and more", b"3"]);
}

/// A batch that is too long for the ring goes by the socket; what follows must not overtake it.
fn batches_behind_one_that_goes_by_the_socket() {
    what_the_worker_says_arrives_in_order(&[b"one", b"longer than sixteen", b"3"]);
}

/// A piece of content that finds no room in the area, in the place of where it is.
const NOWHERE: u8 = u8::MAX;

/// Protects channel rule 5: content in the area stays as it was until the core has given it back, and its room is used again after
/// that. The core keeps one piece until it has the next, as it does for a client that takes its time.
fn content_stays_until_it_is_given_back(pieces: &'static [&'static [u8]]) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let shared = Arc::new((Area::default(), Ring::default()));
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let (area, ring) = &*shared;
                // SAFETY: the worker has the only one.
                let mut cursor = unsafe { Cursor::new(area) };
                for piece in pieces {
                    let at = area.put(&mut cursor, piece).map_or(NOWHERE, |at| at as u8);
                    while !ring.put(&[at, piece.len() as u8]) {
                        thread::yield_now();
                    }
                }
            })
        };
        let (area, ring) = &*shared;
        let is_there = |at: u8, piece: &[u8]| {
            let mut copy = Vec::with_capacity(piece.len());
            area.copy(at.into(), &mut copy.spare_capacity_mut()[..piece.len()]);
            // SAFETY: the copy has written as many bytes.
            unsafe { copy.set_len(piece.len()) };
            assert_eq!(copy, piece);
        };
        let mut reader = Reader::default();
        let mut got = BytesMut::new();
        let mut kept: Vec<(u8, &[u8])> = Vec::new();
        for piece in pieces {
            while !reader.take(ring, &mut got).unwrap() {
                thread::yield_now();
            }
            let at = got[0];
            assert_eq!(usize::from(got[1]), piece.len());
            got.clear();
            if at != NOWHERE {
                is_there(at, piece);
                kept.push((at, piece));
            }
            if kept.len() == 2 {
                for (at, piece) in kept.drain(..) {
                    is_there(at, piece);
                    area.give_back(piece.len());
                }
            }
        }
        worker.join().unwrap();
        kept.iter().for_each(|&(at, piece)| is_there(at, piece));
    });
}

/// Pieces of which two fill the area: the third finds room if the first two were given back.
fn content_of_a_full_area() {
    content_stays_until_it_is_given_back(&[b"ab", b"cd", b"ef"]);
}

/// Pieces of unequal lengths: what is given back at the end does not free what is before it.
fn content_of_unequal_pieces() {
    content_stays_until_it_is_given_back(&[b"abc", b"d", b"efgh"]);
}

/// Protects `gepok status`: a reader gets a whole text or none, never parts of two.
fn a_text_is_read_whole_or_not_at_all() {
    loom::model(|| {
        let memory = Arc::new((AtomicU64::new(0), [AtomicU64::new(0), AtomicU64::new(0)]));
        let texts: [&[u8]; 3] = [b"", b"one of ten", b"and longer one"];
        // The writer is not the spawned thread: loom then does not see that its stores depend on the reader's loads.
        let reader = {
            let memory = Arc::clone(&memory);
            thread::spawn(move || text::read(&memory.0, &memory.1))
        };
        for text in &texts[1..] {
            text::write(&memory.0, &memory.1, &[text]);
        }
        if let Some(read) = reader.join().unwrap() {
            assert!(texts.contains(&&read[..]), "{read:?}");
        }
        let last = text::read(&memory.0, &memory.1);
        assert_eq!(last.as_deref(), texts.last().copied());
    });
}

fn main() {
    let models: [(&str, fn()); 7] = [
        (
            "a request is either claimed or taken back",
            a_request_is_either_claimed_or_taken_back,
        ),
        (
            "that a client has gone is never lost",
            that_a_client_has_gone_is_never_lost,
        ),
        ("batches that fill the ring", batches_that_fill_the_ring),
        (
            "batches behind one that goes by the socket",
            batches_behind_one_that_goes_by_the_socket,
        ),
        ("content of a full area", content_of_a_full_area),
        ("content of unequal pieces", content_of_unequal_pieces),
        (
            "a text is read whole or not at all",
            a_text_is_read_whole_or_not_at_all,
        ),
    ];
    for (name, model) in models {
        model();
        println!("{name}: ok");
    }
}
