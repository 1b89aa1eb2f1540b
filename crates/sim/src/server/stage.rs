//! What the connections of a simulator share: script, limits, memory of what was received.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, request};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::chance::{Chance, digest};
use crate::dialect::{Denial, Dialect, Framing, Rules};
use crate::fault::{Directive, Fault, FaultError, draw};
use crate::ledger::{Ending, Ledger, Outcome, Planned, Received};
use crate::peek::Peek;
use crate::performance::{Cue, Performance, denied, perform_with};
use crate::quota::{Left, Limit, Quota};
use crate::route::{Address, Errand, Route};
use crate::script::{Progress, Script};
use crate::settings::{AnswerSettings, Settings};

/// Canned answers that are kept; one for each combination of model, streaming and prompt length.
const MOST_CANNED: usize = 64;

/// What the connections share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) settings: Settings,
    started: Instant,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    script: Script,
    progress: Progress,
    quota: Quota,
    ledger: Ledger,
    /// Requests so far, of every kind.
    arrivals: u64,
    /// Calls for an answer so far.
    calls: u64,
    /// Counts resets, so that what arrived before one is not mistaken for what arrived after.
    epoch: u64,
    canned: HashMap<CannedKey, Performance>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CannedKey {
    dialect: Dialect,
    model: String,
    stream: bool,
    include_usage: bool,
    prompt_tokens: usize,
}

/// One request from its arrival to its end, which is when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    stage: Arc<Stage>,
    number: u64,
    epoch: u64,
    pub(super) outcome: Outcome,
    pub(super) chunks_sent: u64,
}

/// A request that passed the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) head: &'a request::Parts,
    pub(super) body: &'a [u8],
    pub(super) route: Route<'a>,
    /// The body's top level, if it is a call for an answer; with what the path says instead.
    pub(super) peek: Peek<'a>,
}

/// What is to happen to a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    pub(super) faults: Vec<Fault>,
    pub(super) answer: Option<AnswerSettings>,
    pub(super) call: u64,
}

impl Stage {
    pub(super) fn new(settings: Settings) -> Arc<Self> {
        let state = Mutex::new(State::new(&settings));
        Arc::new(Self { settings, started: Instant::now(), state, changed: Notify::new() })
    }

    /// Forgets everything that was received; script and limits are as at the start.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        let epoch = state.epoch + 1;
        *state = State { epoch, ..State::new(&self.settings) };
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn replace_script(&self, script: Script) -> Result<(), FaultError> {
        script.check()?;
        let mut state = self.state();
        state.script = script;
        state.progress = Progress::default();
        Ok(())
    }

    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(super) fn requests(&self) -> Vec<Received> {
        self.state().ledger.all()
    }

    /// Waits until what was received satisfies `enough`.
    pub(super) async fn wait_for(&self, enough: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let requests = self.requests();
            if enough(&requests) {
                return requests;
            }
            changed.await;
        }
    }

    /// Takes note of a request.
    pub(super) fn arrived(self: &Arc<Self>, head: &request::Parts) -> Entry {
        let mut state = self.state();
        state.arrivals += 1;
        let (number, epoch) = (state.arrivals, state.epoch);
        if self.settings.record {
            let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            state.ledger.push(Received {
                number,
                method: head.method.to_string(),
                path: head.uri.to_string(),
                headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
                body: Bytes::new(),
                faults: Vec::new(),
                window: None,
                status: None,
                outcome: Outcome::Playing,
                chunks_sent: 0,
                arrived_ms: self.now_ms(),
                ended_ms: None,
            });
        }
        drop(state);
        Entry { stage: Arc::clone(self), number, epoch, outcome: Outcome::ClientLeft, chunks_sent: 0 }
    }

    /// Takes a call into the limits; `prompt_tokens` are known, those of the answer are [charged](Self::charge) later.
    pub(super) fn admit(&self, prompt_tokens: u64) -> Result<(), Denial> {
        let exhausted = match self.state().quota.admit(self.started.elapsed(), prompt_tokens) {
            Ok(()) => return Ok(()),
            Err(exhausted) => exhausted,
        };
        let (what, limit, seconds) = (exhausted.what, exhausted.limit, exhausted.retry_after_s);
        let message = format!("Rate limit reached: {limit} {what} per minute. Please try again in {seconds}s.");
        Err(Denial { retry_after_s: Some(seconds), ..Denial::new(429, message).with_code("rate_limit_exceeded") })
    }

    pub(super) fn charge(&self, tokens: u64) {
        self.state().quota.charge(self.started.elapsed(), tokens);
    }

    /// The headers that tell the caller what is left of the limits.
    pub(super) fn limit_headers(&self, dialect: Dialect) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if self.settings.requests_per_minute.is_none() && self.settings.tokens_per_minute.is_none() {
            return headers;
        }
        let Left { requests, tokens } = self.state().quota.left();
        let names = match dialect {
            Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => return headers,
            Dialect::ChatCompletions | Dialect::Responses | Dialect::Completions => [
                ("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
                ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens"),
            ],
            Dialect::Messages => [
                ("anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining"),
                ("anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining"),
            ],
        };
        for ((limit_name, remaining_name), left) in names.into_iter().zip([requests, tokens]) {
            if let Some(Limit { limit, remaining }) = left {
                headers.insert(HeaderName::from_static(limit_name), HeaderValue::from(limit));
                headers.insert(HeaderName::from_static(remaining_name), HeaderValue::from(remaining));
            }
        }
        headers
    }

    /// Decides what happens to a request: by its header, else its directive, else the script, else by chance.
    pub(super) fn plan(&self, question: &Question<'_>) -> Result<Plan, FaultError> {
        let is_call = question.is_call();
        let call = {
            let mut state = self.state();
            state.calls += u64::from(is_call);
            state.calls
        };
        if let Some(words) = question.head.headers.get("x-sim-fault") {
            let Directive { faults, answer } = String::from_utf8_lossy(words.as_bytes()).parse()?;
            return Ok(Plan { faults, answer, call });
        }
        if let Some(directive) = self.directive(question) {
            let Directive { faults, answer } = directive?;
            return Ok(Plan { faults, answer, call });
        }
        let mut state = self.state();
        let State { script, progress, .. } = &mut *state;
        if !script.steps.is_empty() {
            let model = question.peek.model.unwrap_or_default();
            if let Some(step) = progress.take(script, question.head.uri.path(), model, is_call) {
                return Ok(Plan { faults: step.faults.clone(), answer: step.answer.clone(), call });
            }
        }
        drop(state);
        let faults = if is_call { self.by_chance(call).into_iter().collect() } else { Vec::new() };
        Ok(Plan { faults, answer: None, call })
    }

    /// What is done for a call for an answer.
    pub(super) fn perform(&self, question: &Question<'_>, plan: &Plan) -> Performance {
        let Route { dialect, address, .. } = question.route;
        let cue = Cue { dialect, body: question.body, settings: &self.settings, faults: &plan.faults, call: plan.call };
        let answer = plan.answer.as_ref().unwrap_or(&self.settings.answer);
        let plain = self.settings.canned && plan.faults.is_empty() && plan.answer.is_none();
        let Some(key) = plain.then_some(question.peek).and_then(|peek| CannedKey::new(dialect, &peek)) else {
            return perform_with(&cue, answer, address);
        };
        if let Some(performance) = self.state().canned.get(&key) {
            return performance.clone();
        }
        let performance = perform_with(&cue, answer, address);
        if performance.tokens() > 0 {
            let mut state = self.state();
            if state.canned.len() >= MOST_CANNED {
                state.canned.clear();
            }
            state.canned.insert(key, performance.clone());
        }
        performance
    }

    /// The refusal of a call whose header or directive is not understood.
    pub(super) fn misunderstood(dialect: Dialect, error: &FaultError) -> Performance {
        denied(dialect, &Denial::new(400, error.to_string()).with_code("sim_directive"))
    }

    fn directive(&self, question: &Question<'_>) -> Option<Result<Directive, FaultError>> {
        let Question { body, route: Route { dialect, address, .. }, .. } = *question;
        let settings = &self.settings;
        if !question.is_call() || !settings.directives || settings.canned {
            return None;
        }
        str::from_utf8(body).ok().filter(|text| text.contains("[[sim:"))?;
        let asked = dialect.decode(body, self.rules(address)).ok()?;
        Directive::within(asked.last_user_text()?)
    }

    /// What a request to `address` is checked against.
    pub(super) fn rules<'a>(&'a self, address: Address<'a>) -> Rules<'a> {
        Rules { seed: self.settings.seed, answer: &self.settings.answer, address }
    }

    fn by_chance(&self, call: u64) -> Option<Fault> {
        let Settings { seed, error_rate, chaos_rate, .. } = self.settings;
        if error_rate == 0.0 && chaos_rate == 0.0 {
            return None;
        }
        let mut chance = Chance::new(digest([seed.to_le_bytes().as_slice(), b"rates", &call.to_le_bytes()]));
        if chance.fraction() < error_rate {
            let status = chance.pick(&[429, 500, 502, 503, 529]);
            return Some(Fault::Status { status, retry_after_s: None, message: None, code: None });
        }
        (chance.fraction() < chaos_rate).then(|| draw(&mut chance))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can fail runs under the lock, so a poisoned state is still a good one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new(settings: &Settings) -> Self {
        Self {
            script: settings.script.clone(),
            progress: Progress::default(),
            quota: Quota::new(settings.requests_per_minute, settings.tokens_per_minute),
            ledger: Ledger::default(),
            arrivals: 0,
            calls: 0,
            epoch: 0,
            canned: HashMap::new(),
        }
    }
}

impl Question<'_> {
    /// Whether an answer of the model is wanted.
    pub(super) fn is_call(&self) -> bool {
        self.route.errand == Some(Errand::Answer)
    }
}

impl CannedKey {
    fn new(dialect: Dialect, peek: &Peek<'_>) -> Option<Self> {
        Some(Self {
            dialect,
            model: peek.model?.to_owned(),
            stream: peek.stream.unwrap_or(dialect.framing() == Framing::Lines),
            include_usage: peek.include_usage,
            prompt_tokens: peek.prompt_tokens(),
        })
    }
}

impl Entry {
    pub(super) fn body(&self, body: Bytes) {
        self.note(|ledger| ledger.set_body(self.number, body));
    }

    pub(super) fn plan(&self, faults: &[Fault], performance: &Performance) {
        let status = performance.status().map(|status| status.as_u16());
        let planned = Planned { status, window: performance.window() };
        self.note(|ledger| ledger.set_plan(self.number, faults, planned));
    }

    fn note(&self, note: impl FnOnce(&mut Ledger)) {
        if !self.stage.settings.record {
            return;
        }
        let mut state = self.stage.state();
        if state.epoch == self.epoch {
            note(&mut state.ledger);
        }
        drop(state);
        self.stage.changed.notify_waiters();
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ended_ms = self.stage.now_ms();
        let ending = Ending { outcome: self.outcome, chunks_sent: self.chunks_sent, ended_ms };
        self.note(|ledger| ledger.end(self.number, ending));
    }
}
