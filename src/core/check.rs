//! The health check of a candidate before it gets clients' requests: GET of `check_path`.

#![forbid(unsafe_code)]

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::dispatch::{Dispatch, Event};
use crate::semantics::message::{Content, Request, RequestHead};

/// How long the app may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a candidate has failed its check.
#[derive(Debug)]
pub(super) struct Failure<'a> {
    path: &'a str,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    /// A status of 500 or more.
    Status(u16),
    NoAnswer,
    TooLate,
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "check_path {} was ", self.path)?;
        match self.reason {
            Reason::Status(status) => write!(f, "answered with {status}"),
            Reason::NoAnswer => f.write_str("not answered"),
            Reason::TooLate => write!(f, "not answered within {} s", LIMIT.as_secs()),
        }
    }
}

/// Has worker `number` answer GET of `path`.
///
/// # Errors
/// When the status is 500 or more, or there is no answer in time.
pub(super) async fn check<'a>(
    dispatch: &Rc<Dispatch>,
    number: u32,
    path: &'a str,
) -> Result<(), Failure<'a>> {
    let answer = tokio::time::timeout(LIMIT, status(dispatch, number, path));
    let reason = match answer.await {
        Ok(Some(status)) if status < 500 => return Ok(()),
        Ok(Some(status)) => Reason::Status(status),
        Ok(None) => Reason::NoAnswer,
        Err(_) => Reason::TooLate,
    };
    Err(Failure { path, reason })
}

/// The status of the answer, once that is complete.
async fn status(dispatch: &Rc<Dispatch>, number: u32, path: &str) -> Option<u16> {
    let exchange = dispatch.submit_to(number, request(path)).ok()?;
    let mut status = None;
    loop {
        match exchange.next().await {
            Event::Head(head, _) => status = Some(head.status),
            Event::Take => exchange.hand_over(None),
            Event::End => return status,
            Event::Failed | Event::TimedOut | Event::Overloaded => return None,
            Event::Informational(_)
            | Event::Trailers(_)
            | Event::Chunk(_)
            | Event::File(_)
            | Event::WriterKept => {}
        }
    }
}

/// The request of a check.
fn request(path: &str) -> Request {
    let fields = [
        ("Host", "localhost"),
        ("User-Agent", "gepok-check"),
        ("Connection", "close"),
    ];
    let head = RequestHead::new("GET", path, &fields);
    Request::local(head, Content::Empty)
}
