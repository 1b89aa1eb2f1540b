//! Answers: a provider's bytes to deltas, and deltas to bytes in the caller's dialect.

mod finish;
mod tool_calls;
mod usage;

mod anthropic_read;
mod anthropic_write;
mod completions_read;
mod completions_write;
mod gemini_read;
mod gemini_write;
mod ollama_read;
mod ollama_write;
mod openai_read;
mod openai_write;
mod responses_echo;
mod responses_items;
mod responses_read;
mod responses_retell;
mod responses_write;
mod unread;

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Delta, Finish};
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::refusal::Refusal;

use crate::tape::{Kind, Tape, View};
use crate::{Dialect, fault, refusal, sse};

/// Reads a provider's stream, event by event. Nothing is allocated but what the deltas hold.
#[derive(Debug)]
pub struct AnswerReader {
    dialect: Dialect,
    tape: Tape,
    state: State,
    seen: Seen,
    ended: bool,
}

#[derive(Debug)]
enum State {
    OpenAi(openai_read::Reader),
    Anthropic(anthropic_read::Reader),
    Responses(responses_read::Reader),
    Gemini(gemini_read::Reader),
    Ollama(ollama_read::Reader),
    Completions(completions_read::Reader),
}

/// What must be known of an answer to tell a complete one from a cut or an empty one.
#[derive(Debug, Default)]
struct Seen {
    content: bool,
    output_tokens: u64,
    finish: Option<Finish>,
}

impl Seen {
    fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            self.content |= delta.is_content();
            if let Delta::Usage(usage) = delta {
                self.output_tokens = usage.output;
            }
            if let Delta::Finished(finish) = delta {
                self.finish = Some(finish.clone());
            }
        }
    }

    /// Whether the answer is complete, at its end.
    fn judge(&self) -> Result<(), Fault> {
        match &self.finish {
            None => Err(Fault::new(FaultKind::Cut, "the answer ended without saying why")),
            Some(Finish::Stop) if !self.content && self.output_tokens == 0 => {
                Err(Fault::new(FaultKind::Empty, "the answer is empty"))
            }
            Some(_) => Ok(()),
        }
    }
}

impl AnswerReader {
    /// A reader for one stream.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let state = match dialect {
            Dialect::OpenAiChat => State::OpenAi(openai_read::Reader::default()),
            Dialect::AnthropicMessages => State::Anthropic(anthropic_read::Reader::default()),
            Dialect::OpenAiResponses => State::Responses(responses_read::Reader::default()),
            Dialect::Gemini => State::Gemini(gemini_read::Reader::default()),
            Dialect::OllamaChat | Dialect::OllamaGenerate => State::Ollama(ollama_read::Reader::default()),
            Dialect::OpenAiCompletions => State::Completions(completions_read::Reader::default()),
        };
        Self { dialect, tape: Tape::default(), state, seen: Seen::default(), ended: false }
    }

    /// Reads the next event and adds what it says to `out`. What comes after the end is ignored.
    ///
    /// # Errors
    /// A fault when the event is not of the dialect, tells of an error, or ends an answer that is not complete.
    pub fn read(&mut self, event: &sse::Event, out: &mut Vec<Delta>) -> Result<(), Fault> {
        let data = event.data().trim_ascii();
        if self.ended || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.seen.judge()?;
            self.ended = true;
            return Ok(());
        }
        let root = read_json(&mut self.tape, data, "an event of the stream")?;
        if is_error(&root) || event.name() == Some(b"error") {
            return Err(fault::in_band(self.dialect, data));
        }
        let before = out.len();
        let outcome = match &mut self.state {
            State::OpenAi(reader) => reader.chunk(&root, out).map(|()| false),
            State::Anthropic(reader) => reader.event(&root, out),
            State::Responses(reader) => reader.event(&root, out),
            State::Gemini(reader) => reader.event(&root, out),
            State::Ollama(reader) => reader.event(&root, out),
            State::Completions(reader) => reader.event(&root, out),
        };
        self.seen.note(out.get(before..).unwrap_or_default());
        if outcome? {
            self.seen.judge()?;
            self.ended = true;
        }
        Ok(())
    }

    /// Whether the dialect's terminator has come, after a proper finish: `[DONE]`, or `message_stop`.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// What kind of fault the end of the bytes is now, if it is one.
    ///
    /// # Errors
    /// `Cut` without a reason to have ended, `Empty` with nothing inside.
    pub fn close(&self) -> Result<(), Fault> {
        if self.ended { Ok(()) } else { self.seen.judge() }
    }
}

/// Reads an answer that is not streamed.
///
/// # Errors
/// `Malformed` when it is not of the dialect, `Empty` when nothing is inside, `InBand` or a better kind when it is an
/// error with a success's status.
pub fn read_whole(dialect: Dialect, body: &[u8]) -> Result<Vec<Delta>, Fault> {
    let mut tape = Tape::default();
    let root = read_json(&mut tape, body, "the answer")?;
    if root.kind() != Kind::Object {
        return Err(Fault::new(FaultKind::Malformed, "the answer is not a JSON object"));
    }
    if is_error(&root) {
        return Err(fault::in_band(dialect, body));
    }
    let mut deltas = Vec::new();
    match dialect {
        Dialect::OpenAiChat => openai_read::whole(&root, &mut deltas)?,
        Dialect::AnthropicMessages => anthropic_read::whole(&root, &mut deltas)?,
        Dialect::OpenAiResponses => responses_read::whole(&root, &mut deltas)?,
        Dialect::Gemini => gemini_read::whole(&root, &mut deltas)?,
        Dialect::OllamaChat | Dialect::OllamaGenerate => ollama_read::whole(&root, &mut deltas)?,
        Dialect::OpenAiCompletions => completions_read::whole(&root, &mut deltas)?,
    }
    let mut seen = Seen::default();
    seen.note(&deltas);
    if seen.finish.is_none() && seen.content {
        // Some servers forget the reason in a whole answer; its last byte has arrived all the same.
        deltas.push(Delta::Finished(Finish::Stop));
    } else if seen.finish.is_none() {
        return Err(Fault::new(FaultKind::Empty, "the answer is empty"));
    } else {
        seen.judge()?;
    }
    Ok(deltas)
}

pub(crate) fn read_json<'a>(tape: &'a mut Tape, text: &'a [u8], what: &str) -> Result<View<'a>, Fault> {
    if text.trim_ascii().is_empty() {
        return Err(Fault::new(FaultKind::Empty, format!("{what} is empty")));
    }
    let told = |error: crate::scan::SyntaxError| {
        Fault::new(FaultKind::Malformed, format!("{what} is not valid JSON: {}", error.told(text)))
    };
    tape.read(text).map_err(told)
}

pub(crate) fn is_error(root: &View<'_>) -> bool {
    let says = |name: &str| root.get_string(name).is_some_and(|kind| kind == "error");
    let told = |error: View<'_>| match error.kind() {
        Kind::Object => error.members().next().is_some(),
        Kind::String => error.string().is_some_and(|text| !text.is_empty()),
        Kind::Array | Kind::Number | Kind::True => true,
        Kind::False | Kind::Null => false,
    };
    root.get("error").is_some_and(told) || says("type") || says("object")
}

/// What the caller's answer says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The call's id; the dialect's own prefix is put before it.
    pub id: String,
    /// The model that is named.
    pub model: String,
    /// When, in seconds since 1970.
    pub created_unix_s: u64,
    /// Whether usage is written at the end of a stream (OpenAI; others always do).
    pub stream_usage: bool,
    /// The caller's request, whose settings an answer of Responses repeats.
    pub request: Option<Bytes>,
    /// What becomes of an answer of Responses.
    pub keeping: Keeping,
}

/// What becomes of an answer of Responses, which the answer itself tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Whether it can be fetched again.
    pub store: bool,
    /// The conversation it belongs to.
    pub conversation: Option<String>,
    /// Whether it is made without its caller.
    pub background: bool,
}

/// How an answer of Responses stands that is made without its caller and has not come to its own end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nobody is asked yet.
    Queued,
    /// Somebody answers.
    InProgress,
    /// It broke off, or never began.
    Failed(Refusal),
    /// Its caller does not want it any more.
    Cancelled,
}

/// Writes a stream in the caller's dialect. Whatever the order of the deltas, the grammar is valid.
#[derive(Debug)]
pub struct AnswerWriter {
    dialect: Dialect,
    form: Form,
    lost: Vec<String>,
}

#[derive(Debug)]
enum Form {
    OpenAi(openai_write::Writer),
    Anthropic(anthropic_write::Writer),
    Responses(Box<responses_write::Writer>),
    Gemini(gemini_write::Writer),
    Ollama(ollama_write::Writer),
    Completions(completions_write::Writer),
}

impl AnswerWriter {
    /// A writer for one stream.
    #[must_use]
    pub fn new(dialect: Dialect, head: Head) -> Self {
        let form = match dialect {
            Dialect::OpenAiChat => Form::OpenAi(openai_write::Writer::new(head)),
            Dialect::AnthropicMessages => Form::Anthropic(anthropic_write::Writer::new(head)),
            Dialect::OpenAiResponses => Form::Responses(Box::new(responses_write::Writer::new(head))),
            Dialect::Gemini => Form::Gemini(gemini_write::Writer::new(head)),
            Dialect::OllamaChat => Form::Ollama(ollama_write::Writer::new(head, false)),
            Dialect::OllamaGenerate => Form::Ollama(ollama_write::Writer::new(head, true)),
            Dialect::OpenAiCompletions => Form::Completions(completions_write::Writer::new(head)),
        };
        Self { dialect, form, lost: Vec::new() }
    }

    /// Writes one delta; some are kept until [`finish`](Self::finish).
    pub fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        note(&mut self.lost, lost(self.dialect, delta));
        match &mut self.form {
            Form::OpenAi(writer) => writer.write(delta, out),
            Form::Anthropic(writer) => writer.write(delta, out),
            Form::Responses(writer) => writer.write(delta, out),
            Form::Gemini(writer) => writer.write(delta, out),
            Form::Ollama(writer) => writer.write(delta, out),
            Form::Completions(writer) => writer.write(delta, out),
        }
    }

    /// Ends the answer: open blocks, the reason, usage, the terminator. An answer that was never finished ends in an
    /// error instead, so that nobody takes it for a whole one.
    ///
    /// What the dialect could not carry is named before the end, in a comment.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        // Google's clients take a comment for data, and lines of JSON have none.
        let has_comments = match self.dialect {
            Dialect::OpenAiChat
            | Dialect::AnthropicMessages
            | Dialect::OpenAiResponses
            | Dialect::OpenAiCompletions => true,
            Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => false,
        };
        if !self.lost.is_empty() && has_comments {
            out.extend_from_slice(format!(": commonwatt lost {}\n\n", self.lost.join("; ")).as_bytes());
        }
        let finished = match &mut self.form {
            Form::OpenAi(writer) => writer.finish(out),
            Form::Anthropic(writer) => writer.finish(out),
            Form::Responses(writer) => writer.finish(out),
            Form::Gemini(writer) => writer.finish(out),
            Form::Ollama(writer) => writer.finish(out),
            Form::Completions(writer) => writer.finish(out),
        };
        if !finished {
            self.refuse(&refusal::unfinished(), out);
        }
    }

    /// Tells the caller of an error in the stream; nothing may follow.
    pub fn refuse(&mut self, refusal: &Refusal, out: &mut Vec<u8>) {
        let number = match &self.form {
            Form::Responses(writer) => writer.next_number(),
            Form::OpenAi(_) | Form::Anthropic(_) | Form::Gemini(_) | Form::Ollama(_) | Form::Completions(_) => 0,
        };
        refusal::write_event(self.dialect, refusal, number, out);
    }

    /// Ends an answer that is made without its caller and was not said to its end.
    pub fn end_as(&mut self, standing: &Standing, out: &mut Vec<u8>) {
        match (&mut self.form, standing) {
            (Form::Responses(writer), _) => writer.end_as(standing, out),
            (_, Standing::Failed(refusal)) => self.refuse(refusal, out),
            (_, Standing::Queued | Standing::InProgress | Standing::Cancelled) => {
                self.refuse(&refusal::unfinished(), out);
            }
        }
    }

    /// The same for a stream that was forwarded and not written here, after its last event.
    pub fn refuse_verbatim(dialect: Dialect, last: &Bytes, refusal: &Refusal, out: &mut Vec<u8>) {
        let number = if dialect == Dialect::OpenAiResponses { responses_read::next_number(last) } else { 0 };
        refusal::write_event(dialect, refusal, number, out);
    }

    /// What ends a stream of that dialect, for one that was forwarded and lacks it; nothing where the last event is the
    /// end.
    #[must_use]
    pub fn terminator(dialect: Dialect) -> &'static [u8] {
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiCompletions => b"data: [DONE]\n\n",
            Dialect::AnthropicMessages => b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            Dialect::OpenAiResponses | Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => b"",
        }
    }
}

/// What of a delta the dialect has no place for, by name.
fn lost(dialect: Dialect, delta: &Delta) -> Option<String> {
    let (at_home, name): (&[Dialect], &str) = match delta {
        Delta::Opaque(kind, _) if dialect == Dialect::Gemini && gemini_write::knows(kind) => return None,
        Delta::Opaque(kind, _) => return Some(format!("content block `{}`", printable(kind))),
        Delta::Unread(why) => return Some(format!("reasoning (removed by the provider: {why})")),
        Delta::ReasoningSignature(signature) if signature.is_empty() => return None,
        Delta::ReasoningSignature(_) => (&[Dialect::AnthropicMessages], "thinking.signature"),
        Delta::RedactedReasoning(_) => (&[Dialect::AnthropicMessages], "redacted_thinking"),
        Delta::EncryptedReasoning { .. } => (&[Dialect::OpenAiResponses], "reasoning.encrypted_content"),
        Delta::ToolCallSignature { .. } => (&[Dialect::Gemini, Dialect::OpenAiChat], "functionCall.thoughtSignature"),
        Delta::Logprobs(_) => {
            (&[Dialect::OpenAiChat, Dialect::OpenAiResponses, Dialect::OllamaChat, Dialect::OllamaGenerate], "logprobs")
        }
        // Completions are bare text.
        Delta::Reasoning(_) if dialect == Dialect::OpenAiCompletions => return Some("reasoning".to_owned()),
        Delta::ToolCallStarted { .. } if dialect == Dialect::OpenAiCompletions => return Some("tool_calls".to_owned()),
        Delta::Started { .. }
        | Delta::Text(_)
        | Delta::Reasoning(_)
        | Delta::Refusal(_)
        | Delta::ToolCallStarted { .. }
        | Delta::ToolCallArguments { .. }
        | Delta::Finished(_)
        | Delta::Usage(_) => return None,
    };
    (!at_home.contains(&dialect)).then(|| name.to_owned())
}

/// What a whole answer holds that the dialect has no place for, by name.
#[must_use]
pub fn lost_in(dialect: Dialect, deltas: &[Delta]) -> Vec<String> {
    let mut names = Vec::new();
    deltas.iter().for_each(|delta| note(&mut names, lost(dialect, delta)));
    names
}

fn note(names: &mut Vec<String>, name: Option<String>) {
    if let Some(name) = name.filter(|name| !names.contains(name)) {
        names.push(name);
    }
}

/// A name that may stand in a header or a comment.
fn printable(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_graphic()).take(40).collect()
}

/// Writes an answer that is not streamed.
#[must_use]
pub fn write_whole(dialect: Dialect, answer: &Answer, head: &Head) -> Vec<u8> {
    match dialect {
        Dialect::OpenAiChat => openai_write::whole(answer, head),
        Dialect::AnthropicMessages => anthropic_write::whole(answer, head),
        Dialect::OpenAiResponses => responses_write::whole(answer, head),
        Dialect::Gemini => gemini_write::whole(answer, head),
        Dialect::OllamaChat => ollama_write::whole(answer, head, false),
        Dialect::OllamaGenerate => ollama_write::whole(answer, head, true),
        Dialect::OpenAiCompletions => completions_write::whole(answer, head),
    }
}

/// A whole answer of Responses as its provider wrote it, with what is true here in it: what it follows, what it belongs
/// to, and whether it is kept.
#[must_use]
pub fn retell_whole(body: &Bytes, head: &Head) -> Bytes {
    responses_retell::whole(body, head)
}

/// The same for an event of a stream.
#[must_use]
pub fn retell_event(raw: &Bytes, head: &Head) -> Bytes {
    responses_retell::event(raw, head)
}

/// The response that an event of Responses holds, as it stands there.
#[must_use]
pub fn response_in(raw: &Bytes) -> Option<Bytes> {
    responses_retell::response_of(raw)
}

/// Writes a response of Responses that is made without its caller, with what there is of it.
#[must_use]
pub fn write_standing(standing: &Standing, answer: &Answer, head: &Head) -> Vec<u8> {
    responses_write::standing(standing, answer, head)
}

/// Writes the only event of a whole response after [`write_queued`].
#[must_use]
pub fn write_completed(response: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    responses_write::completed(response, &mut out);
    out
}

/// Whether a response of Responses was made without its caller.
#[must_use]
pub fn is_background(response: &Bytes) -> bool {
    let mut tape = Tape::default();
    let background = tape.read(response).ok().and_then(|root| root.get("background")?.boolean());
    background.unwrap_or(false)
}

/// Writes the events with which a stream of Responses begins whose answer is made without its caller.
#[must_use]
pub fn write_queued(head: &Head) -> Vec<u8> {
    let mut out = Vec::new();
    responses_write::queued(head, &mut out);
    out
}

/// The id under which an answer of Responses is known, made of a call's.
#[must_use]
pub fn response_id(id: &str) -> String {
    prefixed(responses_write::PREFIX, id)
}

/// `prefix` before `id`, unless it is there.
fn prefixed(prefix: &str, id: &str) -> String {
    if id.starts_with(prefix) { id.to_owned() } else { format!("{prefix}{id}") }
}

#[cfg(test)]
mod tests;
