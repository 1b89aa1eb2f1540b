//! Writes a Gemini request.
//!
//! The rules that other dialects do not have: a user speaks first; neighbours of one role are one content; a result
//! bears the name of the function, not the id of its call; it is an object; from Gemini 3 on, the first call of each
//! step bears the seal of the thinking that led to it. The model and whether to stream are in the path.

use std::borrow::Cow;

use commonwatt_core::call::{Call, Image, Part, RawJson, Reasoning};
use commonwatt_core::text::Text;

use super::gemini_thinking::{foreign_effort, is_before_three};
use super::lossy::Lossy;
use super::quirks::Quirks;
use super::turns::{Fields, Neighbours, Output, Said, Step, Turn, arranged, with_fields};
use super::{Encoded, Untranslatable, gemini_media as media};
use crate::Dialect;
use crate::emit::{Array, Object};
use crate::tape::{Kind, Tape};
use crate::tool_ids::{MADE_FOR_GEMINI, Shape};

pub(super) fn encode(call: &Call, model: &str, quirks: &Quirks) -> Result<Encoded, Untranslatable> {
    let mut writer = Writer {
        call,
        model,
        quirks,
        same: call.dialect == Dialect::Gemini.word(),
        lossy: Lossy::default(),
        tape: Tape::default(),
    };
    let mut turns = arranged(call, Shape::Forty, &mut writer.lossy);
    let system = writer.system(&mut turns);
    let contents = writer.contents(&turns)?;

    let mut out = Vec::with_capacity(contents.len() + system.len() + 1024);
    let mut body = Object::open(&mut out);
    if system != b"[]" {
        let mut instruction = body.object("systemInstruction");
        instruction.key("parts").extend_from_slice(&system);
        instruction.close();
    }
    body.key("contents").extend_from_slice(&contents);
    let has_functions = writer.tools(&mut body);
    writer.tool_config(&mut body, has_functions);
    writer.generation_config(&mut body, has_functions);
    writer.unsaid();
    writer.extra(&mut body);
    body.close();
    Ok(Encoded { body: out.into(), lossy: writer.lossy.into_notes() })
}

/// Fields that are written inside their parent rather than at the top level.
const WITHIN: [&str; 2] = ["generationConfig.", "toolConfig."];

/// Google's own word for a call whose seal nobody has: <https://ai.google.dev/gemini-api/docs/thought-signatures>.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

pub(super) struct Writer<'a> {
    pub(super) call: &'a Call,
    pub(super) model: &'a str,
    pub(super) quirks: &'a Quirks,
    /// Whether the call was read from this dialect, so that what is opaque in it may go back.
    pub(super) same: bool,
    pub(super) lossy: Lossy,
    pub(super) tape: Tape,
}

/// Who speaks in a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speaker {
    User,
    Model,
}

type Contents<'o> = Neighbours<'o, Speaker>;

fn word(speaker: Speaker) -> &'static str {
    match speaker {
        Speaker::User => "user",
        Speaker::Model => "model",
    }
}

impl<'a> Writer<'a> {
    /// Whether the provider takes a field; one that it does not take is named.
    pub(super) fn takes(&mut self, field: &str) -> bool {
        self.quirks.takes(field, self.model, &mut self.lossy)
    }

    /// The system prompt: what stands first, and what must move there. Leaves the other turns.
    fn system(&mut self, turns: &mut Vec<Turn<'a>>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut parts = Array::open(&mut out);
        let call = self.call;
        self.system_parts(&mut parts, &call.system);
        let mut begun = false;
        turns.retain(|turn| {
            let Turn::System(said) = turn else {
                begun = true;
                return true;
            };
            if begun {
                self.lossy.note("messages (a later system message was moved to the front)");
            }
            said.fields.iter().for_each(|(name, _)| self.lossy.note(name));
            self.system_parts(&mut parts, &said.parts);
            false
        });
        parts.close();
        out
    }

    fn system_parts(&mut self, out: &mut Array<'_>, parts: &[Part]) {
        for (part, fields) in with_fields(parts) {
            if matches!(part, Part::Image(_)) && !self.same {
                self.lossy.note("image_url (in a system message)");
            } else if self.writable(part) {
                self.part(out.item(), part, &fields);
            }
        }
    }

    fn contents(&mut self, turns: &[Turn<'a>]) -> Result<Vec<u8>, Untranslatable> {
        let mut out = Vec::with_capacity(1024);
        let mut contents = Contents::new(Array::open(&mut out), "parts", word);
        if matches!(turns.first(), Some(Turn::Assistant { .. })) {
            self.lossy.note("messages (a user's turn was put before the first)");
            let mut part = Object::open(contents.of(Speaker::User));
            part.string("text", "(the conversation continues)");
            part.close();
        }
        for turn in turns {
            match turn {
                Turn::System(said) | Turn::User(said) => self.said(&mut contents, Speaker::User, said),
                Turn::Assistant { steps, outputs } => {
                    self.steps(&mut contents, steps);
                    self.outputs(&mut contents, steps, outputs);
                }
            }
        }
        contents.close();
        if out == b"[]" {
            return Err(Untranslatable { message: "the conversation holds nothing to answer".to_owned() });
        }
        Ok(out)
    }

    fn steps(&mut self, contents: &mut Contents<'_>, steps: &[Step<'_>]) {
        let mut wants_seal = !is_before_three(self.model);
        for step in steps {
            match step {
                Step::Thought(reasoning, fields) => self.thought(contents, reasoning, fields),
                Step::Said(said) => self.said(contents, Speaker::Model, said),
                Step::Called { call, fields, .. } => {
                    let mut part = Object::open(contents.of(Speaker::Model));
                    let mut function = part.object("functionCall");
                    self.id(&mut function, &call.id);
                    function.string("name", &call.name);
                    self.arguments(&mut function, &call.arguments.as_str());
                    self.fields_within("functionCall.", &mut function, fields);
                    function.close();
                    // Of parallel calls only the first bears one.
                    let wanted = std::mem::replace(&mut wants_seal, false);
                    match &call.signature {
                        Some(signature) => part.string("thoughtSignature", signature),
                        None if wanted => {
                            self.lossy.note("functionCall.thoughtSignature (a stand-in was sent)");
                            part.string("thoughtSignature", NO_SIGNATURE);
                        }
                        None => {}
                    }
                    // Where OpenAI's dialect carries the seal; it was written above.
                    let mut fields = fields.clone();
                    fields.retain(|(name, _)| call.signature.is_none() || *name != "extra_content");
                    self.fields(&mut part, &fields, "functionCall.");
                    part.close();
                }
            }
        }
    }

    /// Ids go back only where Gemini gave them.
    fn id(&self, object: &mut Object<'_>, id: &str) {
        if self.same && !id.starts_with(MADE_FOR_GEMINI) {
            object.string("id", id);
        }
    }

    fn thought(&mut self, contents: &mut Contents<'_>, reasoning: &Reasoning, fields: &Fields<'_>) {
        if !self.same || reasoning.is_sealed() {
            return self.lossy.note("reasoning of earlier turns");
        }
        let mut part = Object::open(contents.of(Speaker::Model));
        part.string("text", &reasoning.text);
        part.boolean("thought", true);
        self.fields(&mut part, fields, "");
        part.close();
    }

    /// Arguments must be an object, whatever the model wrote.
    fn arguments(&mut self, function: &mut Object<'_>, arguments: &str) {
        if arguments.trim().is_empty() {
            function.raw("args", "{}");
        } else if self.is_object(arguments) {
            function.raw("args", arguments);
        } else {
            self.lossy.note("tool_calls.arguments (not a JSON object)");
            let mut args = function.object("args");
            args.string("arguments", arguments);
            args.close();
        }
    }

    fn is_object(&mut self, text: &str) -> bool {
        text.trim_start().starts_with('{')
            && self.tape.read(text.as_bytes()).is_ok_and(|root| root.kind() == Kind::Object)
    }

    /// The results of a step's calls, and the images in them behind all of them.
    fn outputs(&mut self, contents: &mut Contents<'_>, steps: &[Step<'_>], outputs: &[Output<'_>]) {
        let mut seen: Vec<(&Part, Fields<'_>)> = Vec::new();
        for output in outputs {
            let answered = steps.iter().find_map(|step| match step {
                Step::Called { id, call, .. } if *id == output.id => Some(*call),
                Step::Called { .. } | Step::Said(_) | Step::Thought(..) => None,
            });
            let mut part = Object::open(contents.of(Speaker::User));
            let mut function = part.object("functionResponse");
            if let Some(call) = answered {
                self.id(&mut function, &call.id);
                function.string("name", &call.name);
            }
            let (told, more): (Vec<_>, Vec<_>) =
                with_fields(&output.parts).into_iter().partition(|(part, _)| text_of(part).is_some());
            self.response(&mut function, &told, output.is_error);
            let more: Vec<_> = more.into_iter().filter(|(part, _)| self.writable(part)).collect();
            if self.same && !more.is_empty() {
                let mut parts = function.array("parts");
                more.iter().for_each(|(inner, fields)| self.part(parts.item(), inner, fields));
                parts.close();
            } else {
                seen.extend(more);
            }
            self.fields_within("functionResponse.", &mut function, &output.fields);
            function.close();
            self.fields(&mut part, &output.fields, "functionResponse.");
            part.close();
        }
        if !seen.is_empty() {
            self.lossy.note("tool_result.image (moved behind the result)");
        }
        for (part, fields) in seen {
            self.part(contents.of(Speaker::User), part, &fields);
        }
    }

    /// A result: an object as it is, a text under a name.
    fn response(&mut self, function: &mut Object<'_>, told: &[(&Part, Fields<'_>)], is_error: bool) {
        for (_, fields) in told {
            fields.iter().for_each(|(name, _)| self.lossy.note(name));
        }
        let mut texts = told.iter().filter_map(|(part, _)| text_of(part));
        let whole = match (texts.next(), texts.next()) {
            (None, _) => return function.raw("response", "{}"),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => {
                let all: Vec<_> = [first, second].into_iter().chain(texts).map(Text::as_str).collect();
                Cow::Owned(Text::from(all.join("\n\n")))
            }
        };
        let is_object = self.is_object(&whole.as_str());
        if is_object && !is_error {
            return function.raw("response", &whole.as_str());
        }
        let mut response = function.object("response");
        match (is_error, is_object) {
            (true, true) => response.raw("error", &whole.as_str()),
            (true, false) => response.text("error", &whole),
            (false, _) => response.text("output", &whole),
        }
        response.close();
    }

    fn said(&mut self, contents: &mut Contents<'_>, speaker: Speaker, said: &Said<'_>) {
        for (part, fields) in with_fields(&said.parts) {
            if self.writable(part) {
                self.part(contents.of(speaker), part, &fields);
            }
        }
        said.fields.iter().for_each(|(name, _)| self.lossy.note(name));
    }

    /// Whether a part can be written; one that cannot is named, unless it says nothing.
    fn writable(&mut self, part: &Part) -> bool {
        match part {
            Part::Text(text) | Part::Refusal(text) => !text.is_empty(),
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
        let mut object = Object::open(out);
        let mut within = "";
        match part {
            Part::Text(text) | Part::Refusal(text) => object.text("text", text),
            Part::Image(image) => within = self.image(&mut object, image, fields),
            Part::Opaque(..) | Part::Field(..) => {}
        }
        self.fields(&mut object, fields, within);
        object.close();
    }

    /// An image; gives the beginning of those fields that were written inside it.
    fn image(&mut self, part: &mut Object<'_>, image: &Image, fields: &Fields<'_>) -> &'static str {
        let (within, detail) = match image {
            Image::Base64 { media_type, data, detail } => {
                let mut inner = part.object("inlineData");
                inner.string("mimeType", media_type);
                inner.text("data", data);
                self.fields_within("inlineData.", &mut inner, fields);
                inner.close();
                ("inlineData.", detail)
            }
            Image::Url { url, detail } => {
                let told = self.same && fields.iter().any(|(name, _)| *name == "fileData.mimeType");
                let mut inner = part.object("fileData");
                inner.string("fileUri", url);
                match media::type_of(url) {
                    Some(_) if told => {}
                    Some(guessed) => inner.string("mimeType", guessed),
                    None if told => {}
                    None => self.lossy.note("image_url (its type is not known)"),
                }
                self.fields_within("fileData.", &mut inner, fields);
                inner.close();
                ("fileData.", detail)
            }
        };
        if detail.as_deref().is_some_and(|detail| detail != "auto") {
            self.lossy.note("image_url.detail");
        }
        within
    }

    /// Fields that only the source dialect knows, but for those that begin with `within`, written inside.
    fn fields(&mut self, out: &mut Object<'_>, fields: &Fields<'_>, within: &str) {
        for (name, value) in fields {
            if !self.same {
                self.lossy.note(name);
            } else if within.is_empty() || !name.starts_with(within) {
                out.json(name, value);
            }
        }
    }

    fn fields_within(&self, prefix: &str, out: &mut Object<'_>, fields: &Fields<'_>) {
        for (name, value) in fields {
            if let Some(inner) = name.strip_prefix(prefix)
                && self.same
            {
                out.json(inner, value);
            }
        }
    }

    /// What this dialect has no words for.
    fn unsaid(&mut self) {
        let call = self.call;
        let unsaid = [
            ("logit_bias", call.sampling.logit_bias.is_some()),
            ("parallel_tool_calls", call.parallel_tool_calls == Some(false)),
            ("user", call.user.is_some()),
        ];
        unsaid.iter().filter(|(_, said)| *said).for_each(|(name, _)| self.lossy.note(name));
    }

    fn extra(&mut self, body: &mut Object<'_>) {
        let call = self.call;
        let effort = foreign_effort(call, self.same).is_some();
        for (name, value) in &call.extra {
            if effort && name == super::anthropic_read::EFFORT {
                continue;
            }
            if !self.same || name.starts_with("contents.") {
                self.lossy.note(name);
            } else if !WITHIN.iter().any(|prefix| name.starts_with(prefix)) && self.takes(name) {
                body.json(name, value);
            }
        }
    }
}

fn text_of(part: &Part) -> Option<&Text> {
    match part {
        Part::Text(text) | Part::Refusal(text) => Some(text),
        Part::Image(_) | Part::Opaque(..) | Part::Field(..) => None,
    }
}

#[cfg(test)]
mod tests;
