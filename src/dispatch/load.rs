//! How busy the workers are, told now and then while it changes, and never while nothing happens.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::Dispatch;
use super::report::{Load, Report};
use super::worker::Stage;

/// What is shorter is no sign of too few workers.
const TICK: Duration = Duration::from_millis(100);

/// A call that is shorter keeps nobody waiting for long.
const QUICK: Duration = Duration::from_millis(10);

/// The extremes since the last look.
#[derive(Debug, Default)]
pub(super) struct Marks {
    idle_least: Cell<usize>,
    idle_most: Cell<usize>,
    waiting_least: Cell<usize>,
    /// Calls that ended.
    ended: Cell<usize>,
    /// Something was submitted, or a worker has come.
    stirred: Cell<bool>,
    watching: Cell<bool>,
}

impl Marks {
    pub(super) fn idle(&self, count: usize) {
        self.idle_least.set(self.idle_least.get().min(count));
        self.idle_most.set(self.idle_most.get().max(count));
    }

    pub(super) fn call_over(&self) {
        self.ended.set(self.ended.get() + 1);
    }

    pub(super) fn waiting(&self, count: usize) {
        self.waiting_least.set(self.waiting_least.get().min(count));
    }
}

impl Dispatch {
    /// Something was submitted, or a worker has come: looks at the load as long as anything goes on.
    pub(super) fn stir(self: &Rc<Self>) {
        let marks = &self.marks;
        marks.stirred.set(true);
        if !self.settings.tell_load || marks.watching.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            let mut told = None;
            dispatch.begin_marks();
            loop {
                tokio::time::sleep(TICK).await;
                let load = dispatch.load();
                // Where requests wait, the number of workers grows with each time that it is told.
                if load.waiting > 0 || told != Some(load) {
                    dispatch.report(Report::Load(load));
                    told = Some(load);
                }
                if !dispatch.marks.stirred.replace(false) && load.is_quiet() {
                    break;
                }
                dispatch.begin_marks();
            }
            dispatch.marks.watching.set(false);
        });
    }

    fn begin_marks(&self) {
        let (idle, waiting) = (self.workers.borrow().idle(), self.waiting());
        self.marks.idle_least.set(idle);
        self.marks.idle_most.set(idle);
        self.marks.waiting_least.set(waiting);
        self.marks.ended.set(0);
    }

    fn load(&self) -> Load {
        let workers = self.workers.borrow();
        let serving = workers.iter().filter(|(_, w)| w.stage == Stage::Serving);
        let ready = serving.count();
        load(ready, &self.marks)
    }
}

/// What the marks mean. Workers that are busy with quick calls are no reason for more of them: those would only share
/// the same processors. So a request that gets its worker before the next look, by the pace of the last, does not wait;
/// and where each worker ends a call in [`QUICK`], each is as good as a spare one.
fn load(ready: usize, marks: &Marks) -> Load {
    let ended = marks.ended.get();
    let quick = ended >= ready * (TICK.as_millis() / QUICK.as_millis()) as usize;
    Load {
        ready,
        idle_least: marks.idle_least.get(),
        idle_most: if quick { ready } else { marks.idle_most.get() },
        waiting: marks.waiting_least.get().saturating_sub(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ready: usize, waiting: usize, ended: usize) -> Load {
        let marks = Marks::default();
        marks.waiting_least.set(waiting);
        marks.ended.set(ended);
        load(ready, &marks)
    }

    #[test]
    fn slow_calls_let_requests_wait_and_quick_ones_do_not() {
        let slow = seen(2, 18, 1);
        assert_eq!((slow.waiting, slow.idle_most), (17, 0));
        let quick = seen(2, 470, 2000);
        assert_eq!((quick.waiting, quick.idle_most), (0, 2));
        // Fifty clients of calls of 40 ms on four workers.
        let between = seen(4, 46, 10);
        assert_eq!((between.waiting, between.idle_most), (36, 0));
    }
}
