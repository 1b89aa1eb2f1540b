#[path = "../../tests/port/spoken.rs"]
mod spoken;

use serde_json::{Value, json};

use self::spoken::{CONVERSING, spoken};
use super::*;
use crate::fault::Directive;

/// A request as for Chat Completions; it is [`spoken`] as its dialect expects it.
fn request(stream: bool) -> Value {
    let parameters = json!({ "properties": { "city": {} } });
    json!({
        "model": "m", "max_tokens": 5000, "stream": stream,
        "tools": [{ "type": "function", "function": { "name": "weather", "parameters": parameters } }],
        "messages": [{ "role": "user", "content": "Which coat?" }],
    })
}

fn performed(dialect: Dialect, stream: bool, words: &str) -> Performance {
    performed_with(dialect, &request(stream), words, &Settings::default())
}

fn performed_with(dialect: Dialect, request: &Value, words: &str, settings: &Settings) -> Performance {
    let Directive { faults, answer } = words.parse().unwrap();
    let (target, body) = spoken(dialect, request);
    let body = body.to_string();
    let settings = Settings { answer: answer.unwrap_or_else(|| settings.answer.clone()), ..settings.clone() };
    let cue = Cue { dialect, body: body.as_bytes(), settings: &settings, faults: &faults, call: 1 };
    perform_at(&cue, &target)
}

/// Whether the last event of a stream is its finish and its terminator in one.
fn ends_in_one(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Responses | Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => true,
        Dialect::ChatCompletions | Dialect::Messages | Dialect::Completions => false,
    }
}

fn text(performance: &Performance) -> String {
    String::from_utf8_lossy(&performance.body()).into_owned()
}

/// The decoded content of a stream, whatever its dialect, and whether a finish reason and the terminator came.
fn read(body: &str) -> (String, bool, bool) {
    let (mut content, mut finished, mut terminated) = (String::new(), false, false);
    for line in body.lines() {
        let data = line.strip_prefix("data: ").unwrap_or(line);
        if data == "[DONE]" {
            terminated = true;
            continue;
        }
        let Ok(data) = serde_json::from_str::<Value>(data) else { continue };
        content.push_str(&said(&data));
        let kind = data["type"].as_str().unwrap_or_default();
        let at_end = matches!(kind, "response.completed" | "response.incomplete");
        let reasons = [
            "/choices/0/finish_reason",
            "/delta/stop_reason",
            "/candidates/0/finishReason",
            "/done_reason",
            "/promptFeedback",
        ];
        finished |= reasons.iter().any(|path| data.pointer(path).is_some_and(|reason| !reason.is_null()));
        finished |= at_end && !data["response"]["output"].as_array().unwrap().is_empty();
        terminated |= at_end || kind == "message_stop" || data["done"] == true;
        terminated |= data.pointer("/candidates/0/finishReason").is_some();
    }
    (content, finished, terminated)
}

/// The content in one event.
fn said(data: &Value) -> String {
    let mut content = String::new();
    for path in [
        "/choices/0/delta/content",
        "/choices/0/delta/reasoning_content",
        "/choices/0/delta/tool_calls/0/function/arguments",
        "/choices/0/text",
        "/delta/text",
        "/delta/thinking",
        "/delta/partial_json",
        "/delta",
        "/candidates/0/content/parts/0/text",
        "/message/content",
        "/message/thinking",
        "/response",
        "/thinking",
    ] {
        content.push_str(data.pointer(path).and_then(Value::as_str).unwrap_or_default());
    }
    for path in ["/candidates/0/content/parts/0/functionCall/args", "/message/tool_calls/0/function/arguments"] {
        content.push_str(&data.pointer(path).map(Value::to_string).unwrap_or_default());
    }
    content
}

fn last(performance: &Performance) -> &Action {
    performance.actions().last().unwrap()
}

#[test]
fn the_same_cue_gives_the_same_performance() {
    let settings = Settings { gap_ms: 10, jitter: 0.5, ..Settings::default() };
    for dialect in Dialect::ALL {
        for words in ["pass", "split=9", "garbage after=3", "reset after=40bytes; heartbeat"] {
            let once = performed_with(dialect, &request(true), words, &settings);
            assert_eq!(once, performed_with(dialect, &request(true), words, &settings));
        }
        let other = Settings { seed: 2, ..settings.clone() };
        let once = performed_with(dialect, &request(true), "pass", &settings);
        assert_ne!(once, performed_with(dialect, &request(true), "pass", &other));
    }
}

#[test]
fn waits_lie_where_the_settings_put_them() {
    let settings = Settings {
        headers_ms: 5,
        first_token_ms: 100,
        gap_ms: 20,
        tokens_per_second: 100.0,
        answer: AnswerSettings { text: Some("12345678abcdefghABCD".to_owned()), ..AnswerSettings::default() },
        ..Settings::default()
    };
    let dialect = Dialect::ChatCompletions;
    let streamed = performed_with(dialect, &request(true), "pass", &settings);
    let waits = |performance: &Performance| -> Vec<u128> {
        let wait = |action: &Action| if let Action::Wait(wait) = action { Some(wait.as_millis()) } else { None };
        performance.actions().iter().filter_map(wait).collect()
    };
    assert_eq!(waits(&streamed), [5, 120, 40, 30]);
    assert!(matches!(streamed.actions()[1], Action::Head { .. }));
    assert!(matches!(streamed.actions()[2], Action::Send(_)), "the preamble comes at once");
    let whole = performed_with(dialect, &request(false), "pass", &settings);
    assert_eq!(waits(&whole), [195]);
}

#[test]
fn a_cut_at_every_byte_of_content_leaves_exactly_that_much() {
    let answer = AnswerSettings { characters: 150, ..AnswerSettings::default() };
    let settings = Settings { answer, ..Settings::default() };
    for dialect in Dialect::ALL {
        let (whole, finished, terminated) = read(&text(&performed_with(dialect, &request(true), "pass", &settings)));
        assert!(finished && terminated && whole.chars().count() >= 150);
        for at in 0..=whole.len() {
            let cut = performed_with(dialect, &request(true), &format!("reset after={at}bytes"), &settings);
            let (content, finished, terminated) = read(&text(&cut));
            assert_eq!(content, whole[..whole.floor_char_boundary(at)]);
            assert!(!finished && !terminated);
            assert_eq!(last(&cut), &Action::Reset);
        }
    }
}

#[test]
fn a_cut_at_every_byte_on_the_wire_leaves_exactly_that_much() {
    for dialect in Dialect::ALL {
        for stream in [true, false] {
            let whole = performed(dialect, stream, "pass").body();
            for at in (0..=whole.len()).step_by(31) {
                let cut = performed(dialect, stream, &format!("close after={at}wire"));
                assert_eq!((cut.body().as_slice(), last(&cut)), (&whole[..at], &Action::Eof));
            }
        }
    }
}

/// What the rescue of a cut answer relies on: same model, same conversation, cut anywhere, continued: the same text.
#[test]
fn an_answer_cut_anywhere_can_be_continued_to_the_unbroken_one() {
    let settings =
        Settings { answer: AnswerSettings { characters: 150, ..AnswerSettings::default() }, ..Settings::default() };
    for dialect in CONVERSING {
        let (whole, ..) = read(&text(&performed_with(dialect, &request(true), "pass", &settings)));
        for (at, _) in whole.char_indices().skip(1) {
            let partial = &whole[..at];
            let mut prefilled = request(true);
            let messages = prefilled["messages"].as_array_mut().unwrap();
            messages.push(json!({ "role": "assistant", "content": partial.trim_end() }));
            let (rest, ..) = read(&text(&performed_with(dialect, &prefilled, "pass", &settings)));
            assert_eq!(format!("{}{rest}", partial.trim_end()), whole);

            let anchor: String = partial.chars().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect();
            let messages = prefilled["messages"].as_array_mut().unwrap();
            messages.push(json!({ "role": "user", "content": format!("You stopped. Go on, starting with: {anchor}") }));
            let (rest, ..) = read(&text(&performed_with(dialect, &prefilled, "pass", &settings)));
            let overlap = rest.find(anchor.trim()).unwrap() + anchor.trim().len();
            assert_eq!(format!("{}{}", partial.trim_end(), &rest[overlap..]), whole);
        }
    }
}

#[test]
fn cuts_meet_their_place() {
    for dialect in Dialect::ALL {
        let at = |words: &str| read(&text(&performed(dialect, true, words)));
        assert_eq!(performed(dialect, true, "stall after=headers").body(), b"");
        let preamble = text(&performed(dialect, true, "stall after=preamble"));
        let events = match dialect {
            Dialect::ChatCompletions | Dialect::Messages => 1,
            Dialect::Responses => 2,
            Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::Completions => 0,
        };
        assert_eq!(preamble.lines().filter(|line| line.contains('{')).count(), events);
        assert_eq!(at("eof after=3").0.chars().count(), 24);
        assert_eq!(at("eof after=3chunks").0.chars().count(), 24);
        assert_eq!((at("eof after=content").1, at("eof after=99999").1), (false, false));
        assert_eq!((at("eof after=finish").1, at("eof after=finish").2), (true, ends_in_one(dialect)));
        let start = performed(dialect, true, "stall after=start");
        assert_eq!(start.actions(), [Action::Hang]);
        assert_eq!(performed(dialect, true, "reset after=start").actions(), [Action::Reset]);
        assert_eq!(performed(dialect, false, "eof after=start").body(), b"");
        let late = performed(dialect, true, "stall=50 after=start");
        assert_eq!(late.actions()[0], Action::Wait(Duration::from_millis(50)));
        assert!(read(&text(&late)).2, "after the stall the answer is complete");
    }
}

#[test]
fn cuts_meet_their_part_and_make_it_if_need_be() {
    for dialect in CONVERSING {
        let thinking = text(&performed(dialect, true, "reset after=2 part=reasoning"));
        let name = match dialect {
            Dialect::ChatCompletions => "reasoning_content",
            Dialect::Messages => "thinking_delta",
            Dialect::Responses => "response.reasoning_text.delta",
            Dialect::Gemini => "\"thought\":true",
            Dialect::OllamaChat | Dialect::OllamaGenerate => "\"thinking\":",
            Dialect::Completions => "",
        };
        let events = thinking.lines().filter(|line| line.contains('{') && line.contains(name));
        assert_eq!((events.count(), read(&thinking).0.chars().count()), (2, 16), "{thinking}");
        let call = text(&performed(dialect, true, "reset after=9bytes part=tool_call"));
        let comes_whole = matches!(dialect, Dialect::Gemini | Dialect::OllamaChat);
        assert_eq!(read(&call).0, if comes_whole { "" } else { "{\"city\":\"" });
        // What comes before the first piece of a call that is divided names its tool; elsewhere nothing came.
        let opened = call.lines().filter(|line| line.contains("\"name\":\"weather\""));
        assert_eq!(opened.filter(|line| !line.contains("\"tools\":[{")).count(), usize::from(!comes_whole));
        let json = text(&performed(dialect, true, "reset after=4bytes part=json"));
        assert_eq!(read(&json).0, "{\"pl");
        let mut without_tools = request(true);
        without_tools["tools"] = json!([]);
        let refused = performed_with(dialect, &without_tools, "reset after=1 part=tool_call", &Settings::default());
        assert_eq!(refused.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(text(&refused).contains("offers no tools"));
    }
}

#[test]
fn a_part_that_a_dialect_does_not_have_cannot_be_cut() {
    for (dialect, part) in [
        (Dialect::OllamaGenerate, "tool_call"),
        (Dialect::Completions, "tool_call"),
        (Dialect::Completions, "reasoning"),
    ] {
        let refused = performed(dialect, true, &format!("reset after=1 part={part}"));
        assert_eq!(refused.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(text(&refused).contains("this dialect does not have"), "{dialect:?}");
    }
    let thinking = text(&performed(Dialect::OllamaGenerate, true, "reset after=2 part=reasoning"));
    assert_eq!((read(&thinking).0.chars().count(), thinking.matches("\"thinking\":").count()), (16, 2));
}

#[test]
fn endings_end_as_they_say() {
    for dialect in Dialect::ALL {
        let play = |words: &str| performed(dialect, true, words);
        assert_eq!(last(&play("stall after=2")), &Action::Hang);
        assert!(matches!(last(&play("eof after=2")), Action::Send(_)));
        let (content, finished, terminated) = read(&text(&play("done after=2")));
        assert_eq!((content.chars().count(), finished, terminated), (16, false, dialect != Dialect::Gemini));
        let error = text(&play("error after=2 status=500"));
        let shape = match dialect {
            Dialect::ChatCompletions | Dialect::Completions => "data: {\"error\":{\"message\":\"The server had",
            Dialect::Messages => "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\"",
            Dialect::Responses => {
                "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"The server had"
            }
            Dialect::Gemini => "data: {\"error\":{\"code\":500,\"message\":\"An internal error",
            Dialect::OllamaChat | Dialect::OllamaGenerate => "\n{\"error\":\"an error was encountered",
        };
        assert!(error.contains(shape) && error.ends_with('\n'), "{error}");
        let failed = text(&play("failed after=2 status=500"));
        assert_eq!(failed.contains("event: response.failed\n"), dialect == Dialect::Responses);
        assert!(dialect == Dialect::Responses || failed == error);
        let malformed = text(&play("malformed after=2"));
        let broken = |line: &&str| {
            let data = line.strip_prefix("data: ").unwrap_or(line);
            data.starts_with('{') && serde_json::from_str::<Value>(data).is_err()
        };
        assert_eq!(malformed.lines().filter(broken).count(), 1);
        assert!(read(&malformed).2, "the stream goes on");
        assert!(String::from_utf8(play("garbage after=2").body()).is_err());
        let severed = text(&play("error after=100wire"));
        assert!(severed[100..].trim_start_matches('\n').starts_with(['e', 'd', '{']), "{severed}");
        assert!(severed[100..].starts_with('\n'), "the event begins on a line of its own");
    }
}

#[test]
fn whole_answers_break_too() {
    for dialect in Dialect::ALL {
        let play = |words: &str| performed(dialect, false, words);
        let whole = play("pass").body();
        assert!(serde_json::from_slice::<Value>(&whole).is_ok());
        for words in ["eof after=3", "close after=3", "reset after=3", "stall after=3", "done after=3"] {
            assert_eq!(play(words).body(), whole[..whole.len() / 2], "{words}");
        }
        assert_eq!(play("stall=9 after=3").body(), whole);
        assert!(serde_json::from_slice::<Value>(&play("malformed after=3").body()).is_err());
        assert!(text(&play("error after=3")).contains("error"));
        assert_eq!(play("error after=3").status(), Some(StatusCode::OK));
        let short = play("wrong_length=10");
        let Action::Head { headers, .. } = &short.actions()[0] else { panic!() };
        assert_eq!(headers[CONTENT_LENGTH], whole.len().to_string());
        assert_eq!((short.body().as_slice(), last(&short)), (&whole[..whole.len() - 10], &Action::Eof));
    }
}

#[test]
fn bytes_drip_split_and_keep_their_meaning() {
    for dialect in Dialect::ALL {
        let whole = performed(dialect, true, "pass").body();
        let drip = performed(dialect, true, "drip=1 gap_ms=3");
        assert_eq!(drip.body(), whole);
        let sizes = |performance: &Performance| performance.actions().iter().map(|a| sent(a).len()).max();
        assert_eq!(sizes(&drip), Some(1));
        let many_bytes = performed(dialect, true, "answer style=polyglot").body();
        let split = performed(dialect, true, "split=5; answer style=polyglot");
        assert_eq!((split.body(), sizes(&split)), (many_bytes, Some(5)));
        let broken_character = |action: &Action| str::from_utf8(sent(action)).is_err();
        assert!(split.actions().iter().any(broken_character), "some character is split");
        let crlf = text(&performed(dialect, true, "crlf"));
        let whole_lines = String::from_utf8(whole.clone()).unwrap().replace("\r\n", "\n");
        assert_eq!(
            (crlf.matches("\r\n").count(), crlf.matches('\r').count(), crlf.replace("\r\n", "\n")),
            (crlf.matches('\n').count(), crlf.matches('\n').count(), whole_lines)
        );
        let beating = text(&performed(dialect, true, "heartbeat=2"));
        let (content, ..) = read(&beating);
        let has_comments = !matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate);
        let comments = content.chars().count().div_ceil(8).div_ceil(2) * usize::from(has_comments);
        assert_eq!(beating.matches(": keep-alive\n\n").count(), comments);
        assert_eq!(beating.replace(": keep-alive\n\n", "").as_bytes(), whole);
        let stalled = performed(dialect, true, "stall after=1; heartbeat chunks=0 every_ms=100");
        assert_eq!(text(&stalled).matches(": keep-alive").count(), 600 * usize::from(has_comments));
        assert_eq!(last(&stalled), &Action::Hang);
    }
}

#[test]
fn filters_and_refusals_finish_cleanly() {
    let chat = text(&performed(Dialect::ChatCompletions, true, "filter=3"));
    assert!(chat.contains(r#""finish_reason":"content_filter""#) && chat.ends_with("[DONE]\n\n"));
    assert_eq!(read(&chat).0.chars().count(), 24);
    let messages = text(&performed(Dialect::Messages, true, "filter=0"));
    assert!(messages.contains(r#""stop_reason":"refusal""#) && read(&messages).0.is_empty() && read(&messages).2);
    let refused = text(&performed(Dialect::ChatCompletions, false, "refusal message=No."));
    assert!(refused.contains(r#""content":null,"refusal":"No.""#), "{refused}");
    let refused = text(&performed(Dialect::Messages, false, "refusal"));
    assert!(refused.contains(r#""stop_reason":"refusal""#));
}

#[test]
fn filters_and_refusals_are_said_as_each_dialect_says_them() {
    let filtered = text(&performed(Dialect::Responses, true, "filter=3"));
    assert_eq!((read(&filtered).0.chars().count(), read(&filtered).2), (24, true));
    assert!(filtered.contains("event: response.incomplete\n"));
    assert!(filtered.contains(r#""incomplete_details":{"reason":"content_filter"}"#));
    let filtered = text(&performed(Dialect::Gemini, true, "filter=3"));
    assert!(filtered.contains(r#""finishReason":"SAFETY""#) && read(&filtered).0.chars().count() == 24);
    for stream in [true, false] {
        let blocked = text(&performed(Dialect::Gemini, stream, "filter=0"));
        assert!(blocked.contains(r#""promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}"#), "{blocked}");
        assert!(!blocked.contains("candidates\""), "{blocked}");
    }
    let refused = text(&performed(Dialect::Responses, true, "refusal message=No."));
    for event in ["response.refusal.delta", "response.refusal.done", "response.completed"] {
        assert_eq!(refused.matches(&format!("event: {event}\n")).count(), 1, "{refused}");
    }
    assert_eq!(read(&refused).0, "No.");
    for dialect in [Dialect::Gemini, Dialect::OllamaChat, Dialect::OllamaGenerate, Dialect::Completions] {
        assert_eq!(read(&text(&performed(dialect, true, "refusal message=No."))), ("No.".to_owned(), true, true));
    }
    let filtered = text(&performed(Dialect::Completions, true, "filter=3"));
    assert!(filtered.contains(r#""finish_reason":"content_filter""#));
}

#[test]
fn a_failure_within_responses_counts_on_and_names_its_cause() {
    for (words, name) in [("failed after=2 status=429", "response.failed"), ("error after=2 status=429", "error")] {
        let body = text(&performed(Dialect::Responses, true, &format!("{words}; heartbeat")));
        let events: Vec<Value> =
            body.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
        let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
        // Two that begin the response, two that begin the message, two pieces of it, and the failure.
        assert_eq!(numbers, (0..7).collect::<Vec<_>>());
        assert_eq!(events[6]["type"], name);
        let error = if name == "error" { &events[6] } else { &events[6]["response"]["error"] };
        assert_eq!(error["code"], "rate_limit_exceeded");
        assert!(error["message"].as_str().unwrap().starts_with("Rate limit reached"));
    }
    let body = text(&performed(Dialect::Responses, true, "failed after=2"));
    assert!(body.contains(r#""status":"failed""#) && body.contains(r#""code":"server_error""#), "{body}");
}

#[test]
fn usage_can_be_missing() {
    for dialect in Dialect::ALL {
        let name = match dialect {
            Dialect::ChatCompletions | Dialect::Completions => "\"prompt_tokens\":",
            Dialect::Messages | Dialect::Responses => "\"input_tokens\":",
            Dialect::Gemini => "\"usageMetadata\":",
            Dialect::OllamaChat | Dialect::OllamaGenerate => "eval_count\":",
        };
        for stream in [true, false] {
            let mut request = request(stream);
            request["stream_options"] = json!({ "include_usage": true });
            let usage = |words| text(&performed_with(dialect, &request, words, &Settings::default())).contains(name);
            assert!(usage("pass") && !usage("missing_usage"), "{dialect:?}");
        }
    }
}

#[test]
fn answers_are_replaced() {
    for dialect in Dialect::ALL {
        let status = |words: &str| performed(dialect, true, words).status().map(|s| s.as_u16());
        for code in [400, 401, 403, 404, 413, 429, 500, 502, 503, 529] {
            assert_eq!(status(&format!("status={code}")), Some(code));
        }
        let refused = performed(dialect, true, "status=429 retry_after_s=7");
        let Action::Head { headers, .. } = &refused.actions()[0] else { panic!() };
        assert_eq!(headers[RETRY_AFTER], "7");
        assert_eq!((status("refuse"), performed(dialect, true, "refuse").actions()), (None, &[Action::Reset][..]));
        assert!(text(&performed(dialect, true, "page")).starts_with("<!DOCTYPE html>"));
        assert_eq!((status("empty"), performed(dialect, true, "empty").body().len()), (Some(200), 0));
        let error = performed(dialect, true, "error_in_200");
        assert_eq!(error.status(), Some(StatusCode::OK));
        assert!(serde_json::from_slice::<Value>(&error.body()).unwrap().get("error").is_some());
        assert_eq!(status("redirect=http://example.org/"), Some(302));
    }
}

#[test]
fn a_flapping_provider_fails_every_other_call() {
    let settings = Settings::default();
    let (_, body) = spoken(Dialect::Messages, &request(false));
    let body = body.to_string();
    let faults = [Fault::Flapping { status: 503, period: 2 }];
    let status = |call| {
        let cue = Cue { dialect: Dialect::Messages, body: body.as_bytes(), settings: &settings, faults: &faults, call };
        perform(&cue).status().unwrap().as_u16()
    };
    assert_eq!([1, 2, 3, 4].map(status), [503, 200, 503, 200]);
}

#[test]
fn only_listed_models_are_served() {
    let settings = Settings { models: vec!["other".to_owned()], ..Settings::default() };
    for dialect in Dialect::ALL {
        let refused = performed_with(dialect, &request(true), "pass", &settings);
        assert_eq!(refused.status(), Some(StatusCode::NOT_FOUND));
        let message = match dialect {
            Dialect::ChatCompletions | Dialect::Messages | Dialect::Responses | Dialect::Completions => {
                "The model `m` does not"
            }
            Dialect::Gemini => "models/m is not found for API version v1beta",
            Dialect::OllamaChat | Dialect::OllamaGenerate => "{\"error\":\"model 'm' not found\"}",
        };
        assert!(text(&refused).contains(message), "{}", text(&refused));
    }
}

#[test]
fn gemini_without_a_path_answers_for_the_model_in_the_body() {
    let body = json!({ "model": "models/m", "contents": [{ "parts": [{ "text": "Hello" }] }] }).to_string();
    let settings = Settings::default();
    let cue = Cue { dialect: Dialect::Gemini, body: body.as_bytes(), settings: &settings, faults: &[], call: 1 };
    let whole: Value = serde_json::from_slice(&perform(&cue).body()).unwrap();
    assert_eq!(whole["modelVersion"], "m");
    assert_eq!(perform(&cue), perform_at(&cue, "/v1beta/models/m:generateContent"));
    let array = perform_at(&cue, "/v1beta/models/m:streamGenerateContent");
    assert_eq!(array.status(), Some(StatusCode::BAD_REQUEST));
}
