//! A JSON value that follows a JSON schema.
//!
//! *Knows:* `type`, `properties`, `items`, `enum`, `const`, `anyOf`, `oneOf`, `allOf`, local `$ref`, bounds of numbers,
//! strings and arrays, and the common formats. *Does not know:* `pattern`, `if`, `not`, remote references.

use serde_json::{Map, Value, json};

use crate::chance::Chance;

/// Nesting beyond which optional things are left out and recursion ends.
const DEPTH: usize = 6;

/// A value for `schema`, chosen by `seed`. The empty schema gives a small object.
pub(crate) fn sample(schema: &Value, seed: u64) -> Value {
    let mut sampler = Sampler { root: schema, chance: Chance::new(seed) };
    if schema.as_object().is_none_or(Map::is_empty) {
        return json!({ "place": sampler.word(), "count": sampler.chance.below(100), "notes": ["Zürich", sampler.word()] });
    }
    sampler.value(schema, 0)
}

struct Sampler<'a> {
    root: &'a Value,
    chance: Chance,
}

impl<'a> Sampler<'a> {
    fn value(&mut self, schema: &'a Value, depth: usize) -> Value {
        if depth > 2 * DEPTH {
            return Value::Null;
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#')) {
            return self.root.pointer(target).map_or(Value::Null, |schema| self.value(schema, depth + 1));
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return choices.get(self.chance.below(choices.len())).cloned().unwrap_or_default();
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(first) = schema.get(key).and_then(Value::as_array).and_then(|all| all.first()) {
                return self.value(first, depth + 1);
            }
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            return self.merged(schema, all, depth);
        }
        match type_of(schema) {
            "object" => self.object(schema, depth),
            "array" => self.array(schema, depth),
            "integer" => self.number(schema, true),
            "number" => self.number(schema, false),
            "boolean" => Value::Bool(self.chance.below(2) == 0),
            "null" => Value::Null,
            _ => self.string(schema),
        }
    }

    fn merged(&mut self, schema: &'a Value, all: &'a [Value], depth: usize) -> Value {
        let mut merged = Map::new();
        let own = schema.get("properties").is_some().then(|| self.object(schema, depth));
        for part in own.into_iter().chain(all.iter().map(|part| self.value(part, depth + 1)).collect::<Vec<_>>()) {
            let Value::Object(fields) = part else { return part };
            merged.extend(fields);
        }
        Value::Object(merged)
    }

    fn object(&mut self, schema: &'a Value, depth: usize) -> Value {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |key: &str| required.is_some_and(|all| all.iter().any(|r| r.as_str() == Some(key)));
        let properties = schema.get("properties").and_then(Value::as_object);
        let wanted = properties.into_iter().flatten().filter(|(key, _)| depth < DEPTH || is_required(key));
        Value::Object(wanted.map(|(key, schema)| (key.clone(), self.value(schema, depth + 1))).collect())
    }

    fn array(&mut self, schema: &'a Value, depth: usize) -> Value {
        let least = bound(schema, "minItems").unwrap_or(0);
        let most = bound(schema, "maxItems").unwrap_or(least.max(2));
        let wished = if depth < DEPTH { 2 } else { 0 };
        let count = wished.min(most).max(least);
        let items: Vec<Value> = match schema.get("items") {
            Some(items) => (0..count).map(|_| self.value(items, depth + 1)).collect(),
            None => (0..count).map(|_| Value::from(self.word())).collect(),
        };
        Value::from(items)
    }

    fn number(&mut self, schema: &Value, whole: bool) -> Value {
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|n| n + 1.0)).unwrap_or(0.0);
        let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|n| n - 1.0)).unwrap_or(low + 100.0);
        let drawn = low + self.chance.fraction() * (high - low).max(0.0);
        // Half steps keep decimal numbers short.
        if whole { Value::from(drawn.round() as i64) } else { Value::from((drawn * 2.0).round() / 2.0) }
    }

    fn string(&mut self, schema: &Value) -> Value {
        let text = match schema.get("format").and_then(Value::as_str) {
            Some("date") => "2026-03-14".to_owned(),
            Some("time") => "09:26:53Z".to_owned(),
            Some("date-time") => "2026-03-14T09:26:53Z".to_owned(),
            Some("email") => format!("{}@example.org", self.word()),
            Some("uri" | "url") => format!("https://example.org/{}", self.word()),
            Some("uuid") => {
                format!("{:08x}-0000-4000-8000-{:012x}", self.chance.below(1 << 32), self.chance.below(1 << 48))
            }
            _ => format!("{} {}", self.word(), self.word()),
        };
        let least = bound(schema, "minLength").unwrap_or(0);
        let most = bound(schema, "maxLength").unwrap_or(usize::MAX);
        let filler = std::iter::repeat_n('x', least.saturating_sub(text.chars().count()));
        Value::from(text.chars().chain(filler).take(most).collect::<String>())
    }

    fn word(&mut self) -> &'static str {
        self.chance.pick(&["harbour", "Zürich", "lantern", "copper", "meadow", "café", "orbit", "willow"])
    }
}

fn type_of(schema: &Value) -> &str {
    let named = |value: &'_ Value| value.as_str() != Some("null");
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().find(|t| named(t)).and_then(Value::as_str).unwrap_or("null"),
        Some(single) => single.as_str().unwrap_or("string"),
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

fn bound(schema: &Value, key: &str) -> Option<usize> {
    schema.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_follows_its_schema() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": { "type": "string", "minLength": 40 },
                "unit": { "enum": ["c", "f"] },
                "days": { "type": "integer", "minimum": 3, "maximum": 4 },
                "tags": { "type": "array", "items": { "type": "string", "maxLength": 2 }, "minItems": 3 },
                "note": { "type": ["null", "boolean"] },
                "inner": { "$ref": "#/$defs/inner" },
            },
            "required": ["city"],
            "$defs": { "inner": { "type": "object", "properties": { "self": { "$ref": "#/$defs/inner" } } } },
        });
        for seed in 0..50 {
            let value = sample(&schema, seed);
            assert_eq!(value, sample(&schema, seed));
            assert_eq!(value["city"].as_str().unwrap().chars().count(), 40);
            assert!(["c", "f"].contains(&value["unit"].as_str().unwrap()));
            assert!([3, 4].contains(&value["days"].as_i64().unwrap()));
            assert_eq!(value["tags"].as_array().unwrap().len(), 3);
            assert!(value["note"].is_boolean());
            assert!(value["inner"].is_object());
        }
    }

    #[test]
    fn no_schema_gives_an_object() {
        assert!(sample(&json!({}), 1).is_object());
        assert!(sample(&json!(null), 1).is_object());
    }

    #[test]
    fn a_schema_that_requires_itself_comes_to_an_end() {
        let schema = json!({ "type": "object", "properties": { "a": { "$ref": "#" } }, "required": ["a"] });
        assert!(sample(&schema, 1).is_object());
    }
}
