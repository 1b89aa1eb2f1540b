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

/// Responses' status, and its reason where it is `incomplete`.
pub(super) fn from_responses(status: &str, reason: Option<&str>) -> Finish {
    match (status, reason) {
        ("completed", _) => Finish::Stop,
        ("incomplete", Some("max_output_tokens") | None) => Finish::Length,
        ("incomplete", Some("content_filter")) => Finish::ContentFilter,
        ("incomplete", Some(other)) => Finish::Other(other.to_owned()),
        (other, _) => Finish::Other(other.to_owned()),
    }
}

/// Responses' reason for an answer that is incomplete; none for one that is complete.
pub(super) fn to_responses(finish: &Finish) -> Option<&'static str> {
    match finish {
        Finish::Length => Some("max_output_tokens"),
        Finish::ContentFilter | Finish::Refusal => Some("content_filter"),
        Finish::Other(word) if word == WINDOW => Some("max_output_tokens"),
        Finish::Other(word) => ["max_messages", "steered"].into_iter().find(|reason| reason == word),
        Finish::Stop | Finish::StopString(_) | Finish::ToolCalls | Finish::Paused => None,
    }
}

/// `called`: whether the answer holds tool calls, after which Gemini says `STOP` too.
pub(super) fn from_gemini(word: &str, called: bool) -> Finish {
    match word {
        "STOP" if called => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

pub(super) fn to_gemini(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) | Finish::ToolCalls | Finish::Paused => "STOP",
        Finish::Length => "MAX_TOKENS",
        Finish::ContentFilter | Finish::Refusal => "SAFETY",
        Finish::Other(word) => match word.as_str() {
            WINDOW => "MAX_TOKENS",
            "LANGUAGE" => "LANGUAGE",
            "NO_IMAGE" => "NO_IMAGE",
            "IMAGE_OTHER" => "IMAGE_OTHER",
            "TOO_MANY_TOOL_CALLS" => "TOO_MANY_TOOL_CALLS",
            _ => "OTHER",
        },
    }
}

pub(super) fn from_ollama(word: &str) -> Finish {
    match word {
        "stop" | "" => Finish::Stop,
        "length" => Finish::Length,
        FILTERED => Finish::ContentFilter,
        other => Finish::Other(other.to_owned()),
    }
}

/// Ollama has no word for a filter; its clients take any.
const FILTERED: &str = "content_filter";

pub(super) fn to_ollama(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::StopString(_) | Finish::ToolCalls | Finish::Paused => "stop",
        Finish::Length => "length",
        Finish::ContentFilter | Finish::Refusal => FILTERED,
        Finish::Other(word) => match word.as_str() {
            "load" => "load",
            "unload" => "unload",
            WINDOW => "length",
            _ => "stop",
        },
    }
}

/// Tools are unknown to completions.
pub(super) fn to_completions(finish: &Finish) -> &'static str {
    match finish {
        Finish::ToolCalls => "stop",
        Finish::Stop
        | Finish::StopString(_)
        | Finish::Paused
        | Finish::Length
        | Finish::ContentFilter
        | Finish::Refusal
        | Finish::Other(_) => to_openai(finish),
    }
}
