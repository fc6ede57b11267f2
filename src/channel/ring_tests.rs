//! Tests of the ring; not in its file, which a model includes (`model/`).

use bytes::BytesMut;
use proptest::prelude::*;

use super::memory::{self, Memory};
use super::ring::Reader;
use super::sync::{LONGEST, WORDS};
use super::violation::Violation;

fn two_sides() -> (Memory, Memory) {
    let memory = memory::create().unwrap();
    (Memory::map(&memory).unwrap(), Memory::map(&memory).unwrap())
}

proptest! {
    #[test]
    fn batches_arrive_whole_and_in_order(
        lengths in proptest::collection::vec(1..LONGEST, 1..40),
        hurry in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let (worker, core) = two_sides();
        let mut waiting = std::collections::VecDeque::new();
        let mut reader = Reader::default();
        let mut take_one = |waiting: &mut std::collections::VecDeque<Vec<u8>>| {
            let mut got = BytesMut::new();
            assert_eq!(reader.take(&core.ring, &mut got), Ok(!waiting.is_empty()));
            assert_eq!(got, waiting.pop_front().unwrap_or_default());
        };
        for (number, (&length, &hurry)) in lengths.iter().zip(&hurry).enumerate() {
            let batch: Vec<u8> = (0..length).map(|at| (at * 7 + number) as u8).collect();
            while !worker.ring.put(&batch) {
                prop_assert!(!waiting.is_empty(), "an empty ring takes any batch");
                take_one(&mut waiting);
            }
            waiting.push_back(batch);
            if hurry {
                take_one(&mut waiting);
            }
        }
        while !waiting.is_empty() {
            take_one(&mut waiting);
        }
        take_one(&mut waiting);
    }

    #[test]
    fn whatever_is_written_into_the_ring_is_refused_or_short(put in any::<u64>(), length in any::<u64>()) {
        let (worker, core) = two_sides();
        worker.ring.scribble(put, length);
        let mut got = BytesMut::new();
        let taken = Reader::default().take(&core.ring, &mut got);
        prop_assert!(got.len() <= LONGEST);
        let impossible = length == 0 || length > LONGEST as u64 || 1 + length.div_ceil(8) > put;
        prop_assert_eq!(taken.is_err(), put != 0 && (put > WORDS as u64 || impossible));
    }

    /// Protects the core's memory: whatever a worker writes to the ring's numbers, what the core reads comes to an end.
    #[test]
    fn the_core_never_reads_its_own_numbers_back(
        numbers in proptest::collection::vec(prop_oneof![Just(u64::MAX), Just(0), any::<u64>(), 0..100_u64], 1..20),
    ) {
        let (worker, core) = two_sides();
        let mut reader = Reader::default();
        assert!(worker.ring.put(b"one"));
        prop_assert_eq!(reader.take(&core.ring, &mut BytesMut::new()), Ok(true));
        for number in numbers {
            worker.ring.scribble_all(number);
            let mut got = BytesMut::new();
            for _ in 0..=WORDS {
                if reader.take(&core.ring, &mut got) != Ok(true) {
                    break;
                }
            }
            prop_assert!(got.len() <= 8 * WORDS, "{} bytes", got.len());
            prop_assert_ne!(reader.take(&core.ring, &mut got), Ok(true), "without an end");
        }
    }
}

/// Eight bytes of 0xff where the core publishes what it has taken had it read the same words for ever.
#[test]
fn what_a_worker_writes_over_the_cores_position_changes_nothing() {
    let (worker, core) = two_sides();
    let mut reader = Reader::default();
    assert!(worker.ring.put(b"one"));
    worker.ring.scribble_taken(u64::MAX);
    let mut got = BytesMut::new();
    assert_eq!(reader.take(&core.ring, &mut got), Ok(true));
    assert_eq!(reader.take(&core.ring, &mut got), Ok(false));
    assert_eq!(&got[..], b"one");
    worker.ring.scribble(u64::MAX, 8);
    assert_eq!(
        reader.take(&core.ring, &mut got),
        Err(Violation::RingPosition)
    );
}

#[test]
fn the_core_is_woken_once_and_only_when_it_sleeps() {
    let (worker, core) = two_sides();
    let mut reader = Reader::default();
    assert!(worker.ring.put(b"one") && !worker.ring.needs_wakeup());
    assert!(
        !reader.prepare_sleep(&core.ring),
        "there is something to take"
    );
    assert_eq!(reader.take(&core.ring, &mut BytesMut::new()), Ok(true));
    assert!(reader.prepare_sleep(&core.ring));
    assert!(worker.ring.put(b"two") && worker.ring.needs_wakeup());
    assert!(!worker.ring.needs_wakeup());
}

#[test]
fn the_socket_goes_before_the_ring_until_it_is_acknowledged() {
    let (worker, core) = two_sides();
    let mut reader = Reader::default();
    assert!(worker.ring.is_socket_acknowledged(0));
    assert!(!worker.ring.is_socket_acknowledged(20));
    reader.acknowledge_socket(&core.ring, 16);
    reader.acknowledge_socket(&core.ring, 4);
    assert!(worker.ring.is_socket_acknowledged(20));
}
