//! The health check of a candidate before it gets clients' requests: GET of `check_path`.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use crate::dispatch::{Dispatch, Event};
use crate::semantics::message::{Content, Request, RequestHead};

/// How long the app may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Has worker `number` answer GET of `path`.
///
/// # Errors
/// Why that is no success: a status of 500 or more, no answer, or none in time.
pub(super) async fn check(dispatch: &Rc<Dispatch>, number: u32, path: &str) -> Result<(), String> {
    let answer = tokio::time::timeout(LIMIT, status(dispatch, number, path));
    match answer.await {
        Ok(Some(status)) if status < 500 => Ok(()),
        Ok(Some(status)) => Err(format!("check_path {path} was answered with {status}")),
        Ok(None) => Err(format!("check_path {path} was not answered")),
        Err(_) => Err(format!(
            "check_path {path} was not answered within {} s",
            LIMIT.as_secs()
        )),
    }
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
            Event::Informational(_) | Event::Chunk(_) | Event::File(_) | Event::WriterKept => {}
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
