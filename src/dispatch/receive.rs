//! What workers say: one task for each worker reads its channel.

use std::rc::Rc;

use tokio::task::{spawn_local, yield_now};

use super::Dispatch;
use super::report::Report;
use crate::channel::core_end::CoreEnd;
use crate::channel::message::Message;

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
        let mut loaded = false;
        // Bytes of content since the clients were last given a turn.
        let mut content = 0;
        loop {
            if content >= TURN {
                content = 0;
                yield_now().await;
            }
            match end.next().await {
                Ok(Some(message)) => {
                    if let Message::Chunk(_, piece) = &message {
                        content += piece.bytes().len();
                    }
                    if !loaded && matches!(message, Message::Idle) {
                        loaded = true;
                        self.report(Report::Serving(number));
                    }
                    self.message(number, message);
                }
                // The master tells of its death, which it knows from waitpid.
                Ok(None) => break,
                Err(error) => {
                    ::log::error!("worker {number}: {error}");
                    end.close();
                    break;
                }
            }
        }
    }
}
