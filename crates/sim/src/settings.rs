//! What kind of provider is simulated.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::FaultError;
use crate::script::Script;

/// The settings of a simulated provider; every one has a default, an unknown one is an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen (default `127.0.0.1:0`, a free port).
    pub listen: SocketAddr,
    /// Where all chance comes from: answers, identifiers, signatures, jitter, faults by rate.
    pub seed: u64,

    /// Milliseconds until the headers of a streamed answer.
    pub headers_ms: u64,
    /// Milliseconds from the headers to the first content.
    pub first_token_ms: u64,
    /// Milliseconds between content chunks.
    pub gap_ms: u64,
    /// Tokens per second, in addition to `gap_ms`; 0 (default) means at once.
    pub tokens_per_second: f64,
    /// Each wait is lengthened or shortened by up to this share of it, 0 (default) to 1, by seed.
    pub jitter: f64,
    /// Characters of content in one chunk (default 8).
    pub chunk_characters: usize,

    /// How the model answers.
    pub answer: AnswerSettings,
    /// Answer every call with the same pre-rendered answer, looking only at `model`, `stream` and `stream_options` of
    /// the request: as cheap as possible, for benchmarks. Directives are not read and requests are not checked.
    pub canned: bool,

    /// The models that are served; when empty (default), every name is, and `sim` is listed.
    pub models: Vec<String>,
    /// The key that callers must send as `authorization: Bearer …` or `x-api-key` (Gemini: `x-goog-api-key` or
    /// `?key=`); none (default) means no check.
    pub api_key: Option<String>,
    /// Calls within any 60 seconds; more are refused with 429.
    pub requests_per_minute: Option<u64>,
    /// Tokens, of prompts and answers, within any 60 seconds; more are refused with 429.
    pub tokens_per_minute: Option<u64>,
    /// Bytes of a request body (default 64 MiB); more are refused with 413.
    pub max_body_bytes: usize,

    /// Share of calls, 0 (default) to 1, that are refused with 429, 500, 502, 503 or 529, by seed.
    pub error_rate: f64,
    /// Share of calls, 0 (default) to 1, that meet any fault whatever, by seed.
    pub chaos_rate: f64,
    /// Whether `[[sim: …]]` in the last message of the user is obeyed (default yes).
    pub directives: bool,
    /// What happens to which call.
    pub script: Script,
    /// Whether requests are kept for `GET /sim/requests` (default yes).
    pub record: bool,
}

/// How the simulated model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerSettings {
    /// The text of every answer. By default it is made of sentences that depend on seed, model and conversation, so
    /// that the same conversation gets the same answer, streamed or not, and (tool results aside) in any dialect that
    /// has conversations.
    pub text: Option<String>,
    /// What made-up text looks like.
    pub style: Style,
    /// Length of made-up text in characters, rounded up to a whole sentence (default 400).
    pub characters: usize,
    /// The text of visible reasoning. By default it is made up.
    pub reasoning: Option<String>,
    /// Length of made-up reasoning in characters; 0 means never any; by default 160 when the request asks for
    /// reasoning.
    pub reasoning_characters: Option<usize>,
    /// Tool calls that every answer makes, whatever the request says.
    pub calls: Vec<CallSettings>,
    /// Tool calls that an answer makes, with made-up arguments, when the request offers tools and does not end in a
    /// tool result. The default is 0, so that an agent which talks to a simulator is not told to delete files. A
    /// request that demands a tool call (`tool_choice`) gets one in any case.
    pub tool_calls: usize,
    /// What is done with a conversation that ends in the assistant's own words.
    pub prefill: Prefill,
    /// Follow a request to resume: when the conversation ends in the beginning of an answer and a user's message
    /// that quotes its last words, repeat the quoted words and go on (default yes).
    pub resume: bool,
    /// Refuse reasoning that this simulator (seed) did not make for this model, as providers do (default yes): the
    /// `signature` of a thinking block in Messages, the `encrypted_content` of a reasoning item in Responses, the
    /// `thoughtSignature` of a part in Gemini.
    pub check_signatures: bool,
    /// Be strict as Gemini 3 is (default no): a function call of the current turn must come back with its
    /// `thoughtSignature`, or with one of the two documented dummies. Function calls have ids then.
    pub gemini_3: bool,
    /// The context window, in tokens, of a call to Ollama that names none in `options.num_ctx` (default 4096). The
    /// front of a longer prompt is dropped without a word.
    pub num_ctx: usize,
    /// Tokens of every prompt that are said to come from a cache (default 0); never more than the prompt has.
    pub cached_tokens: usize,
}

/// A tool call that an answer makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallSettings {
    /// The tool.
    pub name: String,
    /// Its arguments: an object, or a string that is sent as it is.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

/// What made-up text looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Style {
    /// English sentences with an accent here and there.
    #[default]
    Prose,
    /// Headings, lists and code.
    Markdown,
    /// Many scripts, some written from right to left, and emoji.
    Polyglot,
}

/// What is done with a conversation that ends in the assistant's own words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prefill {
    /// The answer goes on from them.
    #[default]
    Continue,
    /// They are a turn like any other.
    Ignore,
    /// The call is refused with 400.
    Refuse,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A share that is none.
    #[error("`{name} = {value}` is no share: use a number from 0 to 1")]
    Share {
        /// Its name.
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// A pace that is none.
    #[error("`tokens_per_second = {0}` is no pace: use a positive number, or 0 for no limit")]
    Pace(f64),
    /// A count that must not be zero.
    #[error("`{0} = 0` would never send or take anything: use at least 1")]
    Zero(&'static str),
    /// A fault that cannot be played.
    #[error(transparent)]
    Fault(#[from] FaultError),
    /// A file that is no TOML, or has an unknown key.
    #[error("the settings of the simulator are not understood: {0}")]
    Toml(#[from] toml::de::Error),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: 1,
            headers_ms: 0,
            first_token_ms: 0,
            gap_ms: 0,
            tokens_per_second: 0.0,
            jitter: 0.0,
            chunk_characters: 8,
            answer: AnswerSettings::default(),
            canned: false,
            models: Vec::new(),
            api_key: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            max_body_bytes: 64 << 20,
            error_rate: 0.0,
            chaos_rate: 0.0,
            directives: true,
            script: Script::default(),
            record: true,
        }
    }
}

impl Default for AnswerSettings {
    fn default() -> Self {
        Self {
            text: None,
            style: Style::Prose,
            characters: 400,
            reasoning: None,
            reasoning_characters: None,
            calls: Vec::new(),
            tool_calls: 0,
            prefill: Prefill::Continue,
            resume: true,
            check_signatures: true,
            gemini_3: false,
            num_ctx: 4096,
            cached_tokens: 0,
        }
    }
}

impl Settings {
    /// Settings from TOML.
    ///
    /// # Errors
    /// Text that is no TOML, an unknown key, a value out of range.
    pub fn from_toml(text: &str) -> Result<Self, SettingsError> {
        let settings: Self = toml::from_str(text)?;
        settings.check()?;
        Ok(settings)
    }

    /// Refuses what cannot be simulated.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        for (name, value) in [("jitter", self.jitter), ("error_rate", self.error_rate), ("chaos_rate", self.chaos_rate)]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(SettingsError::Share { name, value });
            }
        }
        if !(self.tokens_per_second >= 0.0 && self.tokens_per_second.is_finite()) {
            return Err(SettingsError::Pace(self.tokens_per_second));
        }
        for (name, value) in [("chunk_characters", self.chunk_characters), ("max_body_bytes", self.max_body_bytes)] {
            if value == 0 {
                return Err(SettingsError::Zero(name));
            }
        }
        self.script.check()?;
        Ok(())
    }
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Settings::from_toml("").unwrap(), Settings::default());
    }

    #[test]
    fn settings_survive_being_written_down() {
        let settings = Settings::from_toml(
            "seed = 7\nfirst_token_ms = 20\nmodels = ['a']\n[answer]\nstyle = 'polyglot'\nprefill = 'refuse'\n\
             [[script.steps]]\nfaults = [{ kind = 'status', status = 429, retry_after_s = 3 }]",
        )
        .unwrap();
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }

    #[test]
    fn what_cannot_be_simulated_is_refused_with_a_way_out() {
        for (toml, said) in [
            ("colour = 1", "colour"),
            ("jitter = 2.0", "from 0 to 1"),
            ("tokens_per_second = -1.0", "no pace"),
            ("chunk_characters = 0", "at least 1"),
            ("[[script.steps]]\nfaults = [{ kind = 'status', status = 200 }]", "400 to 599"),
            ("[answer]\ncolour = 1", "colour"),
        ] {
            let error = Settings::from_toml(toml).unwrap_err().to_string();
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
