//! Grows turns from the messages of another system: a tree whose nodes know their parents by name.

use std::collections::{HashMap, HashSet};

use commonwatt_core::call::Item;
use commonwatt_core::turn::{Party, Turn, TurnId, utterances};
use commonwatt_wire::{Dialect, turns};

use super::ImportedTurn;
use super::loss::Losses;
use crate::bundle::TurnState;

/// A message of the source. One without items stands for nothing; what follows it follows its parent.
pub(super) struct Said {
    pub(super) key: String,
    pub(super) parent: Option<String>,
    pub(super) items: Vec<Item>,
    pub(super) made_ms: Option<u64>,
    pub(super) model: Option<String>,
    pub(super) state: TurnState,
}

/// Turns, and the one at which the source stood.
pub(super) struct Grown {
    pub(super) turns: Vec<ImportedTurn>,
    pub(super) head: TurnId,
}

/// A turn before it has an id.
struct Bud {
    /// The bud it follows; `None` follows the root.
    parent: Option<usize>,
    party: Party,
    items: Vec<Item>,
    made_ms: Option<u64>,
    model: Option<String>,
    state: TurnState,
}

/// Grows turns from `root`. `head` names the message at which the source stood; the last one where it names none.
pub(super) fn grow(root: TurnId, said: Vec<Said>, head: Option<&str>, losses: &mut Losses) -> Grown {
    let last = said.last().map(|said| said.key.clone());
    // A message that says something, with the one before it that does.
    let mut spoken: Vec<(Said, Option<usize>)> = Vec::new();
    // For each message the last one that says something, up to it; none for what stands before all.
    let mut reached: HashMap<String, Option<usize>> = HashMap::new();
    for said in parents_first(said, losses) {
        let before = said.parent.as_ref().and_then(|parent| reached.get(parent).copied().flatten());
        let key = said.key.clone();
        if said.items.is_empty() {
            reached.insert(key, before);
            continue;
        }
        spoken.push((said, before));
        reached.insert(key, Some(spoken.len() - 1));
    }
    let head = head.filter(|head| reached.contains_key(*head)).map(str::to_owned).or(last);
    let head = head.and_then(|head| reached.get(&head).copied().flatten());
    let mut followers: HashMap<usize, usize> = HashMap::new();
    for before in spoken.iter().filter_map(|(_, before)| *before) {
        *followers.entry(before).or_default() += 1;
    }
    let mut buds: Vec<Bud> = Vec::new();
    // The bud in which each message that says something ended.
    let mut ends: Vec<Option<usize>> = Vec::new();
    for (said, before) in spoken {
        let goes_on = before.is_some_and(|before| followers.get(&before) == Some(&1) && Some(before) != head);
        let end = before.and_then(|before| ends.get(before).copied().flatten());
        ends.push(bud(&mut buds, end, goes_on, said));
    }
    hashed(root, buds, head.and_then(|head| ends.get(head).copied().flatten()))
}

/// Adds what a message says; returns the bud in which it ends. Where the message `goes_on`, nothing else follows what came
/// before it.
fn bud(buds: &mut Vec<Bud>, before: Option<usize>, goes_on: bool, said: Said) -> Option<usize> {
    let Said { items, made_ms, model, state, .. } = said;
    let mut end = before;
    for (at, (party, items)) in utterances(items).into_iter().enumerate() {
        let open = end.and_then(|end| buds.get_mut(end)).filter(|open| {
            let same_voice = open.model == model || open.model.is_none() || model.is_none();
            at == 0 && goes_on && party == Party::Model && open.party == Party::Model && same_voice
        });
        if let Some(open) = open {
            open.items.extend(items);
            open.model = open.model.take().or_else(|| model.clone());
            open.state = state;
            continue;
        }
        let model = model.clone().filter(|_| party == Party::Model);
        buds.push(Bud { parent: end, party, items, made_ms, model, state });
        end = Some(buds.len() - 1);
    }
    end
}

/// Each message after its parent, else in the order of the source. A parent that is not there is no parent; what follows
/// itself is left out.
fn parents_first(mut said: Vec<Said>, losses: &mut Losses) -> Vec<Said> {
    let mut keys = HashSet::new();
    said.retain(|said| {
        let is_new = keys.insert(said.key.clone());
        if !is_new {
            losses.add("a message whose id another one has, too");
        }
        is_new
    });
    let mut children: HashMap<String, Vec<usize>> = HashMap::new();
    let mut ready = Vec::new();
    for (at, said) in said.iter_mut().enumerate() {
        if said.parent.as_ref().is_some_and(|parent| !keys.contains(parent)) {
            said.parent = None;
            losses.add("what came before a message: its parent is not in the export");
        }
        match &said.parent {
            Some(parent) => children.entry(parent.clone()).or_default().push(at),
            None => ready.push(at),
        }
    }
    ready.reverse();
    let mut said: Vec<Option<Said>> = said.into_iter().map(Some).collect();
    let mut ordered = Vec::with_capacity(said.len());
    while let Some(at) = ready.pop() {
        let Some(said) = said.get_mut(at).and_then(Option::take) else { continue };
        ready.extend(children.remove(&said.key).unwrap_or_default().into_iter().rev());
        ordered.push(said);
    }
    for _ in said.iter().flatten() {
        losses.add("a message that follows itself");
    }
    ordered
}

fn hashed(root: TurnId, buds: Vec<Bud>, head: Option<usize>) -> Grown {
    let mut grown: Vec<ImportedTurn> = Vec::with_capacity(buds.len());
    let id_at = |grown: &[ImportedTurn], at: Option<usize>| {
        at.and_then(|at| grown.get(at)).map_or(root, |turn| turn.canonical.id)
    };
    // Two branches that say the same are one.
    let mut known = HashSet::new();
    for bud in buds {
        let parent = id_at(&grown, bud.parent);
        let turn = Turn { parent, party: bud.party, dialect: Dialect::OpenAiResponses.word(), items: bud.items };
        let canonical = turns::canonical(&turn);
        grown.push(ImportedTurn { turn, canonical, state: bud.state, made_ms: bud.made_ms, model: bud.model });
    }
    let head = id_at(&grown, head);
    grown.retain(|turn| known.insert(turn.canonical.id));
    Grown { turns: grown, head }
}
