//! Reads a request of OpenAI Completions: a prompt instead of a conversation.

use commonwatt_core::call::{Call, Item, Part, Role};
use commonwatt_core::text::Text;

use super::{BadInput, count, flag, list, number, text};
use crate::Dialect;
use crate::tape::{Kind, View};

/// The bound on generated tokens where the client gives none: this API's own, and a small one.
const MAX_TOKENS: u32 = 16;

pub(super) fn decode(root: View<'_>) -> Result<Call, BadInput> {
    let dialect = Dialect::OpenAiCompletions.word();
    let mut call = Call { dialect, max_output_tokens: Some(MAX_TOKENS), ..Call::default() };
    for (key, value) in root.members() {
        match &*key {
            _ if value.is_null() => {}
            "prompt" => {
                let content = vec![Part::Text(prompt(&value)?)];
                call.items.push(Item::Message { role: Role::User, content });
            }
            "model" => call.model = text(&value, &key)?,
            "max_tokens" => call.max_output_tokens = Some(count(&value, &key)?),
            "stop" if value.kind() == Kind::String => call.stop = vec![text(&value, &key)?],
            "stop" => {
                let stop: Result<Vec<String>, BadInput> = list(&value, &key)?.map(|item| text(&item, &key)).collect();
                call.stop = stop?;
            }
            "stream" => call.stream = flag(&value, &key)?,
            "stream_options" => stream_options(&mut call, &value),
            "user" => call.user = Some(text(&value, &key)?),
            // These ask for nothing.
            "echo" if value.boolean() == Some(false) => {}
            "best_of" if value.whole() == Some(1) => {}
            "suffix" if value.raw() == r#""""# => {}
            _ => {
                if !sampling(&mut call, &key, &value)? {
                    call.extra.push((key.into_owned(), value.raw_json()));
                }
            }
        }
    }
    if call.items.is_empty() {
        return Err(BadInput::new("the field `prompt` is missing: send the text in it"));
    }
    Ok(call)
}

/// One text. Several prompts in one request would be several conversations, and tokens mean something to one model only.
fn prompt(value: &View<'_>) -> Result<Text, BadInput> {
    let mut prompts = value.items();
    let first = if value.kind() == Kind::Array { prompts.next() } else { Some(*value) };
    let Some(first) = first else {
        return Err(BadInput::field("prompt", "a string, or an array of one string"));
    };
    if matches!(first.kind(), Kind::Number | Kind::Array) && value.kind() == Kind::Array {
        return Err(BadInput::new(
            "the field `prompt` holds tokens, which mean something to one model only: send text",
        ));
    }
    let text = first.text().ok_or_else(|| BadInput::field("prompt", "a string, or an array of one string"))?;
    if prompts.next().is_some() {
        return Err(BadInput::new("the field `prompt` holds several prompts: send each in a request of its own"));
    }
    Ok(text)
}

fn stream_options(call: &mut Call, value: &View<'_>) {
    for (key, option) in value.members() {
        if key == "include_usage" {
            call.stream_usage = option.boolean() == Some(true);
        } else {
            call.extra.push((format!("stream_options.{key}"), option.raw_json()));
        }
    }
}

/// Reads a field that says how tokens are drawn; false when it is none.
fn sampling(call: &mut Call, key: &str, value: &View<'_>) -> Result<bool, BadInput> {
    let sampling = &mut call.sampling;
    match key {
        "temperature" => sampling.temperature = Some(number(value, key)?),
        "top_p" => sampling.top_p = Some(number(value, key)?),
        "presence_penalty" => sampling.presence_penalty = Some(number(value, key)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(number(value, key)?),
        "seed" => {
            let seed = value.raw().parse().map_err(|_| BadInput::field(key, "a whole number"))?;
            sampling.seed = Some(seed);
        }
        // A number of alternatives here, not a yes or no.
        "logprobs" => {
            let wanted = count(value, key)?;
            sampling.logprobs = Some(u8::try_from(wanted).map_err(|_| BadInput::field(key, "at most 5"))?);
        }
        "logit_bias" => sampling.logit_bias = Some(value.raw_json()),
        "n" => sampling.choices = Some(count(value, key)?),
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
