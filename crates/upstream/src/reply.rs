//! An answer that has begun.

use std::collections::VecDeque;

use bytes::Bytes;
use commonwatt_core::answer::Delta;
use commonwatt_core::fault::{Fault, FaultKind};
use commonwatt_wire::Dialect;

use crate::engine::EngineStream;
use crate::http::EventStream;

/// A piece of a streamed answer: what it says, and the bytes in which the provider said it.
#[derive(Debug, Default)]
pub struct Frame {
    /// The provider's bytes, a whole event; `None` where there are none (the engine).
    pub raw: Option<Bytes>,
    /// What they say. Empty for comments, pings and the like.
    pub deltas: Vec<Delta>,
}

/// An answer from its first content on.
pub struct Reply {
    /// The dialect of the raw bytes; `None` where there are none.
    pub dialect: Option<Dialect>,
    /// Fields of the request that could not be carried to this deployment, by name.
    pub lossy: Vec<String>,
    /// The answer.
    pub content: Content,
}

/// The two shapes of an answer.
pub enum Content {
    /// Complete and found to be well-formed.
    Whole {
        /// The provider's bytes; `None` where there are none.
        raw: Option<Bytes>,
        /// What they say.
        deltas: Vec<Delta>,
    },
    /// Begun: the next frame has content, or stands before content that is certain to come.
    Stream(Box<Frames>),
}

/// The frames of a streamed answer. Dropping it ends the call upstream.
pub struct Frames {
    held: VecDeque<Frame>,
    rest: Source,
}

pub(crate) enum Source {
    Events(Box<EventStream>),
    Engine(EngineStream),
}

/// Frames held back before content: preambles are a handful, and a provider that pings every second for as long as any
/// first-content timeout allows stays below it.
const HELD_FRAMES_MAX: usize = 4_096;

impl Frames {
    /// Reads until there is content, or until an answer without any has properly ended, and holds back what was read.
    ///
    /// # Errors
    /// The fault that came instead of content.
    pub(crate) async fn begin(mut rest: Source) -> Result<Self, Fault> {
        let mut held: VecDeque<Frame> = VecDeque::new();
        while held.len() < HELD_FRAMES_MAX {
            let Some(frame) = rest.next().await else { return Ok(Self { held, rest }) };
            let frame = frame?;
            let begun = frame.deltas.iter().any(Delta::is_content);
            held.push_back(frame);
            if begun {
                return Ok(Self { held, rest });
            }
        }
        Err(Fault::new(FaultKind::Malformed, "the stream went on and on without any content"))
    }

    /// The next frame; `None` after the proper end.
    pub async fn next(&mut self) -> Option<Result<Frame, Fault>> {
        match self.held.pop_front() {
            Some(frame) => Some(Ok(frame)),
            None => self.rest.next().await,
        }
    }
}

impl Source {
    async fn next(&mut self) -> Option<Result<Frame, Fault>> {
        match self {
            Self::Events(events) => events.next().await,
            Self::Engine(engine) => engine.next().await,
        }
    }
}
