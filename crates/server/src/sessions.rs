//! The admin API's sessions: which there are, who said what in one, how it branches, and forgetting it.
//!
//! A caller sees what is its own and what it holds now; to everybody else a session is not there. Lists come in pages,
//! and so does what was said: from the newest turn backwards.

use std::collections::{HashMap, HashSet};

use commonwatt_core::call::{Image, Item, Part};
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::TurnId;
use commonwatt_grid::bus::look::Shown;
use commonwatt_grid::bus::{Bus, Cursor, Node, Session};
use commonwatt_wire::turns::canonical;
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::admin::{refuse, send};
use crate::respond::Body;
use crate::{Lobby, doors};

/// Sessions, or turns, on one page where nobody says how many.
const PAGE: usize = 50;
/// Sessions, or turns, on one page at most.
pub(crate) const PAGE_MAX: usize = 1_000;
/// Reads of the store for one page. Erased sessions are passed over, and a page that has been through so many of them
/// ends early; its `next` goes on.
const READS_MAX: usize = 64;
/// Sessions that begin with the same letters, told to whoever looks for one of them.
const ALIKE_MAX: usize = 20;
/// Turns of a tree: the newest, so that an answer stays below a few megabytes.
const TREE_MAX: usize = 10_000;

/// What a path under `/admin/v1/sessions` means. A session is named by its id or its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// All of the caller's.
    All,
    /// One, and what was said in it.
    One(String),
    /// How it branches.
    Tree(String),
}

impl At {
    /// The place that the path after `/admin/v1/sessions` leads to.
    pub(crate) fn of(rest: &str) -> Option<Self> {
        let name = |raw: &str| {
            let name = percent_decode_str(raw).decode_utf8_lossy().into_owned();
            Some(name).filter(|name| !name.is_empty())
        };
        if rest.is_empty() {
            return Some(Self::All);
        }
        let rest = rest.strip_prefix('/')?;
        match rest.split_once('/') {
            None => name(rest).map(Self::One),
            Some((raw, "tree")) => name(raw).map(Self::Tree),
            Some(_) => None,
        }
    }

    /// Whether it takes a method beside GET.
    pub(crate) fn also_takes(&self, method: &Method) -> bool {
        match self {
            Self::One(_) => *method == Method::DELETE,
            Self::All | Self::Tree(_) => false,
        }
    }
}

/// `GET /admin/v1/sessions`, `GET` and `DELETE /admin/v1/sessions/{id or name}`, `GET …/tree`
pub(crate) async fn enter(lobby: &Lobby, at: At, request: Request<Incoming>) -> Response<Body> {
    let principal = match lobby.grid.identify(doors::credential(request.headers())) {
        Ok(principal) => principal.name,
        Err(refused) => return refuse(lobby, &refused),
    };
    let Some(bus) = lobby.grid.bus() else { return refuse(lobby, &off()) };
    let query = Query(request.uri().query().unwrap_or_default());
    let done = match (at, request.method() == Method::DELETE) {
        (At::All, _) => list(bus, &principal, &query).await.map(|list| send(&list)),
        (At::One(name), false) => show(bus, &principal, &name, &query).await.map(|told| send(&told)),
        (At::One(name), true) => erase(bus, &principal, &name).await.map(|erased| send(&erased)),
        (At::Tree(name), _) => tree(bus, &principal, &name).await.map(|tree| send(&tree)),
    };
    done.unwrap_or_else(|refused| refuse(lobby, &refused))
}

fn off() -> Refusal {
    let message = "this daemon keeps no sessions: set `enabled = true` under `[bus]` in its configuration and start it \
                   again";
    Refusal::new(RefusalKind::UnknownSession, message)
}

/// What stands after the `?`.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = |text: String| {
            text.parse().map_err(|_| {
                let text: String = text.chars().take(40).collect();
                Refusal::new(RefusalKind::BadRequest, format!("`{name}` is `{text}`: write a number"))
            })
        };
        self.get(name).map(number).transpose()
    }

    fn limit(&self) -> Result<usize, Refusal> {
        match self.number("limit")? {
            None => Ok(PAGE),
            Some(limit) => {
                usize::try_from(limit).ok().filter(|limit| (1..=PAGE_MAX).contains(limit)).ok_or_else(|| {
                    Refusal::new(RefusalKind::BadRequest, format!("`limit` is {limit}: write one from 1 to {PAGE_MAX}"))
                })
            }
        }
    }

    fn turn(&self) -> Result<Option<TurnId>, Refusal> {
        let Some(text) = self.get("turn") else { return Ok(None) };
        let turn = text.parse().map_err(|error| {
            Refusal::new(RefusalKind::BadRequest, format!("`turn` cannot be read: {error}, as the tree shows it"))
        });
        turn.map(Some)
    }
}

async fn list(bus: &Bus, principal: &str, query: &Query<'_>) -> Result<ListAnswer, Refusal> {
    if let Some(prefix) = query.get("prefix") {
        return alike(bus, principal, &prefix).await;
    }
    let limit = query.limit()?;
    let mut from = query.number("cursor")?.map(Cursor);
    let mut sessions = Vec::new();
    for _ in 0..READS_MAX {
        let page = bus.sessions(principal, from, limit - sessions.len()).await?;
        sessions.extend(page.sessions.iter().filter(|session| session.erased_ms.is_none()).map(SessionLine::of));
        from = page.next;
        if from.is_none() || sessions.len() >= limit {
            break;
        }
    }
    Ok(ListAnswer { sessions, next: from.map(|Cursor(row)| row.to_string()) })
}

/// The sessions whose ids begin so.
async fn alike(bus: &Bus, principal: &str, prefix: &str) -> Result<ListAnswer, Refusal> {
    let prefix = prefix.to_ascii_lowercase();
    let is_alike = |session: &&Session| session.erased_ms.is_none() && session.id.0.starts_with(&prefix);
    let (mut from, mut sessions) = (None, Vec::new());
    for _ in 0..READS_MAX {
        let page = bus.sessions(principal, from, PAGE_MAX).await?;
        sessions.extend(page.sessions.iter().filter(is_alike).map(SessionLine::of));
        from = page.next;
        if from.is_none() || sessions.len() >= ALIKE_MAX {
            break;
        }
    }
    sessions.truncate(ALIKE_MAX);
    Ok(ListAnswer { sessions, next: None })
}

async fn show(bus: &Bus, principal: &str, name: &str, query: &Query<'_>) -> Result<ShowAnswer, Refusal> {
    let (limit, until) = (query.limit()?, query.turn()?);
    let session = bus.session(principal, name).await?;
    let said = bus.tail(&session, until, limit).await?;
    let oldest = said.first().map(|shown| shown.node.parent);
    let earlier = oldest.filter(|parent| *parent != session.root).map(|parent| parent.to_string());
    let turns = said.into_iter().map(TurnLine::of).collect::<Result<_, _>>()?;
    Ok(ShowAnswer { session: SessionLine::of(&session), turns, earlier })
}

async fn tree(bus: &Bus, principal: &str, name: &str) -> Result<TreeAnswer, Refusal> {
    let session = bus.session(principal, name).await?;
    let nodes = bus.tree(&session).await?;
    let on_path = path_to(session.head, &nodes);
    let left_out = nodes.len().saturating_sub(TREE_MAX);
    let shown = nodes.into_iter().enumerate().skip(left_out);
    let turns = shown.map(|(at, node)| NodeLine::of(node, at + 1, &on_path)).collect();
    Ok(TreeAnswer { session: SessionLine::of(&session), turns, left_out })
}

/// The turns from the beginning to the head.
fn path_to(head: TurnId, nodes: &[Node]) -> HashSet<TurnId> {
    let parents: HashMap<TurnId, TurnId> = nodes.iter().map(|node| (node.id, node.parent)).collect();
    std::iter::successors(Some(head), |turn| parents.get(turn).copied()).collect()
}

async fn erase(bus: &Bus, principal: &str, name: &str) -> Result<Erased, Refusal> {
    let session = bus.session(principal, name).await?;
    bus.erase(&session).await?;
    Ok(Erased { erased: session.id.to_string() })
}

#[derive(Serialize)]
struct ListAnswer {
    sessions: Vec<SessionLine>,
    /// The `cursor` of the next page.
    next: Option<String>,
}

#[derive(Serialize)]
struct ShowAnswer {
    session: SessionLine,
    turns: Vec<TurnLine>,
    /// The `turn` of the page before this one.
    earlier: Option<String>,
}

#[derive(Serialize)]
struct TreeAnswer {
    session: SessionLine,
    turns: Vec<NodeLine>,
    /// How many older turns are not here.
    left_out: usize,
}

#[derive(Serialize)]
struct Erased {
    erased: String,
}

#[derive(Serialize)]
struct SessionLine {
    id: String,
    name: Option<String>,
    title: Option<String>,
    owner: String,
    holder: String,
    created_ms: u64,
    updated_ms: u64,
    expires_ms: Option<u64>,
    data_class: Option<String>,
    turns: u64,
    root: String,
    head: String,
}

impl SessionLine {
    fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            name: session.name.clone(),
            title: session.title.clone(),
            owner: session.principal.clone(),
            holder: session.holder.clone(),
            created_ms: session.created_ms,
            updated_ms: session.updated_ms,
            expires_ms: session.expires_ms,
            data_class: session.data_class.clone(),
            turns: session.turns,
            root: session.root.to_string(),
            head: session.head.to_string(),
        }
    }
}

#[derive(Serialize)]
struct TurnLine {
    id: String,
    parent: String,
    party: &'static str,
    by: Option<String>,
    model: Option<String>,
    state: &'static str,
    made_ms: u64,
    finish: Option<String>,
    usage: Option<UsageLine>,
    /// For people.
    said: Vec<SaidLine>,
    /// For programs: the canonical form.
    items: Box<RawValue>,
}

/// What is known of an answer beside what it says, as it is kept.
#[derive(Default, Deserialize)]
struct Meta {
    finish: Option<String>,
    #[serde(flatten)]
    usage: Option<UsageLine>,
}

#[derive(Deserialize, Serialize)]
struct UsageLine {
    input: u64,
    cache_read: u64,
    cache_write: u64,
    output: u64,
    reasoning: u64,
}

#[derive(Deserialize)]
struct CanonicalTurn {
    items: Box<RawValue>,
}

impl TurnLine {
    fn of(shown: Shown) -> Result<Self, Refusal> {
        let Shown { node, turn, meta } = shown;
        let Meta { finish, usage } = serde_json::from_slice(&meta).unwrap_or_default();
        let CanonicalTurn { items } = serde_json::from_slice(&canonical(&turn).bytes)
            .map_err(|error| Refusal::new(RefusalKind::Internal, format!("a kept turn cannot be written: {error}")))?;
        Ok(Self {
            id: node.id.to_string(),
            parent: node.parent.to_string(),
            party: node.party.word(),
            by: node.by,
            model: node.model,
            state: node.state.word(),
            made_ms: node.made_ms,
            finish,
            usage,
            said: turn.items.iter().flat_map(said).collect(),
            items,
        })
    }
}

#[derive(Serialize)]
struct NodeLine {
    /// Its place in the order in which turns were made, from 1: it never changes.
    number: usize,
    id: String,
    parent: String,
    party: &'static str,
    by: Option<String>,
    model: Option<String>,
    state: &'static str,
    made_ms: u64,
    /// Whether it is on the way to the head.
    on_path: bool,
}

impl NodeLine {
    fn of(node: Node, number: usize, on_path: &HashSet<TurnId>) -> Self {
        Self {
            number,
            id: node.id.to_string(),
            parent: node.parent.to_string(),
            party: node.party.word(),
            on_path: on_path.contains(&node.id),
            by: node.by,
            model: node.model,
            state: node.state.word(),
            made_ms: node.made_ms,
        }
    }
}

/// A piece of what was said, in words.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct SaidLine {
    kind: &'static str,
    text: String,
}

impl SaidLine {
    fn new(kind: &'static str, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// An item in words; none for what only programs understand.
fn said(item: &Item) -> Vec<SaidLine> {
    match item {
        Item::Message { content, .. } => content.iter().filter_map(|part| piece("text", part)).collect(),
        Item::Reasoning(thought) if thought.text.is_empty() => vec![SaidLine::new("sealed", "a sealed thought")],
        Item::Reasoning(thought) => vec![SaidLine::new("thought", thought.text.clone())],
        Item::ToolCall(call) => vec![SaidLine::new("call", format!("{}({})", call.name, call.arguments.as_str()))],
        Item::ToolOutput { content, is_error, .. } => {
            let kind = if *is_error { "error" } else { "result" };
            content.iter().filter_map(|part| piece(kind, part)).collect()
        }
        Item::Opaque(kind, _) => vec![SaidLine::new("other", kind.clone())],
        Item::Field(..) => Vec::new(),
    }
}

fn piece(kind: &'static str, part: &Part) -> Option<SaidLine> {
    Some(match part {
        Part::Text(text) => SaidLine::new(kind, text.as_str()),
        Part::Refusal(text) => SaidLine::new("refusal", text.as_str()),
        Part::Image(Image::Url { url, .. }) => SaidLine::new("image", url.clone()),
        Part::Image(Image::Base64 { media_type, data, .. }) => {
            // Four letters of base64 are three bytes.
            let kib = (data.as_str().len() / 4 * 3).div_ceil(1_024);
            SaidLine::new("image", format!("{media_type}, {kib} KiB"))
        }
        Part::Opaque(kind, _) => SaidLine::new("other", kind.clone()),
        Part::Field(..) => return None,
    })
}

#[cfg(test)]
mod tests {
    use commonwatt_core::call::{RawJson, Reasoning, Role, ToolCall};

    use super::*;

    #[test]
    fn a_session_is_named_in_the_path_as_it_is_called() {
        assert_eq!(At::of(""), Some(At::All));
        assert_eq!(At::of("/work"), Some(At::One("work".into())));
        assert_eq!(At::of("/team%2Fa%20b"), Some(At::One("team/a b".into())));
        assert_eq!(At::of("/work/tree"), Some(At::Tree("work".into())));
        for wrong in ["/", "//tree", "/work/", "/work/turns", "x"] {
            assert_eq!(At::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_has_a_size_within_bounds() {
        let limit = |query| Query(query).limit().map_err(|refused| refused.message);
        assert_eq!(limit(""), Ok(PAGE));
        assert_eq!(limit("cursor=4&limit=7"), Ok(7));
        assert_eq!(limit("limit=0"), Err("`limit` is 0: write one from 1 to 1000".into()));
        assert_eq!(limit("limit=many"), Err("`limit` is `many`: write a number".into()));
        assert!(Query("turn=12").turn().is_err());
    }

    #[test]
    fn whatever_an_item_is_it_is_told_in_words() {
        let image = Image::Base64 { media_type: "image/png".into(), data: "A".repeat(4_000).into(), detail: None };
        let parts = vec![Part::Text("look".into()), Part::Image(image), Part::Field("x".into(), RawJson("1".into()))];
        let call =
            ToolCall { id: "c".into(), name: "read".into(), arguments: r#"{"a":1}"#.into(), ..ToolCall::default() };
        let items = [
            Item::Reasoning(Reasoning { text: "hm".into(), ..Reasoning::default() }),
            Item::Message { role: Role::User, content: parts },
            Item::ToolCall(call),
            Item::ToolOutput { call_id: "c".into(), content: vec![Part::Text("no".into())], is_error: true },
            Item::Opaque("web_search_call".into(), RawJson("{}".into())),
        ];
        let told: Vec<(&str, String)> =
            items.iter().flat_map(said).map(|SaidLine { kind, text }| (kind, text)).collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
        assert_eq!(
            told,
            [
                ("thought", "hm"),
                ("text", "look"),
                ("image", "image/png, 3 KiB"),
                ("call", r#"read({"a":1})"#),
                ("error", "no"),
                ("other", "web_search_call"),
            ]
        );
    }
}
