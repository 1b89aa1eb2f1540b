use proptest::prelude::*;

use super::*;
use crate::call::{Role, ToolCall};
use crate::turn::utterances;

fn message(role: Role, bytes: usize) -> Item {
    Item::Message { role, content: vec![Part::Text("x".repeat(bytes).into())] }
}

fn called(id: &str) -> Item {
    Item::ToolCall(ToolCall { id: id.into(), name: "read".into(), arguments: "{}".into(), signature: None })
}

fn result(id: &str, bytes: usize) -> Item {
    Item::ToolOutput { call_id: id.into(), content: vec![Part::Text("r".repeat(bytes).into())], is_error: false }
}

fn call(system_bytes: usize, tool_bytes: usize) -> Call {
    let description = Some("d".repeat(tool_bytes));
    Call {
        system: vec![Part::Text("s".repeat(system_bytes).into())],
        tools: vec![Tool { name: "read".into(), description, ..Tool::default() }],
        ..Call::default()
    }
}

/// A question, then so many calls with their results.
fn agent(rounds: usize, result_bytes: usize) -> Vec<(Party, Vec<Item>)> {
    let mut items = vec![message(Role::User, 300)];
    for round in 0..rounds {
        let id = format!("call_{round}");
        items.extend([called(&id), result(&id, result_bytes)]);
    }
    utterances(items)
}

const PILOT: Geometry = Geometry { window_tokens: 4_096, output_tokens: 0 };

fn cut(turns: &[(Party, Vec<Item>)]) -> Cut {
    match Projection::of(&Sizes::of(&call(90, 90), turns), PILOT) {
        Projection::Compact(cut) => cut,
        other @ (Projection::Whole | Projection::Impossible(_)) => panic!("{other:?}"),
    }
}

#[test]
fn what_fits_is_left_alone() {
    assert_eq!(Projection::of(&Sizes::of(&call(90, 90), &agent(3, 30)), PILOT), Projection::Whole);
}

#[test]
fn an_agents_only_question_stays_however_long_it_has_worked_on_it() {
    let turns = agent(200, 600);
    let cut = cut(&turns);
    assert_eq!(cut.pinned, [0]);
    assert!(cut.keep_from > 300, "{cut:?}");
    assert_eq!(turns[cut.keep_from].0, Party::Model);
}

#[test]
fn an_operators_word_within_the_conversation_stays() {
    let mut turns = agent(100, 600);
    turns.insert(5, (Party::System, vec![message(Role::System, 30)]));
    assert_eq!(cut(&turns).pinned, [0, 5]);
}

#[test]
fn a_system_prompt_that_fills_the_window_leaves_no_room_and_is_told_with_numbers() {
    let projection = Projection::of(&Sizes::of(&call(90, 12_000), &agent(100, 600)), PILOT);
    let Projection::Impossible(reason) = projection else { panic!("{projection:?}") };
    assert!(reason.needs_tokens > 4_096, "{reason}");
    assert!(reason.to_string().contains("its window is 4096"), "{reason}");
}

#[test]
fn a_single_turn_that_is_too_long_has_no_projection() {
    let turns = utterances(vec![message(Role::User, 60_000)]);
    let projection = Projection::of(&Sizes::of(&call(90, 90), &turns), PILOT);
    assert!(matches!(projection, Projection::Impossible(_)), "{projection:?}");
}

#[test]
fn a_summary_holds_until_what_was_said_since_fills_the_window() {
    let turns = agent(100, 600);
    let first = cut(&turns);
    let with = |turns: &[(Party, Vec<Item>)]| {
        Sizes::of(&call(90, 90), turns).with_summary(PILOT, first.keep_from, first.budget_tokens)
    };
    assert_eq!(with(&turns), Some(first.clone()));
    assert!(with(&agent(102, 600)).is_some(), "two more rounds fit");
    assert_eq!(with(&agent(200, 600)), None);
}

#[test]
fn a_text_is_cut_at_the_end_of_a_line_and_never_within_a_character() {
    assert_eq!(fitting("short", 9), ("short", ""));
    assert_eq!(fitting("one two\nthree four", 4), ("one two\n", "three four"));
    assert_eq!(fitting("ééééé", 1), ("é", "éééé"));
    assert_eq!(fitting("é", 0), ("é", ""));
}

/// One piece of a conversation: who, how long, and how many tools a model calls; results may come after other words.
fn pieces() -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    proptest::collection::vec((0_u8..6, 0_usize..2_000, 0_usize..3), 1..60)
}

fn conversation(pieces: Vec<(u8, usize, usize)>) -> Vec<(Party, Vec<Item>)> {
    let (mut items, mut ids) = (Vec::new(), 0);
    for (who, bytes, calls) in pieces {
        match who {
            0 => items.push(message(Role::System, bytes / 10)),
            1 | 2 => items.push(message(Role::User, bytes)),
            _ => {
                items.push(message(Role::Assistant, bytes));
                let asked: Vec<String> = (0..calls).map(|at| format!("call_{}", ids + at)).collect();
                ids += calls;
                items.extend(asked.iter().map(|id| called(id)));
                if who == 5 {
                    items.push(message(Role::User, 9));
                }
                items.extend(asked.iter().map(|id| result(id, bytes)));
            }
        }
    }
    utterances(items)
}

proptest! {
    #[test]
    fn nothing_that_must_stay_is_ever_cut_and_no_result_loses_its_call(
        pieces in pieces(), system in 0_usize..3_000, tools in 0_usize..3_000,
        window_tokens in 256_u64..20_000, output_tokens in 0_u64..3_000,
    ) {
        let turns = conversation(pieces);
        let sizes = Sizes::of(&call(system, tools), &turns);
        let geometry = Geometry { window_tokens, output_tokens };
        let all = sizes.prompt_tokens() + geometry.reserved_tokens();
        let projection = Projection::of(&sizes, geometry);
        prop_assert_eq!(projection == Projection::Whole, all <= window_tokens);
        let Projection::Compact(cut) = projection else { return Ok(()) };
        let stays = |at: usize| at >= cut.keep_from || cut.pinned.contains(&at);
        prop_assert!(cut.keep_from > 0 && cut.keep_from < turns.len());
        prop_assert!(cut.pinned.iter().all(|at| *at < cut.keep_from));
        let last_user = turns.iter().rposition(|(party, _)| *party == Party::User);
        prop_assert!(last_user.is_none_or(stays));
        prop_assert!(turns.iter().enumerate().all(|(at, (party, _))| *party != Party::System || stays(at)));
        let kept: u64 = sizes.turns.iter().enumerate().filter(|(at, _)| stays(*at)).map(|(_, turn)| turn.tokens).sum();
        let used = sizes.fixed_tokens + FRAME_TOKENS + kept + cut.budget_tokens + geometry.reserved_tokens();
        prop_assert!(used <= window_tokens, "{} of {}", used, window_tokens);
        prop_assert!(cut.budget_tokens >= SUMMARY_TOKENS_MIN);
        for (at, (_, items)) in turns.iter().enumerate() {
            for item in items {
                let Item::ToolOutput { call_id, .. } = item else { continue };
                let is_its_call = |item: &Item| matches!(item, Item::ToolCall(call) if call.id == *call_id);
                let from = turns.iter().position(|(_, items)| items.iter().any(is_its_call)).unwrap();
                prop_assert_eq!(stays(from), stays(at), "a result without its call");
            }
        }
        prop_assert_eq!(sizes.with_summary(geometry, cut.keep_from, cut.budget_tokens), Some(cut));
    }
}
