//! What is no conversation: embeddings and reranking. Small exchanges, never streamed; the answer is given in the
//! caller's dialect.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use commonwatt_core::answer::{Delta, Finish, Usage};
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_wire::{
    Dialect, EmbedCall, EmbedDialect, Embedded, RerankCall, encode_embed, read_embed, read_rerank, write_embed,
};
use http::Uri;
use tokio::time::Instant;

use crate::Order;
use crate::alarm::Alarm;
use crate::http::{HttpTarget, check_status, collect, untranslatable};
use crate::pieces::Pieces;
use crate::reply::{Content, Reply};
use crate::way::{Verb, Way};

/// The longest list of vectors: 2,048 of 4,096 numbers in JSON.
const VECTORS_BYTES_MAX: usize = 192 << 20;

/// Where a provider takes texts, and in which dialect.
#[derive(Debug)]
enum Embeds {
    /// At one address for all models.
    At(EmbedDialect, Uri),
    /// At the address of each model.
    OfModel(EmbedDialect),
}

/// Where a provider takes what is no conversation.
#[derive(Debug, Default)]
pub(crate) struct Besides {
    embed: Option<Embeds>,
    rerank: Option<Uri>,
}

impl Besides {
    /// The addresses beside that of the provider's dialect.
    pub(crate) fn of(dialect: Dialect, base_url: &str) -> Self {
        let base = base_url.trim_end_matches('/');
        let at = |path: &str| format!("{base}{path}").parse::<Uri>().ok();
        match dialect {
            Dialect::OpenAiChat | Dialect::OpenAiResponses | Dialect::OpenAiCompletions => Self {
                embed: at("/embeddings").map(|uri| Embeds::At(EmbedDialect::OpenAi, uri)),
                rerank: at("/rerank"),
            },
            Dialect::OllamaChat | Dialect::OllamaGenerate => {
                Self { embed: at("/api/embed").map(|uri| Embeds::At(EmbedDialect::Ollama, uri)), rerank: None }
            }
            Dialect::Gemini => Self { embed: Some(Embeds::OfModel(EmbedDialect::Gemini)), rerank: None },
            Dialect::AnthropicMessages => Self::default(),
        }
    }
}

impl HttpTarget {
    /// Vectors for texts.
    pub(crate) async fn embed(&self, model: &str, order: &Order<'_>, call: &EmbedCall) -> Result<Reply, Fault> {
        let unable = || Fault::new(FaultKind::ModelNotFound, "this provider makes no embeddings");
        let (dialect, uri) = match self.besides.embed.as_ref().ok_or_else(unable)? {
            Embeds::At(dialect, uri) => (*dialect, Cow::Borrowed(uri)),
            Embeds::OfModel(dialect) => (*dialect, Cow::Owned(self.main.uri(model, Verb::Embed)?)),
        };
        let (body, lossy) = if dialect == call.dialect && dialect.is_forwarded() {
            (call.adapted(&order.body.bytes().await?, model), Vec::new())
        } else {
            let encoded = encode_embed(dialect, call, model).map_err(|error| untranslatable(&error))?;
            (vec![encoded.body], encoded.lossy)
        };
        let raw = self.asked((&self.main, &uri), body.into(), order).await?;
        let embedded = read_embed(dialect, &raw)?;
        embedded.answers(call)?;
        let told = if dialect == call.dialect { raw } else { write_embed(call.dialect, &embedded, call).into() };
        Ok(reply(order, told, lossy, &embedded))
    }

    /// Documents in the order of their relevance.
    pub(crate) async fn rerank(&self, model: &str, order: &Order<'_>, call: &RerankCall) -> Result<Reply, Fault> {
        let unable = || Fault::new(FaultKind::ModelNotFound, "this provider does not rerank");
        let uri = self.besides.rerank.as_ref().ok_or_else(unable)?;
        let body = call.adapted(&order.body.bytes().await?, model);
        let raw = self.asked((&self.main, uri), body.into(), order).await?;
        read_rerank(&raw)?;
        Ok(reply(order, raw, Vec::new(), &Embedded { vectors: Vec::new(), prompt_tokens: 0, model: model.to_owned() }))
    }

    async fn asked(&self, to: (&Way, &Uri), body: Pieces, order: &Order<'_>) -> Result<Bytes, Fault> {
        let patience = self.patience(&order.envelope.needs);
        let ends = Instant::now() + Duration::from_millis(patience.total_ms);
        let (mut alarm, dialect) = (Alarm::default(), to.0.dialect);
        let response = self.send(to, body, order, (patience.headers_ms, &mut alarm)).await?;
        let response = check_status(dialect, response).await?;
        let idle = Duration::from_millis(patience.idle_ms);
        collect(ends, response.into_body(), VECTORS_BYTES_MAX, idle, &mut alarm).await
    }
}

/// A whole answer whose bytes are in the caller's dialect.
pub(crate) fn reply(order: &Order<'_>, raw: Bytes, lossy: Vec<String>, embedded: &Embedded) -> Reply {
    let usage = Usage { input: embedded.prompt_tokens, ..Usage::default() };
    let started = Delta::Started { id: String::new(), model: embedded.model.clone() };
    let deltas = vec![started, Delta::Finished(Finish::Stop), Delta::Usage(usage)];
    Reply { dialect: Some(order.dialect), lossy, content: Content::Whole { raw: Some(raw), deltas } }
}
