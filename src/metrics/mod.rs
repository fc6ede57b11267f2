//! What the core counts about requests for `metrics_path`, and its text for a collector.
//!
//! Only the core's thread counts, so plain numbers do. They live as long as the core: reloads and the replacement of workers
//! never set them back. What other processes count is in the scoreboard.

#![forbid(unsafe_code)]

mod exposition;
mod families;
mod histogram;
mod process;

use std::cell::RefCell;
use std::collections::BTreeMap;

use self::histogram::Histogram;
use crate::log::record::{Ending, Record};
use crate::semantics::message::Version;

pub use self::exposition::Format;
pub use self::families::text;
pub use self::process::Process;

/// Methods that have a label of their own (RFC 9110 section 9.3, RFC 5789): clients choose methods, and each label is memory.
const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];

/// The counters of each virtual host, by its name. The empty one is that of requests which have none.
#[derive(Debug, Default)]
pub struct Metrics(RefCell<BTreeMap<Box<[u8]>, Counters>>);

#[derive(Clone, Debug, Default)]
struct Counters {
    requests: BTreeMap<Labels, u64>,
    aborted: u64,
    received: u64,
    sent: u64,
    duration: Histogram,
    queue: Histogram,
    app: Histogram,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    /// The place in [`METHODS`]; none for other methods, and for what could not be understood.
    method: Option<u8>,
    version: Option<Version>,
    status: Option<u16>,
}

impl Metrics {
    /// A request is over.
    pub fn count(&self, record: &Record<'_>) {
        let mut hosts = self.0.borrow_mut();
        let name = record.host.unwrap_or_default();
        if !hosts.contains_key(name) {
            hosts.insert(name.into(), Counters::default());
        }
        let Some(counters) = hosts.get_mut(name) else {
            return;
        };
        let method = record.head.map(|head| head.method());
        let labels = Labels {
            method: method.and_then(|method| {
                let known = METHODS.iter().position(|name| name.as_bytes() == method);
                known.map(|place| place as u8)
            }),
            version: record.head.map(|head| head.version),
            status: record.status,
        };
        *counters.requests.entry(labels).or_default() += 1;
        counters.aborted += u64::from(record.ending == Ending::Aborted);
        counters.received += record.received;
        counters.sent += record.sent;
        counters.duration.observe(record.duration);
        if let Some(call) = record.call {
            counters.queue.observe(call.queued);
            if let Some(called) = call.called {
                counters.app.observe(called);
            }
        }
    }
}
