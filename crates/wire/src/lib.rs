//! Dialects both ways: bytes to the canonical call and answer, and back.
//!
//! *Knows:* how OpenAI Chat Completions and Anthropic Messages are written, request, answer, stream and error; how a
//! stream of events is cut into events; what is lost when one dialect cannot say what the other said.
//!
//! *Does not know:* sockets, credentials, deployments, time, who asks or why.
//!
//! A request: [`open`] looks it over (one scan, no parse) → [`Envelope::adapted`] if it stays in its dialect, else
//! [`decode`] → [`encode`]. An answer: [`sse::Framer`] cuts the stream → [`AnswerReader`] reads it into deltas →
//! [`AnswerWriter`] writes them. Whole answers: [`read_whole`], [`write_whole`]. Errors: [`read_fault`] for a
//! provider's, [`write_refusal`] and [`status`] for ours.

#![forbid(unsafe_code)]

mod emit;
mod scan;
mod tape;
mod tool_ids;

mod adapt;
pub mod brief;
pub mod conversations;
mod envelope;
mod hints;
mod history;
pub mod items;
pub mod journal;
mod projection;
mod request;

pub mod sse;

mod answer;
pub mod embed;
mod fault;
mod models;
mod refusal;
pub mod rerank;
pub mod turns;

pub use answer::{
    AnswerReader, AnswerWriter, Head, Keeping, Standing, is_background, lost_in, read_whole, response_id, response_in,
    retell_event, retell_whole, write_completed, write_queued, write_standing, write_whole,
};
pub use embed::{EmbedCall, EmbedDialect, Embedded, encode_embed, open_embed, read_embed, write_embed};
pub use envelope::{Envelope, InPath, open};
pub use fault::{Mend, read_fault};
pub use hints::Hints;
pub use history::{Continued, continued, decode_message, normal_json, reads_alone};
pub use models::{
    ModelLine, read_shown_model, read_token_count, write_model, write_models, write_shown_model, write_token_count,
};
pub use projection::{Projection, project};
pub use refusal::{status, write_refusal};
pub use request::{
    BadInput, Encoded, EngineChat, Quirks, ToolIdShape, Untranslatable, decode, drop_sealed_reasoning, encode,
    encode_count, engine_messages,
};
pub use rerank::{RerankCall, open_rerank, read_rerank};

/// A protocol in which models are spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dialect {
    /// `POST /v1/chat/completions`.
    OpenAiChat,
    /// `POST /v1/messages`.
    AnthropicMessages,
    /// `POST /v1/responses`.
    OpenAiResponses,
    /// `POST /v1beta/models/{model}:generateContent`, `:streamGenerateContent`.
    Gemini,
    /// `POST /api/chat`.
    OllamaChat,
    /// `POST /api/generate`: a door only, for a prompt instead of a conversation.
    OllamaGenerate,
    /// `POST /v1/completions`: the same of OpenAI, which editors use.
    OpenAiCompletions,
}

impl Dialect {
    /// Every dialect there is.
    pub const ALL: [Self; 7] = [
        Self::OpenAiChat,
        Self::AnthropicMessages,
        Self::OpenAiResponses,
        Self::Gemini,
        Self::OllamaChat,
        Self::OllamaGenerate,
        Self::OpenAiCompletions,
    ];

    /// Those in which a conversation can be sent to a provider.
    pub const OUT: [Self; 5] =
        [Self::OpenAiChat, Self::AnthropicMessages, Self::OpenAiResponses, Self::Gemini, Self::OllamaChat];

    /// How its streams are cut into events.
    #[must_use]
    pub fn framing(self) -> sse::Framing {
        match self {
            Self::OllamaChat | Self::OllamaGenerate => sse::Framing::Lines,
            Self::OpenAiChat
            | Self::AnthropicMessages
            | Self::OpenAiResponses
            | Self::Gemini
            | Self::OpenAiCompletions => sse::Framing::Events,
        }
    }

    /// Its word in configuration, headers and records.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai-chat",
            Self::AnthropicMessages => "anthropic-messages",
            Self::OpenAiResponses => "openai-responses",
            Self::Gemini => "gemini",
            Self::OllamaChat => "ollama-chat",
            Self::OllamaGenerate => "ollama-generate",
            Self::OpenAiCompletions => "openai-completions",
        }
    }

    /// The dialect that this word means.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.word() == word)
    }
}

impl std::fmt::Display for Dialect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.word())
    }
}
