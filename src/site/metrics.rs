//! The metrics, in the format that the collector asks for.

use super::Response;
use crate::metrics::{self, Format, Metrics, Process};
use crate::scoreboard::status::Status;
use crate::semantics::accept::media_type_of;
use crate::semantics::message::RequestHead;

/// The response to a request with this head.
pub(super) fn response(
    metrics: &Metrics,
    status: &Status,
    process: &Process,
    head: &RequestHead,
) -> Response {
    // Collectors name versions, and a charset.
    let format = match media_type_of(&head.fields, &Format::TYPES, |_| true) {
        Some(1) => Format::OpenMetrics,
        _ => Format::Prometheus,
    };
    let content = metrics::text(metrics, status, process, format);
    let fields = [("Content-Type", format.content_type()), ("Vary", "Accept")];
    Response::uncached(200, &fields, content)
}
