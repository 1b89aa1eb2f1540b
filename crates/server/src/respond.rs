//! Answers and refusals as HTTP responses.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use commonwatt_core::refusal::Refusal;
use commonwatt_grid::relay::{AnswerBody, Answered, Relay, Served};
use commonwatt_wire::{Dialect, status, write_refusal};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The id of the call.
pub(crate) const CALL: HeaderName = HeaderName::from_static("x-commonwatt-call");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-commonwatt-deployment");
const TIER: HeaderName = HeaderName::from_static("x-commonwatt-tier");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-commonwatt-attempts");
const FAILED: HeaderName = HeaderName::from_static("x-commonwatt-failed");
const LOSSY: HeaderName = HeaderName::from_static("x-commonwatt-lossy");

/// The response that carries an answer, with headers that say who gave it.
pub(crate) fn answer(dialect: Dialect, answered: Answered) -> Response {
    let Answered { served, body } = answered;
    let (kind, body) = match body {
        AnswerBody::Whole(bytes) => ("application/json", Body::from(bytes)),
        AnswerBody::Stream(relay) => ("text/event-stream; charset=utf-8", stream_body(relay)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    describe(dialect, &served, headers);
    response
}

fn describe(dialect: Dialect, served: &Served, headers: &mut HeaderMap) {
    put(headers, CALL, &served.call_id);
    put(headers, request_id(dialect), &served.call_id);
    put(headers, DEPLOYMENT, &served.deployment);
    headers.insert(TIER, HeaderValue::from_static(served.tier.word()));
    headers.insert(ATTEMPTS, HeaderValue::from(served.attempts));
    if !served.failed.is_empty() {
        put(headers, FAILED, &served.failed.join(", "));
    }
    if !served.lossy.is_empty() {
        put(headers, LOSSY, &served.lossy.join(", "));
    }
}

/// The header in which each dialect's SDK looks for the id of a request.
fn request_id(dialect: Dialect) -> HeaderName {
    match dialect {
        Dialect::OpenAiChat => HeaderName::from_static("x-request-id"),
        Dialect::AnthropicMessages => HeaderName::from_static("request-id"),
    }
}

/// Inserts a value that came from outside; what cannot stand in a header is replaced by `?`.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let clean = || value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect::<String>();
    if let Ok(value) = HeaderValue::from_str(value).or_else(|_| HeaderValue::from_str(&clean())) {
        headers.insert(name, value);
    }
}

fn stream_body(relay: Box<Relay>) -> Body {
    let next = |mut relay: Box<Relay>| async move {
        let bytes = relay.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(bytes), relay))
    };
    Body::from_stream(stream::unfold(relay, next))
}

/// The response that carries a refusal, in the caller's dialect.
pub(crate) fn refusal(dialect: Dialect, refusal: &Refusal, call_id: &str) -> Response {
    let mut response = Response::new(Body::from(write_refusal(dialect, refusal, call_id)));
    *response.status_mut() =
        StatusCode::from_u16(status(dialect, refusal.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put(headers, CALL, call_id);
    put(headers, request_id(dialect), call_id);
    if let Some(wait_ms) = refusal.retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(wait_ms));
    }
    response
}

/// A JSON response.
pub(crate) fn json(bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
