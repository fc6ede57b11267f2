//! Pages about the server itself: its status (`status_path`) and its metrics (`metrics_path`). No worker has a part in them, so
//! they are answered when all hang.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::{Access, Response, metrics, status};
use crate::metrics::{Metrics, Process};
use crate::scoreboard::Board;
use crate::scoreboard::status::Status;
use crate::semantics::message::RequestHead;
use crate::semantics::source::Source;

/// Where the pages are, and for whom.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The path of the status, if it has one.
    pub status: Option<String>,
    /// The path of the metrics, if they have one.
    pub metrics: Option<String>,
    /// Who may see them.
    pub access: Access,
}

/// One of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// What the server does now.
    Status,
    /// Numbers for a collector.
    Metrics,
}

/// The pages.
#[derive(Debug)]
pub struct OwnPages {
    settings: Settings,
    board: Arc<Board>,
    metrics: Rc<Metrics>,
    /// Held by the request that reads the scoreboard.
    look: Mutex<()>,
}

impl OwnPages {
    pub(super) fn new(settings: Settings, board: Arc<Board>, metrics: Rc<Metrics>) -> Self {
        OwnPages {
            settings,
            board,
            metrics,
            look: Mutex::new(()),
        }
    }

    /// Whether metrics are shown.
    pub(super) fn has_metrics(&self) -> bool {
        self.settings.metrics.is_some()
    }

    /// The page that this request target names. Only its own spelling does: a proxy that refuses `/server-status` lets
    /// `/server%2dstatus` pass.
    pub(super) fn find(&self, target: &[u8]) -> Option<Page> {
        let path = target.split(|&byte| byte == b'?').next()?;
        let is = |own: &Option<String>| own.as_ref().is_some_and(|own| own.as_bytes() == path);
        match &self.settings {
            settings if is(&settings.status) => Some(Page::Status),
            settings if is(&settings.metrics) => Some(Page::Metrics),
            _ => None,
        }
    }

    /// The response to a request for a page.
    pub(super) async fn answer(&self, page: Page, head: &RequestHead, source: &Source) -> Response {
        if !self.settings.access.allows(source, &head.fields) {
            return text(403, &[], "Forbidden\n");
        }
        if !matches!(head.method(), b"GET" | b"HEAD") {
            return text(405, &[("Allow", "GET, HEAD")], "Method Not Allowed\n");
        }
        let Some((status, process)) = self.look().await else {
            return text(500, &[], "The status can't be read\n");
        };
        match page {
            Page::Status => status::response(&status, head),
            Page::Metrics => metrics::response(&self.metrics, &status, &process, head),
        }
    }

    /// The core asks the system about each worker, which may take milliseconds where there are thousands: a thread
    /// of the pool does that, and one at a time, so that many requests keep no more threads from others.
    async fn look(&self) -> Option<(Status, Process)> {
        let _one = self.look.lock().await;
        let board = Arc::clone(&self.board);
        let look = move || Some((board.status()?, Process::look()));
        spawn_blocking(look).await.ok().flatten()
    }
}

fn text(status: u16, fields: &[(&str, &str)], content: &str) -> Response {
    let kind = [("Content-Type", "text/plain; charset=utf-8")];
    let fields: Vec<_> = fields.iter().chain(&kind).copied().collect();
    Response::uncached(status, &fields, content.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, Settings as SiteSettings, Site};
    use super::*;
    use crate::body::Part;
    use crate::semantics::networks::Networks;
    use crate::semantics::source::Endpoints;

    fn head(method: &str, target: &str, accept: &str) -> RequestHead {
        RequestHead::new(method, target, &[("accept", accept)])
    }

    fn from(address: &str) -> Source {
        let ip: std::net::IpAddr = address.parse().unwrap();
        Source::from(Endpoints::Ip {
            peer: (ip, 1).into(),
            local: (ip, 2).into(),
        })
    }

    fn site() -> Site {
        let (board, _memory) = Board::create(1).unwrap();
        let settings = Settings {
            status: Some("/server-status".to_owned()),
            metrics: Some("/metrics".to_owned()),
            access: Access(Networks {
                networks: vec![("127.0.0.0".parse().unwrap(), 8)],
                unix: true,
            }),
        };
        let settings = SiteSettings {
            files: crate::documents::Served::default(),
            own: settings,
            hosts: Vec::new(),
        };
        Site::new(settings, Some(Arc::new(board)))
    }

    async fn get(method: &str, target: &str, accept: &str, address: &str) -> Option<Response> {
        let head = head(method, target, accept);
        let route = site()
            .route(&mut head.clone(), &from(address), &mut Default::default())
            .await;
        match route.decision {
            Decision::App | Decision::Ask(..) => None,
            Decision::Server(page) => page.answer(&head, &from(address)).await,
        }
    }

    fn text(mut page: Response) -> String {
        match page.body.pop() {
            Some(Part::Bytes(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn field<'a>(page: &'a Response, name: &'a str) -> Option<&'a str> {
        page.head
            .fields
            .first(name)
            .map(|value| std::str::from_utf8(value).unwrap())
    }

    #[tokio::test]
    async fn only_its_own_path_is_the_servers() {
        for (target, own) in [
            ("/server-status", true),
            ("/server-status?json", true),
            ("/server%2Dstatus", false),
            ("/server%2dstatus?json", false),
            ("/%73erver-status", false),
            ("/./server-status", false),
            ("http://any.host/server-status", false),
            ("/server-status/", false),
            ("/Server-Status", false),
            ("//server-status", false),
            ("/", false),
        ] {
            let page = get("GET", target, "", "127.0.0.1").await;
            assert_eq!(page.is_some(), own, "{target}");
        }
        let none = Site::new(SiteSettings::default(), None);
        assert!(matches!(
            none.route(
                &mut head("GET", "/server-status", ""),
                &from("127.0.0.1"),
                &mut Default::default()
            )
            .await
            .decision,
            Decision::App
        ));
    }

    #[tokio::test]
    async fn its_form_is_what_the_client_asks_for() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (target, accept, kind, begin) in [
            ("", "", "text/plain; charset=utf-8", "master "),
            ("", "*/*", "text/plain; charset=utf-8", "master "),
            ("", browser, "text/html; charset=utf-8", "<!DOCTYPE html>"),
            ("?html", "", "text/html; charset=utf-8", "<!DOCTYPE html>"),
            ("?text", browser, "text/plain; charset=utf-8", "master "),
            ("?json", "", "application/json", "{"),
            ("?a=b&json", "text/html", "application/json", "{"),
            ("?json=0", "", "text/plain; charset=utf-8", "master "),
            (
                "",
                "text/plain, Application/JSON; q=0.5",
                "application/json",
                "{",
            ),
            (
                "",
                "application/json, text/plain, */*",
                "application/json",
                "{",
            ),
            (
                "",
                "application/json;q=0.0",
                "text/plain; charset=utf-8",
                "master ",
            ),
        ] {
            let target = format!("/server-status{target}");
            let page = get("GET", &target, accept, "127.0.0.1").await.unwrap();
            assert_eq!(page.head.status, 200);
            assert_eq!(field(&page, "cache-control"), Some("no-store"));
            assert_eq!(
                field(&page, "content-type"),
                Some(kind),
                "{target} {accept}"
            );
            let text = text(page);
            assert!(text.starts_with(begin), "{target} {accept}: {text}");
        }
    }

    #[tokio::test]
    async fn others_and_other_methods_are_refused() {
        let page = get("POST", "/server-status", "", "127.0.0.1").await;
        let page = page.unwrap();
        assert_eq!(page.head.status, 405);
        assert_eq!(field(&page, "allow"), Some("GET, HEAD"));
        assert_eq!(field(&page, "cache-control"), Some("no-store"));
        for method in ["GET", "POST"] {
            let page = get(method, "/server-status", "", "192.0.2.1").await;
            let page = page.unwrap();
            assert_eq!(page.head.status, 403, "{method}");
            assert_eq!(text(page), "Forbidden\n");
        }
    }
}
