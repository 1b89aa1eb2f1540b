//! Lists of items as the Responses API returns them (`GET /v1/responses/{id}/input_items`, `/v1/conversations/{id}/items`).
//!
//! ```text
//! {"object":"list","data":[{"id":"msg_…","type":"message","status":"completed","role":"user","content":[…]}],
//!  "first_id":"msg_…","last_id":"msg_…","has_more":false}
//! ```

use std::collections::HashSet;

use commonwatt_core::call::{Image, Item, Part, RawJson, Reasoning, Role};
use commonwatt_core::turn::{Turn, TurnId};

use crate::Dialect;
use crate::emit::{Array, Object};

/// An item and the id under which it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id: made of the turn's, so it never changes.
    pub id: String,
    /// The item, as the API writes it.
    pub json: RawJson,
}

/// The items of a turn, listed.
#[must_use]
pub fn listed(id: TurnId, turn: &Turn) -> Vec<Listed> {
    let mut list = Vec::with_capacity(turn.items.len());
    for (item, id) in turn.items.iter().zip(ids(id, turn)) {
        let Some(id) = id else { continue };
        if let Item::Opaque(_, json) = item {
            list.push(Listed { id, json: json.clone() });
            continue;
        }
        let mut out = Vec::with_capacity(256);
        let mut object = Object::open(&mut out);
        object.string("id", &id);
        write(item, &mut object);
        object.close();
        list.push(Listed { id, json: RawJson(out.into()) });
    }
    list
}

/// The ids of a turn's items; none for what is not listed.
fn ids(id: TurnId, turn: &Turn) -> Vec<Option<String>> {
    let stem: String = id.to_string().chars().take(32).collect();
    let is_own = turn.dialect == Dialect::OpenAiResponses.word();
    let mut listed = 0..;
    let mut id = |kind: &str| Some(format!("{kind}_{stem}_{}", listed.next()?));
    let ids = turn.items.iter().map(|item| match item {
        Item::Message { .. } => id("msg"),
        Item::Reasoning(_) => id("rs"),
        Item::ToolCall(_) => id("fc"),
        Item::ToolOutput { .. } => id("fco"),
        // Another dialect's are not items here.
        Item::Opaque(..) if is_own => id("item"),
        Item::Opaque(..) | Item::Field(..) => None,
    });
    ids.collect()
}

/// A turn without the items of these ids, and without the fields that belong to them.
#[must_use]
pub fn without(id: TurnId, turn: Turn, deleted: &HashSet<String>) -> Turn {
    let ids = ids(id, &turn);
    let (mut items, mut is_deleted) = (Vec::with_capacity(turn.items.len()), false);
    for (item, id) in turn.items.into_iter().zip(ids) {
        let is_field = matches!(item, Item::Field(..));
        is_deleted = if is_field { is_deleted } else { id.is_some_and(|id| deleted.contains(&id)) };
        if !is_deleted {
            items.push(item);
        }
    }
    Turn { items, ..turn }
}

/// A page of items as the API writes it.
#[must_use]
pub fn write_list(page: &[Listed], has_more: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(1_024);
    let mut body = Object::open(&mut out);
    body.string("object", "list");
    let mut data = body.array("data");
    page.iter().for_each(|item| data.json(&item.json));
    data.close();
    for (name, item) in [("first_id", page.first()), ("last_id", page.last())] {
        match item {
            Some(item) => body.string(name, &item.id),
            None => body.null(name),
        }
    }
    body.boolean("has_more", has_more);
    body.close();
    out
}

fn write(item: &Item, out: &mut Object<'_>) {
    match item {
        Item::Message { role, content } => {
            out.string("type", "message");
            out.string("status", "completed");
            out.string(
                "role",
                match role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                },
            );
            parts(out.array("content"), *role == Role::Assistant, content);
        }
        Item::Reasoning(Reasoning { text, encrypted, .. }) => {
            out.string("type", "reasoning");
            let mut summary = out.array("summary");
            if !text.is_empty() {
                let mut part = summary.object();
                part.string("type", "summary_text");
                part.string("text", text);
                part.close();
            }
            summary.close();
            if let Some(encrypted) = encrypted {
                out.string("encrypted_content", encrypted);
            }
        }
        Item::ToolCall(call) => {
            out.string("type", "function_call");
            out.string("status", "completed");
            out.string("call_id", &call.id);
            out.string("name", &call.name);
            out.text("arguments", &call.arguments);
        }
        Item::ToolOutput { call_id, content, .. } => {
            out.string("type", "function_call_output");
            out.string("status", "completed");
            out.string("call_id", call_id);
            match content.as_slice() {
                [Part::Text(text)] => out.text("output", text),
                [..] => parts(out.array("output"), false, content),
            }
        }
        Item::Opaque(..) | Item::Field(..) => {}
    }
}

fn parts(mut list: Array<'_>, is_answer: bool, parts: &[Part]) {
    for part in parts {
        match part {
            Part::Text(text) => {
                let mut object = list.object();
                object.string("type", if is_answer { "output_text" } else { "input_text" });
                object.text("text", text);
                if is_answer {
                    object.array("annotations").close();
                    object.array("logprobs").close();
                }
                object.close();
            }
            Part::Refusal(text) => {
                let mut object = list.object();
                object.string("type", "refusal");
                object.text("refusal", text);
                object.close();
            }
            Part::Image(image) => {
                let (url, detail) = match image {
                    Image::Url { url, detail } => (url.clone(), detail),
                    Image::Base64 { media_type, data, detail } => {
                        (format!("data:{media_type};base64,{}", data.as_str()), detail)
                    }
                };
                let mut object = list.object();
                object.string("type", "input_image");
                object.string("detail", detail.as_deref().unwrap_or("auto"));
                object.string("image_url", &url);
                object.close();
            }
            Part::Opaque(..) | Part::Field(..) => {}
        }
    }
    list.close();
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::ToolCall;
    use commonwatt_core::turn::Party;

    use super::*;

    #[test]
    fn items_are_listed_as_the_api_writes_them() {
        let items = vec![
            Item::Message { role: Role::Assistant, content: vec![Part::Text("hi".into())] },
            Item::Field("phase".into(), RawJson("1".into())),
            Item::ToolCall(ToolCall { id: "c".into(), name: "f".into(), arguments: "{}".into(), signature: None }),
        ];
        let turn = Turn { parent: TurnId([0; 32]), party: Party::Model, dialect: "openai-chat", items };
        let page = listed(TurnId([0xab; 32]), &turn);
        let list: serde_json::Value = serde_json::from_slice(&write_list(&page, false)).unwrap();
        let stem = "ab".repeat(16);
        assert_eq!(
            list,
            serde_json::json!({
                "object": "list",
                "data": [
                    {"id": format!("msg_{stem}_0"), "type": "message", "status": "completed", "role": "assistant",
                     "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]},
                    {"id": format!("fc_{stem}_1"), "type": "function_call", "status": "completed", "call_id": "c",
                     "name": "f", "arguments": "{}"},
                ],
                "first_id": format!("msg_{stem}_0"), "last_id": format!("fc_{stem}_1"), "has_more": false,
            })
        );
    }

    #[test]
    fn a_deleted_item_goes_with_its_fields_and_the_others_keep_their_ids() {
        let said = |text: &str| Item::Message { role: Role::User, content: vec![Part::Text(text.into())] };
        let field = || Item::Field("phase".into(), RawJson("1".into()));
        let items = vec![said("a"), field(), said("b"), field()];
        let turn = Turn { parent: TurnId([0; 32]), party: Party::User, dialect: "openai-responses", items };
        let id = TurnId([1; 32]);
        let first = listed(id, &turn).remove(0).id;
        assert_eq!(without(id, turn, &HashSet::from([first])).items, [said("b"), field()]);
    }

    #[test]
    fn an_empty_page_names_no_items() {
        let list = String::from_utf8(write_list(&[], false)).unwrap();
        assert_eq!(list, r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#);
    }
}
