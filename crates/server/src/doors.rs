//! The doors of the model APIs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use commonwatt_core::fleet::{Ability, Deployment, Tier, Tiers};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::bus::Wish;
use commonwatt_grid::decode::Asked;
use commonwatt_grid::identity::Principal;
use commonwatt_grid::project::Compaction;
use commonwatt_grid::request::Arrival;
use commonwatt_upstream::alarm::Alarm;
use commonwatt_upstream::body::{Arriving, KeptBody};
use commonwatt_wire::{
    Dialect, InPath, ModelLine, read_shown_model, write_model, write_models, write_shown_model, write_token_count,
};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::Lobby;
use crate::respond::{self, Body};

/// A caller that sends nothing for this long while its body is awaited is told so.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// What we say to clients of Ollama that ask for its version: one whose whole protocol is spoken here.
const OLLAMA_VERSION: &str = "0.12.0";

/// Headers of a client that belong to its dialect and go along to a provider that speaks it.
const FORWARDED: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

const TIERS: HeaderName = HeaderName::from_static("x-commonwatt-tiers");
const TOKENS: HeaderName = HeaderName::from_static("x-commonwatt-tokens");
/// Bytes of a session's name.
const SESSION_NAME_MAX: usize = 128;
const CONTINUE: HeaderName = HeaderName::from_static("x-commonwatt-continue");
pub(crate) const SESSION: HeaderName = HeaderName::from_static("x-commonwatt-session");
const COMPACTION: HeaderName = HeaderName::from_static("x-commonwatt-compaction");
const DATA_CLASS: HeaderName = HeaderName::from_static("x-commonwatt-data-class");
const DETACHED: HeaderName = HeaderName::from_static("x-commonwatt-detached");
const VIA: HeaderName = HeaderName::from_static("x-commonwatt-via");

/// What a door knows before the request is read.
pub(crate) struct Spoken {
    pub(crate) dialect: Dialect,
    pub(crate) asked: Asked,
    /// What the path says.
    pub(crate) in_path: Option<InPath>,
    /// How the answer is sent.
    pub(crate) shape: Shape,
}

/// How an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// As the dialect sends it.
    OfDialect,
    /// As one JSON array: what streams of Gemini are unless the query has `alt=sse`.
    Array,
}

impl Spoken {
    /// A call whose body says everything.
    pub(crate) fn in_body(dialect: Dialect) -> Self {
        Self { dialect, asked: Asked::Answer, in_path: None, shape: Shape::OfDialect }
    }

    /// A call whose path names the model.
    pub(crate) fn in_path(in_path: InPath, query: Option<&str>) -> Self {
        let shape = if in_path.stream && !asks_for_events(query) { Shape::Array } else { Shape::OfDialect };
        Self { in_path: Some(in_path), shape, ..Self::in_body(Dialect::Gemini) }
    }
}

/// A call to a model.
pub(crate) async fn call(lobby: &Lobby, spoken: Spoken, request: Request<Incoming>) -> Response<Body> {
    let (dialect, shape) = (spoken.dialect, spoken.shape);
    let answered = match arrive(lobby, spoken, request).await {
        Ok(arrival) => lobby.grid.call(arrival).await,
        Err(refused) => Err(refused),
    };
    let response = match answered {
        Ok(answered) => respond::answer(dialect, answered),
        Err(refused) => refuse(lobby, dialect, &refused),
    };
    match shape {
        Shape::OfDialect => response,
        Shape::Array => respond::in_array(response),
    }
}

/// Whether a query of Google's says that a stream shall be one of events.
fn asks_for_events(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| matches!(pair, "alt=sse" | "$alt=sse" | "%24alt=sse")))
}

/// `POST /v1/messages/count_tokens`, `POST /v1beta/models/{model}:countTokens`
pub(crate) async fn count_tokens(lobby: &Lobby, spoken: Spoken, request: Request<Incoming>) -> Response<Body> {
    let dialect = spoken.dialect;
    let counted = match arrive(lobby, spoken, request).await {
        Ok(arrival) => lobby.grid.count_tokens(arrival).await,
        Err(refused) => Err(refused),
    };
    match counted {
        Ok(count) => {
            let mut response = respond::json(write_token_count(dialect, count.tokens));
            let word = if count.estimated { "estimated" } else { "counted" };
            response.headers_mut().insert(TOKENS, HeaderValue::from_static(word));
            response
        }
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `GET /v1/models`, `GET /v1beta/models`, `GET /api/tags`
pub(crate) fn models(lobby: &Lobby, dialect: Dialect, request: &Request<Incoming>) -> Response<Body> {
    match identify(lobby, request) {
        Ok(_) => respond::json(write_models(dialect, &model_lines(lobby))),
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `GET /v1/models/{id}`, `GET /v1beta/models/{id}`
pub(crate) fn model(lobby: &Lobby, dialect: Dialect, id: &str, request: &Request<Incoming>) -> Response<Body> {
    if let Err(refused) = identify(lobby, request) {
        return refuse(lobby, dialect, &refused);
    }
    match known_model(lobby, id) {
        Ok(line) => respond::json(write_model(dialect, &line)),
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `POST /api/show`
pub(crate) async fn ollama_show(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    let dialect = Dialect::OllamaChat;
    if let Err(refused) = identify(lobby, &request) {
        return refuse(lobby, dialect, &refused);
    }
    let shown = match keep(request.into_body(), None, lobby.body_bytes_max).await {
        Ok(KeptBody::Memory(body)) => {
            let named = read_shown_model(&body);
            named.map_err(|error| Refusal::new(RefusalKind::BadRequest, error.to_string()))
        }
        Ok(KeptBody::Spilled { .. }) => Err(Refusal::new(RefusalKind::TooLarge, "this request names a model, no more")),
        Err(refused) => Err(refused),
    };
    match shown.and_then(|id| known_model(lobby, &id)) {
        Ok(line) => respond::json(write_shown_model(&line)),
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `GET /api/version`: the version of the protocol, which clients compare; not that of this program.
pub(crate) fn ollama_version() -> Response<Body> {
    respond::json(format!("{{\"version\":\"{OLLAMA_VERSION}\"}}").into_bytes())
}

fn known_model(lobby: &Lobby, id: &str) -> Result<ModelLine, Refusal> {
    // Ollama's clients add the tag that it gives to every model.
    let bare = id.strip_suffix(":latest").unwrap_or(id);
    let found = model_lines(lobby).into_iter().find(|line| line.id == id || line.id == bare);
    found.ok_or_else(|| {
        let id: String = id.chars().take(100).collect();
        let message = format!("model `{id}` is not known here: `GET /v1/models` lists those that are");
        Refusal::new(RefusalKind::UnknownModel, message)
    })
}

/// A path that does not exist.
pub(crate) fn wrong_path(lobby: &Lobby, request: &Request<Incoming>) -> Response<Body> {
    let path: String = request.uri().path().chars().take(100).collect();
    let message = format!(
        "there is no `{path}` here: the doors are `/v1/chat/completions`, `/v1/responses`, `/v1/conversations`, `/v1/messages`, `/v1/messages/count_tokens`, `/v1/completions`, `/v1/embeddings`, `/v1/rerank`, `/v1/models`, `/v1beta/models/…` and `/api/…`"
    );
    refuse(lobby, dialect_of(request.headers()), &Refusal::new(RefusalKind::UnknownPath, message))
}

/// A path that exists, with another method than the right one.
pub(crate) fn wrong_method(
    lobby: &Lobby,
    request: &Request<Incoming>,
    dialect: Dialect,
    right: &str,
) -> Response<Body> {
    let message = format!("`{}` does not take {}: use {right}", request.uri().path(), request.method());
    let mut response = refuse(lobby, dialect, &Refusal::new(RefusalKind::MethodNotAllowed, message));
    // RFC 9110, section 15.5.6, asks for it.
    if let Ok(right) = HeaderValue::from_str(right) {
        response.headers_mut().insert(header::ALLOW, right);
    }
    response
}

pub(crate) fn refuse(lobby: &Lobby, dialect: Dialect, refused: &Refusal) -> Response<Body> {
    let id = lobby.grid.new_id();
    tracing::info!(call = %id.0, kind = ?refused.kind, message = %refused.message, "call refused");
    respond::refusal(dialect, refused, &id.0)
}

/// Takes in a whole request. Strangers are stopped before their body is read.
pub(crate) async fn arrive(
    lobby: &Lobby,
    Spoken { dialect, asked, in_path, shape: _ }: Spoken,
    request: Request<Incoming>,
) -> Result<Arrival, Refusal> {
    let principal = identify(lobby, &request)?;
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let tiers = text(headers, &TIERS).map(tiers).transpose()?;
    let forwarded = FORWARDED.iter().filter_map(|name| {
        let value = headers.get(*name)?;
        Some((*name, Bytes::copy_from_slice(value.as_bytes())))
    });
    let (forwarded, via) = (forwarded.collect(), text(headers, &VIA).map(str::to_owned));
    let (wish, compaction, detached) = (wish(headers)?, compaction(headers)?, detached(headers)?);
    let data_class = data_class(headers)?;
    let body = keep(body, text(headers, &header::CONTENT_LENGTH), lobby.body_bytes_max).await?;
    let headers = forwarded;
    Ok(Arrival {
        dialect,
        asked,
        in_path,
        principal,
        body,
        headers,
        tiers,
        via,
        wish,
        detached,
        compaction,
        data_class,
    })
}

/// The class of what is sent, in the caller's word: `x-commonwatt-data-class: confidential`.
fn data_class(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(class) = text(headers, &DATA_CLASS).map(str::trim) else { return Ok(None) };
    if class.is_empty() || class.len() > SESSION_NAME_MAX {
        let message = format!("`{DATA_CLASS}` must be a word of at most {SESSION_NAME_MAX} bytes");
        return Err(Refusal::new(RefusalKind::BadRequest, message));
    }
    Ok(Some(class.to_owned()))
}

/// Whether a model that cannot hold the whole conversation may answer: `x-commonwatt-compaction: off` forbids it.
fn compaction(headers: &HeaderMap) -> Result<Compaction, Refusal> {
    match text(headers, &COMPACTION).map(str::trim) {
        None | Some("on") => Ok(Compaction::Allowed),
        Some("off") => Ok(Compaction::Off),
        Some(word) => {
            let word: String = word.chars().take(40).collect();
            let message = format!("`{word}` in `{COMPACTION}` is not known: write `on` or `off`");
            Err(Refusal::new(RefusalKind::BadRequest, message))
        }
    }
}

/// Whether the answer is to be made to its end though its caller leaves: `x-commonwatt-detached: true`.
fn detached(headers: &HeaderMap) -> Result<bool, Refusal> {
    match text(headers, &DETACHED).map(str::trim) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::new(RefusalKind::BadRequest, format!("`{DETACHED}` must be `true` or `false`"))),
    }
}

/// What the caller wants of the bus: `x-commonwatt-session: NAME` (or `none`), `x-commonwatt-continue: NAME`.
fn wish(headers: &HeaderMap) -> Result<Wish, Refusal> {
    let named = |header: &HeaderName| match text(headers, header).map(str::trim) {
        Some("") => {
            Err(Refusal::new(RefusalKind::BadRequest, format!("`{header}` is empty: name a session, or `none`")))
        }
        Some(name) if name.len() > SESSION_NAME_MAX => {
            let message = format!("`{header}` is longer than {SESSION_NAME_MAX} bytes: choose a shorter name");
            Err(Refusal::new(RefusalKind::BadRequest, message))
        }
        name => Ok(name.map(str::to_owned)),
    };
    Ok(match (named(&CONTINUE)?, named(&SESSION)?) {
        (Some(name), _) => Wish::Continued(name),
        (None, Some(name)) if name == "none" => Wish::Unkept,
        (None, Some(name)) => Wish::Named(name),
        (None, None) => Wish::Recognised,
    })
}

pub(crate) async fn keep(mut body: Incoming, announced: Option<&str>, max: usize) -> Result<KeptBody, Refusal> {
    let too_large = || {
        let message = format!("the request is larger than {} MiB: shorten it, or raise `limits.body_mib`", max >> 20);
        Refusal::new(RefusalKind::TooLarge, message)
    };
    let announced = announced.and_then(|len| len.parse::<usize>().ok()).unwrap_or_default();
    if announced > max {
        return Err(too_large());
    }
    let (mut arriving, mut alarm) = (Arriving::expecting(announced), Alarm::default());
    loop {
        let frame = alarm.before(Instant::now() + BODY_IDLE, body.frame()).await.ok_or_else(|| {
            Refusal::new(RefusalKind::RequestTimeout, "the request stopped half-way: send the rest of it")
        })?;
        let Some(frame) = frame else { return Ok(arriving.finish()) };
        let frame =
            frame.map_err(|error| Refusal::new(RefusalKind::BadRequest, format!("the request broke off: {error}")))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if arriving.len() + chunk.len() > max {
            return Err(too_large());
        }
        arriving.push(chunk).map_err(|error| {
            Refusal::new(RefusalKind::Internal, format!("a large request cannot be kept on disk: {error}"))
        })?;
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whence {
    /// From this machine to this machine.
    Here,
    /// From anywhere else, as far as is known.
    Elsewhere,
}

impl Whence {
    pub(crate) fn of(stream: &TcpStream) -> Self {
        let is_here = |address: std::io::Result<SocketAddr>| address.is_ok_and(|address| address.ip().is_loopback());
        if is_here(stream.peer_addr()) && is_here(stream.local_addr()) { Self::Here } else { Self::Elsewhere }
    }
}

/// Who is calling. A caller on this machine that sends no key at all may be taken for the holder of one, where the
/// operator says so.
pub(crate) fn identify<B>(lobby: &Lobby, request: &Request<B>) -> Result<Principal, Refusal> {
    let known = lobby.grid.identify(credential_of(request));
    if known.is_err() && may_be_keyless(request) { lobby.grid.keyless().map_or(known, Ok) } else { known }
}

/// Whether a request comes from a program on this machine and holds nothing that might be meant as a key. A browser is
/// no such program: whatever page it shows speaks through it, and then there is an origin, or a host of another name.
fn may_be_keyless<B>(request: &Request<B>) -> bool {
    const SENT: [&str; 4] = ["authorization", "x-api-key", "x-goog-api-key", "origin"];
    let headers = request.headers();
    let host = text(headers, &header::HOST).or_else(|| request.uri().authority().map(Authority::as_str));
    let named_here = host.and_then(|host| host.parse::<Authority>().ok()).is_some_and(|host| {
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    request.extensions().get::<Whence>() == Some(&Whence::Here)
        && named_here
        && !SENT.iter().any(|name| headers.contains_key(*name))
        && credential_of(request).is_none()
}

/// The key, wherever the caller's dialect puts it. Google's clients may put it into the address.
pub(crate) fn credential_of<B>(request: &Request<B>) -> Option<&str> {
    let in_query = || {
        let query = request.uri().query().filter(|_| request.uri().path().starts_with("/v1beta/"))?;
        query.split('&').find_map(|pair| pair.strip_prefix("key="))
    };
    credential(request.headers()).or_else(in_query)
}

/// The key, from `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = text(headers, &header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let named = |name: &'static str| text(headers, &HeaderName::from_static(name));
    bearer.or_else(|| named("x-api-key")).or_else(|| named("x-goog-api-key"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn tiers(list: &str) -> Result<Tiers, Refusal> {
    let tier = |word: &str| {
        Tier::from_word(word.trim()).ok_or_else(|| {
            let message =
                format!("`{word}` in `x-commonwatt-tiers` is not a tier: write `frontier`, `free` or `local`");
            Refusal::new(RefusalKind::BadRequest, message)
        })
    };
    list.split(',').map(tier).collect()
}

/// On paths that several dialects share, an Anthropic client shows itself by its version header.
pub(crate) fn dialect_of(headers: &HeaderMap) -> Dialect {
    if headers.contains_key("anthropic-version") { Dialect::AnthropicMessages } else { Dialect::OpenAiChat }
}

fn model_lines(lobby: &Lobby) -> Vec<ModelLine> {
    let generation = lobby.grid.generation();
    let line = |id: &str, owned_by: &str| ModelLine {
        id: id.to_owned(),
        created_unix_s: lobby.backstage.started_unix_s,
        owned_by: owned_by.to_owned(),
        display: id.to_owned(),
        tools: false,
        images: false,
    };
    let deployed = |deployment: &Arc<Deployment>| ModelLine {
        tools: deployment.abilities.tools == Ability::Yes,
        images: deployment.abilities.images == Ability::Yes,
        ..line(deployment.id.as_str(), &deployment.provider)
    };
    let routes = ["auto", "local"].map(|route| line(route, "commonwatt"));
    let named = generation.fleet.routes.iter().map(|route| line(&route.name, "commonwatt"));
    let deployments = generation.fleet.deployments.iter().map(deployed);
    routes.into_iter().chain(named).chain(deployments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyless(whence: Whence, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::post(uri).extension(whence);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        may_be_keyless(&request.body(()).unwrap())
    }

    #[test]
    fn a_header_forbids_summaries_and_a_misspelt_one_is_told() {
        let of = |word: &'static str| {
            compaction(&[(COMPACTION, HeaderValue::from_static(word))].into_iter().collect::<HeaderMap>())
        };
        assert_eq!(compaction(&HeaderMap::new()), Ok(Compaction::Allowed));
        assert_eq!((of("on"), of(" off ")), (Ok(Compaction::Allowed), Ok(Compaction::Off)));
        assert_eq!(of("no").unwrap_err().kind, RefusalKind::BadRequest);
    }

    #[test]
    fn only_a_program_on_this_machine_that_sends_no_key_at_all_may_be_keyless() {
        for host in ["127.0.0.1:4600", "localhost:4600", "[::1]:4600", "localhost"] {
            assert!(keyless(Whence::Here, "/api/chat", &[("host", host)]), "{host}");
        }
        let host = ("host", "localhost:4600");
        assert!(!keyless(Whence::Elsewhere, "/api/chat", &[host]));
        assert!(!keyless(Whence::Here, "/v1beta/models/m:generateContent?key=", &[host]));
        for (name, value) in [
            ("authorization", "Bearer cw-wrong"),
            ("authorization", "Basic eDp5"),
            ("x-api-key", ""),
            ("x-goog-api-key", "cw-wrong"),
            ("origin", "https://page.example"),
        ] {
            assert!(!keyless(Whence::Here, "/api/chat", &[host, (name, value)]), "{name}: {value}");
        }
        assert!(!keyless(Whence::Here, "/api/chat", &[("host", "rebound.example:4600")]));
        assert!(!keyless(Whence::Here, "/api/chat", &[]));
    }

    #[test]
    fn geminis_streams_are_arrays_unless_events_are_asked_for() {
        let shape = |stream, query| Spoken::in_path(InPath { model: "auto".into(), stream }, query).shape;
        for query in ["alt=sse", "key=k&alt=sse", "$alt=sse", "%24alt=sse&key=k"] {
            assert_eq!(shape(true, Some(query)), Shape::OfDialect, "{query}");
        }
        for query in [None, Some("key=k"), Some("alt=json"), Some("alt=ssex"), Some("")] {
            assert_eq!(shape(true, query), Shape::Array, "{query:?}");
            assert_eq!(shape(false, query), Shape::OfDialect, "{query:?}");
        }
    }
}
