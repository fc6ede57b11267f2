//! The streams of one connection, and what they share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::dispatch::{Exchange, Flow};
use crate::http::context::{ConnectionInfo, Context};
use crate::scoreboard::connections::{Connection as Shown, State};

/// What the streams of a connection share.
pub(super) struct Shared {
    pub(super) context: Rc<Context>,
    pub(super) info: ConnectionInfo,
    /// What the connection does, for the status.
    pub(super) shown: Shown,
    /// The calls of its streams.
    flow: Flow,
    /// Streams that are being served.
    streams: Cell<usize>,
    /// Streams that there were.
    served: Cell<u32>,
    /// The last stream has ended.
    idle: Notify,
    /// Since when there is none.
    idle_since: Cell<Instant>,
    /// Responses that are complete and whose app runs on: it learns when the connection ends.
    running_on: RefCell<Vec<Exchange>>,
}

impl Shared {
    pub(super) fn new(context: Rc<Context>, mut info: ConnectionInfo, shown: Shown) -> Rc<Self> {
        let flow = context.dispatch.flow();
        info.flow = Some(flow.clone());
        Rc::new(Shared {
            context,
            info,
            shown,
            flow,
            streams: Cell::new(0),
            served: Cell::new(0),
            idle: Notify::new(),
            idle_since: Cell::new(Instant::now()),
            running_on: RefCell::default(),
        })
    }

    /// Whether as many calls are being served as the connection may have.
    ///
    /// A worker does not stop when a client resets its stream: so a stream counts until its call is over.
    pub(super) fn is_full(&self) -> bool {
        self.flow.calls() >= self.context.settings.max_streams as usize
    }

    /// The number of the stream that has just begun, from 1.
    pub(super) fn number(&self) -> u32 {
        self.served.get()
    }

    /// Keeps an exchange until its app has ended.
    pub(super) fn keep(&self, exchange: Exchange) {
        let mut kept = self.running_on.borrow_mut();
        kept.retain(Exchange::is_running_on);
        kept.push(exchange);
    }

    /// Waits until the connection has had no stream for as long as it may. The streams in between cost no timer.
    pub(super) async fn unused(&self) {
        let settings = &self.context.settings;
        loop {
            while self.streams.get() > 0 {
                self.idle.notified().await;
            }
            let limit = match self.served.get() {
                // No limit for the first request.
                0 if settings.header_timeout.is_zero() => {
                    self.idle.notified().await;
                    continue;
                }
                0 => settings.header_timeout,
                _ => settings.keepalive_timeout,
            };
            let left = limit.saturating_sub(self.idle_since.get().elapsed());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    /// Waits until no stream has been served for so long.
    pub(super) async fn unused_for(&self, time: Duration) {
        loop {
            while self.streams.get() > 0 {
                self.idle.notified().await;
            }
            let served = self.served.get();
            sleep(time).await;
            if self.streams.get() == 0 && self.served.get() == served {
                return;
            }
        }
    }
}

/// A stream that is being served.
pub(super) struct Served(pub(super) Rc<Shared>);

impl Served {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        shared.served.set(shared.served.get() + 1);
        Served(Rc::clone(shared))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let left = self.0.streams.get() - 1;
        self.0.streams.set(left);
        if left == 0 {
            self.0.shown.set_state(State::Idle);
            self.0.idle_since.set(Instant::now());
            self.0.idle.notify_one();
        }
    }
}
