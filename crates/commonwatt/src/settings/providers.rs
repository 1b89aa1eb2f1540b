//! Providers: what is built in, refined by the file, with the keys that the environment or the file leads to.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use commonwatt_core::fleet::Tier;
use commonwatt_grid::identity::{Key, hash_key};
use commonwatt_upstream::catalogue;
use commonwatt_upstream::spec::{AbilitiesSpec, FactSpec, FactsSpec, ModelSpec, ProviderSpec, TimeoutsSpec};
use commonwatt_wire::Dialect;

use super::{Desk, secret_file, timeouts, web_address};
use crate::config;
use crate::secret::Secret;

/// The id of the built-in engine, which is no provider to configure.
pub(super) const ENGINE: &str = "engine";

/// A provider, with everything that is needed to reach it.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// What is built in, refined by the file; `base_url` is the one to use.
    pub(crate) spec: ProviderSpec,
    /// Whether it can be used, and with which key.
    pub(crate) access: Access,
    /// Whether the file names it: then it is used without being looked for.
    pub(crate) in_file: bool,
}

/// Whether a provider can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// With this key.
    Key(Secret),
    /// Without one.
    Keyless,
    /// Not yet: what to do, as a hint for people.
    Missing(String),
    /// Switched off in the file.
    Off,
}

/// All providers: the built-in ones in their own order, then the operator's.
///
/// People send their programs through Commonwatt with the variables of the SDKs, and then start it with the same
/// environment: an address that leads back here, or a key that is one of ours, is not used for a provider.
pub(super) fn settle(
    desk: &mut Desk<'_>,
    mut in_file: BTreeMap<String, config::Provider>,
    listen: SocketAddr,
    ours: &[Key],
) -> Vec<Provider> {
    let builtin = catalogue::builtin().unwrap_or_else(|error| {
        desk.problems.push(crate::problem::Problem::new(error.to_string()));
        Vec::new()
    });
    let known: Vec<String> = builtin.iter().map(|spec| spec.id.clone()).collect();
    let mut providers = Vec::new();
    for mut spec in builtin {
        let raw = in_file.remove(&spec.id);
        let is_moved = raw.as_ref().is_some_and(|raw| raw.base_url.is_some());
        let leads_back = sdk_address(desk, &mut spec, listen).filter(|_| !is_moved);
        let mut provider = refine(desk, spec, raw);
        if let Some(hint) = leads_back.filter(|_| provider.access != Access::Off) {
            provider.access = Access::Missing(hint);
        }
        providers.push(provider);
    }
    for (id, raw) in in_file {
        if let Some(spec) = new_spec(desk, &id, &raw, &known) {
            providers.push(refine(desk, spec, Some(raw)));
        }
    }
    providers.iter_mut().for_each(|provider| provider.refuse_our_own(ours));
    providers
}

impl Provider {
    /// A key of ours is not handed to a stranger.
    fn refuse_our_own(&mut self, ours: &[Key]) {
        let Access::Key(key) = &self.access else { return };
        let hash = hash_key(key.reveal());
        if ours.iter().any(|own| own.hash == hash) {
            let id = &self.spec.id;
            let hint = format!("its key is one of this daemon's own: name another with `key` under `[providers.{id}]`");
            self.access = Access::Missing(hint);
        }
    }
}

/// Takes the address that the provider's own SDK would use, where the environment moves it. Says what to do when it
/// leads back here.
fn sdk_address(desk: &Desk<'_>, spec: &mut ProviderSpec, listen: SocketAddr) -> Option<String> {
    let name = spec.base_url_env.as_deref()?;
    let moved = desk.origin.env.get(name)?;
    let url = web_address(moved).ok()?;
    let here =
        |host: &str| host == "localhost" || host == "127.0.0.1" || host == "[::1]" || host == listen.ip().to_string();
    if url.host_str().is_some_and(here) && url.port_or_known_default() == Some(listen.port()) {
        let (id, base_url) = (&spec.id, &spec.base_url);
        return Some(format!(
            "`{name}` leads back to this daemon: write `base_url = \"{base_url}\"` under `[providers.{id}]`"
        ));
    }
    moved.clone_into(&mut spec.base_url);
    // Whoever is there speaks the same dialect; that it speaks others too is not known.
    spec.moved();
    None
}

/// The beginning of a provider that is not built in.
fn new_spec(desk: &mut Desk<'_>, id: &str, raw: &config::Provider, known: &[String]) -> Option<ProviderSpec> {
    let path = ["providers", id];
    if id == ENGINE {
        desk.wrong_name(&path, "`engine` is the engine of this program", "set it up under `[engine]`");
        return None;
    }
    if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        desk.wrong_name(&path, format!("`{id}` is no name for a provider"), "use letters, digits, `-`, `_` and `.`");
        return None;
    }
    let dialect = raw.dialect.as_deref().and_then(Dialect::from_word);
    let tier = raw.tier.as_deref().and_then(Tier::from_word);
    let fields =
        [("dialect", raw.dialect.is_some()), ("base_url", raw.base_url.is_some()), ("tier", raw.tier.is_some())];
    let missing: Vec<String> = fields.iter().filter(|(_, there)| !there).map(|(name, _)| format!("`{name}`")).collect();
    if !missing.is_empty() {
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = match config::nearest(id, &names) {
            Some(near) => format!("did you mean `{near}`? a provider of your own also needs {}", missing.join(", ")),
            None => format!("a provider of your own needs {}; built in are {}", missing.join(", "), names.join(", ")),
        };
        desk.wrong_name(&path, format!("provider `{id}` is not built in"), help);
        return None;
    }
    Some(ProviderSpec {
        id: id.to_owned(),
        name: id.to_owned(),
        // A word that is none is found, with its place, when the provider is refined.
        dialect: dialect.unwrap_or(Dialect::OpenAiChat),
        also: Vec::new(),
        richer: None,
        base_url: raw.base_url.clone()?,
        base_url_env: None,
        key_env: Vec::new(),
        key_url: None,
        tier: tier.unwrap_or(Tier::Local),
        rank: 50,
        default_model: None,
        models: Vec::new(),
        local: None,
        abilities: AbilitiesSpec::default(),
        window_tokens: None,
        model: BTreeMap::new(),
        quirks: commonwatt_wire::Quirks::default(),
        timeouts: TimeoutsSpec::default(),
        facts: FactsSpec::default(),
    })
}

/// What is built in, with what the file says laid over it.
fn refine(desk: &mut Desk<'_>, mut spec: ProviderSpec, raw: Option<config::Provider>) -> Provider {
    let Some(raw) = raw else {
        let access = found_key(desk, &spec);
        return Provider { spec, access, in_file: false };
    };
    let id = spec.id.clone();
    let path = |name: &'static str| ["providers", id.as_str(), name];
    let access = access(desk, &spec, &raw);
    if let Some(word) = &raw.dialect {
        // What is built in is said of the dialect that is built in.
        spec.moved();
        spec.dialect = dialect(desk, &path("dialect"), word).unwrap_or(spec.dialect);
    }
    if raw.base_url.is_some() {
        // Whoever is there need not do more in it.
        spec.richer = None;
    }
    if let Some(words) = &raw.also {
        spec.also = words.iter().filter_map(|word| dialect(desk, &path("also"), word)).collect();
    }
    if let Some(base_url) = &raw.base_url {
        if let Err(message) = web_address(base_url) {
            desk.wrong(&path("base_url"), message, "write `https://host/path`, as the provider's own SDK would");
        }
        spec.base_url.clone_from(base_url);
    }
    if let Some(tier) = raw.tier.as_deref().and_then(|word| desk.tier(&path("tier"), word)) {
        spec.tier = tier;
    }
    spec.name = raw.name.unwrap_or(spec.name);
    spec.rank = raw.rank.unwrap_or(spec.rank);
    if raw.default_model.is_some() {
        spec.default_to(raw.default_model);
    }
    spec.models = raw.models.unwrap_or(spec.models);
    spec.window_tokens = raw.window_tokens.or(spec.window_tokens);
    spec.quirks = raw.quirks.unwrap_or(spec.quirks);
    spec.abilities = abilities(&raw.abilities, spec.abilities);
    spec.timeouts = waits(timeouts(desk, &path("timeouts"), &raw.timeouts), spec.timeouts);
    spec.facts = facts(desk, &id, raw.facts, spec.facts);
    for (name, model) in raw.model {
        refine_model(desk, &mut spec, &name, model);
    }
    Provider { spec, access, in_file: true }
}

fn dialect(desk: &mut Desk<'_>, path: &[&str], word: &str) -> Option<Dialect> {
    let found = Dialect::from_word(word);
    if found.is_none() {
        let words: Vec<String> = Dialect::ALL.iter().map(|dialect| format!("`{dialect}`")).collect();
        desk.wrong(path, format!("`{word}` is not a dialect"), format!("write one of {}", words.join(", ")));
    }
    found
}

fn refine_model(desk: &mut Desk<'_>, spec: &mut ProviderSpec, name: &str, raw: config::Model) {
    let id = spec.id.clone();
    let path = |last: &'static str| ["providers", id.as_str(), "model", name, last];
    let tier = raw.tier.as_deref().and_then(|word| desk.tier(&path("tier"), word));
    let licence = raw.licence.and_then(|fact| settled_fact(desk, &path("licence"), fact));
    let base = spec.model.remove(name).unwrap_or_default();
    let model = ModelSpec {
        tier: tier.or(base.tier),
        window_tokens: raw.window_tokens.or(base.window_tokens),
        abilities: abilities(&raw.abilities, base.abilities),
        licence: licence.or(base.licence),
    };
    spec.model.insert(name.to_owned(), model);
}

/// Whether a provider that the file names can be used.
fn access(desk: &mut Desk<'_>, spec: &ProviderSpec, raw: &config::Provider) -> Access {
    if raw.enabled == Some(false) {
        return Access::Off;
    }
    let Some(place) = &raw.key else { return found_key(desk, spec) };
    let path = ["providers", spec.id.as_str(), "key"];
    let key = if let Some(name) = place.strip_prefix("env:") {
        match desk.origin.env.get(name) {
            Some(text) => Secret::new(text),
            None => return Access::Missing(format!("set `{name}`")),
        }
    } else if let Some(file) = place.strip_prefix("file:") {
        match secret_file(&desk.path(file)) {
            Ok(key) => key,
            Err(error) => {
                desk.wrong(&path, error.to_string(), "the file must hold the key and nothing else");
                return Access::Keyless;
            }
        }
    } else {
        let name = spec.key_env.first().map_or("NAME_OF_A_VARIABLE", String::as_str);
        let help = format!(
            "put it into a variable or a file of its own, and write `key = \"env:{name}\"` or `key = \"file:/path\"`"
        );
        desk.wrong(&path, "a key does not belong in this file, which people share and commit", help);
        return Access::Keyless;
    };
    if !key.is_sendable() {
        let message = format!("the key in `{place}` is empty or has spaces or line breaks in it");
        desk.wrong(&path, message, "copy it again, as one word");
    }
    Access::Key(key)
}

/// The key that the environment has for a provider, by the names that its own SDK uses.
fn found_key(desk: &Desk<'_>, spec: &ProviderSpec) -> Access {
    if spec.key_env.is_empty() {
        return Access::Keyless;
    }
    let found = spec.key_env.iter().find_map(|name| Some((name, desk.origin.env.get(name)?)));
    let (name, text) = match found {
        Some(found) => found,
        None => {
            let names = spec.key_env.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
            let at = spec.key_url.as_ref().map(|url| format!(" (keys: {url})")).unwrap_or_default();
            return Access::Missing(format!("set {names}{at}"));
        }
    };
    let key = Secret::new(text);
    if key.is_sendable() {
        Access::Key(key)
    } else {
        Access::Missing(format!("set `{name}` again: it has spaces or line breaks in it"))
    }
}

fn abilities(raw: &config::Abilities, base: AbilitiesSpec) -> AbilitiesSpec {
    AbilitiesSpec {
        tools: raw.tools.or(base.tools),
        images: raw.images.or(base.images),
        json_schema: raw.json_schema.or(base.json_schema),
        many_choices: raw.many_choices.or(base.many_choices),
        embeddings: raw.embeddings.or(base.embeddings),
        rerank: raw.rerank.or(base.rerank),
    }
}

fn waits(here: TimeoutsSpec, base: TimeoutsSpec) -> TimeoutsSpec {
    TimeoutsSpec {
        connect_s: here.connect_s.or(base.connect_s),
        headers_s: here.headers_s.or(base.headers_s),
        first_content_s: here.first_content_s.or(base.first_content_s),
        idle_s: here.idle_s.or(base.idle_s),
        total_s: here.total_s.or(base.total_s),
    }
}

fn facts(desk: &mut Desk<'_>, id: &str, raw: config::Facts, base: FactsSpec) -> FactsSpec {
    let mut fact = |name: &'static str, here: Option<config::Fact>, base: Option<FactSpec>| {
        here.and_then(|fact| settled_fact(desk, &["providers", id, "facts", name], fact)).or(base)
    };
    FactsSpec {
        operator: fact("operator", raw.operator, base.operator),
        seat: fact("seat", raw.seat, base.seat),
        owner_country: fact("owner_country", raw.owner_country, base.owner_country),
        region: fact("region", raw.region, base.region),
        retention: fact("retention", raw.retention, base.retention),
        trains_on_inputs: fact("trains_on_inputs", raw.trains_on_inputs, base.trains_on_inputs),
    }
}

fn settled_fact(desk: &mut Desk<'_>, path: &[&str], raw: config::Fact) -> Option<FactSpec> {
    if raw.as_of.parse::<jiff::civil::Date>().is_err() || raw.as_of.len() != "2026-11-20".len() {
        let message = format!("`{}` is not a day", raw.as_of);
        desk.wrong(&[path, &["as_of"]].concat(), message, "write when the fact was read, as `2026-11-20`");
        return None;
    }
    Some(FactSpec { value: raw.value, source: raw.source, as_of: raw.as_of })
}
