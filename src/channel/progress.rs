//! How far a response has come, and what may come next: interim responses, one head, content, the end.
//!
//! Both ends keep it. A worker's end sends nothing that is not allowed, whatever the app does; the core believes no worker, and
//! takes what is not allowed for a broken channel.
//!
//! Credit is counted here as well. A frame of content may be sent while there is any, so that the last one may exceed it by a
//! piece. The core adds credit before it is sent and the worker when it has come, so the core never counts less than the worker.

#![forbid(unsafe_code)]

use super::CREDIT;
use super::frame::PIECE;
use super::violation::Violation;

/// What an interim response takes of the credit beside its length: the core keeps it as a value, not as bytes.
const INTERIM: u64 = 256;

/// What content in a file takes of the credit: a descriptor, until the client has reached it.
pub const FILE_COST: u64 = PIECE as u64;

/// What an interim response of this length takes of the credit.
pub fn interim_cost(length: usize) -> u64 {
    length as u64 + INTERIM
}

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The head has not been sent.
    BeforeHead,
    /// The app has asked for the client's socket, and may end without a head.
    Taken,
    /// The head was sent.
    Content,
}

/// The progress of one response.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    stage: Stage,
    credit: i64,
}

impl Default for Progress {
    fn default() -> Self {
        Progress {
            stage: Stage::BeforeHead,
            credit: CREDIT as i64,
        }
    }
}

impl Progress {
    /// Whether anything that takes credit may be sent now.
    pub(super) fn has_credit(&self) -> bool {
        self.credit > 0
    }

    /// What may be sent; for tests.
    #[cfg(test)]
    pub(crate) fn credit(&self) -> u64 {
        self.credit.max(0).cast_unsigned()
    }

    /// So much more may be sent.
    pub fn add_credit(&mut self, amount: u64) {
        let amount = i64::try_from(amount).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(amount);
    }

    fn spend(&mut self, id: u64, cost: u64) -> Result<(), Violation> {
        if !self.has_credit() {
            return Err(Violation::NoCredit(id));
        }
        let cost = i64::try_from(cost).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_sub(cost);
        Ok(())
    }

    /// An interim response, which costs so much.
    ///
    /// # Errors
    /// After the head, or without credit.
    pub fn interim(&mut self, id: u64, cost: u64) -> Result<(), Violation> {
        match self.stage {
            Stage::BeforeHead | Stage::Taken => self.spend(id, cost),
            Stage::Content => Err(Violation::InterimAfterHead(id)),
        }
    }

    /// Fields that follow the content, at any time; they cost as much as an interim response.
    ///
    /// # Errors
    /// Without credit.
    pub fn trailers(&mut self, id: u64, cost: u64) -> Result<(), Violation> {
        self.spend(id, cost)
    }

    /// The head.
    ///
    /// # Errors
    /// When there was one.
    pub fn head(&mut self, id: u64) -> Result<(), Violation> {
        match self.stage {
            Stage::BeforeHead | Stage::Taken => self.stage = Stage::Content,
            Stage::Content => return Err(Violation::SecondHead(id)),
        }
        Ok(())
    }

    /// A piece of content, in memory or in a file.
    ///
    /// # Errors
    /// Before the head, without content, or without credit.
    pub fn content(&mut self, id: u64, length: u64) -> Result<(), Violation> {
        match self.stage {
            Stage::Content if length == 0 => Err(Violation::EmptyContent(id)),
            Stage::Content => self.spend(id, length),
            Stage::BeforeHead | Stage::Taken => Err(Violation::ContentBeforeHead(id)),
        }
    }

    /// The app asks for the client's socket.
    pub fn take(&mut self) {
        if self.stage == Stage::BeforeHead {
            self.stage = Stage::Taken;
        }
    }

    /// The end of a response that is complete.
    ///
    /// # Errors
    /// Before the head, where the app has not asked for the socket.
    pub fn end(&self, id: u64) -> Result<(), Violation> {
        match self.stage {
            Stage::Taken | Stage::Content => Ok(()),
            Stage::BeforeHead => Err(Violation::EndBeforeHead(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Step = fn(&mut Progress) -> Result<(), Violation>;

    const INTERIM_RESPONSE: Step = |p| p.interim(1, 300);
    const HEAD: Step = |p| p.head(1);
    const CONTENT: Step = |p| p.content(1, 10);
    const TAKE: Step = |p| {
        p.take();
        Ok(())
    };
    const END: Step = |p| p.end(1);

    fn follow(steps: &[Step]) -> Result<(), Violation> {
        let mut progress = Progress::default();
        steps.iter().try_for_each(|step| step(&mut progress))
    }

    #[test]
    fn what_is_out_of_order_is_a_violation() {
        for (steps, result) in [
            (
                &[
                    INTERIM_RESPONSE,
                    INTERIM_RESPONSE,
                    HEAD,
                    CONTENT,
                    CONTENT,
                    END,
                ][..],
                Ok(()),
            ),
            (&[HEAD, END], Ok(())),
            (&[TAKE, END], Ok(())),
            (&[TAKE, INTERIM_RESPONSE, HEAD, CONTENT, END], Ok(())),
            (&[HEAD, CONTENT, TAKE, CONTENT, END], Ok(())),
            (&[HEAD, HEAD], Err(Violation::SecondHead(1))),
            (&[HEAD, TAKE, HEAD], Err(Violation::SecondHead(1))),
            (
                &[HEAD, INTERIM_RESPONSE],
                Err(Violation::InterimAfterHead(1)),
            ),
            (&[CONTENT], Err(Violation::ContentBeforeHead(1))),
            (&[TAKE, CONTENT], Err(Violation::ContentBeforeHead(1))),
            (&[END], Err(Violation::EndBeforeHead(1))),
            (&[INTERIM_RESPONSE, END], Err(Violation::EndBeforeHead(1))),
            (
                &[HEAD, |p| p.content(1, 0)],
                Err(Violation::EmptyContent(1)),
            ),
        ] {
            assert_eq!(follow(steps), result);
        }
    }

    #[test]
    fn nothing_is_sent_beyond_the_credit() {
        let mut progress = Progress::default();
        progress.head(1).unwrap();
        progress.content(1, CREDIT - 1).unwrap();
        progress.content(1, 100).unwrap();
        assert_eq!(progress.content(1, 1), Err(Violation::NoCredit(1)));
        progress.add_credit(99);
        assert_eq!(progress.content(1, 1), Err(Violation::NoCredit(1)));
        progress.add_credit(1);
        progress.content(1, 1).unwrap();
        progress.add_credit(u64::MAX);
        progress.content(1, u64::MAX).unwrap();

        let mut interim = Progress::default();
        let cost = interim_cost(40);
        while interim.has_credit() {
            interim.interim(1, cost).unwrap();
        }
        assert_eq!(interim.interim(1, cost), Err(Violation::NoCredit(1)));
    }
}
