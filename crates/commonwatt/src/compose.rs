//! The composition root: from settings to a generation of the grid, and again at each reload.
//!
//! A generation is built whole and validated before it replaces the one in force. Connections and loaded models outlive
//! generations; calls under way finish with the generation they started with.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use commonwatt_core::fleet::Fact;
use commonwatt_core::patience::Patience;
use commonwatt_engine::vault::{self, VaultModel};
use commonwatt_engine::{ChildCommand, Engine, Model, ModelSource};
use commonwatt_grid::Generation;
use commonwatt_grid::identity::Keyring;
use commonwatt_grid::meters::Meters;
use commonwatt_upstream::Http;
use commonwatt_upstream::assemble::{Account, Credential, LocalModel, Parts, assemble};
use commonwatt_upstream::discover;

use crate::settings::{self, Access, Provider, Settings};

/// Models on disk are preferred to the pilot, and both come after servers that somebody set up on purpose.
const VAULT_RANK: u32 = 100;
const PILOT_RANK: u32 = 1_000;

/// Which models each server on this machine serves.
pub(crate) type Found = BTreeMap<String, Vec<String>>;

/// What outlives generations.
pub(crate) struct Composer {
    http: Http,
    engine: Mutex<Option<EngineRoom>>,
}

/// The engine as it was last set up, with the handles of its models.
struct EngineRoom {
    settings: settings::Engine,
    engine: Engine,
    models: HashMap<Option<PathBuf>, Model>,
}

impl Composer {
    /// Opens the pool of connections.
    pub(crate) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let connect_ms = settings.timeouts.over(Patience::REMOTE).connect_ms;
        let http = Http::network(connect_ms).map_err(|error| {
            anyhow::anyhow!("the certificates of this machine cannot be read ({error}): install `ca-certificates`")
        })?;
        Ok(Self { http, engine: Mutex::new(None) })
    }

    /// Looks for the servers on this machine.
    pub(crate) async fn discover(&self, settings: &Settings) -> Found {
        let here = settings.providers.iter().filter(|p| p.spec.local.is_some() && p.access != Access::Off);
        let mut found = Found::new();
        for provider in here {
            if let Some(models) = discover::models(&self.http, &provider.spec).await {
                found.insert(provider.spec.id.clone(), models);
            }
        }
        found
    }

    /// Builds a generation.
    pub(crate) fn compose(&self, settings: &Settings, found: &Found) -> Result<Generation, String> {
        let accounts = settings.providers.iter().filter_map(|provider| account(provider, found)).collect();
        let parts = Parts {
            http: self.http.clone(),
            accounts,
            local_models: self.local_models(&settings.engine)?,
            routes: settings.routes.clone(),
            substitute: settings.substitute,
            timeouts: settings.timeouts,
        };
        let (fleet, upstream) = assemble(parts)?;
        let meters = Meters::of(&fleet);
        let keyring = Keyring::new(settings.keys.clone()).with_keyless(settings.keyless.as_deref());
        Ok(Generation { fleet, upstream, keyring, limits: settings.limits.attempts, meters })
    }

    /// The pilot and the models in the vault. Their handles are kept, and with them what is loaded, until the engine is
    /// set up differently.
    fn local_models(&self, settings: &settings::Engine) -> Result<Vec<LocalModel>, String> {
        let mut room = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        if !settings.enabled || Engine::available().is_err() {
            *room = None;
            return Ok(Vec::new());
        }
        if room.as_ref().is_none_or(|room| room.settings != *settings) {
            *room = Some(EngineRoom::open(settings)?);
        }
        let Some(room) = room.as_mut() else { return Ok(Vec::new()) };
        let stored = vault::list(&settings.vault).unwrap_or_default();
        let stored: Vec<&VaultModel> = stored.iter().filter(|model| model.header.is_ok()).collect();
        room.models.retain(|path, _| path.as_ref().is_none_or(|path| stored.iter().any(|model| model.path == *path)));
        let mut models: Vec<LocalModel> = stored.into_iter().map(|model| room.stored(model)).collect();
        models.push(room.pilot());
        Ok(models)
    }
}

impl EngineRoom {
    fn open(settings: &settings::Engine) -> Result<Self, String> {
        let command = ChildCommand::this_program(["engine"])
            .map_err(|error| format!("this program cannot find itself to start the engine: {error}"))?;
        let habits = commonwatt_engine::Settings {
            context_tokens: settings.context_tokens,
            parallel: settings.parallel,
            threads: settings.threads,
            idle: settings.idle,
            ..commonwatt_engine::Settings::default()
        };
        Ok(Self { settings: settings.clone(), engine: Engine::new(command, habits), models: HashMap::new() })
    }

    fn handle(&mut self, name: &str, path: Option<&Path>) -> Model {
        let source = path.map_or(ModelSource::Pilot, |path| ModelSource::File(path.to_owned()));
        let engine = &self.engine;
        self.models.entry(path.map(Path::to_owned)).or_insert_with(|| engine.model(name, source)).clone()
    }

    fn pilot(&mut self) -> LocalModel {
        let licence = Fact { value: "Apache-2.0".to_owned(), source: "configuration".to_owned(), as_of: today() };
        LocalModel {
            name: "pilot".to_owned(),
            model: self.handle("pilot", None),
            window_tokens: Some(self.settings.context_tokens.min(PILOT_WINDOW)),
            rank: PILOT_RANK,
            licence: Some(licence),
            as_of: today(),
        }
    }

    fn stored(&mut self, stored: &VaultModel) -> LocalModel {
        let header = stored.header.as_ref().ok();
        let trained = header.and_then(|header| header.context_tokens).and_then(|tokens| u32::try_from(tokens).ok());
        let licence = header.and_then(|header| header.licence.clone()).map(|value| Fact {
            value,
            source: format!("the header of {}", stored.name),
            as_of: today(),
        });
        LocalModel {
            name: stored.name.clone(),
            model: self.handle(&stored.name, Some(&stored.path)),
            window_tokens: trained.map(|trained| trained.min(self.settings.context_tokens)),
            rank: VAULT_RANK,
            licence,
            as_of: today(),
        }
    }
}

/// The window that the pilot was trained for, in tokens; a test compares it with the file.
const PILOT_WINDOW: u32 = 4_096;

fn today() -> String {
    jiff::Zoned::now().strftime("%Y-%m-%d").to_string()
}

/// A provider as an account; `None` for those that are switched off or not there.
fn account(provider: &Provider, found: &Found) -> Option<Account> {
    let spec = provider.spec.clone();
    let models = found.get(&spec.id);
    if spec.local.is_some() && models.is_none() && !provider.in_file {
        return None;
    }
    let key = match &provider.access {
        Access::Key(key) => Credential::Key(key.reveal().to_owned()),
        Access::Keyless => Credential::NotNeeded,
        Access::Missing(hint) => Credential::Missing(hint.clone()),
        Access::Off => return None,
    };
    Some(Account { spec, key, found: models.cloned().unwrap_or_default() })
}

/// The running grid and how its next generation is made.
pub(crate) struct Daemon {
    pub(crate) composer: Composer,
    pub(crate) grid: Arc<commonwatt_grid::Grid>,
    pub(crate) state: Mutex<State>,
}

/// What the generation in force was made of.
pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) found: Found,
    pub(crate) generation: u64,
}

impl Daemon {
    /// Reads everything anew, builds, validates, swaps. On any error the generation in force stays.
    pub(crate) async fn reload(&self) -> Result<u64, String> {
        let origin = self.state().settings.origin.clone();
        let settings = origin.load().map_err(|problems| problems.to_string())?;
        let found = self.composer.discover(&settings).await;
        self.swap(settings, found)
    }

    /// Looks for servers on this machine again; a change makes a new generation.
    pub(crate) async fn rediscover(&self) {
        let settings = self.state().settings.clone();
        let found = self.composer.discover(&settings).await;
        if found != self.state().found
            && let Err(error) = self.swap(settings, found)
        {
            tracing::warn!(%error, "local servers changed, but the fleet could not be rebuilt");
        }
    }

    fn swap(&self, settings: Settings, found: Found) -> Result<u64, String> {
        let generation = self.composer.compose(&settings, &found)?;
        self.grid.replace(generation);
        let mut state = self.state();
        let number = state.generation + 1;
        *state = State { settings, found, generation: number };
        tracing::info!(generation = number, "a new configuration is in force");
        Ok(number)
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
