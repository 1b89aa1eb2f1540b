//! What can go wrong: a closed set, written in TOML, JSON or a few words.
//!
//! Most troubles are one [`Fault::Cut`]: a [`Place`] in the answer and the [`Ending`] it meets there. The others
//! either replace the whole answer (`status`, `page`, …) or change how it is put on the wire (`drip`, `crlf`, …) and
//! may be combined with a cut.

mod draw;
mod words;

use serde::{Deserialize, Serialize};

pub(crate) use draw::draw;
pub(crate) use words::Directive;
pub use words::FaultError;

/// One thing that goes wrong with one answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// The call is refused with a status and an error body in the caller's dialect.
    Status {
        /// HTTP status, 400 to 599.
        status: u16,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after_s: Option<u64>,
        /// The message of the error; by default what the provider of that dialect says.
        #[serde(default)]
        message: Option<String>,
        /// The `code` of the error in OpenAI's dialects, such as `context_length_exceeded`; in Gemini, the `reason` in
        /// its details.
        #[serde(default)]
        code: Option<String>,
    },
    /// The connection is reset as soon as the request has been read, before any header.
    ///
    /// A port that refuses connections altogether is a simulator that was stopped.
    Refuse {},
    /// The answer starts well and ends badly.
    Cut {
        /// What happens.
        how: Ending,
        /// Where it happens.
        #[serde(default)]
        after: Place,
        /// Count [`Place::Chunks`] and [`Place::Bytes`] in this part of the answer only. A part that the answer would
        /// not have is added to it.
        #[serde(default)]
        part: Option<Part>,
        /// For [`Ending::Stall`]: go on after so many milliseconds; without it, the stall lasts until the client
        /// leaves.
        #[serde(default)]
        stall_ms: Option<u64>,
        /// For [`Ending::Error`] and [`Ending::Failed`]: the status that the event speaks of (default 529).
        #[serde(default)]
        status: Option<u16>,
    },
    /// A web page instead of an answer, as proxies and captive portals send.
    Page {
        /// HTTP status (default 200).
        #[serde(default = "ok_status")]
        status: u16,
    },
    /// Status 200 and not a byte of body.
    Empty {},
    /// A JSON error body with status 200.
    #[serde(rename = "error_in_200")]
    ErrorIn200 {
        /// The status that the error speaks of (default 529).
        #[serde(default = "overloaded_status")]
        status: u16,
    },
    /// A redirect.
    Redirect {
        /// HTTP status (default 302).
        #[serde(default = "found_status")]
        status: u16,
        /// The `Location` header.
        location: String,
    },
    /// Of every `period` calls the first is refused, the others are answered.
    Flapping {
        /// HTTP status of the refusals (default 503).
        #[serde(default = "unavailable_status")]
        status: u16,
        /// Length of the cycle in calls, at least 2 (default 2).
        #[serde(default = "two")]
        period: u64,
    },
    /// The body comes a few bytes at a time.
    Drip {
        /// Bytes sent at once (default 1).
        #[serde(default = "one")]
        bytes: usize,
        /// Milliseconds between them (default 1).
        #[serde(default = "one_ms")]
        gap_ms: u64,
    },
    /// The body is split at arbitrary bytes, within characters too, into pieces of seeded random length.
    Split {
        /// The longest piece, in bytes (default 7).
        #[serde(default = "seven")]
        bytes: usize,
    },
    /// Lines of a stream end in CR LF.
    Crlf {},
    /// Comments between the events of a stream, and during its waits and stalls. Lines of JSON (Ollama) have none.
    Heartbeat {
        /// A comment before every so many content chunks; 0 for none (default 1).
        #[serde(default = "one")]
        chunks: usize,
        /// During waits and stalls, a comment so often, in milliseconds; 0 for none (default).
        #[serde(default)]
        every_ms: u64,
    },
    /// The answer does not say what it cost.
    MissingUsage {},
    /// `Content-Length` promises more than is sent; then the connection is closed.
    WrongLength {
        /// Bytes that are missing at the end; 0 (default) means half the body.
        #[serde(default)]
        missing: usize,
    },
    /// The provider's content filter stops the answer: `content_filter`, stop reason `refusal`, `SAFETY`; Gemini blocks
    /// the prompt itself when nothing came before it. Ollama has no filter: it just stops.
    Filter {
        /// Content chunks that came before it (default 3).
        #[serde(default = "three")]
        after: usize,
    },
    /// The model declines to answer: a `refusal` in Chat Completions and Responses, stop reason `refusal` in Messages,
    /// plain text elsewhere.
    Refusal {
        /// What it says.
        #[serde(default = "declined")]
        message: String,
    },
}

/// What a [`Fault::Cut`] does to the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The connection is reset (TCP RST).
    Reset,
    /// The connection is closed (TCP FIN) within the HTTP body.
    Close,
    /// The HTTP body ends cleanly, but the answer in it is not finished.
    Eof,
    /// Nothing more comes.
    Stall,
    /// An error event in the dialect's own shape, then a clean end.
    Error,
    /// The next event is broken JSON; the stream goes on after it.
    Malformed,
    /// Random bytes, then a clean end.
    Garbage,
    /// The terminator (`[DONE]`, `message_stop`) at once: no finish reason, no usage. In Responses, an empty
    /// `response.completed`; in Ollama, `"done":true` and no reason; Gemini has no terminator, so a clean end.
    Done,
    /// In Responses, `response.failed` and a clean end; elsewhere the same as [`Ending::Error`].
    Failed,
}

impl Ending {
    /// Every ending, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::Reset,
        Self::Close,
        Self::Eof,
        Self::Stall,
        Self::Error,
        Self::Malformed,
        Self::Garbage,
        Self::Done,
        Self::Failed,
    ];
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Visible reasoning.
    Reasoning,
    /// Text.
    Text,
    /// The arguments of a tool call.
    ToolCall,
    /// Text that is a JSON document.
    Json,
}

/// A place in an answer. Written as a word (`preamble`), a number of chunks (`3`), `120bytes`, `999wire`, or as
/// `{ chunks = 3 }`, `{ bytes = 120 }`, `{ wire = 999 }`.
///
/// A place beyond the end means the end. In an answer that is not streamed, `chunks` means the middle of the body,
/// `content` and `finish` its last byte, and `bytes` counts as `wire`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawPlace", into = "RawPlace")]
pub enum Place {
    /// Before the headers.
    Start,
    /// After the headers, before any byte of the body.
    #[default]
    Headers,
    /// After the role chunk, `message_start`, or `response.in_progress`; where a dialect has none, before the first
    /// content.
    Preamble,
    /// After so many content chunks.
    Chunks(usize),
    /// After so many bytes of decoded content; within a character, before it.
    Bytes(usize),
    /// After so many bytes of the body as sent.
    Wire(usize),
    /// After the last content chunk, before the finish reason.
    Content,
    /// After finish reason and usage, before the terminator. In Responses, Gemini and Ollama the last event is both:
    /// after it.
    Finish,
}

impl Fault {
    /// Refuses what cannot be played.
    pub(crate) fn check(&self) -> Result<(), FaultError> {
        match self {
            Self::Status { status, .. } | Self::Flapping { status, .. } if !(400..=599).contains(status) => {
                Err(FaultError::Status(*status))
            }
            Self::Page { status } if !(200..=599).contains(status) => Err(FaultError::Status(*status)),
            Self::Redirect { status, .. } if !(300..=399).contains(status) => Err(FaultError::Redirect(*status)),
            Self::Redirect { location, .. } if http::HeaderValue::from_str(location).is_err() => {
                Err(FaultError::Location(location.clone()))
            }
            Self::Flapping { period: 0 | 1, .. } => Err(FaultError::Period),
            Self::Drip { bytes: 0, .. } | Self::Split { bytes: 0 } => Err(FaultError::NoBytes),
            Self::Cut { after: Place::Wire(_), part: Some(_), .. } => Err(FaultError::PartOfWire),
            Self::Cut { .. }
            | Self::Status { .. }
            | Self::Refuse {}
            | Self::Page { .. }
            | Self::Empty {}
            | Self::ErrorIn200 { .. }
            | Self::Redirect { .. }
            | Self::Flapping { .. }
            | Self::Drip { .. }
            | Self::Split { .. }
            | Self::Crlf {}
            | Self::Heartbeat { .. }
            | Self::MissingUsage {}
            | Self::WrongLength { .. }
            | Self::Filter { .. }
            | Self::Refusal { .. } => Ok(()),
        }
    }
}

/// How a [`Place`] is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum RawPlace {
    Chunks(usize),
    Word(String),
    Counted(Counted),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Counted {
    Chunks(usize),
    Bytes(usize),
    Wire(usize),
}

impl TryFrom<RawPlace> for Place {
    type Error = FaultError;

    fn try_from(raw: RawPlace) -> Result<Self, FaultError> {
        match raw {
            RawPlace::Chunks(chunks) | RawPlace::Counted(Counted::Chunks(chunks)) => Ok(Self::Chunks(chunks)),
            RawPlace::Counted(Counted::Bytes(bytes)) => Ok(Self::Bytes(bytes)),
            RawPlace::Counted(Counted::Wire(bytes)) => Ok(Self::Wire(bytes)),
            RawPlace::Word(word) => word.parse(),
        }
    }
}

impl From<Place> for RawPlace {
    fn from(place: Place) -> Self {
        match place {
            Place::Start => Self::Word("start".to_owned()),
            Place::Headers => Self::Word("headers".to_owned()),
            Place::Preamble => Self::Word("preamble".to_owned()),
            Place::Chunks(chunks) => Self::Chunks(chunks),
            Place::Bytes(bytes) => Self::Counted(Counted::Bytes(bytes)),
            Place::Wire(bytes) => Self::Counted(Counted::Wire(bytes)),
            Place::Content => Self::Word("content".to_owned()),
            Place::Finish => Self::Word("finish".to_owned()),
        }
    }
}

impl std::str::FromStr for Place {
    type Err = FaultError;

    fn from_str(word: &str) -> Result<Self, FaultError> {
        match word {
            "start" => return Ok(Self::Start),
            "headers" => return Ok(Self::Headers),
            "preamble" => return Ok(Self::Preamble),
            "content" => return Ok(Self::Content),
            "finish" => return Ok(Self::Finish),
            _ => {}
        }
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let count = digits.parse().map_err(|_| FaultError::Place(word.to_owned()))?;
        match word.get(digits.len()..) {
            Some("" | "chunks") => Ok(Self::Chunks(count)),
            Some("bytes") => Ok(Self::Bytes(count)),
            Some("wire") => Ok(Self::Wire(count)),
            _ => Err(FaultError::Place(word.to_owned())),
        }
    }
}

fn ok_status() -> u16 {
    200
}
fn overloaded_status() -> u16 {
    529
}
fn found_status() -> u16 {
    302
}
fn unavailable_status() -> u16 {
    503
}
fn one() -> usize {
    1
}
fn two() -> u64 {
    2
}
fn three() -> usize {
    3
}
fn seven() -> usize {
    7
}
fn one_ms() -> u64 {
    1
}
fn declined() -> String {
    "I'm sorry, but I can't help with that.".to_owned()
}
