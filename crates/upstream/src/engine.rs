//! The built-in engine as one more deployment: canonical calls in, deltas out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use commonwatt_core::answer::{Delta, Finish, Usage};
use commonwatt_core::call::{Call, Format, RawJson, ReasoningWish, Sampling, ToolChoice};
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_core::patience::Patience;
use commonwatt_engine::{
    ChatRequest, ChatStream, Event, Fault as EngineFault, FinishReason, Model, ResponseFormat, State, TokenLogprob,
};
use commonwatt_wire::{EmbedCall, Embedded, write_embed};
use tokio::time::{Instant, timeout_at};

use crate::Order;
use crate::reply::{Content, Frame, Frames, Reply, Source};
use crate::vectors::reply;

/// Numbers the answers of the engine, which have no other name.
static ANSWERS: AtomicU64 = AtomicU64::new(1);

/// The way to one local model.
#[derive(Clone)]
pub struct EngineTarget {
    model: Model,
    timeouts: Patience,
}

impl EngineTarget {
    /// The way to this model.
    #[must_use]
    pub fn new(model: Model, timeouts: Patience) -> Self {
        Self { model, timeouts }
    }

    /// What the child process is doing, for people.
    #[must_use]
    pub fn state(&self) -> String {
        match self.model.state() {
            State::Idle => "ready, loads on the first call".to_owned(),
            State::Starting => "loading".to_owned(),
            State::Ready(_) => "loaded".to_owned(),
            State::Resting { reason, .. } => format!("restarting ({reason})"),
        }
    }

    pub(crate) async fn dispatch(&self, order: &Order<'_>) -> Result<Reply, Fault> {
        let call = order.call().await?;
        let (request, lossy) = request(&call)?;
        let patience = self.timeouts.for_call(&order.envelope.needs);
        let ends = Instant::now() + Duration::from_millis(patience.total_ms);
        let started = Instant::now() + Duration::from_millis(patience.headers_ms);
        let late = |_| Fault::new(FaultKind::HeadersTimeout, "the local model did not begin in time");
        let stream =
            timeout_at(started, self.model.chat(request)).await.map_err(late)?.map_err(|error| fault(&error))?;
        let name = Arc::from(self.model.name());
        let mut source = EngineStream { stream, name, patience, ends, usage: Usage::default() };
        let content = if call.stream {
            Content::Stream(Box::new(Frames::begin(Source::Engine(source)).await?))
        } else {
            let mut deltas = Vec::new();
            while let Some(frame) = source.next().await {
                deltas.extend(frame?.deltas);
            }
            Content::Whole { raw: None, deltas }
        };
        Ok(Reply { dialect: None, lossy, content })
    }

    pub(crate) async fn embed(&self, order: &Order<'_>, call: &EmbedCall) -> Result<Reply, Fault> {
        if call.token_inputs > 0 {
            return Err(Fault::new(FaultKind::Untranslatable, "these token ids are of another model: send the texts"));
        }
        let texts = call.inputs.iter().map(|text| text.as_str().into_owned()).collect();
        let patience = self.timeouts.for_call(&order.envelope.needs);
        let ends = Instant::now() + Duration::from_millis(patience.total_ms);
        let late = |_| Fault::new(FaultKind::TotalTimeout, "the local model did not embed in time");
        let vectors = timeout_at(ends, self.model.embed(texts)).await.map_err(late)?.map_err(|error| fault(&error))?;
        let mut lossy = call.beside();
        if call.dimensions.is_some() {
            lossy.push("dimensions".to_owned());
        }
        let embedded = Embedded {
            vectors: vectors.vectors,
            prompt_tokens: u64::from(vectors.prompt_tokens),
            model: self.model.name().to_owned(),
        };
        Ok(reply(order, write_embed(call.dialect, &embedded, call).into(), lossy, &embedded))
    }

    pub(crate) async fn count_tokens(&self, order: &Order<'_>) -> Result<u64, Fault> {
        let call = order.call().await?;
        let (request, _) = request(&call)?;
        self.model.count_tokens(&request).await.map(u64::from).map_err(|error| fault(&error))
    }
}

/// The events of an answer as frames.
pub(crate) struct EngineStream {
    stream: ChatStream,
    name: Arc<str>,
    patience: Patience,
    ends: Instant,
    usage: Usage,
}

impl EngineStream {
    pub(crate) async fn next(&mut self) -> Option<Result<Frame, Fault>> {
        let idle_by = Instant::now() + Duration::from_millis(self.patience.first_content_ms.max(self.patience.idle_ms));
        let event = match timeout_at(idle_by.min(self.ends), self.stream.next()).await {
            Err(_) => return Some(Err(Fault::new(FaultKind::IdleTimeout, "the local model stalled"))),
            Ok(event) => event?,
        };
        Some(event.map(|event| Frame { raw: None, deltas: self.deltas(event) }).map_err(|error| fault(&error)))
    }

    fn deltas(&mut self, event: Event) -> Vec<Delta> {
        match event {
            Event::Started { prompt_tokens, cached_tokens } => {
                let id = format!("engine-{}", ANSWERS.fetch_add(1, Ordering::Relaxed));
                let cache_read = u64::from(cached_tokens);
                let input = u64::from(prompt_tokens).saturating_sub(cache_read);
                self.usage = Usage { input, cache_read, ..Usage::default() };
                vec![Delta::Started { id, model: self.name.to_string() }, Delta::Usage(self.usage)]
            }
            Event::Text { text, logprobs } if logprobs.is_empty() => vec![Delta::Text(text)],
            Event::Text { text, logprobs } => vec![Delta::Text(text), Delta::Logprobs(logprobs_json(&logprobs))],
            Event::Reasoning(text) => vec![Delta::Reasoning(text)],
            Event::ToolCallStart { index, id, name } => vec![Delta::ToolCallStarted { index, id, name }],
            Event::ToolCallArguments { index, fragment } => vec![Delta::ToolCallArguments { index, fragment }],
            Event::Finished { reason, completion_tokens } => {
                self.usage.output = u64::from(completion_tokens);
                let finish = match reason {
                    FinishReason::Stop => Finish::Stop,
                    FinishReason::StopString(stop) => Finish::StopString(Some(stop)),
                    FinishReason::Length => Finish::Length,
                    FinishReason::ToolCalls => Finish::ToolCalls,
                };
                vec![Delta::Finished(finish), Delta::Usage(self.usage)]
            }
        }
    }
}

/// The engine's request for a call, and what of the call it cannot honour.
fn request(call: &Call) -> Result<(ChatRequest, Vec<String>), Fault> {
    let chat = commonwatt_wire::engine_messages(call)
        .map_err(|error| Fault::new(FaultKind::Untranslatable, error.to_string()))?;
    let mut lossy = chat.lossy;
    let sampling = sampling(&call.sampling, &mut lossy)?;
    let request = ChatRequest {
        messages_json: chat.messages_json,
        tools_json: chat.tools_json,
        tool_choice: match &call.tool_choice {
            None | Some(ToolChoice::Auto) => commonwatt_engine::ToolChoice::Auto,
            Some(ToolChoice::None) => commonwatt_engine::ToolChoice::None,
            Some(ToolChoice::Required) => commonwatt_engine::ToolChoice::Required,
            Some(ToolChoice::Named(name)) => commonwatt_engine::ToolChoice::Named(name.clone()),
        },
        parallel_tool_calls: call.parallel_tool_calls.unwrap_or(true),
        response_format: match &call.format {
            Format::Text => ResponseFormat::Free,
            Format::JsonObject => ResponseFormat::JsonObject,
            Format::JsonSchema { schema, .. } => ResponseFormat::JsonSchema(schema.as_str().to_owned()),
        },
        sampling,
        max_tokens: call.max_output_tokens,
        stop: call.stop.clone(),
        logprobs: call.sampling.logprobs,
        enable_thinking: match &call.reasoning {
            None | Some(ReasoningWish::Auto) => None,
            Some(ReasoningWish::Off) => Some(false),
            Some(ReasoningWish::Effort(_) | ReasoningWish::BudgetTokens(_)) => Some(true),
        },
        continue_assistant: false,
    };
    Ok((request, lossy))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "sampling parameters are small numbers; the engine computes in f32"
)]
fn sampling(wish: &Sampling, lossy: &mut Vec<String>) -> Result<commonwatt_engine::Sampling, Fault> {
    if wish.choices.is_some_and(|n| n > 1) {
        lossy.push("n".to_owned());
    }
    Ok(commonwatt_engine::Sampling {
        temperature: wish.temperature.map(|value| value as f32),
        top_p: wish.top_p.map(|value| value as f32),
        top_k: wish.top_k,
        min_p: None,
        presence_penalty: wish.presence_penalty.map(|value| value as f32),
        frequency_penalty: wish.frequency_penalty.map(|value| value as f32),
        repeat_penalty: None,
        seed: wish.seed.map(|seed| (seed as u64 ^ (seed as u64 >> 32)) as u32),
        logit_bias: wish.logit_bias.as_ref().map(logit_bias).transpose()?.unwrap_or_default(),
    })
}

fn logit_bias(raw: &RawJson) -> Result<Vec<(i32, f32)>, Fault> {
    let wrong = || Fault::new(FaultKind::BadRequest, "`logit_bias` must map token ids to numbers");
    let map: std::collections::BTreeMap<String, f32> = serde_json::from_slice(&raw.0).map_err(|_| wrong())?;
    map.into_iter().map(|(token, bias)| Ok((token.parse().map_err(|_| wrong())?, bias))).collect()
}

/// Log probabilities in OpenAI's shape: the value of `logprobs.content`.
fn logprobs_json(tokens: &[TokenLogprob]) -> RawJson {
    let entry = |token: &str, bytes: &[u8], logprob: f32| serde_json::json!({ "token": token, "logprob": logprob, "bytes": bytes });
    let content: Vec<serde_json::Value> = tokens
        .iter()
        .map(|token| {
            let mut value = entry(&token.token, &token.bytes, token.logprob);
            let top = token.top.iter().map(|top| entry(&top.token, &top.bytes, top.logprob)).collect();
            if let Some(object) = value.as_object_mut() {
                object.insert("top_logprobs".to_owned(), serde_json::Value::Array(top));
            }
            value
        })
        .collect();
    RawJson(serde_json::Value::Array(content).to_string().into())
}

fn fault(fault: &EngineFault) -> Fault {
    let retry_after_ms = match fault {
        EngineFault::Restarting { retry_after } => u64::try_from(retry_after.as_millis()).ok(),
        EngineFault::Busy { .. } => Some(1_000),
        EngineFault::NoEngine { .. }
        | EngineFault::Unsupported { .. }
        | EngineFault::BadRequest { .. }
        | EngineFault::ContextOverflow { .. }
        | EngineFault::LoadFailed { .. }
        | EngineFault::Crashed { .. }
        | EngineFault::Hung { .. }
        | EngineFault::Generation { .. }
        | EngineFault::Unloaded => None,
    };
    let kind = match fault {
        EngineFault::BadRequest { .. } => FaultKind::BadRequest,
        EngineFault::Unsupported { .. } => FaultKind::Untranslatable,
        EngineFault::ContextOverflow { .. } => FaultKind::ContextOverflow,
        EngineFault::Busy { .. } => FaultKind::EngineBusy,
        EngineFault::NoEngine { .. }
        | EngineFault::LoadFailed { .. }
        | EngineFault::Restarting { .. }
        | EngineFault::Crashed { .. }
        | EngineFault::Hung { .. }
        | EngineFault::Generation { .. }
        | EngineFault::Unloaded => FaultKind::Engine,
    };
    Fault { kind, message: fault.to_string(), retry_after_ms }
}
