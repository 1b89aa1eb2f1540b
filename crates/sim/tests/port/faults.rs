//! Every fault as a client meets it.

use std::time::Duration;

use commonwatt_sim::Dialect;
use serde_json::Value;
use tokio::time::Instant;

use crate::client::{End, Seen, ask, ask_with, question, sim};

/// Plays the fault in both dialects and looks at what came.
async fn check(stream: bool, fault: &str, look: impl Fn(Dialect, &Seen)) {
    let sim = sim(|_| {}).await;
    for dialect in Dialect::ALL {
        look(dialect, &ask_with(&sim, dialect, stream, fault).await);
    }
}

/// Events with content.
fn deltas(seen: &Seen) -> usize {
    let text = seen.text();
    text.matches("\"delta\":{\"content\":\"").count() - text.matches("\"delta\":{\"content\":\"\"").count()
        + text.matches("text_delta").count()
}

fn terminated(seen: &Seen) -> bool {
    seen.text().contains("[DONE]") || seen.text().contains("message_stop")
}

#[tokio::test]
async fn every_status_comes_with_its_error_and_its_delay() {
    for status in [400, 401, 403, 404, 413, 429, 500, 502, 503, 529] {
        for stream in [true, false] {
            check(stream, &format!("status={status} retry_after_s=9"), |_, seen| {
                assert_eq!((seen.status(), seen.end, seen.header("retry-after")), (status, End::Complete, Some("9")));
                assert!(seen.json()["error"]["message"].is_string());
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
        check(true, &format!("{how} after=preamble"), |_, seen| assert_eq!((seen.chunks.len(), seen.end), (1, end)))
            .await;
        check(true, &format!("{how} after=5"), |_, seen| assert_eq!((deltas(seen), seen.end), (5, end))).await;
        check(true, &format!("{how} after=999wire"), |_, seen| assert_eq!((seen.body.len(), seen.end), (999, end)))
            .await;
        check(true, &format!("{how} after=finish"), |_, seen| assert_eq!((terminated(seen), seen.end), (false, end)))
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
    check(true, "stall after=preamble", |_, seen| assert_eq!((seen.chunks.len(), seen.end), (1, End::Silent))).await;
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
    assert!((30_000..31_000).contains(&started.elapsed().as_millis()), "ten stalls of three seconds");
}

#[tokio::test]
async fn a_stream_may_end_cleanly_and_yet_be_cut() {
    check(true, "eof after=headers", |_, seen| assert_eq!((seen.body.len(), seen.end), (0, End::Complete))).await;
    check(true, "eof after=4", |_, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, false, End::Complete));
    })
    .await;
    check(true, "done after=4", |_, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, true, End::Complete));
        assert!(!seen.text().contains("finish_reason\":\"") && !seen.text().contains("message_delta"));
    })
    .await;
    check(true, "error after=4 status=529", |dialect, seen| {
        assert_eq!((deltas(seen), terminated(seen), seen.end), (4, false, End::Complete));
        assert_eq!(seen.text().contains("event: error\n"), dialect == Dialect::Messages);
        assert!(seen.text().contains("{\"error\":{") || seen.text().contains("overloaded_error"));
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
            line.strip_prefix("data: ")
                .is_some_and(|data| data != "[DONE]" && serde_json::from_str::<Value>(data).is_err())
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
            assert!(seen.json()["error"]["message"].is_string());
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
    check(true, "split=6; crlf; heartbeat", |_, seen| {
        assert_eq!(seen.end, End::Complete);
        assert!(terminated(seen) && seen.chunks.iter().all(|size| *size <= 6));
        assert!(seen.text().contains(": keep-alive\r\n\r\n") && !seen.text().replace("\r\n", "").contains('\n'));
    })
    .await;
}

#[tokio::test]
async fn cuts_meet_reasoning_tool_calls_and_documents() {
    check(true, "reset after=2 part=reasoning", |dialect, seen| {
        let name = if dialect == Dialect::Messages { "thinking_delta" } else { "reasoning_content" };
        assert_eq!((seen.text().matches(name).count(), deltas(seen), seen.end), (2, 0, End::Reset));
    })
    .await;
    check(true, "close after=5bytes part=json", |_, seen| {
        assert!(seen.text().contains(r#""{\"pla""#) && seen.end == End::Closed, "{}", seen.text());
    })
    .await;
    check(true, "filter=2", |_, seen| {
        assert_eq!((deltas(seen), terminated(seen)), (2, true));
        assert!(seen.text().contains("content_filter") || seen.text().contains("\"stop_reason\":\"refusal\""));
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
    for dialect in Dialect::ALL {
        let whole = ask_with(&sim, dialect, true, "pass").await.text();
        let seen = ask_with(&sim, dialect, true, "reset after=4 part=tool_call").await;
        let name = if dialect == Dialect::Messages { "partial_json" } else { r#""function":{"arguments""# };
        assert_eq!((seen.text().matches(name).count(), seen.end), (4, End::Reset));
        assert!(whole.matches(name).count() > 4 && whole.starts_with(&seen.text()));
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
