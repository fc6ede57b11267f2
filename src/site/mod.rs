//! Who answers a request: the app, or the server itself. That is decided on the head, before the content is read: what
//! is refused here is never uploaded.
//!
//! Knows no Perl and no sockets: a head goes in, a decision or a response comes out.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use self::status::StatusPage;
use crate::body::Body;
use crate::scoreboard::Board;
use crate::semantics::message::{Endpoints, RequestHead, ResponseHead};

mod access;
mod status;

pub use self::access::Access;
pub use self::status::Settings as StatusSettings;

/// What the server answers itself.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The page that tells what the server does, if there is one.
    pub status: Option<StatusSettings>,
}

/// Where requests go.
#[derive(Debug)]
pub struct Site {
    status: Option<Rc<StatusPage>>,
}

/// Who answers a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The app, in a worker.
    App,
    /// The server itself. The request's content is not read.
    Server(Responder),
}

/// What answers requests without the app.
#[derive(Clone, Debug)]
pub enum Responder {
    /// The page that tells what the server does.
    Status(Rc<StatusPage>),
}

impl Responder {
    /// The response to a request with this head.
    pub async fn answer(&self, head: &RequestHead, client: &Endpoints) -> Response {
        match self {
            Responder::Status(page) => page.answer(head, client).await,
        }
    }
}

/// A response of the server's own.
#[derive(Debug)]
pub struct Response {
    /// Its head, without what each response has.
    pub head: ResponseHead,
    /// Its content.
    pub body: Body,
}

impl Site {
    /// By these settings. Without a board there is nothing to tell, and no status page.
    pub fn new(settings: Settings, board: Option<Arc<Board>>) -> Self {
        let status = settings.status.zip(board);
        let status = status.map(|(settings, board)| StatusPage::new(settings, board));
        Site {
            status: status.map(Rc::new),
        }
    }

    /// Who answers the request with this head.
    pub fn route(&self, head: &RequestHead) -> Decision {
        let Some(status) = &self.status else {
            return Decision::App;
        };
        match status.is_at(head.target()) {
            true => Decision::Server(Responder::Status(Rc::clone(status))),
            false => Decision::App,
        }
    }
}
