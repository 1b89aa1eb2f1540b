//! What the simulated model says: blocks, a reason to stop, and what it cost. No dialect, no time.

mod prose;
mod resume;
mod schema;
mod seal;

use crate::asked::{Asked, Speaker, ToolChoice, Turn, conversation_digest};
use crate::chance::digest;
use crate::fault::Part;
use crate::settings::{AnswerSettings, CallSettings};
pub(crate) use seal::{is_genuine, seal, signature};

/// Characters in a simulated token.
const TOKEN_CHARACTERS: usize = 4;

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    /// What identifiers are made of.
    pub(crate) identity: u64,
    /// What only this simulator can have made, for this model: encrypted reasoning, the signature of a thought.
    pub(crate) seal: String,
    pub(crate) blocks: Vec<Block>,
    pub(crate) stop: Stop,
    pub(crate) usage: Usage,
}

/// One block of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block {
    Reasoning { text: String, signature: String },
    Text(String),
    Call { identity: u64, name: String, arguments: String },
    Refusal(String),
}

/// Why an answer ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    End,
    Length,
    Sequence(String),
    Calls,
    Filtered,
    Refused,
}

/// Tokens of prompt and answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    /// Tokens of the prompt that came from a cache.
    pub(crate) cached: usize,
    /// Tokens of the answer, reasoning included.
    pub(crate) completion: usize,
    pub(crate) reasoning: usize,
}

/// What faults want of an answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish {
    /// The answer must have this part, because a fault cuts in it.
    pub(crate) part: Option<Part>,
    /// The model declines, in these words.
    pub(crate) refusal: Option<String>,
}

impl Block {
    /// What of the block is streamed in pieces.
    pub(crate) fn content(&self) -> &str {
        match self {
            Self::Reasoning { text, .. } | Self::Text(text) | Self::Refusal(text) => text,
            Self::Call { arguments, .. } => arguments,
        }
    }

    pub(crate) fn content_mut(&mut self) -> &mut String {
        match self {
            Self::Reasoning { text, .. } | Self::Text(text) | Self::Refusal(text) => text,
            Self::Call { arguments, .. } => arguments,
        }
    }

    pub(crate) fn part(&self) -> Part {
        match self {
            Self::Reasoning { .. } => Part::Reasoning,
            Self::Text(_) | Self::Refusal(_) => Part::Text,
            Self::Call { .. } => Part::ToolCall,
        }
    }
}

impl Answer {
    /// Counts the tokens of the blocks.
    pub(crate) fn count(&mut self) {
        let characters = |blocks: &mut dyn Iterator<Item = &Block>| -> usize {
            blocks.map(|block| block.content().chars().count().div_ceil(TOKEN_CHARACTERS)).sum()
        };
        self.usage.completion = characters(&mut self.blocks.iter());
        self.usage.reasoning = characters(&mut self.blocks.iter().filter(|b| b.part() == Part::Reasoning));
    }
}

/// The answer to `asked`; none if the wished part cannot be had: the request offers no tool to call, or its dialect has
/// no words for it.
pub(crate) fn compose(asked: &Asked, settings: &AnswerSettings, seed: u64, wish: &Wish) -> Option<Answer> {
    let identity = conversation_digest(seed, &asked.model, &asked.turns);
    if wish.part.is_some_and(|part| asked.lacks.contains(&part)) {
        return None;
    }
    let mut blocks = Vec::new();
    blocks.extend(reasoning(asked, settings, seed, wish));
    let calls = calls(asked, settings, identity, wish);
    if wish.part == Some(Part::ToolCall) && calls.is_empty() {
        return None;
    }
    let stop = if let Some(refusal) = &wish.refusal {
        blocks.push(Block::Refusal(refusal.clone()));
        Stop::Refused
    } else {
        let wants_text = calls.is_empty() || settings.text.is_some();
        blocks.extend(
            wants_text.then(|| Block::Text(text(asked, settings, seed, wish))).filter(|b| !b.content().is_empty()),
        );
        blocks.extend(calls);
        if blocks.iter().any(|b| b.part() == Part::ToolCall) { Stop::Calls } else { Stop::End }
    };
    let prompt = asked.prompt_tokens;
    let usage = Usage { prompt, cached: settings.cached_tokens.min(prompt), ..Usage::default() };
    let seal = seal(seed, &asked.model, identity);
    let mut answer = Answer { identity, seal, blocks, stop, usage };
    stop_at_sequence(&mut answer, &asked.stop_sequences);
    stop_at_length(&mut answer, asked.max_tokens);
    answer.count();
    Some(answer)
}

fn reasoning(asked: &Asked, settings: &AnswerSettings, seed: u64, wish: &Wish) -> Option<Block> {
    if asked.lacks.contains(&Part::Reasoning) {
        return None;
    }
    let by_default = if asked.reasoning { 160 } else { 0 };
    let wished = if wish.part == Some(Part::Reasoning) { 160 } else { 0 };
    let characters = settings.reasoning_characters.unwrap_or(by_default).max(wished);
    let text = match &settings.reasoning {
        Some(text) => text.clone(),
        None if characters > 0 => prose::thoughts(conversation_digest(!seed, &asked.model, &asked.turns), characters),
        None => return None,
    };
    let signature = signature(seed, &asked.model, &text);
    Some(Block::Reasoning { text, signature })
}

fn text(asked: &Asked, settings: &AnswerSettings, seed: u64, wish: &Wish) -> String {
    let whole = |turns: &[Turn]| {
        if let Some(text) = &settings.text {
            return text.clone();
        }
        let identity = conversation_digest(seed, &asked.model, turns);
        let any_json = (wish.part == Some(Part::Json)).then(|| serde_json::json!({}));
        match asked.schema.as_ref().or(any_json.as_ref()) {
            Some(schema) => schema::sample(schema, identity).to_string(),
            None => prose::text(identity, settings.style, settings.characters),
        }
    };
    resume::continued(&asked.turns, settings, whole)
}

fn calls(asked: &Asked, settings: &AnswerSettings, identity: u64, wish: &Wish) -> Vec<Block> {
    if asked.lacks.contains(&Part::ToolCall) {
        return Vec::new();
    }
    let block = |index: usize, call: &CallSettings| {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        let arguments = call.arguments.as_str().map_or_else(|| call.arguments.to_string(), str::to_owned);
        Block::Call {
            identity: digest([&identity.to_le_bytes()[..], &index.to_le_bytes()]),
            name: call.name.clone(),
            arguments,
        }
    };
    if !settings.calls.is_empty() {
        return settings.calls.iter().enumerate().map(|(index, call)| block(index, call)).collect();
    }
    let after_result = asked.turns.last().is_some_and(|turn| turn.speaker == Speaker::Tool || !turn.results.is_empty());
    let mut count = match asked.tool_choice {
        ToolChoice::Never => 0,
        ToolChoice::Auto if after_result => 0,
        ToolChoice::Auto => settings.tool_calls,
        ToolChoice::Any | ToolChoice::Named(_) => settings.tool_calls.max(1),
    };
    if wish.part == Some(Part::ToolCall) {
        count = count.max(1);
    }
    if !asked.parallel {
        count = count.min(1);
    }
    let offered = asked.tools.iter().filter(|tool| match &asked.tool_choice {
        ToolChoice::Named(name) => tool.name == *name,
        ToolChoice::Auto | ToolChoice::Never | ToolChoice::Any => true,
    });
    let offered: Vec<_> = offered.collect();
    let chosen = offered.iter().cycle().take(if offered.is_empty() { 0 } else { count });
    chosen
        .enumerate()
        .map(|(index, tool)| {
            let key = digest([&identity.to_le_bytes()[..], tool.name.as_bytes(), &index.to_le_bytes()]);
            block(index, &CallSettings { name: tool.name.clone(), arguments: schema::sample(&tool.schema, key) })
        })
        .collect()
}

/// Ends the answer before the first stop sequence in its text.
fn stop_at_sequence(answer: &mut Answer, sequences: &[String]) {
    for index in 0..answer.blocks.len() {
        let Some(Block::Text(text)) = answer.blocks.get_mut(index) else { continue };
        let found = sequences.iter().filter(|s| !s.is_empty()).filter_map(|s| text.find(s.as_str()).map(|at| (at, s)));
        if let Some((at, sequence)) = found.min_by_key(|(at, _)| *at) {
            text.truncate(at);
            answer.blocks.truncate(index + 1);
            answer.stop = Stop::Sequence(sequence.clone());
            return;
        }
    }
}

/// Ends the answer when its tokens are used up.
fn stop_at_length(answer: &mut Answer, max_tokens: Option<usize>) {
    let Some(mut left) = max_tokens.map(|tokens| tokens.saturating_mul(TOKEN_CHARACTERS)) else { return };
    for index in 0..answer.blocks.len() {
        let Some(block) = answer.blocks.get_mut(index) else { continue };
        let content = block.content_mut();
        if let Some((end, _)) = content.char_indices().nth(left) {
            content.truncate(end);
            answer.blocks.truncate(index + 1);
            answer.stop = Stop::Length;
            return;
        }
        // A block begins a token of its own.
        left = left.saturating_sub(content.chars().count().next_multiple_of(TOKEN_CHARACTERS));
    }
}

#[cfg(test)]
mod tests;
