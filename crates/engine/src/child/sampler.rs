//! Chooses tokens: penalties, truncation, temperature, grammar.
//!
//! A token is chosen freely first and only checked against the grammar; when the grammar refuses it, the whole
//! vocabulary is filtered and chosen from again. Truncation never comes before the grammar: it could leave nothing to
//! choose.
//!
//! The first error is the end of the answer. llama.cpp aborts the process when a grammar that has failed is asked
//! again, so a sampler that returned an error must be dropped.

use llama_cpp_4::chat::ChatParams;
use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::model::{AddBos, LlamaModel, Special};
use llama_cpp_4::sampling::LlamaSampler;
use llama_cpp_4::token::LlamaToken;
use llama_cpp_4::token::data::LlamaTokenData;
use llama_cpp_4::token::data_array::LlamaTokenDataArray;

use super::prepare::{Prepared, single};
use crate::fault::Fault;
use crate::request::Sampling;

/// Biases from here on forbid or all but force a token, as in OpenAI's interface.
const FORBIDDEN: f32 = -100.0;

/// One answer's sampler.
pub(super) struct Sampler {
    chain: LlamaSampler,
    grammar: Option<Grammar>,
}

struct Grammar {
    sampler: LlamaSampler,
    /// Between these marks a grammar that waits for its trigger does not listen: a model may think about calling a
    /// tool.
    thinking: Option<Thinking>,
}

struct Thinking {
    start: String,
    ends: Vec<String>,
    /// The answer so far, with the end of the prompt where a template opens the thinking itself.
    text: String,
    active: bool,
}

impl Sampler {
    /// # Errors
    /// When the grammar is none.
    pub(super) fn new(model: &LlamaModel, prepared: &Prepared, window: u32) -> Result<Self, Fault> {
        Ok(Self { chain: chain(model, &prepared.sampling, window), grammar: grammar(model, prepared)? })
    }

    /// The next token, by the logits at this place of the last batch.
    ///
    /// # Errors
    /// When no token satisfies the grammar. Drop the sampler then.
    pub(super) fn sample(&mut self, context: &LlamaContext<'_>, at: i32) -> Result<LlamaToken, Fault> {
        let mut all = LlamaTokenDataArray::from_iter(context.candidates_ith(at), false);
        all.apply_sampler(&mut self.chain);
        let mut token = chosen(&all)?;
        if let Some(grammar) = &mut self.grammar {
            if !grammar.allows(token) {
                let mut all = LlamaTokenDataArray::from_iter(context.candidates_ith(at), false);
                all.apply_sampler(&mut grammar.sampler);
                all.apply_sampler(&mut self.chain);
                token = chosen(&all)?;
            }
            grammar.accept(token)?;
        }
        self.chain.try_accept(token).map_err(|e| stuck(&e.to_string()))?;
        Ok(token)
    }

    /// Tells where thinking begins and ends.
    pub(super) fn read(&mut self, piece: &str) {
        if let Some(thinking) = self.grammar.as_mut().and_then(|grammar| grammar.thinking.as_mut()) {
            thinking.read(piece);
        }
    }
}

/// The token that a chain has selected, unless it is one that must not be: a chain selects something even when grammar
/// and biases together have ruled out everything.
fn chosen(all: &LlamaTokenDataArray) -> Result<LlamaToken, Fault> {
    let chosen = all.selected.and_then(|at| all.data.get(at)).filter(|chosen| chosen.logit().is_finite());
    chosen.map(LlamaTokenData::id).ok_or_else(|| stuck("no token of its vocabulary may come next"))
}

fn stuck(reason: &str) -> Fault {
    Fault::Generation { reason: reason.to_owned() }
}

impl Grammar {
    fn listens(&self) -> bool {
        self.thinking.as_ref().is_none_or(|thinking| !thinking.active)
    }

    fn allows(&mut self, token: LlamaToken) -> bool {
        if !self.listens() {
            return true;
        }
        let mut one = LlamaTokenDataArray::new(vec![LlamaTokenData::new(token, 1.0, 0.0)], false);
        one.apply_sampler(&mut self.sampler);
        one.data.first().is_some_and(|candidate| candidate.logit() != f32::NEG_INFINITY)
    }

    fn accept(&mut self, token: LlamaToken) -> Result<(), Fault> {
        if !self.listens() {
            return Ok(());
        }
        self.sampler.try_accept(token).map_err(|e| stuck(&e.to_string()))
    }
}

impl Thinking {
    fn read(&mut self, piece: &str) {
        self.text.push_str(piece);
        if self.active {
            let end = self.ends.iter().filter_map(|end| Some(self.text.find(end.as_str())? + end.len())).min();
            if let Some(end) = end {
                self.text.drain(..end);
                self.active = false;
            }
        }
        if !self.active
            && let Some(start) = self.text.find(self.start.as_str())
        {
            self.text.drain(..start + self.start.len());
            self.active = true;
        }
    }
}

fn chain(model: &LlamaModel, sampling: &Sampling, window: u32) -> LlamaSampler {
    let n_vocab = model.n_vocab();
    let mut chain = Vec::new();
    let bias = bias(model, &sampling.logit_bias);
    if !bias.is_empty() {
        chain.push(LlamaSampler::logit_bias(n_vocab, &bias));
    }
    let repeat = sampling.repeat_penalty.unwrap_or(1.0);
    let frequency = sampling.frequency_penalty.unwrap_or(0.0);
    let presence = sampling.presence_penalty.unwrap_or(0.0);
    if repeat != 1.0 || frequency != 0.0 || presence != 0.0 {
        let span = i32::try_from(window).unwrap_or(i32::MAX);
        chain.push(LlamaSampler::penalties(n_vocab, span, repeat, frequency, presence));
    }
    let temperature = sampling.temperature.unwrap_or(0.8);
    if temperature <= 0.0 {
        chain.push(LlamaSampler::greedy());
    } else {
        let top_k = i32::try_from(sampling.top_k.unwrap_or(40)).unwrap_or(0);
        chain.push(LlamaSampler::top_k(top_k));
        chain.push(LlamaSampler::top_p(sampling.top_p.unwrap_or(0.95), 1));
        chain.push(LlamaSampler::min_p(sampling.min_p.unwrap_or(0.05), 1));
        chain.push(LlamaSampler::temp(temperature));
        chain.push(LlamaSampler::dist(sampling.seed.unwrap_or_else(fresh_seed)));
    }
    LlamaSampler::chain(chain, true)
}

/// The caller's biases on tokens that exist, and the model's own list of tokens that must not appear.
fn bias(model: &LlamaModel, wanted: &[(i32, f32)]) -> Vec<(LlamaToken, f32)> {
    let vocabulary = 0..model.n_vocab();
    let forbidden =
        model.get_vocab().suppress_tokens().iter().map(|token| (*token, f32::NEG_INFINITY)).collect::<Vec<_>>();
    wanted
        .iter()
        .filter(|(token, bias)| vocabulary.contains(token) && !bias.is_nan())
        .map(|(token, bias)| (LlamaToken(*token), if *bias <= FORBIDDEN { f32::NEG_INFINITY } else { *bias }))
        .chain(forbidden)
        .collect()
}

/// The hasher of the standard library is seeded by the system; that is all the chance we need.
pub(super) fn fresh_seed() -> u32 {
    use std::hash::{BuildHasher as _, RandomState};
    u32::try_from(RandomState::new().hash_one(0) >> 33).unwrap_or(0)
}

fn grammar(model: &LlamaModel, prepared: &Prepared) -> Result<Option<Grammar>, Fault> {
    let template = &prepared.template;
    if template.grammar.is_empty() {
        return Ok(None);
    }
    let (patterns, tokens) = triggers(model, prepared);
    let lazy = template.grammar_lazy && !(patterns.is_empty() && tokens.is_empty());
    let sampler = if lazy {
        let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
        LlamaSampler::try_grammar_lazy_patterns(model, &template.grammar, "root", &patterns, &tokens)
    } else {
        LlamaSampler::try_grammar(model, &template.grammar, "root")
    };
    let mut sampler = sampler.map_err(|e| Fault::bad(format!("no grammar can be made of this: {e}")))?;
    if !lazy {
        // Grammars describe the answer together with the end of the prompt, which is past already.
        let begun = format!("{}{}", template.generation_prompt(), prepared.begun);
        for token in past(model, &begun) {
            sampler.try_accept(token).map_err(|e| stuck(&e.to_string()))?;
        }
    }
    let thinking = (lazy && template.supports_thinking).then(|| thinking(template, &prepared.begun));
    Ok(Some(Grammar { sampler, thinking }))
}

fn thinking(template: &ChatParams, begun: &str) -> Thinking {
    let mut thinking = Thinking {
        start: template.thinking_start_tag.clone(),
        ends: serde_json::from_str(&template.thinking_end_tags_json).unwrap_or_default(),
        text: String::new(),
        active: false,
    };
    // A template without marks cannot say when thinking ends.
    if !thinking.start.is_empty() && !thinking.ends.is_empty() {
        thinking.read(template.generation_prompt());
        thinking.read(begun);
    }
    thinking
}

/// Triggers as the grammar wants them. A word that is one token of its own is that token: as text it would never match,
/// because tokens that control are not text.
fn triggers(model: &LlamaModel, prepared: &Prepared) -> (Vec<String>, Vec<LlamaToken>) {
    let mut template = prepared.template.clone();
    let mut words = Vec::new();
    template.grammar_triggers.retain(|trigger| {
        let token = (trigger.kind == "word").then(|| single(model, &trigger.value)).flatten();
        match token.filter(|token| prepared.preserved.contains(token)) {
            Some(token) => {
                words.push(token);
                false
            }
            None => true,
        }
    });
    let (patterns, mut tokens) = template.sampler_triggers();
    tokens.extend(words);
    (patterns, tokens)
}

/// Tokens of text that the prompt ends with. Some tokenizers put a space before the first; it is not part of the text.
fn past(model: &LlamaModel, text: &str) -> Vec<LlamaToken> {
    let mut tokens = model.str_to_token(text, AddBos::Never).unwrap_or_default();
    let spaced = |token: &LlamaToken| {
        model.token_to_raw_bytes(*token, Special::Tokenize).is_ok_and(|bytes| bytes.first() == Some(&b' '))
    };
    if !text.starts_with(char::is_whitespace) && tokens.first().is_some_and(spaced) {
        tokens.remove(0);
    }
    tokens
}
