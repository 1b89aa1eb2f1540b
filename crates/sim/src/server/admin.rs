//! The questions that tests ask the simulator itself: `GET /sim/requests`, `POST /sim/script`, `POST /sim/reset`.

use http::Method;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::script::Script;

/// Where these questions go; such requests are neither recorded nor refused.
pub(super) const PREFIX: &str = "/sim/";

/// Answers a question with a status and a JSON body.
pub(super) fn answer(stage: &Stage, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
    match (method, path) {
        (&Method::GET, "/sim/requests") => (200, json!({ "calls": stage.calls(), "requests": stage.requests() })),
        (&Method::POST, "/sim/script") => {
            let replaced = script(body).and_then(|script| {
                let steps = script.steps.len();
                stage.replace_script(script).map(|()| steps).map_err(|error| error.to_string())
            });
            match replaced {
                Ok(steps) => (200, json!({ "steps": steps })),
                Err(error) => (400, json!({ "error": error })),
            }
        }
        (&Method::POST, "/sim/reset") => {
            stage.reset();
            (200, json!({}))
        }
        _ => {
            let known = "GET /sim/requests, POST /sim/script, POST /sim/reset";
            (404, json!({ "error": format!("`{method} {path}` is nothing that the simulator answers: use {known}") }))
        }
    }
}

/// A script in JSON, in TOML, or in words.
fn script(body: &[u8]) -> Result<Script, String> {
    let text = str::from_utf8(body).map_err(|_| "a script must be UTF-8".to_owned())?;
    let start = text.trim_start();
    if start.starts_with('{') {
        serde_json::from_str(text).map_err(|error| format!("the script is not understood: {error}"))
    } else if start.starts_with("[[") || start.starts_with("cycle =") {
        toml::from_str(text).map_err(|error| format!("the script is not understood: {error}"))
    } else {
        Script::from_words(text).map_err(|error| error.to_string())
    }
}
