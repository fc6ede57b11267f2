//! What can be refused about a request's head whatever the wire.

use memchr::memchr;

use super::error::Error;
use super::limits::Limits;
use crate::semantics::message::{RequestHead, Version};
use crate::semantics::target::{Target, TargetError, decode_path};

/// Checks target and host. How the content is framed is checked by the wire.
///
/// # Errors
/// Why the request is refused.
pub fn examine(head: &RequestHead, limits: &Limits) -> Result<(), Error> {
    if !limits.target_fragment && memchr(b'#', head.target()).is_some() {
        return Err(TargetError::Fragment.into());
    }
    let target = Target::parse(head.method(), head.target())?;
    target.host(&head.fields)?;
    decode_path(target.path)?;
    // Also where the target names the host itself.
    let needs_host = limits.require_host && head.version >= Version::Http11;
    if needs_host && head.fields.first("host").is_none() {
        return Err(TargetError::HostMissing.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::http::h1::framing::facts;
    use crate::http::h1::parse::HeadReader;

    fn examined(head: &RequestHead, limits: &Limits) -> Result<(), Error> {
        examine(head, limits)?;
        facts(head, limits).map(drop)
    }

    #[test]
    #[rustfmt::skip] // A table.
    fn examination_finds_what_parsing_lets_pass() {
        for (head, expected) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\r\nHost:\r\n\r\n", Ok(())),
            ("GET / HTTP/1.0\r\n\r\n", Ok(())),
            ("GET / HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::HostMissing))),
            ("GET http://a/ HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::HostMissing))),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET /a?b# HTTP/1.0\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", Err(Error::Target(TargetError::Fragment))),
            ("GET /é%20 HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET /%zz HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::PercentEncoding))),
            ("GET /%00 HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::Nul))),
            ("GET /?%00%zz HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            ("GET x HTTP/1.1\r\n\r\n", Err(Error::Target(TargetError::Form))),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Err(Error::Target(TargetError::HostRepeated))),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Err(Error::Target(TargetError::Host))),
            ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", Err(Error::ContentLength)),
        ] {
            let limits = Limits::default();
            let parsed = HeadReader::new()
                .read(&mut BytesMut::from(head), &limits)
                .unwrap()
                .unwrap();
            assert_eq!(examined(&parsed, &limits), expected, "{head}");
        }
    }

    #[test]
    fn old_clients_are_let_in_on_request() {
        let limits = Limits {
            require_host: false,
            target_fragment: true,
            ..Limits::default()
        };
        for head in [
            "GET /a#b HTTP/1.1\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
        ] {
            let parsed = HeadReader::new()
                .read(&mut BytesMut::from(head), &limits)
                .unwrap()
                .unwrap();
            assert_eq!(examined(&parsed, &limits), Ok(()), "{head}");
        }
    }
}
