//! Rules and traps of requests, each by name. Whole translations are in `tests/golden`.

use commonwatt_core::call::{Part, RawJson, Role};
use commonwatt_core::call::{Reasoning, ReasoningWish, Sampling, Tool, ToolCall};
use serde_json::{Value, json};

use super::*;
use Dialect::{AnthropicMessages as Anthropic, OpenAiChat as OpenAi};

fn read(dialect: Dialect, body: &Value) -> Call {
    decode(dialect, &body.to_string().into()).expect("a valid request")
}

fn told(dialect: Dialect, body: &Value) -> String {
    decode(dialect, &body.to_string().into()).expect_err("a request that is wrong").to_string()
}

fn written(dialect: Dialect, call: &Call, model: &str, quirks: &Quirks) -> (Value, Vec<String>) {
    let encoded = encode(dialect, call, model, quirks).expect("translatable");
    (serde_json::from_slice(&encoded.body).expect("valid JSON"), encoded.lossy)
}

fn user(text: &str) -> Item {
    Item::Message { role: Role::User, content: vec![Part::Text(text.into())] }
}

fn call(items: Vec<Item>) -> Call {
    Call { model: "m".to_owned(), items, ..Call::default() }
}

fn asked(id: &str, arguments: &str) -> Item {
    Item::ToolCall(ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments: arguments.into(), signature: None })
}

fn answered(id: &str, text: &str) -> Item {
    Item::ToolOutput { call_id: id.to_owned(), content: vec![Part::Text(text.into())], is_error: false }
}

#[test]
fn mistakes_name_the_field_and_not_the_prompt() {
    let request = |messages: Value| json!({"model": "m", "messages": messages});
    let cases = [
        (OpenAi, json!({"messages": []}), "the field `model` is missing: name a route such as `auto`, or a model"),
        (OpenAi, json!({"model": "m"}), "the field `messages` is missing: send the conversation in it"),
        (OpenAi, request(json!("secret")), "the field `messages` must be an array"),
        (OpenAi, request(json!(["secret"])), "the field `messages[0].role` must be a string"),
        (OpenAi, request(json!([{"role": "narrator"}])), "`messages[0].role` is `narrator`, which no message can have"),
        (
            OpenAi,
            request(json!([{"role": "tool", "content": "secret"}])),
            "the field `messages[0].tool_call_id` must be a string",
        ),
        (
            OpenAi,
            request(json!([{"role": "user", "content": [{"text": "secret"}]}])),
            "the field `messages[0].content[0].type` must be a string",
        ),
        (
            OpenAi,
            request(json!([{"role": "function", "name": "f", "content": "secret"}])),
            "`messages[0].role` is `function`, which is no longer supported: use `tool`",
        ),
        (
            OpenAi,
            json!({"model": "m", "messages": [], "functions": []}),
            "the field `functions` is no longer supported: use `tools`",
        ),
        (
            OpenAi,
            json!({"model": "m", "messages": [], "temperature": "hot"}),
            "the field `temperature` must be a number",
        ),
        (
            Anthropic,
            json!({"model": "m", "messages": [], "max_tokens": -1}),
            "the field `max_tokens` must be a whole number, not negative",
        ),
        (Anthropic, request(json!([{"role": "user"}])), "the field `messages[0].content` must be there"),
        (
            Anthropic,
            request(json!([{"role": "user", "content": [{"type": "tool_result", "content": "secret"}]}])),
            "the field `messages[0].content[0].tool_use_id` must be a string",
        ),
    ];
    for (dialect, body, expected) in cases {
        assert_eq!(told(dialect, &body), expected);
    }
}

#[test]
fn results_of_parallel_tool_calls_stand_in_one_user_message_in_their_order() {
    let items = vec![user("x"), asked("a", "{}"), asked("b", "{}"), answered("b", "2"), answered("a", "1"), user("go")];
    let (body, lossy) = written(Anthropic, &call(items), "m", &Quirks::default());
    assert_eq!(lossy, Vec::<String>::new());
    let roles: Vec<_> = body["messages"].as_array().expect("messages").iter().map(|m| m["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let blocks = &body["messages"][2]["content"];
    let ids: Vec<_> = (0..2).map(|at| blocks[at]["tool_use_id"].clone()).collect();
    assert_eq!((ids, &blocks[2]["text"]), (vec![json!("b"), json!("a")], &json!("go")));
}

#[test]
fn a_dangling_tool_call_gets_a_result_so_that_no_provider_refuses_the_history_for_ever() {
    let history = call(vec![user("x"), asked("a", "{\"cut"), user("are you there?")]);
    for dialect in Dialect::OUT {
        let (body, lossy) = written(dialect, &history, "m", &Quirks::default());
        assert!(lossy.iter().any(|note| note.contains("without a result")), "{lossy:?}");
        let conversation = ["messages", "input", "contents"].iter().find_map(|name| body.get(name)).expect("one");
        assert!(conversation[2].to_string().contains("the call was interrupted"), "{body}");
    }
}

#[test]
fn ids_that_the_target_refuses_are_mapped_on_both_sides_of_the_pair() {
    let kimi = "functions.weather:0";
    let (body, _) =
        written(Anthropic, &call(vec![user("x"), asked(kimi, "{}"), answered(kimi, "1")]), "m", &Quirks::default());
    let id = body["messages"][1]["content"][0]["id"].as_str().expect("an id");
    assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
    assert_eq!(body["messages"][2]["content"][0]["tool_use_id"], id);
    let quirks = Quirks { tool_ids: ToolIdShape::Nine, ..Quirks::default() };
    let (body, _) = written(OpenAi, &call(vec![user("x"), asked(kimi, "{}"), answered(kimi, "1")]), "m", &quirks);
    let id = body["messages"][1]["tool_calls"][0]["id"].as_str().expect("an id");
    assert_eq!((id.len(), &body["messages"][2]["tool_call_id"]), (9, &json!(id)));
}

#[test]
fn cache_marks_of_blocks_survive_a_flattened_text() {
    let body = json!({"model": "m", "max_tokens": 1, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]},
    ]});
    let (same, lossy) = written(Anthropic, &read(Anthropic, &body), "m", &Quirks::default());
    assert_eq!((&same["messages"], lossy), (&body["messages"], vec![]));
    // OpenAI-shaped routers pass the same mark; it means the same.
    let body = json!({"model": "m", "messages": body["messages"]});
    let (other, lossy) = written(Anthropic, &read(OpenAi, &body), "m", &Quirks::default());
    assert_eq!((&other["messages"], lossy), (&body["messages"], vec![]));
}

/// An agent's conversation of so many rounds, each with a call under an id that most targets refuse.
fn agent(rounds: usize) -> Value {
    let mut messages = vec![json!({"role": "system", "content": "You are a careful agent."})];
    for round in 0..rounds {
        let id = format!("functions.read:{round}");
        let called = json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{\"line\":1}"}});
        messages.push(json!({"role": "user", "content": format!("Question {round}?")}));
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [called]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": format!("Line {round}.")}));
        messages.push(json!({"role": "assistant", "content": format!("Answer {round}.")}));
    }
    messages.push(json!({"role": "user", "content": "And now?"}));
    let parameters = json!({"type": "object", "properties": {"line": {"type": "integer"}}});
    let tool = json!({"type": "function", "function": {"name": "read", "parameters": parameters}});
    json!({"model": "m", "messages": messages, "tools": [tool]})
}

/// The member of a request that holds the conversation.
fn conversation(body: &Value) -> (&'static str, &Vec<Value>) {
    let names = ["messages", "input", "contents"];
    let found = names.into_iter().find_map(|name| Some((name, body.get(name)?.as_array()?)));
    found.expect("a conversation")
}

#[test]
fn a_longer_conversation_begins_as_the_shorter_did_so_that_prompt_caches_hold() {
    for dialect in Dialect::OUT {
        for model in ["m", "gemini-3-pro"] {
            let (short, _) = written(dialect, &read(OpenAi, &agent(3)), model, &Quirks::default());
            let (long, _) = written(dialect, &read(OpenAi, &agent(5)), model, &Quirks::default());
            let ((name, begins), (_, goes_on)) = (conversation(&short), conversation(&long));
            let (_, before) = begins.split_last().expect("messages");
            assert!(before.len() > 8 && goes_on.starts_with(before), "{dialect}, {model}: {short}\n{long}");
            let apart = |body: &Value| {
                let mut body = body.clone();
                body[name].take();
                body
            };
            assert_eq!(apart(&short), apart(&long), "{dialect}");
        }
    }
}

#[test]
fn the_same_request_is_written_in_the_same_bytes_with_the_stable_part_first() {
    for dialect in Dialect::OUT {
        let call = read(OpenAi, &agent(3));
        let write = || encode(dialect, &call, "m", &Quirks::default()).expect("translatable").body;
        assert_eq!(write(), write());
        let text = String::from_utf8(write().to_vec()).expect("text");
        let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{dialect}: no {words} in {text}"));
        assert!(at("careful agent") < at("Question 0"), "{text}");
        if dialect == Anthropic {
            assert!(at("input_schema") < at("careful agent"), "{text}");
        }
    }
}

#[test]
fn no_cache_mark_is_set_that_the_caller_did_not_set() {
    for dialect in Dialect::OUT {
        let (body, _) = written(dialect, &read(OpenAi, &agent(3)), "m", &Quirks::default());
        assert!(!body.to_string().contains("cache"), "{body}");
    }
}

/// Places where a text stands as something that was said, not thought.
fn said_aloud(value: &Value, words: &str) -> Vec<String> {
    let thought = |key: &str, within: &serde_json::Map<String, Value>| {
        matches!(key, "thinking" | "reasoning" | "reasoning_content")
            || within.get("thought") == Some(&json!(true))
            || matches!(within.get("type").and_then(Value::as_str), Some("summary_text" | "reasoning_text"))
    };
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(key, _)| !thought(key, members))
            .flat_map(|(_, value)| said_aloud(value, words))
            .collect(),
        Value::Array(items) => items.iter().flat_map(|item| said_aloud(item, words)).collect(),
        Value::String(text) if text.contains(words) => vec![text.clone()],
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn thinking_of_earlier_turns_is_never_said_aloud() {
    for signature in [None, Some("c2ln".to_owned())] {
        let thought = Item::Reasoning(Reasoning { text: "INNER".to_owned(), signature, ..Reasoning::default() });
        let answer = Item::Message { role: Role::Assistant, content: vec![Part::Text("yes".into())] };
        for from in Dialect::ALL {
            let items = vec![user("x"), thought.clone(), answer.clone(), user("y")];
            let history = Call { dialect: from.word(), ..call(items) };
            for (dialect, reasoning_history) in Dialect::OUT.into_iter().flat_map(|to| [(to, false), (to, true)]) {
                let quirks = Quirks { reasoning_history, ..Quirks::default() };
                let (body, _) = written(dialect, &history, "m", &quirks);
                assert_eq!(said_aloud(&body, "INNER"), Vec::<String>::new(), "{from} to {dialect}: {body}");
            }
            let chat = engine_messages(&history).expect("translatable");
            let messages: Value = serde_json::from_str(&chat.messages_json).expect("valid JSON");
            assert_eq!(said_aloud(&messages, "INNER"), Vec::<String>::new());
        }
    }
    let aloud = json!({"messages": [{"role": "assistant", "content": "INNER", "reasoning_content": "INNER"}]});
    assert_eq!(said_aloud(&aloud, "INNER"), ["INNER"]);
}

#[test]
fn what_only_its_provider_keeps_of_a_conversation_is_not_answered_by_another() {
    let responses = |more: Value| {
        let mut body = json!({"model": "m", "input": [{"role": "user", "content": "go on"}]});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("fields").clone());
        (Dialect::OpenAiResponses, body)
    };
    let cases = [
        (responses(json!({"previous_response_id": "resp_1"})), "previous_response_id"),
        (responses(json!({"conversation": "conv_1"})), "conversation"),
        (responses(json!({"prompt": {"id": "pmpt_1"}})), "prompt"),
        (responses(json!({"input": [{"type": "item_reference", "id": "msg_1"}]})), "item_reference"),
        (
            (Dialect::Gemini, json!({"cached_content": "c/1", "contents": [{"parts": [{"text": "go on"}]}]})),
            "cachedContent",
        ),
        ((Dialect::OllamaGenerate, json!({"model": "m", "prompt": "go on", "context": [1, 2]})), "context"),
    ];
    for ((from, body), field) in cases {
        let call = read(from, &body);
        for dialect in Dialect::OUT.into_iter().filter(|dialect| *dialect != from) {
            let error = encode(dialect, &call, "m", &Quirks::default()).expect_err("part of it is elsewhere");
            assert!(error.to_string().starts_with(&format!("`{field}` leads to")), "{from} to {dialect}: {error}");
        }
        assert!(engine_messages(&call).is_err(), "{field}");
        if Dialect::OUT.contains(&from) {
            let told = |encoded: Encoded| String::from_utf8_lossy(&encoded.body).contains(field);
            assert_eq!(encode(from, &call, "m", &Quirks::default()).map(told), Ok(true), "{field}");
        }
    }
    let none = responses(json!({"previous_response_id": null, "conversation": null}));
    assert!(encode(OpenAi, &read(none.0, &none.1), "m", &Quirks::default()).is_ok());
}

#[test]
fn sampling_is_left_out_for_models_that_refuse_it() {
    let sampling = Sampling { temperature: Some(0.2), top_p: Some(0.9), top_k: Some(5), ..Sampling::default() };
    let call = Call { sampling, ..call(vec![user("x")]) };
    let quirks = Quirks { sampling_models: Some(vec!["claude-*-4-5*".to_owned()]), ..Quirks::default() };
    let (body, lossy) = written(Anthropic, &call, "claude-opus-4-8", &quirks);
    assert_eq!(lossy, ["temperature", "top_p", "top_k"]);
    assert!(body.get("temperature").is_none() && body.get("top_p").is_none());
    let (body, lossy) = written(Anthropic, &call, "claude-haiku-4-5", &quirks);
    assert_eq!((body["temperature"].as_f64(), lossy.len()), (Some(0.2), 0));
}

#[test]
fn thinking_is_asked_for_the_way_the_model_knows() {
    let quirks = Quirks { budget_models: vec!["claude-*-4-5*".to_owned()], ..Quirks::default() };
    let wish = |wish, bound| Call { reasoning: Some(wish), max_output_tokens: bound, ..call(vec![user("x")]) };
    let high = wish(ReasoningWish::Effort("high".to_owned()), None);
    let (new, _) = written(Anthropic, &high, "claude-opus-5", &quirks);
    assert_eq!((&new["thinking"], &new["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "high"})));
    let (old, _) = written(Anthropic, &high, "claude-haiku-4-5", &quirks);
    assert_eq!(old["thinking"], json!({"type": "enabled", "budget_tokens": 16_384}));
    assert_eq!(old["max_tokens"], 16_000 + 16_384);
    let (tight, _) =
        written(Anthropic, &wish(ReasoningWish::BudgetTokens(9_000), Some(5_000)), "claude-haiku-4-5", &quirks);
    assert_eq!(tight["thinking"]["budget_tokens"], 4_999);
    let (none, lossy) =
        written(Anthropic, &wish(ReasoningWish::BudgetTokens(9_000), Some(500)), "claude-haiku-4-5", &quirks);
    assert_eq!((none.get("thinking"), lossy), (None, vec!["thinking (max_tokens leaves no room)".to_owned()]));
}

#[test]
fn a_forced_tool_and_a_foreign_tool_loop_turn_thinking_off() {
    let tool = Tool { name: "f".to_owned(), ..Tool::default() };
    let thinks = Call { reasoning: Some(ReasoningWish::BudgetTokens(2_000)), tools: vec![tool], ..Call::default() };
    let quirks = Quirks { budget_models: vec!["*".to_owned()], ..Quirks::default() };
    let forced = Call {
        tool_choice: Some(commonwatt_core::call::ToolChoice::Required),
        items: vec![user("x")],
        ..thinks.clone()
    };
    assert_eq!(written(Anthropic, &forced, "m", &quirks).1, ["thinking (a tool is forced)"]);
    let within = Call { items: vec![user("x"), asked("a", "{}"), answered("a", "1")], ..thinks.clone() };
    assert_eq!(written(Anthropic, &within, "m", &quirks).1, ["thinking (the last turn has none of its own)"]);
    let sealed = Item::Reasoning(Reasoning { text: "hm".into(), signature: Some("s".into()), ..Reasoning::default() });
    let own = Call { items: vec![user("x"), sealed, asked("a", "{}"), answered("a", "1")], ..thinks };
    assert_eq!(written(Anthropic, &own, "m", &quirks).1, Vec::<String>::new());
}

#[test]
fn thinking_without_a_seal_never_goes_to_anthropic() {
    let unsealed = Item::Reasoning(Reasoning { text: "hm".to_owned(), ..Reasoning::default() });
    let (body, lossy) = written(Anthropic, &call(vec![user("x"), unsealed, user("y")]), "m", &Quirks::default());
    assert!(!body.to_string().contains("thinking"), "{body}");
    assert_eq!(lossy, ["reasoning of earlier turns (it has no signature)"]);
    let forwarded = br#"{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""}]}]}"#;
    assert!(crate::open(Anthropic, None, &Bytes::from_static(forwarded)).expect("valid").unsigned_thinking);
}

#[test]
fn sealed_thinking_can_be_stripped_for_a_second_try() {
    let sealed = Item::Reasoning(Reasoning { signature: Some("s".to_owned()), ..Reasoning::default() });
    let field = Item::Field("x".to_owned(), RawJson("1".into()));
    let mut history = call(vec![user("x"), sealed, field, user("y")]);
    assert!(drop_sealed_reasoning(&mut history));
    assert_eq!(history.items, [user("x"), user("y")]);
    assert!(!drop_sealed_reasoning(&mut history));
}

#[test]
fn a_system_message_in_mid_conversation_stays_where_the_model_takes_it() {
    let system = Item::Message { role: Role::System, content: vec![Part::Text("rhyme".into())] };
    let history = call(vec![user("x"), system]);
    let (body, lossy) = written(Anthropic, &history, "claude-old", &Quirks::default());
    assert_eq!((body["system"][0]["text"].as_str(), lossy.len()), (Some("rhyme"), 1));
    let quirks = Quirks { system_message_models: vec!["claude-new*".to_owned()], ..Quirks::default() };
    let (body, lossy) = written(Anthropic, &history, "claude-new-1", &quirks);
    assert_eq!((body["messages"][1]["role"].as_str(), lossy.len()), (Some("system"), 0));
}

#[test]
fn peculiarities_of_openai_shaped_servers_are_data() {
    let mut call = call(vec![user("x")]);
    call.system = vec![Part::Text("a".into()), Part::Text("b".into())];
    call.max_output_tokens = Some(5);
    call.stream = true;
    call.stop = vec!["1".to_owned(), "2".to_owned(), "3".to_owned()];
    call.user = Some("u".to_owned());
    let quirks = Quirks {
        max_tokens_field: Some("max_completion_tokens".to_owned()),
        system_role: Some("developer".to_owned()),
        drop_fields: vec!["user".to_owned()],
        no_stream_options: true,
        flat_content: true,
        stop_max: 2,
        ..Quirks::default()
    };
    let (body, lossy) = written(OpenAi, &call, "m", &quirks);
    let expected = json!({
        "model": "m",
        "messages": [{"role": "developer", "content": "a\n\nb"}, {"role": "user", "content": "x"}],
        "max_completion_tokens": 5,
        "stop": ["1", "2"],
        "stream": true,
    });
    assert_eq!((body, lossy), (expected, vec!["stop (only the first 2)".to_owned(), "user".to_owned()]));
}

#[test]
fn several_answers_to_one_question_are_refused_where_they_cannot_be_had() {
    let sampling = Sampling { choices: Some(2), ..Sampling::default() };
    let call = Call { sampling, ..call(vec![user("x")]) };
    let error = encode(Anthropic, &call, "m", &Quirks::default()).expect_err("untranslatable");
    assert_eq!(error.to_string(), "2 answers to one question cannot be asked of an Anthropic model");
}

#[test]
fn a_conversation_of_nothing_is_refused() {
    assert!(encode(Anthropic, &call(vec![user("  ")]), "m", &Quirks::default()).is_err());
    assert!(engine_messages(&call(vec![])).is_err());
}

#[test]
fn notes_fit_a_header() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "naïve\nfield": 1});
    let (_, lossy) = written(Anthropic, &read(OpenAi, &body), "m", &Quirks::default());
    assert_eq!(lossy, ["na?ve?field"]);
}

#[test]
fn an_unknown_quirk_is_an_error() {
    assert!(serde_json::from_value::<Quirks>(json!({"flat_contents": true})).is_err());
    assert_eq!(serde_json::from_value::<Quirks>(json!({})).expect("defaults"), Quirks::default());
}
