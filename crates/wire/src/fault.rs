//! What a provider's error means.
//!
//! The status code says most of it, and the words the rest: a wrong prompt, an empty account and a full server all come
//! as a 400 from somebody.

use std::borrow::Cow;

use commonwatt_core::fault::{Fault, FaultKind};

use crate::Dialect;
use crate::tape::{Tape, View};

/// A provider's sentence is cut here, so that it fits a log line.
const MESSAGE_CHARS_MAX: usize = 500;

/// Reads the response of a provider that refuses.
#[must_use]
pub fn read_fault(dialect: Dialect, status: u16, retry_after_ms: Option<u64>, body: &[u8]) -> Fault {
    let told = Told::read(body);
    let kind = by_status(dialect, status, &told);
    let message = told.message.unwrap_or_else(|| format!("status {status} without a reason"));
    Fault { kind, message, retry_after_ms: retry_after_ms.or(told.retry_after_ms) }
}

/// What a provider refuses in a request that may pass once it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// What it, or another one, has sealed: a signature, encrypted reasoning. To be left out.
    Seal,
    /// A tool call without its result, or a result without its call. To be paired.
    Pairing,
}

impl Mend {
    /// What would mend the request that met this fault, if anything known would.
    #[must_use]
    pub fn of(fault: &Fault) -> Option<Self> {
        const SEAL: [&str; 5] = ["signature", "encrypted_content", "encrypted content", "thinking block", "thinking`"];
        const PAIRING: [&str; 6] = [
            "tool_result",
            "must be followed by tool messages",
            "must be a response to a preceeding message with 'tool_calls'",
            "no tool output found",
            "no tool call found",
            "function response parts",
        ];
        let said = fault.message.to_ascii_lowercase();
        let speaks_of =
            |words: &[&str]| fault.kind == FaultKind::BadRequest && words.iter().any(|word| said.contains(word));
        if speaks_of(&SEAL) {
            return Some(Self::Seal);
        }
        speaks_of(&PAIRING).then_some(Self::Pairing)
    }
}

/// Reads an error inside a response that claims success.
pub(crate) fn in_band(dialect: Dialect, body: &[u8]) -> Fault {
    let told = Told::read(body);
    let kind = match told.status {
        Some(status @ 400..=599) => by_status(dialect, status, &told),
        Some(_) | None => by_words(&told).unwrap_or(FaultKind::InBand),
    };
    let kind = if kind == FaultKind::ServerError { FaultKind::InBand } else { kind };
    let message = told.message.unwrap_or_else(|| "the provider told of an error without a reason".to_owned());
    Fault { kind, message, retry_after_ms: told.retry_after_ms }
}

fn by_status(dialect: Dialect, status: u16, told: &Told) -> FaultKind {
    let words = by_words(told);
    match status {
        300..=399 => FaultKind::Redirect,
        401 => FaultKind::BadKey,
        402 => FaultKind::QuotaExhausted,
        403 => match words {
            Some(kind @ (FaultKind::QuotaExhausted | FaultKind::BadKey | FaultKind::RateLimited)) => kind,
            Some(_) | None => FaultKind::Forbidden,
        },
        404 => FaultKind::ModelNotFound,
        408 | 409 => FaultKind::ServerError,
        413 => FaultKind::ContextOverflow,
        429 => match words {
            Some(kind @ (FaultKind::QuotaExhausted | FaultKind::ContextOverflow | FaultKind::Overloaded)) => kind,
            Some(_) | None => FaultKind::RateLimited,
        },
        503 | 529 => FaultKind::Overloaded,
        // Google says so of callers in the wrong country, too.
        400 if dialect == Dialect::Gemini && words == Some(FaultKind::Forbidden) => FaultKind::Forbidden,
        400..=499 => match words {
            Some(
                kind @ (FaultKind::ContextOverflow
                | FaultKind::QuotaExhausted
                | FaultKind::BadKey
                | FaultKind::ModelNotFound
                | FaultKind::RateLimited),
            ) => kind,
            Some(_) | None => FaultKind::BadRequest,
        },
        500.. => match words {
            Some(
                kind @ (FaultKind::ContextOverflow
                | FaultKind::Overloaded
                | FaultKind::RateLimited
                | FaultKind::QuotaExhausted),
            ) => kind,
            Some(_) | None => FaultKind::ServerError,
        },
        _ => words.unwrap_or(FaultKind::InBand),
    }
}

/// What an error's type, code and sentence say, the machine's words before the people's.
fn by_words(told: &Told) -> Option<FaultKind> {
    const MACHINE: [(&str, FaultKind); 20] = [
        ("perday", FaultKind::QuotaExhausted),
        ("api_key_invalid", FaultKind::BadKey),
        ("insufficient_quota", FaultKind::QuotaExhausted),
        ("billing", FaultKind::QuotaExhausted),
        ("payment_required", FaultKind::QuotaExhausted),
        ("spend_limit", FaultKind::QuotaExhausted),
        ("context_length_exceeded", FaultKind::ContextOverflow),
        ("exceed_context_size", FaultKind::ContextOverflow),
        ("string_above_max_length", FaultKind::ContextOverflow),
        ("request_too_large", FaultKind::ContextOverflow),
        ("rate_limit", FaultKind::RateLimited),
        ("resource_exhausted", FaultKind::RateLimited),
        ("too_many_requests", FaultKind::RateLimited),
        ("overloaded", FaultKind::Overloaded),
        ("unavailable", FaultKind::Overloaded),
        ("authentication", FaultKind::BadKey),
        ("invalid_api_key", FaultKind::BadKey),
        ("permission", FaultKind::Forbidden),
        ("model_not_found", FaultKind::ModelNotFound),
        ("not_found_error", FaultKind::ModelNotFound),
    ];
    const PEOPLE: [(&str, FaultKind); 20] = [
        ("credit balance is too low", FaultKind::QuotaExhausted),
        ("insufficient credits", FaultKind::QuotaExhausted),
        ("insufficient balance", FaultKind::QuotaExhausted),
        ("prompt is too long", FaultKind::ContextOverflow),
        ("input is too long", FaultKind::ContextOverflow),
        ("maximum context length", FaultKind::ContextOverflow),
        ("context window", FaultKind::ContextOverflow),
        ("available context size", FaultKind::ContextOverflow),
        ("context length", FaultKind::ContextOverflow),
        ("too many tokens", FaultKind::ContextOverflow),
        ("exceeds the maximum number of tokens", FaultKind::ContextOverflow),
        ("api key not valid", FaultKind::BadKey),
        ("reported as leaked", FaultKind::BadKey),
        ("user location is not supported", FaultKind::Forbidden),
        ("incorrect api key", FaultKind::BadKey),
        ("invalid api key", FaultKind::BadKey),
        ("rate limit", FaultKind::RateLimited),
        ("too many requests", FaultKind::RateLimited),
        ("overloaded", FaultKind::Overloaded),
        ("at capacity", FaultKind::Overloaded),
    ];
    let find = |text: &str, words: &[(&str, FaultKind)]| {
        words.iter().find(|(word, _)| text.contains(word)).map(|(_, kind)| *kind)
    };
    let said = told.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    match find(&told.words, &MACHINE) {
        // The least telling of the machine's words: Google says it of a key that was revoked, too.
        machine @ (Some(FaultKind::Forbidden) | None) => find(&said, &PEOPLE).or(machine),
        Some(kind) => Some(kind),
    }
}

/// What an error says of itself.
#[derive(Debug, Default)]
struct Told {
    /// The sentence for people, cleaned.
    message: Option<String>,
    /// Type, code and status words, in lower case.
    words: String,
    /// A status code inside the body.
    status: Option<u16>,
    retry_after_ms: Option<u64>,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let mut tape = Tape::default();
        let trimmed = body.trim_ascii();
        let Ok(root) = tape.read(trimmed) else { return Self::prose(trimmed) };
        // Google wraps its errors in an array.
        let root = root.items().next().unwrap_or(root);
        let error = root.get("error").unwrap_or(root);
        let mut told = Self::default();
        let sentence = error.string().or_else(|| error.get_string("message"));
        let sentence = sentence.or_else(|| root.get_string("message")).or_else(|| root.get_string("detail"));
        told.message = sentence.map(|sentence| cleaned(&sentence)).filter(|sentence| !sentence.is_empty());
        for name in ["type", "code", "status"] {
            if let Some(value) = error.get(name) {
                told.words.push_str(&value.string().unwrap_or_default().to_ascii_lowercase());
                told.words.push(' ');
                told.status = told.status.or_else(|| u16::try_from(value.whole()?).ok());
            }
        }
        for detail in error.get("details").iter().flat_map(View::items) {
            told.retry_after_ms = told.retry_after_ms.or_else(|| delay_ms(&detail));
            told.detail(&detail);
        }
        told
    }

    /// Google's `{"@type":"…ErrorInfo","reason":"API_KEY_INVALID"}`, and the quotas of
    /// `{"@type":"…QuotaFailure","violations":[{"quotaId":"…PerDayPerProjectPerModel-FreeTier"}]}`.
    fn detail(&mut self, detail: &View<'_>) {
        let mut note = |word: Option<Cow<'_, str>>| {
            self.words.push_str(&word.unwrap_or_default().to_ascii_lowercase());
            self.words.push(' ');
        };
        note(detail.get_string("reason"));
        for violation in detail.get("violations").iter().flat_map(View::items) {
            note(violation.get_string("quotaId"));
        }
    }

    /// A body that is not JSON: a sentence, or the page of some proxy.
    fn prose(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body.get(..body.len().min(8 * MESSAGE_CHARS_MAX)).unwrap_or_default());
        let message = match text.chars().next() {
            None => None,
            Some('<') => Some("the provider sent a web page instead of a reason".to_owned()),
            Some('{' | '[') => Some("the provider sent a reason that cannot be read".to_owned()),
            Some(_) => Some(cleaned(&text)),
        };
        Self { message, ..Self::default() }
    }
}

/// Google's `{"@type":"…RetryInfo","retryDelay":"34.5s"}`.
fn delay_ms(detail: &View<'_>) -> Option<u64> {
    let seconds: f64 = detail.get_string("retryDelay")?.strip_suffix('s')?.parse().ok()?;
    let bounded = (0.0..=86_400.0).contains(&seconds);
    bounded.then_some((seconds * 1_000.0) as u64)
}

/// One line of printable text of bounded length, in which no word looks like a key.
fn cleaned(text: &str) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if line.len() > 4 * MESSAGE_CHARS_MAX {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(if is_key(word) { "…" } else { word });
    }
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Providers repeat the key they were given, more or less masked.
fn is_key(word: &str) -> bool {
    let bare = word.trim_start_matches(['`', '"', '\'', '(', ':']);
    ["sk-", "sk_", "gsk_", "xai-", "AIza", "pk-", "key-", "hf_", "csk-", "nvapi-"].iter().any(|p| bare.starts_with(p))
}

#[cfg(test)]
mod tests;
