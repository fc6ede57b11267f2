//! What the dispatch tells the code that looks after the workers.

/// A report about workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A worker has loaded its app and is ready for requests.
    Serving(u32),
    /// A worker takes no request any more: it is about to exit.
    Leaving(u32),
    /// A worker makes no progress with a call of the app, and is to be killed.
    Hung {
        /// The worker's number.
        number: u32,
        /// What was called, fit for a log.
        call: String,
    },
    /// A worker has broken the rules of its channel, and is to be killed.
    Broken(u32),
    /// How busy the workers were in the last tenth of a second.
    Load(Load),
}

/// How busy the workers were for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Workers that can serve, idle or not.
    pub ready: usize,
    /// Idle workers, at the busiest moment.
    pub idle_least: usize,
    /// Idle workers, at the quietest moment; all, where their calls are so quick that each is as good as idle.
    pub idle_most: usize,
    /// Requests that waited for a worker, at the quietest moment, and still will at the next look.
    pub waiting: usize,
}

impl Load {
    /// Whether nothing was in flight.
    pub(super) fn is_quiet(&self) -> bool {
        self.waiting == 0 && self.idle_least == self.ready
    }
}
