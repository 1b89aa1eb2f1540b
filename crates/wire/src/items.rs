//! Lists of items as the Responses API returns them (`GET /v1/responses/{id}/input_items`, `/v1/conversations/{id}/items`).
//!
//! ```text
//! {"object":"list","data":[{"id":"msg_…","type":"message","status":"completed","role":"user","content":[…]}],
//!  "first_id":"msg_…","last_id":"msg_…","has_more":false}
//! ```

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
    let stem: String = id.to_string().chars().take(32).collect();
    let is_own = turn.dialect == Dialect::OpenAiResponses.word();
    let mut list = Vec::with_capacity(turn.items.len());
    for item in &turn.items {
        let kind = match item {
            Item::Message { .. } => "msg",
            Item::Reasoning(_) => "rs",
            Item::ToolCall(_) => "fc",
            Item::ToolOutput { .. } => "fco",
            // Another dialect's are not items here.
            Item::Opaque(_, json) if is_own => {
                list.push(Listed { id: format!("item_{stem}_{}", list.len()), json: json.clone() });
                continue;
            }
            Item::Opaque(..) | Item::Field(..) => continue,
        };
        let id = format!("{kind}_{stem}_{}", list.len());
        let mut out = Vec::with_capacity(256);
        let mut object = Object::open(&mut out);
        object.string("id", &id);
        write(item, &mut object);
        object.close();
        list.push(Listed { id, json: RawJson(out.into()) });
    }
    list
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
    fn an_empty_page_names_no_items() {
        let list = String::from_utf8(write_list(&[], false)).unwrap();
        assert_eq!(list, r#"{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}"#);
    }
}
