//! Which door a request goes to.
//!
//! The doors are few and known, so they are one `match`: a path is found in nanoseconds, and whoever takes a path with
//! the wrong method is told the right one.

use commonwatt_grid::decode::Asked;
use commonwatt_wire::{Dialect, EmbedDialect, InPath};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;

use crate::doors::Spoken;
use crate::respond::Body;
use crate::responses::Kept;
use crate::{Lobby, admin, carry, doors, handoff, health, responses, sessions};

/// A path that exists.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// A call to a model.
    Call(Dialect),
    /// Vectors that stand for texts.
    Embed(EmbedDialect),
    /// The same where the path names the model.
    EmbedOf(EmbedDialect, InPath),
    Rerank,
    /// A call where the path names the model.
    CallOf(InPath),
    /// How long a prompt is.
    Count(Dialect, Option<InPath>),
    Models(ListedFor),
    /// One model, by its id as it stands in the path.
    Model(ListedFor, String),
    OllamaShow,
    OllamaVersion,
    Alive,
    Ready,
    Metrics,
    Status,
    Explain,
    Reload,
    Sessions(sessions::At),
    Export,
    Import,
    Handoff(handoff::Ask),
}

/// For whom models are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ListedFor {
    /// OpenAI's and Anthropic's clients share a path.
    Whoever,
    Gemini,
    Ollama,
}

impl ListedFor {
    fn dialect(self, headers: &HeaderMap) -> Dialect {
        match self {
            Self::Whoever => doors::dialect_of(headers),
            Self::Gemini => Dialect::Gemini,
            Self::Ollama => Dialect::OllamaChat,
        }
    }
}

impl Door {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Call(Dialect::OpenAiChat),
            "/v1/messages" => Self::Call(Dialect::AnthropicMessages),
            "/v1/responses" => Self::Call(Dialect::OpenAiResponses),
            "/v1/completions" => Self::Call(Dialect::OpenAiCompletions),
            "/api/chat" => Self::Call(Dialect::OllamaChat),
            "/api/generate" => Self::Call(Dialect::OllamaGenerate),
            "/v1/embeddings" => Self::Embed(EmbedDialect::OpenAi),
            "/api/embed" => Self::Embed(EmbedDialect::Ollama),
            "/api/embeddings" => Self::Embed(EmbedDialect::OllamaOne),
            "/v1/rerank" => Self::Rerank,
            "/v1/messages/count_tokens" => Self::Count(Dialect::AnthropicMessages, None),
            "/v1/models" => Self::Models(ListedFor::Whoever),
            "/v1beta/models" => Self::Models(ListedFor::Gemini),
            "/api/tags" => Self::Models(ListedFor::Ollama),
            "/api/show" => Self::OllamaShow,
            "/api/version" => Self::OllamaVersion,
            "/healthz" => Self::Alive,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/admin/v1/status" => Self::Status,
            "/admin/v1/explain" => Self::Explain,
            "/admin/v1/reload" => Self::Reload,
            "/admin/v1/export" => Self::Export,
            "/admin/v1/import" => Self::Import,
            _ => {
                return handoff::Ask::at(path)
                    .map(Self::Handoff)
                    .or_else(|| Self::of_session(path))
                    .or_else(|| Self::of_model(path));
            }
        })
    }

    fn of_session(path: &str) -> Option<Self> {
        path.strip_prefix("/admin/v1/sessions").and_then(sessions::At::of).map(Self::Sessions)
    }

    /// Paths that name a model: `/v1/models/{id}`, `/v1beta/models/{id}`, and either with `:{verb}`, which only Google's
    /// clients add. An id may hold slashes, and clients escape them, or do not.
    fn of_model(path: &str) -> Option<Self> {
        let under = |root: &str| path.strip_prefix(root).filter(|rest| !rest.is_empty());
        let (rest, listed) = match under("/v1/models/") {
            Some(rest) => (rest, ListedFor::Whoever),
            None => (under("/v1beta/models/")?, ListedFor::Gemini),
        };
        let id = |id: &str| percent_decode_str(id).decode_utf8_lossy().into_owned();
        let in_path = |model, stream| InPath { model: id(model), stream };
        Some(match rest.rsplit_once(':') {
            Some((model, "generateContent")) => Self::CallOf(in_path(model, false)),
            Some((model, "streamGenerateContent")) => Self::CallOf(in_path(model, true)),
            Some((model, "embedContent")) => Self::EmbedOf(EmbedDialect::GeminiOne, in_path(model, false)),
            Some((model, "batchEmbedContents")) => Self::EmbedOf(EmbedDialect::Gemini, in_path(model, false)),
            Some((model, "countTokens")) => Self::Count(Dialect::Gemini, Some(in_path(model, false))),
            Some(_) | None => Self::Model(listed, id(rest)),
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Embed(_) | Self::EmbedOf(..) | Self::Rerank | Self::Export | Self::Import => Method::POST,
            Self::Call(_) | Self::CallOf(_) | Self::Count(..) | Self::OllamaShow | Self::Explain | Self::Reload => {
                Method::POST
            }
            Self::Models(_)
            | Self::Model(..)
            | Self::OllamaVersion
            | Self::Alive
            | Self::Ready
            | Self::Metrics
            | Self::Status
            | Self::Sessions(_) => Method::GET,
            Self::Handoff(ask) => ask.method(),
        }
    }

    /// Whatever can be got can be asked for without its body; hyper leaves that out.
    fn takes(&self, method: &Method) -> bool {
        let right = self.method();
        let also = matches!(self, Self::Sessions(at) if at.also_takes(method));
        *method == right || (right == Method::GET && *method == Method::HEAD) || also
    }

    /// The dialect in which a caller is refused here.
    fn dialect(&self, request: &Request<Incoming>) -> Dialect {
        match self {
            Self::Call(dialect) | Self::Count(dialect, _) => *dialect,
            Self::CallOf(_) | Self::EmbedOf(..) => Dialect::Gemini,
            Self::Embed(of) => of.family(),
            Self::Rerank => Dialect::OpenAiChat,
            Self::OllamaShow | Self::OllamaVersion => Dialect::OllamaChat,
            Self::Models(listed) | Self::Model(listed, _) => listed.dialect(request.headers()),
            Self::Alive
            | Self::Ready
            | Self::Metrics
            | Self::Status
            | Self::Explain
            | Self::Reload
            | Self::Sessions(_)
            | Self::Handoff(_) => doors::dialect_of(request.headers()),
            Self::Export | Self::Import => Dialect::OpenAiChat,
        }
    }
}

/// Answers a request.
pub(crate) async fn enter(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    if let Some(kept) = Kept::at(request.uri().path()) {
        return responses::enter(lobby, kept, request).await;
    }
    let Some(door) = Door::at(request.uri().path()) else { return doors::wrong_path(lobby, &request) };
    if !door.takes(request.method()) {
        return doors::wrong_method(lobby, &request, door.dialect(&request), door.method().as_str());
    }
    match door {
        Door::Call(dialect) => doors::call(lobby, Spoken::in_body(dialect), request).await,
        Door::CallOf(in_path) => {
            let spoken = Spoken::in_path(in_path, request.uri().query());
            doors::call(lobby, spoken, request).await
        }
        Door::Embed(of) => {
            let spoken = Spoken { asked: Asked::Embeddings(of), ..Spoken::in_body(door.dialect(&request)) };
            doors::call(lobby, spoken, request).await
        }
        Door::EmbedOf(of, in_path) => {
            let spoken = Spoken { asked: Asked::Embeddings(of), ..Spoken::in_path(in_path, None) };
            doors::call(lobby, spoken, request).await
        }
        Door::Rerank => {
            let spoken = Spoken { asked: Asked::Rerank, ..Spoken::in_body(Dialect::OpenAiChat) };
            doors::call(lobby, spoken, request).await
        }
        Door::Count(dialect, in_path) => {
            doors::count_tokens(lobby, Spoken { in_path, ..Spoken::in_body(dialect) }, request).await
        }
        Door::Models(listed) => doors::models(lobby, listed.dialect(request.headers()), &request),
        Door::Model(listed, id) => doors::model(lobby, listed.dialect(request.headers()), &id, &request),
        Door::OllamaShow => doors::ollama_show(lobby, request).await,
        Door::OllamaVersion => doors::ollama_version(),
        Door::Alive => health::alive(),
        Door::Ready => health::ready(lobby),
        Door::Metrics => health::metrics(lobby),
        Door::Status => admin::status(lobby, request.headers()).await,
        Door::Explain => admin::explain(lobby, request).await,
        Door::Reload => admin::reload(lobby, request.headers()).await,
        Door::Sessions(at) => sessions::enter(lobby, at, request).await,
        Door::Export => carry::export(lobby, request).await,
        Door::Import => carry::import(lobby, request).await,
        Door::Handoff(ask) => handoff::answer(lobby, ask, request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_id_may_hold_slashes() {
        let model = |id: &str| Some(Door::Model(ListedFor::Whoever, id.into()));
        assert_eq!(Door::at("/v1/models/local/pilot"), model("local/pilot"));
        assert_eq!(Door::at("/v1/models/local%2Fpilot"), model("local/pilot"));
        assert_eq!(Door::at("/v1/models/"), None);
        assert_eq!(Door::at("/v1/chat/completions/"), None);
    }

    #[test]
    fn geminis_paths_name_the_model_and_say_whether_to_stream() {
        let call = |model: &str, stream| Some(Door::CallOf(InPath { model: model.into(), stream }));
        assert_eq!(Door::at("/v1beta/models/auto:generateContent"), call("auto", false));
        assert_eq!(Door::at("/v1beta/models/engine%2Fpilot:streamGenerateContent"), call("engine/pilot", true));
        assert_eq!(Door::at("/v1beta/models/a:free:generateContent"), call("a:free", false));
        assert_eq!(Door::at("/v1/models/auto:streamGenerateContent"), call("auto", true));
        assert_eq!(Door::at("/v1/models/a:free"), Some(Door::Model(ListedFor::Whoever, "a:free".into())));
        assert_eq!(Door::at("/v1beta/models/"), None);
    }

    #[test]
    fn geminis_vectors_are_asked_for_one_by_one_or_many_at_once() {
        let embed = |of| Some(Door::EmbedOf(of, InPath { model: "auto".into(), stream: false }));
        assert_eq!(Door::at("/v1beta/models/auto:embedContent"), embed(EmbedDialect::GeminiOne));
        assert_eq!(Door::at("/v1beta/models/auto:batchEmbedContents"), embed(EmbedDialect::Gemini));
    }

    #[test]
    fn what_can_be_got_can_be_asked_for_without_its_body() {
        assert!(Door::Alive.takes(&Method::HEAD));
        assert!(!Door::Reload.takes(&Method::HEAD));
        assert!(!Door::Reload.takes(&Method::GET));
    }

    #[test]
    fn a_session_can_be_erased_but_not_all_of_them_at_once() {
        let takes = |path, method| Door::at(path).is_some_and(|door| door.takes(&method));
        assert!(takes("/admin/v1/sessions/work", Method::DELETE) && takes("/admin/v1/sessions/work", Method::GET));
        assert!(takes("/admin/v1/sessions", Method::GET) && !takes("/admin/v1/sessions", Method::DELETE));
        assert!(!takes("/admin/v1/sessions/work/tree", Method::DELETE));
        assert_eq!(Door::at("/admin/v1/sessionsx"), None);
    }
}
