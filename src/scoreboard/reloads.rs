//! How reloads and restarts have ended. Written by the master alone; in one process by the core's thread.
//!
//! Each that is asked for has a number. `answered` is the number of the last one whose end is recorded here, so that a process that
//! has asked can wait for it.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::text::LONGEST;
use super::{Board, Mapping, RELOADS, now, seconds};
use crate::semantics::wording::plain;

// Numbers of the words.
const ASKED: usize = RELOADS;
const ANSWERED: usize = RELOADS + 1;
/// The generation that serves, and since when.
const GENERATION: usize = RELOADS + 2;
const SERVES_SINCE: usize = RELOADS + 3;
/// When one failed after that; 0: none has.
const FAILED: usize = RELOADS + 4;
/// Why: the guard of the text, and the text.
const GUARD: usize = RELOADS + 5;
const TEXT: Range<usize> = RELOADS + 6..RELOADS + 6 + LONGEST / 8;
/// 1: a reload brings no new code.
const KEEPS_CODE: usize = TEXT.end;

/// How reloads have ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reloads {
    /// How many were asked for.
    pub asked: u64,
    /// The last one that has ended.
    pub answered: u64,
    /// The generation of workers that serves; 0: none yet.
    pub generation: u64,
    /// Seconds since it does.
    pub since: f64,
    /// A reload keeps the code that was loaded at the start.
    pub keeps_code: bool,
    /// The last one has failed.
    pub failure: Option<Failure>,
}

/// A reload or restart that has failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Seconds since then.
    pub ago: f64,
    /// Which of both, and why; escaped.
    pub why: String,
}

impl Board {
    /// Master: the app is loaded before the workers are started, so that a reload keeps its code.
    pub fn set_keeps_code(&self, keeps: bool) {
        self.set(KEEPS_CODE, keeps.into());
    }

    /// A reload or restart is asked for.
    pub fn reload_asked(&self) {
        self.change(ASKED, 1);
    }

    /// The number of the last one that was asked for.
    pub fn last_asked(&self) -> u64 {
        self.get(ASKED)
    }

    /// All up to this number have ended. This generation serves, and this is why what was asked for has failed.
    pub fn reload_ended(&self, generation: u32, failure: Option<&str>, number: u64) {
        if self.get(GENERATION) != u64::from(generation) {
            self.set(GENERATION, generation.into());
            self.set(SERVES_SINCE, now());
        }
        if let Some(why) = failure {
            self.write_text(GUARD, TEXT, &[plain(why).as_bytes()]);
        }
        self.set(FAILED, if failure.is_some() { now() } else { 0 });
        // The process that waits for it reads the rest after it.
        self.word(ANSWERED).store(number, Ordering::Release);
    }
}

impl Reloads {
    /// What the memory says at this time.
    pub(super) fn read(memory: &Mapping, now: u64) -> Reloads {
        // First: it is written last.
        let answered = memory.word(ANSWERED).load(Ordering::Acquire);
        let failed = memory.get(FAILED);
        let failure = (failed > 0).then(|| Failure {
            ago: seconds(failed, now),
            why: printable(&memory.text(GUARD, TEXT)),
        });
        let generation = memory.get(GENERATION);
        Reloads {
            asked: memory.get(ASKED),
            answered,
            generation,
            since: match generation {
                0 => 0.0,
                _ => seconds(memory.get(SERVES_SINCE), now),
            },
            keeps_code: memory.get(KEEPS_CODE) != 0,
            failure,
        }
    }
}

/// The text without what could move a terminal.
fn printable(text: &[u8]) -> String {
    let mut printable = String::new();
    for letter in String::from_utf8_lossy(text).chars() {
        match letter {
            '\'' | '"' => printable.push(letter),
            other => printable.extend(other.escape_debug()),
        }
    }
    printable
}

const _: () = assert!(KEEPS_CODE < super::HEADER);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(board: &Board) -> Reloads {
        Reloads::read(&board.memory, now())
    }

    #[test]
    fn a_failure_is_told_until_one_succeeds() {
        let (board, _memory) = Board::create(1).unwrap();
        assert_eq!(read(&board), Reloads::default());
        board.reload_ended(1, None, 0);
        assert_eq!((read(&board).generation, read(&board).failure), (1, None));

        let fail = |why: &str| {
            board.reload_asked();
            board.reload_ended(1, Some(why), board.last_asked());
            read(&board)
        };
        let reloads = fail("the reload failed: \"x\"\n\x1b[2J\u{202e}\u{2028}");
        assert_eq!((reloads.asked, reloads.answered), (1, 1));
        let why = reloads.failure.unwrap().why;
        assert_eq!(
            why, "the reload failed: \"x\"\\n\\u{1b}[2J\\u{202e}\\u{2028}",
            "escaped"
        );
        assert_eq!(reloads.generation, 1, "the old one serves on");
        let why = fail(&"x".repeat(1000)).failure.unwrap().why;
        assert_eq!(why.len(), LONGEST, "cut");

        board.reload_asked();
        board.reload_ended(2, None, board.last_asked());
        let reloads = read(&board);
        assert_eq!((reloads.generation, reloads.failure), (2, None));
        assert_eq!((reloads.asked, reloads.answered), (3, 3));
    }
}
