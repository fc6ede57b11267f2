//! How busy the workers are: reported in ticks while requests come, and never while nothing happens.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::Dispatch;
use super::report::{Load, Report};
use super::worker::Stage;

/// A shorter wait is no sign of too few workers.
const TICK: Duration = Duration::from_millis(100);

/// A call that is shorter keeps nobody waiting for long.
const QUICK: Duration = Duration::from_millis(10);

/// The extremes of the current tick.
#[derive(Debug, Default)]
pub(super) struct LoadWindow {
    idle_least: Cell<usize>,
    idle_most: Cell<usize>,
    waiting_least: Cell<usize>,
    /// Calls that ended.
    ended: Cell<usize>,
    /// Something was submitted, or a worker has come.
    active: Cell<bool>,
    watching: Cell<bool>,
}

impl LoadWindow {
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
    /// Something was submitted, or a worker has come: watches the load until nothing happens any more.
    pub(super) fn watch_load(self: &Rc<Self>) {
        let window = &self.load_window;
        window.active.set(true);
        if !self.settings.tell_load || window.watching.replace(true) {
            return;
        }
        let dispatch = Rc::clone(self);
        spawn_local(async move {
            let mut told = None;
            dispatch.start_window();
            loop {
                tokio::time::sleep(TICK).await;
                let load = dispatch.load();
                // While requests wait, the number of workers grows with each report.
                if load.waiting > 0 || told != Some(load) {
                    dispatch.report(Report::Load(load));
                    told = Some(load);
                }
                if !dispatch.load_window.active.replace(false) && load.is_quiet() {
                    break;
                }
                dispatch.start_window();
            }
            dispatch.load_window.watching.set(false);
        });
    }

    fn start_window(&self) {
        let (idle, waiting) = (self.workers.borrow().idle(), self.waiting());
        self.load_window.idle_least.set(idle);
        self.load_window.idle_most.set(idle);
        self.load_window.waiting_least.set(waiting);
        self.load_window.ended.set(0);
    }

    fn load(&self) -> Load {
        let workers = self.workers.borrow();
        let serving = workers.iter().filter(|(_, w)| w.stage == Stage::Serving);
        let ready = serving.count();
        load(ready, &self.load_window)
    }
}

/// What was seen in a tick, as a load. Workers that are busy with quick calls are no reason for more of them: those would only share
/// the same processors. So a request that gets its worker before the next look, by the pace of the last, does not wait;
/// and where each worker ends a call in [`QUICK`], each is as good as a spare one.
fn load(ready: usize, window: &LoadWindow) -> Load {
    let ended = window.ended.get();
    let quick = ended >= ready * (TICK.as_millis() / QUICK.as_millis()) as usize;
    Load {
        ready,
        idle_least: window.idle_least.get(),
        idle_most: if quick { ready } else { window.idle_most.get() },
        waiting: window.waiting_least.get().saturating_sub(ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(ready: usize, waiting: usize, ended: usize) -> Load {
        let window = LoadWindow::default();
        window.waiting_least.set(waiting);
        window.ended.set(ended);
        load(ready, &window)
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
