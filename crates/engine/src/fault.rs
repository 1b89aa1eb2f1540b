//! Everything that can go wrong, with whose fault it is and whether another try may help.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a call was not answered, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Fault {
    /// There is no engine in this build, or this CPU cannot run it.
    #[error("{reason}")]
    NoEngine {
        /// A sentence that says what to do.
        reason: String,
    },
    /// The model or the engine cannot do this.
    #[error("the local model cannot do this: {what}")]
    Unsupported {
        /// What was asked.
        what: String,
    },
    /// The call makes no sense.
    #[error("{reason}")]
    BadRequest {
        /// What is wrong with it.
        reason: String,
    },
    /// The prompt leaves no room for an answer. Nothing is ever cut off to make it fit.
    #[error(
        "the prompt has {prompt_tokens} tokens and the window {window}: shorten the prompt, or raise `context_tokens` if the model allows more"
    )]
    ContextOverflow {
        /// Length of the prompt as this model counts.
        prompt_tokens: u32,
        /// The window in force, prompt and answer together.
        window: u32,
    },
    /// Too many calls wait already.
    #[error("the local model is busy: {waiting} calls are already running or waiting")]
    Busy {
        /// Calls before this one.
        waiting: u32,
    },
    /// The model cannot be loaded. The same call fails at once until the pause before the next try is over.
    #[error("the model could not be loaded: {reason}")]
    LoadFailed {
        /// What the loader said last.
        reason: String,
    },
    /// The model crashed lately and is not started again yet.
    #[error("the local model crashed and starts again in {} ms", retry_after.as_millis())]
    Restarting {
        /// Pause that is left.
        retry_after: Duration,
    },
    /// The child process ended while it worked on this call.
    #[error("the local model crashed: {reason}")]
    Crashed {
        /// Signal or exit code, and the last lines that the child printed.
        reason: String,
    },
    /// The child process was killed because it had stopped working.
    #[error("the local model stopped answering for {} s and was killed", after.as_secs())]
    Hung {
        /// How long it was silent.
        after: Duration,
    },
    /// The model ran into a state from which it cannot continue this answer, for instance a grammar that no token of
    /// its vocabulary satisfies. Other answers go on.
    #[error("the local model cannot continue this answer: {reason}")]
    Generation {
        /// What the sampler said.
        reason: String,
    },
    /// The model was unloaded while it worked on this call.
    #[error("the local model was unloaded")]
    Unloaded,
}

impl Fault {
    /// Whether the call itself must change before it can succeed.
    #[must_use]
    pub fn caller_fault(&self) -> bool {
        match self {
            Self::Unsupported { .. } | Self::BadRequest { .. } | Self::ContextOverflow { .. } => true,
            Self::NoEngine { .. }
            | Self::Busy { .. }
            | Self::LoadFailed { .. }
            | Self::Restarting { .. }
            | Self::Crashed { .. }
            | Self::Hung { .. }
            | Self::Generation { .. }
            | Self::Unloaded => false,
        }
    }

    /// Whether the same call may succeed on the same model a little later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Restarting { .. } | Self::Crashed { .. } | Self::Hung { .. } | Self::Unloaded => {
                true
            }
            Self::NoEngine { .. }
            | Self::Unsupported { .. }
            | Self::BadRequest { .. }
            | Self::ContextOverflow { .. }
            | Self::LoadFailed { .. }
            | Self::Generation { .. } => false,
        }
    }

    /// A call that makes no sense.
    pub(crate) fn bad(reason: impl Into<String>) -> Self {
        Self::BadRequest { reason: reason.into() }
    }
}
