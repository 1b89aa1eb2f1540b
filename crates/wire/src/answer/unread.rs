//! What a provider says it took out of the request before the model read it: sealed thinking that it does not take back.
//!
//! ```text
//! "input_transformations":[{"type":"reasoning","id":"rs_…","action":"removed","reason":"model_mismatch"}]                    Responses
//! "input_transformations":[{"type":"thinking_dropped","path":"messages.1.content.0","reason":"model_binding_mismatch"}]      Messages
//! ```
//!
//! <https://github.com/openai/openai-python>, `types/responses/response.py` of 3.52.0;
//! <https://github.com/anthropics/anthropic-sdk-python>, `types/beta/beta_input_transformation.py` of 2.11.0.

use commonwatt_core::answer::Delta;

use super::printable;
use crate::tape::View;

/// Reasons beyond these say no more.
const REASONS_MAX: usize = 8;

/// Reads it from the object that may hold it: each reason once.
pub(super) fn read(root: &View<'_>, out: &mut Vec<Delta>) {
    let mut reasons: Vec<String> = Vec::new();
    for change in root.get("input_transformations").into_iter().flat_map(|list| list.items()) {
        let is = |name: &str, word: &str| change.get_string(name).is_some_and(|found| found == word);
        if !is("action", "removed") && !is("type", "thinking_dropped") {
            continue;
        }
        let reason = change.get_string("reason").map_or_else(|| "no reason".to_owned(), |reason| printable(&reason));
        if !reasons.contains(&reason) && reasons.len() < REASONS_MAX {
            reasons.push(reason);
        }
    }
    if !reasons.is_empty() {
        out.push(Delta::Unread(reasons.join(" ")));
    }
}

#[cfg(test)]
mod tests {
    use crate::{AnswerWriter, Dialect, Head, lost_in, read_whole};

    const LOST: &str = "reasoning (removed by the provider: model_mismatch prefix_mismatch)";

    #[test]
    fn what_responses_took_out_is_named_to_callers_of_other_dialects() {
        let body = br#"{"id":"resp_1","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}],
            "input_transformations":[{"type":"reasoning","id":"rs_1","action":"removed","reason":"model_mismatch"},
            {"type":"reasoning","id":"rs_2","action":"removed","reason":"model_mismatch"},
            {"type":"reasoning","id":"rs_3","action":"removed","reason":"prefix_mismatch"}]}"#;
        let deltas = read_whole(Dialect::OpenAiResponses, body).expect("an answer");
        for dialect in Dialect::ALL {
            assert_eq!(lost_in(dialect, &deltas), [LOST], "{dialect}");
        }
        let head = Head {
            id: "1".into(),
            model: "m".into(),
            created_unix_s: 0,
            stream_usage: false,
            request: None,
            keeping: crate::answer::Keeping::default(),
        };
        let (mut writer, mut out) = (AnswerWriter::new(Dialect::OpenAiChat, head), Vec::new());
        deltas.iter().for_each(|delta| writer.write(delta, &mut out));
        writer.finish(&mut out);
        let told = String::from_utf8(out).expect("text");
        assert!(told.contains(&format!(": commonwatt lost {LOST}\n\n")), "{told}");
    }

    #[test]
    fn of_anthropics_changes_only_those_that_took_something_out_count() {
        let body = |kind: &str| {
            let change =
                format!(r#"{{"type":"{kind}","path":"messages.1.content.0","reason":"end_user_binding_mismatch"}}"#);
            format!(
                r#"{{"type":"message","content":[{{"type":"text","text":"a"}}],"stop_reason":"end_turn","input_transformations":[{change}]}}"#
            )
        };
        let lost = |kind: &str| {
            let deltas = read_whole(Dialect::AnthropicMessages, body(kind).as_bytes()).expect("an answer");
            lost_in(Dialect::Gemini, &deltas)
        };
        assert_eq!(lost("thinking_dropped"), ["reasoning (removed by the provider: end_user_binding_mismatch)"]);
        assert!(lost("thinking_mismatch_allowed").is_empty());
    }
}
