use serde_json::json;

use super::*;
use crate::asked::Tool;

fn asked(text: &str) -> Asked {
    Asked {
        model: "m".to_owned(),
        turns: vec![Turn::new(Speaker::User, text.to_owned())],
        parallel: true,
        ..Asked::default()
    }
}

fn with_tools() -> Asked {
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        schema: json!({ "type": "object", "properties": { "city": { "type": "string" } } }),
    };
    Asked { tools: vec![tool("weather"), tool("news")], ..asked("Which coat?") }
}

fn composed(asked: &Asked, settings: &AnswerSettings) -> Answer {
    compose(asked, settings, 1, &Wish::default()).unwrap()
}

fn parts(answer: &Answer) -> Vec<Part> {
    answer.blocks.iter().map(Block::part).collect()
}

#[test]
fn the_same_conversation_gets_the_same_answer() {
    let settings = AnswerSettings::default();
    assert_eq!(composed(&asked("Hello"), &settings), composed(&asked("Hello"), &settings));
    assert_ne!(composed(&asked("Hello"), &settings).blocks, composed(&asked("Hullo"), &settings).blocks);
    let other_seed = compose(&asked("Hello"), &settings, 2, &Wish::default()).unwrap();
    assert_ne!(composed(&asked("Hello"), &settings).blocks, other_seed.blocks);
}

#[test]
fn tools_are_called_only_when_demanded_or_set() {
    let mut asked = with_tools();
    let mut settings = AnswerSettings::default();
    assert_eq!(parts(&composed(&asked, &settings)), [Part::Text]);
    settings.tool_calls = 3;
    let answer = composed(&asked, &settings);
    assert_eq!(parts(&answer), [Part::ToolCall; 3]);
    assert_eq!(answer.stop, Stop::Calls);
    asked.parallel = false;
    assert_eq!(parts(&composed(&asked, &settings)), [Part::ToolCall]);
    asked.tool_choice = ToolChoice::Never;
    assert_eq!(parts(&composed(&asked, &settings)), [Part::Text]);
    settings.tool_calls = 0;
    asked.tool_choice = ToolChoice::Named("news".to_owned());
    let answer = composed(&asked, &settings);
    assert!(matches!(&answer.blocks[..], [Block::Call { name, .. }] if name == "news"), "{answer:?}");
}

#[test]
fn after_a_tool_result_comes_text_so_that_a_loop_ends() {
    let mut asked = with_tools();
    asked.turns.push(Turn::new(Speaker::Tool, "rain".to_owned()));
    let settings = AnswerSettings { tool_calls: 1, ..AnswerSettings::default() };
    assert_eq!(parts(&composed(&asked, &settings)), [Part::Text]);
}

#[test]
fn scripted_calls_are_made_with_their_arguments() {
    let settings = AnswerSettings {
        calls: vec![
            CallSettings { name: "weather".to_owned(), arguments: json!({ "city": "Zürich" }) },
            CallSettings { name: "raw".to_owned(), arguments: json!("{not json") },
        ],
        text: Some("Let me see.".to_owned()),
        ..AnswerSettings::default()
    };
    let answer = composed(&asked("Which coat?"), &settings);
    let contents: Vec<_> = answer.blocks.iter().map(Block::content).collect();
    assert_eq!(contents, ["Let me see.", r#"{"city":"Zürich"}"#, "{not json"]);
}

#[test]
fn reasoning_comes_when_asked_for() {
    let mut asked = asked("Why?");
    assert_eq!(parts(&composed(&asked, &AnswerSettings::default())), [Part::Text]);
    asked.reasoning = true;
    let answer = composed(&asked, &AnswerSettings::default());
    assert_eq!(parts(&answer), [Part::Reasoning, Part::Text]);
    assert!(answer.usage.reasoning > 0 && answer.usage.completion > answer.usage.reasoning);
    let never = AnswerSettings { reasoning_characters: Some(0), ..AnswerSettings::default() };
    assert_eq!(parts(&composed(&asked, &never)), [Part::Text]);
}

#[test]
fn a_schema_makes_the_text_a_document() {
    let mut asked = asked("Which city?");
    asked.schema = Some(json!({ "type": "object", "properties": { "city": { "type": "string" } } }));
    let answer = composed(&asked, &AnswerSettings::default());
    let document: serde_json::Value = serde_json::from_str(answer.blocks[0].content()).unwrap();
    assert!(document["city"].is_string());
}

#[test]
fn max_tokens_and_stop_sequences_end_an_answer() {
    let settings = AnswerSettings { text: Some("one two three four five".to_owned()), ..AnswerSettings::default() };
    let mut asked = asked("Count.");
    asked.max_tokens = Some(2);
    let answer = composed(&asked, &settings);
    assert_eq!((answer.blocks[0].content(), &answer.stop, answer.usage.completion), ("one two ", &Stop::Length, 2));
    asked.max_tokens = Some(100);
    asked.stop_sequences = vec!["four".to_owned(), "three".to_owned()];
    let answer = composed(&asked, &settings);
    assert_eq!((answer.blocks[0].content(), &answer.stop), ("one two ", &Stop::Sequence("three".to_owned())));
}

#[test]
fn a_wish_adds_the_part_that_a_fault_cuts_in() {
    let wish = |part| Wish { part: Some(part), refusal: None };
    let settings = AnswerSettings::default();
    let answer = compose(&asked("Hi"), &settings, 1, &wish(Part::Reasoning)).unwrap();
    assert_eq!(parts(&answer), [Part::Reasoning, Part::Text]);
    let answer = compose(&with_tools(), &settings, 1, &wish(Part::ToolCall)).unwrap();
    assert_eq!(parts(&answer), [Part::ToolCall]);
    let answer = compose(&asked("Hi"), &settings, 1, &wish(Part::Json)).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(answer.blocks[0].content()).is_ok());
    assert_eq!(compose(&asked("Hi"), &settings, 1, &wish(Part::ToolCall)), None, "there is no tool to call");
}

#[test]
fn what_a_dialect_has_no_words_for_is_not_said() {
    let call = CallSettings { name: "weather".to_owned(), arguments: json!({}) };
    let settings = AnswerSettings { calls: vec![call], reasoning: Some("Hm.".to_owned()), ..AnswerSettings::default() };
    let asked = Asked { lacks: &[Part::ToolCall, Part::Reasoning], ..with_tools() };
    assert_eq!(parts(&composed(&asked, &settings)), [Part::Text]);
    for part in [Part::ToolCall, Part::Reasoning] {
        assert_eq!(compose(&asked, &settings, 1, &Wish { part: Some(part), refusal: None }), None);
    }
}

#[test]
fn a_prompt_has_no_more_cached_tokens_than_tokens() {
    let settings = AnswerSettings { cached_tokens: 8, ..AnswerSettings::default() };
    for (prompt_tokens, cached) in [(20, 8), (5, 5)] {
        let asked = Asked { prompt_tokens, ..asked("Hello") };
        let usage = composed(&asked, &settings).usage;
        assert_eq!((usage.prompt, usage.cached), (prompt_tokens, cached));
    }
}
