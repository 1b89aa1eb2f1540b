//! Writes a request of Ollama, for `/api/chat`.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Format, Image, Part, Reasoning, ReasoningWish, ToolChoice};
use commonwatt_core::text::Text;

use super::lossy::Lossy;
use super::openai_write;
use super::quirks::{Quirks, ToolIdShape};
use super::turns::{Fields, Output, Said, Step, Turn, arranged, with_fields, write_fields};
use super::{Encoded, Untranslatable};
use crate::Dialect;
use crate::emit::{self, Array, Object};
use crate::tape::{Kind, Tape};
use crate::tool_ids::Shape;

pub(super) fn encode(call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    let same = call.dialect == Dialect::OllamaChat.word();
    let kin = same || call.dialect == Dialect::OllamaGenerate.word();
    let mut writer = Writer { call, model, quirks, same, kin, tape: Tape::default(), lossy: Lossy::default() };
    let mut out = Vec::with_capacity(1024);
    let mut body = Object::open(&mut out);
    body.string("model", model);
    let messages = writer.messages();
    // Without messages, Ollama loads the model and says nothing.
    if messages == b"[]" && !same {
        return Err(Untranslatable { message: "the conversation holds nothing to answer".to_owned() });
    }
    body.key("messages").extend_from_slice(&messages);
    writer.tools(&mut body);
    writer.format(&mut body);
    writer.options(&mut body);
    writer.think(&mut body);
    writer.logprobs(&mut body);
    // Ollama streams unless it is told not to.
    body.boolean("stream", call.stream);
    writer.unsaid();
    writer.extra(&mut body);
    body.close();
    Ok(Encoded { body: out.into(), lossy: writer.lossy.into_notes() })
}

/// Settings below `options`.
const OPTIONS: &str = "options.";
/// The window of the model.
const NUM_CTX: &str = "options.num_ctx";
/// Fields of `/api/generate` that `/api/chat` does not know.
const OF_PROMPTS: [&str; 4] = ["suffix", "template", "context", "raw"];

struct Writer<'a> {
    call: &'a Call,
    model: &'a str,
    quirks: &'a Quirks,
    /// Whether the call was read from this dialect, so that what is opaque in it may go back.
    same: bool,
    /// Whether it was read from a dialect of Ollama's, so that its settings mean the same here.
    kin: bool,
    tape: Tape,
    lossy: Lossy,
}

impl Writer<'_> {
    /// Whether the provider takes a field; one that it does not take is named.
    fn takes(&mut self, field: &str) -> bool {
        self.quirks.takes(field, self.model, &mut self.lossy)
    }

    fn messages(&mut self) -> Vec<u8> {
        let call = self.call;
        let mut out = Vec::with_capacity(1024);
        let mut messages = Array::open(&mut out);
        if !call.system.is_empty() {
            let said = Said { parts: Cow::Borrowed(&call.system), fields: Fields::new() };
            self.message(&mut messages, "system", &said);
        }
        let shape = match self.quirks.tool_ids {
            ToolIdShape::Usual => Shape::Forty,
            ToolIdShape::Nine => Shape::Nine,
        };
        for turn in arranged(call, shape, &mut self.lossy) {
            match turn {
                Turn::System(said) => self.message(&mut messages, "system", &said),
                Turn::User(said) => self.message(&mut messages, "user", &said),
                Turn::Assistant { steps, outputs } => {
                    self.assistant(&mut messages, &steps);
                    for output in &outputs {
                        self.output(&mut messages, output, name_of(&output.id, &steps));
                    }
                }
            }
        }
        messages.close();
        out
    }

    fn message(&mut self, messages: &mut Array<'_>, role: &str, said: &Said<'_>) {
        let mut message = messages.object();
        message.string("role", role);
        self.content(&mut message, &said.parts, "\n\n");
        self.fields(&mut message, &said.fields);
        message.close();
    }

    /// With tool calls, everything is one message, because the results must follow at once; without, each is its own.
    fn assistant(&mut self, messages: &mut Array<'_>, steps: &[Step<'_>]) {
        if steps.iter().any(|step| matches!(step, Step::Called { .. })) {
            self.assistant_message(messages, steps);
            return;
        }
        let mut rest = steps;
        while !rest.is_empty() {
            let said = rest.iter().position(|step| matches!(step, Step::Said(_)));
            let (group, after) = rest.split_at(said.map_or(rest.len(), |said| said + 1));
            self.assistant_message(messages, group);
            rest = after;
        }
    }

    fn assistant_message(&mut self, messages: &mut Array<'_>, steps: &[Step<'_>]) {
        let (mut thought, mut parts, mut calls) = (String::new(), Vec::new(), false);
        for step in steps {
            match step {
                Step::Thought(reasoning, fields) => {
                    fields.iter().for_each(|(name, _)| self.lossy.note(name));
                    self.thought(reasoning, &mut thought);
                }
                Step::Called { .. } => calls = true,
                Step::Said(said) => parts.extend(said.parts.iter().cloned()),
            }
        }
        if thought.is_empty() && steps.iter().all(|step| matches!(step, Step::Thought(..))) {
            return;
        }
        let mut message = messages.object();
        message.string("role", "assistant");
        self.content(&mut message, &parts, "");
        if !thought.is_empty() {
            message.string("thinking", &thought);
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

    fn thought(&mut self, reasoning: &Reasoning, thought: &mut String) {
        if reasoning.is_sealed() {
            self.lossy.note("reasoning of earlier turns (it is sealed)");
        } else {
            thought.push_str(&reasoning.text);
        }
    }

    fn tool_calls(&mut self, message: &mut Object<'_>, steps: &[Step<'_>]) {
        let mut calls = message.array("tool_calls");
        for step in steps {
            let Step::Called { id, call, fields, .. } = step else { continue };
            let mut asked = calls.object();
            asked.string("id", id);
            let mut function = asked.object("function");
            function.string("name", &call.name);
            self.arguments(&mut function, &call.arguments);
            let (inner, outer): (Fields<'_>, Fields<'_>) =
                fields.iter().partition(|(name, _)| self.same && name.starts_with("function."));
            inner.iter().for_each(|(name, value)| function.json(name.trim_start_matches("function."), value));
            function.close();
            for (name, value) in outer {
                match name {
                    _ if self.same => asked.json(name, value),
                    "type" => self.lossy.note("tool_calls.type (custom)"),
                    _ => self.lossy.note(name),
                }
            }
            asked.close();
            if call.signature.is_some() {
                self.lossy.note("tool_calls.signature");
            }
        }
        calls.close();
    }

    /// Arguments must be an object, whatever the model wrote.
    fn arguments(&mut self, function: &mut Object<'_>, arguments: &Text) {
        let arguments = arguments.as_str();
        if arguments.trim().is_empty() {
            function.raw("arguments", "{}");
        } else if self.tape.read(arguments.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object) {
            function.raw("arguments", &arguments);
        } else {
            self.lossy.note("tool_calls.arguments (not a JSON object)");
            let mut object = function.object("arguments");
            object.string("arguments", &arguments);
            object.close();
        }
    }

    fn output(&mut self, messages: &mut Array<'_>, output: &Output<'_>, name: &str) {
        let mut message = messages.object();
        message.string("role", "tool");
        self.content(&mut message, &output.parts, "\n\n");
        message.string("tool_name", name);
        message.string("tool_call_id", &output.id);
        if output.is_error && !output.is_made() {
            self.lossy.note("tool_result.is_error");
        }
        self.fields(&mut message, &output.fields);
        message.close();
    }

    /// Fields that only the source dialect knows: written back to it, named for another.
    fn fields(&mut self, out: &mut Object<'_>, fields: &Fields<'_>) {
        write_fields(out, fields, self.same, &mut self.lossy);
    }

    /// Writes `content`, which is a text, and `images`.
    fn content(&mut self, message: &mut Object<'_>, parts: &[Part], glue: &str) {
        let (mut texts, mut images) = (Vec::new(), Vec::new());
        for (part, fields) in with_fields(parts) {
            fields.iter().for_each(|(name, _)| self.lossy.note(name));
            match part {
                Part::Text(text) | Part::Refusal(text) => texts.push(text),
                Part::Image(Image::Base64 { data, detail, .. }) => {
                    images.push(data);
                    if detail.as_deref().is_some_and(|detail| detail != "auto") {
                        self.lossy.note("image_url.detail");
                    }
                }
                Part::Image(Image::Url { .. }) => self.lossy.note("image_url (by address)"),
                Part::Opaque(kind, _) => self.lossy.note(format!("content block `{kind}`")),
                Part::Field(..) => {}
            }
        }
        match texts.as_slice() {
            [] => message.string("content", ""),
            [text] => message.text("content", text),
            texts => {
                let texts: Vec<Cow<'_, str>> = texts.iter().map(|text| text.as_str()).collect();
                message.string("content", &texts.join(glue));
            }
        }
        if !images.is_empty() {
            let mut array = message.array("images");
            images.into_iter().for_each(|data| emit::text(array.item(), data));
            array.close();
        }
    }

    fn tools(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        if call.tools.is_empty() {
            return;
        }
        match &call.tool_choice {
            None | Some(ToolChoice::Auto) => {}
            Some(ToolChoice::None) => return self.lossy.note("tools (none is to be used)"),
            Some(ToolChoice::Required | ToolChoice::Named(_)) => self.lossy.note("tool_choice"),
        }
        if call.parallel_tool_calls == Some(false) {
            self.lossy.note("parallel_tool_calls");
        }
        if call.tools.iter().any(|tool| tool.strict == Some(true)) {
            self.lossy.note("tools.strict");
        }
        let mut writer = openai_write::Writer::new(call, (self.model, self.quirks), self.same);
        let list = writer.tool_list();
        writer.lossy.into_notes().iter().for_each(|note| self.lossy.note(note));
        if list != b"[]" && self.takes("tools") {
            body.key("tools").extend_from_slice(&list);
        }
    }

    fn format(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        match &call.format {
            Format::Text => {}
            Format::JsonObject if self.takes("format") => body.string("format", "json"),
            Format::JsonSchema { schema, .. } if self.takes("format") => body.json("format", schema),
            Format::JsonObject | Format::JsonSchema { .. } => {}
        }
    }

    fn options(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let mut text = Vec::new();
        let mut options = Object::open(&mut text);
        // The window that Ollama takes by itself is small, and what does not fit is cut off at the front in silence.
        let asked = self.kin && call.extra.iter().any(|(name, _)| name == NUM_CTX);
        if let Some(window) = self.quirks.num_ctx.filter(|_| !asked) {
            options.whole("num_ctx", u64::from(window));
        }
        if let Some(bound) = call.max_output_tokens
            && self.takes("num_predict")
        {
            options.whole("num_predict", u64::from(bound));
        }
        self.sampling(&mut options);
        if !call.stop.is_empty() && self.takes("stop") {
            let mut stop = options.array("stop");
            call.stop.iter().for_each(|text| stop.string(text));
            stop.close();
        }
        for (name, value) in &call.extra {
            if let Some(name) = name.strip_prefix(OPTIONS).filter(|_| self.kin) {
                options.json(name, value);
            }
        }
        options.close();
        if text != b"{}" && self.takes("options") {
            body.key("options").extend_from_slice(&text);
        }
    }

    fn sampling(&mut self, options: &mut Object<'_>) {
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
                options.number(name, value);
            }
        }
        if let Some(top_k) = sampling.top_k
            && self.takes("top_k")
        {
            options.whole("top_k", u64::from(top_k));
        }
        if let Some(seed) = sampling.seed
            && self.takes("seed")
        {
            options.raw("seed", &seed.to_string());
        }
    }

    fn think(&mut self, body: &mut Object<'_>) {
        let word = match &self.call.reasoning {
            Some(ReasoningWish::Auto) => return self.thinks(body, "true"),
            Some(ReasoningWish::Off) => return self.thinks(body, "false"),
            Some(ReasoningWish::Effort(word)) => Cow::Borrowed(word.as_str()),
            Some(ReasoningWish::BudgetTokens(budget)) => {
                let word = match budget {
                    0..=2_048 => "low",
                    2_049..=8_192 => "medium",
                    _ => "high",
                };
                self.lossy.note(format!("thinking.budget_tokens (as effort {word})"));
                Cow::Borrowed(word)
            }
            None => match self.foreign_effort() {
                Some(word) => Cow::Owned(word),
                None => return,
            },
        };
        let known = match &*word {
            _ if self.kin => &*word,
            "low" | "medium" | "high" => &*word,
            "minimal" => "low",
            "xhigh" | "max" => "high",
            _ => "medium",
        };
        if known != word {
            self.lossy.note(format!("reasoning_effort (as {known})"));
        }
        let mut quoted = Vec::new();
        emit::string(&mut quoted, known);
        self.thinks(body, &emit::into_text(quoted));
    }

    fn thinks(&mut self, body: &mut Object<'_>, value: &str) {
        if self.takes("think") {
            body.raw("think", value);
        }
    }

    /// Anthropic's effort, which there does not by itself turn thinking on.
    fn foreign_effort(&self) -> Option<String> {
        let effort = self.call.extra.iter().find(|(name, _)| name == super::anthropic_read::EFFORT);
        let (_, word) = effort.filter(|_| !self.kin)?;
        Some(word.as_str().trim_matches('"').to_owned())
    }

    fn logprobs(&mut self, body: &mut Object<'_>) {
        if let Some(alternatives) = self.call.sampling.logprobs
            && self.takes("logprobs")
        {
            body.boolean("logprobs", true);
            if alternatives > 0 {
                body.whole("top_logprobs", u64::from(alternatives));
            }
        }
    }

    /// What this dialect has no words for.
    fn unsaid(&mut self) {
        let call = self.call;
        let unsaid = [
            ("user", call.user.is_some()),
            ("logit_bias", call.sampling.logit_bias.is_some()),
            ("n", call.sampling.choices.is_some_and(|choices| choices > 1)),
        ];
        unsaid.iter().filter(|(_, said)| *said).for_each(|(name, _)| self.lossy.note(name));
    }

    fn extra(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let effort = self.foreign_effort().is_some() && call.reasoning.is_none();
        for (name, value) in &call.extra {
            if effort && name == super::anthropic_read::EFFORT {
                continue;
            }
            let known = self.same || (self.kin && !OF_PROMPTS.contains(&name.as_str()));
            if !known {
                self.lossy.note(name);
            } else if !name.starts_with(OPTIONS) && self.takes(name) {
                body.json(name, value);
            }
        }
    }
}

/// The function that a result is of.
fn name_of<'a>(id: &str, steps: &'a [Step<'_>]) -> &'a str {
    let called = steps.iter().find_map(|step| match step {
        Step::Called { id: called, call, .. } if called == id => Some(call.name.as_str()),
        Step::Called { .. } | Step::Said(_) | Step::Thought(..) => None,
    });
    called.unwrap_or_default()
}
