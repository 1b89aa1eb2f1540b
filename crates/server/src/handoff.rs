//! The admin API's doors for handoffs.
//!
//! ```text
//! POST   /admin/v1/sessions/{id}/handoff    {"audience":"bob","scopes":["continue"],"expires_s":3600,"note":"…"}
//! GET    /admin/v1/sessions/{id}/handoffs
//! POST   /admin/v1/handoffs/accept          {"token":"cwh_…","format":"anthropic","key":"32 hexadecimal digits"}
//! DELETE /admin/v1/handoffs/{id}
//! ```

use std::sync::Arc;

use commonwatt_core::lease::HandoffId;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_grid::bus::Bus;
use commonwatt_grid::bus::handoff::{Content, Format, Given, OfferTerms, Scope, Scopes, Taken, Taking};
use commonwatt_upstream::body::KeptBody;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::respond::{self, Body};
use crate::{Lobby, doors};

/// Seconds for which a session is offered where nothing is said: long enough to pass a token on by hand.
const OFFER_S: u64 = 3_600;

/// What is asked of handoffs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Offers this session.
    Offer(String),
    /// Lists this session's offers.
    List(String),
    /// Uses a token.
    Accept,
    /// Takes this offer back.
    Revoke(String),
}

impl Ask {
    /// What a path asks for, if it is one of these.
    pub(crate) fn at(path: &str) -> Option<Self> {
        if path == "/admin/v1/handoffs/accept" {
            return Some(Self::Accept);
        }
        let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        if let Some(id) = path.strip_prefix("/admin/v1/handoffs/") {
            return Some(Self::Revoke(text(id))).filter(|_| !id.is_empty());
        }
        let (session, what) = path.strip_prefix("/admin/v1/sessions/")?.rsplit_once('/')?;
        match what {
            "handoff" if !session.is_empty() => Some(Self::Offer(text(session))),
            "handoffs" if !session.is_empty() => Some(Self::List(text(session))),
            _ => None,
        }
    }

    pub(crate) fn method(&self) -> Method {
        match self {
            Self::Offer(_) | Self::Accept => Method::POST,
            Self::List(_) => Method::GET,
            Self::Revoke(_) => Method::DELETE,
        }
    }
}

/// Answers what is asked of handoffs.
pub(crate) async fn answer(lobby: &Lobby, ask: Ask, request: Request<Incoming>) -> Response<Body> {
    let dialect = doors::dialect_of(request.headers());
    match answered(lobby, ask, request).await {
        Ok(body) => respond::json(body),
        Err(refused) => doors::refuse(lobby, dialect, &refused),
    }
}

async fn answered(lobby: &Lobby, ask: Ask, request: Request<Incoming>) -> Result<Vec<u8>, Refusal> {
    // Whoever moves a session shows a key.
    let principal = lobby.grid.identify(doors::credential(request.headers()))?.name;
    let bus = lobby.grid.bus().ok_or_else(unkept)?;
    match ask {
        Ask::Offer(session) => {
            let asked: OfferAsked = read(lobby, request).await?;
            let terms = asked.terms()?;
            let offered = bus.offer(&principal, &session, &terms).await?;
            written(&OfferLine {
                handoff: offered.handoff.to_string(),
                token: offered.token,
                session: offered.session.to_string(),
                head: offered.head.to_string(),
                epoch: offered.epoch.0,
                audience: terms.audience,
                scopes: words(terms.scopes),
                expires_s: offered.expires_s,
                spend_micros: terms.spend_micros,
            })
        }
        Ask::List(session) => list(lobby, bus, &principal, &session).await,
        Ask::Accept => {
            let asked: AcceptAsked = read(lobby, request).await?;
            let taken = bus.accept(&principal, &asked.taking()?).await?;
            written(&TakenLine::of(&taken)?)
        }
        Ask::Revoke(id) => {
            let handoff = id_of(&id).map(HandoffId).ok_or_else(|| bad("a handoff's id is 32 hexadecimal digits"))?;
            bus.revoke(&principal, handoff).await?;
            written(&RevokedLine { handoff: handoff.to_string(), state: "revoked" })
        }
    }
}

async fn list(lobby: &Lobby, bus: &Arc<Bus>, principal: &str, session: &str) -> Result<Vec<u8>, Refusal> {
    let now_s = lobby.grid.unix_s();
    let given = bus.handoffs(principal, session).await?;
    written(&ListLine { handoffs: given.into_iter().map(|given| GivenLine::of(given, now_s)).collect() })
}

/// The body as JSON. Whatever it has that is not known here is refused: a misspelt limit would be no limit.
async fn read<T: for<'de> Deserialize<'de>>(lobby: &Lobby, request: Request<Incoming>) -> Result<T, Refusal> {
    let body = doors::keep(request.into_body(), None, lobby.body_bytes_max).await?;
    let KeptBody::Memory(bytes) = body else {
        return Err(Refusal::new(RefusalKind::TooLarge, "a request about a handoff is a few lines"));
    };
    let bytes = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| bad(format!("the body is not as it should be: {error}")))
}

fn written<T: Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value)
        .map_err(|error| Refusal::new(RefusalKind::Internal, format!("the answer cannot be written: {error}")))
}

fn bad(message: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::BadRequest, message)
}

fn unkept() -> Refusal {
    bad("this daemon keeps no sessions: remove `enabled = false` from `[bus]`")
}

/// 16 bytes from 32 hexadecimal digits.
fn id_of(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(text, 16).ok().filter(|_| digits).map(u128::to_be_bytes)
}

fn words(scopes: Scopes) -> Vec<&'static str> {
    scopes.iter().map(Scope::word).collect()
}

fn scope(word: &str) -> Result<Scope, Refusal> {
    let word: String = word.chars().take(40).collect();
    Scope::from_word(&word).ok_or_else(|| bad(format!("`{word}` is not a scope: write `read`, `branch` or `continue`")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfferAsked {
    audience: Option<String>,
    scopes: Option<Vec<String>>,
    expires_s: Option<u64>,
    spend_micros: Option<u64>,
    note: Option<String>,
}

impl OfferAsked {
    fn terms(self) -> Result<OfferTerms, Refusal> {
        let scopes = match self.scopes {
            Some(scopes) => scopes.iter().map(|word| scope(word)).collect::<Result<_, _>>()?,
            None => Scopes::ALL,
        };
        Ok(OfferTerms {
            audience: self.audience,
            scopes,
            for_s: self.expires_s.unwrap_or(OFFER_S),
            spend_micros: self.spend_micros,
            note: self.note.unwrap_or_default(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AcceptAsked {
    token: String,
    format: Option<String>,
    scope: Option<String>,
    key: Option<String>,
    user: Option<String>,
}

impl AcceptAsked {
    fn taking(self) -> Result<Taking, Refusal> {
        let word = self.format.unwrap_or_else(|| Format::Brief.word().to_owned());
        let format = Format::from_word(&word).ok_or_else(|| {
            let word: String = word.chars().take(40).collect();
            bad(format!("`{word}` is not a format: write {}", Format::WORDS))
        })?;
        let key = self.key.map(|key| id_of(&key).ok_or_else(|| bad("`key` must be 32 hexadecimal digits")));
        Ok(Taking {
            token: self.token,
            scope: self.scope.as_deref().map(scope).transpose()?,
            format,
            key: key.transpose()?,
            user: self.user,
        })
    }
}

#[derive(Serialize)]
struct OfferLine {
    handoff: String,
    token: String,
    session: String,
    head: String,
    epoch: u64,
    audience: Option<String>,
    scopes: Vec<&'static str>,
    expires_s: u64,
    spend_micros: Option<u64>,
}

#[derive(Serialize)]
struct TakenLine<'a> {
    scope: &'static str,
    session: &'a str,
    head: String,
    /// Absent when the session was only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    again: bool,
    spend_micros: Option<u64>,
    format: &'static str,
    lossy: &'a [String],
    projection: Shown<'a>,
}

/// A request's members, or `{"markdown":"…"}`.
#[derive(Serialize)]
#[serde(untagged)]
enum Shown<'a> {
    Request(&'a RawValue),
    Page { markdown: &'a str },
}

impl<'a> TakenLine<'a> {
    fn of(taken: &'a Taken) -> Result<Self, Refusal> {
        let projected = &taken.projected;
        let projection = match &projected.content {
            Content::Request(members) => Shown::Request(serde_json::from_str(members.as_str()).map_err(|error| {
                Refusal::new(RefusalKind::Internal, format!("the projection cannot be written: {error}"))
            })?),
            Content::Page(markdown) => Shown::Page { markdown },
        };
        Ok(Self {
            scope: taken.scope.word(),
            session: &taken.session.0,
            head: taken.head.to_string(),
            epoch: taken.epoch.map(|epoch| epoch.0),
            again: taken.again,
            spend_micros: taken.spend_micros,
            format: projected.format.word(),
            lossy: &projected.lossy,
            projection,
        })
    }
}

#[derive(Serialize)]
struct RevokedLine {
    handoff: String,
    state: &'static str,
}

#[derive(Serialize)]
struct ListLine {
    handoffs: Vec<GivenLine>,
}

#[derive(Serialize)]
struct GivenLine {
    handoff: String,
    state: &'static str,
    from: String,
    audience: Option<String>,
    scopes: Vec<&'static str>,
    head: String,
    epoch: u64,
    made_ms: u64,
    expires_s: u64,
    used_ms: Option<u64>,
    used_by: Option<String>,
    /// The session that began instead of going over.
    copy: Option<String>,
    spend_micros: Option<u64>,
    note: String,
}

impl GivenLine {
    fn of(given: Given, now_s: u64) -> Self {
        let state = given.state(now_s);
        let (used_by, copy) = given.used();
        let (used_by, copy) = (used_by.map(str::to_owned), copy.map(str::to_owned));
        let Given { offer, scopes, spend_micros, note, made_ms, used_ms } = given;
        Self {
            handoff: offer.handoff.to_string(),
            state,
            from: offer.from.to_string(),
            audience: offer.to.map(|to| to.to_string()),
            scopes: words(scopes),
            head: offer.head.to_string(),
            epoch: offer.epoch.0,
            made_ms,
            expires_s: offer.expires_s,
            used_ms,
            used_by,
            copy,
            spend_micros,
            note,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_session_or_a_handoff() {
        let at = |path: &str| Ask::at(path);
        assert_eq!(at("/admin/v1/sessions/s1/handoff"), Some(Ask::Offer("s1".into())));
        assert_eq!(at("/admin/v1/sessions/my%20plan/handoffs"), Some(Ask::List("my plan".into())));
        assert_eq!(at("/admin/v1/handoffs/accept"), Some(Ask::Accept));
        assert_eq!(at("/admin/v1/handoffs/07"), Some(Ask::Revoke("07".into())));
        for other in ["/admin/v1/handoffs/", "/admin/v1/sessions/s1", "/admin/v1/sessions//handoff"] {
            assert_eq!(at(other), None, "{other}");
        }
    }

    #[test]
    fn an_id_is_32_hexadecimal_digits() {
        assert_eq!(id_of(&"07".repeat(16)), Some([7; 16]));
        for wrong in ["", "07", &"+7".repeat(16), &"g".repeat(32)] {
            assert_eq!(id_of(wrong), None, "{wrong}");
        }
    }
}
