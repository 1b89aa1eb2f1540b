//! Examples: each file in `golden/` is read in its dialect and written in every one.
//!
//! `request-<case>.<dialect>.json` is a request, `answer-….json` a whole answer, `stream-….sse` a stream. What comes of
//! each lies beside it. To accept a change: `INSTA_UPDATE=always cargo test -p commonwatt-wire --test golden`, then read
//! the difference.

#![expect(clippy::expect_used, clippy::panic, reason = "these are tests, helpers included")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Delta};
use commonwatt_core::call::Call;
use commonwatt_core::fault::Fault;
use commonwatt_wire::sse::Framer;
use commonwatt_wire::{
    AnswerReader, AnswerWriter, Dialect, Encoded, Head, InPath, Keeping, Quirks, decode, encode, engine_messages, open,
    read_whole, write_whole,
};

/// The files whose names begin with `kind`: name without ending, dialect, bytes.
fn cases(kind: &str) -> Vec<(String, Dialect, Bytes)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        let Some((stem, ending)) = name.rsplit_once('.') else { continue };
        if !name.starts_with(kind) || !matches!(ending, "json" | "sse" | "ndjson") {
            continue;
        }
        let word = stem.rsplit_once('.').map_or(stem, |(_, word)| word);
        let dialect = Dialect::ALL.into_iter().find(|dialect| short(*dialect) == word);
        let dialect = dialect.unwrap_or_else(|| panic!("`{name}` names no dialect"));
        cases.push((stem.to_owned(), dialect, fs::read(&path).expect("readable").into()));
    }
    cases.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    assert!(!cases.is_empty());
    cases
}

fn check(name: &str, found: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("golden");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name.to_owned(), found));
}

fn short(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::OpenAiChat => "openai",
        Dialect::AnthropicMessages => "anthropic",
        Dialect::OpenAiResponses => "responses",
        Dialect::Gemini => "gemini",
        Dialect::OllamaChat => "ollama",
        Dialect::OllamaGenerate => "generate",
        Dialect::OpenAiCompletions => "completions",
    }
}

fn pretty(json: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(json).expect("valid JSON");
    serde_json::to_string_pretty(&value).expect("text")
}

fn told(lossy: &[String]) -> String {
    if lossy.is_empty() { "nothing".to_owned() } else { lossy.join("; ") }
}

fn to_engine(call: &Call) -> String {
    let chat = match engine_messages(call) {
        Ok(chat) => chat,
        Err(error) => return format!("untranslatable: {error}\n"),
    };
    let tools = chat.tools_json.map_or("none".to_owned(), |tools| pretty(tools.as_bytes()));
    format!("lost: {}\n\n{}\n\ntools: {tools}\n", told(&chat.lossy), pretty(chat.messages_json.as_bytes()))
}

#[test]
fn requests_are_translated() {
    for (name, dialect, body) in cases("request-") {
        let in_path = InPath { model: "auto".into(), stream: name.contains("stream") };
        let in_path = Some(&in_path).filter(|_| dialect == Dialect::Gemini);
        let envelope = open(dialect, in_path, &body).expect("valid");
        let mut call = decode(dialect, &body).expect("valid");
        if let Some(path) = in_path {
            (call.model, call.stream) = (path.model.clone(), path.stream);
        }
        assert_eq!((envelope.stream, envelope.stream_usage), (call.stream, call.stream_usage), "{name}");
        for target in Dialect::OUT {
            let found = match encode(target, &call, "target-model", &Quirks::default()) {
                Ok(Encoded { body, lossy }) => format!("lost: {}\n\n{}\n", told(&lossy), pretty(&body)),
                Err(error) => format!("untranslatable: {error}\n"),
            };
            check(&format!("{name}.to-{}", short(target)), &found);
        }
        check(&format!("{name}.to-engine"), &to_engine(&call));
    }
}

fn head() -> Head {
    Head {
        id: "call-1".into(),
        model: "target-model".into(),
        created_unix_s: 7,
        stream_usage: true,
        request: None,
        keeping: Keeping::default(),
    }
}

fn lines(deltas: &[Delta]) -> String {
    deltas.iter().fold(String::new(), |mut out, delta| {
        writeln!(out, "{delta:?}").expect("memory");
        out
    })
}

#[test]
fn whole_answers_are_translated() {
    for (name, dialect, body) in cases("answer-") {
        let deltas = read_whole(dialect, &body).expect("an answer");
        check(&format!("{name}.deltas"), &lines(&deltas));
        let mut answer = Answer::default();
        deltas.into_iter().for_each(|delta| answer.push(delta));
        for target in Dialect::ALL {
            check(&format!("{name}.to-{}", short(target)), &pretty(&write_whole(target, &answer, &head())));
        }
    }
}

fn read(dialect: Dialect, stream: &[u8]) -> (Vec<Delta>, Result<(), Fault>) {
    let (mut framer, mut reader, mut deltas) = (Framer::new(dialect.framing()), AnswerReader::new(dialect), Vec::new());
    framer.push(Bytes::copy_from_slice(stream)).expect("small");
    while let Some(event) = framer.next() {
        if let Err(fault) = reader.read(&event, &mut deltas) {
            return (deltas, Err(fault));
        }
    }
    assert!(!framer.has_partial());
    (deltas, reader.close())
}

#[test]
fn streams_are_translated() {
    for (name, dialect, stream) in cases("stream-") {
        let (deltas, end) = read(dialect, &stream);
        let end = match end {
            Ok(()) => "complete".to_owned(),
            Err(fault) => fault.to_string(),
        };
        check(&format!("{name}.deltas"), &format!("{}end: {end}\n", lines(&deltas)));
        for target in Dialect::ALL {
            let (mut writer, mut out) = (AnswerWriter::new(target, head()), Vec::new());
            deltas.iter().for_each(|delta| writer.write(delta, &mut out));
            writer.finish(&mut out);
            check(&format!("{name}.to-{}", short(target)), &String::from_utf8(out).expect("text"));
        }
    }
}
