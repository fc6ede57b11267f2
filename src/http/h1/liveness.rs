//! Whether the client is still there while a worker has its request.
//!
//! A client that has closed its connection and one that has only closed its sending side look alike: a FIN has come.
//! nginx and hyper take both for gone. Here the latter is served (RFC 9112 section 9.6 has it both ways): one that still
//! waits after a moment is probed by an interim response, which every client of HTTP/1.1 must let pass (RFC 9110 section 15.2).
//! The kernel of a client that has left answers with a reset. Where no such response can be sent, the kernels probe each other.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::net::stream::{Leaving, Stream};
use crate::net::ticks::Ticks;

/// Delay between a client's FIN and the probe: most half-closed clients have their response by then.
const PROBE_DELAY: Duration = Duration::from_millis(500);

/// What is known of the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum ClientLiveness {
    /// Its connection is as open as ours.
    #[default]
    Open,
    /// It has sent a FIN.
    HalfClosed(Instant),
    /// It was probed.
    Probed,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing yet.
    None,
    /// Probe the client.
    Probe,
    /// Give the request up: the client has gone.
    GiveUp,
}

impl ClientLiveness {
    /// Waits until something changes. May be dropped while it waits.
    pub(super) async fn change(&mut self, stream: &mut Stream, ticks: &Rc<Ticks>) -> Action {
        match *self {
            ClientLiveness::Open => match stream.leaving(ticks).await {
                Leaving::HalfClosed => {
                    *self = ClientLiveness::HalfClosed(Instant::now());
                    Action::None
                }
                Leaving::Broken => Action::GiveUp,
            },
            ClientLiveness::HalfClosed(since) => tokio::select! {
                () = stream.broken() => Action::GiveUp,
                () = sleep_until(since + PROBE_DELAY) => {
                    *self = ClientLiveness::Probed;
                    Action::Probe
                }
            },
            ClientLiveness::Probed => {
                stream.broken().await;
                Action::GiveUp
            }
        }
    }
}
