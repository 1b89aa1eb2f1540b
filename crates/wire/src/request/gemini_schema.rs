//! Gemini's schemas as JSON Schema, and its names in one spelling.
//!
//! ```text
//! {"type":"STRING","nullable":true,"format":"enum","enum":["a"]}     OpenAPI 3.0, types in capitals
//! {"type":["string","null"],"enum":["a",null]}                       JSON Schema
//! ```
//!
//! See the `Schema` object of the Gemini API's reference. What is JSON Schema already comes out as it went in.

use std::borrow::Cow;

use commonwatt_core::call::RawJson;

use crate::emit::{self, Array, Object};
use crate::tape::{Kind, View};

/// The JSON Schema that says the same.
pub(super) fn json_schema(schema: &View<'_>) -> RawJson {
    let mut out = Vec::with_capacity(schema.raw().len());
    write(schema, &mut out);
    RawJson(out.into())
}

/// Whether a schema of arguments asks for none.
pub(super) fn is_empty(schema: &View<'_>) -> bool {
    let any = |name: &str| schema.get(name).is_some_and(|inner| inner.members().next().is_some());
    let only_plain = schema.members().all(|(key, _)| {
        matches!(&*key, "type" | "properties" | "required" | "additionalProperties" | "$schema" | "title")
    });
    schema.kind() == Kind::Object && only_plain && !any("properties") && !any("additionalProperties")
}

fn write(schema: &View<'_>, out: &mut Vec<u8>) {
    if schema.kind() != Kind::Object {
        out.extend_from_slice(schema.raw().as_bytes());
        return;
    }
    let nullable = member(schema, "nullable").and_then(|flag| flag.boolean()) == Some(true);
    let mut object = Object::open(out);
    for (key, value) in schema.members() {
        let key = camel(&key);
        match &*key {
            "nullable" => {}
            "type" => types(&value, nullable, &mut object),
            "format" if value.string().as_deref() == Some("enum") => {}
            "enum" if nullable => with_null(&value, object.key("enum"), copy, "null"),
            "anyOf" if nullable => with_null(&value, object.key("anyOf"), write, r#"{"type":"null"}"#),
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => each(&value, object.key(&key)),
            "properties" | "$defs" | "defs" | "definitions" | "patternProperties" => named(&value, object.key(&key)),
            "items" | "additionalProperties" | "not" => write(&value, object.key(&key)),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                bound(&key, &value, &mut object);
            }
            "example" => {
                let mut examples = object.array("examples");
                examples.raw(value.raw());
                examples.close();
            }
            _ => object.raw(&key, value.raw()),
        }
    }
    object.close();
}

fn copy(value: &View<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(value.raw().as_bytes());
}

fn types(value: &View<'_>, nullable: bool, object: &mut Object<'_>) {
    let Some(word) = value.string() else { return object.raw("type", value.raw()) };
    let word = word.to_ascii_lowercase();
    if word == "type_unspecified" {
        return;
    }
    if !nullable || word == "null" {
        return object.string("type", &word);
    }
    let mut types = object.array("type");
    types.string(&word);
    types.string("null");
    types.close();
}

/// An array whose items are written by `item`, and `null` in whatever form behind them unless it is there.
fn with_null(value: &View<'_>, out: &mut Vec<u8>, item: fn(&View<'_>, &mut Vec<u8>), null: &str) {
    let mut array = Array::open(out);
    let mut has_null = false;
    for inner in value.items() {
        has_null |= inner.is_null();
        item(&inner, array.item());
    }
    if !has_null {
        array.raw(null);
    }
    array.close();
}

fn each(value: &View<'_>, out: &mut Vec<u8>) {
    let mut array = Array::open(out);
    value.items().for_each(|inner| write(&inner, array.item()));
    array.close();
}

/// Schemas under names of the caller's, which are not touched.
fn named(value: &View<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open(out);
    value.members().for_each(|(name, inner)| write(&inner, object.key(&name)));
    object.close();
}

/// Google writes 64-bit numbers as strings.
fn bound(key: &str, value: &View<'_>, object: &mut Object<'_>) {
    match value.string().and_then(|text| text.parse::<u64>().ok()) {
        Some(number) => emit::whole(object.key(key), number),
        None => object.raw(key, value.raw()),
    }
}

/// A name in the spelling of Google's JSON: both `system_instruction` and `systemInstruction` are taken.
pub(crate) fn camel<'a>(name: &Cow<'a, str>) -> Cow<'a, str> {
    if !name.trim_start_matches('_').contains('_') {
        return name.clone();
    }
    let mut out = String::with_capacity(name.len());
    let mut after_line = false;
    for letter in name.chars() {
        match letter {
            '_' if !out.is_empty() => after_line = true,
            _ if after_line => {
                out.push(letter.to_ascii_uppercase());
                after_line = false;
            }
            _ => out.push(letter),
        }
    }
    Cow::Owned(out)
}

/// A member that is there and is not null, in either spelling.
pub(crate) fn member<'a>(value: &View<'a>, name: &str) -> Option<View<'a>> {
    value.members().find(|(key, value)| camel(key) == name && !value.is_null()).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape::Tape;

    fn check(schema: &str, expected: &str) {
        let mut tape = Tape::default();
        let view = tape.read(schema.as_bytes()).expect("valid");
        assert_eq!(json_schema(&view).as_str(), expected);
    }

    #[test]
    fn types_in_capitals_become_json_schema_at_every_depth() {
        check(
            r#"{"type":"OBJECT","properties":{"any_of":{"type":"ARRAY","items":{"type":"INTEGER","format":"int64"},"min_items":"2"}},"required":["any_of"]}"#,
            r#"{"type":"object","properties":{"any_of":{"type":"array","items":{"type":"integer","format":"int64"},"minItems":2}},"required":["any_of"]}"#,
        );
    }

    #[test]
    fn nothing_is_allowed_where_the_schema_is_nullable() {
        check(
            r#"{"type":"STRING","nullable":true,"format":"enum","enum":["a"]}"#,
            r#"{"type":["string","null"],"enum":["a",null]}"#,
        );
        check(
            r#"{"nullable":true,"any_of":[{"type":"STRING"},{"type":"NUMBER"}]}"#,
            r#"{"anyOf":[{"type":"string"},{"type":"number"},{"type":"null"}]}"#,
        );
        check(r#"{"type":"STRING","nullable":false,"example":"x"}"#, r#"{"type":"string","examples":["x"]}"#);
    }

    #[test]
    fn json_schema_comes_out_as_it_went_in() {
        let schema =
            r##"{"type":["string","null"],"$ref":"#/$defs/x_y","default":"OBJECT","additionalProperties":false}"##;
        check(schema, schema);
    }

    #[test]
    fn names_are_taken_in_both_spellings() {
        let told = |name: &'static str| camel(&Cow::Borrowed(name)).into_owned();
        assert_eq!(told("system_instruction"), "systemInstruction");
        assert_eq!(told("_responseJsonSchema"), "_responseJsonSchema");
        assert_eq!(told("topK"), "topK");
    }
}
