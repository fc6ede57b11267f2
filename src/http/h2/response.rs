//! Heads of responses, as an app gives them, to those that the crate sends.

use ::http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SERVER, TRANSFER_ENCODING, UPGRADE,
};
use ::http::{Response, StatusCode};

use crate::http::context::Context;
use crate::http::error::ResponseError;
use crate::http::h1::framing::Method;
use crate::http::h1::write::Body;
use crate::http::server_fields;
use crate::semantics::field::{Fields, decimal};
use crate::semantics::message::ResponseHead;
use crate::semantics::status;

/// The head of a final response, and how its content follows.
///
/// `length` is the content's length where it is known beforehand. Fields that speak of a connection of HTTP/1 are left out
/// (RFC 9113 section 8.2.2). Chunks that the app has made itself are decoded.
pub(super) fn head(
    method: Method,
    response: &ResponseHead,
    length: Option<u64>,
    context: &Context,
) -> Result<(Response<()>, Body), ResponseError> {
    let status = response.status;
    if !(200..=999).contains(&status) {
        return Err(ResponseError::Status);
    }
    let bodiless = method == Method::Head || status::forbids_content(status);
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).map_err(|_| ResponseError::Status)?;
    let App {
        length: given,
        coding,
        own,
    } = app_fields(head.headers_mut(), response)?;
    let coding = coding.filter(|_| !bodiless);
    let length = match (given, length) {
        _ if coding.is_some() || status == 204 => None,
        (Some(given), _) => Some(given),
        (None, _) if status == 304 => None,
        // An app that knows of HEAD gives no content, which says nothing about that of GET.
        (None, Some(0)) if method == Method::Head => None,
        (None, length) => length,
    };
    if let Some(length) = length {
        head.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    own_fields(head.headers_mut(), own, context);
    let body = match (coding, length) {
        _ if bodiless => Body::None,
        (Some(coding), _) => coding,
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::UntilClose,
    };
    Ok((head, body))
}

/// The head that tells the client that the app speaks its protocol from now on: a 200 in the place of the app's 101 (RFC 8441
/// section 5).
pub(super) fn switched(
    response: &ResponseHead,
    context: &Context,
) -> Result<(Response<()>, Body), ResponseError> {
    let mut head = Response::new(());
    let App { own, .. } = app_fields(head.headers_mut(), response)?;
    // It would answer a key that the client has not sent.
    head.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    own_fields(head.headers_mut(), own, context);
    Ok((head, Body::Tunnel))
}

/// The head of an interim response.
pub(super) fn informational(response: &ResponseHead) -> Result<Response<()>, ResponseError> {
    let status = response.status;
    if !(100..=199).contains(&status) || status == 101 {
        return Err(ResponseError::Status);
    }
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::from_u16(status).map_err(|_| ResponseError::Status)?;
    app_fields(head.headers_mut(), response)?;
    Ok(head)
}

/// The fields that follow the content.
pub(super) fn trailers(fields: &Fields) -> HeaderMap {
    let mut section = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        // The worker has refused what is none.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_bytes(value.trim_ascii()),
        ) {
            section.append(name, value);
        }
    }
    section
}

/// The head of a response of the server's own with so much plain text as content.
pub(super) fn canned(status: u16, length: usize, context: &Context) -> Response<()> {
    let mut head = Response::new(());
    // The server's own statuses are valid.
    *head.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fields = head.headers_mut();
    if status == 503 {
        fields.insert(
            RETRY_AFTER,
            HeaderValue::from_static(server_fields::RETRY_AFTER),
        );
    }
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.insert(CONTENT_LENGTH, length.into());
    own_fields(fields, Own::default(), context);
    head
}

/// Fields of the server's own that the app has set.
#[derive(Clone, Copy, Debug, Default)]
struct Own {
    date: bool,
    server: bool,
}

/// Adds Date and Server, unless the app has set them.
fn own_fields(fields: &mut HeaderMap, own: Own, context: &Context) {
    if !own.date
        && let Ok(date) =
            HeaderValue::from_bytes(context.server_fields.borrow_mut().now().date_value())
    {
        fields.insert(DATE, date);
    }
    if let Some(server) = &context.settings.server
        && !own.server
        && let Ok(server) = HeaderValue::from_maybe_shared(server.clone())
    {
        fields.insert(SERVER, server);
    }
}

/// What an app's fields say to the server.
struct App {
    /// The length that it has announced.
    length: Option<u64>,
    /// The coding that it has applied itself.
    coding: Option<Body>,
    own: Own,
}

/// Adds the app's fields.
fn app_fields(fields: &mut HeaderMap, response: &ResponseHead) -> Result<App, ResponseError> {
    let mut length = None;
    let mut coding = None;
    let mut own = Own::default();
    for (name, value) in response.fields.iter() {
        let name = HeaderName::from_bytes(name).map_err(|_| ResponseError::FieldName)?;
        let value = value.trim_ascii();
        if name == CONTENT_LENGTH {
            // An app that does not know the length may say so by undef.
            if value.is_empty() {
                continue;
            }
            let told = decimal(value).ok_or(ResponseError::ContentLength)?;
            if length.is_some_and(|other| other != told) {
                return Err(ResponseError::ContentLength);
            }
            length = Some(told);
        } else if name == TRANSFER_ENCODING {
            match value.to_ascii_lowercase().as_slice() {
                b"" | b"identity" => {}
                b"chunked" if coding.is_none() => coding = Some(Body::OwnChunksDecoded),
                // Such content can't be sent: HTTP/2 has no transfer codings.
                _ => return Err(ResponseError::TransferEncoding),
            }
        } else if name != CONNECTION
            && name != UPGRADE
            && name != "keep-alive"
            && name != "proxy-connection"
        {
            let value = HeaderValue::from_bytes(value).map_err(|_| ResponseError::FieldValue)?;
            own.date |= name == DATE;
            own.server |= name == SERVER;
            fields.append(name, value);
        }
    }
    Ok(App {
        length,
        coding,
        own,
    })
}
