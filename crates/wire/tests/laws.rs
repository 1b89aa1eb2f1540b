//! Laws that hold for every input: what is written reads back, and nothing panics.

#![expect(clippy::expect_used, reason = "these are tests, helpers included")]

use bytes::Bytes;
use commonwatt_core::answer::{Answer, Block, Delta, Finish, Usage};
use commonwatt_core::call::{
    Call, Format, Image, Item, Part, RawJson, Reasoning, Role, Sampling, Tool, ToolCall, ToolChoice,
};
use commonwatt_wire::sse::Framer;
use commonwatt_wire::{
    AnswerReader, AnswerWriter, Dialect, Head, InPath, Keeping, Quirks, decode, encode, engine_messages, open,
    read_fault, read_whole, write_whole,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z \"\\\\\n\u{1}é😀]{0,20}[a-z]", "[a-z]{1,5}"]
}

fn object() -> impl Strategy<Value = String> {
    prop_oneof![Just("{}".to_owned()), "[a-z]{1,3}".prop_map(|key| format!(r#"{{"{key}":[1,{{"type":"image"}}]}}"#))]
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(&[Dialect::OpenAiChat, Dialect::AnthropicMessages][..])
}

fn image(dialect: Dialect) -> BoxedStrategy<Image> {
    let detail = if dialect == Dialect::OpenAiChat { prop::option::of("low|high").boxed() } else { Just(None).boxed() };
    prop_oneof![
        ("https://[a-z]{1,8}/x", detail.clone()).prop_map(|(url, detail)| Image::Url { url, detail }),
        ("image/png", "[A-Za-z0-9+/]{4}", detail).prop_map(|(media_type, data, detail)| Image::Base64 {
            media_type,
            data: data.into(),
            detail
        }),
    ]
    .boxed()
}

fn user(dialect: Dialect) -> BoxedStrategy<Item> {
    let field = if dialect == Dialect::OpenAiChat { "prompt_cache_breakpoint" } else { "cache_control" };
    let field = Part::Field(field.to_owned(), RawJson(r#"{"x":1}"#.into()));
    let opaque = Part::Opaque("file".to_owned(), RawJson(r#"{"type":"file","file":{"file_id":"f"}}"#.into()));
    let part = prop_oneof![
        text().prop_map(|text| vec![Part::Text(text.into())]),
        text().prop_map(move |text| vec![Part::Text(text.into()), field.clone()]),
        image(dialect).prop_map(|image| vec![Part::Image(image)]),
        Just(vec![opaque]),
    ];
    prop::collection::vec(part, 1..4)
        .prop_map(|parts| Item::Message { role: Role::User, content: parts.concat() })
        .boxed()
}

/// An assistant's turn with the results of its tool calls.
fn assistant(dialect: Dialect) -> BoxedStrategy<Vec<Item>> {
    let sealed = dialect == Dialect::AnthropicMessages;
    let thought = prop::option::of(text()).prop_map(move |thought| {
        thought.map(|text| {
            let signature = sealed.then(|| "c2ln".to_owned());
            Item::Reasoning(Reasoning { text, signature, ..Reasoning::default() })
        })
    });
    let result = (text(), any::<bool>()).prop_map(move |(text, failed)| (text, failed && sealed));
    let calls = prop::collection::vec((object(), "[a-z]{1,6}", result), 0..3);
    (thought, text(), calls, any::<[u8; 4]>())
        .prop_map(|(thought, said, calls, salt)| {
            let mut items: Vec<Item> = thought.into_iter().collect();
            items.push(Item::Message { role: Role::Assistant, content: vec![Part::Text(said.into())] });
            let id = |index: usize| format!("call_{index}_{}", u32::from_le_bytes(salt));
            for (index, (arguments, name, _)) in calls.iter().enumerate() {
                let call = ToolCall {
                    id: id(index),
                    name: name.clone(),
                    arguments: arguments.as_str().into(),
                    signature: None,
                };
                items.push(Item::ToolCall(call));
            }
            for (index, (_, _, (text, is_error))) in calls.into_iter().enumerate() {
                items.push(Item::ToolOutput { call_id: id(index), content: vec![Part::Text(text.into())], is_error });
            }
            items
        })
        .boxed()
}

fn items(dialect: Dialect) -> BoxedStrategy<Vec<Item>> {
    let turn = (user(dialect), assistant(dialect)).prop_map(|(user, mut rest)| {
        rest.insert(0, user);
        rest
    });
    (prop::collection::vec(turn, 0..4), user(dialect))
        .prop_map(|(turns, last)| {
            let mut items = turns.concat();
            // A user's message right after tool results is part of theirs in one dialect and not in the other.
            items.push(last);
            items
        })
        .boxed()
}

fn tools() -> impl Strategy<Value = (Vec<Tool>, Option<ToolChoice>, Option<bool>)> {
    let tool = ("[a-z]{1,6}", prop::option::of(text()), object(), prop::option::of(any::<bool>())).prop_map(
        |(name, description, parameters, strict)| Tool {
            name,
            description,
            parameters: Some(RawJson(parameters.into())),
            strict,
            extra: vec![("cache_control".to_owned(), RawJson(r#"{"type":"ephemeral"}"#.into()))],
            opaque: None,
        },
    );
    let choice = prop_oneof![
        Just((None, None)),
        Just((Some(ToolChoice::None), None)),
        (
            prop_oneof![Just(ToolChoice::Auto), Just(ToolChoice::Required), "[a-z]{1,6}".prop_map(ToolChoice::Named)],
            prop::option::of(any::<bool>())
        )
            .prop_map(|(choice, parallel)| (Some(choice), parallel)),
    ];
    (prop::collection::vec(tool, 1..3), choice).prop_map(|(tools, (choice, parallel))| (tools, choice, parallel))
}

fn fraction() -> impl Strategy<Value = Option<f64>> {
    prop::option::of((0_u32..100).prop_map(|percent| f64::from(percent) / 100.0))
}

fn sampling(dialect: Dialect) -> BoxedStrategy<Sampling> {
    let common = (fraction(), fraction(), prop::option::of(0_u32..50))
        .prop_map(|(temperature, top_p, top_k)| Sampling { temperature, top_p, top_k, ..Sampling::default() });
    if dialect == Dialect::AnthropicMessages {
        return common.boxed();
    }
    let more = (fraction(), fraction(), any::<Option<i64>>(), prop::option::of(0_u8..20), prop::option::of(1_u32..4));
    (common, more)
        .prop_map(|(common, (presence, frequency, seed, logprobs, choices))| Sampling {
            presence_penalty: presence,
            frequency_penalty: frequency,
            seed,
            logprobs,
            logit_bias: Some(RawJson(r#"{"5":-1}"#.into())),
            choices,
            ..common
        })
        .boxed()
}

fn call(dialect: Dialect) -> BoxedStrategy<Call> {
    let schema = RawJson(r#"{"type":"object"}"#.into());
    let openai = dialect == Dialect::OpenAiChat;
    let format = if openai {
        let schema = Format::JsonSchema { name: "n".into(), schema, strict: Some(true) };
        prop::sample::select(vec![Format::Text, Format::JsonObject, schema])
    } else {
        let schema = Format::JsonSchema { name: String::new(), schema, strict: None };
        prop::sample::select(vec![Format::Text, schema])
    };
    let extra = if openai {
        vec![("store".to_owned(), RawJson("true".into()))]
    } else {
        vec![("service_tier".to_owned(), RawJson("\"auto\"".into()))]
    };
    let rest =
        (format, any::<bool>(), prop::option::of(text()), prop::collection::vec("[a-z]{1,4}", 0..3), 1_u32..9_000);
    (items(dialect), prop::option::of(tools()), sampling(dialect), rest, prop::collection::vec(text(), 0..3))
        .prop_map(move |(items, tools, sampling, (format, stream, user, stop, bound), system)| {
            let (tools, tool_choice, parallel_tool_calls) = tools.unwrap_or_default();
            Call {
                dialect: dialect.word(),
                model: "m".to_owned(),
                system: system.into_iter().map(|text| Part::Text(text.into())).collect(),
                items,
                tools,
                tool_choice,
                parallel_tool_calls,
                sampling,
                max_output_tokens: Some(bound),
                stop,
                stream,
                stream_usage: stream && openai,
                format,
                reasoning: None,
                user,
                extra: extra.clone(),
            }
        })
        .boxed()
}

/// Deltas of an answer that both dialects can say.
fn deltas(dialect: Dialect) -> BoxedStrategy<Vec<Delta>> {
    let sealed = dialect == Dialect::AnthropicMessages;
    let thought = prop::collection::vec(text(), 0..3).prop_map(move |texts| {
        let mut deltas: Vec<Delta> = texts.into_iter().map(Delta::Reasoning).collect();
        if sealed && !deltas.is_empty() {
            deltas.push(Delta::ReasoningSignature("c2ln".to_owned()));
            deltas.push(Delta::RedactedReasoning("b3Bh".to_owned()));
        }
        deltas
    });
    let said = prop::collection::vec(text().prop_map(Delta::Text), 0..4);
    let calls = prop::collection::vec((object(), any::<prop::sample::Index>()), 0..4).prop_map(interleaved);
    let usage = (0_u64..99, 0_u64..99, 0_u64..99, 1_u64..99, 0_u64..9).prop_map(
        |(input, cache_read, cache_write, output, reasoning)| Usage {
            input,
            cache_read,
            cache_write,
            output,
            reasoning: reasoning.min(output),
        },
    );
    (thought, said, calls, usage)
        .prop_map(|(thought, said, calls, usage)| {
            let finish = if calls.is_empty() { Finish::Length } else { Finish::ToolCalls };
            let mut deltas = thought;
            deltas.extend(said);
            deltas.extend(calls);
            deltas.extend([Delta::Finished(finish), Delta::Usage(usage)]);
            deltas
        })
        .boxed()
}

/// Tool calls whose arguments come in two halves each, all first halves first.
fn interleaved(calls: Vec<(String, prop::sample::Index)>) -> Vec<Delta> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (index, (arguments, cut)) in (0_u32..).zip(calls) {
        let (head, tail) = arguments.split_at(cut.index(arguments.len()));
        first.push(Delta::ToolCallStarted { index, id: format!("call_{index}"), name: "f".to_owned() });
        first.push(Delta::ToolCallArguments { index, fragment: head.to_owned() });
        second.push(Delta::ToolCallArguments { index, fragment: tail.to_owned() });
    }
    first.append(&mut second);
    first
}

fn folded(deltas: &[Delta]) -> Answer {
    let mut answer = Answer::default();
    deltas.iter().for_each(|delta| answer.push(delta.clone()));
    answer
}

fn head() -> Head {
    Head {
        id: "1".into(),
        model: "m".into(),
        created_unix_s: 7,
        stream_usage: true,
        request: None,
        keeping: Keeping::default(),
    }
}

fn streamed(dialect: Dialect, deltas: &[Delta], chunk: usize) -> Answer {
    let (mut writer, mut out) = (AnswerWriter::new(dialect, head()), Vec::new());
    deltas.iter().for_each(|delta| writer.write(delta, &mut out));
    writer.finish(&mut out);
    let (mut framer, mut reader, mut read) = (Framer::new(dialect.framing()), AnswerReader::new(dialect), Vec::new());
    for chunk in out.chunks(chunk) {
        framer.push(Bytes::copy_from_slice(chunk)).expect("small");
        while let Some(event) = framer.next() {
            reader.read(&event, &mut read).expect("what we write we can read");
        }
    }
    assert!(reader.close().is_ok() && !framer.has_partial());
    folded(&read)
}

/// What both sides of a comparison have in common: ids and names of the answer are the writer's own.
fn unsigned(answer: Answer) -> Answer {
    Answer { id: String::new(), model: String::new(), ..answer }
}

fn by_kind(mut answer: Answer) -> Answer {
    // A whole message has a place for each kind of block, not an order among them.
    answer.blocks.sort_by_key(|block| match block {
        Block::Reasoning(_) => 0,
        Block::Text(_) => 1,
        Block::Refusal(_) => 2,
        Block::ToolCall(_) => 3,
        Block::Opaque(..) => 4,
    });
    unsigned(answer)
}

proptest! {
    #[test]
    fn a_call_written_in_its_dialect_reads_back(call in dialect().prop_flat_map(call)) {
        let dialect = Dialect::from_word(call.dialect).expect("a dialect");
        let quirks = Quirks { reasoning_history: true, ..Quirks::default() };
        let encoded = match encode(dialect, &call, "m", &quirks) {
            Ok(encoded) => encoded,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert_eq!(&encoded.lossy, &Vec::<String>::new());
        let mut expected = call;
        // What a stream's usage is for is asked of the provider whether or not the client asked.
        expected.stream_usage = expected.stream && dialect == Dialect::OpenAiChat;
        prop_assert_eq!(decode(dialect, &encoded.body).expect("what we write we can read"), expected);
        prop_assert!(open(dialect, None, &encoded.body).is_ok());
    }

    #[test]
    fn a_call_crosses_to_any_other_dialect_and_the_engine_as_valid_json(
        call in dialect().prop_flat_map(call), other in prop::sample::select(&Dialect::OUT[..]),
    ) {
        if let Ok(encoded) = encode(other, &call, "m", &Quirks::default()) {
            let in_path = InPath { model: "m".to_owned(), stream: false };
            let in_path = Some(&in_path).filter(|_| other == Dialect::Gemini);
            prop_assert!(open(other, in_path, &encoded.body).is_ok());
            prop_assert!(decode(other, &encoded.body).is_ok());
            prop_assert!(encoded.lossy.iter().all(|note| note.bytes().all(|byte| (0x20..0x7f).contains(&byte))));
        }
        let chat = engine_messages(&call).expect("there is a conversation");
        prop_assert!(serde_json::from_str::<serde_json::Value>(&chat.messages_json).is_ok());
    }

    #[test]
    fn an_answer_written_as_a_stream_reads_back(
        (dialect, deltas) in dialect().prop_flat_map(|dialect| (Just(dialect), deltas(dialect))),
        chunk in 1_usize..200,
    ) {
        prop_assert_eq!(unsigned(streamed(dialect, &deltas, chunk)), folded(&deltas));
    }

    #[test]
    fn an_answer_written_whole_reads_back((dialect, deltas) in dialect().prop_flat_map(|dialect| (Just(dialect), deltas(dialect)))) {
        let answer = folded(&deltas);
        let body = write_whole(dialect, &answer, &head());
        let read = folded(&read_whole(dialect, &body).expect("what we write we can read"));
        prop_assert_eq!(by_kind(read), by_kind(answer));
    }

    #[test]
    fn an_answer_keeps_its_words_across_dialects(
        deltas in deltas(Dialect::OpenAiChat), dialect in prop::sample::select(&Dialect::OUT[..]),
    ) {
        let said = |answer: &Answer| {
            let calls = answer.tool_calls().map(|call| {
                let arguments: serde_json::Value = serde_json::from_str(&call.arguments).unwrap_or_default();
                (call.name.clone(), arguments)
            });
            // Some dialects have no place for refusals beside the text.
            let refused = answer.blocks.iter().any(|block| matches!(block, Block::Refusal(_)));
            (if refused { String::new() } else { answer.text() }, calls.collect::<Vec<_>>())
        };
        let total = |answer: &Answer| answer.usage.map(|usage| usage.total());
        let (here, there) = (folded(&deltas), streamed(dialect, &deltas, 64));
        prop_assert_eq!(said(&there).1, said(&here).1);
        if !said(&here).0.is_empty() {
            prop_assert_eq!(said(&there).0, said(&here).0);
        }
        prop_assert_eq!(total(&there), total(&here));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), status in any::<u16>()) {
        let bytes = Bytes::from(bytes);
        for dialect in Dialect::ALL {
            let _ = open(dialect, None, &bytes);
            let _ = decode(dialect, &bytes);
            let _ = read_whole(dialect, &bytes);
            let _ = read_fault(dialect, status, None, &bytes);
        }
    }

    #[test]
    fn json_of_the_wrong_shape_never_panics(value in shapeless(), split in 1_usize..50) {
        let text = serde_json::to_vec(&value).expect("text");
        for dialect in Dialect::ALL {
            if let Ok(call) = decode(dialect, &text.clone().into()) {
                for other in Dialect::ALL {
                    let _ = encode(other, &call, "m", &Quirks::default());
                }
                let _ = engine_messages(&call);
            }
            let _ = read_whole(dialect, &text);
            let _ = read_fault(dialect, 400, None, &text);
            let (mut framer, mut reader) = (Framer::new(dialect.framing()), AnswerReader::new(dialect));
            let stream = [b"data: ".as_slice(), &text, b"\n\n", b"data: ", &text, b"\n\n"].concat();
            for chunk in stream.chunks(split) {
                framer.push(Bytes::copy_from_slice(chunk)).expect("small");
                while let Some(event) = framer.next() {
                    let _ = reader.read(&event, &mut Vec::new());
                }
            }
        }
    }
}

/// JSON made of the words that the readers look for, in any arrangement.
fn shapeless() -> impl Strategy<Value = serde_json::Value> {
    const WORDS: [&str; 44] = [
        "model",
        "messages",
        "role",
        "content",
        "type",
        "text",
        "tools",
        "function",
        "name",
        "arguments",
        "tool_calls",
        "id",
        "index",
        "choices",
        "delta",
        "message",
        "finish_reason",
        "usage",
        "error",
        "tool_use",
        "tool_result",
        "input",
        "thinking",
        "signature",
        "content_block",
        "content_block_start",
        "content_block_delta",
        "system",
        "user",
        "assistant",
        "tool",
        "tool_call_id",
        "tool_use_id",
        "image_url",
        "image",
        "source",
        "stop_reason",
        "response_format",
        "json_schema",
        "schema",
        "output_config",
        "stop",
        "partial_json",
        "input_json_delta",
    ];
    let word = || prop::sample::select(&WORDS[..]).prop_map(str::to_owned);
    let leaf = prop_oneof![
        4 => word().prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
        1 => any::<i32>().prop_map(serde_json::Value::from),
        1 => any::<bool>().prop_map(serde_json::Value::from),
    ];
    let inner = leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::vec((word(), inner), 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    });
    prop::collection::vec((word(), inner), 1..6).prop_map(|members| members.into_iter().collect())
}
