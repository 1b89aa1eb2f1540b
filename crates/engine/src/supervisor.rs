//! The parent's side of one model: starts its child, feeds it, watches it, buries it.
//!
//! Knows processes, pauses and time limits. Does not know what models are. One task owns everything; handles send it
//! orders, the child's tasks send it happenings, and it never waits for either.
//!
//! ```text
//! Idle ── call ──▶ Starting ── ready ──▶ Ready ── idle for long ──▶ Idle
//!                     │                    │
//!                     └────── ended ◀──────┘
//!                               ▼
//!                            Resting ── pause over, call waits ──▶ Starting
//! ```

mod link;
pub(crate) mod spawner;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use crate::engine::{Report, State};
use crate::fault::Fault;
use crate::machine;
use crate::protocol::{FromChild, Load, Ready, Source, ToChild};
use crate::request::{ChatRequest, Event};
use crate::settings::Settings;
use link::{Happening, Link};
use spawner::Spawner;

/// First pause after a crash; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A call waits for a restart that comes this soon; later ones fail at once, so that the caller can go elsewhere.
const PATIENCE: Duration = Duration::from_secs(2);

/// From handles to the supervisor.
#[derive(Debug)]
pub(crate) enum Order {
    Call(Call),
    Cancel(u64),
    Warm(oneshot::Sender<Result<Ready, Fault>>),
    Unload(oneshot::Sender<()>),
}

/// One call on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) work: Work,
    pub(crate) reply: mpsc::UnboundedSender<Result<Answer, Fault>>,
    /// Whether the child has it.
    pub(crate) sent: bool,
    /// Its place among the calls that may run or wait; free again when the call is dropped.
    #[expect(dead_code, reason = "held for its drop")]
    pub(crate) seat: OwnedSemaphorePermit,
}

/// What a call wants.
#[derive(Debug)]
pub(crate) enum Work {
    Chat(Box<ChatRequest>),
    Embed(Vec<String>),
    Count(Box<ChatRequest>),
    /// It was sent to the child.
    Sent,
}

/// What a call gets.
#[derive(Debug)]
pub(crate) enum Answer {
    Event(Event),
    Vector(Vec<f32>),
    Embedded(u32),
    Counted(u32),
}

/// What handles can read without asking.
#[derive(Debug)]
pub(crate) struct Shared {
    name: String,
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Status {
    state: State,
    pid: Option<u32>,
    starts: u64,
    last_failure: Option<String>,
}

impl Shared {
    pub(crate) fn new(name: String) -> Self {
        let status = Status { state: State::Idle, pid: None, starts: 0, last_failure: None };
        Self { name, status: Mutex::new(status) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn state(&self) -> State {
        self.with(|status| status.state.clone())
    }

    pub(crate) fn report(&self, calls: u32) -> Report {
        self.with(|status| Report {
            state: status.state.clone(),
            pid: status.pid,
            resident_bytes: status.pid.and_then(machine::resident_bytes),
            calls,
            starts: status.starts,
            last_failure: status.last_failure.clone(),
        })
    }

    /// Nothing that runs under the lock can panic, so a poisoned one is as good as any.
    fn with<T>(&self, look: impl FnOnce(&mut Status) -> T) -> T {
        look(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Owns one model's child.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shared: Arc<Shared>,
    settings: Settings,
    source: Source,
    spawner: Arc<Spawner>,
    phase: Phase,
    calls: BTreeMap<u64, Call>,
    warming: Vec<oneshot::Sender<Result<Ready, Fault>>>,
    unloading: Vec<oneshot::Sender<()>>,
    /// Ends in a row without a finished call between them.
    failures: u32,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Resting { until: Instant, fault: Fault },
    Running(Running),
}

#[derive(Debug)]
struct Running {
    link: Link,
    started: Instant,
    ready: Option<Ready>,
    /// The last frame from the child, or the last frame to a child that had nothing to do.
    heard: Instant,
    /// Since when there is no call.
    free_since: Instant,
    /// Why it was killed.
    doomed: Option<Doom>,
    /// What the child said about a failed load.
    load_failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doom {
    Unload,
    Hung,
    SlowLoad,
    Broken,
}

impl Supervisor {
    pub(crate) fn new(shared: Arc<Shared>, settings: Settings, source: Source, spawner: Arc<Spawner>) -> Self {
        Self {
            shared,
            settings,
            source,
            spawner,
            phase: Phase::Idle,
            calls: BTreeMap::new(),
            warming: Vec::new(),
            unloading: Vec::new(),
            failures: 0,
        }
    }

    /// Runs until the last handle is gone; the child ends with it.
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            self.start_if_wanted().await;
            let deadline = self.deadline();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => return,
                },
                happening = happening(&mut self.phase) => self.note(happening),
                () = sleep_until(deadline) => self.tick(),
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Call(call) => self.accept(call),
            Order::Cancel(id) => self.cancel(id),
            Order::Warm(done) => self.warm(done),
            Order::Unload(done) => {
                self.unloading.push(done);
                self.unload();
            }
        }
    }

    fn warm(&mut self, done: oneshot::Sender<Result<Ready, Fault>>) {
        let known = match &self.phase {
            Phase::Running(Running { ready: Some(ready), doomed: None, .. }) => Some(Ok(ready.clone())),
            Phase::Running(_) | Phase::Idle | Phase::Resting { .. } => self.refusal().map(Err),
        };
        match known {
            // Whoever asked may have left.
            Some(known) => drop(done.send(known)),
            None => self.warming.push(done),
        }
    }

    fn unload(&mut self) {
        if matches!(self.phase, Phase::Running(_)) {
            return self.doom(Doom::Unload);
        }
        for done in self.unloading.drain(..) {
            let _ = done.send(());
        }
    }

    /// Why a call cannot even wait.
    fn refusal(&self) -> Option<Fault> {
        let Phase::Resting { until, fault } = &self.phase else { return None };
        let pause = until.saturating_duration_since(Instant::now());
        if matches!(fault, Fault::LoadFailed { .. }) {
            return Some(fault.clone());
        }
        (pause > PATIENCE).then_some(Fault::Restarting { retry_after: pause })
    }

    fn accept(&mut self, mut call: Call) {
        if let Some(fault) = self.refusal() {
            answer(&call, Err(fault));
            return;
        }
        if let Phase::Running(running) = &mut self.phase
            && running.ready.is_some()
            && running.doomed.is_none()
        {
            if !self.calls.values().any(|call| call.sent) {
                running.heard = Instant::now();
            }
            send(running, &mut call);
        }
        self.calls.insert(call.id, call);
    }

    fn cancel(&mut self, id: u64) {
        if let Some(call) = self.calls.remove(&id)
            && call.sent
            && let Phase::Running(running) = &mut self.phase
        {
            running.link.send(&ToChild::Cancel { id });
        }
        self.free_if_done();
    }

    fn note(&mut self, happening: Happening) {
        match happening {
            Happening::Frame(frame) => {
                if let Phase::Running(running) = &mut self.phase {
                    running.heard = Instant::now();
                }
                self.hear(frame);
            }
            Happening::Broken(error) => {
                tracing::debug!(model = self.shared.name(), %error, "the child's frames broke");
                self.doom(Doom::Broken);
            }
            Happening::Ended(end) => self.bury(&end),
        }
    }

    fn hear(&mut self, frame: FromChild) {
        match frame {
            FromChild::Ready(ready) => self.ready(ready),
            FromChild::LoadFailed { reason } => {
                if let Phase::Running(running) = &mut self.phase {
                    running.load_failure = Some(reason);
                }
            }
            FromChild::Event { id, event } => {
                let last = matches!(event, Event::Finished { .. });
                self.reply(id, Ok(Answer::Event(event)), last);
            }
            FromChild::Vector { id, vector } => self.reply(id, Ok(Answer::Vector(vector)), false),
            FromChild::Embedded { id, prompt_tokens } => self.reply(id, Ok(Answer::Embedded(prompt_tokens)), true),
            FromChild::Counted { id, tokens } => self.reply(id, Ok(Answer::Counted(tokens)), true),
            FromChild::Failed { id, fault } => self.reply(id, Err(fault), true),
            FromChild::Pulse => {}
            FromChild::Threads { threads } => {
                if let Phase::Running(Running { ready: Some(ready), .. }) = &mut self.phase {
                    ready.threads = threads;
                    let ready = ready.clone();
                    tracing::info!(model = self.shared.name(), threads, "the child changed its threads");
                    self.shared.with(|status| status.state = State::Ready(ready));
                }
            }
        }
    }

    fn ready(&mut self, ready: Ready) {
        let Phase::Running(running) = &mut self.phase else { return };
        tracing::info!(
            model = self.shared.name(),
            window = ready.window,
            threads = ready.threads,
            sandbox = ?ready.sandbox.state(),
            after_ms = u64::try_from(running.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "local model ready"
        );
        running.link.serving();
        running.ready = Some(ready.clone());
        for call in self.calls.values_mut() {
            send(running, call);
        }
        for done in self.warming.drain(..) {
            drop(done.send(Ok(ready.clone())));
        }
        self.shared.with(|status| status.state = State::Ready(ready));
        self.free_if_done();
    }

    fn reply(&mut self, id: u64, reply: Result<Answer, Fault>, last: bool) {
        if last {
            if let Some(call) = self.calls.remove(&id) {
                answer(&call, reply);
            }
            self.failures = 0;
            self.free_if_done();
        } else if let Some(call) = self.calls.get(&id) {
            answer(call, reply);
        }
    }

    fn free_if_done(&mut self) {
        if self.calls.is_empty()
            && let Phase::Running(running) = &mut self.phase
        {
            running.free_since = Instant::now();
        }
    }

    /// Kills the child; what follows happens when its end is known.
    fn doom(&mut self, doom: Doom) {
        if let Phase::Running(running) = &mut self.phase {
            running.doomed.get_or_insert(doom);
            running.link.kill();
        }
    }

    fn bury(&mut self, end: &link::End) {
        let Phase::Running(running) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let fault = self.verdict(&running, end);
        self.shared.with(|status| status.pid = None);
        for done in self.unloading.drain(..) {
            let _ = done.send(());
        }
        if fault == Fault::Unloaded {
            self.shared.with(|status| status.state = State::Idle);
            self.calls.retain(|_, call| !call.sent || !answer(call, Err(Fault::Unloaded)));
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(self.settings.backoff);
        self.failures = self.failures.saturating_add(1);
        let reason = fault.to_string();
        tracing::warn!(model = self.shared.name(), %reason, pause_ms = pause.as_millis(), "local model ended");
        self.shared.with(|status| {
            status.last_failure = Some(reason.clone());
            status.state = State::Resting { reason, pause };
        });
        // A call that has not reached the child keeps waiting, unless there is nothing to wait for.
        let hopeless = matches!(fault, Fault::LoadFailed { .. }) || pause > PATIENCE;
        self.calls.retain(|_, call| !(call.sent || hopeless) || !answer(call, Err(fault.clone())));
        if hopeless {
            self.give_up_warming(&fault);
        }
        self.phase = Phase::Resting { until: Instant::now() + pause, fault };
    }

    fn give_up_warming(&mut self, fault: &Fault) {
        for done in self.warming.drain(..) {
            drop(done.send(Err(fault.clone())));
        }
    }

    fn verdict(&self, running: &Running, end: &link::End) -> Fault {
        match running.doomed {
            Some(Doom::Unload) => return Fault::Unloaded,
            Some(Doom::Hung) => return Fault::Hung { after: self.settings.hang },
            Some(Doom::SlowLoad) => {
                let reason = format!("it was not ready after {} s", self.settings.load.as_secs());
                return Fault::LoadFailed { reason };
            }
            Some(Doom::Broken) => {
                return Fault::Crashed { reason: "the child process broke the protocol".to_owned() };
            }
            None => {}
        }
        if let Some(reason) = running.load_failure.clone() {
            return Fault::LoadFailed { reason };
        }
        let reason = end.describe();
        if running.ready.is_some() { Fault::Crashed { reason } } else { Fault::LoadFailed { reason } }
    }

    /// The next moment at which something is due although nothing happens.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        match &self.phase {
            Phase::Idle => far,
            Phase::Resting { until, .. } => *until,
            Phase::Running(running) if running.doomed.is_some() => far,
            Phase::Running(running) if running.ready.is_none() => running.started + self.settings.load,
            Phase::Running(running) if self.calls.is_empty() => running.free_since + self.settings.idle,
            Phase::Running(running) => running.heard + self.settings.hang,
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if now < self.deadline() {
            return;
        }
        match &self.phase {
            Phase::Idle => {}
            Phase::Resting { .. } => {
                self.phase = Phase::Idle;
                self.shared.with(|status| status.state = State::Idle);
            }
            Phase::Running(running) if running.doomed.is_some() => {}
            Phase::Running(running) if running.ready.is_none() => self.doom(Doom::SlowLoad),
            Phase::Running(_) if self.calls.is_empty() => self.doom(Doom::Unload),
            Phase::Running(_) => self.doom(Doom::Hung),
        }
    }

    /// Starts the child when calls or warmers wait and nothing runs.
    async fn start_if_wanted(&mut self) {
        if !matches!(self.phase, Phase::Idle) || (self.calls.is_empty() && self.warming.is_empty()) {
            return;
        }
        let load = Load {
            source: self.source.clone(),
            context_tokens: self.settings.context_tokens,
            parallel: self.settings.parallel.max(1),
            cache_bytes: self.settings.cache_bytes,
            threads: self.settings.threads.unwrap_or_else(machine::default_threads).max(1),
            gpu_layers: self.settings.gpu_layers,
            nice: self.settings.nice,
            address_space_bytes: self.settings.address_space_bytes,
        };
        let now = Instant::now();
        match Link::open(&self.spawner, load).await {
            Ok(link) => {
                self.shared.with(|status| {
                    status.state = State::Starting;
                    status.pid = link.pid();
                    status.starts += 1;
                });
                let running = Running {
                    link,
                    started: now,
                    ready: None,
                    heard: now,
                    free_since: now,
                    doomed: None,
                    load_failure: None,
                };
                self.phase = Phase::Running(running);
            }
            Err(error) => self.failed_to_start(&error),
        }
    }

    fn failed_to_start(&mut self, error: &std::io::Error) {
        let fault = Fault::LoadFailed { reason: format!("the child process could not be started: {error}") };
        for (_, call) in std::mem::take(&mut self.calls) {
            answer(&call, Err(fault.clone()));
        }
        self.give_up_warming(&fault);
        let pause = self.settings.backoff.min(PATIENCE);
        self.shared.with(|status| status.state = State::Resting { reason: fault.to_string(), pause });
        self.phase = Phase::Resting { until: Instant::now() + pause, fault };
    }
}

async fn happening(phase: &mut Phase) -> Happening {
    match phase {
        Phase::Running(running) => running.link.happening().await,
        Phase::Idle | Phase::Resting { .. } => std::future::pending().await,
    }
}

/// Hands the call to the child, once.
fn send(running: &mut Running, call: &mut Call) {
    if call.sent {
        return;
    }
    call.sent = true;
    let id = call.id;
    let frame = match std::mem::replace(&mut call.work, Work::Sent) {
        Work::Chat(request) => ToChild::Chat { id, request },
        Work::Embed(texts) => ToChild::Embed { id, texts },
        Work::Count(request) => ToChild::Count { id, request },
        Work::Sent => return,
    };
    if !running.link.send(&frame) {
        answer(call, Err(Fault::bad("the call is too long for the engine")));
    }
}

/// Says true, for use in filters. A caller that left is no concern of ours.
fn answer(call: &Call, reply: Result<Answer, Fault>) -> bool {
    let _ = call.reply.send(reply);
    true
}
