//! What a seed decides, and the content of responses.

use std::sync::LazyLock;

/// Random numbers that a seed decides (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}

/// Content of one response at most: it fits into the core's memory, so that no thread writes it to a disk.
pub(super) const LONGEST: usize = 600_000;

/// Places at which the content of a response may begin in [`PATTERN`].
const BEGINNINGS: usize = 8000;

/// The content of every response begins at another place of this.
static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(0);
    let words = (0..(LONGEST + BEGINNINGS) / 8 + 1).flat_map(|_| random.next().to_le_bytes());
    words.collect()
});

/// Where the content of the response to this request begins.
pub(super) fn beginning(token: u64) -> usize {
    token as usize * 61 % BEGINNINGS
}

/// The content of the response to this request.
pub(super) fn content(token: u64) -> &'static [u8] {
    &PATTERN[beginning(token)..]
}
