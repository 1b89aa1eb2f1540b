//! The operator's routes, checked against what there is: a route that leads nowhere is found before anybody takes it.

use std::collections::BTreeMap;

use commonwatt_core::fleet::{NamedRoute, Tier, matches_pattern};
use commonwatt_core::route::{AUTO, LOCAL};

use super::Desk;
use super::providers::{ENGINE, Provider};
use crate::config;

/// All routes, by name.
pub(super) fn settle(
    desk: &mut Desk<'_>,
    in_file: BTreeMap<String, config::Route>,
    providers: &[Provider],
    substitute: bool,
) -> Vec<NamedRoute> {
    let mut routes = Vec::new();
    for (name, raw) in in_file {
        if name == AUTO || name == LOCAL {
            let help = "give yours another name";
            desk.wrong_name(&["routes", &name], format!("the route `{name}` is built in"), help);
        }
        if name.is_empty() || name.contains('/') || name.chars().any(char::is_whitespace) {
            let help = "use a word without `/`, which stands between providers and models";
            desk.wrong_name(&["routes", &name], format!("`{name}` is no name for a route"), help);
        }
        if raw.candidates.is_empty() {
            let help = "name `provider/model`, a model, or a tier such as `tier:local`";
            desk.wrong(&["routes", &name, "candidates"], format!("the route `{name}` leads to nobody"), help);
        }
        for (at, candidate) in raw.candidates.iter().enumerate() {
            if let Err((message, help)) = check(candidate, providers) {
                desk.wrong(&["routes", &name, "candidates", &at.to_string()], message, help);
            }
        }
        let substitute = raw.substitute.unwrap_or(substitute);
        routes.push(NamedRoute { name, candidates: raw.candidates, substitute });
    }
    routes
}

/// Whether a candidate may be somebody.
fn check(candidate: &str, providers: &[Provider]) -> Result<(), (String, String)> {
    if let Some(word) = candidate.strip_prefix("tier:") {
        let advice = || "write `tier:frontier`, `tier:free` or `tier:local`".to_owned();
        return Tier::from_word(word).map(drop).ok_or_else(|| (format!("`{word}` is not a tier"), advice()));
    }
    let ids: Vec<&str> = providers.iter().map(|provider| provider.spec.id.as_str()).chain([ENGINE]).collect();
    let serves = |provider: &Provider| {
        let spec = &provider.spec;
        let listed = spec.models.iter().any(|pattern| matches_pattern(pattern, candidate));
        listed || spec.auto_model().is_some_and(|model| model == candidate) || spec.model.contains_key(candidate)
    };
    if providers.iter().any(serves) {
        return Ok(());
    }
    match candidate.split_once('/') {
        Some((id, model)) if ids.contains(&id) && !model.is_empty() => Ok(()),
        Some((id, _)) if !ids.contains(&id) => {
            let help = match config::nearest(id, &ids) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", ids.join(", ")),
            };
            Err((format!("`{candidate}` names nobody: there is no provider `{id}`"), help))
        }
        Some(_) | None => {
            let help =
                "write `provider/model`, such as `ollama/llama3.2` or `engine/pilot`, or a tier such as `tier:local`";
            Err((format!("`{candidate}` is served by no provider that is known beforehand"), help.to_owned()))
        }
    }
}
