//! Vectors of texts, one text at a time between the steps of the chats.

use std::num::NonZeroU32;

use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::context::params::{LlamaContextParams, LlamaPoolingType};
use llama_cpp_4::llama_batch::LlamaBatch;
use llama_cpp_4::token::LlamaToken;

use super::load::Loaded;
use crate::fault::Fault;

/// Makes vectors. Its context is made with the first text and grows with the longest one so far.
pub(super) struct Embedder<'a> {
    loaded: &'a Loaded,
    threads: i32,
    window: u32,
    context: Option<LlamaContext<'a>>,
}

impl<'a> Embedder<'a> {
    pub(super) fn new(loaded: &'a Loaded, threads: u32, window: u32) -> Self {
        Self { loaded, threads: i32::try_from(threads).unwrap_or(1), window, context: None }
    }

    /// The pooled vector of one text, of length one.
    ///
    /// # Errors
    /// [`Fault::Unsupported`] for a model that has none.
    pub(super) fn embed(&mut self, tokens: &[LlamaToken]) -> Result<Vec<f32>, Fault> {
        let failed = |what: String| Fault::Generation { reason: what };
        let context = self.context(tokens.len())?;
        let mut batch = LlamaBatch::new(tokens.len(), 1);
        for (position, token) in (0..).zip(tokens) {
            batch.add(*token, position, &[0], true).map_err(|e| failed(e.to_string()))?;
        }
        context.clear_kv_cache();
        context.decode(&mut batch).map_err(|e| failed(e.to_string()))?;
        let vector = context
            .embeddings_seq_ith(0)
            .map_err(|_| Fault::Unsupported { what: "this model makes no embeddings".to_owned() })?;
        Ok(normal(vector))
    }

    /// A pooled text must fit into one batch, so the context is as long as the longest text; powers of two, so that it
    /// rarely has to be made again.
    fn context(&mut self, length: usize) -> Result<&mut LlamaContext<'a>, Fault> {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        if self.context.as_ref().is_none_or(|context| context.n_ctx() < length) {
            self.context = None;
            let size = length.next_power_of_two().max(512).min(self.window.max(length));
            self.context = Some(self.make(size)?);
        }
        self.context.as_mut().ok_or_else(|| Fault::Generation { reason: "there is no context".to_owned() })
    }

    fn make(&self, size: u32) -> Result<LlamaContext<'a>, Fault> {
        let params = |pooling: LlamaPoolingType| {
            LlamaContextParams::default()
                .with_n_ctx(NonZeroU32::new(size))
                .with_n_batch(size)
                .with_n_ubatch(size)
                .with_n_seq_max(1)
                .with_n_threads(self.threads)
                .with_n_threads_batch(self.threads)
                .with_embeddings(true)
                .with_pooling_type(pooling)
                .with_no_perf(true)
        };
        let memory = |_| Fault::Generation { reason: "there is not enough memory for embeddings".to_owned() };
        let make = |pooling| self.loaded.model.new_context(&self.loaded.backend, params(pooling)).map_err(memory);
        let context = make(LlamaPoolingType::Unspecified)?;
        // Chat models say nothing about pooling; the mean of all tokens is the usual choice.
        if context.pooling_type() == LlamaPoolingType::None { make(LlamaPoolingType::Mean) } else { Ok(context) }
    }
}

fn normal(vector: &[f32]) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 { vector.iter().map(|x| x / length).collect() } else { vector.to_vec() }
}
