//! Who answers a request: the app, or the server itself. Each request comes by here when it is complete, before it is
//! dispatched.
//!
//! Knows no Perl and no sockets: a request goes in, and a way or a whole response comes out.

#![forbid(unsafe_code)]

use std::rc::Rc;
use std::sync::Arc;

use self::status::StatusPage;
use crate::scoreboard::Board;
use crate::semantics::message::{RequestHead, ResponseHead};

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

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Route {
    /// To a worker.
    App,
    /// To the page that tells what the server does.
    Status(Rc<StatusPage>),
}

/// A whole response of the server's own.
#[derive(Debug)]
pub struct Page {
    /// Its head, without what each response has.
    pub head: ResponseHead,
    /// Its content.
    pub content: String,
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

    /// Where this request goes.
    pub fn route(&self, head: &RequestHead) -> Route {
        let Some(status) = &self.status else {
            return Route::App;
        };
        match status.is_at(head.target()) {
            true => Route::Status(Rc::clone(status)),
            false => Route::App,
        }
    }
}
