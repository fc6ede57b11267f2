//! The scoreboard's file, as the core keeps it: a second after something has changed, and never while nothing does.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, spawn_blocking, spawn_local};
use tokio::time::sleep;

use crate::dispatch::Dispatch;
use crate::net::accept::Phase;
use crate::scoreboard::Board;
use crate::scoreboard::file::BoardFile;

/// The least time between two changes of the file.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps the file until a successor does.
pub(super) fn keep(
    file: Arc<BoardFile>,
    board: Arc<Board>,
    dispatch: Rc<Dispatch>,
    mut drain: watch::Receiver<Phase>,
) {
    let kept = async move {
        let mut failed = false;
        loop {
            dispatch.changes().some().await;
            sleep(PAUSE).await;
            dispatch.changes().looked();
            let (file, board) = (Arc::clone(&file), Arc::clone(&board));
            // A disk may take its time.
            let written = spawn_blocking(move || file.write(&board)).await;
            let error = written
                .map_err(JoinError::into)
                .and_then(|written| written)
                .err();
            if let (Some(error), false) = (&error, failed) {
                ::log::warn!("the scoreboard's file can't be written: {error}");
            }
            failed = error.is_some();
        }
    };
    spawn_local(async move {
        tokio::select! {
            () = kept => {}
            _ = drain.wait_for(|&phase| phase == Phase::GivingWay) => {}
        }
    });
}
