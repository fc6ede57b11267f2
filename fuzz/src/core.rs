//! The whole core: bytes of clients and frames of workers in any order. Each client gets what is its own, once, and nobody waits
//! for ever.

use std::time::Duration;

use gepok::core::fuzz::{self, Protocol};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// What happens, byte by byte; see `gepok::core::fuzz`. The clients speak HTTP/1.
pub fn check(data: &[u8]) {
    check_with(Protocol::Http1, data);
}

/// The same with clients of the other protocol.
pub(crate) fn check_with(protocol: Protocol, data: &[u8]) {
    let mut builder = Builder::new_current_thread();
    // Sockets are looked at after each turn, so that the same input always does the same.
    let runtime = builder.enable_all().start_paused(true).event_interval(1);
    let Ok(runtime) = runtime.build() else {
        return;
    };
    let advance = async |time: Duration| tokio::time::advance(time).await;
    let run = fuzz::run(protocol, data, advance);
    if let Err(error) = LocalSet::new().block_on(&runtime, run) {
        eprintln!("not run: {error}");
    }
}
