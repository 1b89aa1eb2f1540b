//! Writes an OpenAI Responses request.
//!
//! What the model said and did stands in items side by side, so nothing is merged and nothing moves, but for a history
//! that is broken. A request that came in this dialect and leans on what the provider keeps (`previous_response_id`,
//! references, items of the provider's own tools) is written as it stood: what looks broken in it may be whole there.

use std::borrow::Cow;

use commonwatt_core::call::{
    Call, Format, Image, Item, Part, Reasoning, ReasoningWish, Role, Tool, ToolCall, ToolChoice,
};

use super::lossy::Lossy;
use super::quirks::{Quirks, ToolIdShape};
use super::responses_read::INCLUDE_LOGPROBS;
use super::turns::{Fields, Output, Said, Step, Turn, arranged, with_fields, write_extra_within};
use super::{Encoded, Untranslatable, kept_by_provider};
use crate::Dialect;
use crate::emit::{Array, Object};
use crate::tool_ids::Shape;

pub(super) fn encode(call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    let same = call.dialect == Dialect::OpenAiResponses.word();
    let mut writer = Writer { call, model, quirks, same, lossy: Lossy::default() };
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    body.string("model", model);
    writer.instructions(&mut body);
    let mut input = body.array("input");
    if writer.leans_on_provider() {
        writer.as_it_stood(&mut input);
    } else {
        writer.turns(&mut input);
    }
    input.close();
    writer.tools(&mut body);
    writer.bounds(&mut body);
    writer.sampling(&mut body);
    writer.text(&mut body);
    writer.reasoning(&mut body);
    if let Some(user) = &call.user
        && writer.takes("user")
    {
        body.string("user", user);
    }
    if call.stream {
        body.boolean("stream", true);
        if same && call.extra.iter().any(|(name, _)| name.starts_with("stream_options.")) {
            let mut options = body.object("stream_options");
            writer.extra_within("stream_options.", &mut options);
            options.close();
        }
    }
    writer.kept(&mut body);
    writer.extra(&mut body);
    body.close();
    Ok(Encoded { body: out.into(), lossy: writer.lossy.into_notes() })
}

/// Fields that are written inside their parent rather than at the top level.
const WITHIN: [&str; 3] = ["stream_options.", "text.", "reasoning."];
/// The smallest bound the API takes.
const MAX_OUTPUT_TOKENS_MIN: u32 = 16;

struct Writer<'a> {
    call: &'a Call,
    model: &'a str,
    quirks: &'a Quirks,
    /// Whether the call was read from this dialect, so that what is opaque in it may go back.
    same: bool,
    lossy: Lossy,
}

impl<'a> Writer<'a> {
    fn takes(&mut self, field: &str) -> bool {
        self.quirks.takes(field, self.model, &mut self.lossy)
    }

    fn leans_on_provider(&self) -> bool {
        let opaque = |item: &Item| matches!(item, Item::Opaque(..));
        self.same && (self.call.items.iter().any(opaque) || kept_by_provider(self.call).is_some())
    }

    /// The system prompt, which is one text here.
    fn instructions(&mut self, body: &mut Object<'_>) {
        let mut texts = Vec::new();
        for (part, fields) in with_fields(&self.call.system) {
            fields.iter().for_each(|(name, _)| self.lossy.note(name));
            match part {
                Part::Text(text) | Part::Refusal(text) => texts.push(text),
                Part::Image(_) => self.lossy.note("image_url (in a system message)"),
                Part::Opaque(kind, _) => self.lossy.note(format!("content block `{kind}`")),
                Part::Field(..) => {}
            }
        }
        match texts.as_slice() {
            [] => {}
            [text] => body.text("instructions", text),
            [..] => {
                let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| text.as_str()).collect();
                body.string("instructions", &texts.join("\n\n"));
            }
        }
    }

    fn turns(&mut self, input: &mut Array<'_>) {
        let shape = match self.quirks.tool_ids {
            ToolIdShape::Usual => Shape::Word,
            ToolIdShape::Nine => Shape::Nine,
        };
        for turn in arranged(self.call, shape, &mut self.lossy) {
            match turn {
                Turn::System(said) => self.message(input, Role::System, &said),
                Turn::User(said) => self.message(input, Role::User, &said),
                Turn::Assistant { steps, outputs } => {
                    for step in &steps {
                        match step {
                            Step::Said(said) => self.message(input, Role::Assistant, said),
                            Step::Thought(reasoning, fields) => self.thought(input, reasoning, fields),
                            Step::Called { id, call, fields, .. } => self.called(input, id, call, fields),
                        }
                    }
                    outputs.iter().for_each(|output| self.output(input, output));
                }
            }
        }
    }

    fn as_it_stood(&mut self, input: &mut Array<'_>) {
        let mut items = self.call.items.iter().peekable();
        while let Some(item) = items.next() {
            let mut fields = Fields::new();
            while let Some(Item::Field(name, value)) = items.peek() {
                fields.push((name, value));
                items.next();
            }
            match item {
                Item::Message { role, content } => {
                    self.message(input, *role, &Said { parts: Cow::Borrowed(content), fields });
                }
                Item::Reasoning(reasoning) => self.thought(input, reasoning, &fields),
                Item::ToolCall(call) => self.called(input, &call.id, call, &fields),
                Item::ToolOutput { call_id, content, is_error } => {
                    let parts = Cow::Borrowed(content.as_slice());
                    self.output(input, &Output { id: call_id.clone(), parts, is_error: *is_error, fields });
                }
                Item::Opaque(_, raw) => input.json(raw),
                // A field before any item belongs to nothing.
                Item::Field(name, _) => self.lossy.note(name),
            }
        }
    }

    fn message(&mut self, input: &mut Array<'_>, role: Role, said: &Said<'_>) {
        let mut message = input.object();
        message.string("type", "message");
        message.string(
            "role",
            match role {
                Role::System => self.quirks.system_role.as_deref().unwrap_or("system"),
                Role::User => "user",
                Role::Assistant => "assistant",
            },
        );
        self.parts(&mut message, "content", role, &said.parts);
        self.fields(&mut message, &said.fields);
        message.close();
    }

    /// Thinking goes back to whoever made it, and to those who want it; to nobody else.
    fn thought(&mut self, input: &mut Array<'_>, reasoning: &Reasoning, fields: &Fields<'_>) {
        let wanted = self.quirks.reasoning_history && reasoning.redacted.is_none() && !reasoning.text.is_empty();
        if !self.same && !wanted {
            fields.iter().for_each(|(name, _)| self.lossy.note(name));
            let name = if reasoning.redacted.is_some() { "redacted_thinking" } else { "reasoning of earlier turns" };
            return self.lossy.note(name);
        }
        let field = |wanted: &str| fields.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        let (summary, shown) = (field("reasoning.summary"), field("reasoning.content"));
        let mut item = input.object();
        item.string("type", "reasoning");
        if let Some(id) = &reasoning.id {
            item.string("id", id);
        }
        match summary.filter(|_| self.same) {
            Some(summary) => item.json("summary", summary),
            None => {
                let mut list = item.array("summary");
                if self.same && shown.is_none() && !reasoning.text.is_empty() {
                    text_part(&mut list, "summary_text", &reasoning.text);
                }
                list.close();
            }
        }
        match shown.filter(|_| self.same) {
            Some(shown) => item.json("content", shown),
            None if self.same => {}
            None => {
                let mut list = item.array("content");
                text_part(&mut list, "reasoning_text", &reasoning.text);
                list.close();
            }
        }
        if let Some(encrypted) = reasoning.encrypted.as_ref().filter(|_| self.same) {
            item.string("encrypted_content", encrypted);
        }
        if reasoning.signature.is_some() {
            self.lossy.note("thinking.signature");
        }
        let others: Fields<'_> = fields.iter().filter(|(name, _)| !name.starts_with("reasoning.")).copied().collect();
        self.fields(&mut item, &others);
        item.close();
    }

    fn called(&mut self, input: &mut Array<'_>, id: &str, call: &ToolCall, fields: &Fields<'_>) {
        let mut item = input.object();
        item.string("type", "function_call");
        item.string("call_id", id);
        item.string("name", &call.name);
        if call.arguments.is_empty() {
            item.string("arguments", "{}");
        } else {
            item.text("arguments", &call.arguments);
        }
        if call.signature.is_some() {
            self.lossy.note("functionCall.thoughtSignature");
        }
        self.fields(&mut item, fields);
        item.close();
    }

    fn output(&mut self, input: &mut Array<'_>, output: &Output<'_>) {
        let mut item = input.object();
        item.string("type", "function_call_output");
        item.string("call_id", &output.id);
        match with_fields(&output.parts).as_slice() {
            [] => item.string("output", ""),
            [(Part::Text(text), fields)] if fields.is_empty() => item.text("output", text),
            [..] => self.parts(&mut item, "output", Role::User, &output.parts),
        }
        if output.is_error && !output.is_made() {
            self.lossy.note("tool_result.is_error");
        }
        self.fields(&mut item, &output.fields);
        item.close();
    }

    fn parts(&mut self, item: &mut Object<'_>, name: &str, role: Role, parts: &[Part]) {
        let mut list = item.array(name);
        for (part, fields) in with_fields(parts) {
            self.part(&mut list, role, part, &fields);
        }
        list.close();
    }

    fn part(&mut self, list: &mut Array<'_>, role: Role, part: &Part, fields: &Fields<'_>) {
        let is_answer = role == Role::Assistant;
        match part {
            Part::Refusal(text) if is_answer => {
                let mut object = list.object();
                object.string("type", "refusal");
                object.text("refusal", text);
                self.fields(&mut object, fields);
                object.close();
            }
            Part::Text(text) | Part::Refusal(text) => {
                let mut object = list.object();
                object.string("type", if is_answer { "output_text" } else { "input_text" });
                object.text("text", text);
                if is_answer && !(self.same && fields.iter().any(|(name, _)| *name == "annotations")) {
                    object.array("annotations").close();
                }
                self.fields(&mut object, fields);
                object.close();
            }
            Part::Image(_) if is_answer && !self.same => {
                self.lossy.note("image_url (in an assistant message)");
            }
            Part::Image(image) => {
                let mut object = list.object();
                object.string("type", "input_image");
                let detail = match image {
                    Image::Url { url, detail } => {
                        object.string("image_url", url);
                        detail
                    }
                    Image::Base64 { media_type, data, detail } => {
                        object.string("image_url", &format!("data:{media_type};base64,{}", data.as_str()));
                        detail
                    }
                };
                if let Some(detail) = detail {
                    object.string("detail", detail);
                } else if !self.same {
                    object.string("detail", "auto");
                }
                self.fields(&mut object, fields);
                object.close();
            }
            Part::Opaque(_, block) if self.same => list.json(block),
            Part::Opaque(kind, _) => self.lossy.note(format!("content block `{kind}`")),
            Part::Field(..) => {}
        }
    }

    /// Fields that only the source dialect knows: written back to it, named for another.
    fn fields(&mut self, out: &mut Object<'_>, fields: &Fields<'_>) {
        for (name, value) in fields {
            if self.same {
                out.json(name, value);
            } else if *name == "type" {
                self.lossy.note("tool_calls.type (custom)");
            } else {
                self.lossy.note(name);
            }
        }
    }

    fn tools(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let mut list = Vec::new();
        let mut tools = Array::open(&mut list);
        for tool in &call.tools {
            match &tool.opaque {
                Some(entry) if self.same => tools.json(entry),
                Some(_) => self.lossy.note(format!("tool `{}`", tool.name)),
                None => self.tool(&mut tools, tool),
            }
        }
        tools.close();
        let has_tools = list != b"[]" && self.takes("tools");
        if has_tools {
            body.key("tools").extend_from_slice(&list);
        }
        // Without tools, a choice among them is refused.
        if let Some(choice) = &call.tool_choice
            && (has_tools || self.same)
            && self.takes("tool_choice")
        {
            match choice {
                ToolChoice::Auto => body.string("tool_choice", "auto"),
                ToolChoice::None => body.string("tool_choice", "none"),
                ToolChoice::Required => body.string("tool_choice", "required"),
                ToolChoice::Named(name) => {
                    let mut choice = body.object("tool_choice");
                    choice.string("type", "function");
                    choice.string("name", name);
                    choice.close();
                }
            }
        }
        if let Some(parallel) = call.parallel_tool_calls
            && (has_tools || self.same)
            && self.takes("parallel_tool_calls")
        {
            body.boolean("parallel_tool_calls", parallel);
        }
    }

    /// Here a tool is strict unless it says otherwise; elsewhere it is not.
    fn tool(&mut self, tools: &mut Array<'_>, tool: &Tool) {
        let mut entry = tools.object();
        entry.string("type", "function");
        entry.string("name", &tool.name);
        if let Some(description) = &tool.description {
            entry.string("description", description);
        }
        match &tool.parameters {
            Some(parameters) => entry.json("parameters", parameters),
            None if self.same => entry.null("parameters"),
            None => entry.raw("parameters", r#"{"type":"object","properties":{}}"#),
        }
        match tool.strict {
            Some(strict) => entry.boolean("strict", strict),
            None if self.same => {}
            None => entry.boolean("strict", false),
        }
        for (name, value) in &tool.extra {
            if self.same {
                entry.json(name, value);
            } else {
                self.lossy.note(format!("tools.{name}"));
            }
        }
        entry.close();
    }

    fn bounds(&mut self, body: &mut Object<'_>) {
        if let Some(bound) = self.call.max_output_tokens
            && self.takes("max_output_tokens")
        {
            let raised = if self.same { bound } else { bound.max(MAX_OUTPUT_TOKENS_MIN) };
            if raised > bound {
                self.lossy.note(format!("max_tokens (raised to {raised})"));
            }
            body.whole("max_output_tokens", u64::from(raised));
        }
        if !self.call.stop.is_empty() {
            self.lossy.note("stop");
        }
    }

    fn sampling(&mut self, body: &mut Object<'_>) {
        let sampling = &self.call.sampling;
        for (name, value) in [("temperature", sampling.temperature), ("top_p", sampling.top_p)] {
            if let Some(value) = value
                && self.takes(name)
            {
                body.number(name, value);
            }
        }
        let penalties =
            [("presence_penalty", sampling.presence_penalty), ("frequency_penalty", sampling.frequency_penalty)];
        for (name, value) in penalties {
            let Some(value) = value else { continue };
            if !self.same {
                self.lossy.note(name);
            } else if self.takes(name) {
                body.number(name, value);
            }
        }
        match sampling.top_k {
            Some(top_k) if self.quirks.top_k => body.whole("top_k", u64::from(top_k)),
            Some(_) => self.lossy.note("top_k"),
            None => {}
        }
        if sampling.seed.is_some() {
            self.lossy.note("seed");
        }
        if sampling.logit_bias.is_some() {
            self.lossy.note("logit_bias");
        }
        if sampling.choices.is_some_and(|choices| choices > 1) {
            self.lossy.note("n");
        }
        if let Some(alternatives) = sampling.logprobs
            && self.takes("top_logprobs")
        {
            body.whole("top_logprobs", u64::from(alternatives));
        }
    }

    fn text(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let has_extra = self.same && call.extra.iter().any(|(name, _)| name.starts_with("text."));
        if (call.format == Format::Text && !has_extra) || !self.takes("text") {
            return;
        }
        let mut settings = body.object("text");
        match &call.format {
            Format::Text => {}
            Format::JsonSchema { name, schema, strict } if !self.quirks.no_json_schema => {
                let mut format = settings.object("format");
                format.string("type", "json_schema");
                format.string("name", if name.is_empty() { "answer" } else { name });
                format.json("schema", schema);
                if let Some(strict) = strict {
                    format.boolean("strict", *strict);
                }
                self.extra_within("text.format.", &mut format);
                format.close();
            }
            Format::JsonObject | Format::JsonSchema { .. } => {
                if call.format != Format::JsonObject {
                    self.lossy.note("response_format (asked for any JSON object)");
                }
                let mut format = settings.object("format");
                format.string("type", "json_object");
                format.close();
            }
        }
        for (name, value) in call.extra.iter().filter(|_| self.same) {
            if let Some(inner) = name.strip_prefix("text.").filter(|inner| !inner.starts_with("format.")) {
                settings.json(inner, value);
            }
        }
        settings.close();
    }

    fn reasoning(&mut self, body: &mut Object<'_>) {
        let effort = self.effort();
        let has_extra = self.same && self.call.extra.iter().any(|(name, _)| name.starts_with("reasoning."));
        if (effort.is_none() && !has_extra) || !self.takes("reasoning") {
            return;
        }
        let mut settings = body.object("reasoning");
        if let Some(effort) = effort {
            settings.string("effort", &effort);
        }
        self.extra_within("reasoning.", &mut settings);
        settings.close();
    }

    fn effort(&mut self) -> Option<String> {
        match &self.call.reasoning {
            Some(ReasoningWish::Effort(word)) => Some(word.clone()),
            Some(ReasoningWish::BudgetTokens(budget)) => {
                let word = match budget {
                    0..=2_048 => "low",
                    2_049..=8_192 => "medium",
                    _ => "high",
                };
                self.lossy.note(format!("thinking.budget_tokens (as effort {word})"));
                Some(word.to_owned())
            }
            Some(ReasoningWish::Off) if self.same => Some("none".to_owned()),
            // Only some models know `none`, and those that do not refuse it.
            Some(ReasoningWish::Off) => {
                self.lossy.note("thinking (disabled)");
                None
            }
            Some(ReasoningWish::Auto) => {
                self.lossy.note("thinking (adaptive)");
                None
            }
            None => self.foreign_effort(),
        }
    }

    /// Anthropic's effort, which there does not by itself turn thinking on.
    fn foreign_effort(&self) -> Option<String> {
        let effort = self.call.extra.iter().find(|(name, _)| name == super::anthropic_read::EFFORT);
        let (_, word) = effort.filter(|_| !self.same)?;
        Some(word.as_str().trim_matches('"').to_owned())
    }

    /// A caller of another dialect sends its whole history every time: the provider need not keep it, and gives its
    /// thinking in the answer instead.
    fn kept(&mut self, body: &mut Object<'_>) {
        if self.same {
            return;
        }
        if !self.quirks.refuses("store", self.model) {
            body.boolean("store", false);
        }
        if self.quirks.refuses("include", self.model) {
            return;
        }
        let mut include = body.array("include");
        include.string("reasoning.encrypted_content");
        if self.call.sampling.logprobs.is_some() {
            include.string(INCLUDE_LOGPROBS);
        }
        include.close();
    }

    fn extra_within(&self, prefix: &str, out: &mut Object<'_>) {
        if self.same {
            write_extra_within(self.call, prefix, out);
        }
    }

    fn extra(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let effort = self.foreign_effort().is_some() && call.reasoning.is_none();
        for (name, value) in &call.extra {
            if !self.same {
                if !(effort && name == super::anthropic_read::EFFORT) {
                    self.lossy.note(name);
                }
            } else if !WITHIN.iter().any(|prefix| name.starts_with(prefix)) && self.takes(name) {
                body.json(name, value);
            }
        }
    }
}

fn text_part(list: &mut Array<'_>, kind: &str, text: &str) {
    let mut part = list.object();
    part.string("type", kind);
    part.string("text", text);
    part.close();
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn written(call: &Call) -> (Value, Vec<String>) {
        let encoded = encode(call, "m", &Quirks::default()).expect("translatable");
        (serde_json::from_slice(&encoded.body).expect("valid JSON"), encoded.lossy)
    }

    #[test]
    fn a_tool_of_another_dialect_is_not_made_strict_in_passing() {
        let tool = Tool { name: "f".into(), ..Tool::default() };
        let (body, lossy) = written(&Call { tools: vec![tool], ..Call::default() });
        let parameters = json!({"type": "object", "properties": {}});
        let expected = json!([{"type": "function", "name": "f", "parameters": parameters, "strict": false}]);
        assert_eq!((&body["tools"], lossy), (&expected, Vec::new()));
        assert_eq!((&body["store"], &body["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    }

    #[test]
    fn a_bound_below_the_smallest_is_raised_and_named() {
        let (body, lossy) = written(&Call { max_output_tokens: Some(5), ..Call::default() });
        assert_eq!((&body["max_output_tokens"], lossy), (&json!(16), vec!["max_tokens (raised to 16)".to_owned()]));
    }

    #[test]
    fn what_has_no_place_is_named() {
        let mut call = Call { stop: vec!["x".into()], ..Call::default() };
        call.sampling.seed = Some(1);
        call.sampling.choices = Some(2);
        call.sampling.presence_penalty = Some(0.5);
        call.sampling.top_k = Some(3);
        assert_eq!(written(&call).1, ["stop", "presence_penalty", "top_k", "seed", "n"]);
    }

    #[test]
    fn another_accounts_seal_does_not_travel_to_this_dialect() {
        let sealed = Reasoning { text: "hm".into(), signature: Some("c2ln".into()), ..Reasoning::default() };
        let (body, lossy) = written(&Call { items: vec![Item::Reasoning(sealed)], ..Call::default() });
        assert_eq!((&body["input"], lossy), (&json!([]), vec!["reasoning of earlier turns".to_owned()]));
    }
}
