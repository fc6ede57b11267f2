//! What a worker knows of the responses that it has not ended.

#![forbid(unsafe_code)]

use super::progress::Progress;
use super::respond::Lost;
use crate::log::limited;

/// They are few, but for writers that the app keeps.
#[derive(Debug, Default)]
pub(super) struct OpenResponses(Vec<Open>);

impl OpenResponses {
    pub(super) fn add(&mut self, id: u64) {
        self.0.push(Open::new(id));
    }

    pub(super) fn get(&self, id: u64) -> Result<&Open, Lost> {
        let open = self.0.iter().find(|open| open.id == id);
        open.ok_or(Lost::Finished)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Result<&mut Open, Lost> {
        let open = self.0.iter_mut().find(|open| open.id == id);
        open.ok_or(Lost::Finished)
    }

    pub(super) fn remove(&mut self, id: u64) {
        if let Some(at) = self.0.iter().position(|open| open.id == id) {
            self.0.remove(at);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A response that has begun or may begin.
#[derive(Debug)]
pub(super) struct Open {
    id: u64,
    /// What may be sent now.
    pub(super) progress: Progress,
    room: Room,
}

/// How much content a response may still have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    /// Its head has announced no length.
    Unlimited,
    /// So many bytes of its Content-Length.
    Left(u64),
    /// None, and the app has given more, which was logged.
    Exceeded,
}

impl Open {
    fn new(id: u64) -> Self {
        Open {
            id,
            progress: Progress::default(),
            room: Room::Unlimited,
        }
    }

    /// The head was sent, and announces content of this length.
    pub(super) fn announce(&mut self, length: Option<u64>) {
        self.room = length.map_or(Room::Unlimited, Room::Left);
    }

    /// How many bytes of a piece of content there is room for.
    pub(super) fn fits(&self, length: u64) -> u64 {
        match self.room {
            Room::Unlimited => length,
            Room::Left(left) => length.min(left),
            Room::Exceeded => 0,
        }
    }

    /// So much content is sent, which takes this of the credit.
    pub(super) fn send(&mut self, length: u64, cost: u64) -> Result<(), Lost> {
        let allowed = self.progress.content(self.id, cost);
        allowed.map_err(|_| Lost::Finished)?;
        if let Room::Left(left) = &mut self.room {
            *left -= length.min(*left);
        }
        Ok(())
    }

    /// Whether its Content-Length is reached.
    pub(super) fn is_complete(&self) -> bool {
        self.fits(1) == 0
    }

    /// The app has given content for which there is no room: told once.
    pub(super) fn exceed(&mut self) -> Lost {
        if self.room != Room::Exceeded {
            self.room = Room::Exceeded;
            limited!(
                Error,
                "a response is longer than its Content-Length: the rest is not sent"
            );
        }
        Lost::Complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_held_to_the_length_that_was_announced() {
        let mut open = Open::new(1);
        assert_eq!(open.fits(1000), 1000);
        open.announce(Some(10));
        open.progress.head(1).unwrap();
        open.send(4, 4).unwrap();
        assert_eq!(
            (open.fits(5), open.fits(7), open.is_complete()),
            (5, 6, false)
        );
        open.send(6, 6).unwrap();
        assert_eq!((open.fits(1), open.is_complete()), (0, true));
        assert_eq!(open.exceed(), Lost::Complete);
        assert_eq!((open.fits(1), open.is_complete()), (0, true));
    }
}
