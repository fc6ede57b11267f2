//! What was refused because a bound was reached, since the start. Written by the core alone.

#![forbid(unsafe_code)]

use super::{Board, REFUSALS};

/// What a client did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rest of a response, which it took too slowly.
    Response,
    /// Room for a request's content.
    Content,
    /// Memory for a request's head, or a place in the queue.
    Request,
    /// A connection, on a port for the PROXY protocol: no valid header, or not by a trusted proxy.
    Connection,
}

/// How many of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusals {
    /// Responses that were cut, because their clients took them too slowly.
    pub responses: u64,
    /// Requests whose content could not be kept.
    pub contents: u64,
    /// Requests that were answered with 503, because too many wait.
    pub requests: u64,
    /// Connections that were closed for want of a PROXY header.
    pub connections: u64,
}

impl Board {
    /// Core: something was refused.
    pub fn counts(&self, refusal: Refusal) {
        self.change(REFUSALS + refusal as usize, 1);
    }
}

impl Refusals {
    /// What the words say.
    pub(super) fn read(words: &[u64]) -> Refusals {
        let count = |refusal: Refusal| words[REFUSALS + refusal as usize];
        Refusals {
            responses: count(Refusal::Response),
            contents: count(Refusal::Content),
            requests: count(Refusal::Request),
            connections: count(Refusal::Connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::HEADER;

    #[test]
    fn each_refusal_counts_by_itself() {
        let (board, _memory) = Board::create(1).unwrap();
        board.counts(Refusal::Response);
        board.counts(Refusal::Request);
        board.counts(Refusal::Connection);
        board.counts(Refusal::Request);
        let words: Vec<u64> = (0..HEADER).map(|at| board.get(at)).collect();
        let read = Refusals::read(&words);
        assert_eq!((read.responses, read.contents, read.requests), (1, 0, 2));
        assert_eq!(read.connections, 1);
    }
}
