//! Deployments that are reached over HTTP: clouds, and servers on this machine.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use commonwatt_core::answer::Delta;
use commonwatt_core::call::Requirements;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::patience::Patience;
use commonwatt_wire::{AnswerReader, AnswerWriter, Dialect, Quirks, encode, read_fault, read_whole, sse};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};

use crate::Order;
use crate::alarm::Alarm;
use crate::dial::{Dialer, SimulatedNetwork};
use crate::pieces::Pieces;
use crate::reply::{Content, Frame, Frames, Reply, Source};

/// The longest answer that is not streamed: 64 MiB holds any text and a few images.
const WHOLE_BYTES_MAX: usize = 64 << 20;
/// A connection that breaks this soon after the request was most likely dead in the pool: the request is sent once more.
const DEAD_ON_ARRIVAL: Duration = Duration::from_millis(500);
/// The longest error page that is read, to quote its sentence.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// The longest list of models that is read from a server on this machine.
const LIST_BYTES_MAX: usize = 1 << 20;

/// The connections to all HTTP deployments; one pool for the daemon.
#[derive(Clone)]
pub struct Http {
    client: Client<Dialer, Pieces>,
}

impl Http {
    /// A pool that trusts the machine's certificate authorities.
    ///
    /// # Errors
    /// When the machine has no readable certificates.
    pub fn network(connect_ms: u64) -> std::io::Result<Self> {
        Ok(Self::over(Dialer::network(connect_ms)?))
    }

    /// A pool inside the process, for simulated worlds.
    #[must_use]
    pub fn simulated(network: SimulatedNetwork) -> Self {
        Self::over(Dialer::Simulated(network))
    }

    fn over(dialer: Dialer) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            // Below the idle limits of common servers, so that a connection is rarely found dead.
            .pool_idle_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(256)
            .build(dialer);
        Self { client }
    }

    /// One small request with a deadline, for probes: the body as text, or `None`.
    pub async fn peek(&self, url: &str, wait_ms: u64) -> Option<String> {
        let request = Request::get(url).body(Pieces::default()).ok()?;
        let asked = async {
            let response = self.client.request(request).await.ok()?;
            let ok = response.status().is_success();
            let idle = Duration::from_millis(wait_ms);
            let bytes = collect(response.into_body(), LIST_BYTES_MAX, idle, &mut Alarm::default()).await.ok()?;
            ok.then(|| String::from_utf8_lossy(&bytes).into_owned())
        };
        timeout(Duration::from_millis(wait_ms), asked).await.ok().flatten()
    }
}

/// The way to one provider's models.
pub struct HttpTarget {
    http: Http,
    dialect: Dialect,
    quirks: Quirks,
    answer_uri: Uri,
    count_uri: Option<Uri>,
    credentials: HeaderMap,
    timeouts: Patience,
}

impl HttpTarget {
    /// The way to the provider at `base_url`, written as its own SDK would write it.
    ///
    /// # Errors
    /// One sentence when the address or the key cannot be used.
    pub fn new(
        http: Http,
        dialect: Dialect,
        base_url: &str,
        key: Option<&str>,
        (quirks, timeouts): (Quirks, Patience),
    ) -> Result<Self, String> {
        let base = base_url.trim_end_matches('/');
        let (answer, count) = match dialect {
            Dialect::OpenAiChat => (format!("{base}/chat/completions"), None),
            Dialect::AnthropicMessages => {
                let base = base.strip_suffix("/v1").unwrap_or(base);
                (format!("{base}/v1/messages"), Some(format!("{base}/v1/messages/count_tokens")))
            }
        };
        let uri = |text: &str| {
            let parsed = text.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some() && uri.authority().is_some());
            parsed.ok_or_else(|| format!("`{base_url}` is not an address: write `https://host/path`"))
        };
        let answer_uri = uri(&answer)?;
        let count_uri = count.as_deref().map(uri).transpose()?;
        let credentials = credentials(dialect, key)?;
        Ok(Self { http, dialect, quirks, answer_uri, count_uri, credentials, timeouts })
    }

    /// The waits for a call with these needs.
    #[must_use]
    pub fn patience(&self, needs: &Requirements) -> Patience {
        self.timeouts.for_call(needs)
    }

    pub(crate) async fn dispatch(&self, model: &str, order: &Order<'_>) -> Result<Reply, Fault> {
        let patience = self.patience(&order.envelope.needs);
        let ends = Instant::now() + Duration::from_millis(patience.total_ms);
        let (body, lossy) = self.request_body(model, order).await?;
        let mut alarm = Alarm::default();
        let response = self.send(&self.answer_uri, body, order, (patience.headers_ms, &mut alarm)).await?;
        let response = self.check_status(response).await?;
        let stream = order.envelope.stream && is_event_stream(response.headers());
        let content = if stream {
            let events = EventStream::new(self.dialect, response.into_body(), patience, (ends, alarm));
            Content::Stream(Box::new(Frames::begin(Source::Events(events)).await?))
        } else {
            self.read_whole(response, patience, (ends, alarm)).await?
        };
        Ok(Reply { dialect: Some(self.dialect), lossy, content })
    }

    pub(crate) async fn count_tokens(&self, model: &str, order: &Order<'_>) -> Result<u64, Fault> {
        let unable = || Fault::new(FaultKind::ModelNotFound, "this provider does not count tokens");
        let uri = self.count_uri.as_ref().filter(|_| order.dialect == self.dialect).ok_or_else(unable)?;
        let patience = self.patience(&order.envelope.needs);
        let (body, _) = self.request_body(model, order).await?;
        let mut alarm = Alarm::default();
        let response = self.send(uri, body, order, (patience.headers_ms.min(20_000), &mut alarm)).await?;
        let response = self.check_status(response).await?;
        let idle = Duration::from_millis(patience.idle_ms);
        let bytes = collect(response.into_body(), ERROR_BYTES_MAX, idle, &mut alarm).await?;
        let unreadable = || Fault::new(FaultKind::Malformed, "the provider's count cannot be read");
        commonwatt_wire::read_token_count(&bytes).ok_or_else(unreadable)
    }

    /// The bytes to send: the client's own where it speaks the same dialect, else a translation of what it said.
    async fn request_body(&self, model: &str, order: &Order<'_>) -> Result<(Pieces, Vec<String>), Fault> {
        // Thinking that nobody signed was written by this program for another provider: its own would refuse it.
        if order.dialect == self.dialect && !order.envelope.unsigned_thinking {
            let body = order.body.bytes().await?;
            let (pieces, lossy) = order.envelope.adapted(&body, model, &self.quirks);
            return Ok((pieces.into(), lossy));
        }
        let call = order.call().await?;
        let encoded = encode(self.dialect, &call, model, &self.quirks)
            .map_err(|error| Fault::new(FaultKind::Untranslatable, error.to_string()))?;
        Ok((vec![Bytes::from(encoded.body)].into(), encoded.lossy))
    }

    /// Sends and waits for the headers. A pooled connection that turns out to be dead is replaced once.
    async fn send(
        &self,
        uri: &Uri,
        body: Pieces,
        order: &Order<'_>,
        (wait_ms, alarm): (u64, &mut Alarm),
    ) -> Result<Response<Incoming>, Fault> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let large = body.len() > crate::body::SPILL_BYTES as u64;
        let again = (!large).then(|| body.clone());
        let sent = Instant::now();
        let first = alarm.before(deadline, self.http.client.request(self.request(uri, body, order))).await;
        let error = match first {
            None => return Err(headers_timeout(wait_ms)),
            Some(Ok(response)) => return Ok(response),
            Some(Err(error)) => error,
        };
        match again.filter(|_| !error.is_connect() && sent.elapsed() < DEAD_ON_ARRIVAL) {
            None => Err(transport_fault(&error)),
            Some(body) => {
                let second = alarm.before(deadline, self.http.client.request(self.request(uri, body, order))).await;
                let response = second.ok_or_else(|| headers_timeout(wait_ms))?;
                response.map_err(|error| transport_fault(&error))
            }
        }
    }

    fn request(&self, uri: &Uri, body: Pieces, order: &Order<'_>) -> Request<Pieces> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.credentials);
        if let Ok(via) = HeaderValue::from_str(order.via) {
            headers.insert(VIA, via);
        }
        if order.dialect == self.dialect {
            for (name, value) in order.headers {
                if let Ok(value) = HeaderValue::from_maybe_shared(value.clone()) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
        }
        request
    }

    async fn check_status(&self, response: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after_ms = retry_after_ms(response.headers(), SystemTime::now());
        let wait = Duration::from_secs(2);
        let mut alarm = Alarm::default();
        let reading = collect(response.into_body(), ERROR_BYTES_MAX, wait, &mut alarm);
        let body = timeout(wait, reading).await.ok().and_then(Result::ok).unwrap_or_default();
        Err(read_fault(self.dialect, status, retry_after_ms, &body))
    }

    async fn read_whole(
        &self,
        response: Response<Incoming>,
        patience: Patience,
        (ends, mut alarm): (Instant, Alarm),
    ) -> Result<Content, Fault> {
        let idle = Duration::from_millis(patience.idle_ms);
        let raw = collect_by(ends, response.into_body(), WHOLE_BYTES_MAX, idle, &mut alarm).await?;
        let deltas = read_whole(self.dialect, &raw)?;
        Ok(Content::Whole { raw: Some(raw), deltas })
    }
}

/// Names this daemon to the daemons it may call, so that a loop is noticed.
pub(crate) const VIA: HeaderName = HeaderName::from_static("x-commonwatt-via");

fn credentials(dialect: Dialect, key: Option<&str>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("commonwatt/", env!("CARGO_PKG_VERSION"))));
    if dialect == Dialect::AnthropicMessages {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    let Some(key) = key else { return Ok(headers) };
    let (name, text) = match dialect {
        Dialect::OpenAiChat => (header::AUTHORIZATION, format!("Bearer {key}")),
        Dialect::AnthropicMessages => (HeaderName::from_static("x-api-key"), key.to_owned()),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the key has characters that cannot be sent: copy it again without line breaks".to_owned())?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(headers)
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}

/// What the provider asks us to wait: `retry-after-ms`, else `Retry-After` in seconds or as a date.
fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let from_seconds = |seconds: f64| (seconds.is_finite() && seconds >= 0.0).then_some((seconds * 1_000.0) as u64);
    if let Some(ms) = text("retry-after-ms").and_then(|value| value.parse::<f64>().ok()) {
        return from_seconds(ms / 1_000.0);
    }
    let value = text("retry-after")?;
    if let Ok(seconds) = value.parse::<f64>() {
        return from_seconds(seconds);
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let wait = date.duration_since(now).unwrap_or_default();
    u64::try_from(wait.as_millis()).ok()
}

fn headers_timeout(wait_ms: u64) -> Fault {
    Fault::new(FaultKind::HeadersTimeout, format!("no response within {:.1} s", wait_ms as f64 / 1_000.0))
}

fn transport_fault(error: &hyper_util::client::legacy::Error) -> Fault {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let kind = match (error.is_connect(), io) {
        (true, Some(std::io::ErrorKind::TimedOut)) => FaultKind::ConnectTimeout,
        (true, _) => FaultKind::Connect,
        (false, _) => FaultKind::Cut,
    };
    let what = if error.is_connect() { "cannot connect" } else { "the connection broke" };
    Fault::new(kind, format!("{what}: {cause}"))
}

/// Reads a body to its end; a sender that is silent for `idle` has stalled.
async fn collect(body: Incoming, max: usize, idle: Duration, alarm: &mut Alarm) -> Result<Bytes, Fault> {
    collect_by(Instant::now() + idle * 1_000, body, max, idle, alarm).await
}

/// The same, with an end to the whole call's patience.
async fn collect_by(
    ends: Instant,
    mut body: Incoming,
    max: usize,
    idle: Duration,
    alarm: &mut Alarm,
) -> Result<Bytes, Fault> {
    let mut first = Bytes::new();
    let mut all = bytes::BytesMut::new();
    loop {
        let idle_by = Instant::now() + idle;
        let frame = alarm.before(ends.min(idle_by), body.frame()).await.ok_or_else(|| late(ends, idle_by))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Fault::new(FaultKind::Cut, format!("the answer broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&data);
        if all.len() > max {
            return Err(Fault::new(FaultKind::Malformed, format!("the answer is larger than {max} bytes")));
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

fn late(ends: Instant, idle_by: Instant) -> Fault {
    if ends < idle_by {
        Fault::new(FaultKind::TotalTimeout, "the whole answer took too long")
    } else {
        Fault::new(FaultKind::IdleTimeout, "the answer stalled")
    }
}

/// A provider's event stream, read event by event.
pub(crate) struct EventStream {
    dialect: Dialect,
    body: Incoming,
    framer: sse::Framer,
    reader: AnswerReader,
    patience: Patience,
    begun: bool,
    first_content_by: Instant,
    ends: Instant,
    alarm: Alarm,
    over: bool,
}

impl EventStream {
    fn new(dialect: Dialect, body: Incoming, patience: Patience, (ends, alarm): (Instant, Alarm)) -> Self {
        let first_content_by = Instant::now() + Duration::from_millis(patience.first_content_ms);
        let (framer, reader) = (sse::Framer::default(), AnswerReader::new(dialect));
        Self { dialect, body, framer, reader, patience, begun: false, first_content_by, ends, alarm, over: false }
    }

    /// The next event; `None` after the proper end. A stream that ends without one is a cut.
    pub(crate) async fn next(&mut self) -> Option<Result<Frame, Fault>> {
        if self.over {
            return None;
        }
        let outcome = self.read_event().await;
        self.over |= !matches!(outcome, Some(Ok(_)));
        outcome
    }

    async fn read_event(&mut self) -> Option<Result<Frame, Fault>> {
        let idle_by = Instant::now() + Duration::from_millis(self.patience.idle_ms);
        loop {
            if let Some(event) = self.framer.next() {
                return Some(self.frame(event));
            }
            if self.reader.ended() {
                return None;
            }
            let (deadline, kind) = self.deadline(idle_by);
            let Some(chunk) = self.alarm.before(deadline, self.body.frame()).await else {
                return Some(Err(Fault::new(kind, "the answer stalled")));
            };
            match chunk {
                None => return self.last_event(),
                Some(Err(error)) => return Some(Err(Fault::new(FaultKind::Cut, format!("the stream broke: {error}")))),
                Some(Ok(frame)) => {
                    let pushed = frame.into_data().map_or(Ok(()), |data| self.framer.push(data));
                    if let Err(error) = pushed {
                        return Some(Err(Fault::new(FaultKind::Malformed, error.to_string())));
                    }
                }
            }
        }
    }

    fn frame(&mut self, event: sse::Event) -> Result<Frame, Fault> {
        let mut deltas = Vec::new();
        self.reader.read(&event, &mut deltas)?;
        self.begun |= deltas.iter().any(Delta::is_content);
        Ok(Frame { raw: Some(event.raw), deltas })
    }

    /// The bytes are over: an event without its blank line may be left, and then the answer must be complete. What
    /// the server left out, blank line and terminator, is added, so that whoever forwards the bytes forwards a whole
    /// stream, and what is written after them stands on a line of its own.
    fn last_event(&mut self) -> Option<Result<Frame, Fault>> {
        if let Some(event) = self.framer.finish().filter(|event| !event.data().is_empty()) {
            return Some(self.frame(event).map(|mut frame| {
                frame.raw = frame.raw.map(|raw| [&raw, b"\n\n".as_slice()].concat().into());
                frame
            }));
        }
        self.over = true;
        match self.reader.close() {
            Err(fault) => Some(Err(fault)),
            Ok(()) if self.reader.ended() => None,
            Ok(()) => {
                let raw = Bytes::from_static(AnswerWriter::terminator(self.dialect));
                Some(Ok(Frame { raw: Some(raw), deltas: Vec::new() }))
            }
        }
    }

    fn deadline(&self, idle_by: Instant) -> (Instant, FaultKind) {
        let (next, kind) = if self.begun {
            (idle_by, FaultKind::IdleTimeout)
        } else {
            (self.first_content_by, FaultKind::FirstContentTimeout)
        };
        if self.ends < next { (self.ends, FaultKind::TotalTimeout) } else { (next, kind) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn retry_after_is_read_in_all_its_spellings() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
        assert_eq!(retry_after_ms(&headers("retry-after", "7"), now), Some(7_000));
        assert_eq!(retry_after_ms(&headers("retry-after", "0.25"), now), Some(250));
        assert_eq!(retry_after_ms(&headers("retry-after-ms", "90"), now), Some(90));
        assert_eq!(retry_after_ms(&headers("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), now), Some(60_000));
        assert_eq!(retry_after_ms(&headers("retry-after", "soon"), now), None);
        assert_eq!(retry_after_ms(&headers("retry-after", "-5"), now), None);
    }

    #[test]
    fn a_key_with_a_line_break_is_refused_without_being_shown() {
        let error = credentials(Dialect::OpenAiChat, Some("sk-secret\nx")).expect_err("not a header");
        assert!(!error.contains("secret"));
    }
}
