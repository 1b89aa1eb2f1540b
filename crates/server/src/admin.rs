//! The admin API: what the command line and, later, the dashboard are told.

use std::collections::BTreeMap;
use std::sync::Arc;

use commonwatt_core::fleet::{Abilities, Ability, Deployment, Fact, Facts};
use commonwatt_core::plan::Standing;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::route::Part;
use commonwatt_grid::{Generation, Grid};
use commonwatt_wire::{Dialect, InPath};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use serde::Serialize;

use crate::carry::Carriage;
use crate::doors::Spoken;
use crate::respond::Body;
use crate::sessions::PAGE_MAX;
use crate::{Lobby, doors, respond};

/// What the daemon does for the admin API.
pub struct Backstage {
    /// The program's version.
    pub version: &'static str,
    /// When the daemon started, in seconds since 1970.
    pub started_unix_s: u64,
    /// The address it listens on.
    pub listen: String,
    /// Its data folder.
    pub home: String,
    /// Where the first key lies for the command line.
    pub key_file: String,
    /// The counters in Prometheus' text format.
    pub render_metrics: Box<dyn Fn() -> String + Send + Sync>,
    /// Whether the daemon is going down.
    pub is_leaving: Box<dyn Fn() -> bool + Send + Sync>,
    /// Builds, validates and swaps in a new generation: its number, or one sentence.
    pub reload: Arc<dyn Fn() -> Result<u64, String> + Send + Sync>,
    /// Bytes of the file in which sessions are kept.
    pub bus_bytes: Box<dyn Fn() -> Option<u64> + Send + Sync>,
    /// The number of the generation in force.
    pub generation: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Who signs what is taken along, and whose signature is believed.
    pub carriage: Arc<Carriage>,
}

/// `GET /admin/v1/status`
pub(crate) async fn status(lobby: &Lobby, headers: &HeaderMap) -> Response<Body> {
    let principal = match lobby.grid.identify(doors::credential(headers)) {
        Ok(principal) => principal.name,
        Err(refused) => return refuse(lobby, &refused),
    };
    let bus = match bus_line(lobby, &principal).await {
        Ok(bus) => bus,
        Err(refused) => return refuse(lobby, &refused),
    };
    let generation = lobby.grid.generation();
    let backstage = &lobby.backstage;
    let now = lobby.grid.unix_s();
    send(&Status {
        version: backstage.version,
        started_unix_s: backstage.started_unix_s,
        uptime_s: now.saturating_sub(backstage.started_unix_s),
        listen: &backstage.listen,
        home: &backstage.home,
        key_file: &backstage.key_file,
        generation: (backstage.generation)(),
        calls_under_way: lobby.grid.calls_under_way(),
        bus,
        deployments: deployments(&lobby.grid, &generation),
        absent: generation
            .fleet
            .absent
            .iter()
            .map(|absent| AbsentLine { provider: absent.provider.to_string(), hint: absent.hint.clone() })
            .collect(),
        routes: generation.fleet.routes.iter().map(|route| route.name.clone()).collect(),
    })
}

/// `POST /admin/v1/explain?dialect=openai-chat`, with a request as body: the plan for it. Nothing is sent.
pub(crate) async fn explain(lobby: &Lobby, request: Request<Incoming>) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default();
    let word = query.split('&').find_map(|pair| pair.strip_prefix("dialect=")).unwrap_or("openai-chat");
    let Some(dialect) = Dialect::from_word(word) else {
        let words = Dialect::ALL.map(|dialect| format!("`{dialect}`")).join(" or ");
        let word: String = word.chars().take(40).collect();
        let message = format!("`{word}` is not a dialect: write {words}");
        return refuse(lobby, &Refusal::new(RefusalKind::BadRequest, message));
    };
    // In a dialect whose paths name the model, the query does here.
    let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
    let in_path = model.map(|model| InPath { model: model.to_owned(), stream: false });
    let explained = match doors::arrive(lobby, Spoken { in_path, ..Spoken::in_body(dialect) }, request).await {
        Ok(arrival) => lobby.grid.explain(arrival).await,
        Err(refused) => Err(refused),
    };
    match explained {
        Ok(explained) => send(&Explanation::of(&explained)),
        Err(refused) => refuse(lobby, &refused),
    }
}

/// `POST /admin/v1/reload`
pub(crate) async fn reload(lobby: &Lobby, headers: &HeaderMap) -> Response<Body> {
    if let Err(refused) = lobby.grid.identify(doors::credential(headers)) {
        return refuse(lobby, &refused);
    }
    let reload = Arc::clone(&lobby.backstage.reload);
    let outcome = tokio::task::spawn_blocking(move || reload()).await;
    match outcome {
        Ok(Ok(generation)) => send(&BTreeMap::from([("generation", generation)])),
        Ok(Err(sentence)) => refuse(lobby, &Refusal::new(RefusalKind::BadRequest, sentence)),
        Err(_) => {
            refuse(lobby, &Refusal::new(RefusalKind::Internal, "the reload broke off; the old generation runs on"))
        }
    }
}

/// The bus at a glance; `None` where nothing is kept.
async fn bus_line(lobby: &Lobby, principal: &str) -> Result<Option<BusLine>, Refusal> {
    let Some(bus) = lobby.grid.bus() else { return Ok(None) };
    let page = bus.sessions(principal, None, PAGE_MAX).await?;
    Ok(Some(BusLine {
        sessions: page.sessions.iter().filter(|session| session.erased_ms.is_none()).count(),
        and_more: page.next.is_some(),
        bytes: (lobby.backstage.bus_bytes)(),
    }))
}

pub(crate) fn refuse(lobby: &Lobby, refused: &Refusal) -> Response<Body> {
    respond::refusal(Dialect::OpenAiChat, refused, &lobby.grid.new_id().0)
}

pub(crate) fn send<T: Serialize>(value: &T) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(bytes) => respond::json(bytes),
        Err(error) => {
            let refused = Refusal::new(RefusalKind::Internal, format!("the answer cannot be written: {error}"));
            respond::refusal(Dialect::OpenAiChat, &refused, "none")
        }
    }
}

#[derive(Serialize)]
struct Status<'a> {
    version: &'a str,
    started_unix_s: u64,
    uptime_s: u64,
    listen: &'a str,
    home: &'a str,
    key_file: &'a str,
    generation: u64,
    calls_under_way: usize,
    bus: Option<BusLine>,
    deployments: Vec<DeploymentLine>,
    absent: Vec<AbsentLine>,
    routes: Vec<String>,
}

#[derive(Serialize)]
struct BusLine {
    /// The caller's sessions, counted as far as one page goes.
    sessions: usize,
    and_more: bool,
    /// Of its file.
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct AbsentLine {
    provider: String,
    hint: String,
}

#[derive(Serialize)]
struct DeploymentLine {
    id: String,
    provider: String,
    model: String,
    tier: &'static str,
    rank: u32,
    in_auto: bool,
    #[serde(rename = "where")]
    place: String,
    law: String,
    state: String,
    window_tokens: Option<u32>,
    abilities: BTreeMap<&'static str, &'static str>,
    facts: BTreeMap<&'static str, FactLine>,
}

#[derive(Serialize)]
struct FactLine {
    value: String,
    source: String,
    as_of: String,
}

/// A deployment as people see it at a glance.
pub struct Overview {
    /// `provider/model`.
    pub id: String,
    /// Its tier's word.
    pub tier: &'static str,
    /// Where it runs, or `unknown`.
    pub place: String,
    /// Under whose law, or `unknown`.
    pub law: String,
    /// How it is.
    pub state: String,
}

/// All deployments at a glance, in the order of `auto`.
#[must_use]
pub fn overview(grid: &Grid) -> Vec<Overview> {
    let generation = grid.generation();
    let engines: BTreeMap<String, String> =
        generation.upstream.engine_states().into_iter().map(|(id, state)| (id.to_string(), state)).collect();
    let glance = |deployment: &Arc<Deployment>| {
        let breaker = grid.breakers().describe(deployment, grid.now());
        let state = match engines.get(deployment.id.as_str()) {
            Some(engine) if breaker == "passing" => engine.clone(),
            Some(_) | None => breaker,
        };
        Overview {
            id: deployment.id.to_string(),
            tier: deployment.tier.word(),
            place: fact_or_unknown(deployment.facts.region.as_ref()),
            law: law(&deployment.facts),
            state,
        }
    };
    generation.fleet.deployments.iter().map(glance).collect()
}

fn deployments(grid: &Grid, generation: &Generation) -> Vec<DeploymentLine> {
    let line = |(glance, deployment): (Overview, &Arc<Deployment>)| DeploymentLine {
        id: glance.id,
        provider: deployment.provider.to_string(),
        model: deployment.model.to_string(),
        tier: glance.tier,
        rank: deployment.rank,
        in_auto: deployment.in_auto,
        place: glance.place,
        law: glance.law,
        state: glance.state,
        window_tokens: deployment.window_tokens,
        abilities: abilities(&deployment.abilities),
        facts: facts(&deployment.facts),
    };
    overview(grid).into_iter().zip(&generation.fleet.deployments).map(line).collect()
}

fn fact_or_unknown(fact: Option<&Fact>) -> String {
    fact.map_or_else(|| "unknown".to_owned(), |fact| fact.value.clone())
}

/// The country of the operator's seat, and that of its owner where it is another.
fn law(facts: &Facts) -> String {
    let seat = fact_or_unknown(facts.seat.as_ref());
    match &facts.owner_country {
        Some(owner) if owner.value != seat => format!("{seat} (owner {})", owner.value),
        Some(_) | None => seat,
    }
}

fn abilities(abilities: &Abilities) -> BTreeMap<&'static str, &'static str> {
    let word = |ability| match ability {
        Ability::Yes => "yes",
        Ability::No => "no",
        Ability::Unknown => "unknown",
    };
    BTreeMap::from([
        ("tools", word(abilities.tools)),
        ("images", word(abilities.images)),
        ("json_schema", word(abilities.json_schema)),
        ("many_choices", word(abilities.many_choices)),
        ("embeddings", word(abilities.embeddings)),
        ("rerank", word(abilities.rerank)),
    ])
}

fn facts(facts: &Facts) -> BTreeMap<&'static str, FactLine> {
    let all = [
        ("operator", &facts.operator),
        ("seat", &facts.seat),
        ("owner_country", &facts.owner_country),
        ("region", &facts.region),
        ("retention", &facts.retention),
        ("trains_on_inputs", &facts.trains_on_inputs),
        ("licence", &facts.licence),
    ];
    let line =
        |fact: &Fact| FactLine { value: fact.value.clone(), source: fact.source.clone(), as_of: fact.as_of.clone() };
    all.into_iter().filter_map(|(name, fact)| fact.as_ref().map(|fact| (name, line(fact)))).collect()
}

#[derive(Serialize)]
struct Explanation {
    model: String,
    candidates: Vec<CandidateLine>,
    excluded: Vec<ExclusionLine>,
    absent: Vec<AbsentLine>,
}

#[derive(Serialize)]
struct CandidateLine {
    deployment: String,
    tier: &'static str,
    part: &'static str,
    standing: &'static str,
}

#[derive(Serialize)]
struct ExclusionLine {
    deployment: String,
    tier: &'static str,
    reason: String,
}

impl Explanation {
    fn of(explained: &commonwatt_grid::explain::Explained) -> Self {
        let candidate = |c: &commonwatt_core::plan::Candidate| CandidateLine {
            deployment: c.deployment.id.to_string(),
            tier: c.deployment.tier.word(),
            part: match c.part {
                Part::Asked => "asked",
                Part::Substitute => "substitute",
            },
            standing: match c.standing {
                Standing::Passing => "passing",
                Standing::Probe => "probe",
                Standing::LastResort => "last_resort",
            },
        };
        let exclusion = |e: &commonwatt_core::plan::Exclusion| ExclusionLine {
            deployment: e.deployment.id.to_string(),
            tier: e.deployment.tier.word(),
            reason: match explained.foreseen.iter().find(|(id, _)| *id == e.deployment.id) {
                Some((_, clause)) => format!("{}: {clause}", e.reason),
                None => e.reason.to_string(),
            },
        };
        let plan = &explained.plan;
        let absent = plan.absent().iter();
        Self {
            model: explained.model.clone(),
            candidates: plan.candidates().iter().map(candidate).collect(),
            excluded: plan.excluded().iter().map(exclusion).collect(),
            absent: absent.map(|(p, hint)| AbsentLine { provider: p.to_string(), hint: hint.clone() }).collect(),
        }
    }
}
