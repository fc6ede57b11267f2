//! Whether the client is still there while a worker has its request.
//!
//! A client that has closed its connection and one that has only closed its sending side look alike: a FIN has come.
//! nginx and hyper take both for gone. Here the latter is served (RFC 9112 section 9.6 has it both ways): whoever still
//! waits after a moment is asked, by an interim response that every client of HTTP/1.1 must let pass (RFC 9110 section 15.2).
//! The kernel of a client that has left answers with a reset. Where no such response can be sent, kernels are left to find it out.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::net::stream::{Leaving, Stream};
use crate::net::ticks::Ticks;

/// So long after its FIN a client is asked: most half-closed ones have their response by then.
const MOMENT: Duration = Duration::from_millis(500);

/// What is known of the client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Presence {
    /// Its connection is as open as ours.
    #[default]
    There,
    /// It has sent a FIN.
    HalfClosed(Instant),
    /// It was asked.
    Asked,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing yet.
    None,
    /// To ask the client.
    Ask,
    /// To give the request up.
    Gone,
}

impl Presence {
    /// Waits until something changes. May be dropped while it waits.
    pub(super) async fn change(&mut self, stream: &mut Stream, ticks: &Rc<Ticks>) -> Change {
        match *self {
            Presence::There => match stream.leaving(ticks).await {
                Leaving::HalfClosed => {
                    *self = Presence::HalfClosed(Instant::now());
                    Change::None
                }
                Leaving::Broken => Change::Gone,
            },
            Presence::HalfClosed(since) => tokio::select! {
                () = stream.broken() => Change::Gone,
                () = sleep_until(since + MOMENT) => {
                    *self = Presence::Asked;
                    Change::Ask
                }
            },
            Presence::Asked => {
                stream.broken().await;
                Change::Gone
            }
        }
    }
}
