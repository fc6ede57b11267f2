//! Memory that a crowd of connections has left behind goes back to the system: malloc keeps it, as holes below what lives on.

use std::cell::Cell;

/// So many connections are no crowd: what they leave behind is soon used again.
const FEW: usize = 1000;

/// How many connections there have been at once.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    most: Cell<usize>,
}

impl Crowd {
    /// Another connection has come; there are so many now.
    pub(super) fn grows(&self, count: usize) {
        self.most.set(self.most.get().max(count));
    }

    /// A connection has gone; so many are left.
    pub(super) fn shrinks(&self, count: usize) {
        if self.is_over(count) {
            give_back();
        }
    }

    /// Whether most of a crowd has gone. Hundreds of connections end between two times that it is true.
    fn is_over(&self, count: usize) -> bool {
        let over = self.most.get() > FEW && count < self.most.get() / 4;
        if over {
            self.most.set(count);
        }
        over
    }
}

/// Gives the pages back that malloc has and nobody uses: some milliseconds for a hundred MiB.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it may be called at any time by any thread; whether there was something to give does not matter.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_over_when_most_have_gone() {
        let crowd = Crowd::default();
        let over = |counts: std::ops::Range<usize>| -> Vec<usize> {
            counts.rev().filter(|&count| crowd.is_over(count)).collect()
        };
        crowd.grows(FEW);
        assert!(over(0..FEW).is_empty(), "they are few");
        crowd.grows(8000);
        assert!(over(2000..8000).is_empty(), "many are still there");
        assert_eq!(over(0..2000), [1999, 498]);
        crowd.grows(8000);
        assert_eq!(over(0..8000), [1999, 498], "the next crowd");
    }
}
