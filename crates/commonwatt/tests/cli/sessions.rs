//! Sessions as a person meets them, told by a daemon that answers by script.

use serde_json::{Value, json};

use super::fake::{self, Fake};
use super::terminal::Terminal;
use super::{Desk, STATUS, answer};

const IDS: [&str; 2] = ["019a7f3c-1b2c-7aaa-8bbb-000000000001", "019a7f3c-1b2c-7aaa-8bbb-000000000002"];

fn session(id: &str, name: Option<&str>) -> Value {
    json!({"id": id, "name": name, "title": "to Bern\u{1b}[31m?", "owner": "me", "holder": "me", "created_ms": 0,
           "updated_ms": 0, "expires_ms": null, "turns": 4, "root": "root", "head": "t4"})
}

fn turn(id: &str, parent: &str, party: &str, text: &str) -> Value {
    json!({"id": id, "parent": parent, "party": party, "by": (party == "model").then_some("alpha/m"), "state": "complete",
           "made_ms": 0, "said": [{"kind": "text", "text": text}], "items": []})
}

/// A daemon with the session `work`, which has two questions and their answers.
fn daemon() -> Fake {
    Fake::start(|request| {
        let one = json!({"session": session(IDS[0], Some("work")), "earlier": null, "turns": [
            turn("t1", "root", "user", "to Bern?"), turn("t2", "t1", "model", "by train"),
            turn("t3", "t2", "user", "and back?"), turn("t4", "t3", "model", "\u{1b}[2J\u{7}on \u{202e}foot")]});
        let node = |number: u64, party: &str| {
            json!({"number": number, "id": format!("t{number}"), "parent": if number == 1 { "root".to_owned() } else {
                   format!("t{}", number - 1) }, "party": party, "by": null, "state": "complete", "made_ms": 0,
                   "on_path": true})
        };
        let tree = json!({"session": session(IDS[0], Some("work")), "left_out": 0,
                          "turns": [node(1, "user"), node(2, "model"), node(3, "user"), node(4, "model")]});
        let json = |value: &Value| fake::json(200, &value.to_string());
        let up_to_two = || {
            let mut told = one.clone();
            told.pointer_mut("/turns").and_then(Value::as_array_mut).expect("turns").truncate(2);
            told
        };
        match request.target() {
            "/admin/v1/status" => fake::json(200, STATUS),
            "/v1/chat/completions" => answer(&["fine"], true),
            target if target.starts_with("/admin/v1/sessions?prefix=019a") => {
                json(&json!({"sessions": IDS.map(|id| session(id, None)), "next": null}))
            }
            target if target.starts_with("/admin/v1/sessions?") => json(&json!({"sessions": [], "next": null})),
            target if target.ends_with("/tree") => json(&tree),
            target if target.ends_with("/handoff") => json(&json!({ "token": "cwh_of-a-session" })),
            target if target.contains("turn=t2") => json(&up_to_two()),
            target if target.contains("/work?") || target.contains(IDS[0]) => json(&one),
            _ => fake::json(404, r#"{"error":{"message":"there is no such session"}}"#),
        }
    })
}

#[test]
fn the_beginning_of_several_ids_names_none_of_them() {
    let said = Desk::new().run_with(&daemon(), &["session", "show", "019a"], "");
    assert_eq!(said.code, 1);
    assert!(said.err.contains("`019a` is the beginning of several sessions"), "{said:?}");
    assert!(IDS.iter().all(|id| said.err.contains(id)) && !said.err.contains('\u{1b}'), "{said:?}");
    let said = Desk::new().run_with(&daemon(), &["session", "show", "wrok"], "");
    assert!(said.err.contains("there is no session `wrok`"), "{said:?}");
    let said = Desk::new().run_with(&daemon(), &["session", "show", ".."], "");
    assert!(said.err.contains("there is no session `..`"), "{said:?}");
}

#[test]
fn what_was_said_reaches_a_terminal_tamed_and_wrapped() {
    let (fake, desk) = (daemon(), Desk::new());
    let mut command = desk.command(&["session", "show", "work", "--url", &fake.url()]);
    command.env("COMMONWATT_KEY", "cw-test").env("TERM", "xterm").env("NO_COLOR", "1").env("TZ", "UTC");
    let mut terminal = Terminal::run(&mut command, 24);
    terminal.wait_for("019a7f3c-1b2c-7aaa-8bbb-000000000001\r\nwork\r\nto Bern[31m?\r\n");
    terminal.wait_for("alpha/m · 1 Jan 1970 00:00\r\n  by train\r\n");
    terminal.wait_for("  [2Jon foot\r\n");
    assert_eq!(terminal.code(), 0);
}

#[test]
fn a_session_is_erased_only_when_it_is_meant() {
    let (fake, desk) = (daemon(), Desk::new());
    let erased = |fake: &Fake| fake.requests().iter().any(|request| request.method() == "DELETE");
    let terminal = |word: &str| {
        let mut command = desk.command(&["session", "erase", "work", "--url", &fake.url()]);
        let mut terminal = Terminal::run(command.env("COMMONWATT_KEY", "cw-test").env("TERM", "xterm"), 100);
        terminal.wait_for("(4 turns: work) for good? [y/N");
        terminal.type_after("] ", word);
        terminal.code()
    };
    assert_eq!((terminal(""), erased(&fake)), (1, false));
    assert_eq!((terminal("y"), erased(&fake)), (0, true));
}

#[test]
fn a_chat_stays_in_the_session_that_its_first_answer_names() {
    let fake = Fake::start(|_| {
        let headers = "content-type: text/event-stream\r\nx-commonwatt-session: the-id\r\n";
        let body =
            "data: {\"choices\":[{\"delta\":{\"content\":\"ok\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        fake::reply(200, headers, body.as_bytes())
    });
    let said = Desk::new().run_with(&fake, &["chat"], "one\ntwo\n");
    let sent: Vec<_> = fake.requests().iter().map(|r| r.header("x-commonwatt-session").map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some("the-id".to_owned())]);
    assert!(said.err.ends_with("— `commonwatt chat --session the-id` goes on\n"), "{said:?}");
}

#[test]
fn a_conversation_goes_on_with_a_session_and_back_to_an_earlier_turn() {
    let (fake, desk) = (daemon(), Desk::new());
    let mut command = desk.command(&["chat", "--session", "work", "--url", &fake.url()]);
    let mut terminal = Terminal::run(command.env("COMMONWATT_KEY", "cw-test").env("TERM", "xterm"), 80);
    terminal.wait_for("  by train");
    terminal.wait_for("— going on with 019a7f3c-1b2c-7aaa-8bbb-000000000001: work");
    for (command, remark, place) in [
        ("/session", "4 turns; asking `auto`", "t4"),
        ("/undo", "taken back: and back?", "t2"),
        ("/branch 4", "the next question follows turn 4", "t4"),
        ("/branch 2", "the next question follows turn 2", "t2"),
        ("/tree", "the next question follows turn 2; `/branch NUMBER`", "t2"),
        ("/branch 9", "there is no turn `9` in this session", "t2"),
        ("/model beta/m", "from now on `beta/m` is asked, and told what was said so far", "t2"),
        ("/sessions", "no sessions yet", "t2"),
        ("/handoff bob", "cwh_of-a-session", "t2"),
    ] {
        terminal.type_line(command);
        terminal.wait_for(remark);
        terminal.type_line("next");
        terminal.wait_for("the daemon keeps no sessions any more");
        let asked = fake.requests().iter().rev().find_map(|r| r.header("x-commonwatt-continue").map(str::to_owned));
        assert_eq!(asked, Some(format!("{}@{place}", IDS[0])), "{command}");
        terminal.type_line("/undo");
        terminal.wait_for("taken back: next");
    }
    terminal.type_line("/quit");
    terminal.wait_for("goes on");
    assert_eq!(terminal.code(), 0);
}
