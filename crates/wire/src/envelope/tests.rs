use commonwatt_core::call::Requirements;

use super::*;

fn openai(body: &str) -> Result<Envelope, String> {
    open(Dialect::OpenAiChat, None, &Bytes::copy_from_slice(body.as_bytes())).map_err(|error| error.to_string())
}

fn needs(dialect: Dialect, rest: &str) -> Requirements {
    let body = format!(r#"{{"model":"m","messages":[],{rest}}}"#);
    let needs = open(dialect, None, &Bytes::copy_from_slice(body.as_bytes())).expect("a valid body").needs;
    Requirements { body_bytes: 0, ..needs }
}

#[test]
fn the_top_level_is_read() {
    let body = r#"{"messages":[{"role":"user","content":"{\"model\":\"no\"}"}],"model":"auto","stream":true,
        "stream_options":{"include_usage":true},"max_tokens":7,"max_completion_tokens":9,"n":2}"#;
    let envelope = openai(body).expect("valid");
    assert_eq!((envelope.model.as_str(), envelope.stream, envelope.stream_usage), ("auto", true, true));
    assert_eq!((envelope.needs.max_output_tokens, envelope.needs.many_choices), (9, true));
    assert_eq!(envelope.needs.body_bytes, body.len() as u64);
}

#[test]
fn what_a_deployment_must_be_able_to_do_is_seen() {
    use Dialect::{AnthropicMessages as Anthropic, OpenAiChat as OpenAi};
    let none = Requirements::default();
    let cases = [
        (OpenAi, r#""x":1"#, none),
        (OpenAi, r#""tools":[ ]"#, none),
        (OpenAi, r#""tools":[{"type":"function"}]"#, Requirements { tools: true, ..none }),
        (OpenAi, r#""response_format":{"type":"json_schema"}"#, Requirements { json_schema: true, ..none }),
        (OpenAi, r#""response_format":{"type":"json_object"}"#, none),
        (OpenAi, r#""reasoning_effort":"high""#, Requirements { reasoning: true, ..none }),
        (OpenAi, r#""reasoning_effort":"none""#, none),
        (Anthropic, r#""thinking":{"type":"adaptive"}"#, Requirements { reasoning: true, ..none }),
        (Anthropic, r#""thinking":{"type":"disabled"}"#, none),
        (
            Anthropic,
            r#""output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}"#,
            Requirements { json_schema: true, ..none },
        ),
    ];
    for (dialect, rest, expected) in cases {
        assert_eq!(needs(dialect, rest), expected, "{rest}");
    }
}

#[test]
fn images_are_seen_where_they_are_and_nowhere_else() {
    let sees = |messages: &str| {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        open(Dialect::AnthropicMessages, None, &Bytes::copy_from_slice(body.as_bytes())).expect("valid").needs.images
    };
    assert!(sees(r#"[{"role":"user","content":[{"type":"image","source":{}}]}]"#));
    assert!(sees(r#"[{"role":"user","content":[{"source":{},"type":"image_url"}]}]"#));
    assert!(sees(r#"[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]"#));
    assert!(!sees(r#"[{"role":"assistant","content":[{"type":"tool_use","input":{"type":"image"}}]}]"#));
    assert!(!sees(r#"[{"role":"user","content":"\"type\":\"image\""}]"#));
}

#[test]
fn mistakes_are_told_in_one_sentence_without_the_prompt() {
    let told = |body: &str| openai(body).expect_err("invalid");
    assert_eq!(told(""), "the body is empty: send a JSON object");
    assert_eq!(told("[]"), "the body must be a JSON object");
    assert_eq!(told("17"), "the body must be a JSON object");
    assert_eq!(
        told(r#"{"model":"m","messages":["secret",]}"#),
        "the body is not valid JSON: a value is expected at line 1, column 35 (byte 34)"
    );
    assert_eq!(told(r#"{"messages":[]}"#), "the field `model` is missing: name a route such as `auto`, or a model");
    assert_eq!(
        told(r#"{"model":"","messages":[]}"#),
        "the field `model` is empty: name a route such as `auto`, or a model"
    );
    assert_eq!(told(r#"{"model":5,"messages":[]}"#), "the field `model` must be a string");
    assert_eq!(told(r#"{"model":"m"}"#), "the field `messages` is missing: send the conversation in it");
    assert_eq!(told(r#"{"model":"m","messages":{}}"#), "the field `messages` must be an array");
    assert_eq!(told(r#"{"model":"m","messages":[],"stream":"yes"}"#), "the field `stream` must be `true` or `false`");
}

#[test]
fn a_doubled_field_cannot_smuggle_another_model_past_policy() {
    let told = openai(r#"{"model":"a","messages":[],"mod\u0065l":"b"}"#).expect_err("doubled");
    assert_eq!(told, "the field `model` is given twice");
}

#[test]
fn a_whole_request_inside_another_is_a_conversation() {
    let path = InPath { model: "auto".into(), stream: false };
    for name in ["generateContentRequest", "generate_content_request"] {
        let body = Bytes::from(format!(r#"{{"{name}":{{"model":"models/m","contents":[]}}}}"#));
        assert_eq!(open(Dialect::Gemini, Some(&path), &body).expect("valid").model, "auto");
        let text = Bytes::from(format!(r#"{{"{name}":"contents"}}"#));
        assert!(open(Dialect::Gemini, Some(&path), &text).is_err());
    }
}
