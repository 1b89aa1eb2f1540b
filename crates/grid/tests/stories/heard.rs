//! What a strict caller hears: the text of an answer, and whether it had an honest end.

use commonwatt_grid::relay::Served;
use commonwatt_wire::Dialect;
use serde_json::Value;

use crate::world::speech;

/// An answer, heard to its end.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) served: Served,
    pub(crate) text: String,
    pub(crate) end: End,
    pub(crate) raw: Vec<u8>,
    pub(crate) took_ms: u64,
}

/// How an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With its reason and its terminator, or as a whole body.
    Complete,
    /// With an error in the dialect's words, and nothing after it.
    Error(String),
    /// In silence: the caller cannot tell whether that was all.
    Silence,
    /// In something that is not its dialect.
    Nonsense(String),
}

impl Told {
    /// The supplier that answered, without the model.
    pub(crate) fn by(&self) -> &str {
        self.served.deployment.as_ref().unwrap().as_str().split('/').next().unwrap()
    }

    /// Checks that `name` gave its whole answer, at this attempt.
    #[track_caller]
    pub(crate) fn is_complete(&self, name: &str, attempts: u32) {
        assert_eq!((self.by(), self.served.attempts), (name, attempts), "{:?}", self.served.failed);
        assert_eq!((self.text.as_str(), &self.end), (speech(name).as_str(), &End::Complete));
    }
}

/// Reads an answer as a strict client does.
pub(crate) fn read(dialect: Dialect, streamed: bool, raw: &[u8]) -> (String, End) {
    let raw = String::from_utf8_lossy(raw);
    let mut text = String::new();
    let end = match (streamed, dialect) {
        (false, _) => whole(dialect, &raw, &mut text),
        (true, Dialect::OpenAiChat | Dialect::OpenAiCompletions) => openai(&events(&raw), &mut text),
        (true, Dialect::AnthropicMessages) => anthropic(&events(&raw), &mut text),
        (true, Dialect::OpenAiResponses) => responses(&events(&raw), &mut text),
        (true, Dialect::Gemini) => gemini(&events(&raw), &mut text),
        (true, Dialect::OllamaChat | Dialect::OllamaGenerate) => ollama(&raw, &mut text),
    };
    (text, end.unwrap_or_else(End::Nonsense))
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("{error}: {text}"))
}

fn whole(dialect: Dialect, raw: &str, text: &mut String) -> Result<End, String> {
    let body = json(raw)?;
    let reason = match dialect {
        Dialect::OpenAiChat => {
            text.push_str(body["choices"][0]["message"]["content"].as_str().unwrap_or_default());
            &body["choices"][0]["finish_reason"]
        }
        Dialect::AnthropicMessages => {
            text.extend(body["content"].as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()));
            &body["stop_reason"]
        }
        Dialect::OpenAiCompletions => {
            text.push_str(body["choices"][0]["text"].as_str().unwrap_or_default());
            &body["choices"][0]["finish_reason"]
        }
        Dialect::OpenAiResponses => {
            let parts = body["output"].as_array().into_iter().flatten().flat_map(|item| item["content"].as_array());
            text.extend(parts.flatten().filter_map(|part| part["text"].as_str()));
            &body["status"]
        }
        Dialect::Gemini => {
            text.push_str(&gemini_text(&body));
            &body["candidates"][0]["finishReason"]
        }
        Dialect::OllamaChat | Dialect::OllamaGenerate => {
            text.push_str(ollama_text(&body));
            &body["done_reason"]
        }
    };
    if reason.is_string() { Ok(End::Complete) } else { Err(format!("no reason to end: {raw}")) }
}

/// The events of a stream, `(name, data)`. As the standard has it, lines of unknown fields are passed over, and so is
/// an event without its blank line.
fn events(raw: &str) -> Vec<(String, String)> {
    let mut events = Vec::new();
    let (mut name, mut data) = (String::new(), String::new());
    for line in raw.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        let line = line.trim_end_matches('\r');
        match line.split_once(": ") {
            Some(("event", word)) => word.clone_into(&mut name),
            Some(("data", text)) => data.push_str(text),
            None if line.is_empty() => {
                let event = (std::mem::take(&mut name), std::mem::take(&mut data));
                events.extend((!event.1.is_empty()).then_some(event));
            }
            Some(_) | None => {}
        }
    }
    events
}

fn openai(events: &[(String, String)], text: &mut String) -> Result<End, String> {
    let (mut finished, mut end) = (false, End::Silence);
    for (_, data) in events {
        if end != End::Silence {
            return Err(format!("something comes after the end: {data}"));
        }
        if data == "[DONE]" {
            end = if finished { End::Complete } else { return Err("a terminator without a reason".to_owned()) };
            continue;
        }
        let chunk = json(data)?;
        if let Some(message) = chunk["error"]["message"].as_str() {
            end = End::Error(message.to_owned());
            continue;
        }
        let choice = &chunk["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default());
        finished |= choice["finish_reason"].is_string();
    }
    Ok(end)
}

fn anthropic(events: &[(String, String)], text: &mut String) -> Result<End, String> {
    let (mut finished, mut end) = (false, End::Silence);
    for (at, (name, data)) in events.iter().enumerate() {
        if end != End::Silence {
            return Err(format!("something comes after the end: {data}"));
        }
        let event = json(data)?;
        if event["type"] != name.as_str() || (at == 0) != (name == "message_start") {
            return Err(format!("the event `{name}` is not named after its type, or not in its place: {data}"));
        }
        match name.as_str() {
            "error" => end = End::Error(event["error"]["message"].as_str().unwrap_or_default().to_owned()),
            "message_delta" => finished |= event["delta"]["stop_reason"].is_string(),
            "message_stop" if !finished => return Err("a terminator without a reason".to_owned()),
            "message_stop" => end = End::Complete,
            _ => text.push_str(event["delta"]["text"].as_str().unwrap_or_default()),
        }
    }
    Ok(end)
}

/// As the official SDK does: numbers rise by one, deltas belong to an item and a part that were added and not yet done,
/// and the response at the end holds what the deltas said.
fn responses(events: &[(String, String)], text: &mut String) -> Result<End, String> {
    let mut end = End::Silence;
    for (at, (name, data)) in events.iter().enumerate() {
        if end != End::Silence {
            return Err(format!("something comes after the end: {data}"));
        }
        let event = json(data)?;
        let in_place = name == "error" || ((at == 0) == (name == "response.created") && event["sequence_number"] == at);
        if event["type"] != name.as_str() || !in_place {
            return Err(format!("the event `{name}` is not named after its type, or not in its place: {data}"));
        }
        match name.as_str() {
            "error" => end = End::Error(event["message"].as_str().unwrap_or_default().to_owned()),
            "response.output_text.delta" => text.push_str(event["delta"].as_str().unwrap_or_default()),
            "response.completed" | "response.incomplete" => {
                let mut told = String::new();
                whole(Dialect::OpenAiResponses, &event["response"].to_string(), &mut told)?;
                if told != *text {
                    return Err(format!("the deltas said `{text}` and the response says `{told}`"));
                }
                end = End::Complete;
            }
            _ => {}
        }
    }
    Ok(end)
}

fn gemini_text(body: &Value) -> String {
    let parts = body["candidates"][0]["content"]["parts"].as_array().into_iter().flatten();
    parts.filter(|part| part["thought"] != true).filter_map(|part| part["text"].as_str()).collect()
}

fn gemini(events: &[(String, String)], text: &mut String) -> Result<End, String> {
    let mut end = End::Silence;
    for (_, data) in events {
        if end != End::Silence {
            return Err(format!("something comes after the end: {data}"));
        }
        let chunk = json(data)?;
        if let Some(message) = chunk["error"]["message"].as_str() {
            end = End::Error(message.to_owned());
            continue;
        }
        text.push_str(&gemini_text(&chunk));
        if chunk["candidates"][0]["finishReason"].is_string() {
            end = End::Complete;
        }
    }
    Ok(end)
}

fn ollama_text(body: &Value) -> &str {
    body["message"]["content"].as_str().or(body["response"].as_str()).unwrap_or_default()
}

fn ollama(raw: &str, text: &mut String) -> Result<End, String> {
    let mut end = End::Silence;
    for line in raw.lines().filter(|line| !line.is_empty()) {
        if end != End::Silence {
            return Err(format!("something comes after the end: {line}"));
        }
        let chunk = json(line)?;
        if let Some(message) = chunk["error"].as_str() {
            end = End::Error(message.to_owned());
            continue;
        }
        text.push_str(ollama_text(&chunk));
        if chunk["done"] == true {
            end = End::Complete;
        }
    }
    Ok(end)
}
