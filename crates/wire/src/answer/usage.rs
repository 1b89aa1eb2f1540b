//! Tokens, between each dialect's counts and buckets that do not overlap.
//!
//! OpenAI's `prompt_tokens` includes what was read from the cache; Anthropic's `input_tokens` excludes it. Adding the
//! wrong two together is how gateways come to bill eleven times too much.

use commonwatt_core::answer::Usage;

use crate::emit::Object;
use crate::tape::View;

/// Reads OpenAI's `usage`, in the variants of its imitators.
pub(super) fn from_openai(usage: &View<'_>) -> Option<Usage> {
    let (prompt, output) = (usage.get_whole("prompt_tokens"), usage.get_whole("completion_tokens"));
    if prompt.is_none() && output.is_none() {
        return None;
    }
    let (prompt, mut output) = (prompt.unwrap_or(0), output.unwrap_or(0));
    let of_prompt = usage.get("prompt_tokens_details");
    let of_output = usage.get("completion_tokens_details");
    let cached = of_prompt.and_then(|details| details.get_whole("cached_tokens"));
    // DeepSeek's own name for it.
    let cache_read = cached.or_else(|| usage.get_whole("prompt_cache_hit_tokens")).unwrap_or(0).min(prompt);
    let written = of_prompt.and_then(|details| details.get_whole("cache_write_tokens")).unwrap_or(0);
    let cache_write = written.min(prompt - cache_read);
    let mut reasoning = of_output.and_then(|details| details.get_whole("reasoning_tokens")).unwrap_or(0);
    // Gemini and xAI count thinking in the total and not in the completion.
    let beyond = usage.get_whole("total_tokens").unwrap_or(0).saturating_sub(prompt.saturating_add(output));
    if beyond > 0 {
        output = output.saturating_add(beyond);
        reasoning = reasoning.max(beyond);
    }
    Some(Usage { input: prompt - cache_read - cache_write, cache_read, cache_write, output, reasoning })
}

/// Writes OpenAI's `usage`.
pub(super) fn to_openai(usage: &Usage, body: &mut Object<'_>) {
    let mut object = body.object("usage");
    object.whole("prompt_tokens", usage.prompt());
    object.whole("completion_tokens", usage.output);
    object.whole("total_tokens", usage.total());
    let mut details = object.object("prompt_tokens_details");
    details.whole("cached_tokens", usage.cache_read);
    details.whole("cache_write_tokens", usage.cache_write);
    details.close();
    let mut details = object.object("completion_tokens_details");
    details.whole("reasoning_tokens", usage.reasoning);
    details.close();
    object.close();
}

/// Reads Anthropic's `usage` over what an earlier event said: counts are totals, and one that is not given stands.
pub(super) fn from_anthropic(usage: &View<'_>, so_far: Usage) -> Usage {
    let details = usage.get("output_tokens_details");
    let thought = details.and_then(|details| details.get_whole("thinking_tokens"));
    Usage {
        input: usage.get_whole("input_tokens").unwrap_or(so_far.input),
        cache_read: usage.get_whole("cache_read_input_tokens").unwrap_or(so_far.cache_read),
        cache_write: usage.get_whole("cache_creation_input_tokens").unwrap_or(so_far.cache_write),
        output: usage.get_whole("output_tokens").unwrap_or(so_far.output),
        reasoning: thought.unwrap_or(so_far.reasoning),
    }
}

/// Writes Anthropic's `usage`.
pub(super) fn to_anthropic(usage: &Usage, body: &mut Object<'_>) {
    let mut object = body.object("usage");
    object.whole("input_tokens", usage.input);
    object.whole("cache_creation_input_tokens", usage.cache_write);
    object.whole("cache_read_input_tokens", usage.cache_read);
    object.whole("output_tokens", usage.output);
    if usage.reasoning > 0 {
        let mut details = object.object("output_tokens_details");
        details.whole("thinking_tokens", usage.reasoning);
        details.close();
    }
    object.close();
}

/// Reads the `usage` of OpenAI Responses.
pub(super) fn from_responses(usage: &View<'_>) -> Option<Usage> {
    let (prompt, output) = (usage.get_whole("input_tokens"), usage.get_whole("output_tokens"));
    if prompt.is_none() && output.is_none() {
        return None;
    }
    let (prompt, output) = (prompt.unwrap_or(0), output.unwrap_or(0));
    let detail = |of: &str, name: &str| usage.get(of).and_then(|details| details.get_whole(name)).unwrap_or(0);
    let cache_read = detail("input_tokens_details", "cached_tokens").min(prompt);
    let cache_write = detail("input_tokens_details", "cache_write_tokens").min(prompt - cache_read);
    let reasoning = detail("output_tokens_details", "reasoning_tokens");
    Some(Usage { input: prompt - cache_read - cache_write, cache_read, cache_write, output, reasoning })
}

/// Writes the `usage` of OpenAI Responses.
pub(super) fn to_responses(usage: &Usage, body: &mut Object<'_>) {
    let mut object = body.object("usage");
    object.whole("input_tokens", usage.prompt());
    let mut details = object.object("input_tokens_details");
    details.whole("cached_tokens", usage.cache_read);
    details.whole("cache_write_tokens", usage.cache_write);
    details.close();
    object.whole("output_tokens", usage.output);
    let mut details = object.object("output_tokens_details");
    details.whole("reasoning_tokens", usage.reasoning);
    details.close();
    object.whole("total_tokens", usage.total());
    object.close();
}

/// Reads Gemini's `usageMetadata`: the prompt's count includes the cached ones, the candidates' excludes the thinking.
pub(super) fn from_gemini(usage: &View<'_>) -> Option<Usage> {
    let count = |name: &str| usage.get_whole(name);
    let (prompt, output) = (count("promptTokenCount"), count("candidatesTokenCount"));
    if prompt.is_none() && output.is_none() {
        return None;
    }
    // What the provider's own tools brought in is read by the model like the prompt, and counted apart.
    let prompt = prompt.unwrap_or(0).saturating_add(count("toolUsePromptTokenCount").unwrap_or(0));
    let reasoning = count("thoughtsTokenCount").unwrap_or(0);
    let cache_read = count("cachedContentTokenCount").unwrap_or(0).min(prompt);
    let output = output.unwrap_or(0).saturating_add(reasoning);
    Some(Usage { input: prompt - cache_read, cache_read, cache_write: 0, output, reasoning })
}

/// Writes Gemini's `usageMetadata`.
pub(super) fn to_gemini(usage: &Usage, body: &mut Object<'_>) {
    let mut object = body.object("usageMetadata");
    object.whole("promptTokenCount", usage.prompt());
    if usage.cache_read > 0 {
        object.whole("cachedContentTokenCount", usage.cache_read);
    }
    object.whole("candidatesTokenCount", usage.output.saturating_sub(usage.reasoning));
    if usage.reasoning > 0 {
        object.whole("thoughtsTokenCount", usage.reasoning);
    }
    object.whole("totalTokenCount", usage.total());
    object.close();
}

/// Reads Ollama's counts, which stand at the top level. What it had in its cache is counted with the rest.
pub(super) fn from_ollama(root: &View<'_>) -> Option<Usage> {
    let (prompt, output) = (root.get_whole("prompt_eval_count"), root.get_whole("eval_count"));
    if prompt.is_none() && output.is_none() {
        return None;
    }
    Some(Usage { input: prompt.unwrap_or(0), output: output.unwrap_or(0), ..Usage::default() })
}

/// Writes Ollama's counts, and durations, which its clients expect and nobody knows.
pub(super) fn to_ollama(usage: &Usage, body: &mut Object<'_>) {
    body.whole("total_duration", 0);
    body.whole("load_duration", 0);
    body.whole("prompt_eval_count", usage.prompt());
    body.whole("prompt_eval_duration", 0);
    body.whole("eval_count", usage.output);
    body.whole("eval_duration", 0);
}
