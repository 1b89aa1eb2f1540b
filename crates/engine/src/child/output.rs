//! From tokens to events: characters, stop strings, reasoning, tool calls.
//!
//! Plain answers are passed on as they come. Where a template knows reasoning or tools, the text so far is parsed again
//! and again, as llama.cpp's own server does, and what is new since the last time is passed on.

use llama_cpp_4::chat::ChatParams;
use serde::Deserialize;
use serde_json::Value;

use super::stops::{Stops, Utf8};
use crate::request::{Event, FinishReason, TokenLogprob};

/// A long text is parsed again when it has grown by this fraction, so that the work stays in proportion to the text.
const REPARSE: usize = 64;

/// One answer in the making.
pub(super) struct Output {
    utf8: Utf8,
    /// Stop strings of the template, in the raw text.
    ends: Stops,
    /// Stop strings of the caller, in the content.
    stops: Stops,
    /// How to take the text apart; `None` when it is nothing but content.
    parser: Option<Box<Parser>>,
    /// Probabilities of tokens whose text is held back.
    waiting: Vec<TokenLogprob>,
}

struct Parser {
    template: ChatParams,
    raw: String,
    /// Length of the raw text at the last parse.
    parsed: usize,
    seen: Message,
    /// Distinguishes the calls of this answer from those of any other.
    nonce: u64,
}

/// What an answer consists of.
#[derive(Debug, Default, Deserialize)]
struct Message {
    #[serde(default, deserialize_with = "text")]
    content: String,
    #[serde(default, deserialize_with = "text")]
    reasoning_content: String,
    #[serde(default)]
    tool_calls: Vec<ToolCall>,
}

#[derive(Debug, Default, Deserialize)]
struct ToolCall {
    #[serde(default, deserialize_with = "text")]
    id: String,
    function: Function,
}

#[derive(Debug, Default, Deserialize)]
struct Function {
    #[serde(default, deserialize_with = "text")]
    name: String,
    #[serde(default, deserialize_with = "text")]
    arguments: String,
}

/// A string, or what stands where a string should be, as JSON.
fn text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Null => String::new(),
        Value::String(text) => text,
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    })
}

impl Output {
    /// `template` is given when the text has to be taken apart; `begun` was said already and is not said again.
    pub(super) fn new(template: &ChatParams, structured: bool, stops: Vec<String>, begun: &str, nonce: u64) -> Self {
        let ends: Vec<String> = serde_json::from_str(&template.additional_stops_json).unwrap_or_default();
        let parser = structured.then(|| {
            let raw = begun.to_owned();
            let mut parser = Parser { template: template.clone(), raw, parsed: 0, seen: Message::default(), nonce };
            if let Some(seen) = parser.parse(true).filter(|_| !begun.is_empty()) {
                parser.seen = seen;
            }
            Box::new(parser)
        });
        Self { utf8: Utf8::default(), ends: Stops::new(ends), stops: Stops::new(stops), parser, waiting: Vec::new() }
    }

    /// Takes the bytes of a token. Some when a stop string ends the answer.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        logprob: Option<TokenLogprob>,
        events: &mut Vec<Event>,
    ) -> Option<FinishReason> {
        self.waiting.extend(logprob);
        let text = self.utf8.push(bytes);
        self.take(&text, events)
    }

    /// The end: what was held back, and why it ended.
    pub(super) fn finish(&mut self, reason: FinishReason, events: &mut Vec<Event>) -> FinishReason {
        let mut reason = reason;
        if !matches!(reason, FinishReason::StopString(_)) {
            let rest = format!("{}{}", self.utf8.finish(), self.ends.finish());
            let hit = self.content_or_parse(&rest, true, events);
            let held = self.stops.finish();
            match hit {
                Some(hit) => reason = hit,
                None => self.say(held, events),
            }
        }
        let calls = self.parser.as_ref().is_some_and(|parser| !parser.seen.tool_calls.is_empty());
        if calls && reason == FinishReason::Stop { FinishReason::ToolCalls } else { reason }
    }

    fn take(&mut self, text: &str, events: &mut Vec<Event>) -> Option<FinishReason> {
        let passed = self.ends.push(text);
        let hit = self.content_or_parse(&passed.text, passed.hit.is_some(), events);
        hit.or(passed.hit.map(|_| FinishReason::Stop))
    }

    fn content_or_parse(&mut self, text: &str, last: bool, events: &mut Vec<Event>) -> Option<FinishReason> {
        let Some(parser) = &mut self.parser else { return self.content(text, events) };
        parser.raw.push_str(text);
        let news = parser.news(last)?;
        if !news.reasoning.is_empty() {
            self.waiting.clear();
            events.push(Event::Reasoning(news.reasoning));
        }
        let hit = self.content(&news.content, events);
        if hit.is_none() && !news.calls.is_empty() {
            // Text before a call is complete; nothing of it may come after the call.
            let held = self.stops.finish();
            self.say(held, events);
            self.waiting.clear();
            events.extend(news.calls);
        }
        hit
    }

    fn content(&mut self, text: &str, events: &mut Vec<Event>) -> Option<FinishReason> {
        let passed = self.stops.push(text);
        self.say(passed.text, events);
        passed.hit.map(FinishReason::StopString)
    }

    fn say(&mut self, text: String, events: &mut Vec<Event>) {
        if !text.is_empty() {
            events.push(Event::Text { text, logprobs: std::mem::take(&mut self.waiting) });
        }
    }
}

/// What a parse brought that the one before had not.
#[derive(Default)]
struct News {
    content: String,
    reasoning: String,
    calls: Vec<Event>,
}

impl Parser {
    fn parse(&self, partial: bool) -> Option<Message> {
        serde_json::from_str(&self.template.parse(&self.raw, partial).ok()?).ok()
    }

    /// Parses again when that is due. None when nothing is new, or nothing can be said yet.
    fn news(&mut self, last: bool) -> Option<News> {
        let grown = self.raw.len() - self.parsed.min(self.raw.len());
        if !last && grown <= self.raw.len() / REPARSE {
            return None;
        }
        self.parsed = self.raw.len();
        let complete = if last { self.parse(false) } else { None };
        let Some(now) = complete.or_else(|| self.parse(true)) else {
            return last.then(|| self.unparsed());
        };
        let mut news = News {
            content: added(&self.seen.content, &now.content),
            reasoning: added(&self.seen.reasoning_content, &now.reasoning_content),
            calls: Vec::new(),
        };
        self.seen.content.push_str(&news.content);
        self.seen.reasoning_content.push_str(&news.reasoning);
        for (index, call) in now.tool_calls.into_iter().enumerate() {
            self.call(index, call, &mut news.calls);
        }
        Some(news)
    }

    /// An answer that the template cannot read is shown as it is: the caller sees what the model said.
    fn unparsed(&self) -> News {
        let shown = self.seen.content.len() + self.seen.reasoning_content.len() + self.seen.tool_calls.len();
        let content = if shown == 0 { self.raw.clone() } else { String::new() };
        News { content, ..News::default() }
    }

    fn call(&mut self, index: usize, call: ToolCall, events: &mut Vec<Event>) {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        if index >= self.seen.tool_calls.len() {
            if call.function.name.is_empty() {
                return;
            }
            let id = if call.id.is_empty() { format!("call_{:016x}{number:04x}", self.nonce) } else { call.id };
            let name = call.function.name.clone();
            events.push(Event::ToolCallStart { index: number, id, name });
            self.seen.tool_calls.push(ToolCall::default());
        }
        let Some(seen) = self.seen.tool_calls.get_mut(index) else { return };
        let fragment = added(&seen.function.arguments, &call.function.arguments);
        if !fragment.is_empty() {
            seen.function.arguments.push_str(&fragment);
            events.push(Event::ToolCallArguments { index: number, fragment });
        }
    }
}

/// What `now` has beyond `before`. Nothing, when the parser has changed its mind about the beginning: what was said is
/// said, and the rest comes when it is sure.
fn added(before: &str, now: &str) -> String {
    now.strip_prefix(before).unwrap_or_default().to_owned()
}
