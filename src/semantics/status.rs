//! Status codes: their reason phrases and what they say about content (RFC 9110 section 15).

/// The reason phrase of a status code as IANA registers it; empty for a code that is not registered.
///
/// Starman and Starlet send nothing for unknown codes too; a phrase made up by us could only mislead.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        // RFC 2324; not registered, but sent by many an app.
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// Whether a response with this status ends with its head, whatever the method (RFC 9112 section 6.3).
pub fn forbids_content(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_codes_have_a_phrase_and_others_none() {
        for (status, phrase) in [
            (200, "OK"),
            (308, "Permanent Redirect"),
            (413, "Content Too Large"),
            (431, "Request Header Fields Too Large"),
            (299, ""),
            (599, ""),
            (999, ""),
        ] {
            assert_eq!(reason(status), phrase, "{status}");
        }
    }

    #[test]
    fn phrases_can_stand_in_a_status_line() {
        for status in 0..=999 {
            assert!(
                reason(status)
                    .bytes()
                    .all(|b| b == b' ' || b.is_ascii_graphic())
            );
        }
    }

    #[test]
    fn only_interim_no_content_and_not_modified_forbid_content() {
        let forbidding: Vec<u16> = (100..=999).filter(|&s| forbids_content(s)).collect();
        let expected: Vec<u16> = (100..=199).chain([204, 304]).collect();
        assert_eq!(forbidding, expected);
    }
}
