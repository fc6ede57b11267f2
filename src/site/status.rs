//! The page that tells what the server does, in its three forms.

use super::{Response, status_page};
use crate::html;
use crate::scoreboard::status::Status;
use crate::semantics::accept::media_type;
use crate::semantics::field::list_members;
use crate::semantics::message::RequestHead;

/// The response to a request with this head.
pub(super) fn response(status: &Status, head: &RequestHead) -> Response {
    let (kind, content) = match Form::of(head) {
        Form::Text => ("text/plain; charset=utf-8", status.text() + "\n"),
        Form::Html => ("text/html; charset=utf-8", status_page::page(status)),
        Form::Json => ("application/json", status.json() + "\n"),
    };
    let fields = [
        ("Content-Type", kind),
        ("Vary", "Accept"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", html::POLICY),
    ];
    Response::uncached(200, &fields, content)
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
