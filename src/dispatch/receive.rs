//! What workers say: one task for each worker reads its channel.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{spawn_local, yield_now};

use super::Dispatch;
use super::report::Report;
use super::worker::Stage;
use crate::channel::core_end::CoreEnd;
use crate::channel::message::Message;
use crate::channel::violation::{ChannelError, Violation};

/// A worker that closes its end exits, and the master tells of its death soon. One that goes on for longer is given up.
const CLOSED: Duration = Duration::from_millis(500);

/// Messages that are taken of one worker in a row: others have their turn then.
const MESSAGES: usize = 1024;

/// Each time that a worker has brought so much content, it is offered to the clients before more is taken: it is still in the
/// processor's cache then, and they get it sooner.
const TURN: usize = 256 * 1024;

impl Dispatch {
    /// Takes on a worker that was started as process `pid`, and reads its channel until that ends.
    pub fn start_worker(self: &Rc<Self>, number: u32, pid: i32, end: CoreEnd, candidate: bool) {
        let end = Rc::new(end);
        self.add_worker(number, pid, Rc::clone(&end), candidate);
        spawn_local(Rc::clone(self).receive(number, end));
    }

    async fn receive(self: Rc<Self>, number: u32, end: Rc<CoreEnd>) {
        match self.read(number, &end).await {
            // The master tells of its death, which it knows from waitpid.
            Ok(()) => {
                tokio::time::sleep(CLOSED).await;
                self.look_at_closed(number);
            }
            Err(error) => self.worker_broken(number, error.into()),
        }
    }

    /// Takes what a worker says until it has closed its end, or was given up.
    async fn read(self: &Rc<Self>, number: u32, end: &CoreEnd) -> Result<(), ChannelError> {
        let mut loaded = false;
        // Bytes of content and messages since the clients were last given a turn.
        let (mut content, mut messages) = (0, 0);
        loop {
            if content >= TURN || messages >= MESSAGES {
                (content, messages) = (0, 0);
                yield_now().await;
            }
            // Most messages come together with others: only the first one is waited for.
            let message = match end.try_next()? {
                Some(message) => message,
                None => match end.next().await? {
                    Some(message) => message,
                    None => return Ok(()),
                },
            };
            messages += 1;
            if let Message::Chunk(_, piece) = &message {
                content += piece.len();
            }
            if !loaded && matches!(message, Message::Idle) {
                loaded = true;
                self.report(Report::Serving(number));
            }
            if end.is_closed() {
                return Ok(());
            }
            self.message(number, message)?;
        }
    }

    /// A worker has closed its end some time ago, and has not died: what it holds has failed. One that leaves may take its time
    /// with its END blocks, and one that loads its app with a report of why it can't.
    fn look_at_closed(self: &Rc<Self>, number: u32) {
        let goes_on = {
            let workers = self.workers.borrow();
            workers
                .get(number)
                .is_some_and(|worker| match worker.stage {
                    Stage::Loading | Stage::Leaving => worker.first().is_some(),
                    Stage::Hung | Stage::Broken(_) => false,
                    Stage::Candidate { .. } | Stage::Serving => true,
                })
        };
        if goes_on {
            self.worker_broken(number, Violation::Closed);
        }
    }
}
