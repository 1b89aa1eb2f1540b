//! Reads answers of OpenAI Completions, streamed and whole; both are `text_completion` objects.

use commonwatt_core::answer::Delta;
use commonwatt_core::fault::{Fault, FaultKind};

use super::{finish, usage};
use crate::tape::{Kind, View};

#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
}

impl Reader {
    /// Never true: the terminator of this dialect is no JSON.
    pub(super) fn event(&mut self, root: &View<'_>, out: &mut Vec<Delta>) -> Result<bool, Fault> {
        if root.kind() != Kind::Object {
            return Err(Fault::new(FaultKind::Malformed, "an event of the stream is not a JSON object"));
        }
        if !std::mem::replace(&mut self.begun, true) {
            let told = |name: &str| root.get_string(name).unwrap_or_default().into_owned();
            out.push(Delta::Started { id: told("id"), model: told("model") });
        }
        for choice in root.get("choices").iter().flat_map(View::items) {
            // The canonical answer is the first one; the others are the caller's who asked for them.
            if choice.get_whole("index").unwrap_or(0) == 0 {
                self::choice(&choice, out)?;
            }
        }
        out.extend(root.get("usage").as_ref().and_then(usage::from_openai).map(Delta::Usage));
        Ok(false)
    }
}

fn choice(choice: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    if let Some(text) = choice.get_string("text").filter(|text| !text.is_empty()) {
        out.push(Delta::Text(text.into_owned()));
    }
    match choice.get_string("finish_reason").as_deref() {
        None | Some("") => Ok(()),
        Some("error") => Err(Fault::new(FaultKind::InBand, "the provider ended the answer with an error")),
        Some(word) => {
            out.push(Delta::Finished(finish::from_openai(word)));
            Ok(())
        }
    }
}

pub(super) fn whole(root: &View<'_>, out: &mut Vec<Delta>) -> Result<(), Fault> {
    match root.get("choices") {
        None => return Err(Fault::new(FaultKind::Malformed, "the answer has no `choices`")),
        Some(choices) if choices.items().next().is_none() => {
            return Err(Fault::new(FaultKind::Empty, "the answer has no choices"));
        }
        Some(_) => {}
    }
    Reader::default().event(root, out).map(|_| ())
}
