use super::*;
use crate::asked::Window;

fn asked() -> Asked {
    let turns = vec![crate::asked::Turn::new(Speaker::User, "x".to_owned())];
    Asked { model: "m".to_owned(), turns, ..Asked::default() }
}

fn whole(dialect: Dialect, asked: &Asked, answer: &Answer) -> Value {
    serde_json::from_slice(&dialect.whole(Rendering { asked, answer, with_usage: true }).bytes).unwrap()
}

fn lines(dialect: Dialect, asked: &Asked, answer: &Answer) -> Vec<Value> {
    let pieces: Vec<_> =
        answer.blocks.iter().enumerate().map(|(block, b)| Piece { block, part: b.part(), text: b.content() }).collect();
    let frames = dialect.frames(Rendering { asked, answer, with_usage: true }, &pieces);
    let line = |frame: &Frame| {
        let text = str::from_utf8(&frame.bytes).unwrap().strip_suffix('\n').unwrap().to_owned();
        assert!(!text.contains('\n'));
        let mut line: Value = serde_json::from_str(&text).unwrap();
        let fields = line.as_object_mut().unwrap();
        assert_eq!(fields.remove("model").unwrap(), "m");
        assert_eq!(fields.remove("created_at").unwrap(), "2026-01-01T00:00:00Z");
        line
    };
    frames.iter().map(line).collect()
}

/// What the last line says of the answer of [`answer`].
fn ending(fields: &Value) -> Value {
    let mut ending = fields.clone();
    let said = json!({
        "done": true, "done_reason": "stop", "total_duration": 127_000_000, "load_duration": 2_000_000,
        "prompt_eval_count": 5, "prompt_eval_duration": 5_000_000, "eval_count": 6, "eval_duration": 120_000_000,
    });
    ending.as_object_mut().unwrap().extend(said.as_object().unwrap().clone());
    ending
}

#[test]
fn a_chat_is_one_object_a_line() {
    let message = |fields: Value| {
        let mut message = json!({ "role": "assistant", "content": "" });
        message.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "message": message })
    };
    let running = |fields: Value| {
        let mut line = message(fields);
        line["done"] = json!(false);
        line
    };
    let call = |name: &str, arguments: Value| json!([{ "function": { "name": name, "arguments": arguments } }]);
    assert_eq!(
        lines(Dialect::OllamaChat, &asked(), &answer()),
        [
            running(json!({ "thinking": "hmm" })),
            running(json!({ "content": "Zürich" })),
            running(json!({ "tool_calls": call("weather", json!({ "a": 1 })) })),
            running(json!({ "tool_calls": call("news", json!({})) })),
            ending(&message(json!({}))),
        ]
    );
    let mut body = whole(Dialect::OllamaChat, &asked(), &answer());
    body.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "model" | "created_at"));
    let calls = json!([call("weather", json!({ "a": 1 }))[0], call("news", json!({}))[0]]);
    assert_eq!(body, ending(&message(json!({ "content": "Zürich", "thinking": "hmm", "tool_calls": calls }))));
}

#[test]
fn a_completion_is_a_response_rather_than_a_message() {
    let mut answer = answer();
    answer.blocks.truncate(2);
    answer.stop = Stop::Length;
    answer.count();
    let lines = lines(Dialect::OllamaGenerate, &asked(), &answer);
    assert_eq!(lines[0], json!({ "response": "", "thinking": "hmm", "done": false }));
    assert_eq!(lines[1], json!({ "response": "Zürich", "done": false }));
    assert_eq!((&lines[2]["response"], &lines[2]["done_reason"]), (&json!(""), &json!("length")));
    let body = whole(Dialect::OllamaGenerate, &asked(), &answer);
    assert_eq!((&body["response"], &body["thinking"], &body["done"]), (&json!("Zürich"), &json!("hmm"), &json!(true)));
}

#[test]
fn nothing_asked_only_loads_the_model() {
    for (dialect, request) in [
        (Dialect::OllamaChat, json!({ "model": "m", "messages": [] })),
        (Dialect::OllamaGenerate, json!({ "model": "m" })),
    ] {
        let asked = decoded(dialect, &request).unwrap();
        let body = whole(dialect, &asked, &answer());
        let text = if dialect == Dialect::OllamaChat { &body["message"]["content"] } else { &body["response"] };
        assert_eq!((asked.stream, text, &body["done_reason"]), (false, &json!(""), &json!("load")));
        assert_eq!(body.get("eval_count"), None);
    }
}

#[test]
fn a_prompt_longer_than_the_window_loses_its_front_without_a_word() {
    let messages: Vec<_> =
        (0..9).map(|at| json!({ "role": "user", "content": format!("{at}{}", "x".repeat(399)) })).collect();
    let mut conversation = vec![json!({ "role": "system", "content": "Be brief." })];
    conversation.extend(messages);
    let request = |options: Value| json!({ "model": "m", "messages": conversation, "options": options });
    let whole = decoded(Dialect::OllamaChat, &request(json!({}))).unwrap();
    assert_eq!((whole.turns.len(), whole.window), (10, Some(Window { num_ctx: 4096, dropped_tokens: 0 })));
    let cut = decoded(Dialect::OllamaChat, &request(json!({ "num_ctx": 400 }))).unwrap();
    let dropped_tokens = whole.prompt_tokens - cut.prompt_tokens;
    assert_eq!(cut.window, Some(Window { num_ctx: 400, dropped_tokens }));
    assert!(cut.prompt_tokens <= 400 && dropped_tokens.is_multiple_of(100), "{dropped_tokens}");
    let left: Vec<_> = cut.turns.iter().map(|turn| turn.text.chars().next().unwrap()).collect();
    assert_eq!(left, ['B', '6', '7', '8'], "the instructions and the last turns are left");
    let narrow = AnswerSettings { num_ctx: 50, ..AnswerSettings::default() };
    let least = decoded_by(Dialect::OllamaChat, &request(json!({})), &narrow).unwrap();
    assert_eq!((least.turns.len(), least.prompt_tokens), (2, 50));
}

#[test]
fn requests_that_ollama_refuses_are_refused() {
    let refused = |request: Value| decoded(Dialect::OllamaChat, &request).unwrap_err();
    assert_eq!(refused(json!({ "messages": [] })), "model is required");
    assert_eq!(
        refused(json!({ "model": "m", "messages": [{ "role": "robot", "content": "" }] })),
        "invalid role: robot"
    );
    let call = json!([{ "function": { "name": "weather", "arguments": "{}" } }]);
    let openai = json!([{ "role": "assistant", "content": "", "tool_calls": call }]);
    assert!(refused(json!({ "model": "m", "messages": openai })).contains("cannot unmarshal string"));
    let body: Value = serde_json::from_slice(&Dialect::OllamaChat.error_body(&Denial::usual(401))).unwrap();
    assert_eq!(body, json!({ "error": "unauthorized" }));
}

#[test]
fn a_call_and_its_result_need_no_ids() {
    let call = json!([{ "function": { "name": "weather", "arguments": { "city": "Zürich" } } }]);
    let request = json!({ "model": "m", "messages": [
        { "role": "user", "content": "x" }, { "role": "assistant", "content": "", "tool_calls": call },
        { "role": "tool", "tool_name": "weather", "content": "rain" },
    ] });
    let asked = decoded(Dialect::OllamaChat, &request).unwrap();
    assert_eq!(asked.turns[1].text, r#"{"name":"weather","arguments":"{\"city\":\"Zürich\"}"}"#);
    assert_eq!((asked.turns[2].speaker, asked.turns[2].text.as_str()), (Speaker::Tool, "rain"));
}
