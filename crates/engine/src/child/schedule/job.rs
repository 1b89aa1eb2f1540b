//! One answer: what is left of its prompt, the token that comes next, and what it has said.

use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::model::Special;
use llama_cpp_4::token::LlamaToken;

use super::SPENT;
use super::logprobs;
use crate::child::load::Loaded;
use crate::child::output::Output;
use crate::child::prepare::Prepared;
use crate::child::sampler::{Sampler, fresh_seed};
use crate::fault::Fault;
use crate::request::{Event, FinishReason};

pub(super) struct Job {
    pub(super) id: u64,
    /// The token that was chosen and is not computed yet.
    pub(super) next: Option<LlamaToken>,
    /// Tokens chosen so far, without the one that says the end.
    pub(super) generated: u32,
    prepared: Prepared,
    /// Tokens of the prompt that were computed or handed out for computing.
    read: usize,
    sampler: Sampler,
    output: Output,
}

impl Job {
    /// # Errors
    /// When its grammar is none.
    pub(super) fn new(
        loaded: &Loaded,
        id: u64,
        mut prepared: Prepared,
        cached: usize,
        window: u32,
    ) -> Result<Self, Fault> {
        let sampler = Sampler::new(&loaded.model, &prepared, window)?;
        let nonce = u64::from(fresh_seed()) << 32 | u64::from(fresh_seed());
        let stop = std::mem::take(&mut prepared.stop);
        let output = Output::new(&prepared.template, prepared.structured, stop, &prepared.begun, nonce);
        Ok(Self { id, next: None, generated: 0, prepared, read: cached, sampler, output })
    }

    /// Whether some of the prompt is not computed yet.
    pub(super) fn reads(&self) -> bool {
        self.read < self.prepared.prompt.len()
    }

    /// The next piece of the prompt, and whether it is the last.
    pub(super) fn piece(&mut self, most: usize) -> (Vec<LlamaToken>, bool) {
        let end = self.prepared.prompt.len().min(self.read.saturating_add(most));
        let piece = self.prepared.prompt.get(self.read..end).unwrap_or_default().to_vec();
        self.read = end;
        (piece, !self.reads())
    }

    /// Chooses the next token by the logits at this place. Some when that was the last.
    ///
    /// # Errors
    /// When no token can be chosen; the job must be dropped then.
    pub(super) fn turn(
        &mut self,
        loaded: &Loaded,
        context: &LlamaContext<'_>,
        at: i32,
        events: &mut Vec<Event>,
    ) -> Result<Option<FinishReason>, Fault> {
        let model = &loaded.model;
        let token = self.sampler.sample(context, at)?;
        if model.is_eog_token(token) {
            return Ok(Some(self.output.finish(FinishReason::Stop, events)));
        }
        self.generated += 1;
        let special = if self.prepared.preserved.contains(&token) { Special::Tokenize } else { Special::Plaintext };
        // A token that only controls has no bytes.
        let bytes = model.token_to_raw_bytes(token, special).unwrap_or_default();
        self.sampler.read(&String::from_utf8_lossy(&bytes));
        let logprob = self.prepared.logprobs.map(|top| logprobs::of(model, context.get_logits_ith(at), token, top));
        if let Some(reason) = self.output.push(&bytes, logprob, events) {
            return Ok(Some(self.output.finish(reason, events)));
        }
        if self.generated >= self.prepared.budget {
            return Ok(Some(self.output.finish(SPENT, events)));
        }
        self.next = Some(token);
        Ok(None)
    }
}
