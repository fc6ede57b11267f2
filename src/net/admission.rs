//! How many connections may be open: in all, and of one client's address.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::log::limited;
use crate::semantics::message::Endpoints;

/// How many connections may be open; none is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// In all.
    pub all: Option<NonZeroU32>,
    /// Of one client's address.
    pub of_one: Option<NonZeroU32>,
}

/// Counts the connections of all listeners.
#[derive(Debug)]
pub struct Admission {
    settings: Settings,
    open: Cell<u32>,
    /// Connections of each address that has any; empty where they are not limited.
    of_one: RefCell<HashMap<IpAddr, u32>>,
    left: Notify,
}

impl Admission {
    /// Without connections yet.
    pub fn new(settings: Settings) -> Rc<Self> {
        Rc::new(Admission {
            settings,
            open: Cell::new(0),
            of_one: RefCell::default(),
            left: Notify::new(),
        })
    }

    /// Waits until another connection may be accepted.
    pub(super) async fn room(&self) {
        while self
            .settings
            .all
            .is_some_and(|most| self.open.get() >= most.get())
        {
            self.left.notified().await;
        }
    }

    /// Counts a connection until the result is dropped; nothing if its address has too many already.
    pub(super) fn admit(self: &Rc<Self>, endpoints: &Endpoints) -> Option<Admitted> {
        let mut address = None;
        if let (Some(most), Endpoints::Ip { peer, .. }) = (self.settings.of_one, endpoints) {
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
            address = Some(network);
        }
        self.open.set(self.open.get() + 1);
        Some(Admitted {
            admission: Rc::clone(self),
            address,
        })
    }
}

/// A connection that counts.
#[derive(Debug)]
pub struct Admitted {
    admission: Rc<Admission>,
    address: Option<IpAddr>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let Admission {
            open, of_one, left, ..
        } = &*self.admission;
        open.set(open.get() - 1);
        if let Some(address) = self.address {
            let mut of_one = of_one.borrow_mut();
            if let Some(count) = of_one.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    of_one.remove(&address);
                }
            }
        }
        left.notify_one();
    }
}

/// Whose connections count together: one client has a whole network of IPv6 at hand.
fn network(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = u128::MAX << 64;
    match address {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & NETWORK).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let admit = |address| admission.admit(&from(address));
        let first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
        assert!(admit("192.0.2.2").is_some(), "another address");
        assert!(admission.admit(&UNIX).is_some(), "it has none");
        drop(first);
        let _third = admit("192.0.2.1").unwrap();
        assert!(admit("192.0.2.1").is_none());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let admission = limited(None, Some(1));
        let _first = admission.admit(&from("2001:db8::1")).unwrap();
        assert!(admission.admit(&from("2001:db8::2:3:4:5")).is_none());
        assert!(admission.admit(&from("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let admission = limited(None, Some(1));
        drop(admission.admit(&from("192.0.2.1")));
        assert!(admission.of_one.borrow().is_empty());
        assert_eq!(admission.open.get(), 0);
    }

    #[tokio::test]
    async fn who_comes_last_waits() {
        let admission = limited(Some(1), None);
        admission.room().await;
        let first = admission.admit(&UNIX).unwrap();
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), admission.room());
        assert!(waited.await.is_err());
        drop(first);
        admission.room().await;
    }
}
