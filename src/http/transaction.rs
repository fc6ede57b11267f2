//! One exchange of request and response, whatever the wire: head, refusal or route, content, call, response, log.
//!
//! A wire (`http::h1`, later others) reads heads and implements [`RequestBody`] and [`ResponseSink`]; [`run`] does the rest. It
//! decides, the wire frames.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use super::close::Close;
use super::content;
use super::context::{ConnectionInfo, Context};
use super::error::BodyError;
use super::examine::examine;
use super::forwarding::Forwarding;
use super::request_body::RequestBody;
use super::request_log::ParsedSoFar;
use super::response_sink::ResponseSink;
use super::server_fields;
use crate::body::Part;
use crate::dispatch::{Event, Exchange};
use crate::documents::{Answer, of_app};
use crate::log::limited;
use crate::scoreboard::connections::State;
use crate::semantics::code::{Known, Nonsense, Question};
use crate::semantics::field::Fields;
use crate::semantics::field::may_be_trailer;
use crate::semantics::message::{Content, Length, Request, RequestHead, ResponseHead, Timestamp};
use crate::semantics::source::{Certainty, Source};
use crate::site::{Decision, Response, Route};

/// Serves the request with this head, whose first byte came at `started`. `Ok` where another may follow on its connection.
pub(super) async fn run<W: RequestBody + ResponseSink>(
    head: RequestHead,
    started: Timestamp,
    wire: &mut W,
    connection: &ConnectionInfo,
    context: &Context,
) -> Result<(), Close> {
    let mut parsed = ParsedSoFar::Nothing;
    let ended = serve(head, started, wire, connection, context, &mut parsed).await;
    let counts = wire.counts();
    wire.log()
        .finish(context, &parsed, connection, ended, counts);
    ended
}

async fn serve<W: RequestBody + ResponseSink>(
    mut head: RequestHead,
    started: Timestamp,
    wire: &mut W,
    connection: &ConnectionInfo,
    context: &Context,
    parsed: &mut ParsedSoFar,
) -> Result<(), Close> {
    let source = source(&mut head, connection, context);
    let limits = &context.settings.limits;
    let examined = examine(&head, limits);
    let framed = examined.and_then(|()| match context.site.max_content(&head) {
        None => wire.frame(&head, limits),
        Some(most) => wire.frame(&head, &limits.with_content(most)),
    });
    if let Err(error) = framed {
        *parsed = ParsedSoFar::Head(head, source);
        return Err(wire.refuse(error).await);
    }
    if connection.misdirects(&head) {
        // No host has it, so that none has its page sent.
        *parsed = ParsedSoFar::Head(head, source);
        return respond(Response::refusal(421), wire, context).await;
    }
    let mut known = Known::default();
    let Route { vhost, decision } = loop {
        let route = context.site.route(&mut head, &source, &mut known).await;
        let Decision::Ask(question, target) = route.decision else {
            break route;
        };
        // Each answer makes that there is one question less. Only the head is sent: what is refused is never uploaded.
        let mut asked = head.clone();
        if let Some(target) = target {
            asked.rewrite(&target);
        }
        let request = Request {
            head: asked,
            content: Content::Empty,
            content_length: None,
            listener: connection.listener,
            vhost: route.vhost,
            source: source.clone(),
            tls: connection.tls.clone(),
            http2: None,
            connected: connection.connected,
            started,
            finished: Timestamp::now(),
        };
        wire.show(State::Processing);
        let exchange = context.dispatch.submit(request, connection.flow.as_ref());
        if wire.log().is_kept() {
            *parsed = ParsedSoFar::Whole(exchange.witness());
        }
        // Boxed: each request would have the room otherwise, and few ask.
        let asked = Box::pin(hear(exchange, &question, &mut known, &head, wire, context));
        match asked.await? {
            Asked::PassedOn => {}
            Asked::Answered => return Ok(()),
        }
    };
    if let Decision::Server(responder) = decision {
        wire.show(State::Processing);
        if let Some(response) = responder.answer(&head, &source).await {
            let response = context.site.with_error_page(&head, response).await;
            *parsed = ParsedSoFar::Head(head, source);
            return respond(response, wire, context).await;
        }
    }
    let content = match content::is_missing(wire) {
        true => Ok(content::Complete::in_memory(Content::Empty, None)),
        false => content::read(wire, source.client(), context).await,
    };
    let content = match content {
        Ok(content) => content,
        Err(error) => {
            *parsed = ParsedSoFar::Head(head, source);
            return Err(match error {
                BodyError::Refused(error) => wire.refuse(error).await,
                BodyError::Lost(close) => close,
            });
        }
    };
    wire.show(State::Processing);
    let request = Request {
        head,
        content: content.content,
        content_length: content.length,
        listener: connection.listener,
        vhost,
        source,
        tls: connection.tls.clone(),
        http2: wire.http2().map(Box::new),
        connected: connection.connected,
        started,
        finished: wire.finished(started),
    };
    let exchange = context.dispatch.submit(request, connection.flow.as_ref());
    if wire.log().is_kept() {
        *parsed = ParsedSoFar::Whole(exchange.witness());
    }
    carry(exchange, None, wire, context).await
}

/// The field by which the code of a host passes a request on, with what it has found out.
const PASS: &str = "gepok-pass";

/// What the code of a host has done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// It passes it on: what it has found out is known now.
    PassedOn,
    /// It has answered it, and another one may follow on its connection.
    Answered,
}

/// Takes the answer of the code of a host, which was asked before the content of the request was read.
async fn hear<W: RequestBody + ResponseSink>(
    exchange: Exchange,
    question: &Question,
    known: &mut Known,
    head: &RequestHead,
    wire: &mut W,
    context: &Context,
) -> Result<Asked, Close> {
    let mut first = next(&exchange, wire, Duration::ZERO).await?;
    while let Event::Informational(_) = first {
        first = next(&exchange, wire, Duration::ZERO).await?;
    }
    let passed = match &first {
        Event::Head(answer, _) => answer.fields.first(PASS),
        _ => None,
    };
    let Some(passed) = passed else {
        let answered = answer_early(exchange, first, wire, context).await;
        return answered.map(|()| Asked::Answered);
    };
    if let Err(Nonsense) = known.learn(question, passed) {
        limited!(
            Error,
            "code of a virtual host, asked '{}', has answered '{}', which can't be used",
            question.text(),
            passed.escape_ascii()
        );
        exchange.complete();
        let response = Response::refusal(500);
        let response = context.site.with_error_page(head, response).await;
        let answered = respond(response, wire, context).await;
        return answered.map(|()| Asked::Answered);
    }
    // The worker is free again.
    while !matches!(
        next(&exchange, wire, Duration::ZERO).await?,
        Event::End | Event::Failed | Event::TimedOut
    ) {}
    Ok(Asked::PassedOn)
}

/// Sends the response of code that was asked before the content of the request was read.
async fn answer_early<W: RequestBody + ResponseSink>(
    exchange: Exchange,
    first: Event,
    wire: &mut W,
    context: &Context,
) -> Result<(), Close> {
    let skipped = wire.skip();
    match carry(exchange, Some(first), wire, context).await {
        // The client may still be sending.
        Err(Close::Done) if !skipped => Err(Close::Refused),
        ended => ended,
    }
}

/// Sends the response of a worker, of which the first part may have come.
async fn carry<W: RequestBody + ResponseSink>(
    exchange: Exchange,
    first: Option<Event>,
    wire: &mut W,
    context: &Context,
) -> Result<(), Close> {
    exchange.is_counted_by(wire.taken());
    let ended = {
        let mut relaying = pin!(relay(&exchange, first, wire, context));
        poll_fn(|context| {
            if exchange.is_cut() {
                return Poll::Ready(Err(Close::Cut));
            }
            let polled = relaying.as_mut().poll(context);
            if polled.is_pending() {
                exchange.on_write_blocked(context.waker());
            }
            polled
        })
        .await
    };
    if exchange.is_running_on() {
        wire.keep(exchange);
    }
    ended
}

/// Where the request comes from. Forwarding fields are read here, and only what they prove stays in the head.
fn source(head: &mut RequestHead, connection: &ConnectionInfo, context: &Context) -> Source {
    match (&context.settings.forwarding, connection.forwarding) {
        (None, _) | (_, Forwarding::Pass) => connection.source.clone(),
        (Some(settings), Forwarding::Drop) => {
            settings.drop_fields(head, &connection.source, Certainty::Known)
        }
        (Some(settings), Forwarding::Relayed) => {
            settings.drop_fields(head, &connection.source, Certainty::Hidden)
        }
        (Some(settings), Forwarding::Read) => settings.read(head, &connection.source),
    }
}

/// Sends a response of the server's own. The content of its request is not read: what is refused is never uploaded.
async fn respond<W: RequestBody + ResponseSink>(
    response: Response,
    wire: &mut W,
    context: &Context,
) -> Result<(), Close> {
    let skipped = wire.skip();
    let taken = wire.taken();
    let sent = context.dispatch.send_paced(send(response, wire), &taken);
    match sent.await.unwrap_or(Err(Close::Cut)) {
        // The client may still be sending.
        Err(Close::Done) if !skipped => Err(Close::Refused),
        ended => ended,
    }
}

/// Sends a response that is known before its first byte leaves.
async fn send(response: Response, wire: &mut impl ResponseSink) -> Result<(), Close> {
    let Response { head, mut body } = response;
    if let Err(error) = wire.head(&head, Some(body.length())) {
        limited!(
            Error,
            "a response of the server's own can't be sent: {error}"
        );
        return wire.fail(500).await;
    }
    while let Some(part) = body.pop() {
        match part {
            Part::Bytes(bytes) => wire.content(bytes.into(), || None).await?,
            Part::File(slice) => wire.file(slice).await?,
        }
    }
    wire.end().await
}

/// Sends the parts of an app's response as they come. What is rare is boxed: each request would have the room otherwise.
async fn relay(
    exchange: &Exchange,
    first: Option<Event>,
    wire: &mut impl ResponseSink,
    context: &Context,
) -> Result<(), Close> {
    // How long the app may write nothing; zero is no limit.
    let mut silence = Duration::ZERO;
    let mut progress = Progress::Nothing;
    // What came before, or together with a head, and was not sent yet.
    let mut following = first;
    loop {
        let event = match following.take().or_else(|| exchange.try_next()) {
            Some(event) => event,
            None => {
                // What is there goes out before we wait for more.
                wire.flush().await?;
                if wire.is_complete() {
                    exchange.complete();
                    return wire.end().await;
                }
                match wire.wait(exchange.next(), silence).await? {
                    Some(event) => event,
                    None => {
                        return Box::pin(silent(silence, progress, exchange, wire, context)).await;
                    }
                }
            }
        };
        match event {
            Event::Informational(head) => {
                if wire.is_lent() {
                    wire.take_back().await?;
                }
                if let Err(error) = wire.informational(&head) {
                    limited!(Error, "an interim response was dropped: {error}");
                }
            }
            Event::Trailers(mut fields) => {
                fields.retain(|name, _| {
                    let may = may_be_trailer(name);
                    if !may {
                        limited!(
                            Error,
                            "the field {} can't be a trailer: it is not sent",
                            String::from_utf8_lossy(name)
                        );
                    }
                    may
                });
                wire.trailers(fields);
            }
            Event::Head(head, length) => {
                if wire.is_lent() {
                    wire.take_back().await?;
                }
                if !exchange.has_lent_socket() && context.site.offloads(&head) {
                    // The worker is free, whatever content it would send.
                    exchange.complete();
                    let request = exchange.head();
                    if let Some(response) = context.site.offloaded(request, &head).await {
                        let response = context.site.with_error_page(request, response).await;
                        return send(response, wire).await;
                    }
                }
                let mut head = head;
                if let Length::File(length) = length
                    && is_seekable(exchange, context, &head, length)
                {
                    let mut content = match is_head(exchange) {
                        true => None,
                        false => Some(match exchange.try_next() {
                            Some(content) => content,
                            None => {
                                wire.flush().await?;
                                next(exchange, wire, silence).await?
                            }
                        }),
                    };
                    match of_app::answer(
                        exchange.head(),
                        &head,
                        length,
                        as_content(content.as_mut()),
                    ) {
                        // What ends the response is still to come.
                        Some(answer) if content.is_none() && answer.head.status == 200 => {
                            head = answer.head;
                        }
                        Some(Answer { head, body }) => {
                            // The client gets no more of this response.
                            exchange.complete();
                            return send(Response { head, body }, wire).await;
                        }
                        None => {}
                    }
                    following = content;
                }
                if let Err(error) = wire.head(&head, length.known()) {
                    limited!(Error, "a response can't be sent: {error}");
                    // The client is there, and gets no more of this response.
                    exchange.complete();
                    return Box::pin(fail(500, progress, exchange, wire, context)).await;
                }
                progress = Progress::HeadSent;
            }
            Event::Chunk(piece) => {
                if wire.is_lent() {
                    wire.take_back().await?;
                }
                wire.content(piece, || exchange.try_next_chunk()).await?;
            }
            Event::File(slice) => {
                if wire.is_lent() {
                    wire.take_back().await?;
                }
                wire.file(slice).await?;
            }
            // An app has no such key then: one that asks all the same gets none.
            Event::Take if !context.settings.psgix_io => exchange.hand_over(None),
            Event::Take => exchange.hand_over(wire.lend().await?),
            // Perhaps nothing is left that would end it.
            Event::WriterKept => silence = context.settings.kept_timeout,
            Event::End => return wire.end().await,
            Event::Failed => return Box::pin(fail(502, progress, exchange, wire, context)).await,
            Event::Overloaded => {
                return Box::pin(fail(503, progress, exchange, wire, context)).await;
            }
            Event::TimedOut => return Box::pin(fail(504, progress, exchange, wire, context)).await,
        }
    }
}

/// How much of an app's response was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// No final head
    Nothing,
    /// Its head at least
    HeadSent,
}

/// Ends a response that the app does not give: with the host's page where nothing was sent and it has one.
async fn fail(
    status: u16,
    progress: Progress,
    exchange: &Exchange,
    wire: &mut impl ResponseSink,
    context: &Context,
) -> Result<(), Close> {
    if progress == Progress::Nothing && !exchange.has_lent_socket() {
        let fields = match status {
            503 => {
                Fields::from_pairs([(&b"Retry-After"[..], server_fields::RETRY_AFTER.as_bytes())])
            }
            _ => Fields::default(),
        };
        let page = context.site.error_page(exchange.head(), status, &fields);
        if let Some(response) = page.await {
            return send(response, wire).await;
        }
    }
    wire.fail(status).await
}

/// Waits for the next part of an app's response, which has begun; zero is no limit.
async fn next(
    exchange: &Exchange,
    wire: &mut impl ResponseSink,
    limit: Duration,
) -> Result<Event, Close> {
    match wire.wait(exchange.next(), limit).await? {
        Some(event) => Ok(event),
        None => Err(wire.cut()),
    }
}

/// Ends a response that nothing was heard of since its call has returned: 504 where its head was not sent.
async fn silent(
    limit: Duration,
    progress: Progress,
    exchange: &Exchange,
    wire: &mut impl ResponseSink,
    context: &Context,
) -> Result<(), Close> {
    if progress == Progress::Nothing && !exchange.has_lent_socket() {
        limited!(
            Error,
            "a response that the app has delayed has not come for {limit:?}: its client gets 504"
        );
        return fail(504, progress, exchange, wire, context).await;
    }
    limited!(
        Error,
        "a writer that outlives its call has written nothing for {limit:?}: its response is cut"
    );
    Err(wire.cut())
}

/// Whether the client gets conditions and ranges from the server for a response with this head, whose content is a file of this length.
fn is_seekable(exchange: &Exchange, context: &Context, head: &ResponseHead, length: u64) -> bool {
    context.settings.file_ranges
        && !exchange.has_lent_socket()
        && of_app::is_wanted(exchange.head(), head, length)
}

fn is_head(exchange: &Exchange) -> bool {
    exchange.head().method() == b"HEAD"
}

/// What of an event is content.
fn as_content(event: Option<&mut Event>) -> of_app::Content<'_> {
    match event {
        Some(Event::File(slice)) => of_app::Content::File(slice),
        Some(Event::Chunk(piece)) => of_app::Content::Bytes(piece.chunk.make_owned()),
        // Of an empty file nothing comes but the end.
        Some(_) => of_app::Content::Bytes(&[]),
        None => of_app::Content::None,
    }
}
