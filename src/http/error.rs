//! What can be wrong with a message, and which status tells the peer.

use std::fmt;

use super::close::Close;
use crate::log::limited;
use crate::scoreboard::connections::Connection;
use crate::scoreboard::refusals::Refusal;
use crate::semantics::status::reason;
use crate::semantics::target::TargetError;

/// Why a request is refused. After each of them the connection closes: where one message ends and the next
/// begins is no longer certain, or not worth finding out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The first line is not `method SP target SP version` (RFC 9112 section 3); another protocol, perhaps
    /// TLS on a plain port, or HTTP/0.9.
    RequestLine,
    /// More empty lines before the request line than any client has reason to send.
    EmptyLines,
    /// A line of the head ends in LF without CR, and `Limits::bare_lf` is not set.
    BareLf,
    /// The method is longer than any there is (`limits::METHOD`).
    MethodTooLong,
    /// A version of HTTP other than 1.0 and 1.1.
    UnknownVersion,
    /// The request target is longer than `Limits::target`.
    TargetTooLong,
    /// The request target, or the Host field beside it, makes no sense.
    Target(TargetError),
    /// A field line's name is empty, is no token, or is followed by space; also a line that begins with
    /// space (obs-fold), which proxies and servers read differently (RFC 9112 sections 5.1 and 5.2).
    FieldName,
    /// A control byte other than a tab in a field's value, among them a CR without LF.
    FieldValue,
    /// A field name is longer than `limits::FIELD_NAME`.
    FieldNameTooLong,
    /// The field section is longer than `Limits::field_section`.
    FieldSectionTooLarge,
    /// There are more field lines than `Limits::fields`.
    TooManyFields,
    /// A Content-Length is not one row of digits, or is beyond 64 bits (RFC 9112 section 6.3).
    ContentLength,
    /// There is more than one Content-Length. Equal ones are refused too: honest clients send one.
    ContentLengthRepeated,
    /// The `:authority` of HTTP/2 has a user's name, or differs from the Host field.
    Authority,
    /// A CONNECT of HTTP/2 asks for a protocol (RFC 8441) that is not implemented.
    UnknownProtocol,
    /// There are both Content-Length and Transfer-Encoding: the classic of request smuggling.
    LengthAndCoding,
    /// A Transfer-Encoding in an HTTP/1.0 request (RFC 9112 section 6.1).
    CodingInOldVersion,
    /// A Transfer-Encoding that is malformed, or where `chunked` is not the last coding or not there once
    /// only, so that the content's end can't be known (RFC 9112 section 6.3).
    TransferEncoding,
    /// A transfer coding other than `chunked`; none is implemented (RFC 9112 section 6.1).
    UnknownCoding,
    /// An expectation other than `100-continue` (RFC 9110 section 10.1.1).
    Expectation,
    /// The content is longer than `Limits::content`.
    ContentTooLarge,
    /// Chunked content whose framing is broken: no hexadecimal size, a bare LF, data longer than its size.
    Chunk,
    /// More bytes of chunk extensions than `limits::CHUNK_EXTENSIONS`.
    ChunkExtensionsTooLarge,
    /// A line after chunked content that is no field line.
    Trailer,
    /// The head was not complete in time.
    HeadTooSlow,
    /// The content came too slowly.
    ContentTooSlow,
    /// Heads that have not ended hold all the memory that there is for them.
    HeadMemory,
    /// There is no room for the content.
    StorageFull,
    /// There are no descriptors or there is no memory for the content.
    OutOfResources,
    /// The content could not be written to where it is kept.
    Storage,
    /// Plain HTTP on a port where TLS is spoken.
    PlainHttp,
}

impl Error {
    /// The status that tells the peer (RFC 9110 section 15).
    pub fn status(&self) -> u16 {
        match self {
            Error::RequestLine
            | Error::EmptyLines
            | Error::BareLf
            | Error::Target(_)
            | Error::FieldName
            | Error::FieldValue
            | Error::ContentLength
            | Error::ContentLengthRepeated
            | Error::Authority
            | Error::LengthAndCoding
            | Error::CodingInOldVersion
            | Error::TransferEncoding
            | Error::Chunk
            | Error::ChunkExtensionsTooLarge
            | Error::Trailer
            | Error::PlainHttp => 400,
            Error::HeadTooSlow | Error::ContentTooSlow => 408,
            Error::ContentTooLarge => 413,
            Error::TargetTooLong => 414,
            Error::Expectation => 417,
            Error::FieldNameTooLong | Error::FieldSectionTooLarge | Error::TooManyFields => 431,
            Error::MethodTooLong | Error::UnknownCoding | Error::UnknownProtocol => 501,
            Error::UnknownVersion => 505,
            Error::StorageFull => 507,
            Error::HeadMemory | Error::OutOfResources => 503,
            Error::Storage => 500,
        }
    }

    /// Under which count the server's status has it; what is wrong with the message itself is not counted.
    fn refusal(&self) -> Option<Refusal> {
        match self {
            Error::HeadMemory => Some(Refusal::Request),
            Error::StorageFull | Error::OutOfResources | Error::Storage => Some(Refusal::Content),
            _ => None,
        }
    }

    /// Notes that a request was refused for this.
    pub(super) fn refused(&self, connection: &Connection) {
        limited!(Info, "refused with {}: {self}", self.status());
        if let Some(refusal) = self.refusal() {
            connection.counts(refusal);
        }
    }

    /// The content of the response.
    pub fn text(&self) -> &'static str {
        match self {
            Error::PlainHttp => {
                "This port speaks HTTPS, and the request came as plain HTTP: use https://\n"
            }
            other => reason(other.status()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::RequestLine => "the request line is malformed",
            Error::EmptyLines => "too many empty lines before the request line",
            Error::BareLf => "a line of the head ends in LF without CR",
            Error::MethodTooLong => "the method is too long",
            Error::UnknownVersion => "the HTTP version is neither 1.0 nor 1.1",
            Error::TargetTooLong => "the request target is too long",
            Error::Target(error) => return error.fmt(f),
            Error::FieldName => "a field line has a malformed name",
            Error::FieldValue => "a field value holds a control byte",
            Error::FieldNameTooLong => "a field name is too long",
            Error::FieldSectionTooLarge => "the field section is too large",
            Error::TooManyFields => "there are too many fields",
            Error::ContentLength => "the Content-Length is not a number",
            Error::ContentLengthRepeated => "there is more than one Content-Length",
            Error::Authority => "the authority has a user's name, or differs from the Host field",
            Error::UnknownProtocol => "CONNECT asks for a protocol that is not implemented",
            Error::LengthAndCoding => "there are both Content-Length and Transfer-Encoding",
            Error::CodingInOldVersion => "a Transfer-Encoding in HTTP/1.0",
            Error::TransferEncoding => "the Transfer-Encoding leaves the content's end unknown",
            Error::UnknownCoding => "the transfer coding is not implemented",
            Error::Expectation => "the expectation is not 100-continue",
            Error::ContentTooLarge => "the content is too large",
            Error::Chunk => "the chunked content is malformed",
            Error::ChunkExtensionsTooLarge => "there are too many chunk extensions",
            Error::Trailer => "a trailer line is malformed",
            Error::HeadTooSlow => "the head took too long",
            Error::ContentTooSlow => "the content came too slowly",
            Error::HeadMemory => "heads that have not ended hold all the memory for heads",
            Error::StorageFull => "there is no room for the content",
            Error::OutOfResources => "there are no descriptors for the content",
            Error::Storage => "the content can't be written",
            Error::PlainHttp => "plain HTTP on a port for HTTPS",
        })
    }
}

impl std::error::Error for Error {}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Error::Target(error)
    }
}

/// Why a request's content does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The request is refused.
    Refused(Error),
    /// There is no client any more to refuse.
    Lost(Close),
}

/// Why a response can't be sent as the app gave it. Before its head the client gets 500 in its place, after it a cut; the log
/// gets this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The status is not from 200 to 999, nor 101; or, for an interim response, not from 100 to 199 without 101.
    Status,
    /// A field name is empty or no token (RFC 9110 section 5.1).
    FieldName,
    /// A field value holds CR, LF or NUL, by which a client could write fields of its own.
    FieldValue,
    /// A Content-Length is not one row of digits, or two of them differ.
    ContentLength,
    /// A Transfer-Encoding other than `chunked` for a client of HTTP/1.0, which knows none.
    TransferEncoding,
    /// The content ended this many bytes before its Content-Length.
    Short(u64),
    /// The content ended before the last chunk that the app made itself.
    ShortChunks,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResponseError::Status => "the app's status code can't be sent",
            ResponseError::FieldName => "a field name in the app's response is not a token",
            ResponseError::FieldValue => {
                "a field value in the app's response holds CR, LF or a zero byte"
            }
            ResponseError::ContentLength => {
                "the Content-Length in the app's response is malformed or contradicts itself"
            }
            ResponseError::TransferEncoding => {
                "the app's response has a Transfer-Encoding, but the client speaks HTTP/1.0"
            }
            ResponseError::Short(missing) => {
                return write!(
                    f,
                    "a response ended {missing} bytes before its Content-Length"
                );
            }
            ResponseError::ShortChunks => {
                "a response ended before the last of the app's own chunks"
            }
        })
    }
}

impl std::error::Error for ResponseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_error_status_and_a_line_for_the_log() {
        for (error, status) in [
            (Error::RequestLine, 400),
            (Error::EmptyLines, 400),
            (Error::BareLf, 400),
            (Error::MethodTooLong, 501),
            (Error::UnknownVersion, 505),
            (Error::TargetTooLong, 414),
            (Error::Target(TargetError::HostRepeated), 400),
            (Error::FieldName, 400),
            (Error::FieldValue, 400),
            (Error::FieldNameTooLong, 431),
            (Error::FieldSectionTooLarge, 431),
            (Error::TooManyFields, 431),
            (Error::ContentLength, 400),
            (Error::ContentLengthRepeated, 400),
            (Error::Authority, 400),
            (Error::UnknownProtocol, 501),
            (Error::LengthAndCoding, 400),
            (Error::CodingInOldVersion, 400),
            (Error::TransferEncoding, 400),
            (Error::UnknownCoding, 501),
            (Error::Expectation, 417),
            (Error::ContentTooLarge, 413),
            (Error::Chunk, 400),
            (Error::ChunkExtensionsTooLarge, 400),
            (Error::Trailer, 400),
            (Error::HeadTooSlow, 408),
            (Error::ContentTooSlow, 408),
            (Error::HeadMemory, 503),
            (Error::StorageFull, 507),
            (Error::OutOfResources, 503),
            (Error::Storage, 500),
            (Error::PlainHttp, 400),
        ] {
            assert_eq!(error.status(), status, "{error}");
            assert!(!crate::semantics::status::reason(status).is_empty());
            assert!(error.to_string().len() > 15);
        }
    }
}
