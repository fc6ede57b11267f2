//! Which generation of workers serves, and the state of its successor. Knows no process: the master reports events, and
//! acts on the result.

/// The generation that serves, and the reload in progress.
#[derive(Debug)]
pub(super) struct Reload {
    serving: u32,
    state: State,
    /// What the last reload could not read again.
    not_read: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Candidates of the next generation are tried; nothing has changed yet.
    Trying(Asked),
    /// The first of the new generation serve, and the old ones are replaced step by step.
    Replacing(Asked),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    /// The last of those reloads that this one stands for, by its number on the scoreboard.
    number: u64,
    /// One more was asked for meanwhile.
    again: bool,
}

impl Asked {
    fn new(number: u64) -> Self {
        Asked {
            number,
            again: false,
        }
    }
}

/// How a reload has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReloadEnd {
    /// It and all before it were asked for up to this number.
    pub(super) asked: u64,
    /// The next one has begun already.
    pub(super) again: bool,
}

/// What the failure of a new worker means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// No reload is in progress.
    NoReload,
    /// Others of the new generation serve: the failure is that worker's alone.
    OneWorker,
    /// The reload has failed, and the old generation serves on.
    Reload(ReloadEnd),
}

impl Reload {
    /// This generation serves.
    pub(super) fn new(serving: u32) -> Self {
        Reload {
            serving,
            state: State::Idle,
            not_read: None,
        }
    }

    /// In a trial: its only worker is a candidate.
    pub(super) fn of_trial(before: u32) -> Self {
        Reload {
            state: State::Trying(Asked::new(0)),
            ..Reload::new(before)
        }
    }

    /// The generation that serves.
    pub(super) fn serving(&self) -> u32 {
        self.serving
    }

    /// The generation of candidates, while there are to be some.
    pub(super) fn candidates(&self) -> Option<u32> {
        match self.state {
            State::Idle => None,
            State::Trying(_) => Some(self.serving + 1),
            State::Replacing(_) => Some(self.serving),
        }
    }

    /// What the last reload could not read again.
    pub(super) fn not_read(&self) -> Option<&str> {
        self.not_read.as_deref()
    }

    /// A reload is asked for: it begins, or follows the one in progress. `number` is the last that was asked for.
    pub(super) fn ask(&mut self, number: u64, not_read: Option<String>) {
        self.not_read = not_read;
        match &mut self.state {
            State::Idle => self.state = State::Trying(Asked::new(number)),
            State::Trying(asked) | State::Replacing(asked) => asked.again = true,
        }
    }

    /// All candidates that are tried together have passed: they serve.
    pub(super) fn admit(&mut self) {
        if let State::Trying(asked) = self.state {
            self.serving += 1;
            self.state = State::Replacing(asked);
        }
    }

    /// Nothing of the old generation serves any more. Nothing: no reload was in progress.
    pub(super) fn finish(&mut self, number: u64) -> Option<ReloadEnd> {
        match self.state {
            State::Replacing(asked) => Some(self.end(asked, number)),
            State::Idle | State::Trying(_) => None,
        }
    }

    /// A new worker has failed.
    pub(super) fn fail(&mut self, number: u64) -> Failure {
        match self.state {
            State::Idle => Failure::NoReload,
            State::Replacing(_) => Failure::OneWorker,
            State::Trying(asked) => Failure::Reload(self.end(asked, number)),
        }
    }

    /// The reload is given up, and those that were to follow it. Returns up to which number they were asked for.
    pub(super) fn cancel(&mut self, number: u64) -> Option<u64> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => None,
            State::Trying(asked) | State::Replacing(asked) => Some(match asked.again {
                true => number,
                false => asked.number,
            }),
        }
    }

    /// `number` is the last that was asked for.
    fn end(&mut self, asked: Asked, number: u64) -> ReloadEnd {
        self.state = match asked.again {
            true => State::Trying(Asked::new(number)),
            false => State::Idle,
        };
        ReloadEnd {
            asked: asked.number,
            again: asked.again,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Ask,
        Admit,
        Finish,
        Fail,
        Cancel,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        use Event::{Admit, Ask, Cancel, Fail, Finish};
        let event = prop_oneof![
            3 => Just(Ask), 3 => Just(Admit), 3 => Just(Finish), 2 => Just(Fail), 1 => Just(Cancel)
        ];
        proptest::collection::vec(event, 0..60)
    }

    proptest! {
        /// Protects: each caller that asks for a reload is answered, once, whatever happens in which order; and the generation grows
        /// by one with each that succeeds.
        #[test]
        fn every_reload_is_answered(events in events()) {
            let (mut reload, mut last, mut answered, mut done) = (Reload::new(1), 0, 0, 0);
            for event in events {
                let before = reload.serving();
                let answer = match event {
                    Event::Ask => {
                        last += 1;
                        reload.ask(last, None);
                        None
                    }
                    Event::Admit => {
                        reload.admit();
                        None
                    }
                    Event::Finish => reload.finish(last).map(|ended| {
                        done += 1;
                        ended.asked
                    }),
                    Event::Fail => match reload.fail(last) {
                        Failure::Reload(ended) => Some(ended.asked),
                        Failure::NoReload | Failure::OneWorker => None,
                    },
                    Event::Cancel => reload.cancel(last),
                };
                if let Some(number) = answer {
                    prop_assert!(number > answered && number <= last, "answered twice, or too early");
                    answered = number;
                }
                prop_assert_eq!(reload.candidates().is_none(), answered == last, "somebody waits for nothing");
                prop_assert!(reload.serving() == before || reload.serving() == before + 1);
            }
            prop_assert!(reload.serving() > done, "a reload that succeeded is a generation");
        }
    }

    #[test]
    fn a_reload_that_follows_another_begins_when_that_ends() {
        let mut reload = Reload::new(1);
        reload.ask(1, None);
        reload.ask(2, Some("a key".to_owned()));
        assert_eq!(reload.candidates(), Some(2));
        reload.admit();
        assert_eq!((reload.serving(), reload.candidates()), (2, Some(2)));
        assert_eq!(reload.fail(2), Failure::OneWorker);
        let first = ReloadEnd {
            asked: 1,
            again: true,
        };
        assert_eq!(reload.finish(2), Some(first));
        assert_eq!(reload.candidates(), Some(3));
        let second = ReloadEnd {
            asked: 2,
            again: false,
        };
        assert_eq!(reload.fail(2), Failure::Reload(second));
        assert_eq!((reload.serving(), reload.candidates()), (2, None));
        assert_eq!(reload.not_read(), Some("a key"));
        assert_eq!(reload.fail(2), Failure::NoReload);
    }
}
