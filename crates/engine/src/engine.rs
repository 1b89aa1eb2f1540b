//! Handles: what the rest of the program holds of the engine, of a model and of an answer.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::fault::Fault;
use crate::machine;
use crate::protocol::{MAX_TEXTS, Ready, Source};
use crate::request::{ChatRequest, Embeddings, Event, FinishReason};
use crate::settings::{ChildCommand, Settings};
use crate::supervisor::spawner::Spawner;
use crate::supervisor::{Answer, Call, Order, Shared, Supervisor, Work};

/// Runs local models, each in a child process of its own. Cheap to clone; the children end with the last clone of the
/// engine and its models.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<EngineInner>,
}

#[derive(Debug)]
struct EngineInner {
    settings: Settings,
    spawner: Arc<Spawner>,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The model that is compiled into the program.
    Pilot,
    /// A GGUF file; of a split model, the first part.
    File(PathBuf),
}

impl Engine {
    /// An engine that starts its children with this command. Starts nothing yet.
    #[must_use]
    pub fn new(command: ChildCommand, settings: Settings) -> Self {
        Self { inner: Arc::new(EngineInner { settings, spawner: Arc::new(Spawner::new(command)) }) }
    }

    /// Registers a model under a name that messages and logs use. Its child starts with the first call.
    #[must_use]
    pub fn model(&self, name: impl Into<String>, source: ModelSource) -> Model {
        let settings = self.inner.settings.clone();
        let seats = usize::try_from(settings.parallel.saturating_add(settings.waiting)).unwrap_or(1);
        let source = match source {
            ModelSource::Pilot => Source::Pilot,
            ModelSource::File(path) => Source::File(path),
        };
        Model {
            inner: Arc::new(ModelInner {
                shared: Arc::new(Shared::new(name.into())),
                seats: Arc::new(Semaphore::new(seats)),
                next: AtomicU64::new(1),
                orders: OnceLock::new(),
                settings,
                source,
                spawner: Arc::clone(&self.inner.spawner),
            }),
        }
    }

    /// Whether local models can run here at all.
    ///
    /// # Errors
    /// [`Fault::NoEngine`] when this build has no engine or this CPU cannot run it.
    pub fn available() -> Result<(), Fault> {
        if cfg!(not(feature = "llama")) {
            let reason = "this build has no engine: build with the cargo feature `engine`".to_owned();
            return Err(Fault::NoEngine { reason });
        }
        machine::check_cpu().map_err(|reason| Fault::NoEngine { reason })
    }
}

/// One model and the child process that runs it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    inner: Arc<ModelInner>,
}

#[derive(Debug)]
struct ModelInner {
    settings: Settings,
    source: Source,
    spawner: Arc<Spawner>,
    shared: Arc<Shared>,
    /// One for each call that runs or waits.
    seats: Arc<Semaphore>,
    next: AtomicU64,
    /// Made with the first call, because the task behind it needs a runtime. Bounded by `seats`: each call sends one
    /// order and, when it is dropped, one more.
    orders: OnceLock<mpsc::UnboundedSender<Order>>,
}

/// What a model's child process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// No child; the next call starts one.
    Idle,
    /// The child loads the model.
    Starting,
    /// The child answers calls.
    Ready(Ready),
    /// The child ended unexpectedly; the next one starts after a pause.
    Resting {
        /// Why it ended.
        reason: String,
        /// The pause, from the end of the child.
        pause: Duration,
    },
}

/// Facts about a model's child for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the child is doing.
    pub state: State,
    /// Its process id.
    pub pid: Option<u32>,
    /// Memory it holds in RAM, in bytes; mapped weights count as far as they were touched. `None` outside Linux.
    pub resident_bytes: Option<u64>,
    /// Calls that run or wait.
    pub calls: u32,
    /// Children started so far.
    pub starts: u64,
    /// How the last child ended, when it was not asked to.
    pub last_failure: Option<String>,
}

impl Model {
    /// The name it was registered under.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.shared.name()
    }

    /// Asks for an answer and waits until the model has accepted the call, so that a call that cannot succeed fails
    /// here and not inside the stream. Must be called within a tokio runtime, like every async function here.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn chat(&self, request: ChatRequest) -> Result<ChatStream, Fault> {
        let mut answers = self.submit(Work::Chat(Box::new(request)))?;
        match answers.next().await {
            Ok(Answer::Event(first)) => Ok(ChatStream { answers, first: Some(first), over: false }),
            Ok(Answer::Vector(_) | Answer::Embedded(_) | Answer::Counted(_)) => Err(out_of_turn()),
            Err(fault) => Err(fault),
        }
    }

    /// Vectors for texts. Long lists are worked off between the tokens of running chats.
    ///
    /// # Errors
    /// Any [`Fault`]; [`Fault::BadRequest`] for more than 2,048 texts, [`Fault::ContextOverflow`] for a text that
    /// exceeds the window.
    pub async fn embed(&self, texts: Vec<String>) -> Result<Embeddings, Fault> {
        if texts.len() > MAX_TEXTS {
            return Err(Fault::bad(format!("{} texts in one call: {MAX_TEXTS} is the most", texts.len())));
        }
        let mut answers = self.submit(Work::Embed(texts))?;
        let mut vectors = Vec::new();
        loop {
            match answers.next().await? {
                Answer::Vector(vector) => vectors.push(vector),
                Answer::Embedded(prompt_tokens) => return Ok(Embeddings { vectors, prompt_tokens }),
                Answer::Event(_) | Answer::Counted(_) => return Err(out_of_turn()),
            }
        }
    }

    /// Length of the prompt that this call would have, template and tools included, as this model counts.
    ///
    /// # Errors
    /// Any [`Fault`], but never [`Fault::ContextOverflow`].
    pub async fn count_tokens(&self, request: &ChatRequest) -> Result<u32, Fault> {
        let mut answers = self.submit(Work::Count(Box::new(request.clone())))?;
        match answers.next().await? {
            Answer::Counted(tokens) => Ok(tokens),
            Answer::Event(_) | Answer::Vector(_) | Answer::Embedded(_) => Err(out_of_turn()),
        }
    }

    /// Loads the model now, unless it is loaded.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub async fn warm(&self) -> Result<Ready, Fault> {
        Engine::available()?;
        let (done, ready) = oneshot::channel();
        self.order(Order::Warm(done))?;
        ready.await.unwrap_or(Err(Fault::Unloaded))
    }

    /// Ends the child, if there is one; calls that it works on fail with [`Fault::Unloaded`]. The next call starts
    /// another.
    pub async fn unload(&self) {
        let (done, ended) = oneshot::channel();
        if self.inner.orders.get().is_some() && self.order(Order::Unload(done)).is_ok() {
            // An error means that the supervisor is gone and the child with it.
            let _ = ended.await;
        }
    }

    /// What the child is doing.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner.shared.state()
    }

    /// Facts about the child. Reads `/proc`.
    #[must_use]
    pub fn report(&self) -> Report {
        let seats = self.inner.settings.parallel.saturating_add(self.inner.settings.waiting);
        let free = u32::try_from(self.inner.seats.available_permits()).unwrap_or(u32::MAX);
        self.inner.shared.report(seats.saturating_sub(free))
    }

    fn submit(&self, work: Work) -> Result<Answers, Fault> {
        Engine::available()?;
        let seat = Arc::clone(&self.inner.seats).try_acquire_owned().map_err(|_| Fault::Busy {
            waiting: self.inner.settings.parallel.saturating_add(self.inner.settings.waiting),
        })?;
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        // One event a token at most, hence at most a window of them.
        let (reply, replies) = mpsc::unbounded_channel();
        self.order(Order::Call(Call { id, work, reply, sent: false, seat }))?;
        Ok(Answers { id, replies, model: self.clone() })
    }

    fn order(&self, order: Order) -> Result<(), Fault> {
        let orders = self.inner.orders.get_or_init(|| {
            let (orders, inbox) = mpsc::unbounded_channel();
            let inner = &self.inner;
            let supervisor = Supervisor::new(
                Arc::clone(&inner.shared),
                inner.settings.clone(),
                inner.source.clone(),
                Arc::clone(&inner.spawner),
            );
            tokio::spawn(supervisor.run(inbox));
            orders
        });
        orders.send(order).map_err(|_| Fault::Unloaded)
    }
}

/// The replies to one call. Dropping it takes the call back.
#[derive(Debug)]
struct Answers {
    id: u64,
    replies: mpsc::UnboundedReceiver<Result<Answer, Fault>>,
    model: Model,
}

impl Answers {
    async fn next(&mut self) -> Result<Answer, Fault> {
        self.replies.recv().await.unwrap_or(Err(Fault::Unloaded))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // Fails only when the supervisor is gone, and with it the call.
        let _ = self.model.order(Order::Cancel(self.id));
    }
}

/// An answer in the making: [`Event::Started`] first, [`Event::Finished`] or a fault last. Dropping it frees the model
/// within a token.
#[derive(Debug)]
pub struct ChatStream {
    answers: Answers,
    first: Option<Event>,
    over: bool,
}

impl ChatStream {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Event, Fault>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Event, Fault>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let Poll::Ready(reply) = self.answers.replies.poll_recv(cx) else { return Poll::Pending };
        let event = match reply.unwrap_or(Err(Fault::Unloaded)) {
            Ok(Answer::Event(event)) => Ok(event),
            Ok(Answer::Vector(_) | Answer::Embedded(_) | Answer::Counted(_)) => Err(out_of_turn()),
            Err(fault) => Err(fault),
        };
        self.over = matches!(event, Err(_) | Ok(Event::Finished { .. }));
        Poll::Ready(Some(event))
    }

    /// Reads the answer to its end: text, and why it ended.
    ///
    /// # Errors
    /// The fault that cut it.
    pub async fn text(mut self) -> Result<(String, FinishReason), Fault> {
        let mut answer = String::new();
        while let Some(event) = self.next().await {
            match event? {
                Event::Text { text, .. } => answer.push_str(&text),
                Event::Finished { reason, .. } => return Ok((answer, reason)),
                Event::Started { .. }
                | Event::Reasoning(_)
                | Event::ToolCallStart { .. }
                | Event::ToolCallArguments { .. } => {}
            }
        }
        Err(out_of_turn())
    }
}

impl Stream for ChatStream {
    type Item = Result<Event, Fault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(cx)
    }
}

fn out_of_turn() -> Fault {
    Fault::Crashed { reason: "the child process broke the protocol".to_owned() }
}
