//! The journal of an answer on its way: what has been said so far, one delta a line, so that what was written before a
//! crash can be read after it.
//!
//! ```text
//! {"text":"Hello"}
//! {"call":0,"id":"call_1","name":"look"}
//! {"arguments":0,"fragment":"{\"at\":"}
//! ```

use bytes::Bytes;
use commonwatt_core::answer::Delta;
use commonwatt_core::call::RawJson;

use crate::emit::Object;
use crate::tape::{Tape, View};

/// Adds a delta to the journal. What tells nothing about what was said (usage, the end) is left out: an answer whose end
/// is known is a turn, not a journal.
pub fn write(delta: &Delta, out: &mut Vec<u8>) {
    let mut text = |name: &str, value: &str| {
        let mut line = Object::open(out);
        line.string(name, value);
        line.close();
        out.push(b'\n');
    };
    match delta {
        Delta::Text(said) => text("text", said),
        Delta::Reasoning(thought) => text("reasoning", thought),
        Delta::ReasoningSignature(seal) => text("signature", seal),
        Delta::RedactedReasoning(data) => text("redacted", data),
        Delta::Refusal(said) => text("refusal", said),
        Delta::Started { id, model } => pair(out, ("started", id), ("model", model)),
        Delta::EncryptedReasoning { id, content } => pair(out, ("encrypted", content), ("id", id)),
        Delta::Opaque(kind, RawJson(json)) => {
            pair(out, ("opaque", kind), ("json", std::str::from_utf8(json).unwrap_or_default()));
        }
        Delta::ToolCallStarted { index, id, name } => {
            let mut line = Object::open(out);
            line.whole("call", u64::from(*index));
            line.string("id", id);
            line.string("name", name);
            line.close();
            out.push(b'\n');
        }
        Delta::ToolCallArguments { index, fragment } => numbered(out, ("arguments", *index), ("fragment", fragment)),
        Delta::ToolCallSignature { index, signature } => numbered(out, ("seal", *index), ("signature", signature)),
        Delta::Logprobs(_) | Delta::Finished(_) | Delta::Usage(_) | Delta::Unread(_) => {}
    }
}

fn pair(out: &mut Vec<u8>, (name, value): (&str, &str), (other, text): (&str, &str)) {
    let mut line = Object::open(out);
    line.string(name, value);
    line.string(other, text);
    line.close();
    out.push(b'\n');
}

fn numbered(out: &mut Vec<u8>, (name, index): (&str, u32), (other, text): (&str, &str)) {
    let mut line = Object::open(out);
    line.whole(name, u64::from(index));
    line.string(other, text);
    line.close();
    out.push(b'\n');
}

/// Reads a journal as far as it goes: a last line that was cut is left out.
#[must_use]
pub fn read(journal: &Bytes) -> Vec<Delta> {
    let mut tape = Tape::default();
    let lines = journal.split(|byte| *byte == b'\n');
    lines.map_while(|line| delta(&tape.read(line).ok()?)).collect()
}

fn delta(line: &View<'_>) -> Option<Delta> {
    let text = |name: &str| line.get_string(name).map(std::borrow::Cow::into_owned);
    let index = |name: &str| line.get_whole(name).and_then(|index| u32::try_from(index).ok());
    let (name, _) = line.members().next()?;
    Some(match &*name {
        "text" => Delta::Text(text("text")?),
        "reasoning" => Delta::Reasoning(text("reasoning")?),
        "signature" => Delta::ReasoningSignature(text("signature")?),
        "redacted" => Delta::RedactedReasoning(text("redacted")?),
        "refusal" => Delta::Refusal(text("refusal")?),
        "started" => Delta::Started { id: text("started")?, model: text("model")? },
        "encrypted" => Delta::EncryptedReasoning { id: text("id")?, content: text("encrypted")? },
        "opaque" => Delta::Opaque(text("opaque")?, RawJson(text("json")?.into())),
        "call" => Delta::ToolCallStarted { index: index("call")?, id: text("id")?, name: text("name")? },
        "arguments" => Delta::ToolCallArguments { index: index("arguments")?, fragment: text("fragment")? },
        "seal" => Delta::ToolCallSignature { index: index("seal")?, signature: text("signature")? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Vec<Delta> {
        vec![
            Delta::Started { id: "resp_1".into(), model: "m".into() },
            Delta::Reasoning("hm \"\n".into()),
            Delta::ReasoningSignature("s".into()),
            Delta::RedactedReasoning("r".into()),
            Delta::EncryptedReasoning { id: "rs_1".into(), content: "e".into() },
            Delta::Text("Grüße \u{1f600}\n".into()),
            Delta::Refusal("no".into()),
            Delta::ToolCallStarted { index: 1, id: "c".into(), name: "f".into() },
            Delta::ToolCallArguments { index: 1, fragment: "{\"a\":".into() },
            Delta::ToolCallSignature { index: 1, signature: "s".into() },
            Delta::Opaque("fallback".into(), RawJson("{\"x\": 1}".into())),
        ]
    }

    fn journal() -> Vec<u8> {
        let mut out = Vec::new();
        said().iter().for_each(|delta| write(delta, &mut out));
        out
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&journal().into()), said());
    }

    #[test]
    fn a_journal_that_was_cut_anywhere_is_read_as_far_as_it_goes() {
        let whole = journal();
        for end in 0..whole.len() {
            let read = read(&Bytes::copy_from_slice(&whole[..end]));
            assert!(said().starts_with(&read), "{end}");
            let lines = whole[..end].iter().filter(|byte| **byte == b'\n').count();
            assert!(read.len() >= lines, "{end}");
        }
    }
}
