//! The log of an answer: its events, numbered from zero, held in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_wire::Dialect;
use commonwatt_wire::sse::Framer;
use tokio::sync::{Notify, watch};

use super::Promise;
use crate::request::Underway;

/// Bytes of one log: some thirty thousand events of Responses, the wordiest dialect. The oldest events of a longer one
/// are not held.
pub(super) const LOG_BYTES_MAX: usize = 8 << 20;

/// An answer that is made without its caller, or was.
pub(crate) struct Making {
    pub(super) call: Arc<str>,
    pub(super) principal: String,
    pub(super) dialect: Dialect,
    /// The response that stands for it meanwhile, where its caller does not wait.
    pub(super) response: Option<Promise>,
    log: Mutex<Log>,
    changed: Notify,
    cancel: watch::Sender<bool>,
}

#[derive(Default)]
struct Log {
    framer: Framer,
    /// Comments before the next event: alone they would be empty events to clients that have seen an id.
    comments: Vec<u8>,
    events: VecDeque<Bytes>,
    /// The number of the first event that is held.
    first: u64,
    bytes: usize,
    has_begun: bool,
    is_over: bool,
}

impl Log {
    fn add(&mut self, event: Bytes) {
        self.bytes += event.len();
        self.events.push_back(event);
        while self.bytes > LOG_BYTES_MAX && self.events.len() > 1 {
            self.bytes -= self.events.pop_front().map_or(0, |oldest| oldest.len());
            self.first += 1;
        }
    }

    /// Takes in what has been framed so far.
    fn take_framed(&mut self) {
        while let Some(event) = self.framer.next() {
            if !event.data().is_empty() {
                let comments = std::mem::take(&mut self.comments);
                self.add(if comments.is_empty() { event.raw } else { [&comments, &*event.raw].concat().into() });
            } else if event.raw.starts_with(b":") {
                self.comments.extend_from_slice(event.raw.trim_ascii_end());
                self.comments.push(b'\n');
            }
        }
    }
}

impl Making {
    pub(super) fn new(call: &Underway, response: Option<Promise>) -> Self {
        let dialect = call.arrival.dialect;
        Self {
            call: Arc::from(&*call.id.0),
            principal: call.arrival.principal.name.to_string(),
            dialect,
            response,
            log: Mutex::new(Log { framer: Framer::new(dialect.framing()), ..Log::default() }),
            changed: Notify::new(),
            cancel: watch::Sender::new(false),
        }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was said.
    pub(super) fn write(&self, bytes: Bytes) {
        let mut log = self.log();
        if log.framer.push(bytes.clone()).is_ok() {
            log.take_framed();
        } else {
            // What is too large to be cut into events is one.
            log.add(bytes);
        }
        drop(log);
        self.changed.notify_waiters();
    }

    /// Somebody answers.
    pub(super) fn begun(&self) {
        self.log().has_begun = true;
    }

    pub(super) fn end(&self) {
        let mut log = self.log();
        let last = log.framer.finish().filter(|event| !event.data().is_empty());
        if let Some(event) = last {
            log.add(event.raw);
        }
        log.is_over = true;
        drop(log);
        self.changed.notify_waiters();
    }

    pub(super) fn is_over(&self) -> bool {
        self.log().is_over
    }

    pub(super) fn bytes(&self) -> usize {
        self.log().bytes
    }

    /// The response that stands for it now.
    pub(super) fn promised(&self) -> Option<Bytes> {
        let promise = self.response.as_ref()?;
        Some(if self.log().has_begun { promise.in_progress.clone() } else { promise.queued.clone() })
    }

    /// Ends it, and waits until it has ended.
    pub(super) async fn cancel(&self) {
        self.cancel.send_replace(true);
        loop {
            let changed = self.changed.notified();
            if self.is_over() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves when it is to end.
    pub(super) async fn cancelled(&self) {
        let mut cancel = self.cancel.subscribe();
        // The sender lives as long as this.
        let _closed = cancel.wait_for(|cancel| *cancel).await;
    }
}

/// Somebody who listens to an answer that is made without its caller.
pub struct Follower {
    making: Arc<Making>,
    /// The number of the event that it hears next.
    next: u64,
    /// Whether events are told their numbers.
    is_numbered: bool,
}

impl Follower {
    pub(super) fn of(making: Arc<Making>, next: u64, is_numbered: bool) -> Self {
        // Google's clients take every line for data, and lines of JSON have no others.
        let has_ids = match making.dialect {
            Dialect::OpenAiChat
            | Dialect::AnthropicMessages
            | Dialect::OpenAiResponses
            | Dialect::OpenAiCompletions => true,
            Dialect::Gemini | Dialect::OllamaChat | Dialect::OllamaGenerate => false,
        };
        Self { making, next, is_numbered: is_numbered && has_ids }
    }

    /// Somebody who has heard everything up to event `after`.
    pub(super) fn after(making: Arc<Making>, after: Option<u64>, is_numbered: bool) -> Result<Self, Refusal> {
        let next = after.map_or(0, |after| after.saturating_add(1));
        if next < making.log().first {
            let message = "the beginning of this answer is not held any more: it is too long";
            return Err(Refusal::new(RefusalKind::BadRequest, message));
        }
        Ok(Self::of(making, next, is_numbered))
    }

    /// The next events; `None` after the last one, or when the log has run ahead by more than it holds.
    pub async fn next(&mut self) -> Option<Bytes> {
        let making = Arc::clone(&self.making);
        loop {
            let changed = making.changed.notified();
            match self.take(&making) {
                Taken::Events(events) => return Some(events),
                Taken::Nothing => return None,
                Taken::NotYet => changed.await,
            }
        }
    }

    /// What there is now.
    fn take(&mut self, making: &Making) -> Taken {
        let log = making.log();
        let at = self.next.checked_sub(log.first).and_then(|at| usize::try_from(at).ok());
        let Some(at) = at else { return Taken::Nothing };
        if at >= log.events.len() {
            return if log.is_over { Taken::Nothing } else { Taken::NotYet };
        }
        let mut out = Vec::new();
        for event in log.events.range(at..) {
            if self.is_numbered {
                out.extend_from_slice(format!("id: {}\n", self.next).as_bytes());
            }
            out.extend_from_slice(event);
            self.next += 1;
        }
        Taken::Events(out.into())
    }
}

/// What a follower finds.
enum Taken {
    Events(Bytes),
    /// There will be no more.
    Nothing,
    NotYet,
}
