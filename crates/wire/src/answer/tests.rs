//! Traps that other gateways fell into, each by name.

use bytes::Bytes;
use commonwatt_core::answer::{Block, Usage};
use commonwatt_core::refusal::RefusalKind;

use super::*;
use Dialect::{AnthropicMessages as Anthropic, OpenAiChat as OpenAi};

fn events(stream: &str) -> Vec<sse::Event> {
    framed(sse::Framing::Events, stream)
}

fn framed(framing: sse::Framing, stream: &str) -> Vec<sse::Event> {
    let mut framer = sse::Framer::new(framing);
    framer.push(Bytes::copy_from_slice(stream.as_bytes())).expect("small");
    std::iter::from_fn(|| framer.next()).collect()
}

/// The deltas of a stream, how it ended, and whether it could end there.
fn read(dialect: Dialect, stream: &str) -> (Answer, Result<(), Fault>, AnswerReader) {
    let mut reader = AnswerReader::new(dialect);
    let mut deltas = Vec::new();
    let outcome = framed(dialect.framing(), stream).iter().try_for_each(|event| reader.read(event, &mut deltas));
    let mut answer = Answer::default();
    deltas.into_iter().for_each(|delta| answer.push(delta));
    (answer, outcome, reader)
}

/// An OpenAI stream of these chunks' choices, in data lines.
fn openai(choices: &[&str]) -> String {
    choices.iter().map(|choice| format!("data: {{\"id\":\"c1\",\"model\":\"m\",\"choices\":[{choice}]}}\n\n")).collect()
}

const HELLO: &str = r#"{"index":0,"delta":{"role":"assistant","content":"hello"}}"#;
const STOP: &str = r#"{"index":0,"delta":{},"finish_reason":"stop"}"#;
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_premature_done_is_a_cut() {
    let (answer, outcome, reader) = read(OpenAi, &(openai(&[HELLO]) + DONE));
    assert_eq!(answer.text(), "hello");
    assert_eq!(outcome.expect_err("cut").kind, FaultKind::Cut);
    assert!(!reader.ended() && reader.close().is_err());
}

#[test]
fn a_missing_done_after_a_finish_reason_is_an_end() {
    let (_, outcome, reader) = read(OpenAi, &openai(&[HELLO, STOP]));
    assert_eq!(outcome, Ok(()));
    assert!(!reader.ended() && reader.close().is_ok());
    assert_eq!(reader.close(), Ok(()));
}

#[test]
fn an_end_without_a_finish_reason_is_a_cut() {
    let (_, outcome, reader) = read(OpenAi, &openai(&[HELLO]));
    assert_eq!(outcome, Ok(()));
    assert_eq!(reader.close().expect_err("cut").kind, FaultKind::Cut);
}

#[test]
fn an_error_after_the_preamble_is_a_fault_and_not_an_end() {
    let role = openai(&[r#"{"index":0,"delta":{"role":"assistant","content":""}}"#]);
    let error = "data: {\"error\":{\"message\":\"quota\",\"type\":\"insufficient_quota\"}}\n\n";
    let (answer, outcome, _) = read(OpenAi, &(role + error));
    assert!(!answer.has_content());
    assert_eq!(outcome.expect_err("told").kind, FaultKind::QuotaExhausted);

    let start =
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"a\",\"model\":\"m\"}}\n\n";
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let (_, outcome, _) = read(Anthropic, &format!("{start}{error}"));
    assert_eq!(outcome.expect_err("told").kind, FaultKind::Overloaded);
}

#[test]
fn a_chunk_that_is_not_json_is_malformed_and_not_quoted() {
    let (_, outcome, _) = read(OpenAi, "data: {\"secret\n\n");
    let fault = outcome.expect_err("malformed");
    assert_eq!(fault.kind, FaultKind::Malformed);
    assert!(!fault.message.contains("secret"));
}

#[test]
fn usage_in_a_last_chunk_with_an_empty_choice_is_counted() {
    let last = "data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2}}\n\n";
    let (answer, outcome, _) = read(OpenAi, &(openai(&[HELLO, STOP]) + last + DONE));
    assert_eq!(outcome, Ok(()));
    assert_eq!(answer.usage, Some(Usage { input: 9, output: 2, ..Usage::default() }));
}

#[test]
fn usage_in_a_chunk_without_choices_is_counted() {
    let last = "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n";
    let (answer, _, reader) = read(OpenAi, &(openai(&[HELLO, STOP]) + last + DONE));
    assert_eq!(answer.usage.map(|usage| usage.total()), Some(11));
    assert!(reader.ended());
}

#[test]
fn of_usage_in_every_chunk_the_last_counts() {
    let chunk = |output: u64, choice: &str| {
        format!(
            "data: {{\"id\":\"c\",\"choices\":[{choice}],\"usage\":{{\"prompt_tokens\":5,\"completion_tokens\":{output}}}}}\n\n"
        )
    };
    let (answer, _, _) = read(OpenAi, &(chunk(1, HELLO) + &chunk(2, HELLO) + &chunk(3, STOP) + DONE));
    assert_eq!(answer.usage.map(|usage| usage.output), Some(3));
}

#[test]
fn cached_tokens_are_counted_once_in_both_dialects() {
    let body =
        br#"{"id":"c","choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,
        "completion_tokens":5,"total_tokens":105,"prompt_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},
        "completion_tokens_details":{"reasoning_tokens":2}}}"#;
    let expected = Usage { input: 10, cache_read: 60, cache_write: 30, output: 5, reasoning: 2 };
    let usage = |dialect, body: &[u8]| {
        let deltas = read_whole(dialect, body).expect("an answer");
        deltas.into_iter().find_map(|delta| if let Delta::Usage(usage) = delta { Some(usage) } else { None })
    };
    assert_eq!(usage(OpenAi, body), Some(expected));
    let mut answer = Answer { usage: Some(expected), finish: Some(Finish::Stop), ..Answer::default() };
    answer.push(Delta::Text("x".into()));
    for dialect in [OpenAi, Anthropic, Dialect::OpenAiResponses] {
        assert_eq!(usage(dialect, &write_whole(dialect, &answer, &head(true))), Some(expected), "{dialect}");
    }
    // Gemini does not count what is written to the cache, Ollama counts nothing apart.
    let gemini = Usage { input: 40, cache_write: 0, ..expected };
    assert_eq!(usage(Dialect::Gemini, &write_whole(Dialect::Gemini, &answer, &head(true))), Some(gemini));
    let ollama = Usage { input: 100, output: 5, ..Usage::default() };
    assert_eq!(usage(Dialect::OllamaChat, &write_whole(Dialect::OllamaChat, &answer, &head(true))), Some(ollama));
}

#[test]
fn thinking_that_is_only_in_the_total_is_counted_as_output() {
    let body = br#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":115}}"#;
    let deltas = read_whole(OpenAi, body).expect("an answer");
    assert!(deltas.contains(&Delta::Usage(Usage { input: 10, output: 105, reasoning: 100, ..Usage::default() })));
}

#[test]
fn whole_tool_calls_without_an_index_are_told_apart() {
    let call = |id: &str, city: &str| {
        format!(
            r#"{{"delta":{{"tool_calls":[{{"id":"{id}","function":{{"name":"weather","arguments":"{{\"c\":\"{city}\"}}"}}}}]}}}}"#
        )
    };
    let stream = openai(&[&call("a", "Bern"), &call("b", "Rome"), STOP]) + DONE;
    let (answer, outcome, _) = read(OpenAi, &stream);
    assert_eq!(outcome, Ok(()));
    let calls: Vec<_> = answer.tool_calls().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
    assert_eq!(calls, [("a", r#"{"c":"Bern"}"#), ("b", r#"{"c":"Rome"}"#)]);
    assert_eq!(answer.finish, Some(Finish::ToolCalls));
}

#[test]
fn tool_calls_that_all_have_index_zero_are_told_apart() {
    for (first, second) in [("a", "b"), ("", "")] {
        let call = |id: &str, city: &str| {
            format!(
                r#"{{"delta":{{"tool_calls":[{{"index":0,"id":"{id}","function":{{"name":"weather","arguments":"{{\"c\":\"{city}\"}}"}}}}]}}}}"#
            )
        };
        let (answer, _, _) = read(OpenAi, &openai(&[&call(first, "Bern"), &call(second, "Rome"), STOP]));
        let calls: Vec<_> = answer.tool_calls().collect();
        assert_eq!(calls.len(), 2, "ids {first:?} and {second:?}");
        assert_ne!(calls[0].id, calls[1].id);
        assert_eq!(calls[1].arguments, r#"{"c":"Rome"}"#);
    }
}

#[test]
fn an_id_and_name_repeated_in_every_chunk_begin_no_new_call() {
    let part = |arguments: &str| {
        format!(
            r#"{{"delta":{{"tool_calls":[{{"index":0,"id":"a","function":{{"name":"f","arguments":"{arguments}"}}}}]}}}}"#
        )
    };
    let (answer, _, _) = read(OpenAi, &openai(&[&part(r#"{\"x\""#), &part(":1"), &part("}"), STOP]));
    let calls: Vec<_> = answer.tool_calls().map(|call| call.arguments.as_str()).collect();
    assert_eq!(calls, [r#"{"x":1}"#]);
}

#[test]
fn interleaved_arguments_of_parallel_calls_never_merge() {
    let part = |index: u32, head: &str, arguments: &str| {
        format!(r#"{{"delta":{{"tool_calls":[{{"index":{index}{head},"function":{{"arguments":"{arguments}"}}}}]}}}}"#)
    };
    let begin = |index: u32, id: &str| {
        format!(
            r#"{{"delta":{{"tool_calls":[{{"index":{index},"id":"{id}","function":{{"name":"f","arguments":""}}}}]}}}}"#
        )
    };
    let stream = openai(&[
        &begin(0, "a"),
        &begin(1, "b"),
        &part(1, "", r#"{\"n\""#),
        &part(0, "", r#"{\"n\""#),
        &part(1, "", ":1}"),
        &part(0, "", ":0}"),
        STOP,
    ]);
    let mut reader = AnswerReader::new(OpenAi);
    let mut deltas = Vec::new();
    events(&stream).iter().try_for_each(|event| reader.read(event, &mut deltas)).expect("valid");
    for dialect in Dialect::OUT {
        let written = write(dialect, &deltas);
        let (answer, outcome, _) = read(dialect, &written);
        assert_eq!(outcome, Ok(()));
        let calls: Vec<_> = answer.tool_calls().map(|call| (call.id.as_str(), call.arguments.as_str())).collect();
        assert_eq!(calls, [("a", r#"{"n":0}"#), ("b", r#"{"n":1}"#)], "{written}");
    }
    let written = write(Anthropic, &deltas);
    assert!(blocks_are_one_after_the_other(&written), "{written}");
}

#[test]
fn think_tags_inside_text_are_left_as_text() {
    let chunk = r#"{"index":0,"delta":{"content":"<think>hm</think>yes"}}"#;
    let (answer, _, _) = read(OpenAi, &openai(&[chunk, STOP]));
    assert_eq!(answer.text(), "<think>hm</think>yes");
}

#[test]
fn thinking_in_an_answer_is_never_part_of_its_text() {
    let deltas = [Delta::Reasoning("INNER".into()), Delta::Text("hello".into()), Delta::Finished(Finish::Stop)];
    for dialect in Dialect::ALL {
        let (answer, outcome, _) = read(dialect, &write(dialect, &deltas));
        assert_eq!((answer.text().as_str(), outcome), ("hello", Ok(())), "{dialect}");
        let mut whole = Answer::default();
        deltas.iter().for_each(|delta| whole.push(delta.clone()));
        let mut told = Answer::default();
        let body = write_whole(dialect, &whole, &head(true));
        read_whole(dialect, &body).expect("an answer").into_iter().for_each(|delta| told.push(delta));
        assert_eq!(told.text(), "hello", "{dialect}");
    }
}

#[test]
fn thinking_is_read_in_all_its_spellings() {
    for delta in [
        r#"{"reasoning_content":"hm"}"#,
        r#"{"reasoning":"hm"}"#,
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}"#,
    ] {
        let (answer, _, _) = read(OpenAi, &openai(&[&format!(r#"{{"delta":{delta}}}"#), HELLO, STOP]));
        assert!(matches!(&answer.blocks[0], Block::Reasoning(reasoning) if reasoning.text == "hm"), "{delta}");
        assert_eq!(answer.text(), "hello");
    }
}

#[test]
fn half_a_surrogate_pair_in_a_chunk_does_not_end_the_stream() {
    let (answer, outcome, _) = read(OpenAi, &openai(&[r#"{"delta":{"content":"a\ud83d"}}"#, STOP]));
    assert_eq!(outcome, Ok(()));
    assert_eq!(answer.text(), "a\u{fffd}");
}

#[test]
fn an_empty_whole_answer_is_a_fault_and_a_legitimate_one_is_not() {
    let kind = |body: &str| read_whole(OpenAi, body.as_bytes()).map_err(|fault| fault.kind);
    let choice = |message: &str, finish: &str, usage: &str| {
        kind(&format!(r#"{{"choices":[{{"message":{message},"finish_reason":{finish}}}],"usage":{usage}}}"#))
    };
    assert_eq!(kind(r#"{"choices":[]}"#), Err(FaultKind::Empty));
    assert_eq!(kind(""), Err(FaultKind::Empty));
    assert_eq!(kind("{}"), Err(FaultKind::Malformed));
    assert_eq!(kind("[]"), Err(FaultKind::Malformed));
    assert_eq!(kind("<html>"), Err(FaultKind::Malformed));
    assert_eq!(kind(r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#), Err(FaultKind::RateLimited));
    assert_eq!(choice(r#"{"content":""}"#, "null", "null"), Err(FaultKind::Empty));
    assert_eq!(choice(r#"{"content":""}"#, r#""stop""#, "null"), Err(FaultKind::Empty));
    assert!(choice(r#"{"content":""}"#, r#""stop""#, r#"{"completion_tokens":3}"#).is_ok());
    assert!(choice(r#"{"content":null}"#, r#""length""#, "null").is_ok());
    assert!(choice(r#"{"content":"x"}"#, "null", "null").expect("an answer").contains(&Delta::Finished(Finish::Stop)));
    assert_eq!(read_whole(Anthropic, b"{\"type\":\"message\"}").map_err(|fault| fault.kind), Err(FaultKind::Malformed));
}

#[test]
fn an_anthropic_tool_call_without_arguments_has_an_empty_object() {
    let stream = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}}\n\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n";
    let (answer, _, _) = read(Anthropic, stream);
    assert_eq!(answer.tool_calls().next().expect("a call").arguments, "{}");
}

fn head(stream_usage: bool) -> Head {
    Head {
        id: "1".into(),
        model: "m".into(),
        created_unix_s: 7,
        stream_usage,
        request: None,
        keeping: Keeping::default(),
    }
}

fn write(dialect: Dialect, deltas: &[Delta]) -> String {
    let (mut writer, mut out) = (AnswerWriter::new(dialect, head(true)), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    String::from_utf8(out).expect("text")
}

/// Whether Anthropic's blocks open and close in order, with indices from zero.
fn blocks_are_one_after_the_other(stream: &str) -> bool {
    let (mut open, mut next) = (None, 0);
    for event in events(stream) {
        let data: serde_json::Value = serde_json::from_slice(event.data()).expect("JSON");
        let index = data["index"].as_u64();
        match data["type"].as_str().expect("a type") {
            "content_block_start" if open.is_none() && index == Some(next) => open = index,
            "content_block_delta" if open == index => {}
            "content_block_stop" if open == index => {
                open = None;
                next += 1;
            }
            "message_start" | "message_delta" | "message_stop" if open.is_none() => {}
            _ => return false,
        }
    }
    open.is_none()
}

#[test]
fn an_answer_that_never_finished_gets_no_false_end() {
    for dialect in Dialect::OUT {
        let written = write(dialect, &[Delta::Text("hello".into())]);
        assert!(!written.contains("[DONE]") && !written.contains("message_stop"), "{written}");
        assert!(!written.contains("finish_reason\":\"stop"), "{written}");
        assert!(read(dialect, &written).1.is_err(), "the end tells of an error");
    }
}

#[test]
fn a_refusal_in_a_stream_is_an_error_event_in_the_dialect() {
    let refusal = Refusal::new(RefusalKind::UpstreamFailed, "the answer broke off");
    let mut out = Vec::new();
    AnswerWriter::refuse_verbatim(OpenAi, &Bytes::new(), &refusal, &mut out);
    AnswerWriter::refuse_verbatim(Anthropic, &Bytes::new(), &refusal, &mut out);
    let expected = "data: {\"error\":{\"message\":\"the answer broke off\",\"type\":\"server_error\",\"param\":null,\"code\":\"upstream_failed\"}}\n\n\
        event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"the answer broke off\"}}\n\n";
    assert_eq!(String::from_utf8(out).expect("text"), expected);
}

#[test]
fn log_probabilities_over_several_lines_stay_one_event() {
    let logprobs = Delta::Logprobs(commonwatt_core::call::RawJson("[\n {\"token\":\"a\"}\r\n]".into()));
    let written = write(OpenAi, &[Delta::Text("a".into()), logprobs, Delta::Finished(Finish::Stop)]);
    let (answer, outcome, _) = read(OpenAi, &written);
    assert_eq!(outcome, Ok(()));
    assert_eq!(answer.logprobs.len(), 1);
}
