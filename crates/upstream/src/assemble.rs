//! From accounts, local servers and models on disk to a fleet and the ways to it.

use std::sync::Arc;

use commonwatt_core::fleet::{
    Abilities, Ability, Absent, Deployment, DeploymentId, Fact, Facts, Fleet, NamedRoute, Passthrough, Tier,
};
use commonwatt_core::patience::Patience;
use commonwatt_engine::Model;

use crate::http::{Http, HttpTarget};
use crate::spec::{ProviderSpec, TimeoutsSpec};
use crate::{EngineTarget, Target, Upstream};

/// The provider name of the built-in engine.
pub const ENGINE: &str = "engine";

/// A provider as it is used here.
pub struct Account {
    /// What is known of the provider, refined by the operator; `base_url` is the one to use.
    pub spec: ProviderSpec,
    /// Its key.
    pub key: Credential,
    /// Models that a server on this machine was found to serve; empty for clouds.
    pub found: Vec<String>,
}

/// Whether an account can be used.
pub enum Credential {
    /// With this key.
    Key(String),
    /// Without one.
    NotNeeded,
    /// Not yet: what to do, as "set `OPENAI_API_KEY`".
    Missing(String),
}

/// A model that the built-in engine runs.
pub struct LocalModel {
    /// Its name: `pilot`, or that of its file.
    pub name: String,
    /// Its handle.
    pub model: Model,
    /// Prompt and answer together, in tokens.
    pub window_tokens: Option<u32>,
    /// Preference among local models; lower is tried first.
    pub rank: u32,
    /// The licence of its weights, with where that is stated.
    pub licence: Option<Fact>,
    /// The day on which it was found here, `YYYY-MM-DD`.
    pub as_of: String,
}

/// Everything a fleet is made of.
pub struct Parts {
    /// The pool of connections.
    pub http: Http,
    /// Providers.
    pub accounts: Vec<Account>,
    /// Models of the engine.
    pub local_models: Vec<LocalModel>,
    /// The operator's routes.
    pub routes: Vec<NamedRoute>,
    /// Whether a concrete model may be replaced by the rest of `auto`.
    pub substitute: bool,
    /// Waits for everyone, where the operator set any.
    pub timeouts: TimeoutsSpec,
}

/// Builds a fleet and the ways to it.
///
/// # Errors
/// One sentence that names the provider and what to do.
pub fn assemble(parts: Parts) -> Result<(Fleet, Upstream), String> {
    let (mut fleet, mut upstream) = (Fleet::default(), Upstream::default());
    for account in parts.accounts {
        add_account(&mut fleet, &mut upstream, &parts.http, account, parts.timeouts)?;
    }
    let patience = parts.timeouts.over(Patience::LOCAL);
    for local in parts.local_models {
        let deployment = engine_deployment(&local);
        upstream.insert(deployment.id.clone(), Target::Engine(EngineTarget::new(local.model, patience)));
        fleet.deployments.push(Arc::new(deployment));
    }
    fleet.routes = parts.routes;
    fleet.substitute = parts.substitute;
    Ok((fleet.sorted(), upstream))
}

fn add_account(
    fleet: &mut Fleet,
    upstream: &mut Upstream,
    http: &Http,
    account: Account,
    timeouts: TimeoutsSpec,
) -> Result<(), String> {
    let Account { spec, key, found } = account;
    let provider: Arc<str> = spec.id.as_str().into();
    let key = match key {
        Credential::Key(key) => Some(key),
        Credential::NotNeeded => None,
        Credential::Missing(hint) => {
            fleet.absent.push(Absent { provider, patterns: spec.models, hint });
            return Ok(());
        }
    };
    let base = if spec.tier == Tier::Local { Patience::LOCAL } else { Patience::REMOTE };
    let patience = spec.timeouts.over(timeouts.over(base));
    let target = HttpTarget::new(
        http.clone(),
        (spec.dialect, &spec.also, spec.richer()),
        &spec.base_url,
        key.as_deref(),
        (spec.quirks.clone(), patience),
    )
    .map_err(|error| format!("provider `{}`: {error}", spec.id))?;
    let target = Arc::new(target);
    for (model, in_auto) in models_of(&spec, found) {
        let deployment = Deployment { in_auto, ..deployment(&spec, &model) };
        upstream.insert(deployment.id.clone(), Target::Http(Arc::clone(&target)));
        fleet.deployments.push(Arc::new(deployment));
    }
    upstream.insert_passthrough(Arc::clone(&provider), target);
    let template = deployment(&spec, "*");
    fleet.passthroughs.push(Passthrough { patterns: spec.models, template });
    Ok(())
}

/// The models that the fleet lists, each with whether `auto` may use it: the default one, those that are described,
/// and, at a server on this machine, those it was found to serve.
fn models_of(spec: &ProviderSpec, found: Vec<String>) -> Vec<(String, bool)> {
    let can_chat = |model: &&String| !model.to_ascii_lowercase().contains("embed");
    let default = spec.auto_model().cloned().or_else(|| found.iter().find(can_chat).cloned());
    let described = spec.model.keys().cloned();
    let mut models: Vec<(String, bool)> = Vec::new();
    for model in default.clone().into_iter().chain(found).chain(described) {
        if models.iter().all(|(listed, _)| *listed != model) {
            let in_auto = Some(&model) == default.as_ref();
            models.push((model, in_auto));
        }
    }
    models
}

fn deployment(spec: &ProviderSpec, model: &str) -> Deployment {
    let particular = spec.model.get(model);
    let abilities = particular.map(|p| p.abilities).unwrap_or_default();
    Deployment {
        id: DeploymentId::new(&spec.id, model),
        provider: spec.id.as_str().into(),
        model: model.into(),
        tier: particular.and_then(|p| p.tier).unwrap_or(spec.tier),
        rank: spec.rank,
        in_auto: false,
        abilities: abilities.over(spec.abilities),
        window_tokens: particular.and_then(|p| p.window_tokens).or(spec.window_tokens),
        facts: spec.facts.facts(particular.and_then(|p| p.licence.as_ref())),
    }
}

fn engine_deployment(local: &LocalModel) -> Deployment {
    let here = |value: &str| {
        Some(Fact { value: value.to_owned(), source: "configuration".to_owned(), as_of: local.as_of.clone() })
    };
    let abilities = Abilities {
        tools: Ability::Yes,
        images: Ability::No,
        json_schema: Ability::Yes,
        many_choices: Ability::No,
        embeddings: Ability::Yes,
        rerank: Ability::No,
    };
    Deployment {
        id: DeploymentId::new(ENGINE, &local.name),
        provider: ENGINE.into(),
        model: local.name.as_str().into(),
        tier: Tier::Local,
        rank: local.rank,
        in_auto: true,
        abilities,
        window_tokens: local.window_tokens,
        facts: Facts {
            operator: here("you"),
            seat: here("where this machine is"),
            region: here("this machine"),
            retention: here("none"),
            trains_on_inputs: here("no"),
            owner_country: None,
            licence: local.licence.clone(),
        },
    }
}
