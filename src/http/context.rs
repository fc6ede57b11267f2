//! What all connections share, and what one of them is.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::forwarding::{self, Forwarding};
use super::limits::Limits;
use super::server_fields::ServerFields;
use crate::dispatch::{Dispatch, Flow};
use crate::log::host_logs::AccessLogs;
use crate::net::accept::Phase;
use crate::net::scratch::Scratch;
use crate::net::ticks::Ticks;
use crate::net::tls::CertificateNames;
use crate::net::waiters::Waiters;
use crate::semantics::message::{RequestHead, Timestamp, Tls};
use crate::semantics::source::Source;
use crate::site::{self, Site};
use crate::spool::Room;

/// What all connections share.
#[derive(Debug)]
pub struct Context {
    /// Decides who answers a request.
    pub site: Site,
    /// Has the app answer requests.
    pub dispatch: Rc<Dispatch>,
    /// How connections behave.
    pub settings: Settings,
    /// Room for content that is too large for memory.
    pub room: Rc<Room>,
    /// The fields that the server adds to responses.
    pub server_fields: RefCell<ServerFields>,
    /// The access logs.
    pub logs: AccessLogs,
    /// Whether the server drains: connections end as soon as their request is answered.
    pub drain: watch::Receiver<Phase>,
    /// The connections that wait for it; to be woken when it changes.
    pub draining: Waiters,
    /// Where connections read heads to: what has come is copied from here, so that an idle one holds no memory for it.
    pub scratch: Scratch,
    /// Memory of a response that was written, for the next one.
    pub out: RefCell<Vec<u8>>,
    /// What responses wait for that are not quick.
    pub ticks: Rc<Ticks>,
}

impl Context {
    /// Waits for a drain, and then for one more look at the sockets: of a connection that was accepted a
    /// moment ago we may not know yet that its request has come.
    pub(super) async fn drained(&self) {
        let is_last = || self.drain.borrow().is_last();
        self.draining.until(is_last).await;
        tokio::task::yield_now().await;
    }

    /// Has the dispatch keep the times of calls if the access log or the metrics tell them. To be called after each change of the
    /// site.
    pub fn keep_times(&self) {
        let wanted = self.logs.want_call() || self.site.metrics().is_some();
        self.dispatch.keep_times(wanted);
    }

    /// An empty buffer for a response.
    pub(super) fn take_out(&self) -> Vec<u8> {
        self.out.take()
    }

    /// Takes a buffer back whose response was written.
    pub(super) fn give_out(&self, mut out: Vec<u8>) {
        const ORDINARY: usize = 4 * 1024;
        if out.capacity() <= ORDINARY {
            out.clear();
            self.out.replace(out);
        }
    }
}

/// How connections behave. Durations of zero are no limit.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes beyond which a request is refused.
    pub limits: Limits,
    /// Longest time without progress on the socket, apart from the times below.
    pub timeout: Duration,
    /// Longest time between two parts of a response that its app goes on with after its call has returned.
    pub kept_timeout: Duration,
    /// Longest time for a whole request head.
    pub header_timeout: Duration,
    /// Longest time between two requests; zero allows one request per connection.
    pub keepalive_timeout: Duration,
    /// Requests per connection; 0 is no limit.
    pub max_keepalive_reqs: u32,
    /// Whether plain connections may begin with HTTP/2.
    pub h2c: bool,
    /// Calls that a connection of HTTP/2 may have at once.
    pub max_streams: u32,
    /// Value of the Server field, if there is to be one.
    pub server: Option<Bytes>,
    /// Which proxies are trusted, if any.
    pub forwarding: Option<forwarding::Settings>,
    /// Whether apps may have a client's socket (`psgix.io`).
    pub psgix_io: bool,
    /// Whether files that apps send get conditional requests and ranges.
    pub file_ranges: bool,
    /// Bytes a second that content must come at, from the 20th second on; 0 is no limit.
    pub content_rate: u64,
}

/// One connection, as far as all wires know it.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// Number of the listener that accepted it.
    pub listener: u16,
    /// Where it comes from, and so do its requests unless a proxy says otherwise.
    pub source: Source,
    /// What is made of forwarding fields.
    pub forwarding: Forwarding,
    /// What its TLS is like; none for plain HTTP.
    pub tls: Option<Rc<Tls>>,
    /// Which of several certificates is for which host; none: there is one certificate, or none.
    pub certificates: Option<CertificateNames>,
    /// When it was accepted.
    pub connected: Timestamp,
    /// Where it carries several requests at once: what they have in common for the dispatch.
    pub flow: Option<Flow>,
}

impl ConnectionInfo {
    /// Whether a request belongs on a connection with another certificate (RFC 9110 section 7.4).
    pub(super) fn misdirects(&self, head: &RequestHead) -> bool {
        let of_tls = self.certificates.as_ref().zip(self.tls.as_deref());
        of_tls.is_some_and(|(certificates, tls)| certificates.misdirect(tls, site::asked(head)))
    }
}
