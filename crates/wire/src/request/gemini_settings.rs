//! Writes what a Gemini request holds beside the conversation: tools, sampling, the shape of the answer, thinking.

use commonwatt_core::call::{Format, RawJson, Tool, ToolChoice};

use super::gemini_schema as schema;
use super::gemini_thinking::{Thinking, is_before_three, settled};
use super::gemini_write::Writer;
use crate::emit::{Array, Object};

const THINKING: &str = "generationConfig.thinkingConfig.";
const FUNCTION_CALLING: &str = "toolConfig.functionCallingConfig.";

/// The API takes no more stop strings.
const STOP_MAX: usize = 5;

impl Writer<'_> {
    /// The tools. True when there are functions among them.
    pub(super) fn tools(&mut self, body: &mut Object<'_>) -> bool {
        let call = self.call;
        let mut list = Vec::new();
        let mut tools = Array::open(&mut list);
        let mut functions = call.tools.iter().filter(|tool| tool.opaque.is_none()).peekable();
        let has_functions = functions.peek().is_some();
        if has_functions {
            let mut entry = tools.object();
            let mut declarations = entry.array("functionDeclarations");
            functions.for_each(|tool| self.tool(&mut declarations, tool));
            declarations.close();
            entry.close();
        }
        for tool in &call.tools {
            match &tool.opaque {
                Some(entry) if self.same => tools.json(entry),
                Some(_) => self.lossy.note(format!("tool `{}`", tool.name)),
                None => {}
            }
        }
        tools.close();
        let written = list != b"[]" && self.takes("tools");
        if written {
            body.key("tools").extend_from_slice(&list);
        }
        written && has_functions
    }

    fn tool(&mut self, declarations: &mut Array<'_>, tool: &Tool) {
        let mut entry = declarations.object();
        entry.string("name", &tool.name);
        if let Some(description) = &tool.description {
            entry.string("description", description);
        }
        if let Some(parameters) = &tool.parameters {
            let none = self.tape.read(&parameters.0).is_ok_and(|root| schema::is_empty(&root));
            if !none {
                entry.json("parametersJsonSchema", parameters);
            }
        }
        if tool.strict == Some(true) {
            self.lossy.note("tools.strict");
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

    pub(super) fn tool_config(&mut self, body: &mut Object<'_>, has_functions: bool) {
        let call = self.call;
        let named: &[(String, RawJson)] = if self.same { &call.extra } else { &[] };
        let has = |prefix: &str| named.iter().any(|(name, _)| name.starts_with(prefix));
        let choice = call.tool_choice.as_ref().filter(|_| has_functions || self.same);
        if (choice.is_none() && !has("toolConfig.")) || !self.takes("toolConfig") {
            return;
        }
        let mut config = body.object("toolConfig");
        if choice.is_some() || has(FUNCTION_CALLING) {
            let mut calling = config.object("functionCallingConfig");
            let (mode, only) = match choice {
                _ if has(&format!("{FUNCTION_CALLING}mode")) => (None, None),
                None => (None, None),
                Some(ToolChoice::Auto) => (Some("AUTO"), None),
                Some(ToolChoice::None) => (Some("NONE"), None),
                Some(ToolChoice::Required) => (Some("ANY"), None),
                Some(ToolChoice::Named(name)) => (Some("ANY"), Some(name)),
            };
            if let Some(mode) = mode {
                calling.string("mode", mode);
            }
            if let Some(only) = only {
                let mut names = calling.array("allowedFunctionNames");
                names.string(only);
                names.close();
            }
            self.extra_within(FUNCTION_CALLING, &mut calling);
            calling.close();
        }
        self.extra_within("toolConfig.", &mut config);
        config.close();
    }

    pub(super) fn generation_config(&mut self, body: &mut Object<'_>, has_functions: bool) {
        let mut out = Vec::with_capacity(256);
        let mut config = Object::open(&mut out);
        self.sampling(&mut config);
        self.format(&mut config, has_functions);
        let thinking = settled(self.call, self.model, self.quirks, &mut self.lossy);
        self.thinking(&mut config, &thinking);
        self.extra_within("generationConfig.", &mut config);
        config.close();
        if out != b"{}" && self.takes("generationConfig") {
            body.key("generationConfig").extend_from_slice(&out);
        }
    }

    fn sampling(&mut self, config: &mut Object<'_>) {
        let call = self.call;
        let sampling = &call.sampling;
        if let Some(bound) = call.max_output_tokens {
            config.whole("maxOutputTokens", u64::from(bound));
        }
        let numbers = [
            ("temperature", "temperature", sampling.temperature),
            ("top_p", "topP", sampling.top_p),
            ("presence_penalty", "presencePenalty", sampling.presence_penalty),
            ("frequency_penalty", "frequencyPenalty", sampling.frequency_penalty),
        ];
        for (field, name, value) in numbers {
            if let Some(value) = value
                && self.takes(field)
            {
                config.number(name, value);
            }
        }
        if let Some(top_k) = sampling.top_k
            && self.takes("top_k")
        {
            config.whole("topK", u64::from(top_k));
        }
        match sampling.seed.map(i32::try_from) {
            Some(Ok(seed)) if self.takes("seed") => config.raw("seed", &seed.to_string()),
            Some(Err(_)) => self.lossy.note("seed (of more than 32 bits)"),
            Some(Ok(_)) | None => {}
        }
        if let Some(alternatives) = sampling.logprobs
            && self.takes("logprobs")
        {
            config.boolean("responseLogprobs", true);
            if alternatives > 0 {
                config.whole("logprobs", u64::from(alternatives));
            }
        }
        match sampling.choices {
            Some(choices) if self.same => config.whole("candidateCount", u64::from(choices)),
            Some(2..) => self.lossy.note("n (one answer is given)"),
            Some(0..=1) | None => {}
        }
        if !call.stop.is_empty() && self.takes("stop") {
            if call.stop.len() > STOP_MAX {
                self.lossy.note(format!("stop (only the first {STOP_MAX})"));
            }
            let mut stop = config.array("stopSequences");
            call.stop.iter().take(STOP_MAX).for_each(|text| stop.string(text));
            stop.close();
        }
    }

    /// The shape of the answer, which models before Gemini 3 do not take beside functions.
    fn format(&mut self, config: &mut Object<'_>, has_functions: bool) {
        let call = self.call;
        let schema = match &call.format {
            Format::Text => return,
            Format::JsonObject => None,
            Format::JsonSchema { schema, .. } => Some(schema),
        };
        if has_functions && !self.same && is_before_three(self.model) {
            return self.lossy.note("response_format (beside tools)");
        }
        config.string("responseMimeType", "application/json");
        if let Some(schema) = schema {
            config.json("responseJsonSchema", schema);
        }
    }

    fn thinking(&mut self, config: &mut Object<'_>, thinking: &Thinking) {
        let mut out = Vec::new();
        let mut object = Object::open(&mut out);
        if let Some(level) = &thinking.level {
            object.string("thinkingLevel", level);
        }
        if let Some(budget) = thinking.budget {
            object.raw("thinkingBudget", &budget.to_string());
        }
        if let Some(include) = thinking.include {
            object.boolean("includeThoughts", include);
        }
        self.extra_within(THINKING, &mut object);
        object.close();
        if out != b"{}" && self.takes("thinkingConfig") {
            config.key("thinkingConfig").extend_from_slice(&out);
        }
    }

    /// Members of one parent; those of a parent below it are written there.
    fn extra_within(&self, prefix: &str, out: &mut Object<'_>) {
        for (name, value) in &self.call.extra {
            if let Some(inner) = name.strip_prefix(prefix)
                && self.same
                && !inner.contains('.')
            {
                out.json(inner, value);
            }
        }
    }
}
