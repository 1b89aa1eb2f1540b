//! Why an answer ended, in each dialect's words.

use commonwatt_core::answer::Finish;

pub(super) fn from_openai(word: &str) -> Finish {
    match word {
        "stop" => Finish::Stop,
        "length" | "max_tokens" | "model_length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::ToolCalls,
        "content_filter" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn to_openai(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) | Finish::Paused => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter | Finish::Refusal => "content_filter",
        Finish::Other(word) if word == WINDOW => "length",
        Finish::Other(_) => "stop",
    }
}

pub(super) fn from_anthropic(word: &str, stop_string: Option<String>) -> Finish {
    match word {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopString(stop_string),
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::ToolCalls,
        "refusal" => Finish::Refusal,
        "pause_turn" => Finish::Paused,
        other => Finish::Other(other.to_owned()),
    }
}

/// Anthropic's word for a window that is full.
const WINDOW: &str = "model_context_window_exceeded";

pub(super) fn to_anthropic(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopString(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::ToolCalls => "tool_use",
        Finish::ContentFilter | Finish::Refusal => "refusal",
        Finish::Paused => "pause_turn",
        Finish::Other(word) if word == WINDOW => WINDOW,
        Finish::Other(_) => "end_turn",
    }
}
