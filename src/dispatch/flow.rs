//! Requests that come by one connection at the same time.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use super::memory::Memory;

/// The requests of one connection.
#[derive(Clone, Debug)]
pub struct Flow {
    calls: Rc<Cell<usize>>,
    /// Memory that their responses hold.
    memory: Rc<Memory>,
}

impl Flow {
    /// A flow whose responses hold memory of `all`.
    pub(super) fn new(all: &Rc<Memory>) -> Self {
        Flow {
            calls: Rc::default(),
            memory: Memory::of_connection(all),
        }
    }

    pub(super) fn memory(&self) -> &Rc<Memory> {
        &self.memory
    }

    /// Its calls: requests that a worker has or that wait for one. A request counts until its call is over, also when its client
    /// has gone.
    pub fn calls(&self) -> usize {
        self.calls.get()
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
            (None, Some(InFlow(flow))) => Client::Flow(Rc::as_ptr(&flow.calls) as usize),
            (None, None) => Client::Local,
        }
    }
}

/// A request's place in its flow.
#[derive(Debug)]
pub(super) struct InFlow(Flow);

impl InFlow {
    pub(super) fn new(flow: &Flow) -> Self {
        flow.calls.set(flow.calls.get() + 1);
        InFlow(flow.clone())
    }
}

impl Drop for InFlow {
    fn drop(&mut self) {
        let calls = &self.0.calls;
        calls.set(calls.get() - 1);
    }
}
