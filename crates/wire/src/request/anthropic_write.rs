//! Writes an Anthropic Messages request.
//!
//! The rules that other dialects do not have: `max_tokens` is required; a user speaks first; roles alternate, so
//! neighbours of one role are one message; the results of all tool calls of a turn stand together at the beginning of
//! the next user message; no text block is blank; thinking goes back only with its seal.

use commonwatt_core::call::{Call, Format, Image, Part, RawJson, Reasoning, Role, Tool, ToolChoice};

use commonwatt_core::text::Text;

use super::anthropic_thinking::{Mode, Thinking, settled};
use super::lossy::Lossy;
use super::quirks::{Quirks, ToolIdShape};
use super::turns::{Fields, Neighbours, Output, Said, Step, Turn, arranged, with_fields, write_extra_within};
use super::{Encoded, Untranslatable};
use crate::Dialect;
use crate::emit::{Array, Object};
use crate::tape::{Kind, Tape};
use crate::tool_ids::Shape;

pub(super) fn encode(call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    if let Some(choices @ 2..) = call.sampling.choices {
        let message = format!("{choices} answers to one question cannot be asked of an Anthropic model");
        return Err(Untranslatable { message });
    }
    let mut writer = Writer {
        call,
        model,
        quirks,
        same: call.dialect == Dialect::AnthropicMessages.word(),
        lossy: Lossy::default(),
        tape: Tape::default(),
    };
    let shape = match quirks.tool_ids {
        ToolIdShape::Usual => Shape::Word,
        ToolIdShape::Nine => Shape::Nine,
    };
    let mut turns = arranged(call, shape, &mut writer.lossy);
    let thinking = settled(call, &turns, model, quirks, &mut writer.lossy);
    let system = writer.system(&mut turns);
    let messages = writer.messages(&turns)?;

    let mut out = Vec::with_capacity(messages.len() + system.len() + 1024);
    let mut body = Object::open(&mut out);
    body.string("model", model);
    body.whole("max_tokens", u64::from(thinking.max_tokens));
    writer.tools(&mut body);
    if system != b"[]" {
        body.key("system").extend_from_slice(&system);
    }
    body.key("messages").extend_from_slice(&messages);
    writer.sampling(&mut body, &thinking);
    writer.thinking(&mut body, &thinking);
    writer.output_config(&mut body, &thinking);
    writer.metadata(&mut body);
    if call.stream {
        body.boolean("stream", true);
    }
    writer.extra(&mut body);
    body.close();
    Ok(Encoded { body: out.into(), lossy: writer.lossy.into_notes() })
}

/// Fields that are written inside their parent rather than at the top level.
const WITHIN: [&str; 3] = ["thinking.", "output_config.", "metadata."];

struct Writer<'a> {
    call: &'a Call,
    model: &'a str,
    quirks: &'a Quirks,
    /// Whether the call was read from this dialect, so that what is opaque in it may go back.
    same: bool,
    lossy: Lossy,
    tape: Tape,
}

type Messages<'o> = Neighbours<'o, Role>;

fn word(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

impl<'a> Writer<'a> {
    fn takes(&mut self, field: &str) -> bool {
        self.quirks.takes(field, self.model, &mut self.lossy)
    }

    /// The system prompt: what stands first, and what must move there. Leaves the other turns.
    fn system(&mut self, turns: &mut Vec<Turn<'a>>) -> Vec<u8> {
        let stay = self.quirks.takes_system_messages(self.model);
        let mut out = Vec::new();
        let mut blocks = Array::open(&mut out);
        let call = self.call;
        self.system_parts(&mut blocks, &call.system);
        let mut begun = false;
        let mut after_user = false;
        turns.retain(|turn| {
            let Turn::System(said) = turn else {
                after_user = match turn {
                    Turn::User(_) => true,
                    Turn::Assistant { outputs, .. } => !outputs.is_empty(),
                    Turn::System(_) => false,
                };
                begun = true;
                return true;
            };
            if stay && after_user {
                return true;
            }
            if begun {
                self.lossy.note("messages (a later system message was moved to the front)");
            }
            said.fields.iter().for_each(|(name, _)| self.lossy.note(name));
            self.system_parts(&mut blocks, &said.parts);
            false
        });
        blocks.close();
        out
    }

    fn system_parts(&mut self, blocks: &mut Array<'_>, parts: &[Part]) {
        for (part, fields) in with_fields(parts) {
            match part {
                Part::Text(text) | Part::Refusal(text) => {
                    if !text.is_blank() {
                        let mut block = blocks.object();
                        self.text(&mut block, text, &fields);
                        block.close();
                    }
                }
                Part::Image(_) => self.lossy.note("image_url (in a system message)"),
                Part::Opaque(kind, raw) => {
                    if self.same {
                        blocks.json(raw);
                    } else {
                        self.lossy.note(format!("content block `{kind}`"));
                    }
                }
                Part::Field(name, _) => self.lossy.note(name),
            }
        }
    }

    fn messages(&mut self, turns: &[Turn<'a>]) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::with_capacity(1024);
        let mut messages = Messages::new(Array::open(&mut out), "content", word);
        if matches!(turns.first(), Some(Turn::Assistant { .. })) {
            self.lossy.note("messages (a user's turn was put before the first)");
            let mut block = Object::open(messages.of(Role::User));
            self.text(&mut block, &"(the conversation continues)".into(), &Fields::new());
            block.close();
        }
        for (index, turn) in turns.iter().enumerate() {
            match turn {
                Turn::System(said) => self.parts(&mut messages, Role::System, said),
                Turn::User(said) => self.parts(&mut messages, Role::User, said),
                Turn::Assistant { steps, outputs } => {
                    self.steps(&mut messages, steps, index + 1 == turns.len() && outputs.is_empty());
                    for output in outputs {
                        let out = messages.of(Role::User);
                        self.output(out, output);
                    }
                }
            }
        }
        messages.close();
        if out == b"[]" {
            return Err(Untranslatable { message: "the conversation holds nothing to answer".to_owned() });
        }
        Ok(out)
    }

    fn text(&mut self, block: &mut Object<'_>, text: &Text, fields: &Fields<'_>) {
        block.string("type", "text");
        block.text("text", text);
        self.fields(block, fields);
    }

    fn steps(&mut self, messages: &mut Messages<'_>, steps: &[Step<'_>], is_prefill: bool) {
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Thought(reasoning, fields) => self.thought(messages, reasoning, fields),
                Step::Called { id, call, fields, .. } => {
                    let mut block = Object::open(messages.of(Role::Assistant));
                    block.string("type", "tool_use");
                    block.string("id", id);
                    block.string("name", &call.name);
                    self.input(&mut block, &call.arguments.as_str());
                    self.fields(&mut block, fields);
                    block.close();
                }
                // An answer to be continued may not end in space.
                Step::Said(said) if is_prefill && index + 1 == steps.len() => {
                    let mut parts = said.parts.to_vec();
                    if let Some(Part::Text(last)) = parts.last_mut() {
                        *last = last.as_str().trim_end().into();
                    }
                    let said = Said { parts: parts.into(), fields: said.fields.clone() };
                    self.parts(messages, Role::Assistant, &said);
                }
                Step::Said(said) => self.parts(messages, Role::Assistant, said),
            }
        }
    }

    fn thought(&mut self, messages: &mut Messages<'_>, reasoning: &Reasoning, fields: &Fields<'_>) {
        match (&reasoning.redacted, &reasoning.signature) {
            (Some(data), _) => {
                let mut block = Object::open(messages.of(Role::Assistant));
                block.string("type", "redacted_thinking");
                block.string("data", data);
                self.fields(&mut block, fields);
                block.close();
            }
            (None, Some(signature)) => {
                let mut block = Object::open(messages.of(Role::Assistant));
                block.string("type", "thinking");
                block.string("thinking", &reasoning.text);
                block.string("signature", signature);
                self.fields(&mut block, fields);
                block.close();
            }
            (None, None) => self.lossy.note("reasoning of earlier turns (it has no signature)"),
        }
    }

    /// A tool's input must be an object, whatever the model wrote.
    fn input(&mut self, block: &mut Object<'_>, arguments: &str) {
        if arguments.trim().is_empty() {
            block.raw("input", "{}");
            return;
        }
        let is_object = self.tape.read(arguments.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object);
        if is_object {
            block.raw("input", arguments);
        } else {
            self.lossy.note("tool_calls.arguments (not a JSON object)");
            let mut input = block.object("input");
            input.string("arguments", arguments);
            input.close();
        }
    }

    fn output(&mut self, out: &mut Vec<u8>, output: &Output<'_>) {
        let mut block = Object::open(out);
        block.string("type", "tool_result");
        block.string("tool_use_id", &output.id);
        match with_fields(&output.parts).as_slice() {
            [] => {}
            [(Part::Text(text), fields)] if fields.is_empty() => block.text("content", text),
            parts => {
                let mut content = block.array("content");
                for (part, fields) in parts {
                    if self.writable(part) {
                        self.part(content.item(), part, fields);
                    }
                }
                content.close();
            }
        }
        if output.is_error {
            block.boolean("is_error", true);
        }
        self.fields(&mut block, &output.fields);
        block.close();
    }

    fn parts(&mut self, messages: &mut Messages<'_>, role: Role, said: &Said<'_>) {
        for (part, fields) in with_fields(&said.parts) {
            if self.writable(part) {
                self.part(messages.of(role), part, &fields);
            }
        }
        said.fields.iter().for_each(|(name, _)| self.lossy.note(name));
    }

    /// Whether a part becomes a block; one that does not is named, unless it says nothing.
    fn writable(&mut self, part: &Part) -> bool {
        match part {
            Part::Text(text) | Part::Refusal(text) => !text.is_blank(),
            Part::Image(_) => true,
            Part::Opaque(_, _) if self.same => true,
            Part::Opaque(kind, _) => {
                self.lossy.note(format!("content block `{kind}`"));
                false
            }
            Part::Field(..) => false,
        }
    }

    fn part(&mut self, out: &mut Vec<u8>, part: &Part, fields: &Fields<'_>) {
        if let Part::Opaque(_, RawJson(raw)) = part {
            out.extend_from_slice(raw);
            return;
        }
        let mut block = Object::open(out);
        match part {
            Part::Text(text) | Part::Refusal(text) => {
                block.string("type", "text");
                block.text("text", text);
            }
            Part::Image(image) => self.image(&mut block, image),
            Part::Opaque(..) | Part::Field(..) => {}
        }
        self.fields(&mut block, fields);
        block.close();
    }

    fn image(&mut self, block: &mut Object<'_>, image: &Image) {
        block.string("type", "image");
        let mut source = block.object("source");
        let detail = match image {
            Image::Url { url, detail } => {
                source.string("type", "url");
                source.string("url", url);
                detail
            }
            Image::Base64 { media_type, data, detail } => {
                source.string("type", "base64");
                source.string("media_type", media_type);
                source.text("data", data);
                detail
            }
        };
        source.close();
        if detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.lossy.note("image_url.detail");
        }
    }

    /// Fields that only the source dialect knows; a cache mark is understood whoever wrote it.
    fn fields(&mut self, out: &mut Object<'_>, fields: &Fields<'_>) {
        for (name, value) in fields {
            if self.same || *name == "cache_control" {
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
        if list != b"[]" && self.takes("tools") {
            body.key("tools").extend_from_slice(&list);
            self.tool_choice(body);
        }
    }

    fn tool(&mut self, tools: &mut Array<'_>, tool: &Tool) {
        let mut entry = tools.object();
        entry.string("name", &tool.name);
        if let Some(description) = &tool.description {
            entry.string("description", description);
        }
        let nothing = r#"{"type":"object","properties":{}}"#;
        entry.raw("input_schema", tool.parameters.as_ref().map_or(nothing, RawJson::as_str));
        if let Some(strict) = tool.strict.filter(|strict| *strict || self.same) {
            entry.boolean("strict", strict);
        }
        for (name, value) in &tool.extra {
            if self.same || name == "cache_control" {
                entry.json(name, value);
            } else {
                self.lossy.note(format!("tools.{name}"));
            }
        }
        entry.close();
    }

    fn tool_choice(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let (kind, name) = match (&call.tool_choice, call.parallel_tool_calls) {
            (Some(ToolChoice::Auto), _) | (None, Some(false)) => ("auto", None),
            (Some(ToolChoice::Required), _) => ("any", None),
            (Some(ToolChoice::None), _) => ("none", None),
            (Some(ToolChoice::Named(name)), _) => ("tool", Some(name)),
            (None, Some(true) | None) => return,
        };
        if !self.takes("tool_choice") {
            return;
        }
        let mut choice = body.object("tool_choice");
        choice.string("type", kind);
        if let Some(name) = name {
            choice.string("name", name);
        }
        if let Some(parallel) = call.parallel_tool_calls.filter(|_| kind != "none") {
            choice.boolean("disable_parallel_tool_use", !parallel);
        }
        choice.close();
    }

    fn sampling(&mut self, body: &mut Object<'_>, thinking: &Thinking) {
        let sampling = &self.call.sampling;
        let takes = self.quirks.takes_sampling(self.model);
        // Beside thinking, the API takes no other temperature than 1, and no `top_k`.
        let thinks = thinking.mode.is_on();
        if let Some(temperature) = sampling.temperature {
            if !takes || (thinks && (temperature - 1.0).abs() > f64::EPSILON) {
                self.lossy.note("temperature");
            } else if self.takes("temperature") {
                if temperature > 1.0 {
                    self.lossy.note("temperature (lowered to 1)");
                }
                body.number("temperature", temperature.min(1.0));
            }
        }
        if let Some(top_p) = sampling.top_p {
            if !takes || (thinks && top_p < 0.95) {
                self.lossy.note("top_p");
            } else if self.takes("top_p") {
                body.number("top_p", top_p);
            }
        }
        if let Some(top_k) = sampling.top_k {
            if !takes || thinks {
                self.lossy.note("top_k");
            } else if self.takes("top_k") {
                body.whole("top_k", u64::from(top_k));
            }
        }
        self.unsaid(sampling);
        let stop: Vec<&String> = self.call.stop.iter().filter(|text| !text.trim().is_empty()).collect();
        if stop.len() < self.call.stop.len() {
            self.lossy.note("stop (blank ones)");
        }
        if !stop.is_empty() && self.takes("stop_sequences") {
            let mut array = body.array("stop_sequences");
            stop.into_iter().for_each(|text| array.string(text));
            array.close();
        }
    }

    /// Ways of drawing tokens that this dialect has no words for.
    fn unsaid(&mut self, sampling: &commonwatt_core::call::Sampling) {
        let unsaid = [
            ("presence_penalty", sampling.presence_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("frequency_penalty", sampling.frequency_penalty.is_some_and(|penalty| penalty != 0.0)),
            ("seed", sampling.seed.is_some()),
            ("logprobs", sampling.logprobs.is_some()),
            ("logit_bias", sampling.logit_bias.is_some()),
        ];
        unsaid.iter().filter(|(_, said)| *said).for_each(|(name, _)| self.lossy.note(name));
    }

    fn thinking(&mut self, body: &mut Object<'_>, thinking: &Thinking) {
        if thinking.mode == Mode::Unsaid || !self.takes("thinking") {
            return;
        }
        let mut object = body.object("thinking");
        match thinking.mode {
            Mode::Unsaid | Mode::Disabled => object.string("type", "disabled"),
            Mode::Adaptive => object.string("type", "adaptive"),
            Mode::Budget(budget) => {
                object.string("type", "enabled");
                object.whole("budget_tokens", u64::from(budget));
            }
        }
        self.extra_within("thinking.", &mut object);
        object.close();
    }

    fn output_config(&mut self, body: &mut Object<'_>, thinking: &Thinking) {
        let call = self.call;
        let schema = match &call.format {
            Format::Text => None,
            Format::JsonObject => {
                self.lossy.note("response_format (json_object)");
                None
            }
            Format::JsonSchema { schema, .. } => Some(schema),
        };
        let extra = self.same && call.extra.iter().any(|(name, _)| name.starts_with("output_config."));
        if (schema.is_none() && thinking.effort.is_none() && !extra) || !self.takes("output_config") {
            return;
        }
        let mut config = body.object("output_config");
        if let Some(effort) = &thinking.effort {
            config.string("effort", effort);
        }
        if let Some(schema) = schema {
            let mut format = config.object("format");
            format.string("type", "json_schema");
            format.json("schema", schema);
            format.close();
        }
        self.extra_within("output_config.", &mut config);
        config.close();
    }

    fn metadata(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let extra = self.same && call.extra.iter().any(|(name, _)| name.starts_with("metadata."));
        if (call.user.is_none() && !extra) || !self.takes("metadata") {
            return;
        }
        let mut metadata = body.object("metadata");
        if let Some(user) = &call.user {
            metadata.string("user_id", user);
        }
        self.extra_within("metadata.", &mut metadata);
        metadata.close();
    }

    fn extra_within(&self, prefix: &str, out: &mut Object<'_>) {
        if self.same {
            write_extra_within(self.call, prefix, out);
        }
    }

    fn extra(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        for (name, value) in &call.extra {
            if !self.same || name.starts_with("messages.") {
                self.lossy.note(name);
            } else if !WITHIN.iter().any(|prefix| name.starts_with(prefix)) && self.takes(name) {
                body.json(name, value);
            }
        }
    }
}
