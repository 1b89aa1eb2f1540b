//! Answers and refusals as HTTP responses.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use commonwatt_core::refusal::Refusal;
use commonwatt_grid::detached::Follower;
use commonwatt_grid::relay::{AnswerBody, Answered, Relay, Served};
use commonwatt_wire::sse::{Framing, JsonArray};
use commonwatt_wire::{Dialect, status, write_refusal};
use futures_util::stream;
use futures_util::{Stream, StreamExt};
use hyper::body::{Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::doors::SESSION;

/// The body of a response.
pub(crate) enum Body {
    /// Complete.
    Whole(Bytes),
    /// Begun. Dropping it, as hyper does when the caller leaves, ends the call.
    Stream(Chunks),
}

/// The bytes of an answer that has begun.
type Chunks = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(bytes)
    }
}

impl From<Box<Relay>> for Body {
    fn from(relay: Box<Relay>) -> Self {
        let next = |mut relay: Box<Relay>| async move { relay.next().await.map(|bytes| (bytes, relay)) };
        Self::Stream(Box::pin(stream::unfold(relay, next)))
    }
}

impl From<Follower> for Body {
    fn from(follower: Follower) -> Self {
        let next = |mut follower: Follower| async move { follower.next().await.map(|bytes| (bytes, follower)) };
        Self::Stream(Box::pin(stream::unfold(follower, next)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(stream) => stream.as_mut().poll_next(context).map(|bytes| Some(Ok(Frame::data(bytes?)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// The id of the call.
const CALL: HeaderName = HeaderName::from_static("x-commonwatt-call");
const DEPLOYMENT: HeaderName = HeaderName::from_static("x-commonwatt-deployment");
const TIER: HeaderName = HeaderName::from_static("x-commonwatt-tier");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-commonwatt-attempts");
const FAILED: HeaderName = HeaderName::from_static("x-commonwatt-failed");
const LOSSY: HeaderName = HeaderName::from_static("x-commonwatt-lossy");

/// The response that carries an answer, with headers that say who gave it.
pub(crate) fn answer(dialect: Dialect, answered: Answered) -> Response<Body> {
    let Answered { served, body } = answered;
    let (kind, body) = match body {
        AnswerBody::Whole(bytes) => ("application/json", Body::from(bytes)),
        AnswerBody::Stream(relay) => (stream_kind(dialect), Body::from(relay)),
        AnswerBody::Followed(follower) => return followed(dialect, follower, Some(&served)),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    describe(dialect, &served, headers);
    response
}

/// The response that carries what is left of an answer that is made whoever listens.
pub(crate) fn followed(dialect: Dialect, follower: Follower, served: Option<&Served>) -> Response<Body> {
    let mut response = Response::new(Body::from(follower));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(stream_kind(dialect)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(served) = served {
        describe(dialect, served, headers);
    }
    response
}

fn describe(dialect: Dialect, served: &Served, headers: &mut HeaderMap) {
    put_id(headers, dialect, &served.call.0);
    if let Some(deployment) = &served.deployment {
        put(headers, DEPLOYMENT, deployment.as_str());
    }
    if let Some(tier) = served.tier {
        headers.insert(TIER, HeaderValue::from_static(tier.word()));
    }
    if let Some(session) = &served.session {
        put(headers, SESSION, &session.0);
    }
    if served.attempts > 0 {
        headers.insert(ATTEMPTS, HeaderValue::from(served.attempts));
    }
    if !served.failed.is_empty() {
        put(headers, FAILED, &served.failed.join(", "));
    }
    if !served.lossy.is_empty() {
        put(headers, LOSSY, &served.lossy.join(", "));
    }
}

/// The call's id, in our header and in the dialect's.
fn put_id(headers: &mut HeaderMap, dialect: Dialect, call_id: &str) {
    if let Ok(id) = HeaderValue::from_str(call_id) {
        headers.insert(CALL, id.clone());
        headers.insert(request_id(dialect), id);
    }
}

fn stream_kind(dialect: Dialect) -> &'static str {
    match dialect.framing() {
        Framing::Events => "text/event-stream; charset=utf-8",
        Framing::Lines => "application/x-ndjson",
    }
}

/// The header in which each dialect's SDK looks for the id of a request.
fn request_id(dialect: Dialect) -> HeaderName {
    match dialect {
        Dialect::AnthropicMessages => HeaderName::from_static("request-id"),
        Dialect::OpenAiChat
        | Dialect::OpenAiResponses
        | Dialect::Gemini
        | Dialect::OllamaChat
        | Dialect::OllamaGenerate
        | Dialect::OpenAiCompletions => HeaderName::from_static("x-request-id"),
    }
}

/// Inserts a value that came from outside; what cannot stand in a header is replaced by `?`.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    let clean = || value.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect::<String>();
    if let Ok(value) = HeaderValue::from_str(value).or_else(|_| HeaderValue::from_str(&clean())) {
        headers.insert(name, value);
    }
}

/// The response that carries a refusal, in the caller's dialect.
pub(crate) fn refusal(dialect: Dialect, refusal: &Refusal, call_id: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(write_refusal(dialect, refusal, call_id))));
    *response.status_mut() =
        StatusCode::from_u16(status(dialect, refusal.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    put_id(headers, dialect, call_id);
    if let Some(wait_ms) = refusal.retry_after_ms {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
        headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(wait_ms));
    }
    response
}

/// The same response as a JSON array, whose elements are the events of a stream, or its only body.
pub(crate) fn in_array(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let body = match body {
        Body::Whole(object) => Body::from(Bytes::from([b"[", &*object, b"]"].concat())),
        Body::Stream(events) => {
            Body::Stream(Box::pin(stream::unfold(Some((events, JsonArray::default())), next_elements)))
        }
    };
    Response::from_parts(parts, body)
}

/// What is left to come of an array: nothing after its end.
type Rest = Option<(Chunks, JsonArray)>;

async fn next_elements(rest: Rest) -> Option<(Bytes, Rest)> {
    let (mut events, mut array) = rest?;
    loop {
        let Some(chunk) = events.next().await else { return Some((Bytes::from_static(array.close()), None)) };
        let elements = array.add(chunk);
        if !elements.is_empty() {
            return Some((elements.into(), Some((events, array))));
        }
    }
}

/// A JSON response.
pub(crate) fn json(bytes: Vec<u8>) -> Response<Body> {
    text("application/json", bytes)
}

/// A response of that media type.
pub(crate) fn text(kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn told(body: Body) -> (String, String) {
        let response = in_array(Response::new(body));
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (kind, String::from_utf8(bytes.into()).unwrap())
    }

    fn events(chunks: &'static [&'static str]) -> Body {
        Body::Stream(Box::pin(stream::iter(chunks.iter().map(|chunk| Bytes::from_static(chunk.as_bytes())))))
    }

    #[tokio::test]
    async fn a_stream_becomes_an_array_that_is_closed_after_an_error_too() {
        let body = events(&["data: {\"candidates\":[]}\n\n", ": ping\n\n", "data: {\"error\":{\"code\":502}}\n\n"]);
        let (kind, text) = told(body).await;
        assert_eq!(kind, "application/json");
        assert_eq!(text, "[{\"candidates\":[]},\r\n{\"error\":{\"code\":502}}]");
    }

    #[tokio::test]
    async fn a_refusal_before_the_first_element_is_an_array_of_it() {
        let (kind, text) = told(Body::Whole(Bytes::from_static(b"{\"error\":{\"code\":404}}"))).await;
        assert_eq!((kind.as_str(), text.as_str()), ("application/json", "[{\"error\":{\"code\":404}}]"));
    }
}
