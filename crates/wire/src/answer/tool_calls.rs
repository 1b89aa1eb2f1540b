//! Tool calls in a stream of OpenAI chunks, told apart.
//!
//! By the book a call is known by its `index`, and its id and name come once. Off the book, servers leave the index out,
//! write 0 for each of several calls, leave the id empty, or repeat id and name in every chunk.

use std::borrow::Cow;

use commonwatt_core::answer::Delta;

/// The calls of one answer.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    calls: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    /// The server's index for it.
    index: Option<u64>,
    /// The server's id for it; empty when it gave none.
    id: String,
    named: bool,
    /// Arguments that came before the name.
    held: String,
    braces: Braces,
}

/// What one chunk says of a call.
pub(super) struct Fragment<'a> {
    pub(super) index: Option<u64>,
    pub(super) id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) arguments: Cow<'a, str>,
}

impl ToolCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether every call has a name.
    pub(super) fn all_named(&self) -> bool {
        self.calls.iter().all(|call| call.named)
    }

    /// Reads a fragment. `answer_id` is what ids are made from where the server gives none.
    pub(super) fn read(&mut self, fragment: Fragment<'_>, answer_id: &str, out: &mut Vec<Delta>) {
        let place = self.place(&fragment).unwrap_or_else(|| {
            let id = fragment.id.clone().into_owned();
            let index = fragment.index;
            self.calls.push(Known { index, id, named: false, held: String::new(), braces: Braces::default() });
            self.calls.len() - 1
        });
        let Some(call) = self.calls.get_mut(place) else { return };
        let index = u32::try_from(place).unwrap_or(u32::MAX);
        let arguments = fragment.arguments;
        call.braces.feed(&arguments);
        if call.named {
            if !arguments.is_empty() {
                out.push(Delta::ToolCallArguments { index, fragment: arguments.into_owned() });
            }
            return;
        }
        call.held.push_str(&arguments);
        if fragment.name.is_empty() {
            return;
        }
        call.named = true;
        let id = if call.id.is_empty() { made_id(answer_id, place) } else { call.id.clone() };
        out.push(Delta::ToolCallStarted { index, id, name: fragment.name.into_owned() });
        if !call.held.is_empty() {
            out.push(Delta::ToolCallArguments { index, fragment: std::mem::take(&mut call.held) });
        }
    }

    /// The call that a fragment continues; none when it begins one.
    fn place(&self, fragment: &Fragment<'_>) -> Option<usize> {
        let Some(index) = fragment.index else {
            let known = self.calls.iter().rposition(|call| !fragment.id.is_empty() && call.id == *fragment.id);
            let begins = !fragment.name.is_empty() || !fragment.id.is_empty();
            return known.or_else(|| if begins { None } else { self.calls.len().checked_sub(1) });
        };
        let place = self.calls.iter().rposition(|call| call.index == Some(index))?;
        let call = self.calls.get(place)?;
        let other_id = !fragment.id.is_empty() && !call.id.is_empty() && call.id != *fragment.id;
        let begun_anew = fragment.id.is_empty() && call.id.is_empty() && call.braces.closed();
        let begins = call.named && !fragment.name.is_empty() && (other_id || begun_anew);
        if begins { None } else { Some(place) }
    }
}

fn made_id(answer_id: &str, place: usize) -> String {
    let stem: String = answer_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let stem = stem.get(stem.len().saturating_sub(24)..).unwrap_or_default();
    format!("call_{stem}_{place}")
}

/// Whether JSON text that comes in pieces is a closed object or array by now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Braces {
    depth: u32,
    begun: bool,
    in_string: bool,
    escaped: bool,
}

impl Braces {
    pub(super) fn feed(&mut self, text: &str) {
        for byte in text.bytes() {
            match (self.in_string, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.in_string = !self.in_string,
                (false, b'{' | b'[') => {
                    self.depth += 1;
                    self.begun = true;
                }
                (false, b'}' | b']') => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    pub(super) fn closed(self) -> bool {
        self.begun && self.depth == 0 && !self.in_string
    }
}
