use jiff::tz::TimeZone;
use serde_json::json;

use super::*;

fn now() -> Zoned {
    "2026-11-21T14:30:00Z".parse::<jiff::Timestamp>().unwrap().to_zoned(TimeZone::UTC)
}

/// So many minutes before now.
fn ago(minutes: u64) -> u64 {
    now().timestamp().as_millisecond() as u64 - minutes * 60_000
}

fn session(id: &str, name: Option<&str>, title: &str) -> serde_json::Value {
    json!({"id": id, "name": name, "title": title, "owner": "me", "holder": "me", "created_ms": ago(90),
           "updated_ms": ago(2), "expires_ms": null, "turns": 4, "root": "00", "head": "h"})
}

fn node(number: u64, id: &str, parent: &str, by: Option<&str>, on_path: bool) -> serde_json::Value {
    json!({"number": number, "id": id, "parent": parent, "party": if by.is_some() { "model" } else { "user" }, "by": by,
           "state": "complete", "made_ms": ago(10), "on_path": on_path})
}

fn tree(nodes: &[serde_json::Value], columns: Option<usize>) -> String {
    let tree = json!({"session": session("s", None, "hello"), "turns": nodes, "left_out": 0});
    let drawn = Paper::new(Paint::PLAIN, columns, true).tree(&serde_json::from_value(tree).unwrap(), &now());
    drawn.split_once("\n\n").unwrap().1.to_owned()
}

fn turn(said: &serde_json::Value, columns: usize, is_full: bool) -> String {
    let turn = json!({"id": "t", "parent": "00", "party": "model", "by": "alpha/m", "model": "m", "state": "unfinished",
                      "made_ms": ago(10), "finish": "length", "usage": {"input": 7, "output": 3}, "said": said});
    Paper::new(Paint::PLAIN, Some(columns), is_full).turn(&serde_json::from_value(turn).unwrap(), &now())
}

#[test]
fn a_conversation_without_branches_runs_straight_down() {
    let drawn = tree(&[node(1, "a", "00", None, true), node(2, "h", "a", Some("alpha/m"), true)], None);
    assert_eq!(drawn, "1  ● user · 14:20\n2  ● alpha/m · 14:20 ◀ head\n");
}

#[test]
fn branches_stand_beside_what_leads_to_the_head() {
    let nodes = [
        node(1, "x", "00", None, false),
        node(2, "a", "00", None, true),
        node(3, "b", "a", Some("alpha/m"), true),
        node(4, "c", "b", None, false),
        node(5, "d", "c", Some("beta/m"), false),
        node(6, "e", "c", Some("gamma/m"), false),
        node(7, "h", "b", None, true),
    ];
    let drawn: Vec<String> = tree(&nodes, None).lines().map(|line| line.replace(" · 14:20", "")).collect();
    assert_eq!(
        drawn,
        [
            "1  ├─○ user",
            "2  ● user",
            "3  ● alpha/m",
            "4  ├─○ user",
            "5  │ ├─○ beta/m",
            "6  │ ○ gamma/m",
            "7  ● user ◀ head",
        ]
    );
}

#[test]
fn a_narrow_terminal_cuts_the_names_in_a_tree() {
    let drawn = tree(&[node(1, "h", "00", Some(&format!("alpha/{}", "m".repeat(60))), true)], Some(40));
    assert!(drawn.lines().all(|line| term::width(line) <= 40), "{drawn}");
    assert!(drawn.contains("◀ head"), "{drawn}");
}

#[test]
fn a_turn_says_who_spoke_and_how_it_ended() {
    let said = json!([{"kind": "thought", "text": "hm"}, {"kind": "text", "text": "one two three"},
                      {"kind": "call", "text": "read({})"}, {"kind": "error", "text": "no"}]);
    assert_eq!(
        turn(&said, 10, false),
        "alpha/m · 14:20 · 7 tokens in, 3 out · broke off\n  hm\n  one two\n  three\n  →\n  read({})\n  ←\n  failed:\n  no\n"
    );
}

#[test]
fn a_long_turn_is_cut_until_all_of_it_is_wanted() {
    let said = json!([{"kind": "text", "text": "line\n".repeat(50)}]);
    assert!(turn(&said, 80, false).ends_with("  line\n  … 38 more lines: `--full`\n"));
    assert_eq!(turn(&said, 80, true).lines().count(), 51);
}

#[test]
fn what_was_said_cannot_steer_the_terminal() {
    let said = json!([{"kind": "text", "text": "a\u{1b}[2J\u{1b}]0;title\u{7}b\r\u{202e}c"}, {"kind": "\u{1b}c", "text": "x"}]);
    let shown = turn(&said, 80, false);
    assert!(!shown.contains(['\u{1b}', '\u{7}', '\r', '\u{202e}']), "{shown:?}");
}

#[test]
fn ids_are_shown_as_far_as_they_differ() {
    let lines: Vec<SessionLine> = [
        session("019a7f3c-1b2c-7aaa-8bbb-000000000001", Some("work"), "first"),
        session("019a7f3c-1b2c-7aab-8bbb-000000000002", None, "second\u{1b}[31m"),
    ]
    .map(|session| serde_json::from_value(session).unwrap())
    .into();
    let shown = list(&lines, &now(), Paint::PLAIN, None);
    assert_eq!(
        shown,
        "SESSION             NAME  USED       TURNS  BEGINS WITH\n\
         019a7f3c-1b2c-7aaa  work  2 min ago  4      first\n\
         019a7f3c-1b2c-7aab        2 min ago  4      second[31m\n"
    );
    let narrow = list(&lines, &now(), Paint::PLAIN, Some(40));
    assert!(narrow.starts_with("SESSION             CALLED\n019a7f3c-1b2c-7aaa  work\n"), "{narrow}");
    assert!(list(&[], &now(), Paint::PLAIN, None).contains("`commonwatt chat` begins one"));
}
