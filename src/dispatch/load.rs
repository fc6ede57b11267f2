//! How busy the workers are, told now and then while it changes, and never while nothing happens.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::Dispatch;
use super::report::{Load, Report};

/// What is shorter is no sign of too few workers.
const TICK: Duration = Duration::from_millis(100);

/// The extremes since the last look.
#[derive(Debug, Default)]
pub(super) struct Marks {
    idle_least: Cell<usize>,
    idle_most: Cell<usize>,
    waiting_least: Cell<usize>,
    /// Something was submitted, or a worker has come.
    stirred: Cell<bool>,
    watching: Cell<bool>,
}

impl Marks {
    pub(super) fn idle(&self, count: usize) {
        self.idle_least.set(self.idle_least.get().min(count));
        self.idle_most.set(self.idle_most.get().max(count));
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
        let (idle, waiting) = (self.idle.borrow().len(), self.queue.borrow().len());
        self.marks.idle_least.set(idle);
        self.marks.idle_most.set(idle);
        self.marks.waiting_least.set(waiting);
    }

    fn load(&self) -> Load {
        let workers = self.workers.borrow();
        Load {
            ready: workers.values().filter(|worker| worker.is_ready()).count(),
            idle_least: self.marks.idle_least.get(),
            idle_most: self.marks.idle_most.get(),
            waiting: self.marks.waiting_least.get(),
        }
    }
}
