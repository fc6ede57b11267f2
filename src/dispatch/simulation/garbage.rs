//! Workers that have gone mad: they send frames of each kind in any order, of wrong lengths, with forged ends and for unknown
//! requests, pass descriptors that nobody has announced, and write to all of the shared memory.
//!
//! Such a worker is given up as soon as it breaks a rule, and dies by itself after a while where it has not. What it had claimed is
//! lost, and may have any content; what others serve is not touched.

use super::World;
use super::worker::{Doing, Madness, Worker, token_of};
use crate::channel::raw::RawEnd;

/// Kinds of frames, those of the core included.
const KINDS: [u8; 17] = [
    1, 2, 3, 4, 5, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
];

/// Kinds of frames that a response is made of, in their order.
const RESPONSE: [u8; 4] = [16, 17, 18, 19];

impl World {
    /// A worker keeps no rule from now on. What it has served may be damaged, as far as clients have not taken it.
    pub(super) fn go_mad(&mut self, number: u32) {
        let madness = Madness {
            steps: 1 + self.random.below(200),
            mild: self.random.one_in(2),
        };
        let Some(worker) = self.workers.get_mut(&number) else {
            return;
        };
        worker.doing = Doing::Mad(madness);
        for fate in &mut self.fates {
            fate.mad |= fate.worker == number;
        }
    }

    /// One step of a mad worker. False if it dies.
    pub(super) fn rave(&mut self, number: u32, worker: &mut Worker) -> bool {
        let Doing::Mad(madness) = &mut worker.doing else {
            return true;
        };
        if self.settling || madness.steps == 0 {
            return false;
        }
        madness.steps -= 1;
        let mild = madness.mild;
        let raw = &worker.raw;
        match self.random.below(if mild { 6 } else { 20 }) {
            0 | 1 => self.claim_any(number, worker),
            2 => raw.discard(),
            3..10 => {
                let frame = self.frame(number, mild);
                match self.random.one_in(2) {
                    true => _ = raw.put(&frame),
                    false => _ = raw.send(&frame, 0),
                }
            }
            10 => {
                let frame = self.frame(number, false);
                let cut = self.random.below(frame.len());
                match self.random.one_in(2) {
                    true => _ = raw.put(&frame[..cut]),
                    false => _ = raw.send(&frame[..cut], 0),
                }
            }
            11 => {
                let bytes: Vec<u8> = (0..self.random.below(200))
                    .map(|_| self.random.next() as u8)
                    .collect();
                raw.send(&bytes, 0);
            }
            12 | 13 => {
                let frame = self.frame(number, false);
                let descriptors = self.random.below(4);
                raw.send_files(&frame, self.files.of(self.random.next()), descriptors);
            }
            14 => {
                let length = self.number();
                raw.scribble_ring(self.number(), length);
            }
            15 => raw.scribble_ring_numbers(self.number()),
            16 => {
                let slot = self.random.below(40);
                let state = self.random.one_of(&[0, 1, 2, 0x81, 0x82, 0x42, 0xff]);
                let id = match self.random.one_in(4) {
                    true => self.number(),
                    false => slot as u64,
                };
                raw.scribble_claim(slot, id << 8 | state);
                // It may have forged that the request was not claimed, and then another worker runs it as well.
                self.forget_run(number, slot as u64);
            }
            17 => raw.scribble_area(self.random.below(1 << 20), 4096),
            18 => raw.ring(),
            _ if self.random.one_in(10) => raw.shut(),
            _ => {}
        }
        true
    }

    /// The worker claims a request, as it should before it answers.
    fn claim_any(&mut self, number: u32, worker: &Worker) {
        let Some((id, token)) = self.request_at(number) else {
            return;
        };
        if worker.raw.claim(id) {
            let fate = &mut self.fates[token as usize];
            fate.runs += 1;
            fate.worker = number;
            fate.mad = true;
            assert_eq!(fate.runs, 1, "a request is run twice");
        }
    }

    /// A request whose response is open at this worker.
    fn request_at(&mut self, number: u32) -> Option<(u64, u64)> {
        let workers = self.dispatch.workers.borrow();
        let open: Vec<_> = workers.get(number)?.open_requests().collect();
        if open.is_empty() {
            return None;
        }
        let (id, request) = &open[self.random.below(open.len())];
        Some((*id, token_of(request.head.target())))
    }

    fn forget_run(&mut self, number: u32, id: u64) {
        let workers = self.dispatch.workers.borrow();
        let open = workers
            .get(number)
            .into_iter()
            .flat_map(|w| w.open_requests());
        for (_, request) in open.filter(|(open, _)| open % 1024 == id) {
            let fate = &mut self.fates[token_of(request.head.target()) as usize];
            fate.runs = 0;
            fate.mad = true;
        }
    }

    /// A number that may be wrong by one, or by all.
    fn number(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.below(4) as u64,
            1 => u64::MAX - self.random.below(4) as u64,
            2 => self.random.below(70_000) as u64,
            _ => self.random.next(),
        }
    }

    fn frame(&mut self, number: u32, mild: bool) -> Vec<u8> {
        let open = self.request_at(number).map(|(id, _)| id);
        let id = match open.filter(|_| mild || !self.random.one_in(4)) {
            Some(id) => id,
            None => self.number(),
        };
        let kind = match self.random.below(if mild { 12 } else { 20 }) {
            0..8 => self.random.one_of(&RESPONSE),
            8..19 => self.random.one_of(&KINDS),
            _ => self.random.next() as u8,
        };
        let status = match (mild, kind) {
            (true, 16) => 103,
            (true, 17) => 200,
            _ => self
                .random
                .one_of(&[0, 1, 100, 101, 103, 200, 404, 999, 1000, u16::MAX]),
        };
        let marks = match self.random.below(4) {
            0 if !mild => self.random.next() as u8,
            0 => self.random.one_of(&[2, 4, 6]),
            _ => 0,
        };
        let payload = self.payload(kind, mild);
        RawEnd::frame(kind, marks, status, id, &payload)
    }

    fn payload(&mut self, kind: u8, mild: bool) -> Vec<u8> {
        let head = [&u64::MAX.to_le_bytes()[..], &[0; 8]].concat();
        match kind {
            _ if !mild && self.random.one_in(4) => {
                let most = self.random.one_of(&[4, 40, 400, 70_000]);
                vec![self.random.next() as u8; self.random.below(most)]
            }
            16 | 17 => head,
            18 => vec![b'#'; 1 + self.random.below(3000)],
            22 | 27 => {
                let (at, length) = match mild {
                    true => (self.random.below(1 << 20), 1 + self.random.below(4000)),
                    false => (self.number() as usize, self.number() as usize),
                };
                [at.to_le_bytes(), length.to_le_bytes()].concat()
            }
            _ => Vec::new(),
        }
    }
}
