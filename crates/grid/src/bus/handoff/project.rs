//! What whoever accepts is shown: the conversation in a dialect, or a page about it.

use commonwatt_core::call::{Item, RawJson};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Party, Turn};
use commonwatt_store::{State, StoredTurn};
use commonwatt_wire::brief::{Spoken, brief};
use commonwatt_wire::{Dialect, Projection, project};

use crate::bus::recall::title;

/// The shape of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As the clients of a dialect send a conversation.
    Request(Dialect),
    /// A page in Markdown for whoever was not there.
    Brief,
}

impl Format {
    /// The words that [`Format::from_word`] knows, for whoever wrote another.
    pub const WORDS: &'static str = "`openai`, `anthropic`, `responses`, `gemini`, `ollama` or `markdown`";

    /// The format that this word means: the short one, or a dialect's own.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let short = match word {
            "markdown" => return Some(Self::Brief),
            "openai" => Some(Dialect::OpenAiChat),
            "anthropic" => Some(Dialect::AnthropicMessages),
            "responses" => Some(Dialect::OpenAiResponses),
            "ollama" => Some(Dialect::OllamaChat),
            other => Dialect::from_word(other),
        };
        short.filter(|dialect| Dialect::OUT.contains(dialect)).map(Self::Request)
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Request(dialect) => dialect.word(),
            Self::Brief => "markdown",
        }
    }
}

/// A session, told in a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Projected {
    /// In which.
    pub format: Format,
    /// What was said.
    pub content: Content,
    /// What of it the format cannot say.
    pub lossy: Vec<String>,
}

/// What was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Members of a request, as a JSON object.
    Request(RawJson),
    /// A page.
    Page(String),
}

/// A kept turn with what it says.
pub(super) struct Told {
    pub(super) kept: StoredTurn,
    pub(super) turn: Turn,
}

/// The projection of these turns, and what a client that sends it back is understood to say.
pub(super) fn projected(format: Format, told: Vec<Told>) -> Result<(Projected, Option<Vec<Item>>), Refusal> {
    match format {
        Format::Request(dialect) => {
            let turns = told.into_iter().map(|told| told.turn).collect();
            let untold = |error: commonwatt_wire::Untranslatable| {
                Refusal::new(RefusalKind::BadRequest, format!("this session cannot be told in `{dialect}`: {error}"))
            };
            let Projection { body, lossy, resent } = project(dialect, turns).map_err(untold)?;
            Ok((Projected { format, content: Content::Request(body), lossy }, Some(resent)))
        }
        Format::Brief => {
            let spoken: Vec<Spoken<'_>> = told.iter().map(spoken).collect();
            let page = brief(&title_of(&told), &spoken);
            Ok((Projected { format, content: Content::Page(page), lossy: Vec::new() }, None))
        }
    }
}

/// What a list shows of the session.
pub(super) fn title_of(told: &[Told]) -> String {
    let asked = told.iter().find(|told| told.turn.party == Party::User);
    asked.map(|told| title(&told.turn.items)).unwrap_or_default()
}

fn spoken(Told { kept, turn }: &Told) -> Spoken<'_> {
    Spoken { turn, by: kept.node.by.as_deref(), is_whole: kept.node.state == State::Complete }
}
