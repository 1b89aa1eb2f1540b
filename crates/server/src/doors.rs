//! The doors of the model APIs.

use std::time::Duration;

use commonwatt_core::fleet::{Tier, Tiers};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::request::Arrival;
use commonwatt_upstream::alarm::Alarm;
use commonwatt_upstream::body::{Arriving, KeptBody};
use commonwatt_wire::{Dialect, ModelLine, write_model, write_models, write_token_count};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use tokio::time::Instant;

use crate::Lobby;
use crate::respond::{self, Body};

/// A caller that sends nothing for this long while its body is awaited is told so.
const BODY_IDLE: Duration = Duration::from_secs(30);

/// Headers of a client that belong to its dialect and go along to a provider that speaks it.
const FORWARDED: [&str; 3] = ["anthropic-version", "anthropic-beta", "openai-beta"];

const TIERS: HeaderName = HeaderName::from_static("x-commonwatt-tiers");
const TOKENS: HeaderName = HeaderName::from_static("x-commonwatt-tokens");
const VIA: HeaderName = HeaderName::from_static("x-commonwatt-via");

/// `POST /v1/chat/completions`, `POST /v1/messages`
pub(crate) async fn call(lobby: &Lobby, dialect: Dialect, request: Request<Incoming>) -> Response<Body> {
    let answered = match arrive(lobby, dialect, request).await {
        Ok(arrival) => lobby.grid.call(arrival).await,
        Err(refused) => Err(refused),
    };
    match answered {
        Ok(answered) => respond::answer(dialect, answered),
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `POST /v1/messages/count_tokens`
pub(crate) async fn count_tokens(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    let dialect = Dialect::AnthropicMessages;
    let counted = match arrive(lobby, dialect, request).await {
        Ok(arrival) => lobby.grid.count_tokens(arrival).await,
        Err(refused) => Err(refused),
    };
    match counted {
        Ok(count) => {
            let mut response = respond::json(write_token_count(count.tokens));
            let word = if count.estimated { "estimated" } else { "counted" };
            response.headers_mut().insert(TOKENS, HeaderValue::from_static(word));
            response
        }
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `GET /v1/models`
pub(crate) fn models(lobby: &Lobby, headers: &HeaderMap) -> Response<Body> {
    let dialect = dialect_of(headers);
    match lobby.grid.identify(credential(headers)) {
        Ok(_) => respond::json(write_models(dialect, &model_lines(lobby))),
        Err(refused) => refuse(lobby, dialect, &refused),
    }
}

/// `GET /v1/models/{id}`; clients escape the slashes of an id, or do not.
pub(crate) fn model(lobby: &Lobby, id: &str, headers: &HeaderMap) -> Response<Body> {
    let dialect = dialect_of(headers);
    if let Err(refused) = lobby.grid.identify(credential(headers)) {
        return refuse(lobby, dialect, &refused);
    }
    let id = percent_decode_str(id).decode_utf8_lossy();
    match model_lines(lobby).iter().find(|line| line.id == id) {
        Some(line) => respond::json(write_model(dialect, line)),
        None => {
            let id: String = id.chars().take(100).collect();
            let message = format!("model `{id}` is not known here: `GET /v1/models` lists those that are");
            refuse(lobby, dialect, &Refusal::new(RefusalKind::UnknownModel, message))
        }
    }
}

/// A path that does not exist.
pub(crate) fn wrong_path(lobby: &Lobby, request: &Request<Incoming>) -> Response<Body> {
    let path: String = request.uri().path().chars().take(100).collect();
    let message = format!(
        "there is no `{path}` here: the doors are `/v1/chat/completions`, `/v1/messages`, `/v1/messages/count_tokens` and `/v1/models`"
    );
    refuse(lobby, dialect_of(request.headers()), &Refusal::new(RefusalKind::UnknownPath, message))
}

/// A path that exists, with another method than the right one.
pub(crate) fn wrong_method(
    lobby: &Lobby,
    request: &Request<Incoming>,
    dialect: Dialect,
    right: &Method,
) -> Response<Body> {
    let message = format!("`{}` does not take {}: use {right}", request.uri().path(), request.method());
    let mut response = refuse(lobby, dialect, &Refusal::new(RefusalKind::MethodNotAllowed, message));
    // RFC 9110, section 15.5.6, asks for it.
    if let Ok(right) = HeaderValue::from_str(right.as_str()) {
        response.headers_mut().insert(header::ALLOW, right);
    }
    response
}

fn refuse(lobby: &Lobby, dialect: Dialect, refused: &Refusal) -> Response<Body> {
    let id = lobby.grid.new_id();
    tracing::info!(call = %id.0, kind = ?refused.kind, message = %refused.message, "call refused");
    respond::refusal(dialect, refused, &id.0)
}

/// Takes in a whole request. Strangers are stopped before their body is read.
pub(crate) async fn arrive(lobby: &Lobby, dialect: Dialect, request: Request<Incoming>) -> Result<Arrival, Refusal> {
    let (parts, body) = request.into_parts();
    let headers = &parts.headers;
    let principal = lobby.grid.identify(credential(headers))?;
    let tiers = text(headers, &TIERS).map(tiers).transpose()?;
    let forwarded = FORWARDED.iter().filter_map(|name| {
        let value = headers.get(*name)?;
        Some((*name, Bytes::copy_from_slice(value.as_bytes())))
    });
    let (forwarded, via) = (forwarded.collect(), text(headers, &VIA).map(str::to_owned));
    let body = keep(body, text(headers, &header::CONTENT_LENGTH), lobby.body_bytes_max).await?;
    Ok(Arrival { dialect, principal, body, headers: forwarded, tiers, via })
}

async fn keep(mut body: Incoming, announced: Option<&str>, max: usize) -> Result<KeptBody, Refusal> {
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

/// The key, from `Authorization: Bearer` or `x-api-key`.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    let bearer = text(headers, &header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    bearer.or_else(|| text(headers, &HeaderName::from_static("x-api-key")))
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
    };
    let routes = ["auto", "local"].map(|route| line(route, "commonwatt"));
    let named = generation.fleet.routes.iter().map(|route| line(&route.name, "commonwatt"));
    let deployments = generation.fleet.deployments.iter().map(|d| line(d.id.as_str(), &d.provider));
    let all: Vec<ModelLine> = routes.into_iter().chain(named).chain(deployments).collect();
    all
}
