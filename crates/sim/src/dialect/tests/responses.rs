use super::*;
use crate::answer::seal;

fn events(asked: &Asked, answer: &Answer) -> Vec<Value> {
    let events = streamed(Dialect::Responses, asked, answer);
    events
        .into_iter()
        .enumerate()
        .map(|(number, (name, mut data))| {
            assert_eq!(data["type"], name.unwrap(), "an event is named after its type");
            assert_eq!(data["sequence_number"], number);
            data.as_object_mut().unwrap().remove("sequence_number");
            data
        })
        .collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().unwrap()).collect()
}

fn asked() -> Asked {
    decoded(Dialect::Responses, &json!({ "model": "m", "input": "Hello", "stream": true })).unwrap()
}

fn whole(asked: &Asked, answer: &Answer) -> Value {
    let rendering = Rendering { asked, answer, with_usage: true };
    serde_json::from_slice(&Dialect::Responses.whole(rendering).bytes).unwrap()
}

#[test]
fn a_stream_adds_says_and_finishes_each_item() {
    let (asked, answer) = (asked(), answer());
    let events = events(&asked, &answer);
    let call = [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ];
    let expected = [
        &["response.created", "response.in_progress"][..],
        &[
            "response.output_item.added",
            "response.content_part.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.content_part.done",
            "response.output_item.done",
        ],
        &[
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
        ],
        &call,
        &call,
        &["response.completed"],
    ]
    .concat();
    assert_eq!(types(&events), expected);
    let created = &events[0]["response"];
    assert_eq!(
        (&created["status"], &created["output"], &created["usage"]),
        (&json!("in_progress"), &json!([]), &Value::Null)
    );
}

#[test]
fn a_message_is_opened_said_and_closed() {
    let events = events(&asked(), &answer());
    let id = events[8]["item"]["id"].as_str().unwrap();
    assert!(id.starts_with("msg_"));
    let place = json!({ "item_id": id, "output_index": 1, "content_index": 0 });
    let at = |kind: &str, more: Value| {
        let mut event = json!({ "type": kind });
        for fields in [&place, &more] {
            event.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        event
    };
    let text = json!({ "type": "output_text", "text": "Zürich", "annotations": [], "logprobs": [] });
    let mut empty = text.clone();
    empty["text"] = json!("");
    let item = json!({ "id": id, "type": "message", "status": "completed", "role": "assistant", "content": [text] });
    let mut opening = item.clone();
    (opening["status"], opening["content"]) = (json!("in_progress"), json!([]));
    assert_eq!(
        events[8..14],
        [
            json!({ "type": "response.output_item.added", "output_index": 1, "item": opening }),
            at("response.content_part.added", json!({ "part": empty })),
            at("response.output_text.delta", json!({ "delta": "Zürich", "logprobs": [] })),
            at("response.output_text.done", json!({ "text": "Zürich", "logprobs": [] })),
            at("response.content_part.done", json!({ "part": text })),
            json!({ "type": "response.output_item.done", "output_index": 1, "item": item }),
        ]
    );
}

#[test]
fn the_last_event_repeats_what_the_items_were() {
    let (asked, answer) = (asked(), answer());
    let events = events(&asked, &answer);
    let (added, done) = (&events[14]["item"], &events[17]["item"]);
    assert!(
        added["id"].as_str().unwrap().starts_with("fc_") && added["call_id"].as_str().unwrap().starts_with("call_")
    );
    assert_eq!((&added["arguments"], &done["arguments"]), (&json!(""), &json!("{\"a\":1}")));
    assert_eq!(
        events[15],
        json!({ "type": "response.function_call_arguments.delta", "item_id": added["id"], "output_index": 2, "delta": "{\"a\":1}" })
    );
    assert_eq!((&events[16]["name"], &events[16]["arguments"]), (&json!("weather"), &json!("{\"a\":1}")));
    assert_eq!(events.last().unwrap()["response"], whole(&asked, &answer), "the last event is the whole answer");
    let output = events.last().unwrap()["response"]["output"].clone();
    let done: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| event["item"].clone())
        .collect();
    assert_eq!(output, json!(done), "the items of the answer are those of the stream");
}

#[test]
fn a_whole_response_has_every_field() {
    let answer = Answer { usage: Usage { cached: 2, ..answer().usage }, ..answer() };
    let mut body = whole(&asked(), &answer);
    let output = body.as_object_mut().unwrap().remove("output").unwrap();
    assert!(body["id"].as_str().unwrap().starts_with("resp_"));
    assert_eq!(
        body,
        json!({
            "id": body["id"], "object": "response", "created_at": body["created_at"], "status": "completed",
            "completed_at": body["created_at"], "error": null, "incomplete_details": null, "model": "m",
            "usage": {
                "input_tokens": 5, "input_tokens_details": { "cached_tokens": 2 },
                "output_tokens": 6, "output_tokens_details": { "reasoning_tokens": 1 }, "total_tokens": 11,
            },
            "background": false, "instructions": null, "max_output_tokens": null, "max_tool_calls": null,
            "metadata": {}, "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
            "reasoning": { "effort": null, "summary": null }, "safety_identifier": null, "service_tier": "default",
            "store": true, "temperature": 1.0, "text": { "format": { "type": "text" }, "verbosity": "medium" },
            "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
            "user": null,
        })
    );
    assert_eq!(
        output[0],
        json!({
            "id": output[0]["id"], "type": "reasoning", "summary": [],
            "content": [{ "type": "reasoning_text", "text": "hmm" }], "encrypted_content": null, "status": "completed",
        })
    );
    assert_eq!(
        output[3],
        json!({
            "id": output[3]["id"], "type": "function_call", "status": "completed",
            "call_id": output[3]["call_id"], "name": "news", "arguments": "{}",
        })
    );
}

#[test]
fn reasoning_is_a_summary_and_sealed_when_that_is_asked_for() {
    let asked = decoded(
        Dialect::Responses,
        &json!({
            "model": "m", "input": "Hello", "reasoning": { "summary": "auto" }, "include": ["reasoning.encrypted_content"],
        }),
    )
    .unwrap();
    let events = events(&asked, &answer());
    assert_eq!(
        types(&events[2..8]),
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
        ]
    );
    let id = &events[2]["item"]["id"];
    assert_eq!(
        events[4],
        json!({ "type": "response.reasoning_summary_text.delta", "item_id": id, "output_index": 0, "summary_index": 0, "delta": "hmm" })
    );
    assert_eq!(events[6]["part"], json!({ "type": "summary_text", "text": "hmm" }));
    let item = &events[7]["item"];
    assert_eq!((&item["summary"][0]["text"], &item["content"]), (&json!("hmm"), &Value::Null));
    assert_eq!((&events[2]["item"]["encrypted_content"], &item["encrypted_content"]), (&Value::Null, &json!("seal")));
}

#[test]
fn an_answer_that_was_cut_short_is_incomplete() {
    for (stop, reason) in [(Stop::Length, "max_output_tokens"), (Stop::Filtered, "content_filter")] {
        let answer = Answer { blocks: vec![Block::Text("Zür".to_owned())], stop, ..answer() };
        let events = events(&asked(), &answer);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({ "reason": reason }));
        assert_eq!(
            (&last["response"]["status"], &last["response"]["completed_at"]),
            (&json!("incomplete"), &Value::Null)
        );
        assert_eq!(last["response"]["output"][0]["status"], "incomplete");
    }
}

#[test]
fn a_refusal_is_a_part_of_its_own() {
    let answer = Answer { blocks: vec![Block::Refusal("No.".to_owned())], stop: Stop::Refused, ..answer() };
    let events = events(&asked(), &answer);
    let part = |text: &str| json!({ "type": "refusal", "refusal": text });
    assert_eq!((&events[3]["part"], &events[6]["part"]), (&part(""), &part("No.")));
    assert_eq!((&events[4]["type"], &events[4]["delta"]), (&json!("response.refusal.delta"), &json!("No.")));
    assert_eq!((&events[5]["type"], &events[5]["refusal"]), (&json!("response.refusal.done"), &json!("No.")));
    assert_eq!(events[8]["response"]["output"][0]["content"], json!([part("No.")]));
    assert_eq!((&events[8]["type"], events.len()), (&json!("response.completed"), 9));
}

#[test]
fn the_items_of_a_conversation_are_its_turns() {
    let calls = |input: Value| decoded(Dialect::Responses, &json!({ "model": "m", "input": input }));
    let call = |id: &str| json!({ "type": "function_call", "call_id": id, "name": "weather", "arguments": "{}" });
    let output = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "rain" });
    let user = json!({ "type": "message", "role": "user", "content": "Which coat?" });
    let said = json!({
        "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
        "content": [{ "type": "output_text", "text": "Let me see.", "annotations": [] }],
    });
    let reference = json!({ "type": "item_reference", "id": "rs_1" });
    let asked = calls(json!([user, reference, said, call("a"), call("b"), output("b"), output("a")])).unwrap();
    let speakers: Vec<_> = asked.turns.iter().map(|turn| turn.speaker).collect();
    assert_eq!(speakers, [Speaker::User, Speaker::Assistant, Speaker::Tool, Speaker::Tool]);
    assert_eq!(
        (&asked.turns[1].calls[..], &asked.turns[2].results[..]),
        (&["a".to_owned(), "b".to_owned()][..], &["b".to_owned()][..])
    );
    assert!(asked.turns[1].text.starts_with("Let me see.{\"name\":\"weather\""));
    assert_eq!(calls(json!([user, call("a")])).unwrap_err(), "No tool output found for function call a.");
    assert_eq!(
        calls(json!([user, output("x")])).unwrap_err(),
        "No tool call found for function call output with call_id x."
    );
    assert_eq!(calls(json!([])).unwrap_err(), "Missing required parameter: 'input'.");
    assert!(calls(json!([{ "role": "robot", "content": "" }])).unwrap_err().starts_with("Invalid value: 'robot'."));
    let stored = json!({ "model": "m", "input": "x", "previous_response_id": "resp_1" });
    assert_eq!(decoded(Dialect::Responses, &stored).unwrap_err(), "Previous response with id 'resp_1' not found.");
}

#[test]
fn only_reasoning_sealed_here_for_this_model_may_come_back() {
    let request = |seal: Value| {
        let reasoning = json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal });
        json!({ "model": "m", "input": [{ "role": "user", "content": "x" }, reasoning, { "role": "assistant", "content": "Yes." }, { "role": "user", "content": "y" }] })
    };
    for own in [json!(seal(1, "m", 7)), Value::Null] {
        assert_eq!(decoded(Dialect::Responses, &request(own)).unwrap().turns.len(), 3);
    }
    for foreign in [seal(2, "m", 7), seal(1, "other", 7), "gAAAAABn".to_owned()] {
        let body = request(json!(foreign)).to_string();
        let settings = AnswerSettings::default();
        let rules = Rules { seed: 1, answer: &settings, address: Address::default() };
        let denial = Dialect::Responses.decode(body.as_bytes(), rules).unwrap_err();
        let error: Value = serde_json::from_slice(&Dialect::Responses.error_body(&denial)).unwrap();
        assert_eq!(
            error["error"],
            json!({
                "message": "The encrypted content for item rs_1 could not be verified. Reason: Encrypted content could not be decrypted or parsed.",
                "type": "invalid_request_error", "param": null, "code": "invalid_encrypted_content",
            })
        );
        let trusting = AnswerSettings { check_signatures: false, ..AnswerSettings::default() };
        assert!(decoded_by(Dialect::Responses, &request(json!(foreign)), &trusting).is_ok());
    }
}
