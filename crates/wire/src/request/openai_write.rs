//! Writes an OpenAI Chat Completions request.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Format, Image, Part, ReasoningWish, Tool, ToolChoice};
use commonwatt_core::text::Text;

use super::Encoded;
use super::lossy::Lossy;
use super::quirks::{Quirks, ToolIdShape};
use super::turns::{Fields, Output, Said, Step, Turn, arranged, with_fields, write_extra_within, write_fields};
use crate::Dialect;
use crate::emit::{self, Array, Object};
use crate::tool_ids::Shape;

pub(super) fn encode(call: &Call, model: &str, quirks: &Quirks) -> Encoded {
    let mut out = Vec::with_capacity(1024);
    let mut writer = Writer::new(call, (model, quirks), call.dialect == Dialect::OpenAiChat.word());
    let mut body = Object::open(&mut out);
    body.string("model", model);
    let mut messages = body.array("messages");
    writer.messages(&mut messages, quirks.system_role.as_deref().unwrap_or("system"));
    messages.close();
    writer.tools(&mut body);
    writer.bounds(&mut body);
    writer.sampling(&mut body);
    writer.format(&mut body);
    writer.reasoning(&mut body);
    if let Some(user) = &call.user
        && writer.takes("user")
    {
        body.string("user", user);
    }
    if call.stream {
        body.boolean("stream", true);
        if !quirks.no_stream_options && writer.takes("stream_options") {
            let mut options = body.object("stream_options");
            options.boolean("include_usage", true);
            writer.extra_within("stream_options.", &mut options);
            options.close();
        }
    }
    writer.extra(&mut body);
    body.close();
    Encoded { body: out.into(), lossy: writer.lossy.into_notes() }
}

/// Fields that are written inside their parent rather than at the top level.
const WITHIN: [&str; 2] = ["stream_options.", "response_format.json_schema."];

pub(super) struct Writer<'a> {
    call: &'a Call,
    model: &'a str,
    quirks: &'a Quirks,
    /// Whether the call was read from this dialect, so that what is opaque in it may go back.
    same: bool,
    pub(super) lossy: Lossy,
}

impl<'a> Writer<'a> {
    /// `same`: whether what only this dialect knows may go back to it.
    pub(super) fn new(call: &'a Call, (model, quirks): (&'a str, &'a Quirks), same: bool) -> Self {
        Self { call, model, quirks, same, lossy: Lossy::default() }
    }

    /// Whether the provider takes a field; one that it does not take is named.
    fn takes(&mut self, field: &str) -> bool {
        self.quirks.takes(field, self.model, &mut self.lossy)
    }

    pub(super) fn messages(&mut self, out: &mut Array<'_>, system_role: &str) {
        let call = self.call;
        if !call.system.is_empty() {
            let said = Said { parts: Cow::Borrowed(&call.system), fields: Fields::new() };
            self.message(out, system_role, &said);
        }
        let shape = match self.quirks.tool_ids {
            ToolIdShape::Usual => Shape::Forty,
            ToolIdShape::Nine => Shape::Nine,
        };
        for turn in arranged(call, shape, &mut self.lossy) {
            match turn {
                Turn::System(said) => self.message(out, system_role, &said),
                Turn::User(said) => self.message(out, "user", &said),
                Turn::Assistant { steps, outputs } => {
                    self.assistant(out, &steps);
                    self.outputs(out, &outputs);
                }
            }
        }
    }

    fn message(&mut self, out: &mut Array<'_>, role: &str, said: &Said<'_>) {
        let mut message = out.object();
        message.string("role", role);
        self.content(message.key("content"), &said.parts, "\n\n");
        self.fields(&mut message, &said.fields);
        message.close();
    }

    /// With tool calls, everything is one message, because the results must follow at once; without, each is its own.
    fn assistant(&mut self, out: &mut Array<'_>, steps: &[Step<'_>]) {
        if steps.iter().any(|step| matches!(step, Step::Called { .. })) {
            self.assistant_message(out, steps);
            return;
        }
        let mut rest = steps;
        while !rest.is_empty() {
            let said = rest.iter().position(|step| matches!(step, Step::Said(_)));
            let (group, after) = rest.split_at(said.map_or(rest.len(), |said| said + 1));
            self.assistant_message(out, group);
            rest = after;
        }
    }

    fn assistant_message(&mut self, out: &mut Array<'_>, steps: &[Step<'_>]) {
        let mut thought = String::new();
        let (mut parts, mut refused, mut calls) = (Vec::new(), None, false);
        for step in steps {
            match step {
                Step::Thought(reasoning, fields) => {
                    fields.iter().for_each(|(name, _)| self.lossy.note(name));
                    self.thought(reasoning, &mut thought);
                }
                Step::Called { .. } => calls = true,
                Step::Said(said) => {
                    for part in said.parts.iter() {
                        match part {
                            Part::Refusal(text) => refused.get_or_insert_with(String::new).push_str(&text.as_str()),
                            Part::Text(_) | Part::Image(_) | Part::Opaque(..) | Part::Field(..) => {
                                parts.push(part.clone());
                            }
                        }
                    }
                }
            }
        }
        let nothing = parts.is_empty() && refused.is_none() && !calls;
        if nothing && thought.is_empty() && steps.iter().all(|step| matches!(step, Step::Thought(..))) {
            return;
        }
        let mut message = out.object();
        message.string("role", "assistant");
        if parts.is_empty() && (calls || refused.is_some()) {
            message.null("content");
        } else {
            self.content(message.key("content"), &parts, "");
        }
        if let Some(refused) = refused {
            message.string("refusal", &refused);
        }
        if !thought.is_empty() {
            message.string("reasoning_content", &thought);
        }
        for step in steps {
            if let Step::Said(said) = step {
                self.fields(&mut message, &said.fields);
            }
        }
        if calls {
            self.tool_calls(&mut message, steps);
        }
        message.close();
    }

    fn thought(&mut self, reasoning: &commonwatt_core::call::Reasoning, thought: &mut String) {
        if reasoning.redacted.is_some() {
            self.lossy.note("redacted_thinking");
        } else if self.quirks.reasoning_history {
            thought.push_str(&reasoning.text);
        } else {
            self.lossy.note("reasoning of earlier turns");
        }
    }

    fn tool_calls(&mut self, message: &mut Object<'_>, steps: &[Step<'_>]) {
        let mut calls = message.array("tool_calls");
        for step in steps {
            let Step::Called { id, call, fields, .. } = step else { continue };
            let custom = self.same && fields.iter().any(|(name, raw)| *name == "type" && raw.as_str() == "\"custom\"");
            let mut asked = calls.object();
            asked.string("id", id);
            if !custom {
                asked.string("type", "function");
            }
            let mut function = asked.object(if custom { "custom" } else { "function" });
            function.string("name", &call.name);
            if call.arguments.is_empty() && !custom {
                function.string("arguments", "{}");
            } else {
                function.text(if custom { "input" } else { "arguments" }, &call.arguments);
            }
            function.close();
            self.fields(&mut asked, fields);
            asked.close();
        }
        calls.close();
    }

    /// Results of tools are texts here; images in them follow as a user's message.
    fn outputs(&mut self, out: &mut Array<'_>, outputs: &[Output<'_>]) {
        let mut images = Vec::new();
        for output in outputs {
            let mut message = out.object();
            message.string("role", "tool");
            message.string("tool_call_id", &output.id);
            let (seen, told): (Vec<Part>, Vec<Part>) =
                output.parts.iter().cloned().partition(|part| matches!(part, Part::Image(_)));
            images.extend(seen);
            self.content(message.key("content"), &told, "\n\n");
            if output.is_error && !output.is_made() {
                self.lossy.note("tool_result.is_error");
            }
            self.fields(&mut message, &output.fields);
            message.close();
        }
        if !images.is_empty() {
            self.lossy.note("tool_result.image (moved to a user message)");
            self.message(out, "user", &Said { parts: Cow::Owned(images), fields: Fields::new() });
        }
    }

    /// Fields that only the source dialect knows: written back to it, named for another.
    fn fields(&mut self, out: &mut Object<'_>, fields: &Fields<'_>) {
        write_fields(out, fields, self.same, &mut self.lossy);
    }

    fn content(&mut self, out: &mut Vec<u8>, parts: &[Part], glue: &str) {
        let mut parts = with_fields(parts);
        parts.retain_mut(|(part, fields)| {
            if !self.same {
                fields.drain(..).for_each(|(name, _)| self.lossy.note(name));
            }
            let foreign = if let Part::Opaque(kind, _) = part { Some(kind).filter(|_| !self.same) } else { None };
            foreign.inspect(|kind| self.lossy.note(format!("content block `{kind}`"))).is_none()
        });
        let texts = || {
            parts.iter().map(|(part, fields)| match part {
                Part::Text(text) if fields.is_empty() => Some(text),
                Part::Text(_) | Part::Image(_) | Part::Refusal(_) | Part::Opaque(..) | Part::Field(..) => None,
            })
        };
        match parts.as_slice() {
            [] => return emit::string(out, ""),
            [_] => {
                if let Some(text) = texts().next().flatten() {
                    return emit::text(out, text);
                }
            }
            [..] if self.quirks.flat_content => {
                if let Some(texts) = texts().map(|text| text.map(Text::as_str)).collect::<Option<Vec<_>>>() {
                    return emit::string(out, &texts.join(glue));
                }
            }
            [..] => {}
        }
        let mut array = Array::open(out);
        for (part, fields) in &parts {
            self.part(&mut array, part, fields);
        }
        array.close();
    }

    fn part(&mut self, array: &mut Array<'_>, part: &Part, fields: &Fields<'_>) {
        match part {
            Part::Text(text) | Part::Refusal(text) => {
                let kind = if matches!(part, Part::Text(_)) { "text" } else { "refusal" };
                let mut object = array.object();
                object.string("type", kind);
                object.text(kind, text);
                self.fields(&mut object, fields);
                object.close();
            }
            Part::Image(image) => {
                let mut object = array.object();
                object.string("type", "image_url");
                let mut inner = object.object("image_url");
                let detail = match image {
                    Image::Url { url, detail } => {
                        inner.string("url", url);
                        detail
                    }
                    Image::Base64 { media_type, data, detail } => {
                        inner.string("url", &format!("data:{media_type};base64,{}", data.as_str()));
                        detail
                    }
                };
                if let Some(detail) = detail {
                    inner.string("detail", detail);
                }
                inner.close();
                self.fields(&mut object, fields);
                object.close();
            }
            Part::Opaque(_, block) => array.json(block),
            Part::Field(..) => {}
        }
    }

    fn tools(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let list = self.tool_list();
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
                    let mut function = choice.object("function");
                    function.string("name", name);
                    function.close();
                    choice.close();
                }
            }
        }
        if let Some(parallel) = call.parallel_tool_calls {
            if !has_tools && !self.same {
                // It says nothing without tools.
            } else if self.quirks.no_parallel_tool_calls {
                self.lossy.note("parallel_tool_calls");
            } else if self.takes("parallel_tool_calls") {
                body.boolean("parallel_tool_calls", parallel);
            }
        }
    }

    /// A JSON array.
    pub(super) fn tool_list(&mut self) -> Vec<u8> {
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
        list
    }

    fn tool(&mut self, tools: &mut Array<'_>, tool: &Tool) {
        let mut entry = tools.object();
        entry.string("type", "function");
        let mut function = entry.object("function");
        function.string("name", &tool.name);
        if let Some(description) = &tool.description {
            function.string("description", description);
        }
        if let Some(parameters) = &tool.parameters {
            function.json("parameters", parameters);
        }
        if let Some(strict) = tool.strict {
            function.boolean("strict", strict);
        }
        let inner = |name: &str| name.starts_with("function.");
        for (name, value) in tool.extra.iter().filter(|(name, _)| self.same && inner(name)) {
            function.json(name.trim_start_matches("function."), value);
        }
        function.close();
        for (name, value) in &tool.extra {
            if !self.same {
                self.lossy.note(format!("tools.{name}"));
            } else if !inner(name) {
                entry.json(name, value);
            }
        }
        entry.close();
    }

    fn bounds(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        if let Some(bound) = call.max_output_tokens {
            let field = self.quirks.max_tokens_field.as_deref().unwrap_or("max_tokens");
            if self.takes(field) {
                body.whole(field, u64::from(bound));
            }
        }
        if !call.stop.is_empty() && self.takes("stop") {
            let bound = if self.quirks.stop_max == 0 { usize::MAX } else { self.quirks.stop_max };
            if call.stop.len() > bound {
                self.lossy.note(format!("stop (only the first {bound})"));
            }
            let mut stop = body.array("stop");
            call.stop.iter().take(bound).for_each(|text| stop.string(text));
            stop.close();
        }
    }

    fn sampling(&mut self, body: &mut Object<'_>) {
        let sampling = &self.call.sampling;
        let numbers = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("presence_penalty", sampling.presence_penalty),
            ("frequency_penalty", sampling.frequency_penalty),
        ];
        for (name, value) in numbers {
            if let Some(value) = value
                && self.takes(name)
            {
                body.number(name, value);
            }
        }
        if let Some(top_k) = sampling.top_k {
            if self.same || self.quirks.top_k {
                body.whole("top_k", u64::from(top_k));
            } else {
                self.lossy.note("top_k");
            }
        }
        if let Some(seed) = sampling.seed
            && self.takes("seed")
        {
            body.raw("seed", &seed.to_string());
        }
        if let Some(alternatives) = sampling.logprobs
            && self.takes("logprobs")
        {
            body.boolean("logprobs", true);
            if alternatives > 0 {
                body.whole("top_logprobs", u64::from(alternatives));
            }
        }
        if let Some(bias) = &sampling.logit_bias
            && self.takes("logit_bias")
        {
            body.json("logit_bias", bias);
        }
        if let Some(choices) = sampling.choices
            && self.takes("n")
        {
            body.whole("n", u64::from(choices));
        }
    }

    fn format(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let (kind, schema) = match &call.format {
            Format::Text => return,
            Format::JsonObject => ("json_object", None),
            Format::JsonSchema { .. } if self.quirks.no_json_schema => {
                self.lossy.note("response_format (asked for any JSON object)");
                ("json_object", None)
            }
            Format::JsonSchema { name, schema, strict } => ("json_schema", Some((name, schema, strict))),
        };
        if !self.takes("response_format") {
            return;
        }
        let mut format = body.object("response_format");
        format.string("type", kind);
        if let Some((name, schema, strict)) = schema {
            let mut wanted = format.object("json_schema");
            wanted.string("name", if name.is_empty() { "answer" } else { name });
            wanted.json("schema", schema);
            if let Some(strict) = strict {
                wanted.boolean("strict", *strict);
            }
            self.extra_within("response_format.json_schema.", &mut wanted);
            wanted.close();
        }
        format.close();
    }

    fn reasoning(&mut self, body: &mut Object<'_>) {
        let word = match &self.call.reasoning {
            Some(ReasoningWish::Effort(word)) => word.as_str(),
            Some(ReasoningWish::BudgetTokens(budget)) => {
                let word = match budget {
                    0..=2_048 => "low",
                    2_049..=8_192 => "medium",
                    _ => "high",
                };
                self.lossy.note(format!("thinking.budget_tokens (as effort {word})"));
                word
            }
            Some(ReasoningWish::Off) if self.same => "none",
            // Only some servers know `none`, and those that do not refuse it.
            Some(ReasoningWish::Off) => return self.lossy.note("thinking (disabled)"),
            Some(ReasoningWish::Auto) => return self.lossy.note("thinking (adaptive)"),
            None => match self.foreign_effort() {
                Some(word) => return self.effort(body, &word),
                None => return,
            },
        };
        self.effort(body, word);
    }

    fn effort(&mut self, body: &mut Object<'_>, word: &str) {
        if self.takes("reasoning_effort") {
            body.string("reasoning_effort", word);
        }
    }

    /// Anthropic's effort, which there does not by itself turn thinking on.
    fn foreign_effort(&self) -> Option<String> {
        let effort = self.call.extra.iter().find(|(name, _)| name == super::anthropic_read::EFFORT);
        let (_, word) = effort.filter(|_| !self.same)?;
        Some(word.as_str().trim_matches('"').to_owned())
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
