//! Who may answer: from the name that a client wrote in `model` to the deployments behind it.

use std::sync::Arc;

use crate::fleet::{Deployment, DeploymentId, Fleet, NamedRoute, Passthrough, Tier, matches_pattern};

/// The route that takes the best tier there is.
pub const AUTO: &str = "auto";
/// The route that stays on this machine.
pub const LOCAL: &str = "local";

/// Why a deployment is among the candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is what the client named.
    Asked,
    /// It stands in when what the client named cannot answer.
    Substitute,
}

/// A deployment that a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The deployment.
    pub deployment: Arc<Deployment>,
    /// Why it is here.
    pub part: Part,
}

/// What a route leads to, in order, before anything is asked of the deployments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Deployments in the order in which they would be tried.
    pub choices: Vec<Choice>,
    /// Providers that would serve the name but cannot be used: `(provider, what to do)`.
    pub absent: Vec<(Arc<str>, String)>,
}

/// No deployment has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model `{name}` is not known here: use `auto`, or one of {}", suggestions.join(", "))]
pub struct UnknownModel {
    /// What the client wrote.
    pub name: String,
    /// Names that would work, nearest first, in backticks.
    pub suggestions: Vec<String>,
}

/// Finds the deployments behind `name`: a built-in route, a route of the operator, a deployment id, a model name that
/// some deployment serves, or a name of a shape that a provider passes through.
///
/// # Errors
/// [`UnknownModel`] when nothing and nobody has that name.
pub fn resolve(fleet: &Fleet, name: &str) -> Result<Selection, UnknownModel> {
    let mut selection = Selection::default();
    if name == AUTO {
        selection.add_auto(fleet, Part::Asked);
        return Ok(selection);
    }
    if name == LOCAL {
        selection.add_all(fleet.deployments.iter().filter(|d| d.tier == Tier::Local && d.in_auto), Part::Asked);
        return Ok(selection);
    }
    if let Some(route) = fleet.routes.iter().find(|route| route.name == name) {
        selection.add_named(fleet, route);
        return Ok(selection);
    }
    selection.add_concrete(fleet, name);
    if selection.choices.is_empty() && selection.absent.is_empty() {
        return Err(UnknownModel { name: name.to_owned(), suggestions: suggestions(fleet, name) });
    }
    if fleet.substitute {
        selection.add_auto(fleet, Part::Substitute);
    }
    Ok(selection)
}

impl Selection {
    fn add(&mut self, deployment: &Arc<Deployment>, part: Part) {
        if self.choices.iter().all(|choice| choice.deployment.id != deployment.id) {
            self.choices.push(Choice { deployment: Arc::clone(deployment), part });
        }
    }

    fn add_all<'a>(&mut self, deployments: impl Iterator<Item = &'a Arc<Deployment>>, part: Part) {
        deployments.for_each(|deployment| self.add(deployment, part));
    }

    fn add_auto(&mut self, fleet: &Fleet, part: Part) {
        self.add_all(fleet.deployments.iter().filter(|deployment| deployment.in_auto), part);
    }

    fn add_named(&mut self, fleet: &Fleet, route: &NamedRoute) {
        for candidate in &route.candidates {
            match candidate.strip_prefix("tier:").and_then(Tier::from_word) {
                Some(tier) => {
                    self.add_all(fleet.deployments.iter().filter(|d| d.tier == tier && d.in_auto), Part::Asked);
                }
                None => self.add_concrete(fleet, candidate),
            }
        }
        if route.substitute {
            self.add_auto(fleet, Part::Substitute);
        }
    }

    /// A deployment id, a model name, or a name that a provider passes through; also notes who would, with a key.
    fn add_concrete(&mut self, fleet: &Fleet, name: &str) {
        let before = self.choices.len();
        let named = |deployment: &&Arc<Deployment>| deployment.id.as_str() == name || &*deployment.model == name;
        self.add_all(fleet.deployments.iter().filter(named), Part::Asked);
        if self.choices.len() > before {
            return;
        }
        for passthrough in &fleet.passthroughs {
            if let Some(deployment) = passthrough.deployment(name) {
                self.add(&Arc::new(deployment), Part::Asked);
            }
        }
        for absent in &fleet.absent {
            let bare = name.strip_prefix(&*absent.provider).and_then(|rest| rest.strip_prefix('/'));
            let would_serve = |pattern: &String| matches_pattern(pattern, name);
            if bare.is_some() || absent.patterns.iter().any(would_serve) {
                self.absent.push((Arc::clone(&absent.provider), absent.hint.clone()));
            }
        }
    }
}

impl Passthrough {
    /// The deployment for `name`, if this provider takes it: `provider/anything`, or a name of one of its patterns.
    fn deployment(&self, name: &str) -> Option<Deployment> {
        let bare = name.strip_prefix(&*self.template.provider).and_then(|rest| rest.strip_prefix('/'));
        let model = match bare {
            Some(model) if !model.is_empty() => model,
            Some(_) | None => self.patterns.iter().any(|pattern| matches_pattern(pattern, name)).then_some(name)?,
        };
        let id = DeploymentId::new(&self.template.provider, model);
        Some(Deployment { id, model: model.into(), in_auto: false, ..self.template.clone() })
    }
}

/// At most five names that would work, those most like `name` first.
fn suggestions(fleet: &Fleet, name: &str) -> Vec<String> {
    let models = fleet.deployments.iter().map(|deployment| &*deployment.model);
    let routes = fleet.routes.iter().map(|route| route.name.as_str());
    let mut names: Vec<&str> = models.chain(routes).chain([LOCAL]).collect();
    names.sort_by_key(|candidate| edit_distance(candidate, name));
    names.dedup();
    names.into_iter().take(5).map(|candidate| format!("`{candidate}`")).collect()
}

/// Levenshtein distance over characters; long names are cut, since only nearness matters.
#[must_use]
pub fn edit_distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    let b: Vec<char> = b.chars().take(LONGEST).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(LONGEST).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((above, diagonal), cb) in row.iter().skip(1).zip(&row).zip(&b) {
            let left = next.last().copied().unwrap_or_default();
            next.push((left + 1).min(above + 1).min(diagonal + usize::from(ca != *cb)));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Abilities, Absent, Facts};

    fn deployment(provider: &str, model: &str, tier: Tier) -> Arc<Deployment> {
        Arc::new(Deployment {
            id: DeploymentId::new(provider, model),
            provider: provider.into(),
            model: model.into(),
            tier,
            rank: 0,
            in_auto: true,
            abilities: Abilities::default(),
            window_tokens: None,
            facts: Facts::default(),
        })
    }

    fn fleet() -> Fleet {
        let openai = deployment("openai", "gpt-best", Tier::Frontier);
        Fleet {
            deployments: vec![
                deployment("engine", "pilot", Tier::Local),
                Arc::clone(&openai),
                deployment("groq", "llama", Tier::Free),
            ],
            passthroughs: vec![Passthrough { patterns: vec!["gpt-*".into()], template: (*openai).clone() }],
            absent: vec![Absent {
                provider: "anthropic".into(),
                patterns: vec!["claude-*".into()],
                hint: "set `ANTHROPIC_API_KEY`".into(),
            }],
            routes: vec![],
            substitute: true,
        }
        .sorted()
    }

    fn ids(name: &str) -> Vec<String> {
        let selection = resolve(&fleet(), name).expect("a known name");
        selection.choices.iter().map(|choice| choice.deployment.id.to_string()).collect()
    }

    #[test]
    fn auto_goes_from_the_best_tier_to_the_one_that_is_always_there() {
        assert_eq!(ids("auto"), ["openai/gpt-best", "groq/llama", "engine/pilot"]);
    }

    #[test]
    fn local_never_leaves() {
        assert_eq!(ids("local"), ["engine/pilot"]);
    }

    #[test]
    fn a_model_that_is_named_comes_first_and_the_rest_stands_in() {
        assert_eq!(ids("llama"), ["groq/llama", "openai/gpt-best", "engine/pilot"]);
        assert_eq!(ids("openai/gpt-best"), ["openai/gpt-best", "groq/llama", "engine/pilot"]);
    }

    #[test]
    fn where_nobody_may_stand_in_nobody_does() {
        let route = NamedRoute { name: "one".into(), candidates: vec!["llama".into()], substitute: false };
        let strict = Fleet { substitute: false, routes: vec![route], ..fleet() };
        for name in ["llama", "groq/llama", "one"] {
            let selection = resolve(&strict, name).expect("a known name");
            let ids: Vec<_> = selection.choices.iter().map(|choice| choice.deployment.id.as_str()).collect();
            assert_eq!(ids, ["groq/llama"], "{name}");
        }
    }

    #[test]
    fn a_name_of_a_providers_shape_is_passed_through() {
        assert_eq!(ids("gpt-7-mini").first().map(String::as_str), Some("openai/gpt-7-mini"));
        assert_eq!(ids("openai/anything").first().map(String::as_str), Some("openai/anything"));
    }

    #[test]
    fn a_model_without_a_key_is_served_by_others_and_says_what_is_missing() {
        let selection = resolve(&fleet(), "claude-best").expect("a known shape");
        assert_eq!(selection.absent, [("anthropic".into(), "set `ANTHROPIC_API_KEY`".to_owned())]);
        assert!(selection.choices.iter().all(|choice| choice.part == Part::Substitute));
    }

    #[test]
    fn an_unknown_name_gets_the_nearest_ones() {
        let error = resolve(&fleet(), "pilto").expect_err("nobody has that name");
        assert!(error.to_string().starts_with("model `pilto` is not known here: use `auto`, or one of `pilot`"));
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
    }
}
