//! A request's content is read whole before the app is called: into memory or the spool.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::context::Context;
use super::error::{BodyError, Error};
use super::request_body::{Length, Received, RequestBody};
use crate::channel::INLINE_CONTENT;
use crate::log::limited;
use crate::pace::Pace;
use crate::semantics::message::Content;
use crate::spool::{Reserved, Spool};

/// How long content may come more slowly than `min_content_rate` wants: short content is read in any case.
const GRACE: Duration = Duration::from_secs(20);

/// Content that is complete.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) content: Content,
    /// Its length; nothing where there is no content and none was announced.
    pub(super) length: Option<u64>,
    /// The room that it holds.
    pub(super) _reserved: Option<Reserved>,
}

impl Complete {
    pub(super) fn in_memory(content: Content, length: Option<u64>) -> Self {
        Complete {
            content,
            length,
            _reserved: None,
        }
    }
}

/// Whether a request has no content and announces none, so that there is nothing to read.
pub(super) fn is_missing(body: &impl RequestBody) -> bool {
    matches!(body.length(), Length::None)
}

/// Reads the content of a request. `client` has a share of the room; without one it has what is left.
pub(super) async fn read(
    body: &mut impl RequestBody,
    client: Option<IpAddr>,
    context: &Context,
) -> Result<Complete, BodyError> {
    // What can't be kept is refused before the client has sent it.
    if let Length::Known(length) = body.length() {
        context.room.has_room(length, client).map_err(not_kept)?;
    }
    // Small content comes as one piece, and needs no spool.
    let whole = match body.length() {
        Length::None => return Ok(Complete::in_memory(Content::Empty, None)),
        Length::Known(0) => return Ok(Complete::in_memory(Content::Empty, Some(0))),
        Length::Known(length) if length <= INLINE_CONTENT as u64 => Some(length),
        Length::Known(_) | Length::Unknown => None,
    };
    body.invite().await.map_err(BodyError::Lost)?;
    let mut pace = Pace::new(context.settings.content_rate, GRACE, Instant::now());
    let mut spool = Spool::new(INLINE_CONTENT, &context.room, client);
    loop {
        let received = body.next(whole.unwrap_or(1), &mut pace).await;
        // What chunks have announced.
        if whole.is_none() {
            context
                .room
                .could_hold(body.announced())
                .map_err(not_kept)?;
        }
        match received? {
            Received::Data(piece) if whole == Some(piece.len() as u64) => {
                return Ok(Complete::in_memory(Content::Inline(piece), whole));
            }
            Received::Data(piece) => spool.push(piece).await.map_err(not_kept)?,
            Received::Announced => {}
            Received::End => {
                let length = Some(spool.length());
                let (content, kept) = spool.finish().await.map_err(not_kept)?;
                return Ok(Complete {
                    content,
                    length,
                    _reserved: Some(kept),
                });
            }
        }
    }
}

/// Why content that can't be kept is refused.
fn not_kept(error: io::Error) -> BodyError {
    let why = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded, _)
        | (io::ErrorKind::FileTooLarge, _) => Error::StorageFull,
        (io::ErrorKind::OutOfMemory, _) | (_, Some(libc::EMFILE | libc::ENFILE)) => {
            Error::OutOfResources
        }
        _ => Error::Storage,
    };
    let status = why.status();
    limited!(
        Error,
        "a request's content can't be kept, {status}: {error}"
    );
    BodyError::Refused(why)
}
