//! Settle and encode: an answer that has begun, on its way to the caller.
//!
//! Same dialect in and out: the provider's bytes are forwarded event by event, and read on the side. Otherwise the
//! deltas are written in the caller's dialect. A call is settled exactly once: done, unfinished, or, when the caller
//! leaves and the relay is dropped, abandoned. Dropping it also ends the call upstream.

use std::sync::Arc;

use bytes::Bytes;
use commonwatt_core::Moment;
use commonwatt_core::admission::CallId;
use commonwatt_core::answer::{Answer, Delta, Usage};
use commonwatt_core::fault::Fault;
use commonwatt_core::fleet::{Deployment, DeploymentId, Tier};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::SessionId;
use commonwatt_upstream::reply::{Content, Frame, Frames, Reply};
use commonwatt_wire::{
    AnswerWriter, Dialect, Head, Keeping, Standing, lost_in, response_in, retell_event, retell_whole, write_whole,
};

use crate::attempt::Won;
use crate::bus::derive::Summary;
use crate::bus::keep::{By, Ending, Keeper};
use crate::detached::{Detach, Follower};
use crate::meters::Outcome;
use crate::request::Underway;
use crate::{Grid, trace};

/// Who answered, for the response's headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The call's id.
    pub call: CallId,
    /// The deployment; nobody yet, where the caller does not wait.
    pub deployment: Option<DeploymentId>,
    /// Its tier.
    pub tier: Option<Tier>,
    /// The session that the call belongs to, where it is kept.
    pub session: Option<SessionId>,
    /// How many attempts it took; none yet, where the caller does not wait.
    pub attempts: u32,
    /// The faults of the attempts before, as `deployment=fault`.
    pub failed: Vec<String>,
    /// Fields of the request that could not be carried.
    pub lossy: Vec<String>,
}

/// An answer.
pub struct Answered {
    /// Who answered.
    pub served: Served,
    /// What.
    pub body: AnswerBody,
}

/// The two shapes of an answer.
pub enum AnswerBody {
    /// Complete.
    Whole(Bytes),
    /// Begun.
    Stream(Box<Relay>),
    /// Begun, and made to its end whoever listens.
    Followed(Follower),
}

/// A streamed answer on its way. Yields bytes in the caller's dialect.
pub struct Relay {
    frames: Box<Frames>,
    encoder: Encoder,
    settlement: Settlement,
    /// The end of an answer that is kept: it is held back until the answer is.
    ending: Option<Vec<u8>>,
    over: bool,
}

enum Encoder {
    /// The caller's dialect is the provider's. The last event that said something may be needed to number another, and
    /// holds the whole answer of Responses at the end, whose events are told what is true here.
    Verbatim { dialect: Dialect, last: Bytes, retold: Option<Box<Head>> },
    /// It is not.
    Translated { writer: Box<AnswerWriter>, out: Vec<u8> },
}

impl Relay {
    /// # Errors
    /// A refusal when the answer is whole and cannot be kept.
    pub(crate) async fn answer(
        grid: Arc<Grid>,
        call: Underway,
        won: Won,
        started: Moment,
    ) -> Result<Answered, Refusal> {
        let Won { deployment, reply: Reply { dialect, mut lossy, content }, attempts, faults, summary } = won;
        lossy.extend_from_slice(&call.lossy);
        // Who does not wait was told an id, which is not the provider's.
        let is_background = matches!(call.detach, Some(Detach::Background { .. }));
        let verbatim = dialect == Some(call.arrival.dialect) && !is_background;
        if let Content::Whole { deltas, .. } = &content
            && !verbatim
        {
            lossy.extend(lost_in(call.arrival.dialect, deltas));
        }
        let failed = faults.iter().map(|(id, fault)| format!("{id}={}", fault.kind)).collect();
        let served = Served {
            call: call.id.clone(),
            deployment: Some(deployment.id.clone()),
            tier: Some(deployment.tier),
            session: call.session().cloned(),
            attempts,
            failed,
            lossy,
        };
        trace::answered(&call.span, &deployment, attempts);
        let mut settlement = Settlement::begun(grid, call, deployment, (dialect, verbatim), started);
        settlement.summary = summary;
        let body = match content {
            Content::Whole { raw, deltas } => {
                AnswerBody::Whole(settlement.whole(verbatim.then_some(raw).flatten(), deltas).await?)
            }
            Content::Stream(frames) => {
                let encoder = if verbatim {
                    Encoder::Verbatim { dialect: settlement.dialect(), last: Bytes::new(), retold: settlement.retold() }
                } else {
                    let writer = Box::new(AnswerWriter::new(settlement.dialect(), settlement.head()));
                    Encoder::Translated { writer, out: Vec::new() }
                };
                AnswerBody::Stream(Box::new(Self { frames, encoder, settlement, ending: None, over: false }))
            }
        };
        Ok(Answered { served, body })
    }

    /// The next bytes for the caller; `None` after the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let bytes = match self.frames.next().await {
                Some(Ok(frame)) => self.forward(frame),
                Some(Err(fault)) => self.break_off(&fault).await,
                None => self.finish().await,
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
        }
        None
    }

    fn forward(&mut self, frame: Frame) -> Bytes {
        self.settlement.note(&frame.deltas);
        if self.settlement.keeper.is_some() && frame.deltas.iter().any(|delta| matches!(delta, Delta::Finished(_))) {
            self.ending.get_or_insert_default();
        }
        let bytes = match &mut self.encoder {
            Encoder::Verbatim { last, retold, .. } => {
                let raw = frame.raw.unwrap_or_default();
                let raw = match retold {
                    Some(head) => retell_event(&raw, head),
                    None => raw,
                };
                if !raw.is_empty() && !raw.starts_with(b":") {
                    *last = raw.clone();
                }
                raw
            }
            Encoder::Translated { writer, out } => {
                frame.deltas.iter().for_each(|delta| writer.write(delta, out));
                Bytes::from(std::mem::take(out))
            }
        };
        match &mut self.ending {
            Some(ending) => {
                ending.extend_from_slice(&bytes);
                Bytes::new()
            }
            None => bytes,
        }
    }

    /// The end leaves once the answer is kept: what a caller saw complete is there after a crash.
    async fn finish(&mut self) -> Bytes {
        let response = match &self.encoder {
            Encoder::Verbatim { last, retold: Some(_), .. } => response_in(last),
            Encoder::Verbatim { .. } | Encoder::Translated { .. } => None,
        };
        if let Err(refusal) = self.settlement.keep(Ending::Complete, response).await {
            return self.refuse(&refusal);
        }
        self.over = true;
        self.settlement.settle(Outcome::Done);
        let mut bytes = self.ending.take().unwrap_or_default();
        if let Encoder::Translated { writer, out } = &mut self.encoder {
            writer.finish(out);
            bytes.append(out);
        }
        Bytes::from(bytes)
    }

    /// The answer broke after content had reached the caller: it is told so, in its dialect, and gets no false end.
    async fn break_off(&mut self, fault: &Fault) -> Bytes {
        let refusal = Refusal::new(RefusalKind::UpstreamFailed, format!("the answer broke off: {fault}"));
        if self.settlement.keeping.background {
            // Whoever is told that it failed finds it so.
            let _kept = self.settlement.keep(Ending::Failed(refusal.clone()), None).await;
        }
        self.settlement.broke_off(fault);
        self.refuse(&refusal)
    }

    /// Its caller does not want it any more: the call upstream ends, and what was said is kept. An answer that has ended
    /// by itself meanwhile stays whole.
    pub(crate) async fn cancel(mut self) -> Bytes {
        let mut out = Vec::new();
        if self.settlement.keeper.is_none() {
            while let Some(bytes) = self.next().await {
                out.extend_from_slice(&bytes);
            }
            return out.into();
        }
        let Self { frames, mut encoder, mut settlement, .. } = self;
        drop(frames);
        let _kept = settlement.keep(Ending::Cancelled, None).await;
        settlement.settle(Outcome::Abandoned);
        if let Encoder::Translated { writer, .. } = &mut encoder {
            writer.end_as(&Standing::Cancelled, &mut out);
        }
        out.into()
    }

    fn refuse(&mut self, refusal: &Refusal) -> Bytes {
        self.over = true;
        let mut out = Vec::new();
        match &mut self.encoder {
            Encoder::Verbatim { dialect, last, .. } => AnswerWriter::refuse_verbatim(*dialect, last, refusal, &mut out),
            Encoder::Translated { writer, .. } if self.settlement.keeping.background => {
                writer.end_as(&Standing::Failed(refusal.clone()), &mut out);
            }
            Encoder::Translated { writer, .. } => writer.refuse(refusal, &mut out),
        }
        Bytes::from(out)
    }
}

/// A call that has content and must be settled once.
struct Settlement {
    grid: Arc<Grid>,
    call: Underway,
    deployment: Arc<Deployment>,
    started: Moment,
    usage: Option<Usage>,
    keeper: Option<Keeper>,
    keeping: Keeping,
    /// What was written for this call, to be kept beside its turns.
    summary: Option<Summary>,
    settled: bool,
}

impl Settlement {
    fn begun(
        grid: Arc<Grid>,
        mut call: Underway,
        deployment: Arc<Deployment>,
        (made_in, is_verbatim): (Option<Dialect>, bool),
        started: Moment,
    ) -> Self {
        if let Some(meter) = call.generation.meters.get(&deployment) {
            meter.began(started.until_ms(grid.now()));
        }
        let by = || By {
            deployment: deployment.id.to_string(),
            model: deployment.model.to_string(),
            dialect: made_in.map_or("", Dialect::word),
            is_verbatim,
        };
        let keeping = call.keeping();
        let keeper = match (call.keeper.take(), grid.bus.clone().zip(call.thread.take())) {
            (Some(keeper), _) => Some(keeper.answered(by(), call.original.as_ref())),
            (None, Some((bus, thread))) => Some(Keeper::begun(bus, thread, &call, by())),
            (None, None) => None,
        };
        Self { grid, call, deployment, started, usage: None, keeper, keeping, summary: None, settled: false }
    }

    /// Keeps the summary that was made for this call, once the turns which it tells of are kept.
    async fn derive(&mut self) {
        if let (Some(bus), Some(summary)) = (&self.grid.bus, self.summary.take())
            && let Some(Summary { session, .. }) = bus.keep_summary(summary).await
        {
            tracing::warn!(%session, "a summary could not be kept: its turns are not");
        }
    }

    fn dialect(&self) -> Dialect {
        self.call.arrival.dialect
    }

    /// What an answer that is written here says of itself.
    fn head(&self) -> Head {
        Head { keeping: self.keeping.clone(), ..self.call.head(&self.deployment.model) }
    }

    /// What a forwarded answer is to tell, where its provider cannot know it.
    fn retold(&self) -> Option<Box<Head>> {
        let is_kept = self.dialect() == Dialect::OpenAiResponses && self.keeper.is_some();
        is_kept.then(|| Box::new(self.head()))
    }

    fn note(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            if let Delta::Usage(usage) = delta {
                self.usage = Some(*usage);
            }
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.note(deltas);
        }
    }

    /// Waits until the answer is kept, as it was forwarded if it was.
    async fn keep(&mut self, ending: Ending, response: Option<Bytes>) -> Result<(), Refusal> {
        let Some(keeper) = self.keeper.take() else { return Ok(()) };
        let kept = keeper.finished(ending, self.usage, self.head(), response).await;
        self.derive().await;
        kept
    }

    async fn whole(mut self, raw: Option<Bytes>, deltas: Vec<Delta>) -> Result<Bytes, Refusal> {
        self.note(&deltas);
        let (raw, response) = match (raw, self.retold()) {
            (Some(raw), Some(head)) => {
                let told = retell_whole(&raw, &head);
                (Some(told.clone()), Some(told))
            }
            (raw, _) => (raw, None),
        };
        self.keep(Ending::Complete, response).await?;
        self.settle(Outcome::Done);
        Ok(raw.unwrap_or_else(|| {
            let mut answer = Answer::default();
            deltas.into_iter().for_each(|delta| answer.push(delta));
            write_whole(self.dialect(), &answer, &self.head()).into()
        }))
    }

    fn broke_off(&mut self, fault: &Fault) {
        tracing::warn!(call = %self.call.id.0, deployment = %self.deployment.id, %fault, "answer broke off");
        self.grid.breakers.failed(&self.deployment, fault, false, self.grid.now());
        if let Some(meter) = self.call.generation.meters.get(&self.deployment) {
            meter.faulted(fault.kind);
        }
        self.settle(Outcome::Unfinished);
    }

    fn settle(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.settled, true) {
            return;
        }
        // Whoever waits for it has taken it; else what there is of the answer is kept as it is.
        if let Some(keeper) = self.keeper.take() {
            drop(keeper.finish(Ending::Unfinished, self.usage, self.head(), None));
        }
        let took_ms = self.started.until_ms(self.grid.now());
        if let Some(meter) = self.call.generation.meters.get(&self.deployment) {
            meter.ended(outcome, took_ms, self.usage.as_ref());
        }
        let error = match outcome {
            Outcome::Done => None,
            Outcome::Unfinished => Some("unfinished"),
            Outcome::Abandoned => Some("abandoned"),
        };
        trace::settled(&self.call.span, self.usage.as_ref(), error);
        tracing::debug!(call = %self.call.id.0, deployment = %self.deployment.id, ?outcome, took_ms, "call settled");
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.settle(Outcome::Abandoned);
    }
}
