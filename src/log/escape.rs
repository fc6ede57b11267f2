//! Foreign bytes in log lines: no client can end a line, or a value within it, or speak to a terminal.

use std::borrow::Cow;
use std::io::Write;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `bytes` as Apache's httpd writes them into its logs: printable ASCII, `\"`, `\\`, `\n`, `\r`, `\t`, and
/// `\xhh` for all else.
pub(super) fn put_quoted(out: &mut Vec<u8>, bytes: &[u8]) {
    put_escaped(out, bytes, |byte| {
        matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
    });
}

/// The same for a value without quotes around it: a blank would end it.
pub(super) fn put_bare(out: &mut Vec<u8>, bytes: &[u8]) {
    put_escaped(out, bytes, |byte| {
        matches!(byte, b'!'..=b'~') && byte != b'"' && byte != b'\\'
    });
}

fn put_escaped(out: &mut Vec<u8>, bytes: &[u8], plain: impl Fn(u8) -> bool) {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|&byte| !plain(byte)) {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'x',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends `bytes` as a JSON string (RFC 8259 section 7). What is not UTF-8 becomes U+FFFD, one for each sequence that
/// can't be one; control characters, also those above ASCII, and what [`is_invisible`] are written as `\uhhhh`.
pub(super) fn put_json(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        put_json_text(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn put_json_text(out: &mut Vec<u8>, text: &str) {
    let mut rest = text;
    let special = |c: char| is_invisible(c) || c == '"' || c == '\\';
    while let Some(at) = rest.find(special) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let c = rest[at..].chars().next().unwrap_or_default();
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
}

/// Whether a character is not seen as what it is: it controls a terminal, ends a line where not all readers think so, or turns the
/// direction of the text around it (Unicode's categories Cc, Cf, Zl and Zp, as of version 16).
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}' | '\u{e0020}'..='\u{e007f}')
}

/// The text of one of the server's own lines: invisible characters as `\u{hhhh}`, but for the line feeds and tabs of a
/// message of several lines.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let special = |c: char| is_invisible(c) && c != '\n' && c != '\t';
    if !text.contains(special) {
        return Cow::Borrowed(text);
    }
    let mut visible = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match special(c) {
            true => visible.extend(c.escape_unicode()),
            false => visible.push(c),
        }
    }
    Cow::Owned(visible)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_quoted(&mut out, bytes);
        out
    }

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        put_json(&mut out, bytes);
        String::from_utf8(out).unwrap()
    }

    /// What [`put_quoted`] wrote, read back.
    fn unquoted(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut bytes = text.iter().copied();
        while let Some(byte) = bytes.next() {
            let byte = match byte {
                b'\\' => match bytes.next() {
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'x') => {
                        let mut digit = || char::from(bytes.next().unwrap()).to_digit(16).unwrap();
                        (digit() * 16 + digit()) as u8
                    }
                    Some(other) => other,
                    None => panic!("a lone backslash"),
                },
                other => other,
            };
            out.push(byte);
        }
        out
    }

    #[test]
    fn known_bytes() {
        assert_eq!(
            quoted(b"a \"b\"\\\n\r\t\0\x7f\xc3\xa9"),
            br#"a \"b\"\\\n\r\t\x00\x7f\xc3\xa9"#
        );
        let mut bare = Vec::new();
        put_bare(&mut bare, b"a b");
        assert_eq!(bare, br"a\x20b");
        assert_eq!(
            json(b"a\"\\\n\x1b[31m\x7f\xc2\x85"),
            r#""a\"\\\n\u001b[31m\u007f\u0085""#
        );
        // Line separator, right-to-left override, a tag.
        assert_eq!(
            json("a\u{2028}b\u{202e}c\u{e0041}".as_bytes()),
            r#""a\u2028b\u202ec\udb40\udc41""#
        );
        assert_eq!(
            visible("a\u{202e}b\x1b\n\té漢"),
            "a\\u{202e}b\\u{1b}\n\té漢"
        );
        assert_eq!(json("é漢\u{1f600}".as_bytes()), "\"é漢\u{1f600}\"");
        assert_eq!(json(b"a\xffb\xe2\x82"), "\"a\u{fffd}b\u{fffd}\"");
    }

    proptest! {
        /// Protects: log injection is impossible, and nothing of what a client sent is lost.
        #[test]
        fn quoted_bytes_stay_within_their_quotes(bytes: Vec<u8>) {
            let text = quoted(&bytes);
            prop_assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~')));
            let mut escaped = false;
            for &byte in &text {
                prop_assert!(escaped || byte != b'"');
                escaped = !escaped && byte == b'\\';
            }
            prop_assert!(!escaped, "a backslash that would escape the closing quote");
            prop_assert_eq!(unquoted(&text), bytes);
        }

        #[test]
        fn bare_values_are_one_word(bytes: Vec<u8>) {
            let mut text = Vec::new();
            put_bare(&mut text, &bytes);
            prop_assert!(text.iter().all(|byte| matches!(byte, b'!'..=b'~')));
            prop_assert_eq!(unquoted(&text), bytes);
        }

        #[test]
        fn json_strings_are_valid(bytes: Vec<u8>) {
            let text = json(&bytes);
            let inner = text.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            let mut chars = inner.chars();
            let mut decoded = String::new();
            let mut units = Vec::new();
            let unit = |chars: &mut std::str::Chars<'_>| {
                u16::from_str_radix(&chars.by_ref().take(4).collect::<String>(), 16).unwrap()
            };
            while let Some(c) = chars.next() {
                prop_assert!(!c.is_control() && c != '"', "{}", inner);
                decoded.push(match c {
                    '\\' => match chars.next().unwrap() {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => {
                            units.push(unit(&mut chars));
                            if (0xd800..0xdc00).contains(&units[0]) {
                                prop_assert!(chars.next() == Some('\\') && chars.next() == Some('u'));
                                units.push(unit(&mut chars));
                            }
                            let c = char::decode_utf16(units.drain(..)).next().unwrap();
                            c.unwrap()
                        }
                        other => {
                            prop_assert!(other == '"' || other == '\\');
                            other
                        }
                    },
                    other => other,
                });
            }
            prop_assert_eq!(decoded, String::from_utf8_lossy(&bytes));
        }
    }
}
