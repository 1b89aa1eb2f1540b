//! The frames of a stream in time, and the cut that a fault makes in them.

use std::time::Duration;

use bytes::Bytes;

use super::pieces::counts;
use super::{Action, Cue, Cut, cut};
use crate::chance::Chance;
use crate::dialect::{Denial, Frame, Framing, Mark, Piece, Rendering};
use crate::fault::{Ending, Fault, Part, Place};
use crate::settings::Settings;

/// Comments during a stall that never ends: after so many even they cease.
const MOST_COMMENTS: u64 = 600;

/// A frame and the wait before it.
#[derive(Clone, Debug)]
pub(super) struct Beat {
    wait: Duration,
    frame: Frame,
}

/// The waits between frames.
#[derive(Clone, Debug)]
pub(super) struct Timing {
    first: Duration,
    gap: Duration,
    tokens_per_second: f64,
    jitter: f64,
    chance: Chance,
}

/// What a stream is played from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) cue: &'a Cue<'a>,
    pub(super) rendering: Rendering<'a>,
    /// The number of pieces before the byte that the cut names, if it names one.
    pub(super) whole_pieces: Option<usize>,
}

/// What is done for the body of a stream.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) before_head: Vec<Action>,
    pub(super) actions: Vec<Action>,
}

impl Timing {
    pub(super) fn new(settings: &Settings, chance: &mut Chance) -> Self {
        Self {
            first: Duration::from_millis(settings.first_token_ms),
            gap: Duration::from_millis(settings.gap_ms),
            tokens_per_second: settings.tokens_per_second,
            jitter: settings.jitter,
            chance: Chance::new(chance.number()),
        }
    }

    /// The wait before an answer that is not streamed.
    pub(super) fn whole(mut self, pieces: &[Piece<'_>]) -> Duration {
        let wait = |(index, piece): (usize, &Piece<'_>)| self.before(index, piece.text.chars().count());
        pieces.iter().enumerate().map(wait).sum()
    }

    /// The wait before the content chunk of that index.
    fn before(&mut self, index: usize, characters: usize) -> Duration {
        let wait = if index == 0 { self.first } else { self.gap };
        let pace = if self.tokens_per_second > 0.0 { characters as f64 / 4.0 / self.tokens_per_second } else { 0.0 };
        let wait = wait.saturating_add(Duration::try_from_secs_f64(pace).unwrap_or(Duration::MAX));
        if self.jitter == 0.0 {
            return wait;
        }
        let factor = 1.0 + self.jitter * (2.0 * self.chance.fraction() - 1.0);
        Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(wait)
    }
}

/// Gives each frame its wait; adds comments and line ends that the faults ask for.
pub(super) fn stream(frames: Vec<Frame>, mut timing: Timing, cue: &Cue<'_>) -> Vec<Beat> {
    let heartbeat = Heartbeat::of(cue);
    let mut beats = Vec::with_capacity(frames.len());
    let mut content = 0;
    for frame in frames {
        let mut wait = Duration::ZERO;
        if let Mark::Content { characters, .. } = frame.mark {
            wait = timing.before(content, characters);
            if let Some(Heartbeat { comment, chunks, every }) = heartbeat {
                let comment = || Frame { mark: Mark::Comment, bytes: comment.to_vec() };
                while !every.is_zero() && wait > every {
                    beats.push(Beat { wait: every, frame: comment() });
                    wait -= every;
                }
                if content.checked_rem(chunks) == Some(0) {
                    beats.push(Beat { wait: Duration::ZERO, frame: comment() });
                }
            }
            content += 1;
        }
        beats.push(Beat { wait, frame });
    }
    if cue.faults.contains(&Fault::Crlf {}) {
        for beat in &mut beats {
            beat.frame.bytes = crlf(&beat.frame.bytes);
        }
    }
    beats
}

/// Plays the beats up to the cut, and what happens there.
pub(super) fn played(mut beats: Vec<Beat>, scene: Scene<'_>, chance: &mut Chance) -> Body {
    let Scene { cue, rendering, whole_pieces } = scene;
    let framing = cue.dialect.framing();
    let Some(Cut { how, after, part, stall_ms, status }) = cut(cue.faults) else {
        return Body { before_head: Vec::new(), actions: sends(beats) };
    };
    let at_once = ending(how, stall_ms).or((how == Ending::Eof).then_some(Action::Eof));
    if after == Place::Start
        && let Some(end) = at_once
    {
        return Body { before_head: vec![end], actions: sends(beats) };
    }
    let at = match (after, whole_pieces) {
        (Place::Wire(bytes), _) => divide(&mut beats, bytes),
        (Place::Bytes(_), Some(pieces)) => index_of(&beats, Place::Chunks(pieces), part),
        (place, _) => index_of(&beats, place, part),
    };
    let mut rest = beats.split_off(at.min(beats.len()));
    let severed = beats.last().is_some_and(|beat| !framing.is_ended(&beat.frame.bytes));
    let before = beats.iter().filter(|beat| beat.frame.mark != Mark::Comment).count();
    let mut actions = sends(beats);
    let event = |frame: Frame| {
        let bytes = if cue.faults.contains(&Fault::Crlf {}) { crlf(&frame.bytes) } else { frame.bytes };
        let gap = if severed { framing.end() } else { "" };
        Action::Send([gap.as_bytes(), &bytes].concat().into())
    };
    let denial = Denial::usual(status.unwrap_or(529));
    match how {
        Ending::Reset | Ending::Close => actions.extend(ending(how, None)),
        Ending::Eof => {}
        Ending::Stall => {
            actions.extend(stall(stall_ms, Heartbeat::of(cue)));
            if stall_ms.is_some() {
                actions.extend(sends(rest));
            }
        }
        Ending::Error => actions.push(event(cue.dialect.error_frame(&denial, before))),
        Ending::Failed => actions.push(event(cue.dialect.failed_frame(rendering, &denial, before))),
        Ending::Done => actions.extend(cue.dialect.terminator(rendering, before).map(event)),
        Ending::Garbage => actions.push(Action::Send(garbage(chance).into())),
        Ending::Malformed => {
            if let Some(beat) = rest.first_mut() {
                beat.frame.bytes = malformed(&beat.frame.bytes, framing);
            }
            actions.extend(sends(rest));
        }
    }
    Body { before_head: Vec::new(), actions }
}

/// The action that an ending is, if it is one by itself.
pub(super) fn ending(how: Ending, stall_ms: Option<u64>) -> Option<Action> {
    match how {
        Ending::Reset => Some(Action::Reset),
        Ending::Close => Some(Action::Eof),
        Ending::Stall => Some(stall_ms.map_or(Action::Hang, |ms| Action::Wait(Duration::from_millis(ms)))),
        Ending::Eof | Ending::Error | Ending::Malformed | Ending::Garbage | Ending::Done | Ending::Failed => None,
    }
}

/// Bytes that are neither JSON nor text.
pub(super) fn garbage(chance: &mut Chance) -> Vec<u8> {
    (0..8).flat_map(|_| chance.number().to_le_bytes()).chain([0xff, 0xfe]).collect()
}

/// Comments, and when they come.
#[derive(Clone, Copy, Debug)]
struct Heartbeat {
    comment: &'static [u8],
    chunks: usize,
    every: Duration,
}

impl Heartbeat {
    /// What the faults ask for, if the dialect has comments.
    fn of(cue: &Cue<'_>) -> Option<Self> {
        let comment = cue.dialect.framing().comment()?;
        cue.faults.iter().find_map(|fault| {
            let Fault::Heartbeat { chunks, every_ms } = *fault else { return None };
            Some(Self { comment, chunks, every: Duration::from_millis(every_ms) })
        })
    }
}

fn stall(stall_ms: Option<u64>, heartbeat: Option<Heartbeat>) -> Vec<Action> {
    let every = heartbeat.map_or(0, |beat| u64::try_from(beat.every.as_millis()).unwrap_or(u64::MAX));
    let comments = stall_ms.map_or(MOST_COMMENTS, |ms| ms.checked_div(every).unwrap_or(0)).min(MOST_COMMENTS);
    let comments = if every == 0 { 0 } else { comments };
    let comment = [
        Action::Wait(Duration::from_millis(every)),
        Action::Send(Bytes::from_static(heartbeat.map_or(b"", |beat| beat.comment))),
    ];
    let count = usize::try_from(comments).unwrap_or(0);
    let mut actions: Vec<_> = std::iter::repeat_n(comment, count).flatten().collect();
    actions.push(match stall_ms {
        Some(ms) => Action::Wait(Duration::from_millis(ms.saturating_sub(comments.saturating_mul(every)))),
        None => Action::Hang,
    });
    actions
}

fn sends(beats: Vec<Beat>) -> Vec<Action> {
    let mut actions = Vec::with_capacity(beats.len());
    for beat in beats {
        actions.extend((!beat.wait.is_zero()).then_some(Action::Wait(beat.wait)));
        actions.push(Action::Send(beat.frame.bytes.into()));
    }
    actions
}

/// The number of beats before the place.
fn index_of(beats: &[Beat], place: Place, part: Option<Part>) -> usize {
    let is_content = |beat: &Beat, wanted: Option<Part>| match beat.frame.mark {
        Mark::Content { part, .. } => counts(wanted, part),
        Mark::Preamble | Mark::Between | Mark::Comment | Mark::Finish | Mark::Terminator | Mark::Whole => false,
    };
    let first = |mark: Mark| beats.iter().position(|beat| beat.frame.mark == mark).unwrap_or(beats.len());
    let after_content = |wanted: Option<Part>| {
        beats.iter().rposition(|beat| is_content(beat, wanted)).map_or_else(|| first(Mark::Finish), |at| at + 1)
    };
    match place {
        Place::Start | Place::Headers => 0,
        Place::Preamble => beats.iter().rposition(|beat| beat.frame.mark == Mark::Preamble).map_or(0, |at| at + 1),
        Place::Chunks(count) | Place::Bytes(count) | Place::Wire(count) => {
            let mut contents = beats.iter().enumerate().filter(|(_, beat)| is_content(beat, part)).map(|(at, _)| at);
            let found = match count.checked_sub(1) {
                None => contents.next(),
                Some(before) => contents.nth(before).map(|at| at + 1),
            };
            found.unwrap_or_else(|| after_content(part))
        }
        Place::Content => after_content(part),
        Place::Finish => first(Mark::Terminator),
    }
}

/// Divides the beat that holds the byte `bytes` of the body; gives the number of beats before that byte.
fn divide(beats: &mut Vec<Beat>, bytes: usize) -> usize {
    let mut left = bytes;
    for at in 0..beats.len() {
        let Some(beat) = beats.get_mut(at) else { break };
        if left == 0 {
            return at;
        }
        if left < beat.frame.bytes.len() {
            let rest = Frame { mark: beat.frame.mark, bytes: beat.frame.bytes.split_off(left) };
            beats.insert(at + 1, Beat { wait: Duration::ZERO, frame: rest });
            return at + 1;
        }
        left -= beat.frame.bytes.len();
    }
    beats.len()
}

/// The event with the second half of its data lost.
fn malformed(event: &[u8], framing: Framing) -> Vec<u8> {
    let text = String::from_utf8_lossy(event);
    let line = text.trim_end();
    let data = line.find("data: ").map_or(0, |at| at + "data: ".len());
    let end = line.floor_char_boundary(data + (line.len() - data) / 2);
    format!("{}{}", line.get(..end).unwrap_or_default(), framing.end()).into_bytes()
}

fn crlf(bytes: &[u8]) -> Vec<u8> {
    // Some dialects write CR LF by themselves.
    let ends = bytes.iter().filter(|byte| **byte != b'\r');
    ends.flat_map(|byte| if *byte == b'\n' { &b"\r\n"[..] } else { std::slice::from_ref(byte) }).copied().collect()
}
