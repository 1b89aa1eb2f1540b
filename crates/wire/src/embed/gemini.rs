//! Embeddings in Google's words. The model is in the path; each text is a request of its own inside the batch.

use commonwatt_core::text::Text;

use super::{EmbedCall, EmbedDialect};
use crate::emit::Object;
use crate::request::{BadInput, camel, member};
use crate::tape::{Kind, View};

/// Most texts that Google takes at once.
pub(super) const BATCH_MAX: usize = 100;

pub(super) fn open(dialect: EmbedDialect, root: &View<'_>) -> Result<EmbedCall, BadInput> {
    if root.kind() != Kind::Object {
        return Err(BadInput::new("the body must be a JSON object"));
    }
    let mut call = EmbedCall::empty(dialect);
    if dialect == EmbedDialect::GeminiOne {
        request(&mut call, root, "")?;
        return Ok(call);
    }
    for (key, value) in root.members() {
        if key != "requests" && !value.is_null() {
            call.extra.push((key.into_owned(), value.raw_json()));
        }
    }
    let requests = root.get("requests").filter(|requests| requests.items().next().is_some());
    let requests = requests.ok_or_else(|| BadInput::field("requests", "an array that is not empty"))?;
    for (at, one) in requests.items().enumerate() {
        let before = call.dimensions;
        request(&mut call, &one, &format!("requests[{at}]."))?;
        if at > 0 && before != call.dimensions {
            return Err(BadInput::field("requests[].outputDimensionality", "the same in all requests"));
        }
    }
    Ok(call)
}

/// Reads what is said of one text; `path` stands before its fields.
fn request(call: &mut EmbedCall, request: &View<'_>, path: &str) -> Result<(), BadInput> {
    let content = member(request, "content").and_then(|content| text(&content));
    let content = content.ok_or_else(|| BadInput::field(format_args!("{path}content"), "a content with parts of text"));
    call.inputs.push(content?);
    call.dimensions = None;
    let mut beside = Vec::new();
    for (key, value) in request.members() {
        match &*camel(&key) {
            _ if value.is_null() => {}
            // What the path says counts.
            "content" | "model" => {}
            "outputDimensionality" => {
                let dimensions = value.whole().and_then(|whole| u32::try_from(whole).ok());
                let wrong = || BadInput::field(format_args!("{path}{key}"), "a whole number, not negative");
                call.dimensions = Some(dimensions.ok_or_else(wrong)?);
            }
            name => beside.push((name.to_owned(), value.raw_json())),
        }
    }
    call.each.push(beside);
    Ok(())
}

/// The text of a content; of several parts, a line each.
fn text(content: &View<'_>) -> Option<Text> {
    let parts = member(content, "parts")?;
    let texts: Vec<Text> = parts.items().map(|part| part.get("text")?.text()).collect::<Option<_>>()?;
    match texts.as_slice() {
        [] => None,
        [only] => Some(only.clone()),
        several => Some(Text::from(several.iter().map(Text::as_str).collect::<Vec<_>>().join("\n"))),
    }
}

pub(super) fn write_batch(body: &mut Object<'_>, call: &EmbedCall, model: &str) {
    let mut requests = body.array("requests");
    for (at, text) in call.inputs.iter().enumerate() {
        let mut request = requests.object();
        write(&mut request, call, (at, text), model);
        request.close();
    }
    requests.close();
}

/// Writes what is said of one text.
pub(super) fn write(request: &mut Object<'_>, call: &EmbedCall, (at, text): (usize, &Text), model: &str) {
    request.string("model", &format!("models/{model}"));
    let mut content = request.object("content");
    let mut parts = content.array("parts");
    let mut part = parts.object();
    part.text("text", text);
    part.close();
    parts.close();
    content.close();
    if let Some(dimensions) = call.dimensions {
        request.whole("outputDimensionality", u64::from(dimensions));
    }
    call.each.get(at).into_iter().flatten().for_each(|(name, value)| request.json(name, value));
}
