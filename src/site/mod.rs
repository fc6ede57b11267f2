//! Who answers a request: the app, or the server itself. That is decided on the head, before the content is read: what
//! is refused here is never uploaded.
//!
//! Knows no Perl and no sockets: a head goes in, a decision or a response comes out.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use self::status::StatusPage;
use crate::body::Body;
use crate::documents::offload::Offload;
use crate::documents::{self, Answer, Files, Place};
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
    /// The directories of files.
    pub files: documents::Served,
}

/// Where requests go. The plan may be replaced while requests are answered by the one before.
#[derive(Debug)]
pub struct Site {
    board: Option<Arc<Board>>,
    plan: RefCell<Plan>,
}

#[derive(Debug)]
struct Plan {
    status: Option<Rc<StatusPage>>,
    files: Option<Rc<Files>>,
    offload: Option<Rc<Offload>>,
}

/// Who answers a request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The app, in a worker.
    App,
    /// The server itself, unless it finds that the app is to answer. The request's content is not read.
    Server(Responder),
}

/// What answers requests without the app.
#[derive(Clone, Debug)]
pub enum Responder {
    /// The page that tells what the server does.
    Status(Rc<StatusPage>),
    /// A directory of files.
    Files(Rc<Files>, Place),
}

impl Responder {
    /// The response to a request with this head; nothing where the app is to answer after all.
    pub async fn answer(&self, head: &RequestHead, client: &Endpoints) -> Option<Response> {
        match self {
            Responder::Status(page) => Some(page.answer(head, client).await),
            Responder::Files(files, place) => {
                let Answer { head, body } = files.answer(place, head).await?;
                Some(Response { head, body })
            }
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
        let plan = RefCell::new(Plan::new(settings, board.as_ref()));
        Site { board, plan }
    }

    /// Goes by these settings from the next request on.
    pub fn replace(&self, settings: Settings) {
        let plan = Plan::new(settings, self.board.as_ref());
        drop(self.plan.replace(plan));
    }

    /// Who answers the request with this head.
    pub fn route(&self, head: &RequestHead) -> Decision {
        self.plan.borrow().route(head)
    }

    /// The response that the server gives in the place of the app's, where the app's names a file that the server is to send.
    pub async fn offloaded(&self, request: &RequestHead, head: &ResponseHead) -> Option<Response> {
        let offload = self.plan.borrow().offload.clone()?;
        let named = offload.named(head)?;
        let Answer { head, body } = offload.answer(named, request, head).await;
        Some(Response { head, body })
    }

    /// Whether [`offloaded`](Self::offloaded) has a response.
    pub fn offloads(&self, head: &ResponseHead) -> bool {
        let plan = self.plan.borrow();
        let named = |offload: &Rc<Offload>| offload.named(head).is_some();
        plan.offload.as_ref().is_some_and(named)
    }
}

impl Plan {
    fn new(settings: Settings, board: Option<&Arc<Board>>) -> Self {
        let status = settings.status.zip(board.cloned());
        let status = status.map(|(settings, board)| StatusPage::new(settings, board));
        Plan {
            status: status.map(Rc::new),
            files: match settings.files.directories.as_slice() {
                [] => None,
                directories => Some(Rc::new(Files::new(directories))),
            },
            offload: Offload::new(&settings.files.internal, &settings.files.sendfile).map(Rc::new),
        }
    }

    fn route(&self, head: &RequestHead) -> Decision {
        if let Some(status) = &self.status
            && status.is_at(head.target())
        {
            return Decision::Server(Responder::Status(Rc::clone(status)));
        }
        if let Some(files) = &self.files
            && let Some(place) = files.find(head)
        {
            return Decision::Server(Responder::Files(Rc::clone(files), place));
        }
        Decision::App
    }
}
