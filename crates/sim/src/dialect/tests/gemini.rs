use super::*;
use crate::answer::seal;

fn asked() -> Asked {
    Asked { model: "m".to_owned(), ..Asked::default() }
}

fn whole(asked: &Asked, answer: &Answer) -> Value {
    let rendering = Rendering { asked, answer, with_usage: true };
    serde_json::from_slice(&Dialect::Gemini.whole(rendering).bytes).unwrap()
}

fn chunks(asked: &Asked, answer: &Answer) -> Vec<Value> {
    let pieces: Vec<_> =
        answer.blocks.iter().enumerate().map(|(block, b)| Piece { block, part: b.part(), text: b.content() }).collect();
    let frames = Dialect::Gemini.frames(Rendering { asked, answer, with_usage: true }, &pieces);
    let data = |frame: &Frame| {
        let text = str::from_utf8(&frame.bytes).unwrap().to_owned();
        let data = text.strip_prefix("data: ").unwrap().strip_suffix("\r\n\r\n").unwrap().to_owned();
        assert!(!data.contains(['\r', '\n']));
        serde_json::from_str(&data).unwrap()
    };
    frames.iter().map(data).collect()
}

#[test]
fn a_whole_answer_is_a_candidate_with_parts() {
    let answer = Answer { usage: Usage { cached: 2, ..answer().usage }, ..answer() };
    let body = whole(&asked(), &answer);
    assert_eq!(
        body,
        json!({
            "candidates": [{
                "content": {
                    "parts": [
                        { "text": "hmm", "thought": true },
                        { "text": "Zürich" },
                        { "functionCall": { "name": "weather", "args": { "a": 1 } }, "thoughtSignature": "seal" },
                        { "functionCall": { "name": "news", "args": {} } },
                    ],
                    "role": "model",
                },
                "index": 0,
                "finishReason": "STOP",
            }],
            "modelVersion": "m",
            "responseId": body["responseId"],
            "usageMetadata": {
                "promptTokenCount": 5, "candidatesTokenCount": 5, "thoughtsTokenCount": 1, "cachedContentTokenCount": 2,
                "totalTokenCount": 11, "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 5 }],
            },
        })
    );
    let strict = Asked { call_ids: true, ..asked() };
    let call = &whole(&strict, &answer)["candidates"][0]["content"]["parts"][2]["functionCall"];
    assert_eq!(call["id"].as_str().unwrap().len(), 8);
}

#[test]
fn a_stream_is_made_of_the_same_objects() {
    let (asked, answer) = (asked(), answer());
    let chunks = chunks(&asked, &answer);
    let parts: Vec<_> = chunks.iter().map(|chunk| chunk["candidates"][0]["content"]["parts"].clone()).collect();
    let whole = whole(&asked, &answer);
    let whole_parts = whole["candidates"][0]["content"]["parts"].as_array().unwrap();
    let expected: Vec<_> =
        whole_parts.iter().cloned().chain([json!({ "text": "" })]).map(|part| json!([part])).collect();
    assert_eq!(parts, expected);
    let reasons: Vec<_> = chunks.iter().map(|chunk| chunk["candidates"][0].get("finishReason")).collect();
    assert_eq!(reasons, [None, None, None, None, Some(&json!("STOP"))]);
    assert_eq!(
        chunks[0]["usageMetadata"],
        json!({ "promptTokenCount": 5, "totalTokenCount": 5, "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": 5 }] })
    );
    assert_eq!(chunks[4]["usageMetadata"], whole["usageMetadata"]);
    assert!(chunks.iter().all(|chunk| chunk["responseId"] == whole["responseId"] && chunk["modelVersion"] == "m"));
    let length = Answer { stop: Stop::Length, ..answer };
    assert_eq!(self::whole(&asked, &length)["candidates"][0]["finishReason"], "MAX_TOKENS");
}

#[test]
fn errors_have_codes_states_and_details() {
    let body = |denial: &Denial| serde_json::from_slice::<Value>(&Dialect::Gemini.error_body(denial)).unwrap();
    for (status, name) in [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ] {
        let error = body(&Denial::usual(status));
        assert_eq!((&error["error"]["code"], &error["error"]["status"]), (&json!(status), &json!(name)));
        assert_eq!(error["error"]["details"], json!([]));
    }
    let late = Denial { retry_after_s: Some(9), ..Denial::usual(429) };
    assert_eq!(
        body(&late)["error"]["details"],
        json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s" }])
    );
    let (wrong, missing) = (Dialect::Gemini.wrong_key(false), Dialect::Gemini.wrong_key(true));
    assert_eq!((wrong.status, missing.status), (400, 403));
    assert_eq!(body(&wrong)["error"]["details"][0]["reason"], "API_KEY_INVALID");
}

#[test]
fn requests_that_gemini_refuses_are_refused() {
    let refused = |request: Value| decoded(Dialect::Gemini, &request).unwrap_err();
    let contents = json!([{ "role": "user", "parts": [{ "text": "x" }] }]);
    assert_eq!(
        refused(json!({ "contents": contents, "stream": true })),
        "Invalid JSON payload received. Unknown name \"stream\": Cannot find field."
    );
    assert!(refused(json!({ "contents": [] })).contains("contents is not specified"));
    let assistant = json!([{ "role": "assistant", "parts": [{ "text": "x" }] }]);
    assert_eq!(refused(json!({ "contents": assistant })), "Please use a valid role: user, model.");
    let calls = |responses: Value| {
        let call = |name: &str| json!({ "functionCall": { "name": name, "args": {} } });
        json!({ "contents": [
            { "role": "user", "parts": [{ "text": "x" }] },
            { "role": "model", "parts": [call("a"), call("b")] },
            { "role": "user", "parts": responses },
        ] })
    };
    let response = |name: &str| json!({ "functionResponse": { "name": name, "response": { "ok": true } } });
    assert!(refused(calls(json!([response("a")]))).contains("number of function response parts"));
    let asked = decoded(Dialect::Gemini, &calls(json!([response("b"), response("a")]))).unwrap();
    assert_eq!(asked.turns[2].results, ["b", "a"]);
    let snake = json!({ "contents": contents, "system_instruction": { "parts": [{ "text": "s" }] }, "generation_config": { "max_output_tokens": 3 } });
    let asked = decoded(Dialect::Gemini, &snake).unwrap();
    assert_eq!((asked.turns[0].speaker, asked.max_tokens), (Speaker::System, Some(3)));
}

/// A conversation of two turns: a call of the first, and one of the current, each with its signature or none.
fn history(old: Option<&str>, current: Option<&str>) -> Value {
    let call = |signature: Option<&str>| {
        let mut part = json!({ "functionCall": { "name": "weather", "args": {} } });
        if let Some(signature) = signature {
            part["thoughtSignature"] = json!(signature);
        }
        let parallel = json!({ "functionCall": { "name": "news", "args": {} } });
        json!({ "role": "model", "parts": [part, parallel] })
    };
    let response = |name: &str| json!({ "functionResponse": { "name": name, "response": {} } });
    let results = json!({ "role": "user", "parts": [response("weather"), response("news")] });
    json!({ "contents": [
        { "role": "user", "parts": [{ "text": "x" }] }, call(old), results, { "role": "model", "parts": [{ "text": "ok" }] },
        { "role": "user", "parts": [{ "text": "y" }] }, call(current), results,
    ] })
}

#[test]
fn gemini_3_wants_the_signature_of_every_step_of_the_current_turn() {
    let strict = AnswerSettings { gemini_3: true, ..AnswerSettings::default() };
    let own = seal(1, "m", 7);
    for good in [own.as_str(), "skip_thought_signature_validator", "context_engineering_is_the_way_to_go"] {
        assert!(decoded_by(Dialect::Gemini, &history(None, Some(good)), &strict).is_ok(), "{good}");
    }
    let error = decoded_by(Dialect::Gemini, &history(Some(&own), None), &strict).unwrap_err();
    assert!(error.starts_with("Function call is missing a thought_signature in functionCall parts."), "{error}");
    assert!(error.contains("function call `default_api:weather` , position 6."), "{error}");
    assert!(decoded(Dialect::Gemini, &history(None, None)).is_ok(), "older models do not ask for it");
}

#[test]
fn a_signature_that_was_not_made_here_for_this_model_is_corrupted() {
    for foreign in [seal(2, "m", 7), seal(1, "other", 7), "c2lnbmF0dXJl".to_owned()] {
        for request in [history(Some(&foreign), None), history(None, Some(&foreign))] {
            assert_eq!(decoded(Dialect::Gemini, &request).unwrap_err(), "Corrupted thought signature.");
            let trusting = AnswerSettings { check_signatures: false, ..AnswerSettings::default() };
            assert!(decoded_by(Dialect::Gemini, &request, &trusting).is_ok());
        }
    }
}
