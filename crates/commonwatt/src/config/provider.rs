//! What the file may say about a provider: the fields of a provider's own file, each optional.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::Timeouts;

/// A provider. For a built-in one each key replaces what is built in; one of your own needs `dialect`, `base_url` and
/// `tier`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Provider {
    /// `false` switches it off.
    pub(crate) enabled: Option<bool>,
    /// Where its key is: `env:NAME` or `file:/path`. The key itself does not belong in this file.
    #[schemars(regex(pattern = "^(env|file):."))]
    pub(crate) key: Option<String>,
    /// Its name for people.
    pub(crate) name: Option<String>,
    /// The dialect it speaks.
    #[schemars(with = "Option<DialectWord>")]
    pub(crate) dialect: Option<String>,
    /// Other dialects that it speaks at the same address.
    #[schemars(with = "Option<Vec<DialectWord>>")]
    pub(crate) also: Option<Vec<String>>,
    /// Its address, as its own SDK would write it (OpenAI: with `/v1`, Anthropic: without).
    pub(crate) base_url: Option<String>,
    /// The tier of its models unless a model says otherwise.
    #[schemars(with = "Option<TierWord>")]
    pub(crate) tier: Option<String>,
    /// Preference within the tier; lower is tried first, the default is 50.
    pub(crate) rank: Option<u32>,
    /// The model that `auto` uses here.
    pub(crate) default_model: Option<String>,
    /// Names of models that it serves, with `*` for any text.
    pub(crate) models: Option<Vec<String>>,
    /// Prompt and answer together, in tokens, unless a model says otherwise.
    #[schemars(range(min = 1))]
    pub(crate) window_tokens: Option<u32>,
    /// What its models can do unless a model says otherwise.
    pub(crate) abilities: Abilities,
    /// How long it is waited for.
    pub(crate) timeouts: Timeouts,
    /// Peculiarities of its dialect, all of them: what is built in for a provider is forgotten. The providers' own files
    /// show what there is.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub(crate) quirks: Option<commonwatt_wire::Quirks>,
    /// Who runs it and under whose law.
    pub(crate) facts: Facts,
    /// What is particular about individual models, by name.
    pub(crate) model: BTreeMap<String, Model>,
}

/// What is particular about one model.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Model {
    /// Its tier.
    #[schemars(with = "Option<TierWord>")]
    pub(crate) tier: Option<String>,
    /// Its window in tokens.
    #[schemars(range(min = 1))]
    pub(crate) window_tokens: Option<u32>,
    /// What it can do.
    pub(crate) abilities: Abilities,
    /// The licence of its weights, as an SPDX id where there is one.
    pub(crate) licence: Option<Fact>,
}

/// What a model can do: `true`, `false`, or nothing where it is not known.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Abilities {
    /// Function calling.
    pub(crate) tools: Option<bool>,
    /// Reading images.
    pub(crate) images: Option<bool>,
    /// Answers that obey a JSON schema.
    pub(crate) json_schema: Option<bool>,
    /// Several answers to one question.
    pub(crate) many_choices: Option<bool>,
    /// Vectors that stand for texts.
    pub(crate) embeddings: Option<bool>,
    /// Documents in the order of their relevance.
    pub(crate) rerank: Option<bool>,
}

/// Facts about a provider. What is not known stays unsaid.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Facts {
    /// The organisation that runs it.
    pub(crate) operator: Option<Fact>,
    /// Country of its seat (ISO 3166-1 alpha-2, such as `DE`): whose law it answers to.
    pub(crate) seat: Option<Fact>,
    /// Country of whoever owns the operator.
    pub(crate) owner_country: Option<Fact>,
    /// Where the computing happens.
    pub(crate) region: Option<Fact>,
    /// How long inputs are kept.
    pub(crate) retention: Option<Fact>,
    /// Whether inputs train models.
    pub(crate) trains_on_inputs: Option<Fact>,
}

/// Something stated, with where and when it was read.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fact {
    /// What is stated.
    pub(crate) value: String,
    /// Where: an address, or the name of a contract. By default this file.
    #[serde(default = "this_file")]
    pub(crate) source: String,
    /// When it was read, `YYYY-MM-DD`.
    #[schemars(regex(pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    pub(crate) as_of: String,
}

fn this_file() -> String {
    "configuration".to_owned()
}

/// A protocol in which models are spoken to.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "kebab-case")]
#[expect(
    dead_code,
    reason = "only its schema is used: the words are read by `settings`, which can say where they stand"
)]
pub(crate) enum DialectWord {
    OpenaiChat,
    AnthropicMessages,
    OpenaiResponses,
    Gemini,
    OllamaChat,
    OllamaGenerate,
    OpenaiCompletions,
}

/// Where a model stands: `auto` goes from `frontier` over `free` to `local`.
#[derive(JsonSchema)]
#[schemars(inline, rename_all = "kebab-case")]
#[expect(
    dead_code,
    reason = "only its schema is used: the words are read by `settings`, which can say where they stand"
)]
pub(crate) enum TierWord {
    Frontier,
    Free,
    Local,
}
