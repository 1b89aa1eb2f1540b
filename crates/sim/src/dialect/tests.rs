use serde_json::{Value, json};

use super::*;
use crate::answer::{Block, Stop, Usage, signature};
use crate::asked::{Speaker, ToolChoice};
use crate::settings::Prefill;

fn decoded(dialect: Dialect, request: &Value) -> Result<Asked, String> {
    decoded_by(dialect, request, &AnswerSettings::default())
}

fn decoded_by(dialect: Dialect, request: &Value, answer: &AnswerSettings) -> Result<Asked, String> {
    let address = Address { model: Some("m"), ..Address::default() };
    let rules = Rules { seed: 1, answer, address };
    dialect.decode(request.to_string().as_bytes(), rules).map_err(|denial| {
        assert_eq!(denial.status, 400);
        denial.message.unwrap_or_default()
    })
}

fn answer() -> Answer {
    let mut answer = Answer {
        identity: 7,
        seal: "seal".to_owned(),
        blocks: vec![
            Block::Reasoning { text: "hmm".to_owned(), signature: "sig==".to_owned() },
            Block::Text("Zürich".to_owned()),
            Block::Call { identity: 8, name: "weather".to_owned(), arguments: r#"{"a":1}"#.to_owned() },
            Block::Call { identity: 9, name: "news".to_owned(), arguments: "{}".to_owned() },
        ],
        stop: Stop::Calls,
        usage: Usage { prompt: 5, ..Usage::default() },
    };
    answer.count();
    answer
}

fn streamed(dialect: Dialect, asked: &Asked, answer: &Answer) -> Vec<(Option<String>, Value)> {
    let pieces: Vec<_> =
        answer.blocks.iter().enumerate().map(|(block, b)| Piece { block, part: b.part(), text: b.content() }).collect();
    let frames = dialect.frames(Rendering { asked, answer, with_usage: true }, &pieces);
    frames.iter().map(|frame| parsed(str::from_utf8(&frame.bytes).unwrap())).collect()
}

fn parsed(event: &str) -> (Option<String>, Value) {
    let lines = event.strip_suffix("\n\n").unwrap();
    let (name, data) = match lines.split_once('\n') {
        Some((name, data)) => (Some(name.strip_prefix("event: ").unwrap().to_owned()), data),
        None => (None, lines),
    };
    let data = data.strip_prefix("data: ").unwrap();
    (name, if data == "[DONE]" { json!(data) } else { serde_json::from_str(data).unwrap() })
}

#[test]
fn chat_completions_stream_in_their_grammar() {
    let asked = Asked { model: "m".to_owned(), include_usage: true, ..Asked::default() };
    let events = streamed(Dialect::ChatCompletions, &asked, &answer());
    assert!(events.iter().all(|(name, _)| name.is_none()));
    let last = events.len() - 1;
    assert_eq!(events[last].1, "[DONE]");
    let usage = &events[last - 1].1;
    assert_eq!((&usage["choices"], &usage["usage"]["completion_tokens"]), (&json!([]), &json!(6)));
    let chunks = &events[..last - 1];
    assert!(chunks.iter().all(|(_, chunk)| chunk["object"] == "chat.completion.chunk" && chunk["usage"].is_null()));
    let deltas: Vec<_> = chunks.iter().map(|(_, chunk)| chunk["choices"][0]["delta"].clone()).collect();
    let call_id = deltas[3]["tool_calls"][0]["id"].as_str().unwrap();
    assert!(call_id.starts_with("call_"));
    assert_eq!(
        deltas,
        [
            json!({ "role": "assistant", "content": "", "refusal": null }),
            json!({ "reasoning_content": "hmm" }),
            json!({ "content": "Zürich" }),
            json!({ "tool_calls": [{ "index": 0, "id": call_id, "type": "function", "function": { "name": "weather", "arguments": "" } }] }),
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"a\":1}" } }] }),
            json!({ "tool_calls": [{ "index": 1, "id": deltas[5]["tool_calls"][0]["id"], "type": "function", "function": { "name": "news", "arguments": "" } }] }),
            json!({ "tool_calls": [{ "index": 1, "function": { "arguments": "{}" } }] }),
            json!({}),
        ]
    );
    let reasons: Vec<_> = chunks.iter().map(|(_, chunk)| &chunk["choices"][0]["finish_reason"]).collect();
    assert_eq!(reasons.iter().filter(|reason| !reason.is_null()).count(), 1);
    assert_eq!(reasons[7], "tool_calls");
}

#[test]
fn chat_completions_tell_usage_only_when_asked() {
    let asked = Asked { model: "m".to_owned(), ..Asked::default() };
    let events = streamed(Dialect::ChatCompletions, &asked, &answer());
    assert!(events.iter().all(|(_, chunk)| chunk.get("usage").is_none()));
}

#[test]
fn messages_stream_in_their_grammar() {
    let asked = Asked { model: "m".to_owned(), ..Asked::default() };
    let events = streamed(Dialect::Messages, &asked, &answer());
    assert!(events.iter().all(|(name, data)| data["type"] == *name.as_ref().unwrap()));
    let names: Vec<_> = events.iter().map(|(name, _)| name.as_deref().unwrap()).collect();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let thinking = ["content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop"];
    let expected =
        [&["message_start"], &thinking[..], &block, &block, &block, &["message_delta", "message_stop"]].concat();
    assert_eq!(names, expected);
    assert_eq!(events[0].1["message"]["usage"]["input_tokens"], 5);
    assert_eq!(events[1].1["content_block"], json!({ "type": "thinking", "thinking": "", "signature": "" }));
    assert_eq!(events[4].1["delta"], json!({ "type": "signature_delta", "signature": "sig==" }));
    assert_eq!(events[10].1["delta"], json!({ "type": "input_json_delta", "partial_json": "{\"a\":1}" }));
    assert_eq!(events[12].1["index"], 3);
    let end = &events[names.len() - 2].1;
    assert_eq!((&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]), (&json!("tool_use"), &json!(6)));
}

#[test]
fn whole_answers_hold_the_same_as_streams() {
    let asked = Asked { model: "m".to_owned(), ..Asked::default() };
    let answer = answer();
    let rendering = Rendering { asked: &asked, answer: &answer, with_usage: true };
    let chat: Value = serde_json::from_slice(&Dialect::ChatCompletions.whole(rendering).bytes).unwrap();
    let message = &chat["choices"][0]["message"];
    assert_eq!((&message["content"], &message["reasoning_content"]), (&json!("Zürich"), &json!("hmm")));
    assert_eq!(message["tool_calls"][1]["function"], json!({ "name": "news", "arguments": "{}" }));
    assert_eq!(
        (&chat["choices"][0]["finish_reason"], &chat["usage"]["total_tokens"]),
        (&json!("tool_calls"), &json!(11))
    );
    let messages: Value = serde_json::from_slice(&Dialect::Messages.whole(rendering).bytes).unwrap();
    let types: Vec<_> = messages["content"].as_array().unwrap().iter().map(|block| &block["type"]).collect();
    assert_eq!(types, ["thinking", "text", "tool_use", "tool_use"]);
    assert_eq!(messages["content"][2]["input"], json!({ "a": 1 }));
    assert_eq!((&messages["stop_reason"], &messages["usage"]["output_tokens"]), (&json!("tool_use"), &json!(6)));
}

/// The conversation of the test below, as in Chat Completions and in Messages.
fn chat_and_messages() -> [Asked; 2] {
    let chat = decoded(
        Dialect::ChatCompletions,
        &json!({
            "model": "m", "stream": true, "max_completion_tokens": 9, "stop": "END", "reasoning_effort": "high",
            "tools": [{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }],
            "tool_choice": { "type": "function", "function": { "name": "weather" } }, "parallel_tool_calls": false,
            "messages": [
                { "role": "developer", "content": "Be brief." },
                { "role": "user", "content": [{ "type": "text", "text": "Hello" }] },
            ],
        }),
    )
    .unwrap();
    let messages = decoded(
        Dialect::Messages,
        &json!({
            "model": "m", "stream": true, "max_tokens": 9, "stop_sequences": ["END"], "thinking": { "type": "adaptive" },
            "tools": [{ "name": "weather", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": "weather", "disable_parallel_tool_use": true },
            "system": [{ "type": "text", "text": "Be brief." }],
            "messages": [{ "role": "user", "content": "Hello" }],
        }),
    )
    .unwrap();
    [chat, messages]
}

#[test]
fn a_conversation_is_the_same_in_chat_completions_and_messages() {
    let [chat, messages] = chat_and_messages();
    assert_eq!(chat.turns, messages.turns);
    for asked in [&chat, &messages] {
        assert_eq!(asked.tool_choice, ToolChoice::Named("weather".to_owned()));
        assert!(asked.stream && asked.reasoning && !asked.parallel);
        assert_eq!(
            (asked.max_tokens, &asked.stop_sequences[..], asked.tools.len()),
            (Some(9), &["END".to_owned()][..], 1)
        );
        assert!(asked.prompt_tokens > 0);
    }
}

#[test]
fn a_conversation_is_the_same_in_every_dialect() {
    let [chat, messages] = chat_and_messages();
    let responses = decoded(
        Dialect::Responses,
        &json!({
            "model": "m", "stream": true, "max_output_tokens": 9, "reasoning": { "effort": "high" },
            "tools": [{ "type": "function", "name": "weather", "parameters": { "type": "object" } }],
            "tool_choice": { "type": "function", "name": "weather" }, "parallel_tool_calls": false,
            "instructions": "Be brief.",
            "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "Hello" }] }],
        }),
    )
    .unwrap();
    let gemini = decoded(
        Dialect::Gemini,
        &json!({
            "generationConfig": { "maxOutputTokens": 9, "stopSequences": ["END"], "thinkingConfig": { "includeThoughts": true } },
            "tools": [{ "functionDeclarations": [{ "name": "weather", "parameters": { "type": "OBJECT" } }, { "name": "news" }] }],
            "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["weather"] } },
            "systemInstruction": { "parts": [{ "text": "Be brief." }] },
            "contents": [{ "role": "user", "parts": [{ "text": "Hel" }, { "text": "lo" }] }],
        }),
    )
    .unwrap();
    let ollama = decoded(
        Dialect::OllamaChat,
        &json!({
            "model": "m", "options": { "num_predict": 9, "stop": ["END"] }, "think": true,
            "tools": [{ "type": "function", "function": { "name": "weather", "parameters": { "type": "object" } } }],
            "messages": [{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Hello" }],
        }),
    )
    .unwrap();
    assert_eq!(chat.turns[0].speaker, Speaker::System);
    for asked in [&messages, &responses, &gemini, &ollama] {
        assert_eq!((&asked.turns, asked.model.as_str()), (&chat.turns, "m"));
        assert!(asked.reasoning && asked.prompt_tokens > 0);
        assert_eq!((asked.max_tokens, asked.tools.len()), (Some(9), 1));
        assert_eq!(asked.tools[0].schema, json!({ "type": "object" }));
    }
    for asked in [&messages, &responses, &gemini] {
        assert_eq!(asked.tool_choice, ToolChoice::Named("weather".to_owned()));
    }
    assert!(responses.stream && !responses.parallel);
    assert!(!gemini.stream && ollama.stream, "Gemini streams by its path, Ollama unless told not to");
    for asked in [&gemini, &ollama] {
        assert_eq!(asked.stop_sequences, ["END"]);
    }
}

#[test]
fn structured_output_is_recognised() {
    let schema = json!({ "type": "object" });
    let chat = json!({
        "model": "m", "messages": [{ "role": "user", "content": "x" }],
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": schema } },
    });
    assert_eq!(decoded(Dialect::ChatCompletions, &chat).unwrap().schema, Some(schema.clone()));
    let messages = json!({
        "model": "m", "max_tokens": 1, "messages": [{ "role": "user", "content": "x" }],
        "output_config": { "format": { "type": "json_schema", "schema": schema } },
    });
    assert_eq!(decoded(Dialect::Messages, &messages).unwrap().schema.as_ref(), Some(&schema));
    let responses = json!({
        "model": "m", "input": "x", "text": { "format": { "type": "json_schema", "name": "n", "schema": schema } },
    });
    assert_eq!(decoded(Dialect::Responses, &responses).unwrap().schema.as_ref(), Some(&schema));
    let config = json!({ "responseMimeType": "application/json", "responseSchema": { "type": "OBJECT" } });
    let gemini = json!({ "contents": [{ "parts": [{ "text": "x" }] }], "generationConfig": config });
    assert_eq!(decoded(Dialect::Gemini, &gemini).unwrap().schema.as_ref(), Some(&schema));
    for (format, expected) in [(json!("json"), Some(json!({}))), (schema.clone(), Some(schema)), (json!(null), None)] {
        let chat = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }], "format": format });
        assert_eq!(decoded(Dialect::OllamaChat, &chat).unwrap().schema, expected);
        let generate = json!({ "model": "m", "prompt": "x", "format": format });
        assert_eq!(decoded(Dialect::OllamaGenerate, &generate).unwrap().schema, expected);
    }
}

#[test]
fn requests_that_a_provider_refuses_are_refused() {
    let chat = |request: Value| decoded(Dialect::ChatCompletions, &request).unwrap_err();
    assert!(chat(json!({ "messages": [] })).contains("model"));
    assert!(chat(json!({ "model": "m" })).contains("'messages'"));
    assert!(chat(json!({ "model": "m", "messages": [{ "role": "robot", "content": "" }] })).contains("'robot'"));
    let lost = json!([{ "role": "assistant", "tool_calls": [{ "id": "call_1", "function": {} }] }, { "role": "user", "content": "" }]);
    assert!(chat(json!({ "model": "m", "messages": lost })).contains("call_1"));
    let orphan = json!([{ "role": "tool", "tool_call_id": "call_2", "content": "" }]);
    assert!(chat(json!({ "model": "m", "messages": orphan })).contains("call_2"));
    let messages = |request: Value| decoded(Dialect::Messages, &request).unwrap_err();
    assert_eq!(messages(json!({ "model": "m", "messages": [] })), "max_tokens: Field required");
    let system = json!([{ "role": "system", "content": "x" }]);
    assert!(messages(json!({ "model": "m", "max_tokens": 1, "messages": system })).contains("messages.0.role"));
    let prefill = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": "The " }]);
    assert!(messages(json!({ "model": "m", "max_tokens": 1, "messages": prefill })).contains("trailing whitespace"));
    let lost = json!([{ "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_1", "name": "n", "input": {} }] }, { "role": "user", "content": "x" }]);
    let error = messages(json!({ "model": "m", "max_tokens": 1, "system": "s", "messages": lost }));
    assert!(error.starts_with("messages.0:") && error.contains("toolu_1"), "{error}");
}

#[test]
fn a_prefill_can_be_refused() {
    let answer = AnswerSettings { prefill: Prefill::Refuse, ..AnswerSettings::default() };
    let turns = json!([{ "role": "user", "content": "x" }, { "role": "assistant", "content": "The" }]);
    let contents = json!([{ "parts": [{ "text": "x" }] }, { "role": "model", "parts": [{ "text": "The" }] }]);
    for (dialect, request) in [
        (Dialect::ChatCompletions, json!({ "model": "m", "messages": turns })),
        (Dialect::Messages, json!({ "model": "m", "max_tokens": 1, "messages": turns })),
        (Dialect::Responses, json!({ "model": "m", "input": turns })),
        (Dialect::Gemini, json!({ "contents": contents })),
        (Dialect::OllamaChat, json!({ "model": "m", "messages": turns })),
    ] {
        assert!(decoded(dialect, &request).is_ok());
        assert!(decoded_by(dialect, &request, &answer).is_err());
    }
}

#[test]
fn only_signatures_of_this_seed_and_model_are_genuine() {
    let request = |signature: &str| {
        let thinking = json!([{ "type": "thinking", "thinking": "hm", "signature": signature }, { "type": "text", "text": "Yes." }]);
        let turns = json!([{ "role": "assistant", "content": thinking }, { "role": "user", "content": "x" }]);
        json!({ "model": "m", "max_tokens": 1, "messages": turns })
    };
    assert!(decoded(Dialect::Messages, &request(&signature(1, "m", "hm"))).is_ok());
    for foreign in [signature(2, "m", "hm"), signature(1, "other", "hm"), signature(1, "m", "ah")] {
        let error = decoded(Dialect::Messages, &request(&foreign)).unwrap_err();
        assert_eq!(error, "messages.0.content.0: Invalid `signature` in `thinking` block");
        let trusting = AnswerSettings { check_signatures: false, ..AnswerSettings::default() };
        assert!(decoded_by(Dialect::Messages, &request(&foreign), &trusting).is_ok());
    }
}

#[test]
fn errors_have_the_shape_of_their_dialect() {
    let body =
        |dialect: Dialect, denial: &Denial| serde_json::from_slice::<Value>(&dialect.error_body(denial)).unwrap();
    let chat = body(Dialect::ChatCompletions, &Denial::usual(429));
    assert_eq!((&chat["error"]["code"], &chat["error"]["param"]), (&json!("rate_limit_exceeded"), &Value::Null));
    let quota = body(Dialect::ChatCompletions, &Denial::usual(429).with_code("insufficient_quota"));
    assert_eq!(quota["error"]["type"], "insufficient_quota");
    let types = [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ];
    for (status, kind) in types {
        let messages = body(Dialect::Messages, &Denial::usual(status));
        assert_eq!((&messages["type"], &messages["error"]["type"]), (&json!("error"), &json!(kind)));
        assert!(messages["request_id"].as_str().unwrap().starts_with("req_"));
    }
    let (name, data) = parsed(str::from_utf8(&Dialect::Messages.error_frame(&Denial::usual(529), 0).bytes).unwrap());
    assert_eq!((name.as_deref(), &data["error"]["message"]), (Some("error"), &json!("Overloaded")));
}

mod gemini;
mod ollama;
mod responses;
