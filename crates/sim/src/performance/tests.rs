use serde_json::{Value, json};

use super::*;
use crate::fault::Directive;

fn request(dialect: Dialect, stream: bool) -> Value {
    let tool = match dialect {
        Dialect::ChatCompletions => {
            json!({ "type": "function", "function": { "name": "weather", "parameters": { "properties": { "city": {} } } } })
        }
        Dialect::Messages => json!({ "name": "weather", "input_schema": { "properties": { "city": {} } } }),
    };
    json!({
        "model": "m", "max_tokens": 5000, "stream": stream, "tools": [tool],
        "messages": [{ "role": "user", "content": "Which coat?" }],
    })
}

fn performed(dialect: Dialect, stream: bool, words: &str) -> Performance {
    performed_with(dialect, &request(dialect, stream), words, &Settings::default())
}

fn performed_with(dialect: Dialect, request: &Value, words: &str, settings: &Settings) -> Performance {
    let Directive { faults, answer } = words.parse().unwrap();
    let body = request.to_string();
    let cue = Cue { dialect, body: body.as_bytes(), settings, faults: &faults, call: 1 };
    perform_with(&cue, answer.as_ref().unwrap_or(&settings.answer))
}

fn text(performance: &Performance) -> String {
    String::from_utf8_lossy(&performance.body()).into_owned()
}

/// The decoded content of a stream, whatever its dialect, and whether a finish reason and the terminator came.
fn read(body: &str) -> (String, bool, bool) {
    let (mut content, mut finished, mut terminated) = (String::new(), false, false);
    for line in body.lines() {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            terminated = true;
            continue;
        }
        let Ok(data) = serde_json::from_str::<Value>(data) else { continue };
        let delta = data.pointer("/choices/0/delta").or(data.get("delta")).unwrap_or(&Value::Null);
        for path in [
            "/content",
            "/text",
            "/tool_calls/0/function/arguments",
            "/partial_json",
            "/reasoning_content",
            "/thinking",
        ] {
            content.push_str(delta.pointer(path).and_then(Value::as_str).unwrap_or_default());
        }
        finished |=
            data.pointer("/choices/0/finish_reason").is_some_and(Value::is_string) || delta["stop_reason"].is_string();
        terminated |= data["type"] == "message_stop";
    }
    (content, finished, terminated)
}

fn last(performance: &Performance) -> &Action {
    performance.actions().last().unwrap()
}

#[test]
fn the_same_cue_gives_the_same_performance() {
    let settings = Settings { gap_ms: 10, jitter: 0.5, ..Settings::default() };
    for dialect in Dialect::ALL {
        for words in ["pass", "split=9", "garbage after=3", "reset after=40bytes; heartbeat"] {
            let once = performed_with(dialect, &request(dialect, true), words, &settings);
            assert_eq!(once, performed_with(dialect, &request(dialect, true), words, &settings));
        }
        let other = Settings { seed: 2, ..settings.clone() };
        let once = performed_with(dialect, &request(dialect, true), "pass", &settings);
        assert_ne!(once, performed_with(dialect, &request(dialect, true), "pass", &other));
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
    let streamed = performed_with(dialect, &request(dialect, true), "pass", &settings);
    let waits = |performance: &Performance| -> Vec<u128> {
        let wait = |action: &Action| if let Action::Wait(wait) = action { Some(wait.as_millis()) } else { None };
        performance.actions().iter().filter_map(wait).collect()
    };
    assert_eq!(waits(&streamed), [5, 120, 40, 30]);
    assert!(matches!(streamed.actions()[1], Action::Head { .. }));
    assert!(matches!(streamed.actions()[2], Action::Send(_)), "the preamble comes at once");
    let whole = performed_with(dialect, &request(dialect, false), "pass", &settings);
    assert_eq!(waits(&whole), [195]);
}

#[test]
fn a_cut_at_every_byte_of_content_leaves_exactly_that_much() {
    let answer = AnswerSettings { characters: 150, ..AnswerSettings::default() };
    let settings = Settings { answer, ..Settings::default() };
    for dialect in Dialect::ALL {
        let (whole, finished, terminated) =
            read(&text(&performed_with(dialect, &request(dialect, true), "pass", &settings)));
        assert!(finished && terminated && whole.chars().count() >= 150);
        for at in 0..=whole.len() {
            let cut = performed_with(dialect, &request(dialect, true), &format!("reset after={at}bytes"), &settings);
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
    for dialect in Dialect::ALL {
        let (whole, ..) = read(&text(&performed_with(dialect, &request(dialect, true), "pass", &settings)));
        for (at, _) in whole.char_indices().skip(1) {
            let partial = &whole[..at];
            let mut prefilled = request(dialect, true);
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
        assert_eq!(preamble.matches("data: ").count(), 1);
        assert_eq!(at("eof after=3").0.chars().count(), 24);
        assert_eq!(at("eof after=3chunks").0.chars().count(), 24);
        assert_eq!((at("eof after=content").1, at("eof after=99999").1), (false, false));
        assert_eq!((at("eof after=finish").1, at("eof after=finish").2), (true, false));
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
    for dialect in Dialect::ALL {
        let thinking = text(&performed(dialect, true, "reset after=2 part=reasoning"));
        let name = if dialect == Dialect::Messages { "thinking_delta" } else { "reasoning_content" };
        assert_eq!(thinking.matches(name).count(), 2);
        let call = text(&performed(dialect, true, "reset after=9bytes part=tool_call"));
        assert_eq!(read(&call).0, "{\"city\":\"");
        assert!(call.contains("weather"));
        let json = text(&performed(dialect, true, "reset after=4bytes part=json"));
        assert_eq!(read(&json).0, "{\"pl");
        let mut without_tools = request(dialect, true);
        without_tools["tools"] = json!([]);
        let refused = performed_with(dialect, &without_tools, "reset after=1 part=tool_call", &Settings::default());
        assert_eq!(refused.status(), Some(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(text(&refused).contains("offers no tools"));
    }
}

#[test]
fn endings_end_as_they_say() {
    for dialect in Dialect::ALL {
        let play = |words: &str| performed(dialect, true, words);
        assert_eq!(last(&play("stall after=2")), &Action::Hang);
        assert!(matches!(last(&play("eof after=2")), Action::Send(_)));
        let (content, finished, terminated) = read(&text(&play("done after=2")));
        assert_eq!((content.chars().count(), finished, terminated), (16, false, true));
        let error = text(&play("error after=2 status=500"));
        let shape =
            if dialect == Dialect::Messages { "event: error\ndata: {\"type\":\"error\"" } else { "data: {\"error\"" };
        assert!(error.contains(shape) && error.ends_with("\n\n"), "{error}");
        let malformed = text(&play("malformed after=2"));
        let broken = |line: &&str| {
            line.strip_prefix("data: ").is_some_and(|d| d != "[DONE]" && serde_json::from_str::<Value>(d).is_err())
        };
        assert_eq!(malformed.lines().filter(broken).count(), 1);
        assert!(read(&malformed).2, "the stream goes on");
        assert!(String::from_utf8(play("garbage after=2").body()).is_err());
        let severed = text(&play("error after=100wire"));
        assert_eq!(&severed[100..102], "\n\n", "the event begins on a line of its own");
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
        let split = performed(dialect, true, "split=5");
        assert_eq!((split.body(), sizes(&split)), (whole.clone(), Some(5)));
        let broken_character = |action: &Action| str::from_utf8(sent(action)).is_err();
        assert!(split.actions().iter().any(broken_character), "some character is split");
        let crlf = text(&performed(dialect, true, "crlf"));
        assert_eq!(
            (crlf.matches("\r\n").count(), crlf.replace("\r\n", "\n").as_bytes()),
            (crlf.matches('\n').count(), &whole[..])
        );
        let beating = text(&performed(dialect, true, "heartbeat=2"));
        let (content, ..) = read(&beating);
        assert_eq!(beating.matches(": keep-alive\n\n").count(), content.chars().count().div_ceil(8).div_ceil(2));
        assert_eq!(beating.replace(": keep-alive\n\n", "").as_bytes(), whole);
        let stalled = performed(dialect, true, "stall after=1; heartbeat chunks=0 every_ms=100");
        assert_eq!(text(&stalled).matches(": keep-alive").count(), 600);
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
fn usage_can_be_missing() {
    for dialect in Dialect::ALL {
        for stream in [true, false] {
            let mut request = request(dialect, stream);
            request["stream_options"] = json!({ "include_usage": true });
            let usage =
                |words| text(&performed_with(dialect, &request, words, &Settings::default())).contains("_tokens");
            assert!(usage("pass") && !usage("missing_usage"));
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
    let body = request(Dialect::Messages, false).to_string();
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
    let refused = performed_with(Dialect::ChatCompletions, &request(Dialect::ChatCompletions, true), "pass", &settings);
    assert_eq!(refused.status(), Some(StatusCode::NOT_FOUND));
}
