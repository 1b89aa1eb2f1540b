//! Why a model could not be had, each as a sentence that says what to do.

use std::io;
use std::path::Path;

use reqwest::{StatusCode, Url};

/// Why a model could not be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub's address is none.
    #[error("`{text}` is not the address of a hub: write `https://host`")]
    NotAnAddress {
        /// What was written.
        text: String,
    },
    /// Nobody can tell which model is meant.
    #[error("`{text}` names no model: write `owner/repository`, `owner/repository/file.gguf` or an address")]
    NotAModel {
        /// What was written.
        text: String,
    },
    /// A repository was named where a file is needed.
    #[error("`{repository}` is a repository: name one of its files")]
    NoFile {
        /// The repository.
        repository: String,
    },
    /// The line is not encrypted.
    #[error("`{url}` is not encrypted, so that anybody on the way could change the model: use `https`")]
    OpenLine {
        /// The address.
        url: String,
    },
    /// A redirect that gives up encryption, or goes round in circles.
    #[error("`{from}` sends on to `{to}`, which is not followed: {why}")]
    Redirect {
        /// Who sends.
        from: String,
        /// Where to.
        to: String,
        /// Why not.
        why: &'static str,
    },
    /// Nobody answers.
    #[error(
        "`{host}` cannot be reached ({cause}): see whether this machine is online, or name another hub with `--hub`"
    )]
    Unreachable {
        /// Who.
        host: String,
        /// What the system says.
        cause: String,
    },
    /// Somebody answers who is no hub.
    #[error("what answers at `{url}` is no hub ({cause}): name one with `--hub`")]
    NotAHub {
        /// Where.
        url: String,
        /// What was wrong with the answer.
        cause: String,
    },
    /// There is no such file or repository, or it is not shown to strangers.
    #[error("the hub has no `{url}`: see whether owner, name and revision are right; a private model needs `HF_TOKEN`")]
    NotFound {
        /// What was asked for.
        url: String,
    },
    /// The hub wants to know who asks.
    #[error("the hub shows `{url}` only to some: accept its terms on its page, and set `HF_TOKEN` to a token of yours")]
    NotAllowed {
        /// What was asked for.
        url: String,
    },
    /// The hub has had enough of us.
    #[error("the hub asks to come back later (status 429): wait a few minutes; a token in `HF_TOKEN` is given more")]
    TooMany,
    /// Another refusal.
    #[error("the hub answers with status {status} for `{url}`: try again later")]
    Status {
        /// Its status.
        status: u16,
        /// What was asked for.
        url: String,
    },
    /// The line broke.
    #[error(
        "the line broke after {have} of {total} bytes ({cause}): run the same command again, it goes on from there"
    )]
    Broke {
        /// Bytes that are here.
        have: u64,
        /// Bytes in all, or `?`.
        total: String,
        /// Why.
        cause: String,
    },
    /// The hub has another file under that name than a moment ago.
    #[error("the file at the hub changed while it was pulled: run the same command again")]
    Changed,
    /// What came is not what was announced.
    #[error(
        "what came is damaged: its SHA-256 checksum is {found}, the hub announced {expected}; it was deleted, pull again"
    )]
    WrongChecksum {
        /// Announced.
        expected: String,
        /// Computed.
        found: String,
    },
    /// More came than was announced.
    #[error("the hub sent more than the {announced} bytes it announced; what came was deleted, pull again")]
    TooLong {
        /// Announced.
        announced: u64,
    },
    /// What came is no model.
    #[error("`{url}` is no GGUF file{}: name a file that ends in `.gguf`", begins.as_ref().map(|b| format!(" (it begins with `{b}`)")).unwrap_or_default())]
    NotGguf {
        /// Where it came from.
        url: String,
        /// How it begins.
        begins: Option<String>,
    },
    /// Another file has the name.
    #[error("another file lies at `{path}`: move it away first")]
    InTheWay {
        /// Where.
        path: String,
    },
    /// The same file is being pulled.
    #[error("`{path}` is being pulled by another process: wait for it")]
    Underway {
        /// Where.
        path: String,
    },
    /// It does not fit.
    #[error(
        "`{folder}` has room for {free} MiB and the model needs {needed} MiB: make room, or set `vault` under `[engine]` to another folder"
    )]
    NoRoom {
        /// Where.
        folder: String,
        /// What is free.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// The disk says no.
    #[error("cannot write `{path}` ({source}): {}", advice(source))]
    Disk {
        /// Which file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
}

impl HubError {
    /// Whether the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Broke { .. } | Self::Changed | Self::Unreachable { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::NotAnAddress { .. }
            | Self::NotAModel { .. }
            | Self::NoFile { .. }
            | Self::OpenLine { .. }
            | Self::Redirect { .. }
            | Self::NotAHub { .. }
            | Self::NotFound { .. }
            | Self::NotAllowed { .. }
            | Self::TooMany
            | Self::WrongChecksum { .. }
            | Self::TooLong { .. }
            | Self::NotGguf { .. }
            | Self::InTheWay { .. }
            | Self::Underway { .. }
            | Self::NoRoom { .. }
            | Self::Disk { .. } => false,
        }
    }

    pub(super) fn unreachable(url: &Url, error: &reqwest::Error) -> Self {
        Self::Unreachable { host: url.host_str().unwrap_or_default().to_owned(), cause: root(error) }
    }

    pub(super) fn of_status(status: StatusCode, url: &Url) -> Self {
        let url = url.to_string();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::NotFound { url },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::NotAllowed { url },
            StatusCode::TOO_MANY_REQUESTS => Self::TooMany,
            other => Self::Status { status: other.as_u16(), url },
        }
    }

    pub(super) fn disk(path: &Path, source: io::Error) -> Self {
        Self::Disk { path: path.display().to_string(), source }
    }
}

fn advice(source: &io::Error) -> &'static str {
    let known = [
        (io::ErrorKind::PermissionDenied, "give yourself the right to write there, or set `vault` under `[engine]`"),
        (io::ErrorKind::StorageFull, "make room; what has come is kept"),
        (io::ErrorKind::QuotaExceeded, "make room; what has come is kept"),
    ];
    let found = known.into_iter().find(|(kind, _)| *kind == source.kind());
    found.map_or("see whether the disk is well", |(_, advice)| advice)
}

/// The innermost cause, which is the one that says something.
pub(super) fn root(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "nothing came for too long".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
