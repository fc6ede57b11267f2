//! Foreign bytes in log lines: no client can end a line, or a value within it, or speak to a terminal.

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
/// can't be one; control characters, also those above ASCII, are written as `\u00hh`.
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
    let special = |c: char| c.is_control() || c == '"' || c == '\\';
    while let Some(at) = rest.find(special) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let c = rest[at..].chars().next().unwrap_or_default();
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            // Control characters end at U+009F.
            _ => {
                let code = c as usize;
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[code >> 4 & 15], HEX[code & 15]]);
            }
        }
        rest = &rest[at + c.len_utf8()..];
    }
    out.extend_from_slice(rest.as_bytes());
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
            while let Some(c) = chars.next() {
                prop_assert!(!c.is_control() && c != '"', "{}", inner);
                decoded.push(match c {
                    '\\' => match chars.next().unwrap() {
                        'n' => '\n',
                        'r' => '\r',
                        't' => '\t',
                        'u' => {
                            let digits: String = chars.by_ref().take(4).collect();
                            char::from_u32(u32::from_str_radix(&digits, 16).unwrap()).unwrap()
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
