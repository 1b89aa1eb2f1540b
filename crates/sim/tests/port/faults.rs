//! Every fault as a client meets it.

use std::time::Duration;

use commonwatt_sim::Dialect;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{End, Seen, ask, ask_with, question, sim};

/// Plays the fault in every dialect and looks at what came.
async fn check(stream: bool, fault: &str, look: impl Fn(Dialect, &Seen)) {
    let sim = sim(|_| {}).await;
    for dialect in Dialect::ALL {
        look(dialect, &ask_with(&sim, dialect, stream, fault).await);
    }
}

/// Events with content.
fn deltas(seen: &Seen) -> usize {
    let content = [
        "/choices/0/delta/content",
        "/choices/0/text",
        "/delta/text",
        "/delta",
        "/candidates/0/content/parts/0/text",
        "/message/content",
        "/response",
    ];
    let says = |event: &Value| {
        let text = content.iter().find_map(|path| event.pointer(path)?.as_str()).unwrap_or_default();
        let thought = event.pointer("/candidates/0/content/parts/0/thought").is_some();
        !text.is_empty() && !thought && !event["type"].as_str().is_some_and(|kind| kind.contains("reasoning"))
    };
    events(seen).iter().filter(|event| says(event)).count()
}

fn events(seen: &Seen) -> Vec<Value> {
    seen.text()
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap_or(line)).ok())
        .collect()
}

/// Whether the stream came to its end: in Gemini, which has no other, to a finish reason.
fn terminated(seen: &Seen) -> bool {
    let text = seen.text();
    let ends = ["[DONE]", "message_stop", "event: response.completed", "event: response.incomplete", "\"done\":true"];
    ends.iter().any(|end| text.contains(end)) || text.contains("\"finishReason\"")
}

/// Whether the last event is both finish and terminator.
fn ends_in_one(dialect: Dialect) -> bool {
    match dialect {
        Dialect::Responses | Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => true,
        Dialect::ChatCompletions | Dialect::Messages | Dialect::Completions => false,
    }
}

/// The events before the first content.
fn preamble(dialect: Dialect) -> usize {
    match dialect {
        Dialect::ChatCompletions | Dialect::Messages => 1,
        Dialect::Responses => 2,
        Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate | Dialect::Completions => 0,
    }
}

#[tokio::test]
async fn every_status_comes_with_its_error_and_its_delay() {
    for status in [400, 401, 403, 404, 413, 429, 500, 502, 503, 529] {
        for stream in [true, false] {
            check(stream, &format!("status={status} retry_after_s=9"), |_, seen| {
                assert_eq!((seen.status(), seen.end, seen.header("retry-after")), (status, End::Complete, Some("9")));
                assert!(!seen.error().is_empty());
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_connection_is_reset_or_closed_at_any_place() {
    for (how, end) in [("reset", End::Reset), ("close", End::Closed)] {
        check(true, &format!("{how} after=start"), |_, seen| assert_eq!((seen.head.as_str(), seen.end), ("", end)))
            .await;
        check(true, &format!("{how} after=headers"), |_, seen| {
            assert_eq!((seen.status(), seen.body.len(), seen.end), (200, 0, end));
        })
        .await;
        check(true, &format!("{how} after=preamble"), |dialect, seen| {
            assert_eq!((seen.chunks.len(), seen.end), (preamble(dialect), end));
        })
        .await;
        check(true, &format!("{how} after=5"), |_, seen| assert_eq!((deltas(seen), seen.end), (5, end))).await;
        check(true, &format!("{how} after=999wire"), |_, seen| assert_eq!((seen.body.len(), seen.end), (999, end)))
            .await;
        check(true, &format!("{how} after=finish"), |dialect, seen| {
            assert_eq!((terminated(seen), seen.end), (ends_in_one(dialect), end));
        })
        .await;
        check(false, &format!("{how} after=50bytes"), |_, seen| assert_eq!((seen.body.len(), seen.end), (50, end)))
            .await;
    }
    check(true, "refuse", |_, seen| assert_eq!((seen.head.as_str(), seen.end), ("", End::Reset))).await;
}

#[tokio::test]
async fn a_large_answer_is_on_the_wire_before_the_reset() {
    let sim = sim(|settings| {
        settings.answer.text = Some("x".repeat(4_000_000));
        settings.chunk_characters = 2000;
    })
    .await;
    let mut body = question(true);
    body["max_tokens"] = Value::from(1_000_000);
    let seen = ask(&sim, Dialect::ChatCompletions, &body, &["x-sim-fault: reset after=1500"]).await;
    assert_eq!((deltas(&seen), seen.end), (1500, End::Reset));
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_until_the_client_leaves() {
    check(true, "stall after=start", |_, seen| assert_eq!((seen.head.as_str(), seen.end), ("", End::Silent))).await;
    check(true, "stall after=headers", |_, seen| {
        assert_eq!((seen.status(), seen.body.len(), seen.end), (200, 0, End::Silent));
    })
    .await;
    check(true, "stall after=preamble", |dialect, seen| {
        assert_eq!((seen.chunks.len(), seen.end), (preamble(dialect), End::Silent));
    })
    .await;
    check(true, "stall after=7", |_, seen| assert_eq!((deltas(seen), seen.end), (7, End::Silent))).await;
    check(false, "stall after=start", |_, seen| assert_eq!((seen.head.as_str(), seen.end), ("", End::Silent))).await;
}

#[tokio::test(start_paused = true)]
async fn silence_may_end() {
    let started = Instant::now();
    for (place, stream) in [("start", true), ("headers", true), ("5", true), ("start", false), ("5", false)] {
        check(stream, &format!("stall=3000 after={place}"), |_, seen| {
            assert_eq!((seen.status(), seen.end), (200, End::Complete));
        })
        .await;
    }
    let stalls = 5 * u128::try_from(Dialect::ALL.len()).unwrap();
    let expected = stalls * 3_000..stalls * 3_000 + 1_000;
    assert!(expected.contains(&started.elapsed().as_millis()), "{stalls} stalls of three seconds");
}

#[tokio::test]
async fn a_stream_may_end_cleanly_and_yet_be_cut() {
    check(true, "eof after=headers", |_, seen| assert_eq!((seen.body.len(), seen.end), (0, End::Complete))).await;
    check(true, "eof after=4", |_, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, false, End::Complete));
    })
    .await;
    check(true, "done after=4", |dialect, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, dialect != Dialect::Gemini, End::Complete));
        for reason in ["finish_reason\":\"", "message_delta", "done_reason", "finishReason"] {
            assert!(!seen.text().contains(reason), "{}", seen.text());
        }
    })
    .await;
    check(true, "error after=4 status=529", |dialect, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, false, End::Complete));
        let named = matches!(dialect, Dialect::Messages | Dialect::Responses);
        assert_eq!(seen.text().contains("event: error\n"), named);
        let last = events(seen).pop().unwrap();
        let message = last.pointer("/error/message").or(last.get("message")).unwrap_or(&last["error"]);
        assert!(message.is_string(), "{last}");
    })
    .await;
    check(false, "eof after=4", |_, seen| {
        assert_eq!(seen.end, End::Complete);
        assert!(serde_json::from_slice::<Value>(&seen.body).is_err());
    })
    .await;
}

#[tokio::test]
async fn frames_may_be_broken() {
    check(true, "malformed after=4", |_, seen| {
        assert!(terminated(seen));
        let broken = |line: &&str| {
            let data = line.strip_prefix("data: ").unwrap_or(line);
            data.starts_with('{') && serde_json::from_str::<Value>(data).is_err()
        };
        assert_eq!(seen.text().lines().filter(broken).count(), 1);
    })
    .await;
    for (stream, after) in [(true, "headers"), (true, "4"), (false, "headers")] {
        check(stream, &format!("garbage after={after}"), |_, seen| {
            assert_eq!((seen.status(), seen.end), (200, End::Complete));
            assert!(str::from_utf8(&seen.body).is_err());
        })
        .await;
    }
    check(false, "malformed", |_, seen| assert!(serde_json::from_slice::<Value>(&seen.body).is_err())).await;
}

#[tokio::test]
async fn something_else_may_come_with_status_200() {
    for stream in [true, false] {
        check(stream, "page", |_, seen| {
            assert_eq!((seen.status(), seen.header("content-type")), (200, Some("text/html; charset=utf-8")));
        })
        .await;
        check(stream, "empty", |_, seen| {
            assert_eq!((seen.status(), seen.body.len(), seen.end), (200, 0, End::Complete));
        })
        .await;
        check(stream, "error_in_200", |_, seen| {
            assert_eq!(seen.status(), 200);
            assert!(!seen.error().is_empty());
        })
        .await;
    }
    check(true, "redirect=http://elsewhere.example/", |_, seen| {
        assert_eq!((seen.status(), seen.header("location")), (302, Some("http://elsewhere.example/")));
    })
    .await;
}

#[tokio::test]
async fn a_length_may_be_wrong() {
    for stream in [true, false] {
        check(stream, "wrong_length=30", |_, seen| {
            let promised: usize = seen.header("content-length").unwrap().parse().unwrap();
            assert_eq!((seen.body.len() + 30, seen.end), (promised, End::Closed));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_may_drip() {
    let sim = sim(|settings| settings.answer.characters = 1).await;
    for dialect in Dialect::ALL {
        let started = Instant::now();
        let seen = ask_with(&sim, dialect, true, "drip=1 gap_ms=2").await;
        assert!(terminated(&seen) && seen.chunks.iter().all(|size| *size == 1));
        let took = Duration::from_millis(2 * u64::try_from(seen.body.len()).unwrap());
        assert!(started.elapsed() >= took);
    }
}

#[tokio::test]
async fn bytes_may_be_split_anywhere_and_lines_end_otherwise() {
    check(true, "split=6; crlf; heartbeat", |dialect, seen| {
        assert_eq!(seen.end, End::Complete);
        assert!(terminated(seen) && seen.chunks.iter().all(|size| *size <= 6));
        let has_comments = !matches!(dialect, Dialect::OllamaChat | Dialect::OllamaGenerate);
        assert_eq!(seen.text().contains(": keep-alive\r\n\r\n"), has_comments);
        assert!(!seen.text().replace("\r\n", "").contains(['\n', '\r']));
    })
    .await;
}

#[tokio::test]
async fn cuts_meet_reasoning_tool_calls_and_documents() {
    check(true, "reset after=2 part=reasoning", |dialect, seen| {
        let name = match dialect {
            Dialect::ChatCompletions => "\"reasoning_content\":\"",
            Dialect::Messages => "\"thinking_delta\"",
            Dialect::Responses => "event: response.reasoning_text.delta\n",
            Dialect::Gemini => "\"thought\":true",
            Dialect::OllamaChat | Dialect::OllamaGenerate => "\"thinking\":\"",
            Dialect::Completions => return assert_eq!((seen.status(), deltas(seen)), (500, 0)),
        };
        assert_eq!((seen.text().matches(name).count(), deltas(seen), seen.end), (2, 0, End::Reset));
    })
    .await;
    check(true, "close after=5bytes part=json", |_, seen| {
        assert!(seen.text().contains(r#""{\"pla""#) && seen.end == End::Closed, "{}", seen.text());
    })
    .await;
    check(true, "filter=2", |_, seen| {
        assert_eq!((deltas(seen), terminated(seen)), (2, true));
        let reasons = ["content_filter", "\"stop_reason\":\"refusal\"", "SAFETY", "\"done_reason\":\"stop\""];
        assert!(reasons.iter().any(|reason| seen.text().contains(reason)), "{}", seen.text());
    })
    .await;
}

#[tokio::test]
async fn a_cut_within_a_tool_call_leaves_half_of_its_arguments() {
    let sim = sim(|settings| {
        let call = serde_json::from_str(r#"{"name":"weather","arguments":{"city":"Zürich"}}"#).unwrap();
        settings.answer.calls = vec![call];
        settings.answer.text = Some("Let me look.".to_owned());
        settings.chunk_characters = 3;
    })
    .await;
    for (dialect, name) in [
        (Dialect::ChatCompletions, r#""function":{"arguments""#),
        (Dialect::Messages, "partial_json"),
        (Dialect::Responses, "event: response.function_call_arguments.delta"),
    ] {
        let whole = ask_with(&sim, dialect, true, "pass").await.text();
        let seen = ask_with(&sim, dialect, true, "reset after=4 part=tool_call").await;
        assert_eq!((seen.text().matches(name).count(), seen.end), (4, End::Reset));
        assert!(whole.matches(name).count() > 4 && whole.starts_with(&seen.text()));
    }
    for (dialect, name) in [(Dialect::Gemini, "\"functionCall\""), (Dialect::OllamaChat, "\"tool_calls\"")] {
        let seen = ask_with(&sim, dialect, true, "reset after=4bytes part=tool_call").await;
        assert_eq!(
            (deltas(&seen), seen.text().contains(name), seen.end),
            (4, false, End::Reset),
            "it is never divided"
        );
        let seen = ask_with(&sim, dialect, true, "reset after=1 part=tool_call").await;
        assert_eq!((deltas(&seen), seen.text().matches(name).count(), seen.end), (4, 1, End::Reset));
    }
}

#[tokio::test]
async fn a_provider_may_flap() {
    let sim = sim(|_| {}).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask_with(&sim, Dialect::Messages, true, "flapping=529").await.status());
    }
    assert_eq!(statuses, [529, 200, 529, 200]);
}
