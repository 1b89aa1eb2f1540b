//! Sessions, as the admin API tells of them.

use anyhow::{Context as _, anyhow, bail};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{ANSWER, Admin, json};
use crate::term;

/// Sessions or turns asked for at once at most; the daemon's own bound.
pub(crate) const PAGE_MAX: usize = 1_000;
/// Letters of an id that tell a session apart at least: fewer are more likely a slip than a choice.
const PREFIX_MIN: usize = 4;

impl Admin {
    /// A page of sessions, newest first.
    ///
    /// # Errors
    /// One sentence, when the daemon does not answer or keeps no sessions.
    pub(crate) async fn sessions(&self, limit: usize, cursor: Option<&str>) -> anyhow::Result<Value> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        self.get(&format!("/admin/v1/sessions?limit={limit}{cursor}")).await
    }

    /// A session and the last turns up to one of them, or up to its head.
    ///
    /// # Errors
    /// One sentence, when the daemon does not answer or has no such session.
    pub(crate) async fn session(&self, id: &str, turn: Option<&str>, limit: usize) -> anyhow::Result<Value> {
        let turn = turn.map(|turn| format!("&turn={turn}")).unwrap_or_default();
        self.get(&format!("/admin/v1/sessions/{}?limit={limit}{turn}", segment(id))).await
    }

    /// All turns of a session, without what they say.
    ///
    /// # Errors
    /// One sentence, when the daemon does not answer or has no such session.
    pub(crate) async fn session_tree(&self, id: &str) -> anyhow::Result<Value> {
        self.get(&format!("/admin/v1/sessions/{}/tree", segment(id))).await
    }

    /// Makes it forget a session.
    ///
    /// # Errors
    /// One sentence, when the daemon does not answer or has no such session.
    pub(crate) async fn erase_session(&self, id: &str) -> anyhow::Result<Value> {
        let path = format!("/admin/v1/sessions/{}", segment(id));
        json(self.send(self.request(Method::DELETE, &path).timeout(ANSWER)).await?).await
    }

    /// The session that a word names: its id, its name, or the beginning of an id that only one has.
    ///
    /// # Errors
    /// One sentence, when there is none, or more than one.
    pub(crate) async fn find_session(&self, word: &str) -> anyhow::Result<SessionLine> {
        self.look_for_session(word).await?.ok_or_else(|| {
            let word = term::tame(word);
            anyhow!(
                "there is no session `{word}` that this key may see: `commonwatt session list` shows those that are"
            )
        })
    }

    /// The same; `None` when there is none.
    ///
    /// # Errors
    /// One sentence, when there is more than one, or the daemon does not answer or keeps no sessions.
    pub(crate) async fn look_for_session(&self, word: &str) -> anyhow::Result<Option<SessionLine>> {
        // A path with these would lead elsewhere.
        if matches!(word, "" | "." | "..") {
            return Ok(None);
        }
        let exact = self.request(Method::GET, &format!("/admin/v1/sessions/{}?limit=1", segment(word)));
        if let Some(found) = self.answered::<Told>(exact).await? {
            return Ok(Some(found.session));
        }
        let is_prefix = word.len() >= PREFIX_MIN && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        // A daemon that keeps no sessions says so here.
        let prefix = if is_prefix { word } else { "-" };
        let list: List = understood(self.get(&format!("/admin/v1/sessions?prefix={prefix}")).await?)?;
        match <[SessionLine; 1]>::try_from(list.sessions) {
            Ok([only]) => Ok(Some(only)),
            Err(none) if none.is_empty() => Ok(None),
            Err(several) => bail!(ambiguous(word, &several)),
        }
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        json(self.send(self.request(Method::GET, path).timeout(ANSWER)).await?).await
    }

    /// The answer to a request; `None` when there is no such thing.
    async fn answered<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<Option<T>> {
        match self.send_for(request.timeout(ANSWER)).await? {
            Some(response) => understood(json(response).await?).map(Some),
            None => Ok(None),
        }
    }
}

fn ambiguous(word: &str, several: &[SessionLine]) -> String {
    const TOLD: usize = 5;
    let mut text = format!("`{word}` is the beginning of several sessions: write more of the one you mean");
    for session in several.iter().take(TOLD) {
        text.push_str(&format!("\n  {}  {}", term::tame(&session.id), term::cut(&session.called(), 40)));
    }
    if several.len() > TOLD {
        text.push_str("\n  …");
    }
    text
}

/// A word as a segment of a path.
fn segment(word: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    word.bytes().map(escape).collect()
}

/// What the daemon said, as this program reads it.
///
/// # Errors
/// When it says it in a way that is not known here.
pub(crate) fn understood<T: DeserializeOwned>(said: Value) -> anyhow::Result<T> {
    serde_json::from_value(said).context("the daemon answers in a way this program does not understand")
}

/// A page of `GET /admin/v1/sessions`.
#[derive(Debug, Deserialize)]
pub(crate) struct List {
    /// Newest first.
    pub(crate) sessions: Vec<SessionLine>,
    /// Where the next page begins.
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// `GET /admin/v1/sessions/{id}`
#[derive(Debug, Deserialize)]
pub(crate) struct Told {
    /// The session.
    pub(crate) session: SessionLine,
    /// What was said, oldest first.
    pub(crate) turns: Vec<TurnLine>,
    /// The last turn of the page before this one.
    #[serde(default)]
    pub(crate) earlier: Option<String>,
}

/// `GET /admin/v1/sessions/{id}/tree`
#[derive(Debug, Deserialize)]
pub(crate) struct Tree {
    /// The session.
    pub(crate) session: SessionLine,
    /// Its turns, parents first.
    pub(crate) turns: Vec<NodeLine>,
    /// Older ones that are not told.
    #[serde(default)]
    pub(crate) left_out: usize,
}

/// A session.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct SessionLine {
    /// Its id.
    pub(crate) id: String,
    /// The name that its caller chose.
    pub(crate) name: Option<String>,
    /// Its first words.
    pub(crate) title: Option<String>,
    /// Whose it is.
    pub(crate) owner: String,
    /// Who may write to it.
    pub(crate) holder: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// When it was last used.
    pub(crate) updated_ms: u64,
    /// When it is erased.
    pub(crate) expires_ms: Option<u64>,
    /// Turns on all branches.
    pub(crate) turns: u64,
    /// The parent of its first turns.
    pub(crate) root: String,
    /// Its last turn.
    pub(crate) head: String,
}

impl SessionLine {
    /// What people call it: its name, else its first words, in one harmless line.
    pub(crate) fn called(&self) -> String {
        let words = self.name.as_deref().or(self.title.as_deref()).unwrap_or("(nothing said yet)");
        term::tame_line(words)
    }
}

/// A turn, with what was said.
#[derive(Debug, Deserialize)]
pub(crate) struct TurnLine {
    /// Its id.
    pub(crate) id: String,
    /// The turn before it.
    pub(crate) parent: String,
    /// `system`, `user`, `model` or `tool`.
    pub(crate) party: String,
    /// The deployment that wrote it.
    pub(crate) by: Option<String>,
    /// `complete` or `unfinished`.
    pub(crate) state: String,
    /// When, in milliseconds since 1970.
    pub(crate) made_ms: u64,
    /// How the answer ended.
    #[serde(default)]
    pub(crate) finish: Option<String>,
    /// What it cost.
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
    /// What was said, in words.
    pub(crate) said: Vec<Said>,
}

/// Tokens.
#[derive(Debug, Deserialize)]
pub(crate) struct Usage {
    /// Of the prompt.
    pub(crate) input: u64,
    /// Of the answer.
    pub(crate) output: u64,
}

/// A piece of what was said.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    /// `text`, `thought`, `call`, `result` …
    pub(crate) kind: String,
    /// In words.
    pub(crate) text: String,
}

/// A turn without what was said.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeLine {
    /// Its place in the order in which turns were made.
    pub(crate) number: u64,
    /// Its id.
    pub(crate) id: String,
    /// The turn before it.
    pub(crate) parent: String,
    /// `system`, `user`, `model` or `tool`.
    pub(crate) party: String,
    /// The deployment that wrote it.
    pub(crate) by: Option<String>,
    /// `complete` or `unfinished`.
    pub(crate) state: String,
    /// When, in milliseconds since 1970.
    pub(crate) made_ms: u64,
    /// Whether it is on the way to the head.
    pub(crate) on_path: bool,
}

impl Tree {
    /// The turn of that number, or whose id begins so.
    ///
    /// # Errors
    /// One sentence, when there is none, or more than one.
    pub(crate) fn find(&self, word: &str) -> anyhow::Result<&NodeLine> {
        // The ids are hashes: so few digits are a number.
        const NUMBER_MAX: usize = 6;
        let number = word.parse::<u64>().ok().filter(|_| word.len() <= NUMBER_MAX);
        let is_it = |node: &&NodeLine| match number {
            Some(number) => node.number == number,
            None => word.len() >= PREFIX_MIN && node.id.starts_with(word),
        };
        let mut found = self.turns.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => bail!("`{word}` is the beginning of several turns: write more of the one you mean"),
            (None, _) => bail!("there is no turn `{}` in this session: its tree shows their numbers", term::tame(word)),
        }
    }
}
