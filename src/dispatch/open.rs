//! Responses that a worker has not ended, as the core knows them.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::in_flight::InFlight;
use crate::channel::claim::Claim;
use crate::channel::core_end::CoreEnd;
use crate::channel::progress::Progress;
use crate::channel::violation::Violation;

/// A response that is not complete.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) id: u64,
    pub(super) state: Rc<InFlight>,
    /// How far it has come, once its worker has begun it.
    progress: Cell<Option<Progress>>,
}

impl Response {
    pub(super) fn new(id: u64, state: &Rc<InFlight>) -> Self {
        Response {
            id,
            state: Rc::clone(state),
            progress: Cell::new(None),
        }
    }

    /// Its worker has sent another part: `step` judges whether it may come now. The first one shows whether the worker has claimed
    /// the request.
    pub(super) fn advance(
        &self,
        end: &CoreEnd,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let mut progress = match self.progress.get() {
            Some(progress) => progress,
            None => match end.claim(self.id) {
                Claim::Claimed => Progress::default(),
                Claim::Offered => return Err(Violation::NotClaimed(self.id)),
                Claim::Overwritten => return Err(Violation::ClaimOverwritten(self.id)),
            },
        };
        step(&mut progress)?;
        self.progress.set(Some(progress));
        Ok(())
    }

    /// Its worker may send so much more.
    pub(super) fn add_credit(&self, amount: u64) {
        if let Some(mut progress) = self.progress.get() {
            progress.add_credit(amount);
            self.progress.set(Some(progress));
        }
    }

    /// Whether its worker has sent anything of it. That is remembered here, whatever the claim word says by now.
    pub(super) fn is_begun(&self) -> bool {
        self.progress.get().is_some()
    }
}

/// Responses that are not complete, by the ids of their requests. Ids grow: the oldest is in front, and most often the one
/// that is sought.
#[derive(Debug, Default)]
pub(super) struct Open(VecDeque<Response>);

impl Open {
    fn at(&self, id: u64) -> Option<usize> {
        match self.0.front() {
            Some(first) if first.id == id => Some(0),
            _ => self.0.binary_search_by_key(&id, |open| open.id).ok(),
        }
    }

    pub(super) fn get(&self, id: u64) -> Option<&Response> {
        self.at(id).map(|at| &self.0[at])
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Response> {
        self.0.remove(self.at(id)?)
    }

    /// Its worker has ended the response with this id: `step` judges whether it may.
    ///
    /// # Errors
    /// As [`Response::advance`], and when there is no such response or its claim word was overwritten.
    pub(super) fn close(
        &mut self,
        id: u64,
        end: &CoreEnd,
        step: impl FnOnce(&mut Progress) -> Result<(), Violation>,
    ) -> Result<Response, Violation> {
        let at = self.at(id).ok_or(Violation::NotOpen(id))?;
        self.0[at].advance(end, step)?;
        end.free(id)?;
        self.0.remove(at).ok_or(Violation::NotOpen(id))
    }

    pub(super) fn push(&mut self, response: Response) {
        self.0.push_back(response);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Response> {
        self.0.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids of their requests.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|open| open.id)
    }

    /// All of them.
    pub(super) fn take(&mut self) -> VecDeque<Response> {
        std::mem::take(&mut self.0)
    }
}
