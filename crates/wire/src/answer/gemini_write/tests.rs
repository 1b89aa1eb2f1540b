//! Traps of Gemini's answers, each by name. Whole translations are in `tests/golden`.

use bytes::Bytes;
use commonwatt_core::fault::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::answer::{AnswerReader, AnswerWriter, read_whole};
use crate::{Dialect, sse};

use super::*;

fn about() -> Head {
    Head {
        id: "r".into(),
        model: "m".into(),
        created_unix_s: 7,
        stream_usage: true,
        request: None,
        keeping: crate::answer::Keeping::default(),
    }
}

fn read(chunks: &[Value]) -> (Vec<Delta>, Result<(), Fault>, AnswerReader) {
    let stream: String = chunks.iter().map(|chunk| format!("data: {chunk}\r\n\r\n")).collect();
    let mut framer = sse::Framer::default();
    framer.push(Bytes::from(stream)).expect("small");
    let (mut reader, mut deltas) = (AnswerReader::new(Dialect::Gemini), Vec::new());
    let outcome = std::iter::from_fn(|| framer.next()).try_for_each(|event| reader.read(&event, &mut deltas));
    (deltas, outcome, reader)
}

/// The chunks of a stream of ours.
fn written(deltas: &[Delta]) -> Vec<Value> {
    let (mut writer, mut out) = (AnswerWriter::new(Dialect::Gemini, about()), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    let text = String::from_utf8(out).expect("text");
    let events = text.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    events.map(|event| serde_json::from_str(event).expect("one line of valid JSON")).collect()
}

fn said(text: &str, finish: Option<&str>) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": finish, "index": 0}]})
}

#[test]
fn a_reason_makes_an_end_possible_and_the_bytes_make_it() {
    let (_, outcome, reader) = read(&[said("a", Some("STOP"))]);
    assert_eq!((outcome, reader.ended(), reader.close().is_ok()), (Ok(()), false, true));
    assert_eq!(reader.close(), Ok(()));
    let (_, _, reader) = read(&[said("a", None)]);
    assert_eq!(reader.close().expect_err("cut").kind, FaultKind::Cut);
    let (_, _, reader) = read(&[said("", Some("STOP"))]);
    assert_eq!(reader.close().expect_err("empty").kind, FaultKind::Empty);
}

#[test]
fn a_call_that_cannot_be_run_is_a_fault_that_quotes_nothing() {
    for word in ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"] {
        let body = json!({"candidates": [{"finishReason": word, "finishMessage": "secret"}]}).to_string();
        let fault = read_whole(Dialect::Gemini, body.as_bytes()).expect_err("no answer");
        assert_eq!(fault.kind, FaultKind::Malformed);
        assert!(fault.message.contains(word) && !fault.message.contains("secret"));
    }
}

#[test]
fn other_candidates_are_not_mixed_into_the_first() {
    let body = json!({"candidates": [
        {"content": {"parts": [{"text": "one"}]}, "finishReason": "STOP", "index": 0},
        {"content": {"parts": [{"text": "two"}]}, "finishReason": "MAX_TOKENS", "index": 1},
    ]});
    let deltas = read_whole(Dialect::Gemini, body.to_string().as_bytes()).expect("an answer");
    assert!(deltas.contains(&Delta::Text("one".into())) && !deltas.contains(&Delta::Text("two".into())));
    assert!(deltas.contains(&Delta::Finished(Finish::Stop)));
}

#[test]
fn a_body_of_another_kind_is_no_answer() {
    let kind = |body: &str| read_whole(Dialect::Gemini, body.as_bytes()).expect_err("no answer").kind;
    assert_eq!(kind(r#"{"choices":[]}"#), FaultKind::Malformed);
    assert_eq!(kind(r#"{"candidates":[]}"#), FaultKind::Empty);
    assert_eq!(kind(r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#), FaultKind::RateLimited);
}

#[test]
fn interleaved_arguments_become_whole_calls_in_their_order() {
    let start = |index, id: &str| Delta::ToolCallStarted { index, id: id.into(), name: "f".into() };
    let more = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
    let chunks = written(&[
        start(0, "a"),
        start(1, "b"),
        more(1, "{\n\"y\""),
        more(0, "{}"),
        more(1, ":1}"),
        start(2, "c"),
        more(2, "{\"cut"),
        Delta::Finished(Finish::ToolCalls),
    ]);
    assert_eq!(chunks.len(), 1);
    let candidate = &chunks[0]["candidates"][0];
    let expected = json!([
        {"functionCall": {"id": "a", "name": "f", "args": {}}},
        {"functionCall": {"id": "b", "name": "f", "args": {"y": 1}}},
        {"functionCall": {"id": "c", "name": "f", "args": {"arguments": "{\"cut"}}},
    ]);
    assert_eq!((&candidate["content"]["parts"], &candidate["finishReason"]), (&expected, &json!("STOP")));
}

#[test]
fn an_answer_without_words_still_has_a_part() {
    let chunks = written(&[Delta::Finished(Finish::Length)]);
    assert_eq!(chunks[0]["candidates"][0]["content"]["parts"], json!([{"text": ""}]));
    let answer = Answer { finish: Some(Finish::ContentFilter), ..Answer::default() };
    let body: Value = serde_json::from_slice(&whole(&answer, &about())).expect("valid JSON");
    assert_eq!(body["candidates"][0]["finishReason"], "SAFETY");
}

#[test]
fn an_answer_that_never_finished_ends_in_an_error() {
    let chunks = written(&[Delta::Text("half".into())]);
    assert_eq!(chunks.last().expect("an event")["error"]["status"], "UNAVAILABLE");
}

#[test]
fn usage_reads_back_as_it_was_written() {
    let usage = Usage { input: 20, cache_read: 100, cache_write: 0, output: 42, reasoning: 12 };
    let (deltas, _, _) = read(&written(&[Delta::Text("a".into()), Delta::Finished(Finish::Stop), Delta::Usage(usage)]));
    assert!(deltas.contains(&Delta::Usage(usage)));
}
