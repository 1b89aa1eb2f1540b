//! A session as a page for people and models who were not there, in Markdown: what it is about, what is open, who said
//! what, and the last turns in full.
//!
//! No model is asked, so the same session gives the same page. Whatever was said stands behind `> `, so that it cannot
//! be taken for the page's own words.

use std::collections::HashSet;
use std::fmt::Write as _;

use commonwatt_core::call::{Item, Part, ToolCall};
use commonwatt_core::turn::{Party, Turn};

/// A turn and who made it.
#[derive(Clone, Copy, Debug)]
pub struct Spoken<'a> {
    /// What was said.
    pub turn: &'a Turn,
    /// The deployment that said it, where a model spoke.
    pub by: Option<&'a str>,
    /// Whether it was said to its end.
    pub is_whole: bool,
}

/// Turns that are given in full: a question and what became of it, some steps of an agent.
const IN_FULL: usize = 6;
/// Turns in the list of who said what; of longer sessions the newest.
const LISTED: usize = 200;
/// Letters of a text in full …
const FULL_CHARS: usize = 4_000;
/// … and in a list.
const LINE_CHARS: usize = 120;

/// The page about these turns, oldest first.
#[must_use]
pub fn brief(title: &str, turns: &[Spoken<'_>]) -> String {
    let mut page = format!("# {}\n", line(title, "A session"));
    let asked = |turn: &&Spoken<'_>| turn.turn.party == Party::User;
    let (first, last) = (turns.iter().find(asked), turns.iter().rev().find(asked));
    if let Some(first) = first {
        page.push_str("\n## The goal\n\n");
        quote(&mut page, &told(first.turn));
    }
    if let Some(last) = last.filter(|last| first.is_none_or(|first| !std::ptr::eq(*last, first))) {
        page.push_str("\n## What was asked last\n\n");
        quote(&mut page, &told(last.turn));
    }
    let rules = turns.iter().filter(|turn| turn.turn.party == Party::System);
    let rules: Vec<String> = rules.map(|turn| told(turn.turn)).collect();
    if !rules.is_empty() {
        page.push_str("\n## The instructions\n\n");
        quote(&mut page, &rules.join("\n\n"));
    }
    open_calls(&mut page, turns);
    who_said_what(&mut page, turns);
    page.push_str("\n## The last turns\n");
    for spoken in turns.iter().skip(turns.len().saturating_sub(IN_FULL)) {
        let _ = write!(page, "\n### {}\n\n", speaker(spoken));
        quote(&mut page, &told(spoken.turn));
    }
    page
}

/// Calls of functions that nobody has answered.
fn open_calls(page: &mut String, turns: &[Spoken<'_>]) {
    let mut answered = HashSet::new();
    let mut calls: Vec<&ToolCall> = Vec::new();
    for item in turns.iter().flat_map(|spoken| &spoken.turn.items) {
        match item {
            Item::ToolCall(call) => calls.push(call),
            Item::ToolOutput { call_id, .. } => {
                answered.insert(call_id.as_str());
            }
            Item::Message { .. } | Item::Reasoning(_) | Item::Opaque(..) | Item::Field(..) => {}
        }
    }
    calls.retain(|call| !answered.contains(call.id.as_str()));
    if calls.is_empty() {
        return;
    }
    page.push_str("\n## Open calls\n\n");
    for call in calls {
        quote(page, &called(call));
    }
}

fn who_said_what(page: &mut String, turns: &[Spoken<'_>]) {
    let skipped = turns.len().saturating_sub(LISTED);
    let _ = write!(page, "\n## Who said what ({} turns)\n\n", turns.len());
    if skipped > 0 {
        let _ = writeln!(page, "The first {skipped} are left out.\n");
    }
    for (number, spoken) in turns.iter().enumerate().skip(skipped) {
        let _ = writeln!(page, "{}. {}: {}", number + 1, speaker(spoken), line(&told(spoken.turn), "nothing in words"));
    }
}

fn speaker(spoken: &Spoken<'_>) -> String {
    let who = match spoken.turn.party {
        Party::System => "instructions",
        Party::User => "user",
        Party::Model => "model",
        Party::Tool => "function",
    };
    let by = spoken.by.map(|by| format!(" `{}`", by.replace('`', "'"))).unwrap_or_default();
    let cut = if spoken.is_whole { "" } else { " (cut off)" };
    format!("{who}{by}{cut}")
}

/// What a turn says, in words.
fn told(turn: &Turn) -> String {
    let mut words: Vec<String> = Vec::new();
    for item in &turn.items {
        match item {
            Item::Message { content, .. } => words.push(parts(content)),
            Item::ToolOutput { content, is_error, .. } => {
                let failed = if *is_error { "(failed) " } else { "" };
                words.push(format!("{failed}{}", parts(content)));
            }
            Item::ToolCall(call) => words.push(called(call)),
            Item::Opaque(kind, _) => words.push(format!("({kind})")),
            // Thinking is its model's own; fields say nothing.
            Item::Reasoning(_) | Item::Field(..) => {}
        }
    }
    words.retain(|words| !words.trim().is_empty());
    words.join("\n")
}

fn called(call: &ToolCall) -> String {
    format!("calls {}({})", call.name, call.arguments.as_str())
}

fn parts(parts: &[Part]) -> String {
    let mut said = String::new();
    for part in parts {
        match part {
            Part::Text(text) | Part::Refusal(text) => said.push_str(&text.as_str()),
            Part::Image(_) => said.push_str("(an image)"),
            Part::Opaque(kind, _) => {
                let _ = write!(said, "({kind})");
            }
            Part::Field(..) => {}
        }
    }
    said
}

/// A text as a quotation; of a long one its beginning.
fn quote(page: &mut String, text: &str) {
    let text = text.trim();
    let shown: String = text.chars().take(FULL_CHARS).collect();
    for line in shown.split(['\n', '\r']) {
        let _ = writeln!(page, "> {line}");
    }
    if shown.len() < text.len() {
        let _ = writeln!(page, ">\n> … ({} letters in all)", text.chars().count());
    }
}

/// The beginning of a text, on one line.
fn line(text: &str, otherwise: &str) -> String {
    let mut words = text.split_whitespace().flat_map(|word| [" ", word]).skip(1).flat_map(str::chars);
    let shown: String = words.by_ref().take(LINE_CHARS).collect();
    let more = if words.next().is_some() { "…" } else { "" };
    if shown.is_empty() { otherwise.to_owned() } else { format!("{shown}{more}") }
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::Role;
    use commonwatt_core::turn::TurnId;

    use super::*;

    fn turn(party: Party, items: Vec<Item>) -> Turn {
        Turn { parent: TurnId([0; 32]), party, dialect: "", items }
    }

    fn said(role: Role, text: &str) -> Item {
        Item::Message { role, content: vec![Part::Text(text.into())] }
    }

    fn call(id: &str, name: &str) -> Item {
        Item::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: "{\"x\":1}".into(), signature: None })
    }

    #[test]
    fn a_brief_tells_the_goal_what_is_open_and_who_said_what() {
        let turns = [
            turn(Party::User, vec![said(Role::User, "Build it.\n# Not a heading")]),
            turn(Party::Model, vec![said(Role::Assistant, "I look."), call("c1", "look"), call("c2", "list")]),
            turn(
                Party::Tool,
                vec![Item::ToolOutput {
                    call_id: "c1".into(),
                    content: vec![Part::Text("a file".into())],
                    is_error: true,
                }],
            ),
            turn(Party::User, vec![said(Role::User, "And now?")]),
        ];
        let by = [None, Some("alpha/alpha-1"), None, None];
        let spoken: Vec<_> =
            turns.iter().zip(by).map(|(turn, by)| Spoken { turn, by, is_whole: by.is_none() }).collect();
        let page = brief("Build it", &spoken);
        let expected = "# Build it\n\n## The goal\n\n> Build it.\n> # Not a heading\n\n## What was asked last\n\n> And now?\n\n\
                        ## Open calls\n\n> calls list({\"x\":1})\n\n## Who said what (4 turns)\n\n\
                        1. user: Build it. # Not a heading\n\
                        2. model `alpha/alpha-1` (cut off): I look. calls look({\"x\":1}) calls list({\"x\":1})\n\
                        3. function: (failed) a file\n4. user: And now?\n\n## The last turns\n";
        assert!(page.starts_with(expected), "{page}");
        assert!(page.ends_with("### user\n\n> And now?\n"), "{page}");
    }

    #[test]
    fn a_long_session_gives_a_short_brief() {
        let turns = vec![turn(Party::User, vec![said(Role::User, &"word ".repeat(10_000))]); 5_000];
        let spoken: Vec<_> = turns.iter().map(|turn| Spoken { turn, by: None, is_whole: true }).collect();
        let page = brief("", &spoken);
        assert!(page.starts_with("# A session\n") && page.len() < 100_000, "{}", page.len());
        assert!(page.contains("The first 4800 are left out."));
    }
}
