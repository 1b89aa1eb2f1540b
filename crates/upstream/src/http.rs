//! Deployments that are reached over HTTP: clouds, and servers on this machine.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use commonwatt_core::answer::Delta;
use commonwatt_core::call::{Call, Requirements};
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::fleet::matches_pattern;
use commonwatt_core::patience::Patience;
use commonwatt_wire::sse::{self, Framing};
use commonwatt_wire::{
    AnswerReader, AnswerWriter, Dialect, Mend, Quirks, Untranslatable, drop_sealed_reasoning, encode, encode_count,
    read_fault,
};
use http::{HeaderMap, Request, Response, Uri, header};
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
use crate::spec::RicherSpec;
use crate::vectors::Besides;
use crate::way::{Counts, Verb, Way, counts};

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
            let ends = Instant::now() + idle;
            let bytes = collect(ends, response.into_body(), LIST_BYTES_MAX, idle, &mut Alarm::default()).await.ok()?;
            ok.then(|| String::from_utf8_lossy(&bytes).into_owned())
        };
        timeout(Duration::from_millis(wait_ms), asked).await.ok().flatten()
    }
}

/// The way to one provider's models.
pub struct HttpTarget {
    http: Http,
    /// The dialect in which calls are written here.
    pub(crate) main: Way,
    /// Dialects that are forwarded as they are, too.
    also: Vec<Way>,
    /// The one of them into which calls are translated, if it is not the main one.
    richer: Option<RicherSpec>,
    pub(crate) besides: Besides,
    quirks: Quirks,
    timeouts: Patience,
}

impl HttpTarget {
    /// The way to the provider at `base_url`, written as its own SDK would write it.
    ///
    /// # Errors
    /// One sentence when the address or the key cannot be used.
    pub fn new(
        http: Http,
        (dialect, also, richer): (Dialect, &[Dialect], Option<&RicherSpec>),
        base_url: &str,
        key: Option<&str>,
        (quirks, timeouts): (Quirks, Patience),
    ) -> Result<Self, String> {
        let main = Way::new(dialect, base_url, key)?;
        let also = also.iter().map(|dialect| Way::new(*dialect, base_url, key)).collect::<Result<_, _>>()?;
        let besides = Besides::of(dialect, base_url);
        Ok(Self { http, main, also, richer: richer.cloned(), besides, quirks, timeouts })
    }

    /// The waits for a call with these needs.
    #[must_use]
    pub fn patience(&self, needs: &Requirements) -> Patience {
        self.timeouts.for_call(needs)
    }

    /// The way for a call: one that speaks its dialect, else the richer one, else the main one.
    ///
    /// Thinking that nobody signed was written by this program for another provider: its own would refuse it.
    fn way(&self, model: &str, order: &Order<'_>) -> &Way {
        let speaks = |dialect: Dialect| std::iter::once(&self.main).chain(&self.also).find(|w| w.dialect == dialect);
        let richer = self.richer.as_ref().and_then(|richer| speaks(richer.dialect));
        let forwarded = !order.envelope.unsigned_thinking && !self.refuses_tools(model, order);
        let same = speaks(order.dialect).filter(|_| forwarded);
        same.or(richer).unwrap_or(&self.main)
    }

    /// Whether the call has tools that this model takes in the richer dialect only.
    fn refuses_tools(&self, model: &str, order: &Order<'_>) -> bool {
        let has_tools = order.dialect == self.main.dialect && order.envelope.needs.tools;
        let only_there = |richer: &RicherSpec| richer.tools_models.iter().any(|p| matches_pattern(p, model));
        has_tools && self.richer.as_ref().is_some_and(only_there)
    }

    /// Asks for an answer. A provider that refuses what can be mended is asked once more: without what was sealed, or
    /// with each tool call beside its result.
    pub(crate) async fn dispatch(&self, model: &str, order: &Order<'_>) -> Result<Reply, Fault> {
        let way = self.way(model, order);
        if let Some(fault) = self.loses_the_front(way, order) {
            return Err(fault);
        }
        let fault = match self.exchange(way, model, order, self.written(way, model, order).await?).await {
            Err(fault) => fault,
            reply => return reply,
        };
        match self.mended(way, model, order, &fault).await? {
            Some(written) => self.exchange(way, model, order, written).await,
            None => Err(fault),
        }
    }

    /// The request without what the provider refuses in it; `None` when that cannot be mended, or was not the matter.
    async fn mended(
        &self,
        way: &Way,
        model: &str,
        order: &Order<'_>,
        fault: &Fault,
    ) -> Result<Option<(Pieces, Vec<String>)>, Fault> {
        let Some(mend) = Mend::of(fault) else { return Ok(None) };
        let mut call = order.call().await?;
        let sealed = match mend {
            Mend::Seal if drop_sealed_reasoning(&mut call) => Some("thinking (the provider does not take it back)"),
            Mend::Seal => return Ok(None),
            Mend::Pairing if way.dialect == order.dialect => None,
            // What was translated is paired already.
            Mend::Pairing => return Ok(None),
        };
        let (body, mut lossy) = self.translated(way, model, &call)?;
        lossy.extend(sealed.map(str::to_owned));
        let is_other = sealed.is_some() || !lossy.is_empty();
        Ok(is_other.then_some((body, lossy)))
    }

    /// Ollama drops the front of a prompt that is longer than the window it was given, without a word. So what is likely
    /// to be longer, at four bytes a token, is not sent. A caller that speaks to Ollama may name a window of its own.
    fn loses_the_front(&self, way: &Way, order: &Order<'_>) -> Option<Fault> {
        let is_kin = matches!(order.dialect, Dialect::OllamaChat | Dialect::OllamaGenerate);
        let window = self.quirks.num_ctx.filter(|_| way.dialect == Dialect::OllamaChat && !is_kin)?;
        let needs = &order.envelope.needs;
        let tokens = if needs.images { 0 } else { needs.body_bytes / 4 };
        (tokens > u64::from(window)).then(|| {
            let message = format!(
                "the prompt has about {tokens} tokens, and Ollama drops in silence what does not fit into {window}"
            );
            Fault::new(FaultKind::ContextOverflow, message)
        })
    }

    async fn exchange(
        &self,
        way: &Way,
        model: &str,
        order: &Order<'_>,
        (body, lossy): (Pieces, Vec<String>),
    ) -> Result<Reply, Fault> {
        let patience = self.patience(&order.envelope.needs);
        let ends = Instant::now() + Duration::from_millis(patience.total_ms);
        let verb = if order.envelope.stream { Verb::Stream } else { Verb::Answer };
        let mut alarm = Alarm::default();
        let uri = way.uri(model, verb)?;
        let response = self.send((way, &uri), body, order, (patience.headers_ms, &mut alarm)).await?;
        let response = check_status(way.dialect, response).await?;
        let content = if order.envelope.stream && is_stream(way.dialect, response.headers()) {
            let events = EventStream::new(way.dialect, response.into_body(), patience, (ends, alarm));
            Content::Stream(Box::new(Frames::begin(Source::Events(Box::new(events))).await?))
        } else {
            read_whole(way.dialect, response, patience, (ends, alarm)).await?
        };
        Ok(Reply { dialect: Some(way.dialect), lossy, content })
    }

    pub(crate) async fn count_tokens(&self, model: &str, order: &Order<'_>) -> Result<u64, Fault> {
        let unable = || Fault::new(FaultKind::ModelNotFound, "this provider does not count tokens");
        let way = self.way(model, order);
        let body = match counts(way.dialect) {
            Counts::InAWholeRequest => self.counted(model, &order.call().await?)?,
            Counts::ForItsOwn if way.dialect == order.dialect => self.written(way, model, order).await?.0,
            Counts::ForItsOwn | Counts::Never => return Err(unable()),
        };
        let patience = self.patience(&order.envelope.needs);
        let (mut alarm, uri) = (Alarm::default(), way.uri(model, Verb::Count)?);
        let response = self.send((way, &uri), body, order, (patience.headers_ms.min(20_000), &mut alarm)).await?;
        let response = check_status(way.dialect, response).await?;
        let (ends, idle) =
            (Instant::now() + Duration::from_millis(patience.total_ms), Duration::from_millis(patience.idle_ms));
        let bytes = collect(ends, response.into_body(), ERROR_BYTES_MAX, idle, &mut alarm).await?;
        let unreadable = || Fault::new(FaultKind::Malformed, "the provider's count cannot be read");
        commonwatt_wire::read_token_count(way.dialect, &bytes).ok_or_else(unreadable)
    }

    /// The bytes to send: the client's own where it speaks the same dialect, else a translation of what it said.
    async fn written(&self, way: &Way, model: &str, order: &Order<'_>) -> Result<(Pieces, Vec<String>), Fault> {
        if order.dialect == way.dialect && !order.envelope.unsigned_thinking {
            let body = order.body.bytes().await?;
            let (pieces, lossy) = order.envelope.adapted(&body, model, &self.quirks);
            return Ok((pieces.into(), lossy));
        }
        self.translated(way, model, &order.call().await?)
    }

    fn translated(&self, way: &Way, model: &str, call: &Call) -> Result<(Pieces, Vec<String>), Fault> {
        let encoded = encode(way.dialect, call, model, &self.quirks).map_err(|error| untranslatable(&error))?;
        Ok((vec![encoded.body].into(), encoded.lossy))
    }

    fn counted(&self, model: &str, call: &Call) -> Result<Pieces, Fault> {
        let encoded = encode_count(call, model, &self.quirks).map_err(|error| untranslatable(&error))?;
        Ok(vec![encoded.body].into())
    }

    /// Sends and waits for the headers. A pooled connection that turns out to be dead is replaced once.
    pub(crate) async fn send(
        &self,
        (way, uri): (&Way, &Uri),
        body: Pieces,
        order: &Order<'_>,
        (wait_ms, alarm): (u64, &mut Alarm),
    ) -> Result<Response<Incoming>, Fault> {
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let large = body.len() > crate::body::SPILL_BYTES as u64;
        let again = (!large).then(|| body.clone());
        let sent = Instant::now();
        let first = alarm.before(deadline, self.http.client.request(way.request(uri, body, order))).await;
        let error = match first {
            None => return Err(headers_timeout(wait_ms)),
            Some(Ok(response)) => return Ok(response),
            Some(Err(error)) => error,
        };
        match again.filter(|_| !error.is_connect() && sent.elapsed() < DEAD_ON_ARRIVAL) {
            None => Err(transport_fault(&error)),
            Some(body) => {
                let second = alarm.before(deadline, self.http.client.request(way.request(uri, body, order))).await;
                let response = second.ok_or_else(|| headers_timeout(wait_ms))?;
                response.map_err(|error| transport_fault(&error))
            }
        }
    }
}

pub(crate) fn untranslatable(error: &Untranslatable) -> Fault {
    Fault::new(FaultKind::Untranslatable, error.to_string())
}

pub(crate) async fn check_status(dialect: Dialect, response: Response<Incoming>) -> Result<Response<Incoming>, Fault> {
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status().as_u16();
    let retry_after_ms = retry_after_ms(response.headers(), SystemTime::now());
    let wait = Duration::from_secs(2);
    let (ends, mut alarm) = (Instant::now() + wait, Alarm::default());
    let body = collect(ends, response.into_body(), ERROR_BYTES_MAX, wait, &mut alarm).await.unwrap_or_default();
    Err(read_fault(dialect, status, retry_after_ms, &body))
}

async fn read_whole(
    dialect: Dialect,
    response: Response<Incoming>,
    patience: Patience,
    (ends, mut alarm): (Instant, Alarm),
) -> Result<Content, Fault> {
    let idle = Duration::from_millis(patience.idle_ms);
    let raw = collect(ends, response.into_body(), WHOLE_BYTES_MAX, idle, &mut alarm).await?;
    let deltas = commonwatt_wire::read_whole(dialect, &raw)?;
    Ok(Content::Whole { raw: Some(raw), deltas })
}

/// Whether what comes is a stream of this dialect.
fn is_stream(dialect: Dialect, headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.trim_start().to_ascii_lowercase();
    match dialect.framing() {
        Framing::Events => kind.starts_with("text/event-stream"),
        Framing::Lines => kind.contains("ndjson") || kind.contains("jsonl"),
    }
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

/// Reads a body to its end, which must have come by `ends`; a sender that is silent for `idle` has stalled.
pub(crate) async fn collect(
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
        let (framer, reader) = (sse::Framer::new(dialect.framing()), AnswerReader::new(dialect));
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
            let end = match self.dialect.framing() {
                Framing::Events => b"\n\n".as_slice(),
                Framing::Lines => b"\n".as_slice(),
            };
            return Some(self.frame(event).map(|mut frame| {
                frame.raw = frame.raw.map(|raw| [&raw, end].concat().into());
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
    use http::{HeaderName, HeaderValue};

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
}
