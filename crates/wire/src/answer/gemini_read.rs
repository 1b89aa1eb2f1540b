//! Reads Gemini answers, streamed and whole: both are `GenerateContentResponse`.
//!
//! ```text
//! {"candidates":[{"content":{"role":"model","parts":[{"text":"Hel"}]},"index":0}],"modelVersion":"…","responseId":"…"}
//! {"candidates":[{"content":{"parts":[{"text":"lo"}]},"finishReason":"STOP"}],"usageMetadata":{…}}
//! ```
//!
//! A stream has no terminator: it is whole when a reason to end has come. Some models give the reason in every chunk,
//! so what follows one is read all the same. `safetyRatings`, which come with every chunk, are not read.

use std::borrow::Cow;

use commonwatt_core::answer::{Delta, Finish};
use commonwatt_core::call::RawJson;
use commonwatt_core::fault::{Fault, FaultKind};

use super::{finish, usage};
use crate::emit::{Array, Object};
use crate::tape::{Kind, View};
use crate::tool_ids::MADE_FOR_GEMINI;

/// What an answer rests on, told beside its parts.
pub(super) const SOURCES: [&str; 4] =
    ["citationMetadata", "groundingMetadata", "urlContextMetadata", "groundingAttributions"];
/// What a part says of itself, beside what it is.
const MARKS: [&str; 5] = ["thought", "thoughtSignature", "videoMetadata", "mediaResolution", "partMetadata"];

#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    id: String,
    /// Tool calls so far.
    calls: u32,
}

pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    match (root.get("candidates"), root.get("promptFeedback")) {
        (None, None) => return Err(Fault::new(FaultKind::Malformed, "the answer has no `candidates`")),
        (Some(candidates), None) if candidates.items().next().is_none() => {
            return Err(Fault::new(FaultKind::Empty, "the answer has no candidates"));
        }
        (Some(_), _) | (None, Some(_)) => {}
    }
    Reader::default().event(root, out).map(|_| ())
}

impl Reader {
    /// Reads a chunk. Never true: only the end of the bytes says that nothing follows.
    pub(super) fn event(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<bool, Fault> {
        if root.kind() != Kind::Object {
            return Err(Fault::new(FaultKind::Malformed, "an event of the stream is not a JSON object"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.id = root.get_string("responseId").unwrap_or_default().into_owned();
            let model = root.get_string("modelVersion").unwrap_or_default().into_owned();
            out.push(Delta::Started { id: self.id.clone(), model });
        }
        let mut ended = Ok(());
        // The canonical answer is the first one; the others are the caller's who asked for them.
        let first = |candidate: &View<'_>| candidate.get_whole("index").unwrap_or(0) == 0;
        for candidate in root.get("candidates").iter().flat_map(View::items).filter(first) {
            for part in candidate.get("content").and_then(|content| content.get("parts")).iter().flat_map(View::items) {
                self.part(&part, out);
            }
            beside(&candidate, out);
            ended = self.finished(&candidate, out);
        }
        let blocked = root.get("promptFeedback").and_then(|feedback| feedback.get_string("blockReason"));
        if blocked.is_some_and(|word| !word.is_empty() && word != "BLOCK_REASON_UNSPECIFIED") {
            out.push(Delta::Finished(Finish::ContentFilter));
        }
        if let Some(used) = root.get("usageMetadata").as_ref().and_then(usage::from_gemini) {
            out.push(Delta::Usage(used));
        }
        ended.map(|()| false)
    }

    fn part(&mut self, part: &View<'_>, out: &mut Vec<Delta>) {
        let mut members = part.members().filter(|(_, value)| !value.is_null());
        let data = members.find(|(key, _)| !MARKS.contains(&&**key));
        let signature = part.get_string("thoughtSignature").filter(|signature| !signature.is_empty());
        match data {
            Some((name, call)) if name == "functionCall" => self.tool_call(&call, signature, out),
            Some((name, value)) if name == "text" => {
                let text = value.string().unwrap_or_default();
                let thought = part.get("thought").and_then(|flag| flag.boolean()) == Some(true);
                if !text.is_empty() {
                    let delta = if thought { Delta::Reasoning } else { Delta::Text };
                    out.push(delta(text.into_owned()));
                }
                if let Some(signature) = signature {
                    out.push(Delta::Opaque("thoughtSignature".to_owned(), seal(&signature, thought)));
                }
            }
            Some((name, _)) => out.push(Delta::Opaque(name.into_owned(), part.raw_json())),
            None => {
                if let Some(signature) = signature {
                    out.push(Delta::Opaque("thoughtSignature".to_owned(), seal(&signature, false)));
                }
            }
        }
    }

    fn tool_call(&mut self, call: &View<'_>, signature: Option<Cow<'_, str>>, out: &mut Vec<Delta>) {
        let index = self.calls;
        self.calls = self.calls.saturating_add(1);
        let given = call.get_string("id").filter(|id| !id.is_empty()).map(Cow::into_owned);
        let id = given.unwrap_or_else(|| made_id(&self.id, index));
        let name = call.get_string("name").unwrap_or_default().into_owned();
        out.push(Delta::ToolCallStarted { index, id, name });
        let fragment = call.get("args").map_or("{}", |args| args.raw()).to_owned();
        out.push(Delta::ToolCallArguments { index, fragment });
        if let Some(signature) = signature {
            out.push(Delta::ToolCallSignature { index, signature: signature.into_owned() });
        }
    }

    fn finished(&self, candidate: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
        let Some(word) = candidate.get_string("finishReason") else { return Ok(()) };
        let fault = |kind, said: &str| Err(Fault::new(kind, format!("{said} ({word})")));
        match &*word {
            "" | "FINISH_REASON_UNSPECIFIED" => Ok(()),
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" => {
                fault(FaultKind::Malformed, "the model wrote a tool call that cannot be run")
            }
            "MALFORMED_RESPONSE" => fault(FaultKind::Malformed, "the model wrote an answer that cannot be read"),
            "MISSING_THOUGHT_SIGNATURE" => {
                fault(FaultKind::BadRequest, "the history lacks the signatures of its tool calls")
            }
            word => {
                out.push(Delta::Finished(finish::from_gemini(word, self.calls > 0)));
                Ok(())
            }
        }
    }
}

/// What a candidate says beside its parts.
fn beside(candidate: &View<'_>, out: &mut Vec<Delta>) {
    for name in SOURCES {
        let told = candidate.get(name).filter(|told| told.members().next().is_some() || told.items().next().is_some());
        out.extend(told.map(|told| Delta::Opaque(name.to_owned(), told.raw_json())));
    }
    if let Some(result) = candidate.get("logprobsResult") {
        out.push(Delta::Logprobs(logprobs(&result)));
    }
}

/// The seal of what was just said, as Gemini itself ends its streams: in a part that says nothing more.
fn seal(signature: &str, thought: bool) -> RawJson {
    let mut out = Vec::with_capacity(signature.len() + 48);
    let mut part = Object::open(&mut out);
    part.string("text", "");
    if thought {
        part.boolean("thought", true);
    }
    part.string("thoughtSignature", signature);
    part.close();
    RawJson(out.into())
}

/// Log probabilities in OpenAI's shape.
fn logprobs(result: &View<'_>) -> RawJson {
    let mut out = Vec::with_capacity(256);
    let mut list = Array::open(&mut out);
    let mut alternatives = result.get("topCandidates").map(|top| top.items()).into_iter().flatten();
    for chosen in result.get("chosenCandidates").iter().flat_map(View::items) {
        let mut entry = list.object();
        token(&chosen, &mut entry);
        let mut top = entry.array("top_logprobs");
        for other in alternatives.next().and_then(|others| others.get("candidates")).iter().flat_map(View::items) {
            let mut inner = top.object();
            token(&other, &mut inner);
            inner.close();
        }
        top.close();
        entry.close();
    }
    list.close();
    RawJson(out.into())
}

fn token(candidate: &View<'_>, entry: &mut Object<'_>) {
    entry.string("token", &candidate.get_string("token").unwrap_or_default());
    entry.number("logprob", candidate.get("logProbability").and_then(|value| value.number()).unwrap_or(0.0));
    entry.null("bytes");
}

fn made_id(answer_id: &str, place: u32) -> String {
    let stem: String = answer_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let stem = stem.get(stem.len().saturating_sub(20)..).unwrap_or_default();
    format!("{MADE_FOR_GEMINI}{stem}_{place}")
}
