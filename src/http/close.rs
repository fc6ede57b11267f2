//! Why no further request follows on a wire.

/// How an exchange ends that is the last one of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// The response is complete.
    Done,
    /// The client was refused and may still be sending.
    Refused,
    /// The client has gone, or learns by the close that its response is not whole.
    Lost,
    /// A response was cut; the client must not take it for whole.
    Cut,
    /// The app keeps the connection.
    HandedOver,
}
