//! Conversations from other systems, as sessions of ours.

use std::collections::{BTreeMap, HashMap};

use commonwatt_bundle::import::{ImportedSession, ImportedTurn};
use commonwatt_bundle::{Blobs, Session as Carried, StoredTurn};
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{SessionId, Turn};
use commonwatt_store::Session;
use commonwatt_wire::turns::{canonical, root};

use super::super::{Bus, refusal};

/// A system whose exports are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// OpenAI's ChatGPT.
    ChatGpt,
    /// Anthropic's Claude.
    Claude,
    /// Letta's agent files.
    Letta,
}

impl System {
    /// Every system.
    pub const ALL: [Self; 3] = [Self::ChatGpt, Self::Claude, Self::Letta];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ChatGpt => "chatgpt",
            Self::Claude => "claude",
            Self::Letta => "letta",
        }
    }

    /// The name by which a conversation is known again: `chatgpt:ID`. Letta counts its agents from 0 in every file, so
    /// the time tells them apart.
    fn name_of(self, session: &ImportedSession) -> Option<String> {
        let id = session.source_id.as_ref()?;
        let word = self.word();
        match self {
            Self::ChatGpt | Self::Claude => Some(format!("{word}:{id}")),
            Self::Letta => Some(format!("{word}:{id}:{}", session.created_ms?)),
        }
    }
}

impl Bus {
    /// A salt for a session that arrives without one.
    #[must_use]
    pub fn salt(&self) -> [u8; 32] {
        self.chance()
    }

    /// A conversation as a session with what its turns name by hash: the one that is here of it, or a new one.
    pub(super) async fn naturalised(
        &self,
        principal: &str,
        system: System,
        session: ImportedSession,
    ) -> Result<(Carried, Blobs), Refusal> {
        let mut name = system.name_of(&session);
        let found = match &name {
            Some(name) => self.store.session_named(principal, name).await.map_err(|error| refusal(&error))?,
            None => None,
        };
        if let Some(found) = found {
            let again = replanted(&session, &found);
            let known = self.store.tree(&found.id).await.map_err(|error| refusal(&error))?;
            let is_same = |turn: &ImportedTurn| known.iter().any(|node| node.id == turn.canonical.id);
            match again.filter(|again| again.turns.first().is_some_and(is_same)) {
                Some(again) => return Ok(carried(again, found.id, name)),
                // Another conversation under the same id: one of its own, without the name.
                None => name = None,
            }
        }
        Ok(carried(session, SessionId((self.world.new_id)().0), name))
    }
}

/// The same turns under the root of the session that was found; `None` where that has no salt.
fn replanted(session: &ImportedSession, found: &Session) -> Option<ImportedSession> {
    let salt = found.salt?;
    let root = root(&salt);
    let mut moved = HashMap::from([(session.root, root)]);
    let mut turns = Vec::with_capacity(session.turns.len());
    for old in &session.turns {
        let turn = Turn { parent: *moved.get(&old.turn.parent)?, ..old.turn.clone() };
        let canonical = canonical(&turn);
        moved.insert(old.canonical.id, canonical.id);
        turns.push(ImportedTurn { turn, canonical, ..old.clone() });
    }
    let head = *moved.get(&session.head)?;
    Some(ImportedSession { salt, root, head, turns, ..session.clone() })
}

fn carried(session: ImportedSession, id: SessionId, name: Option<String>) -> (Carried, Blobs) {
    let ImportedSession { source_id: _, title, created_ms, updated_ms, salt, root: _, head, turns } = session;
    let mut blobs = Blobs::new();
    let mut stored = Vec::with_capacity(turns.len());
    for ImportedTurn { turn: _, canonical, state, made_ms, model } in turns {
        blobs.extend(canonical.attachments.into_iter().map(|attachment| (attachment.sha256, attachment.bytes)));
        let (by, meta) = (None, BTreeMap::new());
        stored.push(StoredTurn { id: canonical.id, canonical: canonical.bytes, state, made_ms, by, model, meta });
    }
    let (branches, data_class, meta) = (BTreeMap::new(), None, BTreeMap::new());
    let turns = stored;
    let session = Carried { id, name, title, salt, head, branches, created_ms, updated_ms, data_class, meta, turns };
    (session, blobs)
}
