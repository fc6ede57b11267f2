//! The whole core with clients of HTTP/2: frames of clients and of workers in any order; see `core`.

use gepok::core::fuzz::Protocol;

/// What happens, byte by byte.
pub fn check(data: &[u8]) {
    super::core::check_with(Protocol::Http2, data);
}
