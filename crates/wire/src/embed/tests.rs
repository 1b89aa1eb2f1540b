//! Vectors survive, and requests that cannot be carried say so.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use EmbedDialect::{Gemini, GeminiOne, Ollama, OllamaOne, OpenAi};

fn opened(dialect: EmbedDialect, body: &Value) -> EmbedCall {
    open_embed(dialect, &body.to_string().into()).expect("a valid request")
}

fn told(dialect: EmbedDialect, body: &Value) -> String {
    open_embed(dialect, &body.to_string().into()).expect_err("a request that is wrong").to_string()
}

fn written(dialect: EmbedDialect, call: &EmbedCall) -> (Value, Vec<String>) {
    let encoded = encode_embed(dialect, call, "target").expect("translatable");
    (serde_json::from_slice(&encoded.body).expect("valid JSON"), encoded.lossy)
}

#[test]
fn only_the_model_changes_in_the_same_dialect() {
    let body = Bytes::from_static(br#"{ "input" : [[1, 2], [3]], "model":"a", "x": 1.50 }"#);
    let call = open_embed(OpenAi, &body).expect("valid");
    assert_eq!((call.count(), call.token_inputs), (2, 2));
    let sent = call.adapted(&body, "b\"c").concat();
    assert_eq!(sent, br#"{ "input" : [[1, 2], [3]], "model":"b\"c", "x": 1.50 }"#);
    assert_eq!(call.adapted(&body, "a").concat(), body);
}

#[test]
fn a_request_crosses_with_its_texts_and_names_what_is_lost() {
    let body = json!({"model": "m", "input": ["a\nb", "c"], "dimensions": 8, "user": "u", "encoding_format": "base64",
        "input_type": "query"});
    let call = opened(OpenAi, &body);
    assert!(call.base64);
    let lost = vec!["user".to_owned(), "input_type".to_owned()];
    assert_eq!(written(Ollama, &call), (json!({"model": "target", "input": ["a\nb", "c"], "dimensions": 8}), lost));

    let call = opened(Ollama, &json!({"model": "m", "input": "a", "truncate": true, "keep_alive": "5m"}));
    let lost = vec!["truncate".to_owned(), "keep_alive".to_owned()];
    assert_eq!(written(OpenAi, &call), (json!({"model": "target", "input": ["a"]}), lost));
    let kept = json!({"model": "target", "prompt": "a", "truncate": true, "keep_alive": "5m"});
    assert_eq!(written(OllamaOne, &call), (kept, vec![]));

    let call = opened(OllamaOne, &json!({"model": "m", "prompt": "a"}));
    assert_eq!(written(Ollama, &call), (json!({"model": "target", "input": ["a"]}), vec![]));
}

#[test]
fn tokens_are_not_translated() {
    for input in [json!([1, 2]), json!([[1], [2]])] {
        let call = opened(OpenAi, &json!({"model": "m", "input": input}));
        let error = encode_embed(Ollama, &call, "m").expect_err("tokens");
        assert_eq!(
            error.to_string(),
            "the input came as tokens, which mean something to one model only: send text instead"
        );
    }
}

#[test]
fn several_texts_do_not_fit_a_dialect_of_one() {
    let call = opened(Ollama, &json!({"model": "m", "input": ["a", "b"]}));
    let error = encode_embed(OllamaOne, &call, "m").expect_err("too many");
    assert_eq!(error.to_string(), "this dialect embeds a single text at a time");
}

#[test]
fn mistakes_name_the_field() {
    let must = "the field `input` must be a string, or an array of strings that is not empty";
    let cases = [
        (OpenAi, json!({"input": "a"}), "the field `model` is missing: name a route such as `auto`, or a model"),
        (OpenAi, json!({"model": "m"}), "the field `input` is missing: send the text in it"),
        (OpenAi, json!({"model": "m", "input": []}), must),
        (OpenAi, json!({"model": "m", "input": ["a", 1]}), must),
        (OpenAi, json!({"model": "m", "input": [1, "a"]}), must),
        (OllamaOne, json!({"model": "m", "input": "a"}), "the field `prompt` is missing: send the text in it"),
        (OllamaOne, json!({"model": "m", "prompt": ["a"]}), "the field `prompt` must be a string"),
        (OpenAi, json!([]), "the body must be a JSON object"),
        (
            OpenAi,
            json!({"model": "m", "input": "a", "encoding_format": "hex"}),
            "the field `encoding_format` must be `float` or `base64`",
        ),
    ];
    for (dialect, body, sentence) in cases {
        assert_eq!(told(dialect, &body), sentence);
    }
    let twice = open_embed(OpenAi, &Bytes::from_static(br#"{"model":"a","model":"b","input":"x"}"#));
    assert_eq!(twice.expect_err("twice").to_string(), "the field `model` is given twice");
}

#[test]
fn vectors_come_in_the_order_of_their_indexes() {
    let body = br#"{"object":"list","model":"served","data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}],
        "usage":{"prompt_tokens":5,"total_tokens":5}}"#;
    let embedded = read_embed(OpenAi, body).expect("an answer");
    let expected = Embedded { vectors: vec![vec![1.0], vec![2.0]], prompt_tokens: 5, model: "served".to_owned() };
    assert_eq!(embedded, expected);
}

#[test]
fn what_is_no_answer_is_a_fault() {
    let kind = |dialect, body: &[u8]| read_embed(dialect, body).expect_err("no answer").kind;
    assert_eq!(kind(OpenAi, br#"{"data":[]}"#), FaultKind::Empty);
    assert_eq!(kind(OpenAi, br#"{"object":"list"}"#), FaultKind::Malformed);
    assert_eq!(
        kind(OpenAi, br#"{"data":[{"index":0,"embedding":[1]},{"index":2,"embedding":[1]}]}"#),
        FaultKind::Malformed
    );
    assert_eq!(
        kind(OpenAi, br#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[1]}]}"#),
        FaultKind::Malformed
    );
    assert_eq!(kind(Ollama, br#"{"embeddings":[[1],[1,2]]}"#), FaultKind::Malformed);
    assert_eq!(kind(Ollama, br#"{"embeddings":[["1"]]}"#), FaultKind::Malformed);
    assert_eq!(kind(Ollama, br#"{"embeddings":[[1e99]]}"#), FaultKind::Malformed);
    assert_eq!(kind(OpenAi, br#"{"data":[{"index":0,"embedding":"AAAA"}]}"#), FaultKind::Malformed);
    // The bytes of what is not a number.
    assert_eq!(kind(OpenAi, br#"{"data":[{"index":0,"embedding":"AADAfw=="}]}"#), FaultKind::Malformed);
    let long = br#"{"error":"the input length exceeds the context length"}"#;
    assert_eq!(kind(Ollama, long), FaultKind::ContextOverflow);
}

#[test]
fn a_vector_too_few_is_noticed() {
    let call = opened(OpenAi, &json!({"model": "m", "input": ["a", "b"]}));
    let embedded = Embedded { vectors: vec![vec![1.0]], ..Embedded::default() };
    assert_eq!(embedded.answers(&call).expect_err("one is missing").message, "2 vectors were asked for, 1 came");
}

#[test]
fn numbers_are_as_short_as_they_can_be() {
    let call = opened(OpenAi, &json!({"model": "m", "input": "a"}));
    let embedded = Embedded { vectors: vec![vec![0.1, 1.0, -0.0, 1e-9]], prompt_tokens: 3, model: String::new() };
    let body = String::from_utf8(write_embed(OpenAi, &embedded, &call)).expect("text");
    assert_eq!(
        body,
        r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,1,-0,1e-9]}],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#
    );
}

fn number() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |number| number.is_finite())
}

fn bits(vectors: &[Vec<f32>]) -> Vec<Vec<u32>> {
    vectors.iter().map(|vector| vector.iter().map(|number| number.to_bits()).collect()).collect()
}

proptest! {
    #[test]
    fn vectors_survive_bit_for_bit(
        vectors in (1_usize..9).prop_flat_map(|len| prop::collection::vec(prop::collection::vec(number(), len), 1..4)),
        base64 in any::<bool>(),
        prompt_tokens in 0_u64..99,
    ) {
        let inputs = vec!["a"; vectors.len()];
        let format = if base64 { "base64" } else { "float" };
        let call = opened(OpenAi, &json!({"model": "m", "input": inputs, "encoding_format": format}));
        let embedded = Embedded { vectors, prompt_tokens, model: "m".to_owned() };
        for dialect in [OpenAi, Ollama] {
            let body = write_embed(dialect, &embedded, &call);
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok());
            let read = read_embed(dialect, &body).expect("what we write we can read");
            prop_assert_eq!(bits(&read.vectors), bits(&embedded.vectors));
            prop_assert_eq!((read.prompt_tokens, read.answers(&call)), (prompt_tokens, Ok(())));
        }
        let body = write_embed(OllamaOne, &embedded, &call);
        let read = read_embed(OllamaOne, &body).expect("what we write we can read");
        prop_assert_eq!(bits(&read.vectors), bits(embedded.vectors.get(..1).expect("one")));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [OpenAi, Ollama, OllamaOne] {
            let _ = open_embed(dialect, &bytes.clone().into());
            let _ = read_embed(dialect, &bytes);
        }
    }
}

#[test]
fn gemini_is_asked_for_each_text_and_keeps_what_it_alone_knows() {
    let call = opened(OpenAi, &json!({"model": "m", "input": ["a\nb", "c"], "dimensions": 8, "user": "u"}));
    let one = |text: &str| json!({"model": "models/target", "content": {"parts": [{"text": text}]}, "outputDimensionality": 8});
    assert_eq!(written(Gemini, &call), (json!({"requests": [one("a\nb"), one("c")]}), vec!["user".to_owned()]));

    let request = |text: &str, title: &str| {
        json!({"model": "models/x", "content": {"role": "user", "parts": [{"text": text}]}, "title": title,
            "task_type": "RETRIEVAL_DOCUMENT", "output_dimensionality": 8})
    };
    let call = opened(Gemini, &json!({"requests": [request("a", "A"), request("b", "B")]}));
    assert_eq!((call.count(), call.dimensions, call.model.as_str()), (2, Some(8), ""));
    let (body, lossy) = written(Gemini, &call);
    assert_eq!((&body["requests"][1]["title"], lossy), (&json!("B"), vec![]));
    assert_eq!(body["requests"][0]["taskType"], "RETRIEVAL_DOCUMENT");
    let lost = vec!["title".to_owned(), "taskType".to_owned()];
    assert_eq!(written(OpenAi, &call), (json!({"model": "target", "input": ["a", "b"], "dimensions": 8}), lost));
}

#[test]
fn gemini_takes_a_single_text_too() {
    let call = opened(
        GeminiOne,
        &json!({"content": {"parts": [{"text": "a"}, {"text": "b"}]}, "taskType": "QUESTION_ANSWERING"}),
    );
    let one =
        json!({"model": "models/target", "content": {"parts": [{"text": "a\nb"}]}, "taskType": "QUESTION_ANSWERING"});
    assert_eq!(written(GeminiOne, &call), (one.clone(), vec![]));
    assert_eq!(written(Gemini, &call), (json!({"requests": [one]}), vec![]));
    let embedded = Embedded { vectors: vec![vec![0.5]], prompt_tokens: 1, model: String::new() };
    let body = String::from_utf8(write_embed(GeminiOne, &embedded, &call)).expect("text");
    assert_eq!(body, r#"{"embedding":{"values":[0.5]}}"#);
}

#[test]
fn geminis_vectors_are_read_and_written() {
    let body = br#"{"embeddings":[{"values":[0.5,1]},{"values":[2,3]}],"usageMetadata":{"promptTokenCount":5}}"#;
    let embedded = read_embed(Gemini, body).expect("an answer");
    assert_eq!((embedded.vectors.len(), embedded.prompt_tokens), (2, 5));
    let call = opened(OpenAi, &json!({"model": "m", "input": ["a", "b"]}));
    assert_eq!(read_embed(Gemini, &write_embed(Gemini, &embedded, &call)), Ok(embedded));
    let kind = |dialect, body: &[u8]| read_embed(dialect, body).expect_err("no answer").kind;
    assert_eq!(kind(Gemini, br#"{"embeddings":[]}"#), FaultKind::Empty);
    assert_eq!(kind(Gemini, br#"{"embeddings":[{}]}"#), FaultKind::Malformed);
    assert_eq!(kind(GeminiOne, b"{}"), FaultKind::Empty);
    assert_eq!(kind(Gemini, br#"{"error":{"code":400,"status":"INVALID_ARGUMENT"}}"#), FaultKind::BadRequest);
}

#[test]
fn what_gemini_does_not_embed_is_told() {
    let content = json!({"parts": [{"text": "a"}]});
    let image = json!({"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]});
    let parts = "the field `requests[0].content` must be a content with parts of text";
    let cases = [
        (json!({}), "the field `requests` must be an array that is not empty"),
        (json!({"requests": []}), "the field `requests` must be an array that is not empty"),
        (json!({"requests": [{}]}), parts),
        (json!({"requests": [{"content": image}]}), parts),
        (
            json!({"requests": [{"content": content, "outputDimensionality": 8}, {"content": content}]}),
            "the field `requests[].outputDimensionality` must be the same in all requests",
        ),
    ];
    for (body, sentence) in cases {
        assert_eq!(told(Gemini, &body), sentence);
    }
    let call = opened(OpenAi, &json!({"model": "m", "input": vec!["a"; 101]}));
    let error = encode_embed(Gemini, &call, "m").expect_err("too many").to_string();
    assert_eq!(error, "this dialect embeds at most 100 texts at a time");
}
