//! Memory that content of responses holds: of one response, of those of its connection, of all.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::iter::successors;
use std::rc::Rc;

/// All responses together may hold this much before each has to do with little.
const OF_ALL: u64 = 16 * 1024 * 1024;

/// The same for those of one connection that carries several requests.
const OF_CONNECTION: u64 = 2 * 1024 * 1024;

/// One response, while there is enough.
pub(super) const OF_RESPONSE: u64 = 1024 * 1024;

/// One response when there is not.
const LITTLE: u64 = 64 * 1024;

/// Bytes that are held, which count as held by a larger whole as well.
#[derive(Debug)]
pub(super) struct Memory {
    held: Cell<u64>,
    /// From here on there is not enough.
    enough: u64,
    within: Option<Rc<Memory>>,
}

impl Memory {
    /// That of all responses.
    pub(super) fn of_all() -> Rc<Self> {
        Rc::new(Memory {
            held: Cell::new(0),
            enough: OF_ALL,
            within: None,
        })
    }

    /// That of the responses of one connection.
    pub(super) fn of_connection(all: &Rc<Self>) -> Rc<Self> {
        Self::part(all, OF_CONNECTION)
    }

    /// That of one response.
    pub(super) fn of_response(whole: &Rc<Self>) -> Rc<Self> {
        Self::part(whole, OF_RESPONSE)
    }

    fn part(whole: &Rc<Self>, enough: u64) -> Rc<Self> {
        Rc::new(Memory {
            held: Cell::new(0),
            enough,
            within: Some(Rc::clone(whole)),
        })
    }

    pub(super) fn held(&self) -> u64 {
        self.held.get()
    }

    /// Whether a response may hold so much more.
    pub(super) fn fits(&self, length: u64) -> bool {
        let has_enough = |whole: &Memory| whole.held.get() < whole.enough;
        let allowed = match self.wholes().skip(1).all(has_enough) {
            true => self.enough,
            false => LITTLE,
        };
        self.held.get() + length <= allowed
    }

    /// This one, and all that it is a part of.
    fn wholes(&self) -> impl Iterator<Item = &Memory> {
        successors(Some(self), |part| part.within.as_deref())
    }
}

/// Memory that something holds, given back when it is gone.
#[derive(Debug)]
pub(super) struct Reservation {
    bytes: u64,
    of: Rc<Memory>,
}

impl Reservation {
    pub(super) fn new(bytes: u64, of: &Rc<Memory>) -> Self {
        let mut reservation = Reservation {
            bytes: 0,
            of: Rc::clone(of),
        };
        reservation.grow(bytes);
        reservation
    }

    pub(super) fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
        for whole in self.of.wholes() {
            whole.held.set(whole.held.get() + bytes);
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        for whole in self.of.wholes() {
            whole.held.set(whole.held.get() - self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Protects: a client with many streams holds hardly more of the core's memory than one with few.
    #[test]
    fn the_responses_of_one_connection() {
        let all = Memory::of_all();
        let connection = Memory::of_connection(&all);
        let mut held = Vec::new();
        for response in 0..100 {
            let memory = Memory::of_response(&connection);
            while memory.fits(LITTLE) {
                held.push(Reservation::new(LITTLE, &memory));
            }
            let most = if response < 2 { OF_RESPONSE } else { LITTLE };
            assert_eq!(memory.held(), most, "response {response}");
        }
        assert_eq!(all.held(), connection.held());
        let other = Memory::of_response(&all);
        assert!(other.fits(OF_RESPONSE), "another client has what it had");
        held.clear();
        assert_eq!((all.held(), connection.held()), (0, 0));
    }

    #[test]
    fn all_responses() {
        let all = Memory::of_all();
        let _held = Reservation::new(OF_ALL, &all);
        let response = Memory::of_response(&all);
        assert!(response.fits(LITTLE) && !response.fits(LITTLE + 1));
    }
}
