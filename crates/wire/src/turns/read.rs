//! Reads the canonical form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role, ToolCall};
use commonwatt_core::turn::{Party, Turn, TurnId};

use crate::Dialect;
use crate::tape::{Tape, View};

/// A text that is no turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a turn in canonical form: {0}")]
pub struct BadTurn(String);

impl BadTurn {
    fn at(place: &str) -> Self {
        Self(format!("`{place}` is missing or of the wrong kind"))
    }
}

type Attachments<'a> = &'a dyn Fn(&[u8; 32]) -> Option<Bytes>;

/// Reads a turn; `attachment` finds what it names by hash.
///
/// # Errors
/// [`BadTurn`] when the bytes are no turn, or an attachment is not there.
pub fn read_turn(bytes: &Bytes, attachment: &dyn Fn(&[u8; 32]) -> Option<Bytes>) -> Result<Turn, BadTurn> {
    let mut tape = Tape::default();
    let root = tape.read_shared(bytes).map_err(|error| BadTurn(error.told(bytes)))?;
    if root.get_whole("v") != Some(1) {
        return Err(BadTurn("its version is not 1; a newer Commonwatt has written it".to_owned()));
    }
    let parent = string(&root, "parent")?.parse().map_err(|_| BadTurn::at("parent"))?;
    let party = Party::from_word(&string(&root, "party")?).ok_or_else(|| BadTurn::at("party"))?;
    let dialect = match root.get_string("dialect") {
        Some(word) => Dialect::from_word(&word).ok_or_else(|| BadTurn::at("dialect"))?.word(),
        None => "",
    };
    let items = root.get("items").ok_or_else(|| BadTurn::at("items"))?;
    let items = items.items().map(|value| item(&value, attachment)).collect::<Result<_, _>>()?;
    Ok(Turn { parent, party, dialect, items })
}

/// What a turn names by hash; empty for bytes that are no turn.
#[must_use]
pub fn attachments_of(bytes: &Bytes) -> Vec<[u8; 32]> {
    let mut tape = Tape::default();
    let mut found = Vec::new();
    if let Some(items) = tape.read(bytes).ok().and_then(|root| root.get("items")) {
        items.items().for_each(|item| named_in(&item, &mut found));
    }
    found
}

fn named_in(value: &View<'_>, found: &mut Vec<[u8; 32]>) {
    let image = value.get_string("image_url").filter(|_| value.get("media_type").is_some());
    let hash = image.as_deref().and_then(|url| url.strip_prefix("sha256:").map(str::to_owned));
    let hash = hash.or_else(|| optional(value, "json_sha256"));
    found.extend(hash.and_then(|hash| hash.parse::<TurnId>().ok()).map(|TurnId(hash)| hash));
    for list in ["content", "output"].iter().filter_map(|name| value.get(name)) {
        list.items().for_each(|part| named_in(&part, found));
    }
}

fn string(value: &View<'_>, name: &str) -> Result<String, BadTurn> {
    value.get_string(name).map(std::borrow::Cow::into_owned).ok_or_else(|| BadTurn::at(name))
}

fn optional(value: &View<'_>, name: &str) -> Option<String> {
    value.get_string(name).map(std::borrow::Cow::into_owned)
}

fn item(value: &View<'_>, attachment: Attachments<'_>) -> Result<Item, BadTurn> {
    Ok(match &*string(value, "type")? {
        "message" => {
            let role = match &*string(value, "role")? {
                "system" => Role::System,
                "user" => Role::User,
                "assistant" => Role::Assistant,
                _ => return Err(BadTurn::at("role")),
            };
            Item::Message { role, content: parts(value, "content", attachment)? }
        }
        "reasoning" => {
            let summary = value.get("summary").ok_or_else(|| BadTurn::at("summary"))?;
            let text = summary.items().map(|part| string(&part, "text")).collect::<Result<_, _>>()?;
            Item::Reasoning(Reasoning {
                text,
                signature: optional(value, "signature"),
                redacted: optional(value, "redacted"),
                encrypted: optional(value, "encrypted_content"),
                id: optional(value, "id"),
            })
        }
        "function_call" => Item::ToolCall(ToolCall {
            id: string(value, "call_id")?,
            name: string(value, "name")?,
            arguments: value.get_text("arguments").ok_or_else(|| BadTurn::at("arguments"))?,
            signature: optional(value, "signature"),
        }),
        "function_call_output" => Item::ToolOutput {
            call_id: string(value, "call_id")?,
            content: parts(value, "output", attachment)?,
            is_error: value.get("is_error").and_then(|flag| flag.boolean()) == Some(true),
        },
        "commonwatt:opaque" => Item::Opaque(string(value, "kind")?, json(value, attachment)?),
        "commonwatt:field" => Item::Field(string(value, "name")?, json(value, attachment)?),
        _ => return Err(BadTurn::at("type")),
    })
}

fn parts(value: &View<'_>, name: &str, attachment: Attachments<'_>) -> Result<Vec<Part>, BadTurn> {
    let list = value.get(name).ok_or_else(|| BadTurn::at(name))?;
    list.items().map(|value| part(&value, attachment)).collect()
}

fn part(value: &View<'_>, attachment: Attachments<'_>) -> Result<Part, BadTurn> {
    Ok(match &*string(value, "type")? {
        "input_text" | "output_text" => Part::Text(value.get_text("text").ok_or_else(|| BadTurn::at("text"))?),
        "refusal" => Part::Refusal(value.get_text("refusal").ok_or_else(|| BadTurn::at("refusal"))?),
        "input_image" => Part::Image(image(value, attachment)?),
        "commonwatt:opaque" => Part::Opaque(string(value, "kind")?, json(value, attachment)?),
        "commonwatt:field" => Part::Field(string(value, "name")?, json(value, attachment)?),
        _ => return Err(BadTurn::at("type")),
    })
}

fn image(value: &View<'_>, attachment: Attachments<'_>) -> Result<Image, BadTurn> {
    let (url, detail) = (string(value, "image_url")?, optional(value, "detail"));
    let Some(media_type) = optional(value, "media_type") else { return Ok(Image::Url { url, detail }) };
    let hash = url.strip_prefix("sha256:").ok_or_else(|| BadTurn::at("image_url"))?;
    let bytes = attached(hash, attachment)?;
    Ok(Image::Base64 { media_type, data: STANDARD.encode(&bytes).into(), detail })
}

fn json(value: &View<'_>, attachment: Attachments<'_>) -> Result<RawJson, BadTurn> {
    let text = match value.get_string("json_sha256") {
        Some(hash) => attached(&hash, attachment)?,
        None => Bytes::from(string(value, "json")?),
    };
    // It is written into requests as it stands, so it has to be JSON.
    Tape::default().read(&text).map_err(|_| BadTurn::at("json"))?;
    Ok(RawJson(text))
}

fn attached(hash: &str, attachment: Attachments<'_>) -> Result<Bytes, BadTurn> {
    let TurnId(hash) = hash.parse().map_err(|_| BadTurn::at("sha256"))?;
    attachment(&hash).ok_or_else(|| BadTurn(format!("its attachment {} is not there", TurnId(hash))))
}
