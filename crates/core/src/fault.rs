//! What can go wrong at a deployment, whose fault it is, and what follows.

use std::fmt;

/// What went wrong. A closed set: each decision about it is a `match` without a catch-all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No connection could be made (refused, unreachable, name not found, TLS).
    Connect,
    /// The connection was not made in time.
    ConnectTimeout,
    /// No response headers in time.
    HeadersTimeout,
    /// Headers, but no content in time.
    FirstContentTimeout,
    /// Content, then silence.
    IdleTimeout,
    /// The whole answer took too long.
    TotalTimeout,
    /// The connection broke, or the stream ended without its terminator.
    Cut,
    /// Bytes that are not the dialect.
    Malformed,
    /// A complete response without any content.
    Empty,
    /// An error told inside a successful response.
    InBand,
    /// 429.
    RateLimited,
    /// 503 and 529.
    Overloaded,
    /// Any other 5xx, and 408/409.
    ServerError,
    /// 401: the key is wrong, expired or revoked.
    BadKey,
    /// 403: the key may not do this.
    Forbidden,
    /// 402 or a quota message: the account is out of money.
    QuotaExhausted,
    /// 404: the provider does not know the model or the address.
    ModelNotFound,
    /// 400 or 422: the provider refuses the request itself.
    BadRequest,
    /// 413, or 400 that says the prompt is too long.
    ContextOverflow,
    /// A redirect, which is never followed with a key in hand.
    Redirect,
    /// The local engine is not in this build, cannot load the model, or has crashed.
    Engine,
    /// The local engine's queue is full.
    EngineBusy,
    /// The request could not be written in this deployment's dialect.
    Untranslatable,
}

/// Who or what is to blame, hence what is benched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The request: no other try will help at deployments of the same kind, and nothing is benched.
    Caller,
    /// This model at this provider.
    Deployment,
    /// The account: every deployment of the provider.
    Account,
}

impl FaultKind {
    /// Who or what is to blame.
    #[must_use]
    pub fn blame(self) -> Blame {
        match self {
            Self::BadRequest | Self::ContextOverflow | Self::Untranslatable => Blame::Caller,
            Self::BadKey | Self::QuotaExhausted | Self::Connect | Self::ConnectTimeout | Self::Redirect => {
                Blame::Account
            }
            Self::HeadersTimeout
            | Self::FirstContentTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::Cut
            | Self::Malformed
            | Self::Empty
            | Self::InBand
            | Self::RateLimited
            | Self::Overloaded
            | Self::ServerError
            | Self::Forbidden
            | Self::ModelNotFound
            | Self::Engine
            | Self::EngineBusy => Blame::Deployment,
        }
    }

    /// Whether the same deployment may answer if asked again at once.
    #[must_use]
    pub fn may_pass(self) -> bool {
        match self {
            Self::Connect
            | Self::Cut
            | Self::Malformed
            | Self::Empty
            | Self::InBand
            | Self::Overloaded
            | Self::ServerError
            | Self::Engine => true,
            Self::ConnectTimeout
            | Self::HeadersTimeout
            | Self::FirstContentTimeout
            | Self::IdleTimeout
            | Self::TotalTimeout
            | Self::RateLimited
            | Self::BadKey
            | Self::Forbidden
            | Self::QuotaExhausted
            | Self::ModelNotFound
            | Self::BadRequest
            | Self::ContextOverflow
            | Self::Redirect
            | Self::EngineBusy
            | Self::Untranslatable => false,
        }
    }

    /// The word for it in headers, metrics and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::HeadersTimeout => "headers_timeout",
            Self::FirstContentTimeout => "first_content_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TotalTimeout => "total_timeout",
            Self::Cut => "cut",
            Self::Malformed => "malformed",
            Self::Empty => "empty",
            Self::InBand => "in_band_error",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::ServerError => "server_error",
            Self::BadKey => "bad_key",
            Self::Forbidden => "forbidden",
            Self::QuotaExhausted => "quota_exhausted",
            Self::ModelNotFound => "model_not_found",
            Self::BadRequest => "bad_request",
            Self::ContextOverflow => "context_overflow",
            Self::Redirect => "redirect",
            Self::Engine => "engine",
            Self::EngineBusy => "engine_busy",
            Self::Untranslatable => "untranslatable",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// One sentence for people; never a key, never a prompt.
    pub message: String,
    /// What the provider asked us to wait, in milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault without a wait.
    #[must_use]
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_ms: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.kind)
    }
}

impl std::error::Error for Fault {}
