//! The server's own page for an error, for clients that prefer HTML to plain text.

use std::fmt::Write;

use super::Response;
use crate::html;
use crate::semantics::accept::media_type;
use crate::semantics::field::Fields;
use crate::semantics::message::{RequestHead, ResponseHead};
use crate::semantics::status;

const STYLE: &str = "main{display:flex;flex-direction:column;justify-content:center;min-height:80vh;text-align:center}\
h1{margin:0;font-size:1.5rem}\
h1 b{display:block;color:var(--dim);font-size:4.5rem;font-weight:300;line-height:1.1}\
p{margin:.75rem 0 0;color:var(--dim)}";

/// The page; nothing for a client that does not ask for one. `kept` are fields of the response that it replaces.
pub(super) fn page(request: &RequestHead, status: u16, kept: &Fields) -> Option<Response> {
    if media_type(&request.fields, &["text/plain", "text/html"]) != Some(1) {
        return None;
    }
    let kept = kept.iter().filter(|(name, _)| {
        let replaced = [&b"Content-Type"[..], b"Content-Length"];
        !replaced.iter().any(|own| name.eq_ignore_ascii_case(own))
    });
    let own = [
        (&b"Content-Type"[..], &b"text/html; charset=utf-8"[..]),
        (b"Vary", b"Accept"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", html::POLICY.as_bytes()),
    ];
    Some(Response {
        head: ResponseHead {
            status,
            fields: Fields::from_pairs(kept.chain(own)),
        },
        body: text(status).into(),
    })
}

fn text(status: u16) -> String {
    let reason = status::reason(status);
    let mut out = html::begin(&format!("{status} {reason}"), STYLE, "");
    let _ = write!(
        out,
        "<main>\n<h1><b>{status}</b>{reason}</h1>\n<p>{}</p>\n</main>\n{}",
        explanation(status),
        html::END
    );
    out
}

/// What a visitor may want to know.
fn explanation(status: u16) -> &'static str {
    match status {
        403 => "You are not allowed to see this page.",
        404 => "There is no page at this address.",
        405 => "This address does not take such a request.",
        429 | 503 => "The server is busy. Please try again in a moment.",
        500 | 502 => "Something went wrong here. Please try again later.",
        504 => "The page took too long. Please try again later.",
        400..500 => "The server does not answer such a request.",
        _ => "The server can't answer this request.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Part;

    fn of(accept: &str) -> Option<Response> {
        let request = RequestHead::new("GET", "/", &[("accept", accept)]);
        let kept = [
            ("Content-Type", "text/plain"),
            ("content-length", "10"),
            ("Retry-After", "5"),
        ];
        page(&request, 503, &Fields::from_pairs(kept))
    }

    #[test]
    fn a_browser_gets_a_page_and_others_their_text() {
        for accept in ["", "*/*", "text/plain", "application/json", "text/html;q=0"] {
            assert!(of(accept).is_none(), "{accept}");
        }
        let mut response = of("text/html,application/xhtml+xml,*/*;q=0.8").unwrap();
        assert_eq!(response.head.status, 503);
        let fields = &response.head.fields;
        assert_eq!(fields.first("retry-after"), Some(&b"5"[..]));
        let types: Vec<_> = fields.all("content-type").collect();
        assert_eq!(types, [b"text/html; charset=utf-8"]);
        assert!(fields.first("content-length").is_none());
        let Some(Part::Bytes(text)) = response.body.pop() else {
            panic!("no text");
        };
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(
            text.contains("<title>503 Service Unavailable</title>"),
            "{text}"
        );
    }
}
