//! The claim words and the ring of Gepok's channel, and the texts of its scoreboard, under loom: it runs each model in every order of the two
//! processes' steps that the memory model allows.
//!
//! The two files are the channel's own, over loom's atomics and with less room, so that a model comes to the end of it.
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

    pub(super) use loom::thread::yield_now;
    pub(super) const TRIES: usize = 2;
}

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

use claim::{Claim, Claimed, Claims};
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
        assert!(claims.is_gone(1) && claims.look(1) == Claim::Claimed);
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
    let models: [(&str, fn()); 5] = [
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
