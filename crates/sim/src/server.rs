//! The simulator on a port, or inside the process.

mod admin;
mod line;
mod play;
mod stage;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::dialect::{Denial, Dialect, ollama_show};
use crate::fault::FaultError;
use crate::ledger::Received;
use crate::peek::peek;
use crate::performance::{Cue, Performance, denied, perform_plain};
use crate::route::{Errand, Route};
use crate::script::Script;
use crate::settings::{Settings, SettingsError};
use crate::vectors;
use line::{Line, Orders, Stream};
use play::{Playing, play};
use stage::{Entry, Plan, Question, Stage};

/// Connections at a time; more wait in the backlog of the port, or unanswered at their end of the pipe.
const MOST_CONNECTIONS: usize = 4096;
/// The release of Ollama that this claims to be.
const OLLAMA_VERSION: &str = "0.12.6";
/// Bytes that a pipe holds in each direction: like a socket, it makes a writer wait for its reader.
const PIPE_BYTES: usize = 64 << 10;

/// A simulated provider.
#[derive(Clone, Copy, Debug)]
pub struct Sim;

/// What tests ask of a simulated provider, wherever it runs: what it received, and what it is to do next.
#[derive(Debug)]
pub struct Controls {
    stage: Arc<Stage>,
}

/// A simulated provider that is listening; it stops when this is dropped. Its [`Controls`] are its own methods.
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    controls: Controls,
    accepting: JoinHandle<()>,
}

/// A simulated provider that is reached through pipes inside the process, for worlds with a paused clock; its
/// connections end when this is dropped. Its [`Controls`] are its own methods.
#[derive(Debug)]
pub struct Inside {
    controls: Controls,
    free: Arc<Semaphore>,
    connections: Mutex<JoinSet<()>>,
}

/// Why a simulated provider could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address cannot be listened on.
    #[error("cannot listen on `{addr}`: {source}; choose another address in `listen`, or port 0 for a free one")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Sim {
    /// Starts a provider on the current tokio runtime.
    ///
    /// # Errors
    /// Settings that cannot be used; an address that cannot be listened on.
    pub async fn start(settings: Settings) -> Result<Running, SimError> {
        settings.check()?;
        let listen = |source| SimError::Listen { addr: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let stage = Stage::new(settings);
        let accepting = tokio::spawn(accept(listener, Arc::clone(&stage)));
        Ok(Running { addr, controls: Controls { stage }, accepting })
    }

    /// A provider without a port: whoever wants to speak to it [connects](Inside::connect).
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn inside(settings: Settings) -> Result<Inside, SimError> {
        settings.check()?;
        let controls = Controls { stage: Stage::new(settings) };
        let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        Ok(Inside { controls, free, connections: Mutex::default() })
    }
}

impl Controls {
    /// Calls for an answer so far, those that were refused included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.stage.calls()
    }

    /// The last 1,000 requests (and 64 MiB of bodies), oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Received> {
        self.stage.requests()
    }

    /// Waits until the requests satisfy `enough`, and returns them. Looked at again whenever a request arrives, is
    /// planned, or ends; put a timeout around it.
    pub async fn wait_for(&self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        self.stage.wait_for(enough).await
    }

    /// Replaces the script; the next call takes its first step.
    ///
    /// # Errors
    /// A fault that cannot be played; the old script stays.
    pub fn script(&self, script: Script) -> Result<(), FaultError> {
        self.stage.replace_script(script)
    }

    /// Forgets all requests; script and limits are again as in the settings.
    pub fn reset(&self) {
        self.stage.reset();
    }
}

impl Running {
    /// The address it listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to give to an SDK of that dialect as its base URL.
    #[must_use]
    pub fn base_url(&self, dialect: Dialect) -> String {
        format!("http://{}{}", self.addr, dialect.base_path())
    }

    /// Stops listening and closes all connections. When this returns, the port refuses connections.
    pub async fn stop(mut self) {
        self.accepting.abort();
        // The task was cancelled: there is nothing else that it could say.
        let _ = (&mut self.accepting).await;
    }
}

impl Deref for Running {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Inside {
    /// A new connection: the caller's end of a pipe. The other end is served on the current tokio runtime.
    ///
    /// A reset and a close by script look alike here: what was sent arrives, then the pipe ends.
    #[must_use]
    pub fn connect(&self) -> DuplexStream {
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        let (stage, free) = (Arc::clone(&self.stage), Arc::clone(&self.free));
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            // The semaphore is never closed.
            let Ok(_permit) = free.acquire_owned().await else { return };
            serve(Stream::Pipe(there), stage).await;
        });
        here
    }
}

impl Deref for Inside {
    type Target = Controls;

    fn deref(&self) -> &Controls {
        &self.controls
    }
}

/// Accepts connections until the task is aborted, which ends the connections too.
async fn accept(listener: TcpListener, stage: Arc<Stage>) {
    let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
        // A connection that fails while it is accepted is the client's affair.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let stage = Arc::clone(&stage);
        connections.spawn(async move {
            // Without it, small chunks would wait for each other; a connection that refuses is about to fail anyway.
            let _ = stream.set_nodelay(true);
            serve(Stream::Tcp(stream), stage).await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(stream: Stream, stage: Arc<Stage>) {
    let orders = Arc::new(Orders::default());
    let io = TokioIo::new(Line::new(stream, Arc::clone(&orders)));
    let service = service_fn(move |request| {
        let (stage, orders) = (Arc::clone(&stage), Arc::clone(&orders));
        async move { Ok::<_, Infallible>(respond(stage, orders, request).await) }
    });
    // Bodies are a replay: no date. An error is a connection that ended badly, mostly by order.
    let _ = http1::Builder::new().auto_date_header(false).serve_connection(io, service).await;
}

type Answer = Response<Either<Playing, Full<Bytes>>>;

async fn respond(stage: Arc<Stage>, orders: Arc<Orders>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let limit = stage.settings.max_body_bytes;
    if head.uri.path().starts_with(admin::PREFIX) {
        let body = Limited::new(body, limit).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        return admin_response(admin::answer(&stage, &head.method, head.uri.path(), &body));
    }
    let entry = stage.arrived(&head);
    let dialect = spoken(&head).dialect;
    let (performance, extra) = match Limited::new(body, limit).collect().await {
        Ok(body) => {
            let body = body.to_bytes();
            entry.body(body.clone());
            rehearse(&stage, &entry, &head, &body)
        }
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request exceeds the maximum size of {limit} bytes");
            (denied(dialect, &Denial::new(413, message)), HeaderMap::new())
        }
        // The client left before its request was complete: nobody will read this.
        Err(_) => (denied(dialect, &Denial::usual(400)), HeaderMap::new()),
    };
    play(&performance, extra, orders, entry).await.map(Either::Left)
}

/// Decides what is done for a request, and which headers are added.
fn rehearse(stage: &Stage, entry: &Entry, head: &request::Parts, body: &[u8]) -> (Performance, HeaderMap) {
    let route = spoken(head);
    let dialect = route.dialect;
    let is_call = route.errand == Some(Errand::Answer) && head.method == Method::POST;
    let mut peeked = if is_call { peek(body) } else { None };
    if let (Some(peeked), Some(model)) = (&mut peeked, route.address.model) {
        (peeked.model, peeked.stream) = (Some(model), Some(route.address.stream));
    }
    let prompt_tokens = peeked.map_or(0, |peek| u64::try_from(peek.prompt_tokens()).unwrap_or(u64::MAX));
    let checked = check_door(&stage.settings, head, &route);
    if let Err(denial) = checked.and_then(|()| if is_call { stage.admit(prompt_tokens) } else { Ok(()) }) {
        let performance = denied(dialect, &denial);
        entry.plan(&[], &performance);
        return (performance, door_headers(stage, dialect, denial.status));
    }
    let question = Question { head, body, route, peek: peeked.unwrap_or_default() };
    let (performance, faults) = match stage.plan(&question) {
        Err(error) => (Stage::misunderstood(dialect, &error), Vec::new()),
        Ok(plan) if is_call => (stage.perform(&question, &plan), plan.faults),
        Ok(plan) => (plain(stage, &question, &plan), plan.faults),
    };
    stage.charge(performance.tokens().saturating_sub(prompt_tokens));
    entry.plan(&faults, &performance);
    let extra = if is_call { stage.limit_headers(dialect) } else { HeaderMap::new() };
    (performance, extra)
}

/// What every request must satisfy: the key, the version, a path that exists.
fn check_door(settings: &Settings, head: &request::Parts, route: &Route<'_>) -> Result<(), Denial> {
    let path = head.uri.path();
    let Some(errand) = route.errand else {
        let message = format!("Unknown request URL: {} {path}. Please check the URL for typos.", head.method);
        return Err(Denial::new(404, message).with_code("unknown_url"));
    };
    let method = errand.method();
    if head.method != method {
        let message = format!("Method Not Allowed: use {method} for {path}");
        return Err(Denial::new(405, message).with_code("method_not_supported"));
    }
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(key) = &settings.api_key {
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let keys = match route.dialect {
            Dialect::Gemini => [header("x-goog-api-key"), route.address.key],
            Dialect::ChatCompletions
            | Dialect::Messages
            | Dialect::Responses
            | Dialect::OllamaChat
            | Dialect::OllamaGenerate
            | Dialect::Completions => [bearer, header("x-api-key")],
        };
        if !keys.contains(&Some(key)) {
            return Err(route.dialect.wrong_key(keys == [None, None]));
        }
    }
    if route.dialect == Dialect::Messages && header("anthropic-version").is_none() {
        return Err(Denial::new(400, "anthropic-version: header is required"));
    }
    Ok(())
}

fn door_headers(stage: &Stage, dialect: Dialect, status: u16) -> HeaderMap {
    if status == 405 {
        return HeaderMap::from_iter([(ALLOW, HeaderValue::from_static("GET, POST"))]);
    }
    if status == 429 { stage.limit_headers(dialect) } else { HeaderMap::new() }
}

/// What is done for a request that is no call for an answer.
fn plain(stage: &Stage, question: &Question<'_>, plan: &Plan) -> Performance {
    let settings = &stage.settings;
    let Route { dialect, errand, address } = question.route;
    let cue = Cue { dialect, body: question.body, settings, faults: &plan.faults, call: plan.call };
    let any = ["sim".to_owned()];
    let models: &[String] = if settings.models.is_empty() { &any } else { &settings.models };
    let body = match errand {
        Some(Errand::CountTokens) => dialect.count_tokens(question.body, stage.rules(address)),
        Some(Errand::Embeddings) => match dialect {
            Dialect::OllamaChat => vectors::ollama(question.body, settings.seed),
            Dialect::Gemini => vectors::gemini(question.body, settings.seed),
            Dialect::ChatCompletions
            | Dialect::Messages
            | Dialect::Responses
            | Dialect::OllamaGenerate
            | Dialect::Completions => vectors::openai(question.body, settings.seed),
        },
        Some(Errand::Rerank) => vectors::rerank(question.body, settings.seed),
        Some(Errand::Show) => shown(question.body, settings),
        Some(Errand::Version) => Ok(serde_json::json!({ "version": OLLAMA_VERSION })),
        Some(Errand::Models) => Ok(dialect.models(models)),
        // Whoever asks for an answer, or for nothing that there is, does not come this far.
        Some(Errand::Answer) | None => Err(Denial::usual(404)),
    };
    match body {
        Ok(body) => perform_plain(&cue, &body),
        Err(denial) => denied(dialect, &denial),
    }
}

/// What Ollama tells of the model that the body names.
fn shown(body: &[u8], settings: &Settings) -> Result<serde_json::Value, Denial> {
    let peeked = peek(body).unwrap_or_default();
    let model = peeked.model.ok_or_else(|| Denial::new(400, "model is required"))?;
    if settings.models.is_empty() || settings.models.iter().any(|known| known == model) {
        return Ok(ollama_show(model));
    }
    Err(Dialect::OllamaChat.unknown_model(model))
}

/// Where a request goes: by its path, and by the version header where a path is shared.
fn spoken(head: &request::Parts) -> Route<'_> {
    Route::of(head.uri.path(), head.uri.query(), head.headers.contains_key("anthropic-version"))
}

fn admin_response((status, body): (u16, serde_json::Value)) -> Answer {
    let mut response = Response::new(Either::Right(Full::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
