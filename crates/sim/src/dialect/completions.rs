//! OpenAI's legacy Completions: a text goes in, what comes after it goes out. No messages, tools or reasoning.
//!
//! ```text
//! data: {"id":"cmpl-…","object":"text_completion",…,"choices":[{"text":"The ","index":0,"logprobs":null,"finish_reason":null}]}
//! ```

use serde_json::{Value, json};

use super::chat_completions::{CREATED, fingerprint, terminator};
use super::{
    Denial, Frame, Mark, Piece, Rendering, chat_completions, count, data_line, field, list, openai_object, set,
};
use crate::answer::{Block, Stop};
use crate::asked::{Asked, Speaker, Turn};
use crate::chance::Chance;
use crate::fault::Part;
use crate::peek::peek;

/// Tokens of an answer that was not told how long it may be.
const FEW_TOKENS: usize = 16;

pub(super) fn decode(body: &[u8]) -> Result<Asked, Denial> {
    let request = openai_object(body)?;
    if count(&request, "n").is_some_and(|n| n > 1) || count(&request, "best_of").is_some_and(|n| n > 1) {
        return Err(Denial::new(400, "'n' above 1 is not simulated: ask once for each choice."));
    }
    let prompt = match (field(&request, "prompt"), list(&request, "prompt")) {
        (Value::String(text), _) => text.clone(),
        (_, [Value::String(text)]) => text.clone(),
        (Value::Null, _) => return Err(Denial::new(400, "Missing required parameter: 'prompt'.").with_param("prompt")),
        _ => {
            return Err(
                Denial::new(400, "only one prompt of text is simulated: ask once for each.").with_param("prompt")
            );
        }
    };
    let stop = field(&request, "stop");
    Ok(Asked {
        model: field(&request, "model").as_str().unwrap_or_default().to_owned(),
        stream: field(&request, "stream").as_bool() == Some(true),
        include_usage: field(field(&request, "stream_options"), "include_usage").as_bool() == Some(true),
        turns: vec![Turn::new(Speaker::User, prompt)],
        max_tokens: Some(count(&request, "max_tokens").unwrap_or(FEW_TOKENS)),
        stop_sequences: stop
            .as_str()
            .into_iter()
            .chain(list(&request, "stop").iter().filter_map(Value::as_str))
            .map(str::to_owned)
            .collect(),
        prompt_tokens: peek(body).map_or(0, |peek| peek.prompt_tokens()),
        lacks: &[Part::ToolCall, Part::Reasoning],
        ..Asked::default()
    })
}

pub(super) fn whole(rendering: Rendering<'_>) -> Value {
    let text: String = rendering.answer.blocks.iter().map(Block::content).collect();
    let mut body = completion(rendering, &text, Some(finish_reason(&rendering.answer.stop)));
    if rendering.with_usage {
        set(&mut body, "usage", chat_completions::usage(rendering.answer.usage));
    }
    body
}

pub(super) fn frames(rendering: Rendering<'_>, pieces: &[Piece<'_>]) -> Vec<Frame> {
    let with_usage = rendering.with_usage && rendering.asked.include_usage;
    let chunk = |mark: Mark, text: &str, reason: Option<&str>| {
        let mut chunk = completion(rendering, text, reason);
        if with_usage {
            set(&mut chunk, "usage", Value::Null);
        }
        Frame { mark, bytes: data_line(&chunk) }
    };
    let mut frames: Vec<_> = pieces.iter().map(|piece| chunk(piece.mark(), piece.text, None)).collect();
    frames.push(chunk(Mark::Finish, "", Some(finish_reason(&rendering.answer.stop))));
    if with_usage {
        let mut last = completion(rendering, "", None);
        set(&mut last, "choices", json!([]));
        set(&mut last, "usage", chat_completions::usage(rendering.answer.usage));
        frames.push(Frame { mark: Mark::Finish, bytes: data_line(&last) });
    }
    frames.push(terminator());
    frames
}

fn completion(rendering: Rendering<'_>, text: &str, reason: Option<&str>) -> Value {
    json!({
        "id": format!("cmpl-{}", Chance::new(rendering.answer.identity).name(29)),
        "object": "text_completion",
        "created": CREATED,
        "model": rendering.asked.model,
        "choices": [{ "text": text, "index": 0, "logprobs": null, "finish_reason": reason }],
        "system_fingerprint": fingerprint(),
    })
}

fn finish_reason(stop: &Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence(_) | Stop::Calls | Stop::Refused => "stop",
        Stop::Length => "length",
        Stop::Filtered => "content_filter",
    }
}
