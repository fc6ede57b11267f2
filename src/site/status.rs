//! The page that tells what the server does (`status_path`). No worker has a part in it, so it answers when all hang.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::{Access, Response, status_page};
use crate::html;
use crate::scoreboard::Board;
use crate::scoreboard::status::Status;
use crate::semantics::accept::media_type;
use crate::semantics::field::{Fields, list_members};
use crate::semantics::message::{RequestHead, ResponseHead};
use crate::semantics::source::Source;

/// Where the page is, and for whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its path.
    pub path: String,
    /// Who may see it.
    pub access: Access,
}

/// The page.
#[derive(Debug)]
pub struct StatusPage {
    settings: Settings,
    board: Arc<Board>,
    /// Whoever holds it looks.
    look: Mutex<()>,
}

impl StatusPage {
    pub(super) fn new(settings: Settings, board: Arc<Board>) -> Self {
        StatusPage {
            settings,
            board,
            look: Mutex::new(()),
        }
    }

    /// Whether this request target names the page. Only its own spelling does: a proxy that refuses `/server-status` lets
    /// `/server%2dstatus` pass.
    pub(super) fn is_at(&self, target: &[u8]) -> bool {
        let path = target.split(|&byte| byte == b'?').next();
        path == Some(self.settings.path.as_bytes())
    }

    /// The response to a request for it.
    pub(super) async fn answer(&self, head: &RequestHead, source: &Source) -> Response {
        if !self.settings.access.allows(source, &head.fields) {
            return page(403, &[], "Forbidden\n".to_owned());
        }
        if !matches!(head.method(), b"GET" | b"HEAD") {
            let allow = [("Allow", "GET, HEAD")];
            return page(405, &allow, "Method Not Allowed\n".to_owned());
        }
        let Some(status) = self.look().await else {
            return page(500, &[], "The status can't be read\n".to_owned());
        };
        let (kind, content) = match Form::of(head) {
            Form::Text => ("text/plain; charset=utf-8", status.text() + "\n"),
            Form::Html => ("text/html; charset=utf-8", status_page::page(&status)),
            Form::Json => ("application/json", status.json() + "\n"),
        };
        let fields = [
            ("Content-Type", kind),
            ("Vary", "Accept"),
            ("X-Content-Type-Options", "nosniff"),
            ("Content-Security-Policy", html::POLICY),
        ];
        page(200, &fields, content)
    }

    /// The core asks the system about each worker, which may take milliseconds where there are thousands: a thread
    /// of the pool does that, and one at a time, so that many requests keep no more threads from others.
    async fn look(&self) -> Option<Status> {
        let _one = self.look.lock().await;
        let board = Arc::clone(&self.board);
        spawn_blocking(move || board.status()).await.ok().flatten()
    }
}

/// A page that no cache keeps.
fn page(status: u16, fields: &[(&str, &str)], content: String) -> Response {
    let plain = [("Content-Type", "text/plain; charset=utf-8")];
    let plain = plain.iter().filter(|_| status != 200);
    let always = [("Cache-Control", "no-store")];
    let fields = fields.iter().chain(plain).chain(&always).copied();
    Response {
        head: ResponseHead {
            status,
            fields: Fields::from_pairs(fields),
        },
        body: content.into(),
    }
}

/// In which form the status is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Html,
    Json,
}

impl Form {
    /// What the query names; else JSON for a client that names it; else the page for one that prefers HTML, as browsers do.
    fn of(head: &RequestHead) -> Self {
        let query = head.target().split(|&byte| byte == b'?').nth(1);
        let mut parameters = query.unwrap_or_default().split(|&byte| byte == b'&');
        let named = parameters.find_map(|parameter| match parameter {
            b"text" => Some(Form::Text),
            b"html" => Some(Form::Html),
            b"json" => Some(Form::Json),
            _ => None,
        });
        let fields = &head.fields;
        named.unwrap_or_else(|| match media_type(fields, &["text/plain", "text/html"]) {
            _ if fields.all("accept").flat_map(list_members).any(is_json) => Form::Json,
            Some(1) => Form::Html,
            _ => Form::Text,
        })
    }
}

/// Whether a member of Accept is JSON, and not by the weight 0 (RFC 9110 section 12.5.1).
fn is_json(member: &[u8]) -> bool {
    let mut parts = member.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let named = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"application/json"));
    let refused = |part: &[u8]| {
        let weight = part.strip_prefix(b"q=").or(part.strip_prefix(b"Q="));
        weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
    };
    named && !parts.any(refused)
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
            path: "/server-status".to_owned(),
            access: Access(Networks {
                networks: vec![("127.0.0.0".parse().unwrap(), 8)],
                unix: true,
            }),
        };
        let settings = SiteSettings {
            files: crate::documents::Served::default(),
            status: Some(settings),
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
            Decision::App | Decision::Ask(_) => None,
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
