//! A call for the local engine: OpenAI-shaped messages and tools, since that is what chat templates read.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Item, Part};

use super::openai_write::Writer;
use super::{Quirks, Untranslatable, is_all_here};
use crate::emit::{self, Array};

/// What the engine's chat template is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineChat {
    /// A JSON array of messages with `role` and `content`, a string.
    pub messages_json: String,
    /// A JSON array of function tools; `None` when there are none.
    pub tools_json: Option<String>,
    /// What could not be carried.
    pub lossy: Vec<String>,
}

/// Stands where an image was.
const UNSEEN: &str = "[an image, which this model cannot see]";

/// Writes the conversation and the tools of a call for the local engine.
///
/// # Errors
/// [`Untranslatable`] when there is nothing to answer, or when part of the conversation lies with a provider.
pub fn engine_messages(call: &Call) -> Result<EngineChat, Untranslatable> {
    is_all_here(call)?;
    if call.items.is_empty() && call.system.is_empty() {
        return Err(Untranslatable { message: "the conversation is empty".to_owned() });
    }
    let quirks = Quirks { flat_content: true, reasoning_history: true, ..Quirks::default() };
    let (call, unseen) = without_images(call);
    let mut writer = Writer::new(&call, ("", &quirks), false);
    if unseen {
        writer.lossy.note("image_url");
    }
    let mut messages = Vec::with_capacity(1024);
    let mut array = Array::open(&mut messages);
    writer.messages(&mut array, "system");
    array.close();
    let tools = writer.tool_list();
    Ok(EngineChat {
        messages_json: emit::into_text(messages),
        tools_json: (tools != b"[]").then(|| emit::into_text(tools)),
        lossy: writer.lossy.into_notes(),
    })
}

/// Plain text only: images and foreign blocks become a word in brackets.
fn without_images(call: &Call) -> (Cow<'_, Call>, bool) {
    let seen = |part: &Part| matches!(part, Part::Image(_));
    let inside = |item: &Item| match item {
        Item::Message { content, .. } | Item::ToolOutput { content, .. } => content.iter().any(seen),
        Item::Reasoning(_) | Item::ToolCall(_) | Item::Opaque(..) | Item::Field(..) => false,
    };
    if !call.items.iter().any(inside) {
        return (Cow::Borrowed(call), false);
    }
    let mut call = call.clone();
    for item in &mut call.items {
        if let Item::Message { content, .. } | Item::ToolOutput { content, .. } = item {
            for part in content.iter_mut().filter(|part| seen(part)) {
                *part = Part::Text(UNSEEN.into());
            }
        }
    }
    (Cow::Owned(call), true)
}
