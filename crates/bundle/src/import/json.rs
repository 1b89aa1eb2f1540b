//! Looking into JSON that others wrote: a member that is missing, null or of another kind is not there.

use jiff::Timestamp;
use serde_json::Value;
use serde_json::value::RawValue;

use super::loss::{Losses, shown};

/// The text of a member, where there is one that says something.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The items of a member; none where it is no list.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Whether a member says anything at all.
pub(super) fn says(value: &Value, name: &str) -> bool {
    match value.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true) | Value::Number(_)) => true,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(members)) => !members.is_empty(),
    }
}

/// Names each member beside the `known` ones that says something of `what`.
pub(super) fn name_others(value: &Value, known: &[&str], what: &str, losses: &mut Losses) {
    let names = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    for name in names.filter(|name| !known.contains(name) && says(value, name)) {
        losses.add(format!("`{}` of {what}", shown(name)));
    }
}

/// Milliseconds of a member that holds seconds since 1970, with a fraction.
pub(super) fn seconds(value: &Value, name: &str) -> Option<u64> {
    // The year 9999: what is beyond is no time.
    const SECONDS_MAX: f64 = 253_402_300_800.0;
    let seconds = value.get(name)?.as_f64().filter(|seconds| (0.0..SECONDS_MAX).contains(seconds))?;
    Some((seconds * 1_000.0).round() as u64)
}

/// Milliseconds of a member that holds a time as RFC 3339 writes it.
pub(super) fn instant(value: &Value, name: &str) -> Option<u64> {
    let time: Timestamp = text(value, name)?.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// The conversations of a file, one by one: a list of them, or one alone. `None` where the file is neither.
pub(super) fn each(bytes: &[u8], losses: &mut Losses, take: &mut dyn FnMut(&Value, &mut Losses)) -> Option<()> {
    if let Ok(items) = serde_json::from_slice::<Vec<&RawValue>>(bytes) {
        for item in items {
            match serde_json::from_str(item.get()) {
                Ok(value) => take(&value, losses),
                Err(_) => losses.add("a conversation that is nested too deeply or holds numbers out of range"),
            }
        }
        return Some(());
    }
    let value: Value = serde_json::from_slice(bytes).ok()?;
    value.as_object()?;
    take(&value, losses);
    Some(())
}
