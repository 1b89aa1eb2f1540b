//! The one place that knows the names of the OpenTelemetry conventions for generative AI.
//!
//! None of these names is stable yet (status *Development*, no release): they are frozen here as of 2026-07 and
//! changed here only. No prompt and no answer is ever put into a span.

use commonwatt_core::answer::Usage;
use commonwatt_core::fleet::Deployment;
use tracing::Span;
use tracing::field::Empty;

/// The target of the spans of calls: what a collector's filter lets through.
pub const TARGET: &str = "commonwatt::call";

/// The span of a call, from its decoding to its settlement.
pub(crate) fn call_span(call_id: &str, operation: &str, requested_model: &str, stream: bool) -> Span {
    tracing::info_span!(
        target: "commonwatt::call",
        "chat",
        "otel.kind" = "server",
        "otel.name" = operation,
        "gen_ai.operation.name" = operation,
        "gen_ai.request.model" = requested_model,
        "gen_ai.request.stream" = stream,
        "gen_ai.provider.name" = Empty,
        "gen_ai.response.model" = Empty,
        "gen_ai.usage.input_tokens" = Empty,
        "gen_ai.usage.output_tokens" = Empty,
        "error.type" = Empty,
        "commonwatt.call.id" = call_id,
        "commonwatt.tier" = Empty,
        "commonwatt.attempts" = Empty,
    )
}

/// Who answered.
pub(crate) fn answered(span: &Span, deployment: &Deployment, attempts: u32) {
    span.record("gen_ai.provider.name", &*deployment.provider);
    span.record("gen_ai.response.model", &*deployment.model);
    span.record("commonwatt.tier", deployment.tier.word());
    span.record("commonwatt.attempts", attempts);
}

/// How it ended.
pub(crate) fn settled(span: &Span, usage: Option<&Usage>, error: Option<&str>) {
    if let Some(usage) = usage {
        span.record("gen_ai.usage.input_tokens", usage.prompt());
        span.record("gen_ai.usage.output_tokens", usage.output);
    }
    if let Some(error) = error {
        span.record("error.type", error);
    }
}
