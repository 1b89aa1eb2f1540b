//! The decoding thread: which call computes what in the next step.
//!
//! Each step is one batch. First comes one token for every answer that is being written, then pieces of the prompts
//! that wait, in equal shares, small enough that the writers do not notice. Calls for which there is no slot, or no
//! room in the cache for their whole answer, wait in the order of their arrival; so nothing that has begun ever runs
//! out of room.

mod job;
mod logprobs;

use std::collections::VecDeque;
use std::io::{BufWriter, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use llama_cpp_4::DecodeError;
use llama_cpp_4::context::LlamaContext;
use llama_cpp_4::llama_batch::LlamaBatch;
use llama_cpp_4::token::LlamaToken;

use super::embed::Embedder;
use super::load::{BATCH, Loaded};
use super::prepare::{Inbox, Prepared};
use super::slots::{self, Cache, Place, Slot};
use super::threads::Threads;
use crate::fault::Fault;
use crate::protocol::{self, FromChild, Ready};
use crate::request::{Event, FinishReason};
use job::Job;

/// A silent child shows that it lives this often.
const PULSE: Duration = Duration::from_secs(1);
/// Longest that one call may be in preparation before the child stops vouching for it.
const PREPARATION: Duration = Duration::from_secs(30);
/// A step takes no longer than this while somebody reads an answer: slower than speech is noticed.
const STEP_WITH_WRITERS: Duration = Duration::from_millis(150);
/// Nor longer than this when nobody does: a cancelled prompt should not keep the CPU.
const STEP_ALONE: Duration = Duration::from_secs(1);
/// The least piece of a prompt, whatever the clock says.
const LEAST_PIECE: usize = 16;

/// Why the loop ends: the parent is gone.
type Gone = String;

/// Decodes.
pub(super) struct Scheduler<'a, 's> {
    loaded: &'a Loaded,
    context: LlamaContext<'a>,
    embedder: Embedder<'a>,
    out: BufWriter<&'s mut UnixStream>,
    spoken: Instant,
    window: u32,
    cache: Cache,
    slots: Vec<Slot>,
    /// The job of each slot.
    jobs: Vec<Option<Job>>,
    /// Calls without a slot. Bounded by what the parent admits.
    waiting: VecDeque<(u64, Box<Prepared>)>,
    /// Texts without a vector. Bounded likewise.
    texts: VecDeque<Texts>,
    preparing: usize,
    prepared: Instant,
    batch: LlamaBatch,
    /// Steps so far: the clock of the slots.
    step: u64,
    /// What a token of a prompt costs, averaged.
    token_cost: Option<Duration>,
    threads: Threads,
}

struct Texts {
    id: u64,
    texts: VecDeque<Vec<LlamaToken>>,
    tokens: u32,
}

impl<'a, 's> Scheduler<'a, 's> {
    pub(super) fn new(
        loaded: &'a Loaded,
        context: LlamaContext<'a>,
        ready: &Ready,
        socket: &'s mut UnixStream,
    ) -> Self {
        let parallel = usize::try_from(ready.parallel).unwrap_or(1);
        let now = Instant::now();
        Self {
            loaded,
            context,
            embedder: Embedder::new(loaded, ready.threads, ready.window),
            out: BufWriter::new(socket),
            spoken: now,
            window: ready.window,
            cache: Cache {
                cells: usize::try_from(ready.cache_tokens).unwrap_or(0),
                divisible: !loaded.model.is_recurrent() && !loaded.model.is_hybrid(),
            },
            slots: vec![Slot::default(); parallel],
            jobs: (0..parallel).map(|_| None).collect(),
            waiting: VecDeque::new(),
            texts: VecDeque::new(),
            preparing: 0,
            prepared: now,
            batch: LlamaBatch::new(usize::try_from(BATCH).unwrap_or(1), 1),
            step: 0,
            token_cost: None,
            threads: Threads::new(ready.threads),
        }
    }

    /// Works until the parent is gone.
    ///
    /// # Errors
    /// When it is gone.
    pub(super) fn run(mut self, inbox: &Receiver<Inbox>) -> Result<(), Gone> {
        loop {
            self.receive(inbox)?;
            self.admit()?;
            self.decode()?;
            self.embed()?;
            self.pulse()?;
            self.out.flush().map_err(|e| e.to_string())?;
        }
    }

    /// Takes in what has arrived; waits for it when there is nothing else to do.
    fn receive(&mut self, inbox: &Receiver<Inbox>) -> Result<(), Gone> {
        let idle = self.jobs.iter().all(Option::is_none) && self.waiting.is_empty() && self.texts.is_empty();
        if idle {
            let first = if self.preparing == 0 {
                Some(inbox.recv().map_err(|e| e.to_string())?)
            } else {
                match inbox.recv_timeout(PULSE) {
                    Ok(first) => Some(first),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Err("the reader has ended".to_owned()),
                }
            };
            first.map_or(Ok(()), |first| self.sort(first))?;
        }
        while let Ok(next) = inbox.try_recv() {
            self.sort(next)?;
        }
        Ok(())
    }

    fn sort(&mut self, next: Inbox) -> Result<(), Gone> {
        match next {
            Inbox::Preparing => {
                self.preparing += 1;
                self.prepared = Instant::now();
                return Ok(());
            }
            Inbox::Cancel { id } => {
                self.cancel(id);
                return Ok(());
            }
            Inbox::Chat { id, prepared: Ok(prepared) } => self.waiting.push_back((id, prepared)),
            Inbox::Embed { id, texts: Ok(texts) } => {
                self.texts.push_back(Texts { id, texts: texts.into(), tokens: 0 });
            }
            Inbox::Count { id, tokens: Ok(tokens) } => self.send(&FromChild::Counted { id, tokens })?,
            Inbox::Chat { id, prepared: Err(fault) }
            | Inbox::Embed { id, texts: Err(fault) }
            | Inbox::Count { id, tokens: Err(fault) } => self.send(&FromChild::Failed { id, fault })?,
        }
        self.preparing = self.preparing.saturating_sub(1);
        self.prepared = Instant::now();
        Ok(())
    }

    fn cancel(&mut self, id: u64) {
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.texts.retain(|texts| texts.id != id);
        let slot = self.jobs.iter().position(|job| job.as_ref().is_some_and(|job| job.id == id));
        if let Some(slot) = slot {
            self.release(slot);
        }
    }

    /// Frees a slot; what it has computed stays, for a prompt that begins the same way.
    fn release(&mut self, slot: usize) {
        if let Some(job) = self.jobs.get_mut(slot) {
            *job = None;
        }
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.granted = 0;
            slot.used = self.step;
        }
    }

    /// Gives slots to waiting calls, in order.
    fn admit(&mut self) -> Result<(), Gone> {
        while let Some((_, prepared)) = self.waiting.front() {
            let budget = usize::try_from(prepared.budget).unwrap_or(usize::MAX);
            let need = prepared.prompt.len().saturating_add(budget);
            let prompt: Vec<i32> = prepared.prompt.iter().map(|token| token.0).collect();
            let Some(place) = slots::place(&self.slots, &prompt, need, self.cache) else { return Ok(()) };
            let Some((id, prepared)) = self.waiting.pop_front() else { return Ok(()) };
            let cached = self.settle(&place, &prompt, need);
            match Job::new(self.loaded, id, *prepared, cached, self.window) {
                Ok(job) => {
                    let started = Event::Started {
                        prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
                        cached_tokens: u32::try_from(cached).unwrap_or(u32::MAX),
                    };
                    if let Some(seat) = self.jobs.get_mut(place.slot) {
                        *seat = Some(job);
                    }
                    self.send(&FromChild::Event { id, event: started })?;
                }
                Err(fault) => {
                    self.release(place.slot);
                    self.send(&FromChild::Failed { id, fault })?;
                }
            }
        }
        Ok(())
    }

    /// Carries out what [`slots::place`] decided. Says how many tokens really are in the cache.
    fn settle(&mut self, place: &Place, prompt: &[i32], need: usize) -> usize {
        let slot = u32::try_from(place.slot).ok();
        let reuse = u32::try_from(place.reuse).ok();
        let mut reused = place.reuse;
        if let Some(lender) = place.share.and_then(|lender| u32::try_from(lender).ok()) {
            let _ = self.context.clear_kv_cache_seq(slot, None, None);
            let (from, to) = (i32::try_from(lender).unwrap_or(0), i32::try_from(place.slot).unwrap_or(0));
            if self.context.copy_kv_cache_seq(from, to, None, reuse).is_err() {
                reused = 0;
            }
        } else if !self.context.clear_kv_cache_seq(slot, reuse, None).unwrap_or(false) {
            // This memory cannot be cut.
            let _ = self.context.clear_kv_cache_seq(slot, None, None);
            reused = 0;
        }
        for evicted in &place.evict {
            let _ = self.context.clear_kv_cache_seq(u32::try_from(*evicted).ok(), None, None);
            if let Some(slot) = self.slots.get_mut(*evicted) {
                slot.cached.clear();
            }
        }
        if let Some(slot) = self.slots.get_mut(place.slot) {
            slot.cached = prompt.get(..reused).unwrap_or_default().to_vec();
            slot.granted = need;
            slot.used = self.step;
        }
        reused
    }

    /// One batch: fill it, compute it, and let each job whose turn came choose its token.
    fn decode(&mut self) -> Result<(), Gone> {
        self.step += 1;
        let plan = self.fill();
        if plan.turns.is_empty() && plan.prompt_tokens == 0 {
            return Ok(());
        }
        let (started, cpu) = (Instant::now(), cpu_time());
        if let Err(error) = self.context.decode(&mut self.batch) {
            return self.abandon(&plan, &error);
        }
        self.account(&plan, started.elapsed(), cpu_time().saturating_sub(cpu))?;
        for (slot, token) in &plan.computed {
            if let Some(slot) = self.slots.get_mut(*slot) {
                slot.cached.push(token.0);
            }
        }
        for (slot, at) in plan.turns {
            self.turn(slot, at)?;
        }
        Ok(())
    }

    /// Writers first, then prompts in equal shares.
    fn fill(&mut self) -> Plan {
        self.batch.clear();
        let mut plan = Plan::default();
        for slot in 0..self.jobs.len() {
            if let Some(token) = self.jobs.get(slot).and_then(Option::as_ref).and_then(|job| job.next) {
                self.put(&mut plan, slot, token, true);
            }
        }
        plan.writers = plan.turns.len();
        let readers: Vec<usize> = (0..self.jobs.len())
            .filter(|slot| self.jobs.get(*slot).and_then(Option::as_ref).is_some_and(Job::reads))
            .collect();
        let share = self.piece(plan.writers) / readers.len().max(1);
        for slot in readers {
            let Some(job) = self.jobs.get_mut(slot).and_then(Option::as_mut) else { continue };
            let (piece, last) = job.piece(share.max(1));
            plan.prompt_tokens += piece.len();
            let end = piece.len();
            for (i, token) in (1..).zip(piece) {
                self.put(&mut plan, slot, token, last && i == end);
            }
        }
        plan
    }

    fn put(&mut self, plan: &mut Plan, slot: usize, token: LlamaToken, speak: bool) {
        let already = plan.computed.iter().filter(|(s, _)| *s == slot).count();
        let position = self.slots.get(slot).map_or(0, |slot| slot.cached.len()) + already;
        let at = self.batch.n_tokens();
        let sequence = i32::try_from(slot).unwrap_or(0);
        // The batch is as long as all shares together, so there is room.
        if self.batch.add(token, i32::try_from(position).unwrap_or(0), &[sequence], speak).is_ok() {
            plan.computed.push((slot, token));
            if speak {
                plan.turns.push((slot, at));
            }
        }
    }

    /// Tokens of prompts in this step: what fits into the time that a step may take.
    fn piece(&self, writers: usize) -> usize {
        let room = usize::try_from(BATCH).unwrap_or(1).saturating_sub(writers);
        let time = if writers == 0 { STEP_ALONE } else { STEP_WITH_WRITERS };
        let Some(cost) = self.token_cost.filter(|cost| !cost.is_zero()) else { return room.min(64) };
        let affordable = usize::try_from(time.as_nanos() / cost.as_nanos()).unwrap_or(usize::MAX);
        affordable.clamp(LEAST_PIECE, room.max(LEAST_PIECE)).min(room)
    }

    /// Learns from a step how long the next may be and how many threads are good.
    fn account(&mut self, plan: &Plan, wall: Duration, cpu: Duration) -> Result<(), Gone> {
        if let Some(tokens) = u32::try_from(plan.prompt_tokens).ok().filter(|tokens| *tokens >= 16) {
            let cost = wall / tokens;
            self.token_cost = Some(self.token_cost.map_or(cost, |known| (known * 3 + cost) / 4));
        }
        if plan.prompt_tokens == 0
            && let Some(threads) = self.threads.note(plan.writers, cpu)
        {
            let n = i32::try_from(threads).unwrap_or(1);
            self.context.set_n_threads(n, n);
            self.send(&FromChild::Threads { threads })?;
        }
        Ok(())
    }

    /// A job chooses its token, says what it can, and ends when it must.
    fn turn(&mut self, slot: usize, at: i32) -> Result<(), Gone> {
        let Some(job) = self.jobs.get_mut(slot).and_then(Option::as_mut) else { return Ok(()) };
        let id = job.id;
        let mut events = Vec::new();
        let end = job.turn(self.loaded, &self.context, at, &mut events);
        let completion_tokens = job.generated;
        for event in events {
            self.send(&FromChild::Event { id, event })?;
        }
        match end {
            Ok(None) => return Ok(()),
            Ok(Some(reason)) => {
                self.send(&FromChild::Event { id, event: Event::Finished { reason, completion_tokens } })?;
            }
            Err(fault) => self.send(&FromChild::Failed { id, fault })?,
        }
        self.release(slot);
        Ok(())
    }

    /// A batch that could not be computed. Which of its cells were written is unknown, so its conversations end.
    fn abandon(&mut self, plan: &Plan, error: &DecodeError) -> Result<(), Gone> {
        let reason = format!("a step failed: {error}");
        let mut hit: Vec<usize> = plan.computed.iter().map(|(slot, _)| *slot).collect();
        hit.sort_unstable();
        hit.dedup();
        for slot in hit {
            let id = self.jobs.get(slot).and_then(Option::as_ref).map(|job| job.id);
            self.release(slot);
            let _ = self.context.clear_kv_cache_seq(u32::try_from(slot).ok(), None, None);
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.cached.clear();
            }
            if let Some(id) = id {
                self.send(&FromChild::Failed { id, fault: Fault::Generation { reason: reason.clone() } })?;
            }
        }
        Ok(())
    }

    /// One text, so that chats wait for one text at most.
    fn embed(&mut self) -> Result<(), Gone> {
        let Some(texts) = self.texts.front_mut() else { return Ok(()) };
        let id = texts.id;
        let Some(next) = texts.texts.pop_front() else {
            let prompt_tokens = texts.tokens;
            self.texts.pop_front();
            return self.send(&FromChild::Embedded { id, prompt_tokens });
        };
        texts.tokens = texts.tokens.saturating_add(u32::try_from(next.len()).unwrap_or(u32::MAX));
        match self.embedder.embed(&next) {
            Ok(vector) => self.send(&FromChild::Vector { id, vector }),
            Err(fault) => {
                self.texts.pop_front();
                self.send(&FromChild::Failed { id, fault })
            }
        }
    }

    /// Shows that work goes on.
    fn pulse(&mut self) -> Result<(), Gone> {
        let working = self.jobs.iter().any(Option::is_some) || !self.texts.is_empty();
        let preparing = self.preparing > 0 && self.prepared.elapsed() < PREPARATION;
        if (working || preparing) && self.spoken.elapsed() >= PULSE {
            self.send(&FromChild::Pulse)?;
        }
        Ok(())
    }

    fn send(&mut self, frame: &FromChild) -> Result<(), Gone> {
        self.spoken = Instant::now();
        protocol::write(&mut self.out, frame).map_err(|e| e.to_string())
    }
}

/// What a batch holds.
#[derive(Default)]
struct Plan {
    /// Every token of the batch and whose it is.
    computed: Vec<(usize, LlamaToken)>,
    /// Slots that choose a token after this batch, and where their logits are.
    turns: Vec<(usize, i32)>,
    writers: usize,
    prompt_tokens: usize,
}

/// CPU time of the whole process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The end of an answer that has used up its tokens.
const SPENT: FinishReason = FinishReason::Length;
