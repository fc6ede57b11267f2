//! Which fields of a request an app may see.

use super::limits::Limits;

/// Whether the app gets the field of this name. Not `Proxy`, whose key in an env, HTTP_PROXY, would be taken for a setting, nor the
/// fields by which a proxy tells how to offload files, nor names with `_` unless `Limits::underscore_names` is set.
pub(super) fn is_kept(name: &[u8], limits: &Limits) -> bool {
    let why = if name.eq_ignore_ascii_case(b"proxy") {
        "apps take HTTP_PROXY for a setting"
    } else if is_for_offload(name) {
        "it would choose how apps offload files"
    } else if !limits.underscore_names && name.contains(&b'_') {
        "option 'underscores_in_headers' lets it in"
    } else {
        return true;
    };
    ::log::debug!(
        "the header field {} was dropped: {why}",
        String::from_utf8_lossy(name)
    );
    false
}

/// Whether an app would take this field for the word of its own proxy about the offloading of files: a client that sends it could
/// read any file (CVE-2026-7381). In the env `_` and `-` are one.
fn is_for_offload(name: &[u8]) -> bool {
    let is = |field: &[u8]| {
        name.iter().zip(field).all(|(&a, &b)| {
            let a = if a == b'_' { b'-' } else { a };
            a.eq_ignore_ascii_case(&b)
        })
    };
    name.len() == 15 && (is(b"x-sendfile-type") || is(b"x-accel-mapping"))
}
