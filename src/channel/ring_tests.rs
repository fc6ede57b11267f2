//! Tests of the ring; not in its file, which a model includes (`model/`).

use bytes::BytesMut;
use proptest::prelude::*;

use super::memory::{self, Memory};
use super::sync::{LONGEST, WORDS};

fn two_sides() -> (Memory, Memory) {
    let memory = memory::create().unwrap();
    (Memory::map(&memory).unwrap(), Memory::map(&memory).unwrap())
}

proptest! {
    #[test]
    fn batches_arrive_whole_and_in_order(
        lengths in proptest::collection::vec(0..LONGEST, 1..40),
        hurry in proptest::collection::vec(any::<bool>(), 40),
    ) {
        let (worker, core) = two_sides();
        let mut waiting = std::collections::VecDeque::new();
        let take_one = |waiting: &mut std::collections::VecDeque<Vec<u8>>| {
            let mut got = BytesMut::new();
            assert_eq!(core.ring.take(&mut got), Ok(!waiting.is_empty()));
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
        let taken = core.ring.take(&mut got);
        prop_assert!(got.len() <= LONGEST);
        prop_assert_eq!(taken.is_err(), put != 0 && (put > WORDS as u64 || length > LONGEST as u64 || 1 + length.div_ceil(8) > put));
    }
}

#[test]
fn the_core_is_woken_once_and_only_when_it_sleeps() {
    let (worker, core) = two_sides();
    assert!(worker.ring.put(b"one") && !worker.ring.must_wake());
    assert!(!core.ring.sleep(), "there is something to take");
    assert_eq!(core.ring.take(&mut BytesMut::new()), Ok(true));
    assert!(core.ring.sleep());
    assert!(worker.ring.put(b"two") && worker.ring.must_wake());
    assert!(!worker.ring.must_wake());
}

#[test]
fn the_socket_goes_before_the_ring_until_it_is_understood() {
    let (worker, core) = two_sides();
    assert!(worker.ring.has_understood(0));
    assert!(!worker.ring.has_understood(20));
    core.ring.understand(16);
    core.ring.understand(4);
    assert!(worker.ring.has_understood(20));
}
