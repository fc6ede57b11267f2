//! Files that the app gives as the content of its response: they get conditional requests and ranges from us.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Representation, Slice, Source};
use crate::body::FileSlice;
use crate::semantics::date;
use crate::semantics::field::announced_length;
use crate::semantics::message::{RequestHead, ResponseHead};

/// Fields of a response that knows of ranges, or whose content is not the file as it is.
const OWN: [&str; 5] = [
    "accept-ranges",
    "content-range",
    "content-encoding",
    "transfer-encoding",
    "trailer",
];

/// Whether a response with this head and a file of this length as its content gets conditions and ranges: it has a validator, and knows
/// nothing of ranges.
pub fn is_wanted(request: &RequestHead, head: &ResponseHead, length: u64) -> bool {
    if head.status != 200 || !matches!(request.method(), b"GET" | b"HEAD") {
        return false;
    }
    let fields = &head.fields;
    let has = |name| fields.first(name).is_some();
    if !has("etag") && !has("last-modified") || OWN.into_iter().any(has) {
        return false;
    }
    let pairs: Vec<_> = fields.iter().collect();
    announced_length(&pairs).is_none_or(|announced| announced == length)
}

/// The response to a request for a whole file of this length, which the app gives as this content: part of it, that it has not changed, or
/// all of it. Nothing where the content is not that file.
pub fn answer(
    request: &RequestHead,
    head: &ResponseHead,
    length: u64,
    content: Content<'_>,
) -> Option<Answer> {
    let source = match content {
        Content::None => Source::Absent(length),
        Content::Bytes(bytes) if bytes.len() as u64 == length => {
            Source::Memory(Bytes::copy_from_slice(bytes))
        }
        Content::File(slice) if is_whole(slice, length) => Source::File(Slice {
            file: Arc::clone(&slice.file),
            offset: 0,
            length,
        }),
        Content::Bytes(_) | Content::File(_) => return None,
    };
    let fields: Vec<_> = head.fields.iter().collect();
    let representation = Representation {
        fields: &fields,
        source,
    };
    Some(representation.answer(request, date::seconds_now()))
}

/// What comes after a head.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Nothing: the request is HEAD
    None,
    /// These bytes
    Bytes(&'a [u8]),
    /// Part of this file
    File(&'a FileSlice),
}

/// Whether this is all of a regular file.
fn is_whole(slice: &FileSlice, length: u64) -> bool {
    let whole = slice.offset == 0 && slice.length == length && !slice.is_spooled();
    let metadata = slice.file.metadata();
    whole && metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == length)
}
