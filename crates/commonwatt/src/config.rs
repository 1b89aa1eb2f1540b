//! The configuration file, raw: what it may say, and nothing else.
//!
//! Every key is listed here with its meaning; the editor's schema and the reference page are made from these comments.
//! What the words mean together is decided in [`settings`](crate::settings).

mod parse;
mod provider;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

pub(crate) use self::parse::{Places, nearest, parse};
pub(crate) use self::provider::{Abilities, Fact, Facts, Model, Provider};

/// Configuration of Commonwatt. Every key is optional: an empty file is a valid one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "commonwatt.toml")]
pub(crate) struct Config {
    /// Address to listen on, such as `127.0.0.1:4600` (the default) or `0.0.0.0:4600`.
    pub(crate) listen: Option<String>,
    /// Name of a key, such as `first`, with whose rights programs on this machine call that send none. By default such
    /// callers are refused. Only where `listen` is an address of this machine alone.
    pub(crate) keyless: Option<String>,
    /// Bounds of what callers may ask for.
    pub(crate) limits: Limits,
    /// How long suppliers are waited for; a provider's own `timeouts` win.
    pub(crate) timeouts: Timeouts,
    /// The built-in engine, which runs models on this machine.
    pub(crate) engine: Engine,
    /// Where `commonwatt models pull` gets models.
    pub(crate) hub: Hub,
    /// The bus, where sessions are kept. What is changed here holds from the next start on.
    pub(crate) bus: Bus,
    /// Providers by id: `[providers.openai]` refines the built-in one, any other name defines a provider of your own.
    pub(crate) providers: BTreeMap<String, Provider>,
    /// Routes by name: what a client may write as `model`, and who answers then.
    pub(crate) routes: BTreeMap<String, Route>,
    /// How calls find their way.
    pub(crate) routing: Routing,
    /// Further keys that may call, as hashes; `commonwatt key add` makes one.
    pub(crate) keys: Vec<Key>,
    /// Traces.
    pub(crate) telemetry: Telemetry,
}

/// Bounds of what callers may ask for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Largest request, in MiB.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) body_mib: u32,
    /// Calls under way at once; more are told to come back.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(crate) calls_max: u32,
    /// Attempts for one call, before only models of your own are still asked.
    #[schemars(range(min = 1, max = 64))]
    pub(crate) attempts_max: u32,
    /// Seconds that a caller is made to wait for failing suppliers, before only models of your own are still asked.
    pub(crate) patience_s: f64,
    /// Longest `Retry-After`, in seconds, that is waited for here when there is nobody else to ask.
    pub(crate) retry_wait_max_s: f64,
    /// Seconds that a summary may take, where a conversation is too long for the only models that are left.
    pub(crate) summary_s: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_mib: 32,
            calls_max: 1_024,
            attempts_max: 8,
            patience_s: 45.0,
            retry_wait_max_s: 2.0,
            summary_s: 120.0,
        }
    }
}

/// How long a supplier is waited for, in seconds. What is not set depends on the tier.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// Until the connection stands.
    pub(crate) connect_s: Option<f64>,
    /// From the request until the response's headers.
    pub(crate) headers_s: Option<f64>,
    /// From the headers until the first content of a stream.
    pub(crate) first_content_s: Option<f64>,
    /// Between two events of a stream.
    pub(crate) idle_s: Option<f64>,
    /// From the request until the end of the answer.
    pub(crate) total_s: Option<f64>,
}

/// The built-in engine, which runs GGUF models on this machine.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Engine {
    /// Whether models run here at all.
    pub(crate) enabled: bool,
    /// Compute threads; by default the physical cores less one.
    #[schemars(range(min = 1, max = 1024))]
    pub(crate) threads: Option<u32>,
    /// Window of one conversation in tokens, prompt and answer together; models that were trained for less keep less.
    #[schemars(range(min = 256, max = 16_777_216))]
    pub(crate) context_tokens: u32,
    /// Conversations that are answered at the same time; further ones wait in line.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) parallel: u32,
    /// Seconds without a call after which a model leaves the memory.
    #[schemars(range(min = 1))]
    pub(crate) idle_unload_s: u32,
    /// Folder with GGUF files; by default `vault` in the home folder.
    pub(crate) vault: Option<String>,
}

impl Default for Engine {
    fn default() -> Self {
        Self { enabled: true, threads: None, context_tokens: 8_192, parallel: 8, idle_unload_s: 600, vault: None }
    }
}

/// Where `commonwatt models pull` gets models.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Hub {
    /// Its address; by default `https://huggingface.co`.
    pub(crate) url: Option<String>,
}

/// The bus, where sessions are kept.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Bus {
    /// Whether anything is kept at all.
    pub(crate) enabled: bool,
    /// Days after which a session that was not used is erased; by default none is.
    #[schemars(range(min = 1, max = 36_500))]
    pub(crate) keep_days: Option<u32>,
    /// The same for calls by these names of `model`, such as `local = 7`; where several numbers hold, the least does.
    #[schemars(with = "BTreeMap<String, Days>")]
    pub(crate) route_days: BTreeMap<String, u32>,
    /// The same for calls that say `x-commonwatt-data-class`, by the class.
    #[schemars(with = "BTreeMap<String, Days>")]
    pub(crate) class_days: BTreeMap<String, u32>,
    /// Program and arguments that print the key under which everything is kept (64 hexadecimal digits, or base64), for
    /// a key service; by default the key lies in `node.key` in the home folder.
    #[schemars(length(min = 1))]
    pub(crate) key_command: Option<Vec<String>>,
}

/// A number of days, for the schema.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "it stands for what a table may hold")]
struct Days(#[schemars(range(min = 1, max = 36_500))] u32);

impl Default for Bus {
    fn default() -> Self {
        let (route_days, class_days) = (BTreeMap::new(), BTreeMap::new());
        Self { enabled: true, keep_days: None, route_days, class_days, key_command: None }
    }
}

/// What a client may write as `model`, and who answers then.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// Who answers, in order: `provider/model`, the name of a model, or a tier such as `tier:local`.
    #[schemars(length(min = 1))]
    pub(crate) candidates: Vec<String>,
    /// Whether, when all of them fail, the rest of `auto` may answer; by default as `[routing]` says.
    #[serde(default)]
    pub(crate) substitute: Option<bool>,
}

/// How calls find their way.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Routing {
    /// Whether a model that cannot answer may be replaced by the rest of `auto`.
    pub(crate) substitute: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Self { substitute: true }
    }
}

/// A key that may call, as a hash.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    /// Its name, for people and logs.
    pub(crate) name: String,
    /// `blake3:` and 64 hexadecimal digits: the hash of the key.
    #[schemars(regex(pattern = "^blake3:[0-9a-fA-F]{64}$"))]
    pub(crate) hash: String,
    /// Tiers that calls with this key may reach; by default all.
    #[serde(default)]
    #[schemars(with = "Option<Vec<provider::TierWord>>")]
    pub(crate) tiers: Option<Vec<String>>,
}

/// Traces.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Address of an OpenTelemetry collector (OTLP over HTTP), such as `http://localhost:4318`; by default none.
    pub(crate) otlp_endpoint: Option<String>,
    /// This daemon's name in traces; by default `commonwatt`.
    pub(crate) service_name: Option<String>,
}

/// The JSON Schema of the file, for editors, as text.
pub(crate) fn schema() -> anyhow::Result<String> {
    let mut schema = schemars::schema_for!(Config).to_value();
    drop_nothing(&mut schema);
    let mut text = serde_json::to_string_pretty(&schema)?;
    text.push('\n');
    Ok(text)
}

/// TOML has no `null`: what may be left out is left out, and nothing is said to be it. Descriptions lose the line breaks
/// of their source.
fn drop_nothing(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(drop_nothing),
        Value::Object(map) => {
            map.retain(|name, value| !(name == "default" && value.is_null()));
            if let Some(Value::String(text)) = map.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            if let Some(Value::Array(words)) = map.get_mut("enum") {
                words.retain(|word| !word.is_null());
            }
            if let Some(Value::Array(kinds)) = map.get_mut("type") {
                kinds.retain(|kind| kind != "null");
                let only = kinds.first().filter(|_| kinds.len() == 1).cloned();
                map.extend(only.map(|kind| ("type".to_owned(), kind)));
            }
            if let Some(Value::Array(choices)) = map.get_mut("anyOf") {
                choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
                if let [Value::Object(choice)] = choices.as_slice() {
                    let choice = choice.clone();
                    map.shift_remove("anyOf");
                    map.extend(choice);
                }
            }
            map.values_mut().for_each(drop_nothing);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
