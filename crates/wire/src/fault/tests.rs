use super::*;

fn kind(status: u16, body: &str) -> FaultKind {
    read_fault(Dialect::OpenAiChat, status, None, body.as_bytes()).kind
}

#[test]
fn a_status_and_its_words_give_the_kind() {
    let openai = |code: &str, said: &str| format!(r#"{{"error":{{"message":"{said}","type":"x","code":"{code}"}}}}"#);
    let anthropic = |kind: &str, said: &str| {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{said}"}},"request_id":"r"}}"#)
    };
    let cases = [
        (401, openai("invalid_api_key", "Incorrect API key provided"), FaultKind::BadKey),
        (402, openai("", "pay"), FaultKind::QuotaExhausted),
        (403, openai("", "not in your region"), FaultKind::Forbidden),
        (404, openai("model_not_found", "no such model"), FaultKind::ModelNotFound),
        (429, openai("insufficient_quota", "You exceeded your current quota"), FaultKind::QuotaExhausted),
        (429, openai("rate_limit_exceeded", "Rate limit reached"), FaultKind::RateLimited),
        (400, openai("context_length_exceeded", "too long"), FaultKind::ContextOverflow),
        (
            400,
            anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000"),
            FaultKind::ContextOverflow,
        ),
        (400, anthropic("invalid_request_error", "Your credit balance is too low"), FaultKind::QuotaExhausted),
        (400, anthropic("invalid_request_error", "messages: roles must alternate"), FaultKind::BadRequest),
        (529, anthropic("overloaded_error", "Overloaded"), FaultKind::Overloaded),
        (503, "Service Unavailable".to_owned(), FaultKind::Overloaded),
        (500, anthropic("api_error", "Internal"), FaultKind::ServerError),
        (
            500,
            r#"{"error":{"message":"the request exceeds the available context size"}}"#.to_owned(),
            FaultKind::ContextOverflow,
        ),
        (502, "<html><title>Bad gateway</title></html>".to_owned(), FaultKind::ServerError),
        (307, String::new(), FaultKind::Redirect),
        (413, String::new(), FaultKind::ContextOverflow),
        (422, r#"{"detail":"bad"}"#.to_owned(), FaultKind::BadRequest),
    ];
    for (status, body, expected) in cases {
        assert_eq!(kind(status, &body), expected, "{status} {body}");
    }
}

#[test]
fn a_google_error_is_read_inside_its_array_with_its_wait() {
    let body = br#"[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"x.RetryInfo","retryDelay":"34.5s"}]}}]"#;
    let fault = read_fault(Dialect::OpenAiChat, 429, None, body);
    assert_eq!((fault.kind, fault.retry_after_ms), (FaultKind::RateLimited, Some(34_500)));
    assert_eq!(fault.message, "You exceeded your current quota");
    let key = br#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}]"#;
    assert_eq!(read_fault(Dialect::OpenAiChat, 400, None, key).kind, FaultKind::BadKey);
}

#[test]
fn the_details_of_a_google_error_tell_a_busy_minute_from_an_empty_day() {
    let fault = |status: u16, said: &str, word: &str, details: &str| {
        let body =
            format!(r#"{{"error":{{"code":{status},"message":"{said}","status":"{word}","details":[{details}]}}}}"#);
        read_fault(Dialect::Gemini, status, None, body.as_bytes())
    };
    let quota = |id: &str| {
        let failure = format!(r#"{{"@type":"x.QuotaFailure","violations":[{{"quotaId":"{id}"}}]}}"#);
        let retry = r#"{"@type":"x.RetryInfo","retryDelay":"34s"}"#;
        let fault = fault(429, "Quota exceeded", "RESOURCE_EXHAUSTED", &format!("{failure},{retry}"));
        (fault.kind, fault.retry_after_ms)
    };
    assert_eq!(quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), (FaultKind::RateLimited, Some(34_000)));
    assert_eq!(quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), (FaultKind::QuotaExhausted, Some(34_000)));
    let reason = r#"{"@type":"x.ErrorInfo","reason":"API_KEY_INVALID"}"#;
    let cases = [
        (400, "API key expired.", "INVALID_ARGUMENT", reason, FaultKind::BadKey),
        (
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "INVALID_ARGUMENT",
            "",
            FaultKind::ContextOverflow,
        ),
        (400, "Please use a valid role", "INVALID_ARGUMENT", "", FaultKind::BadRequest),
        (400, "User location is not supported for the API use.", "FAILED_PRECONDITION", "", FaultKind::Forbidden),
        (403, "Your API key was reported as leaked.", "PERMISSION_DENIED", "", FaultKind::BadKey),
        (404, "models/x is not found for API version v1beta", "NOT_FOUND", "", FaultKind::ModelNotFound),
        (503, "The model is overloaded.", "UNAVAILABLE", "", FaultKind::Overloaded),
        (500, "An internal error has occurred.", "INTERNAL", "", FaultKind::ServerError),
    ];
    for (status, said, word, details, expected) in cases {
        assert_eq!(fault(status, said, word, details).kind, expected, "{said}");
    }
}

#[test]
fn the_sentence_is_one_bounded_line_and_shows_no_key() {
    let told = |body: &str| read_fault(Dialect::OpenAiChat, 400, None, body.as_bytes()).message;
    assert_eq!(told(r#"{"error":"model is loading\n\tplease wait\u0007"}"#), "model is loading please wait");
    assert_eq!(
        told(r#"{"error":{"message":"Incorrect API key provided: sk-abc123. See https://x"}}"#),
        "Incorrect API key provided: … See https://x"
    );
    assert_eq!(told("<!doctype html><html>secret</html>"), "the provider sent a web page instead of a reason");
    assert_eq!(told(""), "status 400 without a reason");
    assert_eq!(told(&format!(r#"{{"error":"{}"}}"#, "x".repeat(9_000))).chars().count(), MESSAGE_CHARS_MAX);
    assert_eq!(told(&"word ".repeat(9_000)).chars().count(), MESSAGE_CHARS_MAX);
}

#[test]
fn an_error_inside_a_success_gets_the_kind_it_names() {
    let kind = |body: &str| in_band(Dialect::OpenAiChat, body.as_bytes()).kind;
    assert_eq!(kind(r#"{"error":{"message":"slow down","code":429}}"#), FaultKind::RateLimited);
    assert_eq!(
        kind(r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        FaultKind::Overloaded
    );
    assert_eq!(kind(r#"{"error":{"message":"x","type":"insufficient_quota"}}"#), FaultKind::QuotaExhausted);
    assert_eq!(kind(r#"{"error":{"message":"boom","type":"server_error"}}"#), FaultKind::InBand);
    assert_eq!(kind(r#"{"error":{"message":"boom","code":502}}"#), FaultKind::InBand);
}
