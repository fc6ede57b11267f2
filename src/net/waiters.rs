//! Tasks of one thread that wait for the same thing: entered and left for each request, woken rarely.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Those who wait. To enter and to leave costs a place in a list; `tokio::sync::Notify` would take a lock and link a node.
#[derive(Debug, Default)]
pub struct Waiters {
    places: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
}

impl Waiters {
    /// Waits until `done`, which is asked now and whenever all are woken.
    pub async fn until(&self, mut done: impl FnMut() -> bool) {
        let mut place = None;
        poll_fn(|context| {
            if done() {
                return Poll::Ready(());
            }
            place
                .get_or_insert_with(|| Place::enter(self))
                .wake_by(context.waker());
            Poll::Pending
        })
        .await;
    }

    /// Has all of them ask again.
    pub fn wake(&self) {
        for waker in self.places.borrow().iter().flatten() {
            waker.wake_by_ref();
        }
    }
}

/// A place among them, given up when it is dropped.
struct Place<'a> {
    waiters: &'a Waiters,
    number: usize,
}

impl<'a> Place<'a> {
    fn enter(waiters: &'a Waiters) -> Self {
        let mut places = waiters.places.borrow_mut();
        let number = waiters.free.borrow_mut().pop().unwrap_or(places.len());
        if number == places.len() {
            places.push(None);
        }
        Place { waiters, number }
    }

    fn wake_by(&self, waker: &Waker) {
        let place = &mut self.waiters.places.borrow_mut()[self.number];
        if !place.as_ref().is_some_and(|own| own.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.waiters.places.borrow_mut()[self.number] = None;
        self.waiters.free.borrow_mut().push(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;

    #[tokio::test]
    async fn all_are_woken_and_who_has_left_gives_up_its_place() {
        let body = async {
            let waiters = Rc::new(Waiters::default());
            let open = Rc::new(Cell::new(false));
            let wait = || {
                let (waiters, open) = (Rc::clone(&waiters), Rc::clone(&open));
                spawn_local(async move { waiters.until(|| open.get()).await })
            };
            let (first, second, left) = (wait(), wait(), wait());
            yield_now().await;
            left.abort();
            assert!(left.await.unwrap_err().is_cancelled());
            let third = wait();
            yield_now().await;
            assert_eq!(waiters.places.borrow().len(), 3, "a place is taken again");

            waiters.wake();
            yield_now().await;
            assert!(!first.is_finished(), "it is not done");
            open.set(true);
            waiters.wake();
            for task in [first, second, third] {
                task.await.unwrap();
            }
            waiters.until(|| true).await;
            assert_eq!(waiters.free.borrow().len(), 3);
        };
        LocalSet::new().run_until(body).await;
    }
}
