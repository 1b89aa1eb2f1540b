//! What a session looks like in a terminal: in a list, turn by turn, and as a tree.
//!
//! Everything here was said by strangers: it is tamed before it is shown.

use std::collections::HashMap;

use jiff::Zoned;

use crate::admin::sessions::{NodeLine, Said, SessionLine, Told, Tree, TurnLine};
use crate::table;
use crate::term::{self, Paint};
use crate::when;
use crate::wrap::{COLUMNS_MAX, wrapped};

/// Letters of an id that tell the moment of a session's beginning to the millisecond.
const ID_LETTERS: usize = 13;
/// A terminal with fewer columns has no room for all of a list.
const ROOMY: usize = 60;
/// Lines of a long turn that are shown where nobody asks for everything.
const LINES: usize = 12;
/// What was said stands so far from the left edge.
const MARGIN: &str = "  ";

/// Sessions as a table.
pub(crate) fn list(sessions: &[SessionLine], now: &Zoned, paint: Paint, columns: Option<usize>) -> String {
    if sessions.is_empty() {
        return "no sessions yet: whatever is said with this key is kept from the first answer on, and `commonwatt chat` \
                begins one\n"
            .to_owned();
    }
    let letters = telling(sessions);
    let id = |session: &SessionLine| term::tame_line(&session.id).chars().take(letters).collect::<String>();
    if columns.is_some_and(|columns| columns < ROOMY) {
        let rows: Vec<_> = sessions.iter().map(|session| [id(session), session.called()]).collect();
        return table::plain(&["SESSION", "CALLED"], &rows, paint, columns);
    }
    let used = |session: &SessionLine| when::told(session.updated_ms, now);
    let turns = |session: &SessionLine| session.turns.to_string();
    if sessions.iter().any(|session| session.name.is_some()) {
        let row = |session: &SessionLine| {
            let name = session.name.as_deref().map(term::tame_line).unwrap_or_default();
            [id(session), name, used(session), turns(session), begins(session)]
        };
        let rows: Vec<_> = sessions.iter().map(row).collect();
        return table::plain(&["SESSION", "NAME", "USED", "TURNS", "BEGINS WITH"], &rows, paint, columns);
    }
    let row = |session: &SessionLine| [id(session), used(session), turns(session), begins(session)];
    let rows: Vec<_> = sessions.iter().map(row).collect();
    table::plain(&["SESSION", "USED", "TURNS", "BEGINS WITH"], &rows, paint, columns)
}

/// A session's first words; and who holds it, if that is somebody else.
fn begins(session: &SessionLine) -> String {
    let title = term::tame_line(session.title.as_deref().unwrap_or_default());
    if session.holder == session.owner { title } else { format!("({}) {title}", term::tame_line(&session.holder)) }
}

/// So many letters of each id tell all of them apart.
fn telling(sessions: &[SessionLine]) -> usize {
    let longest = sessions.iter().map(|session| session.id.chars().count()).max().unwrap_or_default();
    let is_told = |letters: &usize| {
        let mut heads: Vec<String> =
            sessions.iter().map(|session| session.id.chars().take(*letters).collect()).collect();
        heads.sort_unstable();
        heads.dedup();
        heads.len() == sessions.len()
    };
    (ID_LETTERS..longest).find(is_told).unwrap_or(longest)
}

/// What a session is shown on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paper {
    paint: Paint,
    /// `None` where lines may be as long as they like.
    columns: Option<usize>,
    /// Whether long turns are shown to their ends.
    is_full: bool,
}

impl Paper {
    pub(crate) fn new(paint: Paint, columns: Option<usize>, is_full: bool) -> Self {
        Self { paint, columns, is_full }
    }

    /// A session, and what was said in it.
    pub(super) fn told(self, told: &Told, now: &Zoned) -> String {
        let mut text = self.heading(&told.session, now);
        if told.earlier.is_some() {
            text.push_str(&format!("\n{}\n", self.paint.dim("… what was said before: `--full`")));
        }
        for turn in &told.turns {
            text.push('\n');
            text.push_str(&self.turn(turn, now));
        }
        text
    }

    fn heading(self, session: &SessionLine, now: &Zoned) -> String {
        let id = term::tame_line(&session.id);
        let mut text = self.paint.bold(&id);
        if let Some(name) = session.name.as_deref().map(term::tame_line) {
            let fits = self.columns.is_none_or(|columns| term::width(&id) + 2 + term::width(&name) <= columns);
            text.push_str(&format!("{}{}", if fits { "  " } else { "\n" }, self.cut(&name)));
        }
        text.push('\n');
        if let Some(title) = &session.title {
            text.push_str(&format!("{}\n", self.cut(&term::tame_line(title))));
        }
        let turns = if session.turns == 1 { "1 turn".to_owned() } else { format!("{} turns", session.turns) };
        let (begun, used) = (when::told(session.created_ms, now), when::told(session.updated_ms, now));
        let mut facts = format!("{turns} · begun {begun} · used {used}");
        if let Some(expires_ms) = session.expires_ms {
            facts.push_str(&format!(" · kept until {}", when::day(expires_ms, now)));
        }
        if session.holder != session.owner {
            facts.push_str(&format!(" · held by {}", term::tame_line(&session.holder)));
        }
        for line in self.broken(&facts, "").lines() {
            text.push_str(&format!("{}\n", self.paint.dim(line)));
        }
        text
    }

    /// A turn: who, when, and what.
    pub(crate) fn turn(self, turn: &TurnLine, now: &Zoned) -> String {
        let mut facts = vec![when::clock(turn.made_ms, now)];
        if let Some(usage) = &turn.usage {
            facts.push(format!("{} tokens in, {} out", usage.input, usage.output));
        }
        let who = speaker(&turn.party, turn.by.as_deref());
        let mut text = format!("{} {}", self.paint.bold(&who), self.paint.dim(&format!("· {}", facts.join(" · "))));
        if let Some(how) = ending(&turn.state, turn.finish.as_deref()) {
            text.push_str(&format!(" {}", self.paint.warn(&format!("· {how}"))));
        }
        text.push('\n');
        let mut lines: Vec<String> = turn.said.iter().flat_map(|said| self.piece(said)).collect();
        let left = lines.len().saturating_sub(LINES);
        // It takes a line to say that one is missing.
        if !self.is_full && left > 1 {
            lines.truncate(LINES);
            lines.push(self.paint.dim(&format!("{MARGIN}… {left} more lines: `--full`")));
        }
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }

    /// A piece of what was said, in lines.
    fn piece(self, said: &Said) -> Vec<String> {
        let text = term::tame(said.text.trim_end()).replace('\t', "    ");
        let (text, is_quiet) = match said.kind.as_str() {
            "text" => (text, false),
            "thought" => (text, true),
            "call" => (format!("→ {text}"), false),
            "result" => (format!("← {text}"), false),
            "error" => (format!("← failed: {text}"), false),
            "refusal" => (format!("refuses: {text}"), false),
            "image" | "sealed" | "other" => (format!("[{text}]"), true),
            kind => (format!("[{}] {text}", term::tame_line(kind)), true),
        };
        let broken = self.broken(&text, MARGIN);
        let dress = |line: &str| if is_quiet && !line.is_empty() { self.paint.dim(line) } else { line.to_owned() };
        broken.lines().map(dress).collect()
    }

    /// A text in lines that fit, each with the margin before it.
    fn broken(self, text: &str, margin: &str) -> String {
        let room = self.columns.map(|columns| columns.min(COLUMNS_MAX).saturating_sub(margin.len()).max(1));
        let text = room.map_or_else(|| text.to_owned(), |room| wrapped(text, room));
        let line = |line: &str| if line.trim().is_empty() { String::new() } else { format!("{margin}{line}") };
        text.lines().map(line).collect::<Vec<_>>().join("\n")
    }

    fn cut(self, text: &str) -> String {
        self.columns.map_or_else(|| text.to_owned(), |columns| term::cut(text, columns))
    }

    /// How a session branches. Whatever leads to the head runs straight down; other branches stand beside it.
    pub(crate) fn tree(self, tree: &Tree, now: &Zoned) -> String {
        let mut text = self.heading(&tree.session, now);
        text.push('\n');
        if tree.left_out > 0 {
            text.push_str(&self.paint.dim(&format!("… {} older turns are left out\n", tree.left_out)));
        }
        let widest = tree.turns.iter().map(|node| node.number).max().unwrap_or_default().to_string().len();
        for Row { node, lanes } in rows(tree) {
            let drawn = format!("{:>widest$}  {lanes}{} ", node.number, if node.on_path { "●" } else { "○" });
            let is_head = node.id == tree.session.head;
            let notes = [
                Some(format!("· {}", when::clock(node.made_ms, now))),
                ending(&node.state, None).map(|how| format!("· {how}")),
                is_head.then(|| "◀ head".to_owned()),
            ];
            let notes = notes.into_iter().flatten().collect::<Vec<_>>().join(" ");
            text.push_str(&self.row(&drawn, &speaker(&node.party, node.by.as_deref()), &notes, node.on_path));
        }
        text
    }

    /// A row of a tree, cut to the terminal: the speaker gives way first.
    fn row(self, drawn: &str, who: &str, notes: &str, on_path: bool) -> String {
        let room = self.columns.map(|columns| columns.saturating_sub(term::width(drawn) + term::width(notes) + 1));
        let who = room.map_or_else(|| who.to_owned(), |room| term::cut(who, room.max(ROW_NAME)));
        let who = if on_path { self.paint.bold(&who) } else { who };
        format!("{}{who} {}\n", self.paint.dim(drawn), self.paint.dim(notes))
    }
}

/// No name in a row of a tree is cut below this.
const ROW_NAME: usize = 8;

/// Who speaks, for people.
fn speaker(party: &str, by: Option<&str>) -> String {
    match (party, by) {
        (_, Some(by)) => term::tame_line(by),
        // A client brought it along when the session began.
        ("model", None) => "a model, as the caller told it".to_owned(),
        (party, None) => term::tame_line(party),
    }
}

/// How a turn ended, where that is worth a word.
fn ending(state: &str, finish: Option<&str>) -> Option<&'static str> {
    match (state, finish) {
        ("unfinished", _) => Some("broke off"),
        (_, Some("length")) => Some("reached its limit"),
        (_, Some("content-filter")) => Some("was filtered"),
        (_, Some("refusal")) => Some("refused"),
        (_, _) => None,
    }
}

/// A row of a tree.
struct Row<'a> {
    node: &'a NodeLine,
    lanes: String,
}

/// The turns in the order in which they are drawn. Of the turns that follow another, those on side branches come first,
/// and the one that leads to the head, or else the newest, goes straight on.
fn rows(tree: &Tree) -> Vec<Row<'_>> {
    let known: HashMap<&str, ()> = tree.turns.iter().map(|node| (node.id.as_str(), ())).collect();
    let mut children: HashMap<&str, Vec<&NodeLine>> = HashMap::new();
    for node in &tree.turns {
        // What follows a turn that was left out begins like the first one.
        let parent = if known.contains_key(node.parent.as_str()) { node.parent.as_str() } else { "" };
        children.entry(parent).or_default().push(node);
    }
    let (mut rows, mut waiting) = (Vec::with_capacity(tree.turns.len()), Vec::new());
    follow(&children, "", 0, &mut waiting);
    while let Some((node, depth, is_side)) = waiting.pop() {
        let straight = if is_side { depth - 1 } else { depth };
        let lanes = format!("{}{}", "│ ".repeat(straight), if is_side { "├─" } else { "" });
        rows.push(Row { node, lanes });
        follow(&children, &node.id, depth, &mut waiting);
    }
    rows
}

/// Puts what follows a turn on the pile, the next row on top.
fn follow<'a>(
    children: &HashMap<&str, Vec<&'a NodeLine>>,
    parent: &str,
    depth: usize,
    waiting: &mut Vec<(&'a NodeLine, usize, bool)>,
) {
    let Some(next) = children.get(parent) else { return };
    let straight = next.iter().find(|node| node.on_path).or(next.last()).copied();
    let Some(straight) = straight else { return };
    waiting.push((straight, depth, false));
    let sides = next.iter().rev().filter(|node| node.id != straight.id);
    waiting.extend(sides.map(|node| (*node, depth + 1, true)));
}

#[cfg(test)]
mod tests;
