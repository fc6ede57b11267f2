//! Clients: each waits for one response, takes it at its own pace, and may leave.

use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use super::World;
use super::random::{beginning, content};
use crate::dispatch::{Event, Exchange};
use crate::semantics::message::{RequestTimeout, VirtualHost};

/// A client that waits for a response.
pub(super) struct Client {
    pub(super) token: u64,
    pub(super) exchange: Exchange,
    pub(super) pinned: bool,
    head: bool,
    received: usize,
}

impl Client {
    pub(super) fn new(token: u64, exchange: Exchange, pinned: bool) -> Self {
        Client {
            token,
            exchange,
            pinned,
            head: false,
            received: 0,
        }
    }
}

impl World {
    /// Some clients send a request each.
    pub(super) fn send(&mut self) {
        for _ in 0..=self.random.below(4) {
            let token = self.token();
            let mut request = super::request(token, self.request_content(token));
            request.source = super::endpoints(self.random.below(3) as u8).into();
            // Hosts have less time, or more, than the server gives.
            request.vhost = self.random.one_in(3).then(|| {
                let limit = Duration::from_millis(500 + self.random.below(10_000) as u64);
                Rc::new(VirtualHost {
                    request_timeout: RequestTimeout::After(limit),
                    ..VirtualHost::default()
                })
            });
            let exchange = self.dispatch.submit(request, None);
            self.clients.push(Client::new(token, exchange, false));
        }
    }

    /// A client leaves.
    pub(super) fn leave(&mut self) {
        if !self.clients.is_empty() {
            let at = self.random.below(self.clients.len());
            self.clients.swap_remove(at);
        }
    }

    /// A client takes some of what has come for it.
    pub(super) fn receive(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.random.below(self.clients.len());
        if self.random.one_in(10) {
            self.clients[at].exchange.on_write_blocked(Waker::noop());
        }
        for _ in 0..=self.random.below(8) {
            let Some(event) = self.clients[at].exchange.try_next() else {
                return;
            };
            if self.is_over(at, event) {
                let client = self.clients.swap_remove(at);
                assert!(client.exchange.try_next().is_none(), "more than one end");
                return;
            }
        }
    }

    /// Looks at the next part of a response: whether it was the last one. What a mad worker has sent may be anything but out of
    /// order.
    fn is_over(&mut self, at: usize, event: Event) -> bool {
        let client = &mut self.clients[at];
        let token = client.token;
        let fate = &self.fates[token as usize];
        match event {
            Event::Head(..) => {
                assert!(!client.head, "a second head");
                client.head = true;
            }
            Event::Informational(_) => assert!(!client.head, "an interim response after the head"),
            Event::Trailers(_) => {}
            Event::Chunk(piece) => {
                assert!(client.head, "content before the head");
                if !fate.mad {
                    let right = &content(token)[client.received..];
                    assert!(
                        right.starts_with(&piece.chunk.to_bytes()),
                        "another response's bytes"
                    );
                }
                client.received += piece.len();
            }
            Event::File(slice) => {
                assert!(client.head, "content before the head");
                if !fate.mad {
                    assert!(
                        self.files.is_of(token, &slice.file),
                        "another response's file"
                    );
                    let right = (beginning(token) + client.received) as u64;
                    assert_eq!(slice.offset, right, "another part of the file");
                }
                client.received = client.received.saturating_add(slice.length as usize);
            }
            Event::Take => {
                assert!(fate.mad, "what no other worker has sent");
                client.exchange.hand_over(None);
            }
            Event::WriterKept => {}
            Event::End => {
                if !fate.mad {
                    assert!(client.head, "an end without a head");
                    assert_eq!(
                        fate.length,
                        Some(client.received),
                        "the response is not whole"
                    );
                }
                return true;
            }
            Event::Failed => {
                let suspect = client.exchange.state.is_suspect.get();
                let reason = fate.failed || fate.mad || client.pinned || suspect;
                assert!(reason, "a response has failed without a reason");
                return true;
            }
            Event::TimedOut => return true,
            Event::Overloaded => {
                assert_eq!(fate.runs, 0, "a 503 for what was run");
                return true;
            }
        }
        false
    }
}
