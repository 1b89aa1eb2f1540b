//! Writes the canonical form. Members stand in the order of their names.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role, ToolCall};
use commonwatt_core::turn::Turn;

use super::{Attachment, INLINE_MAX, hex, sha256};
use crate::emit::{Array, Object};

pub(super) fn turn(turn: &Turn) -> (Vec<u8>, Vec<Attachment>) {
    let mut writer = Writer { is_bound: false, attachments: Vec::new() };
    let mut list = Vec::with_capacity(256);
    let mut items = Array::open(&mut list);
    turn.items.iter().for_each(|item| writer.item(&mut items, item));
    items.close();
    let mut out = Vec::with_capacity(list.len() + 256);
    let mut body = Object::open(&mut out);
    if writer.is_bound {
        body.string("dialect", turn.dialect);
    }
    body.key("items").extend_from_slice(&list);
    body.string("parent", &turn.parent.to_string());
    body.string("party", turn.party.word());
    body.whole("v", 1);
    body.close();
    (out, writer.attachments)
}

struct Writer {
    /// Whether anything in it means something in one dialect only, so that the dialect is part of the turn.
    is_bound: bool,
    attachments: Vec<Attachment>,
}

impl Writer {
    fn item(&mut self, items: &mut Array<'_>, item: &Item) {
        match item {
            Item::Message { role, content } => {
                let mut object = items.object();
                self.parts(&mut object, "content", *role == Role::Assistant, content);
                object.string(
                    "role",
                    match role {
                        Role::System => "system",
                        Role::User => "user",
                        Role::Assistant => "assistant",
                    },
                );
                object.string("type", "message");
                object.close();
            }
            Item::Reasoning(reasoning) => self.reasoning(items, reasoning),
            Item::ToolCall(call) => self.tool_call(items, call),
            Item::ToolOutput { call_id, content, is_error } => {
                let mut object = items.object();
                object.string("call_id", call_id);
                if *is_error {
                    object.boolean("is_error", true);
                }
                self.parts(&mut object, "output", false, content);
                object.string("type", "function_call_output");
                object.close();
            }
            Item::Opaque(kind, raw) => self.opaque(items, kind, raw),
            Item::Field(name, raw) => self.field(items, name, raw),
        }
    }

    fn reasoning(&mut self, items: &mut Array<'_>, reasoning: &Reasoning) {
        self.is_bound |= reasoning.is_sealed();
        let mut object = items.object();
        let mut seal = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                object.string(name, value);
            }
        };
        seal("encrypted_content", &reasoning.encrypted);
        seal("id", &reasoning.id);
        seal("redacted", &reasoning.redacted);
        seal("signature", &reasoning.signature);
        let mut summary = object.array("summary");
        if !reasoning.text.is_empty() {
            let mut part = summary.object();
            part.string("text", &reasoning.text);
            part.string("type", "summary_text");
            part.close();
        }
        summary.close();
        object.string("type", "reasoning");
        object.close();
    }

    fn tool_call(&mut self, items: &mut Array<'_>, call: &ToolCall) {
        self.is_bound |= call.signature.is_some();
        let mut object = items.object();
        object.string("arguments", &call.arguments.as_str());
        object.string("call_id", &call.id);
        object.string("name", &call.name);
        if let Some(signature) = &call.signature {
            object.string("signature", signature);
        }
        object.string("type", "function_call");
        object.close();
    }

    fn parts(&mut self, object: &mut Object<'_>, name: &str, is_answer: bool, parts: &[Part]) {
        let mut list = object.array(name);
        for part in parts {
            match part {
                Part::Text(text) => {
                    let mut object = list.object();
                    object.string("text", &text.as_str());
                    object.string("type", if is_answer { "output_text" } else { "input_text" });
                    object.close();
                }
                Part::Refusal(text) => {
                    let mut object = list.object();
                    object.string("refusal", &text.as_str());
                    object.string("type", "refusal");
                    object.close();
                }
                Part::Image(image) => self.image(&mut list, image),
                Part::Opaque(kind, raw) => self.opaque(&mut list, kind, raw),
                Part::Field(name, raw) => self.field(&mut list, name, raw),
            }
        }
        list.close();
    }

    fn image(&mut self, list: &mut Array<'_>, image: &Image) {
        let mut object = list.object();
        let (url, media_type, detail) = match image {
            Image::Url { url, detail } => (url.clone(), None, detail),
            Image::Base64 { media_type, data, detail } => match STANDARD.decode(data.as_str().as_bytes()) {
                Ok(bytes) => (format!("sha256:{}", self.attach(bytes.into())), Some(media_type), detail),
                // Not base64: it stands as it was sent, for whoever wants to refuse it.
                Err(_) => (format!("data:{media_type};base64,{}", data.as_str()), None, detail),
            },
        };
        if let Some(detail) = detail {
            object.string("detail", detail);
        }
        object.string("image_url", &url);
        if let Some(media_type) = media_type {
            object.string("media_type", media_type);
        }
        object.string("type", "input_image");
        object.close();
    }

    fn opaque(&mut self, list: &mut Array<'_>, kind: &str, raw: &RawJson) {
        self.is_bound = true;
        let mut object = list.object();
        self.json(&mut object, raw);
        object.string("kind", kind);
        object.string("type", "commonwatt:opaque");
        object.close();
    }

    fn field(&mut self, list: &mut Array<'_>, name: &str, raw: &RawJson) {
        self.is_bound = true;
        let mut object = list.object();
        self.json(&mut object, raw);
        object.string("name", name);
        object.string("type", "commonwatt:field");
        object.close();
    }

    fn json(&mut self, object: &mut Object<'_>, raw: &RawJson) {
        if raw.0.len() > INLINE_MAX {
            let hash = self.attach(raw.0.clone());
            object.string("json_sha256", &hash);
        } else {
            object.string("json", raw.as_str());
        }
    }

    fn attach(&mut self, bytes: Bytes) -> String {
        let sha256 = sha256(&bytes);
        if !self.attachments.iter().any(|known| known.sha256 == sha256) {
            self.attachments.push(Attachment { sha256, bytes });
        }
        hex(&sha256)
    }
}
