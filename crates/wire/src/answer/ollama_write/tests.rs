//! Traps of Ollama's answers, read and written.

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Delta, Finish, Usage};
use commonwatt_core::fault::{Fault, FaultKind};
use proptest::prelude::*;

use crate::sse::{Framer, Framing};
use crate::{AnswerReader, AnswerWriter, Dialect, Head, read_whole, write_whole};
use Dialect::{OllamaChat as Chat, OllamaGenerate as Generate};

fn head() -> Head {
    Head {
        id: "1".into(),
        model: "m".into(),
        created_unix_s: 7,
        stream_usage: false,
        request: None,
        keeping: crate::answer::Keeping::default(),
    }
}

fn folded(deltas: &[Delta]) -> Answer {
    let mut answer = Answer::default();
    deltas.iter().for_each(|delta| answer.push(delta.clone()));
    Answer { model: String::new(), ..answer }
}

fn read(lines: &[u8]) -> (Vec<Delta>, Result<(), Fault>) {
    let (mut framer, mut reader, mut deltas) = (Framer::new(Framing::Lines), AnswerReader::new(Chat), Vec::new());
    framer.push(Bytes::copy_from_slice(lines)).expect("small");
    while let Some(event) = framer.next() {
        if let Err(fault) = reader.read(&event, &mut deltas) {
            return (deltas, Err(fault));
        }
    }
    (deltas, reader.close())
}

fn written(dialect: Dialect, deltas: &[Delta]) -> Vec<u8> {
    let (mut writer, mut out) = (AnswerWriter::new(dialect, head()), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    out
}

#[test]
fn an_error_on_any_line_is_a_fault_of_the_kind_that_it_says() {
    let hello = r#"{"model":"m","message":{"role":"assistant","content":"hello"},"done":false}"#;
    for (told, kind) in [
        ("the input exceeds the context length", FaultKind::ContextOverflow),
        ("too many requests", FaultKind::RateLimited),
        ("llama runner process no longer running", FaultKind::InBand),
    ] {
        let (deltas, end) = read(format!("{hello}\n{{\"error\":\"{told}\"}}\n").as_bytes());
        assert_eq!(folded(&deltas).text(), "hello");
        assert_eq!(end.expect_err("told").kind, kind);
    }
}

#[test]
fn a_whole_answer_that_is_not_done_is_a_cut() {
    let body = br#"{"model":"m","message":{"role":"assistant","content":"hel"},"done":false}"#;
    assert_eq!(read_whole(Chat, body).expect_err("cut").kind, FaultKind::Cut);
}

#[test]
fn a_model_that_was_loaded_has_nothing_to_say_and_that_is_no_fault() {
    let body = br#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"load"}"#;
    let answer = folded(&read_whole(Chat, body).expect("an answer"));
    assert_eq!(answer.finish, Some(Finish::Other("load".to_owned())));
    let again = write_whole(Chat, &answer, &head());
    assert!(String::from_utf8(again).expect("text").contains(r#""done_reason":"load""#));
}

#[test]
fn an_old_server_that_does_not_say_why_is_done_all_the_same() {
    let body = br#"{"model":"m","response":"hello","done":true,"eval_count":1}"#;
    assert_eq!(folded(&read_whole(Generate, body).expect("an answer")).finish, Some(Finish::Stop));
}

#[test]
fn a_tool_call_without_a_name_is_malformed() {
    let body = br#"{"model":"m","message":{"tool_calls":[{"function":{"arguments":{}}}]},"done":true}"#;
    assert_eq!(read_whole(Chat, body).expect_err("no name").kind, FaultKind::Malformed);
}

#[test]
fn a_tool_call_is_written_when_it_is_complete_on_one_line_and_in_order() {
    let start = |index, id: &str| Delta::ToolCallStarted { index, id: id.into(), name: "f".into() };
    let more = |index, fragment: &str| Delta::ToolCallArguments { index, fragment: fragment.into() };
    let (mut writer, mut out) = (AnswerWriter::new(Chat, head()), Vec::new());
    for delta in [start(0, "a"), start(1, "b"), more(1, "{\n\"y\":\n1}"), more(0, "{\"x\"")] {
        writer.write(&delta, &mut out);
    }
    assert!(out.is_empty());
    writer.write(&more(0, ":1}"), &mut out);
    let lines = String::from_utf8(out).expect("text");
    let calls: Vec<&str> = lines.lines().filter_map(|line| Some(line.split_once("\"tool_calls\":")?.1)).collect();
    let call = |index: u8, id: &str, name: &str| {
        format!(
            r#"[{{"id":"{id}","function":{{"index":{index},"name":"f","arguments":{{"{name}":1}}}}}}]}},"done":false}}"#
        )
    };
    assert_eq!(calls, [call(0, "a", "x"), call(1, "b", "y")]);
}

#[test]
fn an_answer_that_never_finished_ends_in_an_error() {
    let out = String::from_utf8(written(Chat, &[Delta::Text("hel".into())])).expect("text");
    assert!(out.ends_with("{\"error\":\"the answer broke off: it ended without saying why\"}\n"));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(
        thought in prop::option::of("[a-z \"\\\\\n\u{1}é😀]{1,20}"),
        said in prop::collection::vec("[a-z \"\\\\\n\u{1}é😀]{1,20}", 0..4),
        calls in prop::collection::vec("[a-z\"\n]{0,6}", 0..4),
        (input, output) in (0_u64..99, 1_u64..99),
    ) {
        let mut deltas = vec![Delta::Started { id: String::new(), model: "m".to_owned() }];
        deltas.extend(thought.map(Delta::Reasoning));
        deltas.extend(said.into_iter().map(Delta::Text));
        let finish = if calls.is_empty() { Finish::Length } else { Finish::ToolCalls };
        for (index, text) in (0_u32..).zip(calls) {
            deltas.push(Delta::ToolCallStarted { index, id: format!("c{index}"), name: "f".to_owned() });
            let fragment = serde_json::json!({ "x": text }).to_string();
            deltas.push(Delta::ToolCallArguments { index, fragment });
        }
        deltas.extend([Delta::Finished(finish), Delta::Usage(Usage { input, output, ..Usage::default() })]);
        for dialect in [Chat, Generate] {
            let (streamed, end) = read(&written(dialect, &deltas));
            prop_assert_eq!((folded(&streamed), end), (folded(&deltas), Ok(())));
            let body = write_whole(dialect, &folded(&deltas), &head());
            let whole = read_whole(dialect, &body).expect("what we write we can read");
            prop_assert_eq!(folded(&whole), folded(&deltas));
        }
    }
}
