//! Queues that responses have left, kept for the next ones: most responses need no allocation for theirs.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::VecDeque;

use super::backlog::Part;

/// How many queues are kept ...
const MOST: usize = 64;

/// ... with room for this many parts at most: an ordinary response has three.
const PARTS: usize = 8;

/// Empty queues.
#[derive(Debug, Default)]
pub(super) struct Spare(RefCell<Vec<VecDeque<Part>>>);

impl Spare {
    /// An empty queue.
    pub(super) fn take(&self) -> VecDeque<Part> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Drops what is left in a queue, and keeps its memory if it is ordinary.
    pub(super) fn give(&self, mut parts: VecDeque<Part>) {
        parts.clear();
        let mut queues = self.0.borrow_mut();
        if (1..=PARTS).contains(&parts.capacity()) && queues.len() < MOST {
            queues.push(parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Event;
    use super::*;

    /// Protects the core's memory from a client that leaves while much waits for it.
    #[test]
    fn few_and_small_queues_are_kept() {
        let spare = Spare::default();
        spare.give(VecDeque::new());
        spare.give(VecDeque::with_capacity(PARTS + 1));
        assert_eq!(spare.0.borrow().len(), 0);
        for _ in 0..MOST + 1 {
            let mut parts = VecDeque::with_capacity(PARTS);
            parts.push_back(Part::Event(Event::End, 0));
            spare.give(parts);
        }
        assert_eq!(spare.0.borrow().len(), MOST);
        let taken = spare.take();
        assert!(taken.is_empty() && taken.capacity() == PARTS);
    }
}
