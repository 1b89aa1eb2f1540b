//! Traps of Ollama's requests, read and written.

use bytes::Bytes;
use commonwatt_core::call::{Call, Item, ReasoningWish, Role, Tool, ToolChoice};
use serde_json::{Value, json};

use crate::{Dialect, Quirks, decode, encode, open};
use Dialect::{OllamaChat as Chat, OllamaGenerate as Generate, OpenAiChat as OpenAi};

fn read(dialect: Dialect, body: &Value) -> Call {
    decode(dialect, &body.to_string().into()).expect("a valid request")
}

fn chat(messages: &Value) -> Call {
    read(Chat, &json!({"model": "m", "messages": messages}))
}

fn written(dialect: Dialect, call: &Call, quirks: &Quirks) -> (Value, Vec<String>) {
    let encoded = encode(dialect, call, "m", quirks).expect("translatable");
    (serde_json::from_slice(&encoded.body).expect("valid JSON"), encoded.lossy)
}

/// The ids of the calls, and of the calls whose results come, in order.
fn pairs(call: &Call) -> (Vec<&str>, Vec<&str>) {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    for item in &call.items {
        match item {
            Item::ToolCall(call) => asked.push(call.id.as_str()),
            Item::ToolOutput { call_id, .. } => answered.push(call_id.as_str()),
            Item::Message { .. } | Item::Reasoning(_) | Item::Opaque(..) | Item::Field(..) => {}
        }
    }
    (asked, answered)
}

#[test]
fn an_id_that_is_made_is_nobody_elses() {
    let f = |arguments: u8| json!({"function": {"name": "f", "arguments": {"x": arguments}}});
    let call = chat(&json!([
        {"role": "assistant", "tool_calls": [f(1), {"id": "call_0", "function": {"name": "f", "arguments": {}}}, f(2)]},
        {"role": "tool", "tool_call_id": "call_0", "content": "named"},
        {"role": "tool", "tool_name": "f", "content": "first"},
        {"role": "tool", "content": "second"},
        {"role": "tool", "tool_name": "f", "content": "of nothing"},
    ]));
    assert_eq!(pairs(&call), (vec!["call_1", "call_0", "call_2"], vec!["call_0", "call_1", "call_2", "call_3"]));
}

#[test]
fn a_result_belongs_to_the_newest_turn_that_waits() {
    let turn =
        json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]});
    let result = json!({"role": "tool", "name": "f", "content": "x"});
    let call = chat(&json!([turn, {"role": "user", "content": "again"}, turn, result]));
    assert_eq!(pairs(&call), (vec!["call_0", "call_1"], vec!["call_1"]));
}

#[test]
fn what_is_not_said_streams() {
    let body = |stream: Value| json!({"model": "m", "messages": [], "stream": stream});
    for (stream, streams) in [(json!(null), true), (json!(true), true), (json!(false), false)] {
        let text = body(stream).to_string();
        assert_eq!(decode(Chat, &text.clone().into()).expect("valid").stream, streams);
        assert_eq!(open(Chat, None, &Bytes::copy_from_slice(text.as_bytes())).expect("valid").stream, streams);
    }
    assert!(read(Chat, &json!({"model": "m", "messages": []})).stream);
    let (body, _) = written(
        Chat,
        &read(OpenAi, &json!({"model": "m", "messages": [{"role": "user", "content": "x"}]})),
        &Quirks::default(),
    );
    assert_eq!(body["stream"], json!(false));
}

#[test]
fn the_window_is_asked_for_so_that_the_front_of_the_prompt_is_not_dropped() {
    let quirks = Quirks { num_ctx: Some(32_768), ..Quirks::default() };
    let messages = json!([{"role": "user", "content": "x"}]);
    let call = read(OpenAi, &json!({"model": "m", "messages": messages}));
    assert_eq!(written(Chat, &call, &quirks).0["options"], json!({"num_ctx": 32_768}));
    let call = read(Chat, &json!({"model": "m", "messages": messages, "options": {"num_ctx": 8_192}}));
    assert_eq!(written(Chat, &call, &quirks).0["options"], json!({"num_ctx": 8_192}));
    let call = read(Generate, &json!({"model": "m", "prompt": "x", "options": {"num_ctx": 8_192}}));
    assert_eq!(written(Chat, &call, &quirks).0["options"], json!({"num_ctx": 8_192}));
}

#[test]
fn a_bound_below_zero_is_none_and_the_stranger_one_stays_at_home() {
    let call = |bound: i32| {
        read(
            Chat,
            &json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": bound}}),
        )
    };
    assert_eq!(call(-1).max_output_tokens, None);
    assert_eq!(written(OpenAi, &call(-1), &Quirks::default()).1, Vec::<String>::new());
    assert_eq!(written(Chat, &call(-2), &Quirks::default()).0["options"], json!({"num_predict": -2}));
    assert_eq!(written(OpenAi, &call(-2), &Quirks::default()).1, ["options.num_predict"]);
    assert_eq!(call(5).max_output_tokens, Some(5));
}

#[test]
fn where_no_tool_may_be_used_none_is_offered() {
    let tool = Tool { name: "f".to_owned(), ..Tool::default() };
    let mut call = chat(&json!([{"role": "user", "content": "x"}]));
    (call.dialect, call.tools) = (OpenAi.word(), vec![tool]);
    for (choice, offered, lost) in [
        (ToolChoice::Auto, true, None),
        (ToolChoice::None, false, Some("tools (none is to be used)")),
        (ToolChoice::Required, true, Some("tool_choice")),
        (ToolChoice::Named("f".to_owned()), true, Some("tool_choice")),
    ] {
        call.tool_choice = Some(choice);
        let (body, lossy) = written(Chat, &call, &Quirks::default());
        assert_eq!((body.get("tools").is_some(), lossy.first().map(String::as_str)), (offered, lost));
    }
}

#[test]
fn a_word_of_effort_that_ollama_does_not_know_is_the_next_one_that_it_does() {
    let mut call = chat(&json!([{"role": "user", "content": "x"}]));
    call.dialect = OpenAi.word();
    for (word, known) in [("minimal", "low"), ("low", "low"), ("medium", "medium"), ("high", "high"), ("xhigh", "high")]
    {
        call.reasoning = Some(ReasoningWish::Effort(word.to_owned()));
        let (body, lossy) = written(Chat, &call, &Quirks::default());
        assert_eq!(body["think"], json!(known));
        let told = (word != known).then(|| format!("reasoning_effort (as {known})"));
        assert_eq!(lossy, told.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn what_only_ollama_knows_goes_back_to_it() {
    let body = json!({
        "model": "m",
        "messages": [
            {"role": "system", "content": "s", "mark": 1},
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "a", "function": {"name": "f", "arguments": {"x": 1}, "note": 2}, "seal": "s"}
            ]},
            {"role": "tool", "content": "r", "tool_name": "f", "tool_call_id": "a", "took": 3},
        ],
        "tools": [{"type": "web"}, {"type": "function", "function": {"name": "f", "x": 1}, "y": 2}],
        "options": {"mirostat": 2},
        "stream": true,
        "truncate": false,
    });
    let (written, lossy) = written(Chat, &read(Chat, &body), &Quirks::default());
    assert_eq!((written, lossy), (body, vec![]));
}

#[test]
fn settings_that_typed_clients_always_write_say_nothing() {
    let body = json!({"model": "m", "prompt": "x", "suffix": "", "system": "", "template": "", "format": "",
        "raw": false, "context": [], "options": null, "images": []});
    let call = read(Generate, &body);
    assert!(call.extra.is_empty() && call.system.is_empty());
    let said: Vec<_> = call
        .items
        .iter()
        .map(|item| matches!(item, Item::Message { role: Role::User, content } if content.len() == 1))
        .collect();
    assert_eq!(said, [true]);
}

#[test]
fn a_conversation_without_a_word_loads_no_model() {
    let empty = Call { dialect: OpenAi.word(), model: "m".to_owned(), ..Call::default() };
    let error = encode(Chat, &empty, "m", &Quirks::default()).expect_err("nothing to say");
    assert_eq!(error.to_string(), "the conversation holds nothing to answer");
}

#[test]
fn mistakes_name_the_field_and_not_the_prompt() {
    let request = |messages: Value| json!({"model": "m", "messages": messages});
    let cases = [
        (Chat, json!({"model": "m"}), "the field `messages` is missing: send the conversation in it"),
        (Chat, request(json!("secret")), "the field `messages` must be an array"),
        (Chat, request(json!([{"content": "secret"}])), "the field `messages[0].role` must be a string"),
        (Chat, request(json!([{"role": "narrator"}])), "`messages[0].role` is `narrator`, which no message can have"),
        (
            Chat,
            request(json!([{"role": "user", "content": ["secret"]}])),
            "the field `messages[0].content` must be a string",
        ),
        (
            Chat,
            request(json!([{"role": "user", "images": [{"url": "secret"}]}])),
            "the field `messages[0].images[0]` must be a string of base64",
        ),
        (
            Chat,
            request(json!([{"role": "assistant", "tool_calls": [{"function": {}}]}])),
            "the field `messages[0].tool_calls[0].function.name` must be a string",
        ),
        (
            Chat,
            json!({"model": "m", "messages": [], "options": {"top_k": "secret"}}),
            "the field `options.top_k` must be a whole number, not negative",
        ),
        (Chat, json!({"model": "m", "messages": [], "format": "xml"}), "the field `format` must be `json` or a schema"),
        (
            Chat,
            json!({"model": "m", "messages": [], "think": 1}),
            "the field `think` must be `true`, `false` or a word such as `high`",
        ),
        (Generate, json!({"model": "m"}), "the field `prompt` is missing: send the text in it"),
        (Generate, json!({"model": "m", "prompt": ["secret"]}), "the field `prompt` must be a string"),
    ];
    for (dialect, body, sentence) in cases {
        assert_eq!(decode(dialect, &body.to_string().into()).expect_err("wrong").to_string(), sentence);
    }
}
