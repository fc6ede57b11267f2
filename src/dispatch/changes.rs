//! Whether anything has changed that a scoreboard tells: noted at the price of a store, and waited for.

use std::cell::Cell;

use tokio::sync::Notify;

/// What has changed since somebody looked.
#[derive(Debug, Default)]
pub struct Changes {
    any: Cell<bool>,
    told: Notify,
}

impl Changes {
    /// Something has changed.
    pub(super) fn note(&self) {
        if !self.any.replace(true) {
            self.told.notify_one();
        }
    }

    /// Waits until something has changed. Until [`Changes::looked`] it is the same change.
    pub async fn some(&self) {
        self.told.notified().await;
    }

    /// What has changed so far is seen.
    pub fn looked(&self) {
        self.any.set(false);
    }
}
