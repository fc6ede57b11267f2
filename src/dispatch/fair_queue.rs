//! Calls that wait for a worker. Clients take turns (round robin), so that one with many requests delays another by one of them.
//!
//! A client is an address ([`Endpoints::client`](crate::semantics::message::Endpoints::client)). What comes from this machine counts
//! as one, but for connections that carry several requests at once, each of which is a client of its own. Calls of one client are served in the order in which they came.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Instant;

use super::call::Call;
use super::event::Event;
use super::flow::Client;
use super::in_flight::{InFlight, Place};

/// Entries of [`FairQueue::arrivals`] that are kept although they are stale, in addition to one for each call.
const STALE: usize = 64;

/// Calls that no worker has.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    /// Calls that go before all others: those that were taken back, or one that came while nothing waited.
    first: VecDeque<Call>,
    /// The lines of the other calls. A client whose last call was taken stays until its next turn.
    clients: HashMap<Client, Rc<Line>>,
    /// The values of `clients`, the next one first.
    turns: VecDeque<Rc<Line>>,
    /// The line that was pushed to last, one of `clients`: to find it costs a hash, and the next call is often of the same
    /// client.
    last: Option<Rc<Line>>,
    len: usize,
    /// Requests by the time at which they were submitted. Those that wait no more are removed later.
    arrivals: VecDeque<(Instant, Weak<InFlight>)>,
}

/// The calls of one client, in the order in which they came.
#[derive(Debug)]
struct Line {
    client: Client,
    calls: RefCell<VecDeque<Call>>,
}

impl FairQueue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn push(&mut self, call: Call) {
        self.note(&call);
        self.len += 1;
        if self.len == 1 {
            // The usual case costs no look at the clients.
            return self.first.push_back(call);
        }
        self.line(call.client()).calls.borrow_mut().push_back(call);
    }

    /// The line of this client, a new one where it has none.
    fn line(&mut self, client: Client) -> &Line {
        let line = match self.last.take_if(|line| line.client == client) {
            Some(line) => line,
            None => Rc::clone(self.clients.entry(client).or_insert_with(|| {
                let line = Rc::new(Line {
                    client,
                    calls: RefCell::default(),
                });
                self.turns.push_back(Rc::clone(&line));
                line
            })),
        };
        self.last.insert(line)
    }

    /// Puts a call back before all others.
    pub(super) fn push_front(&mut self, call: Call) {
        self.note(&call);
        self.len += 1;
        self.first.push_front(call);
    }

    /// The call that is next.
    pub(super) fn peek(&mut self) -> Option<&Call> {
        if self.first.is_empty() {
            let call = self.take_turn()?;
            self.first.push_back(call);
        }
        self.first.front()
    }

    pub(super) fn pop(&mut self) -> Option<Call> {
        let call = self.first.pop_front().or_else(|| self.take_turn())?;
        self.len -= 1;
        if self.len == 0 {
            self.arrivals.clear();
        }
        Some(call)
    }

    pub(super) fn remove(&mut self, call: &Call) {
        let before = self.first.len();
        self.first.retain(|queued| !queued.is(call));
        self.len -= before - self.first.len();
        if let Some(line) = self.clients.get(&call.client()) {
            let mut calls = line.calls.borrow_mut();
            let before = calls.len();
            calls.retain(|queued| !queued.is(call));
            self.len -= before - calls.len();
        }
    }

    /// The request that has waited longest.
    pub(super) fn oldest_request(&mut self) -> Option<Rc<InFlight>> {
        while let Some((_, state)) = self.arrivals.front() {
            match state.upgrade() {
                Some(state) if state.place.get() == Place::Queued => return Some(state),
                _ => self.arrivals.pop_front(),
            };
        }
        None
    }

    /// Takes the requests out that were submitted at that time or before.
    pub(super) fn take_submitted_before(&mut self, time: Instant) -> Vec<Rc<InFlight>> {
        let mut late = Vec::new();
        while let Some(state) = self.oldest_request()
            && state.submitted <= time
        {
            self.arrivals.pop_front();
            self.remove(&Call::Request(Rc::clone(&state)));
            late.push(state);
        }
        late
    }

    pub(super) fn fail_all(self) {
        let lines = self.turns.into_iter();
        let others = lines.flat_map(|line| line.calls.take());
        for call in self.first.into_iter().chain(others) {
            call.fail(Event::Failed);
        }
    }

    /// The first call of the client whose turn it is.
    fn take_turn(&mut self) -> Option<Call> {
        while let Some(line) = self.turns.pop_front() {
            let call = line.calls.borrow_mut().pop_front();
            if call.is_some() {
                self.turns.push_back(line);
                return call;
            }
            self.clients.remove(&line.client);
            self.last.take_if(|last| Rc::ptr_eq(last, &line));
        }
        None
    }

    /// This call waits from now on.
    fn note(&mut self, call: &Call) {
        let Call::Request(state) = call else {
            return;
        };
        if self.arrivals.len() > 2 * self.len + STALE {
            self.arrivals.retain(|(_, state)| {
                let state = state.upgrade();
                state.is_some_and(|state| state.place.get() == Place::Queued)
            });
        }
        let time = state.submitted;
        let mut at = self.arrivals.len();
        // One that is put back may be older than others, and may have its entry still.
        while let Some((before, other)) = at.checked_sub(1).and_then(|it| self.arrivals.get(it))
            && *before >= time
        {
            if other.as_ptr() == Rc::as_ptr(state) {
                return;
            }
            at -= 1;
        }
        self.arrivals.insert(at, (time, Rc::downgrade(state)));
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;
    use crate::dispatch::backlog::Backlog;
    use crate::dispatch::memory::Memory;
    use crate::dispatch::simulation::{endpoints, request};
    use crate::semantics::message::Content;
    use crate::spool::{Room, Settings};

    /// A request of the client with this number; of a proxy on this machine: 0.
    fn of(client: u8) -> Call {
        let mut request = request(0, Content::Empty);
        request.source = endpoints(client).into();
        let room = Rc::new(Room::new(Settings {
            folder: None,
            limit: None,
        }));
        let backlog = Backlog::new(&Memory::of_all(), &room, request.source.client());
        Call::Request(Rc::new(InFlight::new(
            request,
            None,
            backlog,
            None,
            VecDeque::new(),
        )))
    }

    fn request_of(call: &Call) -> &Rc<InFlight> {
        match call {
            Call::Request(state) => state,
            Call::Verify(_) => panic!("a question"),
        }
    }

    /// Who is served, in this order, until nobody waits.
    fn order(queue: &mut FairQueue) -> Vec<u8> {
        let mut order = Vec::new();
        while let Some(next) = queue.peek().cloned() {
            let call = queue.pop().unwrap();
            assert!(call.is(&next));
            let client = call.client();
            order.push(match client {
                Client::Address(IpAddr::V4(address)) => address.octets()[3],
                Client::Local => 0,
                other => panic!("{other:?}"),
            });
        }
        assert_eq!(queue.len(), 0);
        order
    }

    fn queue(clients: &[u8]) -> FairQueue {
        let mut queue = FairQueue::default();
        for &client in clients {
            queue.push(of(client));
        }
        assert_eq!(queue.len(), clients.len());
        queue
    }

    #[test]
    fn clients_take_turns() {
        let mut one = queue(&[1, 1, 1, 1, 1, 2, 0, 0, 2]);
        assert_eq!(order(&mut one), [1, 1, 2, 0, 1, 2, 0, 1, 1]);
        assert!(one.clients.is_empty() && one.turns.is_empty());
        // One more after many were served: nobody waits for a crowd that came first.
        let mut many = queue(&[1; 1000]);
        for _ in 0..100 {
            many.pop();
        }
        many.push(of(2));
        many.pop();
        assert_eq!(many.pop().unwrap().client(), of(2).client());
    }

    #[test]
    fn what_was_taken_back_goes_first() {
        let mut queue = queue(&[1, 1, 2, 2]);
        let back = [queue.pop().unwrap(), queue.pop().unwrap()];
        for call in back.into_iter().rev() {
            queue.push_front(call);
        }
        assert_eq!(order(&mut queue), [1, 1, 2, 2]);
    }

    #[test]
    fn a_call_that_was_withdrawn_is_not_served() {
        let mut queue = queue(&[1, 1]);
        let withdrawn = [of(1), of(2)];
        withdrawn.iter().for_each(|call| queue.push(call.clone()));
        queue.push(of(2));
        withdrawn.iter().for_each(|call| queue.remove(call));
        withdrawn.iter().for_each(|call| queue.remove(call));
        assert_eq!(queue.len(), 3);
        assert_eq!(order(&mut queue), [1, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_is_known_whose_turn_it_may_be() {
        let mut queue = FairQueue::default();
        let mut calls = Vec::new();
        for client in [1, 1, 1, 2, 3] {
            calls.push(of(client));
            queue.push(calls.last().unwrap().clone());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let oldest = |queue: &mut FairQueue| queue.oldest_request().unwrap().submitted;
        let submitted = |at: usize| calls[at].submitted();
        // One was sent to a worker, and comes back.
        let sent = queue.pop().unwrap();
        sent.set_place(Place::Worker { number: 1, id: 1 });
        assert_eq!(oldest(&mut queue), submitted(1));
        for _ in 0..1000 {
            sent.set_place(Place::Queued);
            queue.push_front(sent.clone());
            assert_eq!(oldest(&mut queue), submitted(0));
            queue.pop();
        }
        assert!(queue.arrivals.len() <= 2 * queue.len() + STALE + 1);
        sent.set_place(Place::Over);
        let late = queue.take_submitted_before(submitted(3));
        let late: Vec<_> = late.iter().map(|state| state.submitted).collect();
        assert_eq!(late, [1, 2, 3].map(submitted));
        assert_eq!(oldest(&mut queue), submitted(4));
        assert_eq!(order(&mut queue), [3]);
        assert!(queue.oldest_request().is_none());
        assert_eq!(request_of(&calls[4]).place.get(), Place::Queued);
    }
}
