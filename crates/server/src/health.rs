//! Health for machines: alive, ready, and the counters.

use std::sync::Arc;

use axum::extract::State;
use http::{HeaderName, StatusCode, header};

use crate::Lobby;

/// `GET /healthz`: the process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: there is somebody to send calls to, and the daemon is not going down.
pub async fn readyz(State(lobby): State<Arc<Lobby>>) -> (StatusCode, &'static str) {
    let leaving = (lobby.backstage.is_leaving)();
    match (leaving, lobby.grid.generation().fleet.deployments.is_empty()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
        (false, true) => {
            (StatusCode::SERVICE_UNAVAILABLE, "no deployment: build with the engine or set a provider key\n")
        }
        (false, false) => (StatusCode::OK, "ready\n"),
    }
}

/// `GET /metrics`: Prometheus text format 0.0.4. Holds no prompt, no key and no user.
pub async fn metrics(State(lobby): State<Arc<Lobby>>) -> ([(HeaderName, &'static str); 1], String) {
    let text = (lobby.backstage.render_metrics)();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
