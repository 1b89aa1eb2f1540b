//! Servers on this machine: who is there, and which models it serves.

use commonwatt_core::fleet::matches_pattern;
use serde::Deserialize;

use crate::http::Http;
use crate::spec::ProviderSpec;

/// A local server answers at once or is not there.
const PROBE_MS: u64 = 400;
/// More models of one server than this are not listed.
const MODELS_MAX: usize = 200;

/// The models that a local server serves; `None` when it is not there, or something else is on its port.
pub async fn models(http: &Http, spec: &ProviderSpec) -> Option<Vec<String>> {
    let local = spec.local.as_ref()?;
    let base = spec.base_url.trim_end_matches('/');
    let origin = base.strip_suffix("/v1").unwrap_or(base);
    let greeting = http.peek(&format!("{origin}{}", local.probe_path), PROBE_MS).await?;
    if !greeting.contains(&local.probe_contains) {
        return None;
    }
    let list = http.peek(&format!("{origin}/v1/models"), PROBE_MS).await?;
    let is_here = |id: &String| !local.elsewhere.iter().any(|pattern| matches_pattern(pattern, id));
    Some(model_ids(&list).into_iter().filter(is_here).collect())
}

/// The ids of an OpenAI model list.
fn model_ids(list: &str) -> Vec<String> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        data: Vec<Line>,
    }
    #[derive(Deserialize)]
    struct Line {
        id: String,
    }
    let lines = serde_json::from_str::<List>(list).map(|list| list.data).unwrap_or_default();
    lines.into_iter().map(|line| line.id).take(MODELS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_and_anything_else_is_no_list() {
        assert_eq!(model_ids(r#"{"object":"list","data":[{"id":"a","x":1},{"id":"b"}]}"#), ["a", "b"]);
        assert!(model_ids("<html>").is_empty());
    }
}
