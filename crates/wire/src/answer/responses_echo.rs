//! The caller's own settings, which every OpenAI Responses answer repeats.

use super::Head;
use super::responses_items::one_line;
use crate::emit::{self, Array, Object};
use crate::tape::{Kind, Tape, View};

/// Settings as they are written: names and JSON text.
#[derive(Debug)]
pub(super) struct Echo {
    /// The response that the request follows.
    previous: String,
    fields: Vec<(&'static str, String)>,
}

/// What is repeated as it was said, and what stands there when it was not said.
const PLAIN: [(&str, &str); 16] = [
    ("instructions", "null"),
    ("max_output_tokens", "null"),
    ("max_tool_calls", "null"),
    ("metadata", "{}"),
    ("parallel_tool_calls", "true"),
    ("presence_penalty", "0"),
    ("frequency_penalty", "0"),
    ("prompt_cache_key", "null"),
    ("safety_identifier", "null"),
    ("service_tier", "\"default\""),
    ("temperature", "1"),
    ("tool_choice", "\"auto\""),
    ("top_logprobs", "0"),
    ("top_p", "1"),
    ("truncation", "\"disabled\""),
    ("user", "null"),
];

impl Echo {
    /// Reads them from the caller's request; without one, or with one that cannot be read, they are the defaults.
    pub(super) fn of(head: &Head) -> Self {
        let mut tape = Tape::default();
        let root = head.request.as_ref().and_then(|request| tape.read(request).ok());
        let said = |name: &str| root.as_ref().and_then(|root| root.get(name));
        let plain = |(name, default): (&'static str, &str)| {
            (name, said(name).map_or_else(|| default.to_owned(), |value| one_line(value.raw())))
        };
        let mut fields: Vec<(&'static str, String)> = PLAIN.into_iter().map(plain).collect();
        fields.push(("reasoning", with_defaults(said("reasoning"), &[("effort", "null"), ("summary", "null")])));
        fields.push(("text", with_defaults(said("text"), &[("format", r#"{"type":"text"}"#)])));
        fields.push(("tools", tools(said("tools"))));
        fields.push(("store", head.keeping.store.to_string()));
        let (_, previous) = plain(("previous_response_id", "null"));
        Self { previous, fields }
    }

    pub(super) fn previous(&self) -> &str {
        &self.previous
    }

    pub(super) fn write(&self, out: &mut Object<'_>) {
        self.fields.iter().for_each(|(name, value)| out.raw(name, value));
    }
}

/// An object as it was said, with what it must have besides.
fn with_defaults(said: Option<View<'_>>, defaults: &[(&str, &str)]) -> String {
    let mut out = Vec::new();
    let mut object = Object::open(&mut out);
    for (name, default) in defaults {
        if said.is_none_or(|said| said.get(name).is_none()) {
            object.raw(name, default);
        }
    }
    for (name, value) in said.iter().flat_map(View::members).filter(|(_, value)| !value.is_null()) {
        object.raw(&name, &one_line(value.raw()));
    }
    object.close();
    emit::into_text(out)
}

/// The tools as they were said; a function has all its fields.
fn tools(said: Option<View<'_>>) -> String {
    let mut out = Vec::new();
    let mut list = Array::open(&mut out);
    for tool in said.iter().flat_map(View::items) {
        let is_function = tool.kind() == Kind::Object && tool.get_string("type").as_deref() == Some("function");
        let nulls: &[(&str, &str)] = &[("description", "null"), ("parameters", "null"), ("strict", "null")];
        list.raw(&if is_function { with_defaults(Some(tool), nulls) } else { one_line(tool.raw()) });
    }
    list.close();
    emit::into_text(out)
}
