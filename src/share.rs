//! Shares of something that is limited: who has much leaves as much to the others.
//!
//! A holder gets no more than is then left for everybody else (the "dynamic thresholds" of shared-memory switches). So one alone
//! may have half of all, and each of n that want all they can get 1/(n + 1); who needs little always finds room.

#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::{Rc, Weak};

/// Addresses that are remembered before those are dropped that hold nothing.
const FEW: usize = 64;

/// What is limited.
#[derive(Debug)]
pub struct Pool {
    /// All of it; none: no limit.
    limit: Option<u64>,
    used: Cell<u64>,
    /// Clients' addresses that hold some of it.
    addresses: RefCell<HashMap<IpAddr, Weak<Holder>>>,
}

impl Pool {
    /// A pool of which nobody has anything.
    pub fn new(limit: Option<u64>) -> Rc<Self> {
        Rc::new(Pool {
            limit,
            used: Cell::new(0),
            addresses: RefCell::default(),
        })
    }

    /// What one holder may have at most, when nobody else has anything.
    pub fn largest_share(&self) -> Option<u64> {
        self.limit.map(|limit| limit / 2)
    }

    /// A holder that has nothing yet. What it takes counts for this address as well, where there is one.
    pub fn holder(self: &Rc<Self>, address: Option<IpAddr>) -> Rc<Holder> {
        Rc::new(Holder {
            pool: Rc::clone(self),
            held: Cell::new(0),
            address: address.map(|address| self.address(address)),
        })
    }

    fn address(self: &Rc<Self>, address: IpAddr) -> Rc<Holder> {
        let mut addresses = self.addresses.borrow_mut();
        if let Some(holder) = addresses.get(&address).and_then(Weak::upgrade) {
            return holder;
        }
        if addresses.len() >= FEW && addresses.len() == addresses.capacity() {
            addresses.retain(|_, holder| holder.strong_count() > 0);
        }
        let holder = self.holder(None);
        addresses.insert(address, Rc::downgrade(&holder));
        holder
    }

    /// Takes this much for a holder that takes nothing more, which costs no allocation.
    pub fn take_once(self: &Rc<Self>, amount: u64) -> Option<TakenOnce> {
        self.leaves_enough(amount, amount).then(|| {
            self.used.set(self.used.get() + amount);
            TakenOnce {
                pool: Rc::clone(self),
                amount,
            }
        })
    }

    /// Whether a holder that has `after`, `amount` of it in addition, leaves as much to all others.
    fn leaves_enough(&self, after: u64, amount: u64) -> bool {
        self.left()
            .is_none_or(|left| after.saturating_add(amount) <= left)
    }

    fn left(&self) -> Option<u64> {
        self.limit
            .map(|limit| limit.saturating_sub(self.used.get()))
    }
}

/// What was taken by [`Pool::take_once`]; given back when it is dropped.
#[derive(Debug)]
pub struct TakenOnce {
    pool: Rc<Pool>,
    amount: u64,
}

impl Drop for TakenOnce {
    fn drop(&mut self) {
        self.pool.used.set(self.pool.used.get() - self.amount);
    }
}

/// Somebody who may have a share of a pool.
#[derive(Debug)]
pub struct Holder {
    pool: Rc<Pool>,
    held: Cell<u64>,
    address: Option<Rc<Holder>>,
}

impl Holder {
    /// How much it has.
    pub fn held(&self) -> u64 {
        self.held.get()
    }

    /// Whether it may have so much more.
    pub fn may_take(&self, amount: u64) -> bool {
        let after = self.held.get().saturating_add(amount);
        self.pool.leaves_enough(after, amount)
            && self
                .address
                .as_ref()
                .is_none_or(|address| address.may_take(amount))
    }

    /// Takes so much more, unless others would have too little then.
    pub fn take(self: &Rc<Self>, amount: u64) -> Option<Taken> {
        self.may_take(amount).then(|| {
            self.change(|held| held + amount);
            Taken {
                holder: Rc::clone(self),
                amount,
            }
        })
    }

    fn change(&self, change: impl Fn(u64) -> u64) {
        let address = self.address.as_ref().map(|address| &address.held);
        let cells = [&self.held, &self.pool.used].into_iter().chain(address);
        cells.for_each(|cell| cell.set(change(cell.get())));
    }
}

/// What was taken; given back when it is dropped.
#[derive(Debug)]
pub struct Taken {
    holder: Rc<Holder>,
    amount: u64,
}

impl Taken {
    /// Nothing yet; it can grow.
    pub fn nothing(holder: &Rc<Holder>) -> Taken {
        Taken {
            holder: Rc::clone(holder),
            amount: 0,
        }
    }

    /// Takes so much more, unless others would have too little then. Returns whether it has.
    pub fn grow(&mut self, amount: u64) -> bool {
        let may = self.holder.may_take(amount);
        if may {
            self.holder.change(|held| held + amount);
            self.amount += amount;
        }
        may
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.holder.change(|held| held - self.amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(holder: &Rc<Holder>) -> Vec<Taken> {
        std::iter::from_fn(|| holder.take(1)).collect()
    }

    #[test]
    fn one_alone_has_half_and_each_of_many_as_much_as_is_left() {
        let pool = Pool::new(Some(1000));
        assert_eq!(pool.largest_share(), Some(500));
        let (first, second) = (pool.holder(None), pool.holder(None));
        assert!(!first.may_take(501));
        let _all = first.take(500).unwrap();
        assert!(first.take(1).is_none());
        let half_of_the_rest = fill(&second);
        assert_eq!((second.held(), pool.left()), (250, Some(250)));
        drop(half_of_the_rest);
        assert_eq!(pool.left(), Some(500));
        assert!(pool.take_once(251).is_none());
        let once = pool.take_once(250).unwrap();
        assert_eq!(pool.left(), Some(250));
        drop(once);
        assert_eq!(pool.left(), Some(500));
    }

    #[test]
    fn there_is_room_for_little_however_many_have_much() {
        let pool = Pool::new(Some(1 << 30));
        let holders: Vec<_> = (0..124).map(|_| pool.holder(None)).collect();
        let mut taken = Vec::new();
        loop {
            let before = taken.len();
            taken.extend(holders.iter().filter_map(|holder| holder.take(1 << 16)));
            if taken.len() == before {
                break;
            }
        }
        assert!(pool.holder(None).may_take(2_000_000));
    }

    #[test]
    fn holders_of_one_address_share_what_it_may_have() {
        let pool = Pool::new(Some(1000));
        let from = |address: &str| pool.holder(Some(address.parse().unwrap()));
        let (first, second) = (from("192.0.2.1"), from("192.0.2.1"));
        let taken = first.take(400).unwrap();
        let _rest = fill(&second);
        assert_eq!(second.held(), 100);
        assert!(from("192.0.2.2").may_take(250));
        drop(taken);
        assert!(second.may_take(250));
    }

    #[test]
    fn nothing_is_kept_of_addresses_that_hold_nothing() {
        let pool = Pool::new(Some(1000));
        for number in 0..10_000_u32 {
            let address = IpAddr::from(number.to_be_bytes());
            assert!(pool.holder(Some(address)).take(1).is_some());
        }
        assert!(pool.addresses.borrow().len() <= 4 * FEW);
        assert_eq!(pool.left(), Some(1000));
    }

    #[test]
    fn without_a_limit_everybody_has_what_they_want() {
        let holder = Pool::new(None).holder(None);
        let mut taken = holder.take(u64::MAX / 2).unwrap();
        assert!(taken.grow(1));
        assert_eq!(taken.amount(), u64::MAX / 2 + 1);
        drop(taken);
        assert_eq!(holder.held(), 0);
    }
}
