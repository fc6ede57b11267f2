//! What clients' connections do, as counters: one for each state, written by the core alone.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::Arc;

use super::refusals::Refusal;
use super::{ACCEPTED, Board, CONNECTIONS};

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It shakes hands for TLS.
    Handshake,
    /// It waits for the client to begin a request.
    Idle,
    /// A request has come in part.
    Reading,
    /// A request waits for a worker, or for its answer.
    Processing,
    /// A response is being written.
    Writing,
    /// The server has said its last, and waits for the client's end.
    Closing,
}

/// All states, with their names, in the order of their words.
pub const STATES: [(State, &str); 6] = [
    (State::Handshake, "handshake"),
    (State::Idle, "idle"),
    (State::Reading, "reading"),
    (State::Processing, "processing"),
    (State::Writing, "writing"),
    (State::Closing, "closing"),
];

/// An open connection, which counts until it is dropped.
#[derive(Debug)]
pub struct Connection {
    board: Option<Arc<Board>>,
    state: Cell<State>,
}

impl Connection {
    /// A connection was accepted; without a board nobody counts it.
    pub fn new(board: Option<Arc<Board>>, state: State) -> Self {
        if let Some(board) = &board {
            board.change(ACCEPTED, 1);
            board.change(CONNECTIONS + state as usize, 1);
        }
        Connection {
            board,
            state: Cell::new(state),
        }
    }

    /// What it does from now on.
    pub fn set_state(&self, state: State) {
        let before = self.state.replace(state);
        if let Some(board) = self.board.as_ref().filter(|_| before != state) {
            board.change(CONNECTIONS + before as usize, -1);
            board.change(CONNECTIONS + state as usize, 1);
        }
    }
}

impl Connection {
    /// Something was refused to its client.
    pub fn counts(&self, refusal: Refusal) {
        if let Some(board) = &self.board {
            board.counts(refusal);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(board) = &self.board {
            board.change(CONNECTIONS + self.state.get() as usize, -1);
        }
    }
}

impl Board {
    pub(super) fn no_connections(&self) {
        for (state, _) in STATES {
            self.set(CONNECTIONS + state as usize, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_counts_in_one_state() {
        let (board, _memory) = Board::create(1).unwrap();
        let board = Arc::new(board);
        let count = |state: State| board.get(CONNECTIONS + state as usize);
        for (at, (state, _)) in STATES.into_iter().enumerate() {
            assert_eq!(at, state as usize, "its word is its number");
        }
        let first = Connection::new(Some(Arc::clone(&board)), State::Handshake);
        let second = Connection::new(Some(Arc::clone(&board)), State::Idle);
        first.set_state(State::Idle);
        assert_eq!((count(State::Handshake), count(State::Idle)), (0, 2));
        second.set_state(State::Writing);
        second.set_state(State::Writing);
        assert_eq!((count(State::Idle), count(State::Writing)), (1, 1));
        drop(second);
        assert_eq!(count(State::Writing), 0);
        board.core_begins();
        assert_eq!(count(State::Idle), 0, "a new core has none");
        Connection::new(None, State::Idle).set_state(State::Closing);
    }
}
