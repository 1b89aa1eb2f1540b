//! Everything that calls in.
//!
//! *Knows:* HTTP, the paths of the model APIs and of the admin API, how a refusal is sent in the caller's dialect.
//!
//! *Does not know:* how anything is decided, where models are, what an answer means.

#![forbid(unsafe_code)]

pub mod admin;
pub mod doors;
pub mod health;
pub mod listen;
mod respond;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use commonwatt_grid::Grid;

pub use crate::admin::Backstage;

/// What every door needs.
pub struct Lobby {
    /// The grid behind the doors.
    pub grid: Arc<Grid>,
    /// Bodies larger than this, in bytes, are refused.
    pub body_bytes_max: usize,
    /// What the admin API can ask of the daemon.
    pub backstage: Backstage,
}

/// All doors.
pub fn router(lobby: Arc<Lobby>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(doors::chat_completions))
        .route("/v1/messages", post(doors::messages))
        .route("/v1/messages/count_tokens", post(doors::count_tokens))
        .route("/v1/models", get(doors::models))
        .route("/v1/models/{*id}", get(doors::model))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/admin/v1/status", get(admin::status))
        .route("/admin/v1/explain", post(admin::explain))
        .route("/admin/v1/reload", post(admin::reload))
        .method_not_allowed_fallback(doors::wrong_method)
        .fallback(doors::wrong_path)
        .with_state(lobby)
}
