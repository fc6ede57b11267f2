//! Media types whose content becomes smaller.

/// Media types, as an option names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Types {
    /// Those that [`shrinks`] knows, but for streams of events
    #[default]
    Known,
    /// These: `text/html`, `text/*` or `*`, in lower case
    Named(Vec<String>),
}

impl Types {
    /// Whether the value of a Content-Type is among them.
    pub fn contain(&self, content_type: &[u8]) -> bool {
        let essence = essence(content_type);
        match self {
            // An encoder for each stream that stays open has its price in memory.
            Types::Known => shrinks(content_type) && essence != "text/event-stream",
            Types::Named(names) => names.iter().any(|name| match name.strip_suffix('*') {
                Some("") => true,
                Some(kind) => kind.ends_with('/') && essence.starts_with(kind),
                None => *name == essence,
            }),
        }
    }

    /// Whether this can be one of the names.
    pub fn is_name(name: &str) -> bool {
        let token = |part: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !part.is_empty() && part.bytes().all(plain)
        };
        match name.split_once('/') {
            Some((kind, sub)) => token(kind) && (sub == "*" || token(sub)),
            None => name == "*",
        }
    }
}

/// Whether content of this type becomes smaller by compression.
pub fn shrinks(content_type: &[u8]) -> bool {
    let essence = essence(content_type);
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("/json")
        || essence.ends_with("+json")
        || matches!(
            &*essence,
            "application/javascript"
                | "application/x-javascript"
                | "application/ndjson"
                | "application/x-ndjson"
                | "application/xml"
                | "application/wasm"
                | "application/yaml"
                | "application/toml"
                | "application/sql"
                | "application/x-sh"
                | "application/vnd.apple.mpegurl"
                | "application/vnd.ms-fontobject"
                | "image/vnd.microsoft.icon"
                | "image/bmp"
                | "font/ttf"
                | "font/otf"
        )
}

/// A Content-Type without its parameters, in lower case.
fn essence(content_type: &[u8]) -> String {
    let end = content_type.iter().position(|&byte| byte == b';');
    let essence = &content_type[..end.unwrap_or(content_type.len())];
    String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_shrink_and_images_do_not() {
        for (kind, expected) in [
            ("text/html; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/problem+json", true),
            ("image/svg+xml", true),
            ("application/wasm", true),
            ("image/png", false),
            ("video/mp4", false),
            ("application/octet-stream", false),
            ("application/gzip", false),
            ("", false),
        ] {
            assert_eq!(shrinks(kind.as_bytes()), expected, "{kind}");
            assert_eq!(Types::Known.contain(kind.as_bytes()), expected, "{kind}");
        }
        assert!(!Types::Known.contain(b"text/event-stream"));
    }

    #[test]
    fn types_are_named() {
        let named = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned());
            Types::Named(names.collect())
        };
        assert!(named(&["text/event-stream"]).contain(b"text/event-stream"));
        assert!(named(&["text/*"]).contain(b"Text/html;charset=x"));
        assert!(named(&["*"]).contain(b"image/png"));
        assert!(!named(&["text/*", "image/png"]).contain(b"image/pngx"));
        assert!(!named(&[]).contain(b"text/html"));
        for (name, expected) in [
            ("text/html", true),
            ("text/*", true),
            ("*", true),
            ("image/svg+xml", true),
            ("text", false),
            ("text/", false),
            ("*/html", false),
            ("text/html;charset=utf-8", false),
        ] {
            assert_eq!(Types::is_name(name), expected, "{name}");
        }
    }
}
