//! The access log of a core: records in, lines out.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;

use super::destination::Destination;
use super::format::Format;
use super::line::Writer;
use super::record::Record;
use super::sink::{Sink, Whose};
use super::target::Target;
use super::time::Zone;

/// What an access log is made of, before the core's event loop runs.
#[derive(Debug)]
pub struct Plan {
    /// Where it goes.
    pub destination: Destination,
    /// The same, open.
    pub descriptor: OwnedFd,
    /// What its lines show.
    pub format: Format,
    /// By which clocks.
    pub zone: Zone,
    /// SERVER_NAME and SERVER_PORT of each listener.
    pub names: Vec<(String, String)>,
}

/// An access log.
#[derive(Debug)]
pub struct AccessLog {
    destination: Destination,
    zone: Zone,
    writer: RefCell<Writer>,
    sink: Sink,
    /// Whether records shall hold the response's head.
    pub wants_response: bool,
    /// Whether records shall tell what the worker did.
    pub wants_call: bool,
}

impl AccessLog {
    /// The log of this plan; to be written to within the event loop.
    ///
    /// # Errors
    /// When the descriptor is of no use.
    pub fn new(plan: Plan) -> io::Result<Self> {
        let target = Target::new(&plan.destination, plan.descriptor, plan.zone.clone())?;
        Ok(AccessLog {
            destination: plan.destination,
            wants_response: plan.format.wants_response(),
            wants_call: plan.format.wants_call(),
            writer: RefCell::new(Writer::new(plan.format, plan.zone.clone(), plan.names)),
            zone: plan.zone,
            sink: Sink::new(target, Whose::AccessLog)?,
        })
    }

    /// Writes a record's line, soon.
    pub fn write(&self, record: &Record<'_>) {
        self.sink
            .put(|out| self.writer.borrow_mut().put(out, record));
    }

    /// Continues in the same destination, opened again.
    pub fn reopen(&self, descriptor: OwnedFd) {
        match Target::new(&self.destination, descriptor, self.zone.clone()) {
            Ok(target) => self.sink.reopen(target),
            Err(error) => ::log::error!("the access log can't be reopened: {error}"),
        }
    }

    /// Waits until all lines are written, though not for ever.
    pub async fn finish(&self) {
        self.sink.finish().await;
    }
}
