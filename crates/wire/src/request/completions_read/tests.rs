//! What a bare prompt may be.

use serde_json::json;

use crate::{Dialect, decode};

#[test]
fn one_text_is_read_and_anything_else_is_told_why_not() {
    let tokens = "the field `prompt` holds tokens, which mean something to one model only: send text";
    let must = "the field `prompt` must be a string, or an array of one string";
    let cases = [
        (json!({"model": "m"}), "the field `prompt` is missing: send the text in it"),
        (json!({"model": "m", "prompt": null}), "the field `prompt` is missing: send the text in it"),
        (
            json!({"model": "m", "prompt": ["secret", "b"]}),
            "the field `prompt` holds several prompts: send each in a request of its own",
        ),
        (json!({"model": "m", "prompt": [1, 2]}), tokens),
        (json!({"model": "m", "prompt": [[1, 2]]}), tokens),
        (json!({"model": "m", "prompt": []}), must),
        (json!({"model": "m", "prompt": 1}), must),
        (json!({"model": "m", "prompt": {"text": "secret"}}), must),
        (
            json!({"model": "m", "prompt": "a", "logprobs": true}),
            "the field `logprobs` must be a whole number, not negative",
        ),
    ];
    for (body, sentence) in cases {
        let error = decode(Dialect::OpenAiCompletions, &body.to_string().into()).expect_err("wrong");
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn without_a_bound_the_answer_is_as_short_as_this_api_makes_it() {
    let bound = |body: serde_json::Value| {
        decode(Dialect::OpenAiCompletions, &body.to_string().into()).expect("valid").max_output_tokens
    };
    assert_eq!(bound(json!({"model": "m", "prompt": "a"})), Some(16));
    assert_eq!(bound(json!({"model": "m", "prompt": "a", "max_tokens": null})), Some(16));
    assert_eq!(bound(json!({"model": "m", "prompt": "a", "max_tokens": 99})), Some(99));
}
