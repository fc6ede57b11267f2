//! Returns memory to the system when most of many connections have gone: malloc keeps it, because what still lives on top of
//! the heap pins the free pages below.

use std::cell::Cell;

/// Up to this many connections leave behind little memory, which is soon used again.
const FEW: usize = 1000;

/// Decides when to trim, by the number of open connections.
#[derive(Debug, Default)]
pub(super) struct MallocTrim {
    /// The highest number of connections since the last trim.
    peak: Cell<usize>,
}

impl MallocTrim {
    /// A connection was opened; `count` are open now.
    pub(super) fn connected(&self, count: usize) {
        self.peak.set(self.peak.get().max(count));
    }

    /// A connection was closed; `count` are still open.
    pub(super) fn disconnected(&self, count: usize) {
        if self.is_due(count) {
            trim();
        }
    }

    /// Whether three quarters of the peak have gone. At least some hundred connections end between two trims.
    fn is_due(&self, count: usize) -> bool {
        let due = self.peak.get() > FEW && count < self.peak.get() / 4;
        if due {
            self.peak.set(count);
        }
        due
    }
}

/// Returns free pages to the system. Takes some milliseconds for 100 MiB.
fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim may be called at any time by any thread; its result does not matter.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_trimmed_when_most_connections_have_gone() {
        let trim = MallocTrim::default();
        let due = |counts: std::ops::Range<usize>| -> Vec<usize> {
            counts.rev().filter(|&count| trim.is_due(count)).collect()
        };
        trim.connected(FEW);
        assert!(due(0..FEW).is_empty(), "they are few");
        trim.connected(8000);
        assert!(due(2000..8000).is_empty(), "many are still there");
        assert_eq!(due(0..2000), [1999, 498]);
        trim.connected(8000);
        assert_eq!(due(0..8000), [1999, 498], "the next peak");
    }
}
