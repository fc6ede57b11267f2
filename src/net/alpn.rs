//! Names by which the two ends of a TLS handshake choose a protocol (RFC 7301).

/// HTTP/2 (RFC 9113 section 3.2).
pub(super) const HTTP_2: &[u8] = b"h2";

/// HTTP/1.1.
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";
