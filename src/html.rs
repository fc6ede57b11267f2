//! What the server's own pages have in common: their frame, their look, and text that is never markup.

#![forbid(unsafe_code)]

use std::fmt::Write;

/// The value of `Content-Security-Policy` for every page: nothing of it is run or fetched, whatever the texts in it say.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";

/// Colours, fonts and tables, for light and dark, desktop and phone.
const STYLE: &str = ":root{color-scheme:light dark;--text:#1c2024;--dim:#60646c;--line:#e4e7eb;--page:#fff;--hover:#f3f6fa;--link:#0b57d0}\
@media(prefers-color-scheme:dark){:root{--text:#e6e8eb;--dim:#9ba1a8;--line:#2b3036;--page:#16181b;--hover:#1f2327;--link:#8ab4f8}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;-webkit-text-size-adjust:100%}\
main{max-width:60rem;margin:0 auto;padding:2rem 1.25rem 3rem}\
h1{margin:0 0 1.25rem;font-size:1.3rem;font-weight:600;overflow-wrap:anywhere}\
a{color:var(--link);text-decoration:none}\
a:hover{text-decoration:underline}\
a:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:3px}\
table{width:100%;border-collapse:collapse}\
th,td{padding:0 .75rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:middle}\
th{padding-top:.4rem;padding-bottom:.4rem;font-size:.85rem;font-weight:600;white-space:nowrap}\
tbody tr:hover{background:var(--hover)}\
@media(max-width:36rem){main{padding:1.1rem .5rem 2rem}h1{padding:0 .5rem}th,td{padding-left:.4rem;padding-right:.4rem}}";

/// The beginning of a page, as far as `<body>`. `head` is further markup of its head, `style` further style; the title is text.
pub(crate) fn begin(title: &str, style: &str, head: &str) -> String {
    let mut out = String::with_capacity(8192);
    out.push_str(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n",
    );
    out.push_str(head);
    out.push_str("<title>");
    escape(&mut out, title);
    let _ = write!(
        out,
        "</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
    );
    out
}

/// The end of a page.
pub(crate) const END: &str = "</body>\n</html>\n";

/// Appends text that is markup nowhere. Control characters, and those that turn the direction of text, would make it look like
/// another one.
pub(crate) fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_markup_nowhere() {
        let page = begin("</title><script>\u{202e}\u{7}\"'&", "", "");
        assert!(
            page.contains(
                "<title>&lt;/title&gt;&lt;script&gt;\u{fffd}\u{fffd}&quot;&#39;&amp;</title>"
            ),
            "{page}"
        );
    }
}
