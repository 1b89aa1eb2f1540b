//! Which door a request goes to.
//!
//! The doors are few and known, so they are one `match`: a path is found in nanoseconds, and whoever takes a path with
//! the wrong method is told the right one.

use commonwatt_wire::Dialect;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};

use crate::respond::Body;
use crate::{Lobby, admin, doors, health};

/// A path that exists.
#[derive(Debug, PartialEq, Eq)]
enum Door {
    /// A call to a model.
    Call(Dialect),
    CountTokens,
    Models,
    /// One model, by its id as it stands in the path.
    Model(String),
    Alive,
    Ready,
    Metrics,
    Status,
    Explain,
    Reload,
}

impl Door {
    fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/v1/chat/completions" => Self::Call(Dialect::OpenAiChat),
            "/v1/messages" => Self::Call(Dialect::AnthropicMessages),
            "/v1/messages/count_tokens" => Self::CountTokens,
            "/v1/models" => Self::Models,
            "/healthz" => Self::Alive,
            "/readyz" => Self::Ready,
            "/metrics" => Self::Metrics,
            "/admin/v1/status" => Self::Status,
            "/admin/v1/explain" => Self::Explain,
            "/admin/v1/reload" => Self::Reload,
            _ => Self::Model(path.strip_prefix("/v1/models/").filter(|id| !id.is_empty())?.to_owned()),
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Call(_) | Self::CountTokens | Self::Explain | Self::Reload => Method::POST,
            Self::Models | Self::Model(_) | Self::Alive | Self::Ready | Self::Metrics | Self::Status => Method::GET,
        }
    }

    /// Whatever can be got can be asked for without its body; hyper leaves that out.
    fn takes(&self, method: &Method) -> bool {
        let right = self.method();
        *method == right || (right == Method::GET && *method == Method::HEAD)
    }

    /// The dialect in which a caller is refused here.
    fn dialect(&self, request: &Request<Incoming>) -> Dialect {
        match self {
            Self::Call(dialect) => *dialect,
            Self::CountTokens => Dialect::AnthropicMessages,
            Self::Models
            | Self::Model(_)
            | Self::Alive
            | Self::Ready
            | Self::Metrics
            | Self::Status
            | Self::Explain
            | Self::Reload => doors::dialect_of(request.headers()),
        }
    }
}

/// Answers a request.
pub(crate) async fn enter(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    let Some(door) = Door::at(request.uri().path()) else { return doors::wrong_path(lobby, &request) };
    if !door.takes(request.method()) {
        return doors::wrong_method(lobby, &request, door.dialect(&request), &door.method());
    }
    match door {
        Door::Call(dialect) => doors::call(lobby, dialect, request).await,
        Door::CountTokens => doors::count_tokens(lobby, request).await,
        Door::Models => doors::models(lobby, request.headers()),
        Door::Model(id) => doors::model(lobby, &id, request.headers()),
        Door::Alive => health::alive(),
        Door::Ready => health::ready(lobby),
        Door::Metrics => health::metrics(lobby),
        Door::Status => admin::status(lobby, request.headers()),
        Door::Explain => admin::explain(lobby, request).await,
        Door::Reload => admin::reload(lobby, request.headers()).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_id_may_hold_slashes() {
        assert_eq!(Door::at("/v1/models/local/pilot"), Some(Door::Model("local/pilot".into())));
        assert_eq!(Door::at("/v1/models/"), None);
        assert_eq!(Door::at("/v1/chat/completions/"), None);
    }

    #[test]
    fn what_can_be_got_can_be_asked_for_without_its_body() {
        assert!(Door::Alive.takes(&Method::HEAD));
        assert!(!Door::Reload.takes(&Method::HEAD));
        assert!(!Door::Reload.takes(&Method::GET));
    }
}
