//! Rules and traps of Gemini's requests, each by name. Whole translations are in `tests/golden`.

use commonwatt_core::call::{Format, Item, Role, Sampling, Tool, ToolCall};
use serde_json::{Value, json};

use super::*;
use crate::request::{decode, encode as encode_any};

fn read(dialect: Dialect, body: &Value) -> Call {
    decode(dialect, &body.to_string().into()).expect("a valid request")
}

fn written(call: &Call, model: &str) -> (Value, Vec<String>) {
    let encoded = encode(call, model, &Quirks::default()).expect("translatable");
    (serde_json::from_slice(&encoded.body).expect("valid JSON"), encoded.lossy)
}

fn user(text: &str) -> Item {
    Item::Message { role: Role::User, content: vec![Part::Text(text.into())] }
}

fn call(items: Vec<Item>) -> Call {
    Call { model: "m".to_owned(), items, ..Call::default() }
}

fn asked(id: &str, signature: Option<&str>) -> Item {
    let signature = signature.map(str::to_owned);
    Item::ToolCall(ToolCall { id: id.to_owned(), name: "f".to_owned(), arguments: "{}".into(), signature })
}

fn answered(id: &str, text: &str, is_error: bool) -> Item {
    Item::ToolOutput { call_id: id.to_owned(), content: vec![Part::Text(text.into())], is_error }
}

/// The history of two calls of one function, and the results of both.
fn parallel(calls: &[Value; 2], results: &[Value; 2]) -> Value {
    let part = |kind: &str, value: &Value| json!({kind: value});
    json!({"contents": [
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": calls.iter().map(|value| part("functionCall", value)).collect::<Vec<_>>()},
        {"role": "user", "parts": results.iter().map(|value| part("functionResponse", value)).collect::<Vec<_>>()},
    ]})
}

#[test]
fn results_of_one_function_find_their_calls_by_id_or_else_by_order() {
    let pairs = |body: &Value| {
        let call = read(Dialect::Gemini, body);
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        for item in &call.items {
            match item {
                Item::ToolCall(call) => asked.push((call.id.clone(), call.arguments.as_str().into_owned())),
                Item::ToolOutput { call_id, content, .. } => told.push((call_id.clone(), content.clone())),
                Item::Message { .. } | Item::Reasoning(_) | Item::Opaque(..) | Item::Field(..) => {}
            }
        }
        let said = |id: &str| told.iter().find(|(own, _)| own == id).map(|(_, content)| content.clone());
        asked.into_iter().map(|(id, arguments)| (arguments, said(&id))).collect::<Vec<_>>()
    };
    let text = |text: &str| Some(vec![Part::Text(text.into())]);
    let expected = vec![(r#"{"n":1}"#.to_owned(), text("one")), (r#"{"n":2}"#.to_owned(), text("two"))];
    let by_order = parallel(
        &[json!({"name": "f", "args": {"n": 1}}), json!({"name": "f", "args": {"n": 2}})],
        &[json!({"name": "f", "response": {"output": "one"}}), json!({"name": "f", "response": {"output": "two"}})],
    );
    assert_eq!(pairs(&by_order), expected);
    let by_id = parallel(
        &[json!({"id": "a", "name": "f", "args": {"n": 1}}), json!({"id": "b", "name": "f", "args": {"n": 2}})],
        &[
            json!({"id": "b", "name": "f", "response": {"output": "two"}}),
            json!({"id": "a", "name": "f", "response": {"output": "one"}}),
        ],
    );
    assert_eq!(pairs(&by_id), expected);
}

#[test]
fn only_the_first_call_of_a_step_gets_a_stand_in_and_only_from_gemini_3_on() {
    let history = call(vec![
        user("x"),
        asked("a", None),
        asked("b", None),
        answered("a", "1", false),
        answered("b", "2", false),
        asked("c", Some("real")),
        answered("c", "3", false),
    ]);
    let (body, lossy) = written(&history, "models/gemini-3-pro-preview");
    let seal = |content: usize, part: usize| body["contents"][content]["parts"][part]["thoughtSignature"].clone();
    assert_eq!((seal(1, 0), seal(1, 1), seal(3, 0)), (json!(NO_SIGNATURE), Value::Null, json!("real")));
    assert_eq!(lossy, ["functionCall.thoughtSignature (a stand-in was sent)"]);
    let (body, lossy) = written(&history, "gemini-2.5-flash");
    assert!(!body.to_string().contains(NO_SIGNATURE));
    assert_eq!(lossy, Vec::<String>::new());
}

#[test]
fn a_seal_that_openais_dialect_carried_comes_home() {
    let body = json!({"model": "m", "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": [{
            "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "real"}},
        }]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]});
    let (body, lossy) = written(&read(Dialect::OpenAiChat, &body), "gemini-3-pro-preview");
    assert_eq!(
        body["contents"][1]["parts"][0],
        json!({"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "real"})
    );
    assert_eq!(lossy, Vec::<String>::new());
}

#[test]
fn a_result_is_an_object_whatever_the_tool_said() {
    let response = |items: Vec<Item>| {
        let (body, _) = written(&call(items), "gemini-2.5-flash");
        body["contents"][2]["parts"][0]["functionResponse"]["response"].clone()
    };
    let of = |text: &str, is_error| response(vec![user("x"), asked("a", None), answered("a", text, is_error)]);
    assert_eq!(of("20 \"degrees\"", false), json!({"output": "20 \"degrees\""}));
    assert_eq!(of(r#" {"celsius": 20}"#, false), json!({"celsius": 20}));
    assert_eq!(of("[1, 2]", false), json!({"output": "[1, 2]"}));
    assert_eq!(of("{not json", false), json!({"output": "{not json"}));
    assert_eq!(of("no such city", true), json!({"error": "no such city"}));
    assert_eq!(of(r#"{"code": 7}"#, true), json!({"error": {"code": 7}}));
    let nothing = Item::ToolOutput { call_id: "a".to_owned(), content: vec![], is_error: false };
    assert_eq!(response(vec![user("x"), asked("a", None), nothing]), json!({}));
}

#[test]
fn what_gemini_wrote_comes_back_to_it_unchanged() {
    let cases = [
        include_str!("../../../tests/golden/request-parallel-tools.gemini.json"),
        include_str!("../../../tests/golden/request-function-images.gemini.json"),
        include_str!("../../../tests/golden/request-schema-capitals.gemini.json"),
        include_str!("../../../tests/golden/request-sampling.gemini.json"),
        include_str!("../../../tests/golden/request-media.gemini.json"),
        include_str!("../../../tests/golden/request-thinking-budget.gemini.json"),
        include_str!("../../../tests/golden/request-json-schema.gemini.json"),
    ];
    for case in cases {
        let first = decode(Dialect::Gemini, &case.as_bytes().to_vec().into()).expect("valid");
        let encoded =
            encode_any(Dialect::Gemini, &first, "gemini-3-pro-preview", &Quirks::default()).expect("says all");
        assert_eq!(encoded.lossy, Vec::<String>::new());
        let second = decode(Dialect::Gemini, &encoded.body).expect("what we write we can read");
        assert_eq!(settled(first), settled(second));
    }
}

/// Without what may differ: white space in JSON, the order of tools of different kinds, and of fields.
fn settled(mut call: Call) -> String {
    call.tools.sort_by(|a, b| a.name.cmp(&b.name));
    call.extra.sort_by(|(a, _), (b, _)| a.cmp(b));
    // A schema without members is left out.
    call.tools.iter_mut().filter(|tool| tool.name == "clock").for_each(|tool| tool.parameters = None);
    format!("{call:?}").replace(' ', "").replace("\\n", "")
}

#[test]
fn what_an_older_model_does_not_take_together_is_named() {
    let schema = Format::JsonObject;
    let tool = Tool { name: "f".to_owned(), ..Tool::default() };
    let both = Call { format: schema, tools: vec![tool], ..call(vec![user("x")]) };
    let (body, lossy) = written(&both, "gemini-2.5-pro");
    assert!(body.get("generationConfig").is_none());
    assert_eq!(lossy, ["response_format (beside tools)"]);
    assert_eq!(written(&both, "gemini-3-pro-preview").1, Vec::<String>::new());
}

#[test]
fn bounds_of_the_api_are_kept_and_named() {
    let sampling = Sampling { seed: Some(1 << 40), choices: Some(3), ..Sampling::default() };
    let stop = (0..7).map(|number| number.to_string()).collect();
    let (body, lossy) = written(&Call { sampling, stop, ..call(vec![user("x")]) }, "gemini-2.5-pro");
    assert_eq!(body["generationConfig"], json!({"stopSequences": ["0", "1", "2", "3", "4"]}));
    assert_eq!(lossy, ["seed (of more than 32 bits)", "n (one answer is given)", "stop (only the first 5)"]);
}

#[test]
fn an_address_without_an_ending_is_named() {
    let image = Part::Image(Image::Url { url: "https://example.org/image?id=7".to_owned(), detail: None });
    let items = vec![Item::Message { role: Role::User, content: vec![image] }];
    let (body, lossy) = written(&call(items), "gemini-2.5-pro");
    assert_eq!(body["contents"][0]["parts"][0], json!({"fileData": {"fileUri": "https://example.org/image?id=7"}}));
    assert_eq!(lossy, ["image_url (its type is not known)"]);
}

#[test]
fn mistakes_name_the_field_and_not_the_prompt() {
    let contents = |contents: Value| json!({"contents": contents});
    let parts = |part: Value| contents(json!([{"role": "user", "parts": [part]}]));
    let cases = [
        (json!({}), "the field `contents` is missing: send the conversation in it"),
        (contents(json!(["secret"])), "the field `contents[0]` must be an object"),
        (contents(json!([{"role": "narrator"}])), "`contents[0].role` is `narrator`, which no content can have"),
        (parts(json!("secret")), "the field `contents[0].parts[0]` must be an object"),
        (parts(json!({"text": 7})), "the field `contents[0].parts[0].text` must be a string"),
        (
            parts(json!({"functionCall": {"args": {}}})),
            "the field `contents[0].parts[0].functionCall.name` must be a string",
        ),
        (
            parts(json!({"functionResponse": {"response": {}}})),
            "the field `contents[0].parts[0].functionResponse.name` must be a string",
        ),
        (
            json!({"contents": [], "generation_config": {"top_k": "many"}}),
            "the field `generationConfig.topK` must be a whole number, not negative",
        ),
        (
            json!({"contents": [], "tools": [{"functionDeclarations": [{}]}]}),
            "the field `tools[0].functionDeclarations[0].name` must be a string",
        ),
    ];
    for (body, expected) in cases {
        let told = decode(Dialect::Gemini, &body.to_string().into()).expect_err("a request that is wrong");
        assert_eq!(told.to_string(), expected);
    }
}

#[test]
fn a_conversation_of_nothing_is_refused() {
    assert!(encode(&call(vec![user("")]), "gemini-2.5-pro", &Quirks::default()).is_err());
}

#[test]
fn a_count_asks_with_a_whole_request_inside() {
    let body = json!({"generateContentRequest": {"model": "models/x", "contents": [{"parts": [{"text": "hi"}]}]}});
    assert_eq!(read(Dialect::Gemini, &body).items, [user("hi")]);
}

#[test]
fn what_is_counted_is_a_whole_request_that_names_its_model() {
    let mut said = call(vec![user("hi")]);
    said.system = vec![Part::Text("Be short.".into())];
    let encoded = crate::encode_count(&said, "gemini-3-pro", &Quirks::default()).expect("translatable");
    let body: Value = serde_json::from_slice(&encoded.body).expect("valid JSON");
    let inside = &body["generateContentRequest"];
    assert_eq!((body.as_object().map(|body| body.len()), &inside["model"]), (Some(1), &json!("models/gemini-3-pro")));
    assert_eq!(inside["systemInstruction"]["parts"][0]["text"], "Be short.");
    assert_eq!(inside["contents"][0]["parts"][0]["text"], "hi");
}
