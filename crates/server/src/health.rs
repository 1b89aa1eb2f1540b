//! Health for machines: alive, ready, and the counters.

use hyper::{Response, StatusCode};

use crate::Lobby;
use crate::respond::{Body, text};

/// `GET /healthz`: the process is alive.
pub(crate) fn alive() -> Response<Body> {
    text("text/plain; charset=utf-8", "ok\n")
}

/// `GET /readyz`: there is somebody to send calls to, and the daemon is not going down.
pub(crate) fn ready(lobby: &Lobby) -> Response<Body> {
    let leaving = (lobby.backstage.is_leaving)();
    let (status, told) = match (leaving, lobby.grid.generation().fleet.deployments.is_empty()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
        (false, true) => {
            (StatusCode::SERVICE_UNAVAILABLE, "no deployment: build with the engine or set a provider key\n")
        }
        (false, false) => (StatusCode::OK, "ready\n"),
    };
    let mut response = text("text/plain; charset=utf-8", told);
    *response.status_mut() = status;
    response
}

/// `GET /metrics`: Prometheus text format 0.0.4. Holds no prompt, no key and no user.
pub(crate) fn metrics(lobby: &Lobby) -> Response<Body> {
    text("text/plain; version=0.0.4; charset=utf-8", (lobby.backstage.render_metrics)())
}
