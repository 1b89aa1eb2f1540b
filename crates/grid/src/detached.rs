//! Answers that are made without their callers: in the background, where the caller fetches it later (Responses), and at
//! the wish of a caller who may leave and come back.
//!
//! Each is made by a task of its own, which writes its events into a log. Whoever listens follows the log from any event
//! on, as often as it likes; nobody is asked twice for the same answer.

mod log;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use commonwatt_core::Moment;
use commonwatt_core::answer::Answer;
use commonwatt_core::plan::Plan;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_wire::{
    AnswerWriter, Dialect, Envelope, Standing, is_background, response_id, write_completed, write_queued,
    write_standing,
};
use tokio::sync::{oneshot, watch};
use tokio::time::{Duration, sleep};

pub use self::log::Follower;
use self::log::Making;
use crate::Grid;
use crate::attempt::Won;
use crate::bus::keep::{Ending, Keeper};
use crate::bus::not_found;
use crate::relay::{AnswerBody, Answered, Relay, Served};
use crate::request::{Arrival, Underway};

/// Answers under way at once. Each may hold `log::LOG_BYTES_MAX`, so all of them half a gigabyte, and none does unless
/// it is as long as a book.
pub const UNDER_WAY_MAX: usize = 64;
/// Of those, one caller's: nobody keeps all others out.
const UNDER_WAY_OF_ONE_MAX: usize = 32;
/// Bytes of the logs of answers that have ended: a few hundred ordinary ones.
const ENDED_BYTES_MAX: usize = 64 << 20;
/// Answers that have ended whose logs are held, however short they are.
const ENDED_MAX: usize = 1_024;
/// How long a log is held after its end: whoever lost a connection comes back within minutes, and a response that is kept
/// can be fetched for ever.
const HELD_FOR: Duration = Duration::from_secs(3_600);

/// How an answer is made without its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detach {
    /// The caller does not wait for it (Responses).
    Background {
        /// Whether it asked for a stream all the same.
        is_streamed: bool,
    },
    /// The caller may leave and come back.
    Asked,
}

impl Detach {
    /// What the caller asks for in the headers of its request.
    pub(crate) fn asked(arrival: &Arrival, envelope: &Envelope) -> Result<Option<Self>, Refusal> {
        match (arrival.detached, envelope.stream) {
            (false, _) => Ok(None),
            (true, true) => Ok(Some(Self::Asked)),
            (true, false) => {
                let message =
                    "only a stream has a rest that can be fetched: send `stream` true, or no `x-commonwatt-detached`";
                Err(Refusal::new(RefusalKind::BadRequest, message))
            }
        }
    }
}

/// All answers that are made, or were made lately, without their callers.
pub(crate) struct Board {
    answers: Mutex<Answers>,
    under_way: watch::Sender<usize>,
}

#[derive(Default)]
struct Answers {
    /// By the ids of their calls.
    by_call: HashMap<Arc<str>, Arc<Making>>,
    /// Those that have ended, the first to end first.
    ended: VecDeque<Arc<str>>,
}

impl Default for Board {
    fn default() -> Self {
        Self { answers: Mutex::default(), under_way: watch::Sender::new(0) }
    }
}

impl Board {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for an answer that will be made.
    fn open(&self, making: Making) -> Result<Arc<Making>, Refusal> {
        let mut answers = self.answers();
        let under_way = || answers.by_call.values().filter(|other| !other.is_over());
        let of_one = under_way().filter(|other| other.principal == making.principal).count();
        if under_way().count() >= UNDER_WAY_MAX || of_one >= UNDER_WAY_OF_ONE_MAX {
            let message = "as many answers as this daemon can hold are made without their callers";
            let refusal = Refusal::new(RefusalKind::Busy, message);
            return Err(Refusal { retry_after_ms: Some(1_000), ..refusal });
        }
        let making = Arc::new(making);
        answers.by_call.insert(Arc::clone(&making.call), Arc::clone(&making));
        self.under_way.send_modify(|count| *count += 1);
        Ok(making)
    }

    /// An answer has ended: the oldest make room for it.
    fn ended(&self, making: &Making) {
        making.end();
        let mut answers = self.answers();
        let Answers { by_call, ended } = &mut *answers;
        ended.push_back(Arc::clone(&making.call));
        ended.retain(|call| by_call.contains_key(call));
        let size = |call: &Arc<str>| by_call.get(call).map_or(0, |making| making.bytes());
        let mut bytes: usize = ended.iter().map(size).sum();
        let mut gone = Vec::new();
        while ended.len() > ENDED_MAX || bytes > ENDED_BYTES_MAX {
            let Some(oldest) = ended.pop_front() else { break };
            bytes -= size(&oldest);
            gone.push(oldest);
        }
        gone.iter().for_each(|call| {
            by_call.remove(call);
        });
        self.under_way.send_modify(|count| *count -= 1);
    }

    fn forget(&self, call: &str) {
        self.answers().by_call.remove(call);
    }

    /// The caller's answer of that call.
    fn find(&self, principal: &str, call: &str) -> Option<Arc<Making>> {
        let found = self.answers().by_call.get(call).cloned();
        found.filter(|making| making.principal == principal)
    }

    /// The caller's answer of that response, if it is made in the background.
    fn response(&self, principal: &str, id: &str) -> Option<Arc<Making>> {
        let call = id.strip_prefix(&response_id(""))?;
        self.find(principal, call).filter(|making| making.response.is_some())
    }
}

/// The responses that stand for an answer while it is made.
pub(crate) struct Promise {
    queued: Bytes,
    in_progress: Bytes,
    is_streamed: bool,
}

impl Promise {
    fn of(call: &Underway) -> Option<Self> {
        let Some(Detach::Background { is_streamed }) = call.detach else { return None };
        let head = call.head(&call.envelope.model);
        let written = |standing| write_standing(&standing, &Answer::default(), &head).into();
        Some(Self { queued: written(Standing::Queued), in_progress: written(Standing::InProgress), is_streamed })
    }
}

/// Begins to make an answer without its caller.
///
/// # Errors
/// A refusal when there is no room, or what was asked cannot be kept; and where the caller waits for the first word, when
/// there is no answer.
pub(crate) async fn begin(
    grid: &Arc<Grid>,
    mut call: Underway,
    plan: Plan,
    started: Moment,
) -> Result<Answered, Refusal> {
    let promise = Promise::of(&call);
    let promised = promise.as_ref().map(|promise| (promise.queued.clone(), promise.is_streamed));
    let making = grid.detached.open(Making::new(&call, promise))?;
    let place = Place { grid: Arc::clone(grid), making: Arc::clone(&making) };
    let Some((queued, is_streamed)) = promised else {
        let (tell, told) = oneshot::channel();
        tokio::spawn(make(place, call, plan, started, Some(tell)));
        let ended = || Err(Refusal::new(RefusalKind::Internal, "the answer's task ended"));
        let served = told.await.unwrap_or_else(|_| ended());
        // Of an answer that never began there is nothing to come back to.
        let served = served.inspect_err(|_| grid.detached.forget(&making.call))?;
        return Ok(Answered { served, body: AnswerBody::Followed(Follower::of(making, 0, true)) });
    };
    if let Some((bus, thread)) = grid.bus.clone().zip(call.thread.take()) {
        let promised = Keeper::promised(bus, thread, &call).await;
        call.keeper = Some(promised.inspect_err(|_| grid.detached.forget(&making.call))?);
    }
    making.write(write_queued(&call.head(&call.envelope.model)).into());
    let served = Served {
        call: call.id.clone(),
        deployment: None,
        tier: None,
        session: call.session().cloned(),
        attempts: 0,
        failed: Vec::new(),
        lossy: call.lossy.clone(),
    };
    tokio::spawn(make(place, call, plan, started, None));
    let body =
        if is_streamed { AnswerBody::Followed(Follower::of(making, 0, false)) } else { AnswerBody::Whole(queued) };
    Ok(Answered { served, body })
}

/// A place on the board: given up when the task that makes the answer ends, however it does.
struct Place {
    grid: Arc<Grid>,
    making: Arc<Making>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.grid.detached.ended(&self.making);
        let (grid, call) = (Arc::downgrade(&self.grid), Arc::clone(&self.making.call));
        // Outside of a runtime the process ends, and the board with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            sleep(HELD_FOR).await;
            if let Some(grid) = grid.upgrade() {
                grid.detached.forget(&call);
            }
        });
    }
}

/// Tells a caller that waits for the first word who answers, or why nobody does.
type Tell = oneshot::Sender<Result<Served, Refusal>>;

/// Makes an answer, to its end or until it is cancelled.
async fn make(place: Place, mut call: Underway, plan: Plan, started: Moment, tell: Option<Tell>) {
    let Place { grid, making } = &place;
    let won = tokio::select! {
        biased;
        () = making.cancelled() => Err(Standing::Cancelled),
        won = grid.win(&call, &plan) => won.map_err(Standing::Failed),
    };
    match won {
        Ok(won) => answer(&place, call, won, started, tell).await,
        Err(standing) => {
            if let (Some(tell), Standing::Failed(refusal)) = (tell, &standing) {
                let _gone = tell.send(Err(refusal.clone()));
            }
            give_up(making, &mut call, standing).await;
        }
    }
}

/// Nobody has said anything, and nobody will.
async fn give_up(making: &Making, call: &mut Underway, standing: Standing) {
    let head = call.head(&call.envelope.model);
    let ending = match &standing {
        Standing::Failed(refusal) => Ending::Failed(refusal.clone()),
        Standing::Cancelled => Ending::Cancelled,
        Standing::Queued | Standing::InProgress => Ending::Unfinished,
    };
    let Some(keeper) = call.keeper.take() else { return };
    if let Err(refusal) = keeper.finished(ending, None, head.clone(), None).await {
        tracing::error!(call = %call.id.0, message = %refusal.message, "an answer that was promised could not be kept");
    }
    let mut out = Vec::new();
    AnswerWriter::new(call.arrival.dialect, head).end_as(&standing, &mut out);
    making.write(out.into());
}

/// Somebody has begun: what is said goes into the log.
async fn answer(place: &Place, call: Underway, won: Won, started: Moment, tell: Option<Tell>) {
    let Place { grid, making } = place;
    making.begun();
    let answered = Relay::answer(Arc::clone(grid), call, won, started).await;
    let body = match answered {
        Ok(Answered { served, body }) => {
            let _gone = tell.map(|tell| tell.send(Ok(served)));
            body
        }
        Err(refusal) => {
            let _gone = tell.map(|tell| tell.send(Err(refusal)));
            return;
        }
    };
    match body {
        AnswerBody::Stream(relay) => listen(making, relay).await,
        // A provider that was asked for a stream may answer whole all the same.
        AnswerBody::Whole(response) if making.response.is_some() => making.write(write_completed(&response).into()),
        AnswerBody::Whole(bytes) => making.write(bytes),
        AnswerBody::Followed(_) => {}
    }
}

async fn listen(making: &Making, mut relay: Box<Relay>) {
    loop {
        let said = tokio::select! {
            biased;
            () = making.cancelled() => None,
            said = relay.next() => Some(said),
        };
        match said {
            Some(Some(bytes)) => making.write(bytes),
            Some(None) => return,
            None => {
                making.write(relay.cancel().await);
                return;
            }
        }
    }
}

impl Grid {
    /// The rest of an answer that the caller asked to be made to its end: what comes after event `after`, or all of it.
    ///
    /// # Errors
    /// A refusal when the caller has no such answer, or what comes next is not held any more.
    pub fn rest_of(&self, principal: &str, call: &str, after: Option<u64>) -> Result<(Dialect, Follower), Refusal> {
        let making = self.detached.find(principal, call).ok_or_else(|| not_found("Answer", call))?;
        let dialect = making.dialect;
        Ok((dialect, Follower::after(making, after, true)?))
    }

    /// A response of Responses, as it stands now.
    ///
    /// # Errors
    /// A refusal when the caller has no such response.
    pub async fn response(&self, principal: &str, id: &str) -> Result<Bytes, Refusal> {
        let making = self.detached.response(principal, id).filter(|making| !making.is_over());
        match (making.and_then(|making| making.promised()), &self.bus) {
            (Some(promised), _) => Ok(promised),
            (None, Some(bus)) => bus.response(principal, id).await,
            (None, None) => Err(not_found("Response", id)),
        }
    }

    /// The stream of a response that is made in the background, after event `after`, or from its beginning.
    ///
    /// # Errors
    /// A refusal when the caller has no such response, or it cannot be streamed any more.
    pub async fn response_stream(&self, principal: &str, id: &str, after: Option<u64>) -> Result<Follower, Refusal> {
        let Some(making) = self.detached.response(principal, id) else {
            self.response(principal, id).await?;
            let message = "this response cannot be streamed, or not any more: fetch it without `stream`";
            return Err(Refusal::new(RefusalKind::BadRequest, message));
        };
        if making.response.as_ref().is_some_and(|promise| promise.is_streamed) {
            return Follower::after(making, after, false);
        }
        let message = "this response was not asked for as a stream: fetch it without `stream`";
        Err(Refusal::new(RefusalKind::BadRequest, message))
    }

    /// Cancels a response that is made in the background, and gives it as it stands then. One that has ended stays as it
    /// is.
    ///
    /// # Errors
    /// A refusal when the caller has no such response, or was waiting for it.
    pub async fn cancel_response(&self, principal: &str, id: &str) -> Result<Bytes, Refusal> {
        if let Some(making) = self.detached.response(principal, id) {
            making.cancel().await;
        }
        let response = self.response(principal, id).await?;
        if is_background(&response) {
            return Ok(response);
        }
        let message = "only a response that was asked for with `background` can be cancelled";
        Err(Refusal::new(RefusalKind::BadRequest, message))
    }

    /// Deletes a response. One that is still made is cancelled.
    ///
    /// # Errors
    /// A refusal when the caller has no such response.
    pub async fn delete_response(&self, principal: &str, id: &str) -> Result<(), Refusal> {
        if let Some(making) = self.detached.response(principal, id) {
            making.cancel().await;
            self.detached.forget(&making.call);
        }
        match &self.bus {
            Some(bus) => bus.delete_response(principal, id).await,
            None => Err(not_found("Response", id)),
        }
    }

    /// Waits until no answer is made without its caller any more.
    pub async fn detached_over(&self) {
        let mut under_way = self.detached.under_way.subscribe();
        // The board, and with it the sender, lives as long as the grid.
        let _closed = under_way.wait_for(|count| *count == 0).await;
    }
}
