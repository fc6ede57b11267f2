//! What an operator can say of the dispatch.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use crate::scoreboard::Board;

/// How requests are dispatched; by default without a limit.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How long the app may be silent on a request; nothing: for ever.
    pub request_timeout: Option<Duration>,
    /// With event loops in workers: how many responses one worker may have open.
    pub worker_requests: Option<usize>,
    /// How long the app may judge a client's certificate; nothing: for ever.
    pub verify_timeout: Option<Duration>,
    /// Where requests are counted.
    pub board: Option<Arc<Board>>,
    /// Whether somebody wants to know how busy the workers are.
    pub tell_load: bool,
    /// Requests that may wait for a worker; none: no limit.
    pub queue: Option<usize>,
    /// How long each of them may; none: no limit.
    pub queue_time: Option<Duration>,
    /// Bytes a second at which clients must take responses; 0 is no limit.
    pub response_rate: u64,
}
