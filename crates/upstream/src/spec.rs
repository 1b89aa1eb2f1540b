//! Providers as data: what one TOML file says about a provider.

use std::collections::BTreeMap;

use commonwatt_core::fleet::{Abilities, Ability, Fact, Facts, Tier};
use commonwatt_core::patience::Patience;
use commonwatt_wire::{Dialect, Quirks};
use serde::Deserialize;

/// One provider: an account at an endpoint, operated by someone, under some law.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// Its short name, as in `openai/gpt-5`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The dialect it speaks best: everything that must be translated is translated into it.
    #[serde(deserialize_with = "dialect")]
    pub dialect: Dialect,
    /// Other dialects that it speaks at the same address: calls in them are forwarded as they are.
    #[serde(default, deserialize_with = "dialects")]
    pub also: Vec<Dialect>,
    /// The one of `also` in which it does more than in `dialect`, where there is one.
    #[serde(default)]
    pub richer: Option<RicherSpec>,
    /// Where it is, as its own SDK would write it (OpenAI: with `/v1`, Anthropic: without).
    pub base_url: String,
    /// The environment variable with which its SDK moves `base_url`.
    #[serde(default)]
    pub base_url_env: Option<String>,
    /// Environment variables in which its key may be found; the first that is set counts. Empty: it needs no key.
    #[serde(default)]
    pub key_env: Vec<String>,
    /// Where a person gets a key.
    #[serde(default)]
    pub key_url: Option<String>,
    /// The tier of its models unless a model says otherwise.
    #[serde(deserialize_with = "tier")]
    pub tier: Tier,
    /// Preference within the tier; lower is tried first.
    #[serde(default = "default_rank")]
    pub rank: u32,
    /// The model that `auto` uses here, unless the richer dialect has one of its own.
    #[serde(default)]
    pub default_model: Option<String>,
    /// Shapes of the model names it serves, with `*`.
    #[serde(default)]
    pub models: Vec<String>,
    /// How a server on this machine is recognised; absent for clouds.
    #[serde(default)]
    pub local: Option<LocalSpec>,
    /// What its models can do unless a model says otherwise.
    #[serde(default)]
    pub abilities: AbilitiesSpec,
    /// Prompt and answer together, in tokens, unless a model says otherwise.
    #[serde(default)]
    pub window_tokens: Option<u32>,
    /// What is particular about individual models.
    #[serde(default)]
    pub model: BTreeMap<String, ModelSpec>,
    /// Peculiarities of its dialect.
    #[serde(default)]
    pub quirks: Quirks,
    /// Waits that differ from the tier's.
    #[serde(default)]
    pub timeouts: TimeoutsSpec,
    /// Who runs it and under whose law, each with source and date.
    #[serde(default)]
    pub facts: FactsSpec,
}

/// A dialect in which a provider does more than in the one that it shares with others.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RicherSpec {
    /// Everything that must be translated is translated into it. It must be one of `also`.
    #[serde(deserialize_with = "dialect")]
    pub dialect: Dialect,
    /// Shapes of the names of models that take tools in this dialect only: calls with tools in the other are translated,
    /// too.
    #[serde(default)]
    pub tools_models: Vec<String>,
    /// The model that `auto` uses while this dialect is spoken.
    #[serde(default)]
    pub default_model: Option<String>,
}

impl ProviderSpec {
    /// Forgets what is known of its own address only: other dialects than the main one.
    pub fn moved(&mut self) {
        self.also.clear();
        self.richer = None;
    }

    /// The richer dialect, if it is spoken.
    #[must_use]
    pub fn richer(&self) -> Option<&RicherSpec> {
        self.richer.as_ref().filter(|richer| self.also.contains(&richer.dialect))
    }

    /// Another model for `auto`, whatever is spoken.
    pub fn default_to(&mut self, model: Option<String>) {
        self.default_model = model;
        if let Some(richer) = &mut self.richer {
            richer.default_model = None;
        }
    }

    /// The model that `auto` uses here.
    #[must_use]
    pub fn auto_model(&self) -> Option<&String> {
        self.richer().and_then(|richer| richer.default_model.as_ref()).or(self.default_model.as_ref())
    }
}

/// How a server on this machine is recognised.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalSpec {
    /// A path that answers 200 when the server is there.
    pub probe_path: String,
    /// Text that the answer must contain, so that another program on that port is not taken for it.
    pub probe_contains: String,
    /// Shapes of model names that the server lists but that run elsewhere: they are not local.
    #[serde(default)]
    pub elsewhere: Vec<String>,
}

/// What is particular about one model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelSpec {
    /// Its tier.
    #[serde(deserialize_with = "some_tier")]
    pub tier: Option<Tier>,
    /// Its window in tokens.
    pub window_tokens: Option<u32>,
    /// What it can do.
    pub abilities: AbilitiesSpec,
    /// The licence of its weights.
    pub licence: Option<FactSpec>,
}

/// `true`, `false`, or absent for unknown.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AbilitiesSpec {
    /// Function calling.
    pub tools: Option<bool>,
    /// Reading images.
    pub images: Option<bool>,
    /// Answers that obey a JSON schema.
    pub json_schema: Option<bool>,
    /// Several answers to one question.
    pub many_choices: Option<bool>,
    /// Vectors that stand for texts.
    pub embeddings: Option<bool>,
    /// Documents in the order of their relevance.
    pub rerank: Option<bool>,
}

impl AbilitiesSpec {
    /// The abilities, with `fallback` where nothing is said here.
    #[must_use]
    pub fn over(self, fallback: Self) -> Abilities {
        let ability = |here: Option<bool>, there: Option<bool>| match here.or(there) {
            Some(true) => Ability::Yes,
            Some(false) => Ability::No,
            None => Ability::Unknown,
        };
        Abilities {
            tools: ability(self.tools, fallback.tools),
            images: ability(self.images, fallback.images),
            json_schema: ability(self.json_schema, fallback.json_schema),
            many_choices: ability(self.many_choices, fallback.many_choices),
            embeddings: ability(self.embeddings, fallback.embeddings),
            rerank: ability(self.rerank, fallback.rerank),
        }
    }
}

/// Waits in seconds, where they differ from the tier's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    /// Until the connection stands.
    pub connect_s: Option<f64>,
    /// From the request until the response's headers.
    pub headers_s: Option<f64>,
    /// From the headers until the first content of a stream.
    pub first_content_s: Option<f64>,
    /// Between two events of a stream.
    pub idle_s: Option<f64>,
    /// From the request until the end of the answer.
    pub total_s: Option<f64>,
}

impl TimeoutsSpec {
    /// The waits, with `base` where nothing is said here.
    #[must_use]
    pub fn over(self, base: Patience) -> Patience {
        let ms = |seconds: Option<f64>, base: u64| {
            let whole = seconds.filter(|s| s.is_finite() && *s > 0.0).map(std::time::Duration::from_secs_f64);
            whole.and_then(|wait| u64::try_from(wait.as_millis()).ok()).unwrap_or(base)
        };
        Patience {
            connect_ms: ms(self.connect_s, base.connect_ms),
            headers_ms: ms(self.headers_s, base.headers_ms),
            first_content_ms: ms(self.first_content_s, base.first_content_ms),
            idle_ms: ms(self.idle_s, base.idle_ms),
            total_ms: ms(self.total_s, base.total_ms),
        }
    }
}

/// A fact with where and when it was read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactSpec {
    /// What is stated.
    pub value: String,
    /// Where.
    pub source: String,
    /// When it was read, `YYYY-MM-DD`.
    pub as_of: String,
}

/// Facts about a provider. What is not known is absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FactsSpec {
    /// The organisation that runs it.
    pub operator: Option<FactSpec>,
    /// Country of its seat, ISO 3166-1 alpha-2.
    pub seat: Option<FactSpec>,
    /// Country of whoever owns the operator.
    pub owner_country: Option<FactSpec>,
    /// Where the computing happens.
    pub region: Option<FactSpec>,
    /// How long inputs are kept.
    pub retention: Option<FactSpec>,
    /// Whether inputs train models.
    pub trains_on_inputs: Option<FactSpec>,
}

impl FactsSpec {
    /// The facts of one model at this provider.
    #[must_use]
    pub fn facts(&self, licence: Option<&FactSpec>) -> Facts {
        let fact = |spec: Option<&FactSpec>| {
            spec.map(|f| Fact { value: f.value.clone(), source: f.source.clone(), as_of: f.as_of.clone() })
        };
        Facts {
            operator: fact(self.operator.as_ref()),
            seat: fact(self.seat.as_ref()),
            owner_country: fact(self.owner_country.as_ref()),
            region: fact(self.region.as_ref()),
            retention: fact(self.retention.as_ref()),
            trains_on_inputs: fact(self.trains_on_inputs.as_ref()),
            licence: fact(licence),
        }
    }
}

fn default_rank() -> u32 {
    50
}

/// Reads a dialect's word.
///
/// # Errors
/// The words that would do.
pub fn dialect<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Dialect, D::Error> {
    let word = String::deserialize(deserializer)?;
    Dialect::from_word(&word).ok_or_else(|| serde::de::Error::custom(no_dialect(&word)))
}

fn dialects<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Dialect>, D::Error> {
    let words = Vec::<String>::deserialize(deserializer)?;
    let dialect = |word: &String| Dialect::from_word(word).ok_or_else(|| serde::de::Error::custom(no_dialect(word)));
    words.iter().map(dialect).collect()
}

fn no_dialect(word: &str) -> String {
    let words: Vec<String> = Dialect::ALL.iter().map(|dialect| format!("`{dialect}`")).collect();
    format!("`{word}` is not a dialect: write one of {}", words.join(", "))
}

/// Reads a tier's word.
///
/// # Errors
/// The words that would do.
pub fn tier<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tier, D::Error> {
    let word = String::deserialize(deserializer)?;
    Tier::from_word(&word)
        .ok_or_else(|| serde::de::Error::custom(format!("`{word}` is not a tier: write `frontier`, `free` or `local`")))
}

fn some_tier<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Tier>, D::Error> {
    tier(deserializer).map(Some)
}
