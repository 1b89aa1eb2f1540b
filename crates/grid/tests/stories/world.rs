//! A small world: a grid, simulated suppliers around it, callers with a key, and counters for chance and calendar.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use commonwatt_core::admission::{CallId, Grants};
use commonwatt_core::attempt::Limits;
use commonwatt_core::fleet::Tier;
use commonwatt_core::refusal::Refusal;
use commonwatt_grid::bus::{Bus, BusWorld, Retention, Wish};
use commonwatt_grid::decode::Asked;
use commonwatt_grid::identity::{Key, Keyring, hash_key};
use commonwatt_grid::meters::Meters;
use commonwatt_grid::project::Compaction;
use commonwatt_grid::relay::AnswerBody;
use commonwatt_grid::request::Arrival;
use commonwatt_grid::{CALLS_MAX, Generation, Grid, World};
use commonwatt_sim::{Inside, Script, Settings, Sim};
use commonwatt_store::{NodeKey, Options, Store};
use commonwatt_upstream::Http;
use commonwatt_upstream::assemble::{Account, Credential, Parts, assemble};
use commonwatt_upstream::body::KeptBody;
use commonwatt_upstream::spec::{ProviderSpec, TimeoutsSpec};
use commonwatt_wire::{Dialect, InPath};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::heard::{Told, read};

/// A key that may go anywhere.
pub(crate) const KEY: &str = "cw-anywhere";
/// A key that may not leave the local tier.
pub(crate) const LOCAL_KEY: &str = "cw-local-only";

/// Every pair of a caller's dialect and a supplier's.
pub(crate) fn pairs() -> impl Iterator<Item = (Dialect, Dialect)> {
    Dialect::ALL.into_iter().flat_map(|caller| Dialect::OUT.into_iter().map(move |supplier| (caller, supplier)))
}

/// The simulated provider's word for a dialect.
pub(crate) fn simulated(dialect: Dialect) -> commonwatt_sim::Dialect {
    match dialect {
        Dialect::OpenAiChat => commonwatt_sim::Dialect::ChatCompletions,
        Dialect::AnthropicMessages => commonwatt_sim::Dialect::Messages,
        Dialect::OpenAiResponses => commonwatt_sim::Dialect::Responses,
        Dialect::Gemini => commonwatt_sim::Dialect::Gemini,
        Dialect::OllamaChat => commonwatt_sim::Dialect::OllamaChat,
        Dialect::OllamaGenerate => commonwatt_sim::Dialect::OllamaGenerate,
        Dialect::OpenAiCompletions => commonwatt_sim::Dialect::Completions,
    }
}

/// What the supplier of that name says to everybody: long enough that a cut leaves some of it unsaid.
pub(crate) fn speech(name: &str) -> String {
    format!("This is {name}, who was asked and answers. ").repeat(8)
}

/// A supplier of one's own making; its models are `NAME-1` and whatever [`spec`](Self::spec) adds.
pub(crate) struct Supplier {
    name: &'static str,
    dialect: Dialect,
    tier: Tier,
    settings: Settings,
    spec: String,
}

impl Supplier {
    pub(crate) fn new(name: &'static str, tier: Tier) -> Self {
        let mut settings = Settings::default();
        settings.answer.text = Some(speech(name));
        Self { name, dialect: Dialect::OpenAiChat, tier, settings, spec: String::new() }
    }

    pub(crate) fn frontier(name: &'static str) -> Self {
        Self::new(name, Tier::Frontier)
    }

    pub(crate) fn free(name: &'static str) -> Self {
        Self::new(name, Tier::Free)
    }

    pub(crate) fn local(name: &'static str) -> Self {
        Self::new(name, Tier::Local)
    }

    pub(crate) fn speaking(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    /// One fault a line for one call each; later calls pass.
    pub(crate) fn script(mut self, words: &str) -> Self {
        self.settings.script = Script::from_words(words).unwrap();
        self
    }

    /// The same fault for every call.
    pub(crate) fn always(mut self, words: &str) -> Self {
        self.settings.script = Script::from_words(words).unwrap();
        self.settings.script.steps.iter_mut().for_each(|step| step.times = 0);
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// More of its description, in TOML.
    pub(crate) fn spec(self, toml: &str) -> Self {
        Self { spec: toml.to_owned(), ..self }
    }

    fn provider(&self) -> ProviderSpec {
        let Self { name, dialect, tier, spec, .. } = self;
        let path = if dialect.word().starts_with("openai") { "/v1" } else { "" };
        let text = format!(
            "id = '{name}'\nname = '{name}'\ndialect = '{dialect}'\nbase_url = 'http://{name}.sim{path}'\n\
             tier = '{tier}'\ndefault_model = '{name}-1'\n{spec}"
        );
        toml::from_str(&text).unwrap()
    }
}

/// The grid among its suppliers.
pub(crate) struct Scene {
    pub(crate) grid: Arc<Grid>,
    sims: Arc<BTreeMap<String, Inside>>,
    specs: Vec<ProviderSpec>,
}

impl Scene {
    pub(crate) fn new(suppliers: impl IntoIterator<Item = Supplier>) -> Arc<Self> {
        Self::with_room_for(CALLS_MAX, suppliers)
    }

    pub(crate) fn with_room_for(calls_max: usize, suppliers: impl IntoIterator<Item = Supplier>) -> Arc<Self> {
        let (mut specs, mut sims) = (Vec::new(), BTreeMap::new());
        for supplier in suppliers {
            specs.push(supplier.provider());
            sims.insert(format!("{}.sim", supplier.name), Sim::inside(supplier.settings).unwrap());
        }
        let sims = Arc::new(sims);
        let grid = Grid::new(generation(&sims, &specs), world(), calls_max, None);
        Arc::new(Self { grid, sims, specs })
    }

    /// A grid with a bus over the store in `dir`, on the real clock.
    pub(crate) fn kept(dir: &std::path::Path, suppliers: impl IntoIterator<Item = Supplier>) -> Arc<Self> {
        let Self { sims, specs, .. } = Arc::into_inner(Self::new(suppliers)).unwrap();
        let options = Options {
            path: dir.join("bus.db"),
            node_key: NodeKey::from_file(&dir.join("node.key")).unwrap(),
            clock_ms: Arc::new(unix_ms),
            bytes_max: 0,
        };
        let bus = BusWorld {
            new_id: Arc::new(|| CallId(uuid::Uuid::now_v7().to_string().into())),
            seed: *blake3::hash(&unix_ms().to_le_bytes()).as_bytes(),
            handoff_seed: [7; 32],
            unix_ms: Arc::new(unix_ms),
            retention: Retention { by_class: [("secret".to_owned(), 60_000)].into(), ..Retention::default() },
        };
        let bus = Bus::new(Store::open(options).unwrap(), bus);
        let grid = Grid::new(generation(&sims, &specs), world(), CALLS_MAX, Some(bus));
        Arc::new(Self { grid, sims, specs })
    }

    /// A generation with only these suppliers.
    pub(crate) fn generation(&self, names: &[&str]) -> Generation {
        let specs: Vec<_> = self.specs.iter().filter(|spec| names.contains(&spec.id.as_str())).cloned().collect();
        generation(&self.sims, &specs)
    }

    pub(crate) fn sim(&self, name: &str) -> &Inside {
        &self.sims[&format!("{name}.sim")]
    }

    /// How often a supplier was asked for an answer.
    pub(crate) fn asked(&self, name: &str) -> u64 {
        self.sim(name).calls()
    }

    /// Calls, and reads the answer to its end.
    pub(crate) async fn call(&self, ask: &Ask) -> Result<Told, Refusal> {
        let began = Instant::now();
        let answered = self.grid.call(ask.arrival(&self.grid)).await?;
        let mut raw = Vec::new();
        let streamed = match answered.body {
            AnswerBody::Whole(bytes) => {
                raw.extend_from_slice(&bytes);
                false
            }
            AnswerBody::Stream(mut relay) => {
                while let Some(bytes) = relay.next().await {
                    raw.extend_from_slice(&bytes);
                }
                true
            }
            AnswerBody::Followed(mut follower) => {
                while let Some(bytes) = follower.next().await {
                    raw.extend_from_slice(&bytes);
                }
                true
            }
        };
        let (text, end) = read(ask.dialect, streamed, &raw);
        Ok(Told { served: answered.served, text, end, raw, took_ms: ms_since(began) })
    }

    /// The same in a task of its own; aborting it is a caller that leaves.
    pub(crate) fn spawn(self: &Arc<Self>, ask: &Ask) -> JoinHandle<Result<Told, Refusal>> {
        let (scene, ask) = (Arc::clone(self), ask.clone());
        tokio::spawn(async move { scene.call(&ask).await })
    }
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

pub(crate) fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap()
}

fn generation(sims: &Arc<BTreeMap<String, Inside>>, specs: &[ProviderSpec]) -> Generation {
    let sims = Arc::clone(sims);
    let http = Http::simulated(Arc::new(move |uri: &http::Uri| {
        let sim = uri.host().and_then(|host| sims.get(host));
        sim.map(Inside::connect).ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
    }));
    let account = |spec: &ProviderSpec| Account {
        spec: spec.clone(),
        key: Credential::Key("sk-sim".to_owned()),
        found: Vec::new(),
    };
    let parts = Parts {
        http,
        accounts: specs.iter().map(account).collect(),
        local_models: Vec::new(),
        routes: Vec::new(),
        substitute: true,
        timeouts: TimeoutsSpec::default(),
    };
    let (fleet, upstream) = assemble(parts).unwrap();
    let key = |name: &str, text: &str, grants| Key { name: name.to_owned(), hash: hash_key(text), grants };
    let keyring = Keyring::new(vec![
        key("anywhere", KEY, Grants::default()),
        key("local only", LOCAL_KEY, Grants { tiers: [Tier::Local].into_iter().collect() }),
    ]);
    let meters = Meters::of(&fleet);
    Generation { fleet, upstream, keyring, limits: Limits::default(), meters }
}

/// Ids and seconds that count up from a fixed start.
fn world() -> World {
    let (ids, seconds) = (AtomicU64::new(0), AtomicU64::new(1_800_000_000));
    World {
        new_id: Arc::new(move || CallId(format!("id-{}", ids.fetch_add(1, Ordering::Relaxed)).into())),
        unix_s: Arc::new(move || seconds.fetch_add(1, Ordering::Relaxed)),
    }
}

/// What a caller asks.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) dialect: Dialect,
    pub(crate) stream: bool,
    pub(crate) model: String,
    pub(crate) says: String,
    /// What a caller of Anthropic's dialect must say and one of OpenAI's need not.
    pub(crate) max_tokens: Option<u32>,
    pub(crate) key: &'static str,
    pub(crate) tiers: Option<Vec<Tier>>,
    pub(crate) via: Option<String>,
    pub(crate) wish: Wish,
    pub(crate) compaction: Compaction,
    pub(crate) data_class: Option<String>,
    pub(crate) detached: bool,
    /// The whole request, instead of one made of the rest.
    pub(crate) whole: Option<Value>,
}

impl Ask {
    pub(crate) fn new(dialect: Dialect, stream: bool) -> Self {
        Self {
            dialect,
            stream,
            model: "auto".to_owned(),
            says: "Who is there?".to_owned(),
            max_tokens: (dialect == Dialect::AnthropicMessages).then_some(1_000),
            key: KEY,
            tiers: None,
            via: None,
            wish: Wish::Recognised,
            compaction: Compaction::Allowed,
            data_class: None,
            detached: false,
            whole: None,
        }
    }

    pub(crate) fn streamed() -> Self {
        Self::new(Dialect::OpenAiChat, true)
    }

    pub(crate) fn model(self, model: &str) -> Self {
        Self { model: model.to_owned(), ..self }
    }

    pub(crate) fn body(&self) -> Bytes {
        if let Some(whole) = &self.whole {
            return whole.to_string().into();
        }
        let mut body = match self.dialect {
            Dialect::Gemini => json!({ "contents": [{ "role": "user", "parts": [{ "text": self.says }] }] }),
            Dialect::OpenAiResponses => json!({ "model": self.model, "stream": self.stream, "input": self.says }),
            Dialect::OllamaGenerate => json!({ "model": self.model, "stream": self.stream, "prompt": self.says }),
            Dialect::OpenAiCompletions => json!({
                "model": self.model, "stream": self.stream, "prompt": self.says, "max_tokens": 1_000,
            }),
            Dialect::OpenAiChat | Dialect::AnthropicMessages | Dialect::OllamaChat => json!({
                "model": self.model, "stream": self.stream,
                "messages": [{ "role": "user", "content": self.says }],
            }),
        };
        if let Some(max_tokens) = self.max_tokens {
            body["max_tokens"] = Value::from(max_tokens);
        }
        body.to_string().into()
    }

    /// What a supplier is given for reading the prompt: a second for 64 KiB.
    pub(crate) fn reading_ms(&self) -> u64 {
        u64::try_from(self.body().len()).unwrap() / 64
    }

    pub(crate) fn arrival(&self, grid: &Grid) -> Arrival {
        Arrival {
            dialect: self.dialect,
            asked: Asked::Answer,
            in_path: (self.dialect == Dialect::Gemini)
                .then(|| InPath { model: self.model.clone(), stream: self.stream }),
            principal: grid.identify(Some(self.key)).unwrap(),
            body: KeptBody::Memory(self.body()),
            headers: Vec::new(),
            tiers: self.tiers.as_ref().map(|tiers| tiers.iter().copied().collect()),
            via: self.via.clone(),
            wish: self.wish.clone(),
            compaction: self.compaction,
            data_class: self.data_class.clone(),
            detached: self.detached,
        }
    }
}
