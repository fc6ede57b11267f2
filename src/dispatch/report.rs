//! What the dispatch tells whoever looks after the workers.

/// A report about workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A worker takes no request any more: it is about to exit.
    Leaving(u32),
    /// A worker makes no progress with a request, and is to be killed.
    Hung {
        /// The worker's number.
        number: u32,
        /// Method and target, fit for a log.
        request: String,
    },
}
