//! Requests that come by one connection at the same time.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

/// The requests of one connection.
#[derive(Clone, Debug, Default)]
pub struct Flow(Rc<Cell<usize>>);

impl Flow {
    /// Its calls: requests that a worker has or that wait for one. A request counts until its call is over, also when its client
    /// has gone.
    pub fn calls(&self) -> usize {
        self.0.get()
    }
}

/// Whose turn it is at the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// A client with an address of its own.
    Address(IpAddr),
    /// A connection that carries several requests, from this machine; by the address of its count, which lives as long as they do.
    Flow(usize),
    /// All else that comes from this machine.
    Local,
}

impl Client {
    pub(super) fn new(address: Option<IpAddr>, flow: Option<&InFlow>) -> Self {
        match (address, flow) {
            (Some(address), _) => Client::Address(address),
            (None, Some(InFlow(Flow(calls)))) => Client::Flow(Rc::as_ptr(calls) as usize),
            (None, None) => Client::Local,
        }
    }
}

/// A request's place in its flow.
#[derive(Debug)]
pub(super) struct InFlow(Flow);

impl InFlow {
    pub(super) fn new(flow: &Flow) -> Self {
        flow.0.set(flow.0.get() + 1);
        InFlow(flow.clone())
    }
}

impl Drop for InFlow {
    fn drop(&mut self) {
        let Flow(calls) = &self.0;
        calls.set(calls.get() - 1);
    }
}
