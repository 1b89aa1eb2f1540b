//! What a caller is told when there is no answer, in its dialect's own words.
//!
//! ```text
//! {"error":{"message":"…","type":"invalid_request_error","param":null,"code":"model_not_found"}}     OpenAI
//! {"type":"error","error":{"type":"not_found_error","message":"…"},"request_id":"…"}                 Anthropic
//! {"error":{"code":404,"message":"…","status":"NOT_FOUND"}}                                           Gemini
//! {"error":"…"}                                                                                       Ollama
//! ```

use commonwatt_core::refusal::{Refusal, RefusalKind};

use crate::Dialect;
use crate::emit::Object;

/// The status code of a refusal. The only place where one becomes the other.
#[must_use]
pub fn status(dialect: Dialect, kind: RefusalKind) -> u16 {
    match kind {
        RefusalKind::BadRequest
        | RefusalKind::ContextOverflow
        | RefusalKind::NotCapable
        | RefusalKind::UnknownPrevious => 400,
        RefusalKind::Unauthenticated => 401,
        RefusalKind::Forbidden => 403,
        RefusalKind::UnknownModel | RefusalKind::UnknownPath | RefusalKind::UnknownSession | RefusalKind::NotKept => {
            404
        }
        RefusalKind::MethodNotAllowed => 405,
        RefusalKind::RequestTimeout => 408,
        RefusalKind::HandedOver => 409,
        RefusalKind::TooLarge => 413,
        RefusalKind::RateLimited => 429,
        RefusalKind::Internal => 500,
        RefusalKind::UpstreamFailed => 502,
        RefusalKind::Busy | RefusalKind::ShuttingDown => match dialect {
            Dialect::AnthropicMessages => 529,
            Dialect::OpenAiChat
            | Dialect::OpenAiResponses
            | Dialect::Gemini
            | Dialect::OllamaChat
            | Dialect::OllamaGenerate
            | Dialect::OpenAiCompletions => 503,
        },
        RefusalKind::UpstreamTimeout => 504,
        RefusalKind::Loop => 508,
    }
}

/// The body of a refusal.
#[must_use]
pub fn write_refusal(dialect: Dialect, refusal: &Refusal, request_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(dialect, refusal, Some(request_id), &mut out);
    out
}

/// A refusal inside a stream that has begun; `number` is that of its event, in the dialect that numbers them (Responses).
pub(crate) fn write_event(dialect: Dialect, refusal: &Refusal, number: u64, out: &mut Vec<u8>) {
    if dialect == Dialect::OpenAiResponses {
        return responses_event(refusal, number, out);
    }
    let (before, after) = match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiCompletions | Dialect::OpenAiResponses | Dialect::Gemini => {
            (b"data: ".as_slice(), b"\n\n".as_slice())
        }
        Dialect::AnthropicMessages => (b"event: error\ndata: ".as_slice(), b"\n\n".as_slice()),
        Dialect::OllamaChat | Dialect::OllamaGenerate => (b"".as_slice(), b"\n".as_slice()),
    };
    out.extend_from_slice(before);
    write(dialect, refusal, None, out);
    out.extend_from_slice(after);
}

/// The refusal of an answer that has no end.
pub(crate) fn unfinished() -> Refusal {
    Refusal::new(RefusalKind::UpstreamFailed, "the answer broke off: it ended without saying why")
}

fn write(dialect: Dialect, refusal: &Refusal, request_id: Option<&str>, out: &mut Vec<u8>) {
    let mut body = Object::open(out);
    match dialect {
        Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::OpenAiCompletions => {
            let (kind, code, param) = openai(refusal.kind);
            let mut error = body.object("error");
            error.string("message", &refusal.message);
            error.string("type", kind);
            match param {
                Some(param) => error.string("param", param),
                None => error.null("param"),
            }
            match code {
                Some(code) => error.string("code", code),
                None => error.null("code"),
            }
            error.close();
        }
        Dialect::AnthropicMessages => {
            body.string("type", "error");
            let mut error = body.object("error");
            error.string("type", anthropic(refusal.kind));
            error.string("message", &refusal.message);
            error.close();
            if let Some(request_id) = request_id {
                body.string("request_id", request_id);
            }
        }
        Dialect::Gemini => {
            let mut error = body.object("error");
            error.whole("code", u64::from(status(dialect, refusal.kind)));
            error.string("message", &refusal.message);
            error.string("status", gemini(refusal.kind));
            error.close();
        }
        Dialect::OllamaChat | Dialect::OllamaGenerate => body.string("error", &refusal.message),
    }
    body.close();
}

/// Responses' `error` event, which is flat.
fn responses_event(refusal: &Refusal, number: u64, out: &mut Vec<u8>) {
    let (kind, code, param) = openai(refusal.kind);
    out.extend_from_slice(b"event: error\ndata: ");
    let mut body = Object::open(out);
    body.string("type", "error");
    body.whole("sequence_number", number);
    body.string("code", code.unwrap_or(kind));
    body.string("message", &refusal.message);
    match param {
        Some(param) => body.string("param", param),
        None => body.null("param"),
    }
    body.close();
    out.extend_from_slice(b"\n\n");
}

/// Google's canonical word (google.rpc.Code).
fn gemini(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::BadRequest
        | RefusalKind::ContextOverflow
        | RefusalKind::TooLarge
        | RefusalKind::MethodNotAllowed
        | RefusalKind::NotCapable
        | RefusalKind::UnknownPrevious => "INVALID_ARGUMENT",
        RefusalKind::Unauthenticated => "UNAUTHENTICATED",
        RefusalKind::Forbidden => "PERMISSION_DENIED",
        RefusalKind::UnknownModel | RefusalKind::UnknownPath | RefusalKind::UnknownSession | RefusalKind::NotKept => {
            "NOT_FOUND"
        }
        RefusalKind::HandedOver => "ABORTED",
        RefusalKind::RateLimited => "RESOURCE_EXHAUSTED",
        RefusalKind::RequestTimeout | RefusalKind::UpstreamTimeout => "DEADLINE_EXCEEDED",
        RefusalKind::Busy | RefusalKind::ShuttingDown | RefusalKind::UpstreamFailed => "UNAVAILABLE",
        RefusalKind::Internal | RefusalKind::Loop => "INTERNAL",
    }
}

/// OpenAI's type, code and parameter.
fn openai(kind: RefusalKind) -> (&'static str, Option<&'static str>, Option<&'static str>) {
    const CALLER: &str = "invalid_request_error";
    const SERVER: &str = "server_error";
    match kind {
        RefusalKind::Unauthenticated => (CALLER, Some("invalid_api_key"), None),
        RefusalKind::Forbidden => ("permission_error", Some("insufficient_permissions"), None),
        RefusalKind::BadRequest => (CALLER, None, None),
        RefusalKind::UnknownModel => (CALLER, Some("model_not_found"), Some("model")),
        RefusalKind::UnknownPath => (CALLER, Some("unknown_url"), None),
        RefusalKind::UnknownSession => (CALLER, Some("session_not_found"), None),
        RefusalKind::NotKept => (CALLER, None, None),
        RefusalKind::UnknownPrevious => (CALLER, Some("previous_response_not_found"), Some("previous_response_id")),
        RefusalKind::HandedOver => ("conflict_error", Some("session_handed_over"), None),
        RefusalKind::MethodNotAllowed => (CALLER, Some("method_not_supported"), None),
        RefusalKind::TooLarge => (CALLER, Some("request_too_large"), None),
        RefusalKind::RequestTimeout => (CALLER, Some("request_timeout"), None),
        RefusalKind::ContextOverflow => (CALLER, Some("context_length_exceeded"), Some("messages")),
        RefusalKind::NotCapable => (CALLER, Some("unsupported_value"), Some("model")),
        RefusalKind::RateLimited => ("rate_limit_error", Some("rate_limit_exceeded"), None),
        RefusalKind::Busy => (SERVER, Some("overloaded"), None),
        RefusalKind::Loop => (SERVER, Some("loop_detected"), None),
        RefusalKind::UpstreamFailed => (SERVER, Some("upstream_failed"), None),
        RefusalKind::UpstreamTimeout => (SERVER, Some("upstream_timeout"), None),
        RefusalKind::ShuttingDown => (SERVER, Some("shutting_down"), None),
        RefusalKind::Internal => (SERVER, None, None),
    }
}

/// The code of the `error` of a response that failed, of those that OpenAI's API has.
pub(crate) fn response_error(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::RateLimited => "rate_limit_exceeded",
        RefusalKind::BadRequest
        | RefusalKind::UnknownModel
        | RefusalKind::UnknownPath
        | RefusalKind::UnknownSession
        | RefusalKind::NotKept
        | RefusalKind::UnknownPrevious
        | RefusalKind::MethodNotAllowed
        | RefusalKind::TooLarge
        | RefusalKind::ContextOverflow
        | RefusalKind::NotCapable => "invalid_prompt",
        RefusalKind::Unauthenticated
        | RefusalKind::Forbidden
        | RefusalKind::HandedOver
        | RefusalKind::RequestTimeout
        | RefusalKind::Busy
        | RefusalKind::Loop
        | RefusalKind::UpstreamFailed
        | RefusalKind::UpstreamTimeout
        | RefusalKind::ShuttingDown
        | RefusalKind::Internal => "server_error",
    }
}

/// Anthropic's type.
fn anthropic(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::Unauthenticated => "authentication_error",
        RefusalKind::Forbidden => "permission_error",
        RefusalKind::BadRequest
        | RefusalKind::MethodNotAllowed
        | RefusalKind::ContextOverflow
        | RefusalKind::NotCapable
        | RefusalKind::UnknownPrevious => "invalid_request_error",
        RefusalKind::TooLarge => "request_too_large",
        RefusalKind::UnknownModel | RefusalKind::UnknownPath | RefusalKind::UnknownSession | RefusalKind::NotKept => {
            "not_found_error"
        }
        RefusalKind::HandedOver => "conflict_error",
        RefusalKind::RateLimited => "rate_limit_error",
        RefusalKind::Busy | RefusalKind::ShuttingDown => "overloaded_error",
        RefusalKind::RequestTimeout | RefusalKind::UpstreamTimeout => "timeout_error",
        RefusalKind::Loop | RefusalKind::UpstreamFailed | RefusalKind::Internal => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_is_refused_in_its_own_words() {
        let refusal = Refusal::new(RefusalKind::UnknownModel, "model `x` is not known here");
        let told = |dialect| String::from_utf8(write_refusal(dialect, &refusal, "req_1")).expect("text");
        assert_eq!(
            told(Dialect::OpenAiChat),
            r#"{"error":{"message":"model `x` is not known here","type":"invalid_request_error","param":"model","code":"model_not_found"}}"#
        );
        assert_eq!(
            told(Dialect::AnthropicMessages),
            r#"{"type":"error","error":{"type":"not_found_error","message":"model `x` is not known here"},"request_id":"req_1"}"#
        );
    }

    #[test]
    fn a_full_house_has_each_dialects_own_status() {
        assert_eq!(status(Dialect::OpenAiChat, RefusalKind::Busy), 503);
        assert_eq!(status(Dialect::AnthropicMessages, RefusalKind::Busy), 529);
        assert_eq!(status(Dialect::AnthropicMessages, RefusalKind::TooLarge), 413);
    }
    #[test]
    fn every_refusal_has_a_status_in_every_dialect() {
        for dialect in Dialect::ALL {
            for kind in RefusalKind::ALL {
                let code = status(dialect, kind);
                let callers_own = matches!(code, 400..=499);
                let body = write_refusal(dialect, &Refusal::new(kind, "no"), "id");
                assert!(callers_own || matches!(code, 500..=599), "{dialect} {kind:?}: {code}");
                assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok(), "{dialect} {kind:?}");
            }
        }
    }
}
