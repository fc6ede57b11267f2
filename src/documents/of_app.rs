//! Files that the app gives as the content of its response: they get conditional requests and ranges from us.

use std::sync::Arc;

use super::answer::{Answer, Representation, Slice};
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

/// The length of the file that may follow this head of the app's: one that has a validator and knows nothing of ranges, for a GET
/// request. `length` is that of the content, where the app has not announced it itself.
pub fn expected(request: &RequestHead, head: &ResponseHead, length: Option<u64>) -> Option<u64> {
    if head.status != 200 || request.method() != b"GET" {
        return None;
    }
    let fields = &head.fields;
    let has = |name| fields.first(name).is_some();
    if !has("etag") && !has("last-modified") || OWN.into_iter().any(has) {
        return None;
    }
    let pairs: Vec<_> = fields.iter().collect();
    announced_length(&pairs).or(length)
}

/// The response to a request for this content: part of the file, that it has not changed, or all of it. Nothing where the content is
/// not a whole regular file of this length.
pub fn answer(
    request: &RequestHead,
    head: &ResponseHead,
    content: &FileSlice,
    length: u64,
) -> Option<Answer> {
    let metadata = content.file.metadata().ok()?;
    let whole = content.offset == 0 && content.length == length && metadata.len() == length;
    if !whole || !metadata.is_file() || content.is_spooled() {
        return None;
    }
    let fields: Vec<_> = head.fields.iter().collect();
    let representation = Representation {
        fields: &fields,
        slice: Slice {
            file: Arc::clone(&content.file),
            offset: 0,
            length,
        },
        small: None,
    };
    Some(representation.answer(request, date::seconds_now()))
}
