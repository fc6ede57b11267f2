//! How many connections may be open: in all, and of one client's address.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::log::limited;
use crate::semantics::networks::Networks;
use crate::semantics::source::{Endpoints, network};

/// How many connections may be open; none is no limit.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// In all.
    pub all: Option<NonZeroU32>,
    /// Of one client's address.
    pub of_one: Option<NonZeroU32>,
    /// Whose connections do not count as one client's: trusted proxies have many.
    pub uncounted: Networks,
}

/// Grants the connections of all listeners their permits.
#[derive(Debug)]
pub struct Admission {
    settings: Settings,
    /// Places that are free; nothing where connections are not limited.
    permits: Option<Arc<Semaphore>>,
    /// Connections of each address that has any; empty where they are not limited.
    of_one: RefCell<HashMap<IpAddr, u32>>,
}

/// Permission for one connection.
#[derive(Debug)]
pub(super) struct Permit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Admission {
    /// Without connections yet.
    pub fn new(settings: Settings) -> Rc<Self> {
        let permits = settings.all.map(|most| Semaphore::new(most.get() as usize));
        Rc::new(Admission {
            settings,
            permits: permits.map(Arc::new),
            of_one: RefCell::default(),
        })
    }

    /// Waits for a free permit. To be called when a client is there to take it: listeners get permits in the order in which they
    /// ask, and one that keeps a permit while it waits for a client would take it from the others.
    pub(super) async fn permit(&self) -> Permit {
        let _permit = match &self.permits {
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        Permit { _permit }
    }

    /// A permit beyond `max_connections`: for a client that the kernel has accepted before the server stops.
    pub(super) fn beyond(&self) -> Permit {
        Permit { _permit: None }
    }

    /// Counts a connection until the result is dropped; nothing if its address has too many already.
    pub(super) fn admit(
        self: &Rc<Self>,
        permit: Permit,
        endpoints: &Endpoints,
    ) -> Option<Admitted> {
        let mut admitted = self.admit_unnamed(permit);
        admitted.count(endpoints).then_some(admitted)
    }

    /// Admits a connection of which a PROXY header is yet to say whose it is.
    pub(super) fn admit_unnamed(self: &Rc<Self>, permit: Permit) -> Admitted {
        Admitted {
            admission: Rc::clone(self),
            address: None,
            _permit: permit,
        }
    }

    /// Counts a connection of this client, if there may be another one.
    fn count(&self, endpoints: &Endpoints) -> Option<Option<IpAddr>> {
        if let (Some(most), Endpoints::Ip { peer, .. }) = (self.settings.of_one, endpoints)
            && !self.settings.uncounted.has(Some(peer.ip()))
        {
            let network = network(peer.ip());
            let mut of_one = self.of_one.borrow_mut();
            let count = of_one.entry(network).or_default();
            if *count >= most.get() {
                return None;
            }
            *count += 1;
            if *count == most.get() {
                limited!(
                    Warn,
                    "{network} has {most} connections: further ones are closed"
                );
            }
            return Some(Some(network));
        }
        Some(None)
    }
}

/// A connection that counts.
#[derive(Debug)]
pub struct Admitted {
    admission: Rc<Admission>,
    address: Option<IpAddr>,
    _permit: Permit,
}

impl Admitted {
    /// Counts the connection as one of this client, until it is dropped; false if the client has too many already.
    pub fn count(&mut self, endpoints: &Endpoints) -> bool {
        match self.admission.count(endpoints) {
            Some(address) => {
                self.address = address;
                true
            }
            None => false,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut of_one = self.admission.of_one.borrow_mut();
            if let Some(count) = of_one.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    of_one.remove(&address);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admit(admission: &Rc<Admission>, endpoints: &Endpoints) -> Option<Admitted> {
        admission.admit(admission.beyond(), endpoints)
    }

    fn from(address: &str) -> Endpoints {
        let ip: IpAddr = address.parse().unwrap();
        Endpoints::Ip {
            peer: (ip, 1).into(),
            local: (ip, 2).into(),
        }
    }

    fn limited(all: Option<u32>, of_one: Option<u32>) -> Rc<Admission> {
        Admission::new(Settings {
            all: all.and_then(NonZeroU32::new),
            of_one: of_one.and_then(NonZeroU32::new),
            uncounted: Networks::default(),
        })
    }

    const UNIX: Endpoints = Endpoints::Unix {
        pid: 1,
        uid: 2,
        gid: 3,
    };

    #[test]
    fn one_address_has_so_many_and_no_more() {
        let admission = limited(None, Some(2));
        let admit_from = |address| admit(&admission, &from(address));
        let first = admit_from("192.0.2.1").unwrap();
        let _second = admit_from("192.0.2.1").unwrap();
        assert!(admit_from("192.0.2.1").is_none());
        assert!(admit_from("192.0.2.2").is_some(), "another address");
        assert!(admit(&admission, &UNIX).is_some(), "it has none");
        drop(first);
        let _third = admit_from("192.0.2.1").unwrap();
        assert!(admit_from("192.0.2.1").is_none());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let admission = limited(None, Some(1));
        let _first = admit(&admission, &from("2001:db8::1")).unwrap();
        assert!(admit(&admission, &from("2001:db8::2:3:4:5")).is_none());
        assert!(admit(&admission, &from("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let admission = limited(None, Some(1));
        drop(admit(&admission, &from("192.0.2.1")));
        assert!(admission.of_one.borrow().is_empty());
    }

    #[tokio::test]
    async fn who_comes_last_waits() {
        let admission = limited(Some(1), None);
        let permit = admission.permit().await;
        let first = admission.admit(permit, &UNIX).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(1), admission.permit());
        assert!(waited.await.is_err());
        drop(first);
        admission.permit().await;
    }

    #[tokio::test]
    async fn a_refused_connection_gives_its_place_back() {
        let admission = limited(Some(2), Some(1));
        let one = from("192.0.2.1");
        let _first = admission.admit(admission.permit().await, &one).unwrap();
        for _ in 0..3 {
            let permit = tokio::time::timeout(Duration::from_secs(1), admission.permit());
            assert!(admission.admit(permit.await.unwrap(), &one).is_none());
        }
    }
}
