//! What is done on the connection, as a list: the pure core of the simulator.
//!
//! [`perform`] turns a request, the settings and the faults into [`Action`]s. It knows no socket and no clock; the same
//! [`Cue`] always gives the same performance, so a run replays from its seed.
//!
//! A performance is made in four layers: the answer (what the model says), its frames (how the dialect writes it),
//! beats (frames with the waits before them, where a cut is made), and actions (bytes, which drip, split or fall short).

mod beats;
mod pieces;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::answer::{Stop, Wish, compose};
use crate::asked::{Asked, Window};
use crate::chance::{Chance, digest};
use crate::dialect::{Denial, Dialect, Rendering, Rules};
use crate::fault::{Ending, Fault, Part, Place};
use crate::route::{Address, Route};
use crate::settings::{AnswerSettings, Settings};

/// One thing that is done on the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Wait, after what was sent before is on the wire. A wait of zero only sees to that.
    Wait(Duration),
    /// Send status and headers.
    Head {
        /// The status.
        status: StatusCode,
        /// The headers; without `content-length` the body is sent in chunks.
        headers: HeaderMap,
    },
    /// Send a piece of the body.
    Send(Bytes),
    /// Reset the connection (TCP RST).
    Reset,
    /// Close the connection (TCP FIN) although the HTTP message is not complete.
    Eof,
    /// Do nothing until the client leaves.
    Hang,
}

/// What is done on the connection for one call. A list that does not end in [`Action::Reset`], [`Action::Eof`] or
/// [`Action::Hang`] ends with a complete HTTP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performance {
    actions: Arc<[Action]>,
    tokens: u64,
    window: Option<Window>,
}

/// Everything that a performance depends on.
#[derive(Clone, Copy, Debug)]
pub struct Cue<'a> {
    /// The dialect of the call.
    pub dialect: Dialect,
    /// The body of the request.
    pub body: &'a [u8],
    /// The provider's settings; its script and its rates are not looked at.
    pub settings: &'a Settings,
    /// What goes wrong.
    pub faults: &'a [Fault],
    /// The number of the call, from 1: what jitter, [`Fault::Flapping`] and random pieces depend on.
    pub call: u64,
}

/// The fields of [`Fault::Cut`].
#[derive(Clone, Copy, Debug)]
struct Cut {
    how: Ending,
    after: Place,
    part: Option<Part>,
    stall_ms: Option<u64>,
    status: Option<u16>,
}

impl Performance {
    pub(crate) fn new(actions: Vec<Action>) -> Self {
        Self { actions: actions.into(), tokens: 0, window: None }
    }

    /// The actions, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The body, as far as it is sent.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        self.actions.iter().flat_map(|action| sent(action).iter().copied()).collect()
    }

    /// The status; none if the connection ends before it.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.actions.iter().find_map(|action| match action {
            Action::Head { status, .. } => Some(*status),
            Action::Wait(_) | Action::Send(_) | Action::Reset | Action::Eof | Action::Hang => None,
        })
    }

    /// Tokens of prompt and answer, for the limit per minute; 0 if the call was refused.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Ollama: the context window that the call was given; none elsewhere, and none if the call was refused.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        self.window
    }

    pub(crate) fn shared(&self) -> Arc<[Action]> {
        Arc::clone(&self.actions)
    }
}

/// What is done for the call in `cue`.
///
/// What Gemini says in the path is not in a cue: it is performed for the model in the body, and without streaming. See
/// [`perform_at`].
#[must_use]
pub fn perform(cue: &Cue<'_>) -> Performance {
    perform_with(cue, &cue.settings.answer, Address::default())
}

/// What is done for the call in `cue` when it is made to that path and query, such as those of [`Dialect::target`].
#[must_use]
pub fn perform_at(cue: &Cue<'_>, target: &str) -> Performance {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    perform_with(cue, &cue.settings.answer, Route::of(path, query, false).address)
}

/// What is done for the call in `cue` when the model answers as in `answer`.
pub(crate) fn perform_with(cue: &Cue<'_>, answer: &AnswerSettings, address: Address<'_>) -> Performance {
    let mut chance = chance(cue);
    if let Some(instead) = cue.faults.iter().find_map(|fault| instead(cue, fault)) {
        return Performance::new(wire::shaped(instead, cue.faults, &mut chance));
    }
    let rules = Rules { seed: cue.settings.seed, answer, address };
    let asked = cue.dialect.decode(cue.body, rules).and_then(|asked| known_model(cue.dialect, asked, cue.settings));
    asked
        .and_then(|asked| answered(cue, answer, &asked, &mut chance))
        .unwrap_or_else(|denial| denied(cue.dialect, &denial))
}

/// What is done for a question that is no call for an answer, such as `GET /v1/models`.
pub(crate) fn perform_plain(cue: &Cue<'_>, body: &serde_json::Value) -> Performance {
    let mut chance = chance(cue);
    let actions = cue.faults.iter().find_map(|fault| instead(cue, fault)).unwrap_or_else(|| {
        let body = body.to_string().into_bytes();
        let identity = digest([body.as_slice()]);
        whole_answer(cue, body, Duration::ZERO, identity, &mut chance)
    });
    Performance::new(wire::shaped(actions, cue.faults, &mut chance))
}

/// The refusal of a call, in its dialect.
pub(crate) fn denied(dialect: Dialect, denial: &Denial) -> Performance {
    Performance::new(refusal(dialect, denial))
}

fn chance(cue: &Cue<'_>) -> Chance {
    let [seed, call] = [cue.settings.seed, cue.call].map(u64::to_le_bytes);
    Chance::new(digest([seed.as_slice(), b"performance", &call]))
}

fn known_model(dialect: Dialect, asked: Asked, settings: &Settings) -> Result<Asked, Denial> {
    if settings.models.is_empty() || settings.models.contains(&asked.model) {
        return Ok(asked);
    }
    Err(dialect.unknown_model(&asked.model))
}

fn answered(cue: &Cue<'_>, answer: &AnswerSettings, asked: &Asked, chance: &mut Chance) -> Result<Performance, Denial> {
    let settings = cue.settings;
    let mut answer = compose(asked, answer, settings.seed, &wish(cue.faults)).ok_or_else(|| {
        let message = if wish(cue.faults).part.is_some_and(|part| asked.lacks.contains(&part)) {
            "the script cuts in a part that this dialect does not have: leave `part` out"
        } else {
            "the script cuts in a tool call, but this request offers no tools: give the step `calls`"
        };
        Denial::new(500, message)
    })?;
    if let Some(chunks) = cue.faults.iter().find_map(filtered_after) {
        pieces::keep(&mut answer, settings.chunk_characters, chunks);
        answer.stop = Stop::Filtered;
        answer.count();
    }
    let with_usage = !cue.faults.contains(&Fault::MissingUsage {});
    let rendering = Rendering { asked, answer: &answer, with_usage };
    let boundary = cue.faults.iter().find_map(boundary);
    let division =
        pieces::Division { characters: settings.chunk_characters, whole_calls: cue.dialect.calls_come_whole() };
    let (pieces, whole_pieces) = pieces::pieces(&answer, division, boundary);
    let timing = beats::Timing::new(settings, chance);
    let actions = if asked.stream {
        let frames = cue.dialect.frames(rendering, &pieces);
        let beats = beats::stream(frames, timing, cue);
        let scene = beats::Scene { cue, rendering, whole_pieces };
        with_head(
            beats::played(beats, scene, chance),
            Duration::from_millis(settings.headers_ms),
            stream_headers(cue.dialect, answer.identity),
        )
    } else {
        let frame = cue.dialect.whole(rendering);
        let wait = timing.whole(&pieces) + Duration::from_millis(settings.headers_ms);
        whole_answer(cue, frame.bytes, wait, answer.identity, chance)
    };
    let tokens = answer.usage.prompt.saturating_add(answer.usage.completion);
    let actions = wire::shaped(actions, cue.faults, chance);
    let tokens = u64::try_from(tokens).unwrap_or(u64::MAX);
    Ok(Performance { actions: actions.into(), tokens, window: asked.window })
}

/// What the faults want of the answer.
fn wish(faults: &[Fault]) -> Wish {
    let mut wish = Wish::default();
    for fault in faults {
        if let Fault::Cut { part: Some(part), .. } = fault {
            wish.part = Some(*part);
        }
        if let Fault::Refusal { message } = fault {
            wish.refusal = Some(message.clone());
        }
    }
    wish
}

/// The cut that the faults make, if they make one.
fn cut(faults: &[Fault]) -> Option<Cut> {
    faults.iter().find_map(|fault| {
        let Fault::Cut { how, after, part, stall_ms, status } = *fault else { return None };
        Some(Cut { how, after, part, stall_ms, status })
    })
}

fn filtered_after(fault: &Fault) -> Option<usize> {
    if let Fault::Filter { after } = fault { Some(*after) } else { None }
}

/// Where a cut wants content to be divided.
fn boundary(fault: &Fault) -> Option<(Option<Part>, usize)> {
    if let Fault::Cut { after: Place::Bytes(bytes), part, .. } = fault { Some((*part, *bytes)) } else { None }
}

/// Puts the head before the body, unless the first thing is the end of the connection.
fn with_head(body: beats::Body, wait: Duration, headers: HeaderMap) -> Vec<Action> {
    let mut actions = Vec::with_capacity(body.actions.len() + 2);
    actions.extend(body.before_head);
    if !matches!(actions.last(), Some(Action::Reset | Action::Eof | Action::Hang)) {
        actions.extend((!wait.is_zero()).then_some(Action::Wait(wait)));
        actions.push(Action::Head { status: StatusCode::OK, headers });
        actions.extend(body.actions);
    }
    actions
}

/// An answer that is not streamed, cut where the faults say.
fn whole_answer(cue: &Cue<'_>, mut body: Vec<u8>, wait: Duration, identity: u64, chance: &mut Chance) -> Vec<Action> {
    let mut headers = json_headers(cue.dialect, identity);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let head = |headers: HeaderMap| Action::Head { status: StatusCode::OK, headers };
    let wait = (!wait.is_zero()).then_some(Action::Wait(wait));
    let Some(Cut { how, after, stall_ms, status, .. }) = cut(cue.faults) else {
        return wait.into_iter().chain([head(headers), Action::Send(body.into())]).collect();
    };
    let at = match after {
        Place::Start | Place::Headers | Place::Preamble => 0,
        Place::Bytes(bytes) | Place::Wire(bytes) => bytes.min(body.len()),
        Place::Chunks(_) => body.len() / 2,
        Place::Content | Place::Finish => body.len().saturating_sub(1),
    };
    let rest = Bytes::from(body.split_off(at));
    let end = beats::ending(how, stall_ms);
    let mut actions: Vec<Action> = wait.into_iter().collect();
    if after == Place::Start
        && let Some(end) = end.clone()
    {
        actions.push(end);
        if how == Ending::Stall && stall_ms.is_some() {
            actions.extend([head(headers), Action::Send(rest)]);
        }
        return actions;
    }
    match how {
        Ending::Reset | Ending::Close | Ending::Stall => {}
        Ending::Eof | Ending::Done => {
            headers.remove(CONTENT_LENGTH);
        }
        Ending::Error | Ending::Failed => {
            return refusal_with_status(cue.dialect, &Denial::usual(status.unwrap_or(529)), StatusCode::OK);
        }
        Ending::Garbage => {
            body.extend(beats::garbage(chance));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ending::Malformed => {
            // A control character is valid nowhere in JSON.
            body.push(0);
            body.extend_from_slice(&rest);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
    }
    actions.push(head(headers));
    actions.extend((!body.is_empty()).then(|| Action::Send(body.into())));
    actions.extend(end);
    if how == Ending::Stall && stall_ms.is_some() {
        actions.push(Action::Send(rest));
    }
    actions
}

/// What a fault puts in place of the answer; none if it lets this call pass.
fn instead(cue: &Cue<'_>, fault: &Fault) -> Option<Vec<Action>> {
    let dialect = cue.dialect;
    let actions = match fault {
        Fault::Status { status, retry_after_s, message, code } => {
            let denial = Denial {
                message: message.clone(),
                code: code.clone(),
                retry_after_s: *retry_after_s,
                ..Denial::usual(*status)
            };
            refusal(dialect, &denial)
        }
        Fault::Flapping { status, period } => {
            let refused = cue.call.wrapping_sub(1).checked_rem(*period) == Some(0);
            return refused.then(|| refusal(dialect, &Denial::usual(*status)));
        }
        Fault::Refuse {} => vec![Action::Reset],
        Fault::Page { status } => {
            let page = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><h1>Please sign in to continue</h1></body></html>\n";
            simple(Denial::usual(*status).status_code(), "text/html; charset=utf-8", page)
        }
        Fault::Empty {} => simple(StatusCode::OK, "application/json", ""),
        Fault::ErrorIn200 { status } => refusal_with_status(dialect, &Denial::usual(*status), StatusCode::OK),
        Fault::Redirect { status, location } => {
            let mut actions = simple(Denial::usual(*status).status_code(), "text/plain", "");
            if let (Some(Action::Head { headers, .. }), Ok(location)) =
                (actions.first_mut(), HeaderValue::from_str(location))
            {
                headers.insert(LOCATION, location);
            }
            actions
        }
        Fault::Cut { .. }
        | Fault::Drip { .. }
        | Fault::Split { .. }
        | Fault::Crlf {}
        | Fault::Heartbeat { .. }
        | Fault::MissingUsage {}
        | Fault::WrongLength { .. }
        | Fault::Filter { .. }
        | Fault::Refusal { .. } => return None,
    };
    Some(actions)
}

fn refusal(dialect: Dialect, denial: &Denial) -> Vec<Action> {
    refusal_with_status(dialect, denial, denial.status_code())
}

fn refusal_with_status(dialect: Dialect, denial: &Denial, status: StatusCode) -> Vec<Action> {
    let body = dialect.error_body(denial);
    let mut headers = json_headers(dialect, digest([body.as_slice()]));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.extend(denial.retry_after_s.map(|seconds| (RETRY_AFTER, HeaderValue::from(seconds))));
    vec![Action::Head { status, headers }, Action::Send(body.into())]
}

fn simple(status: StatusCode, content_type: &'static str, body: &'static str) -> Vec<Action> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let body = (!body.is_empty()).then(|| Action::Send(Bytes::from_static(body.as_bytes())));
    [Action::Head { status, headers }].into_iter().chain(body).collect()
}

fn json_headers(dialect: Dialect, identity: u64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let id = format!("req_{}", Chance::new(identity).name(24));
    headers.extend(dialect.request_id_header().zip(HeaderValue::from_str(&id).ok()));
    headers
}

fn stream_headers(dialect: Dialect, identity: u64) -> HeaderMap {
    let mut headers = json_headers(dialect, identity);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(dialect.framing().content_type()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers
}

fn sent(action: &Action) -> &[u8] {
    match action {
        Action::Send(bytes) => bytes,
        Action::Wait(_) | Action::Head { .. } | Action::Reset | Action::Eof | Action::Hang => &[],
    }
}

#[cfg(test)]
mod tests;
