//! Conversations, as OpenAI's API has them: any session is one, under [`CONVERSATION`] and its id.
//!
//! What is noted beside a conversation, and which of its items were deleted, are values derived from its root. A deleted
//! item is shown to nobody and sent to no model any more; its turn, which later turns have as parent, stays in the session
//! until that is erased.

use std::collections::HashSet;

use bytes::Bytes;
use commonwatt_core::call::{Item, RawJson};
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{Epoch, Party, SessionId, Turn, TurnId};
use commonwatt_store::{Commit, PATH_MAX, Session, State};
use commonwatt_wire::Dialect;
use commonwatt_wire::conversations::NewConversation;
use commonwatt_wire::items::{Listed, listed, without};
use commonwatt_wire::turns::{canonical, root};

use super::keep::add;
use super::link::Link;
use super::recall::{Said, title};
use super::walk::{Step, Walk};
use super::warm::{Beginning, Place};
use super::{Bus, CONVERSATION, not_found, refusal};

/// Under which kinds the values are kept.
const METADATA: &str = "conversation-metadata";
const DELETED: &str = "conversation-deleted-items";

/// A conversation, without what was said in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// When it began, in seconds since 1970.
    pub created_unix_s: u64,
    /// What its owner notes beside it: a JSON object of strings.
    pub metadata: RawJson,
}

impl Bus {
    /// Begins a conversation.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn begin_conversation(&self, principal: &str, new: NewConversation) -> Result<Conversation, Refusal> {
        let NewConversation { items, metadata } = new;
        let (session, salt) = (SessionId((self.world.new_id)().0), self.chance());
        let root = root(&salt);
        let walk = Walk::of_what_was_said(items, Link::seed(principal, None));
        let asked = walk.steps.iter().find(|step| step.party == Party::User);
        let title = asked.map(|step| title(&step.items)).unwrap_or_default();
        let begin = Beginning { session: session.clone(), name: None, salt, root, title, is_stored: false };
        let mut commit = Commit::to(session.clone(), Epoch(0));
        commit.begin = Some(self.new_session(principal, begin, None));
        commit.expires_ms = self.expires_ms(self.world.retention.keep_ms);
        let now_ms = (self.world.unix_ms)();
        for (said, _) in follow(root, walk) {
            add(&mut commit, said, (now_ms, State::Complete), None, String::new());
        }
        self.store.commit(commit).await.map_err(|error| refusal(&error))?;
        let noted = self.store.put_derived(&session, root, METADATA, metadata.0).await;
        noted.map_err(|error| refusal(&error))?;
        self.conversation(principal, &format!("{CONVERSATION}{session}")).await
    }

    /// The caller's conversation of that id.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see.
    pub async fn conversation(&self, principal: &str, id: &str) -> Result<Conversation, Refusal> {
        let session = self.session_of(principal, id).await?;
        self.described(&session).await
    }

    /// Notes something else beside a conversation.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see.
    pub async fn describe_conversation(
        &self,
        principal: &str,
        id: &str,
        metadata: RawJson,
    ) -> Result<Conversation, Refusal> {
        let session = self.session_of(principal, id).await?;
        let noted = self.store.put_derived(&session.id, session.root, METADATA, metadata.0).await;
        noted.map_err(|error| refusal(&error))?;
        self.described(&session).await
    }

    /// Forgets a conversation and all that was said in it.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see.
    pub async fn delete_conversation(&self, principal: &str, id: &str) -> Result<(), Refusal> {
        let session = self.session_of(principal, id).await?;
        self.erase(&session).await
    }

    /// The items of a conversation, oldest first.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see.
    pub async fn conversation_items(&self, principal: &str, id: &str) -> Result<Vec<Listed>, Refusal> {
        let session = self.session_of(principal, id).await?;
        let kept = self.store.path(&session.id, session.head, PATH_MAX).await.map_err(|error| refusal(&error))?;
        let deleted = self.deleted_items(&session).await?;
        let mut items = Vec::new();
        for kept in kept {
            items.extend(listed(kept.node.id, &self.read(&session.id, &kept.body).await?));
        }
        items.retain(|item| !deleted.contains(&item.id));
        Ok(items)
    }

    /// Adds items to a conversation; these, as they are listed.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see, or somebody else holds it.
    pub async fn add_items(&self, principal: &str, id: &str, items: Vec<Item>) -> Result<Vec<Listed>, Refusal> {
        let _edit = self.edits.lock().await;
        let session = self.session_of(principal, id).await?;
        let tenure = self.tenure(principal, &session.id).await?;
        let place = Place { session: session.id.clone(), turn: session.head };
        let before = Link::seed(principal, None);
        let link =
            self.path(principal, &place).await?.iter().fold(before, |link, turn| link.after(turn.party, &turn.items));
        let mut commit = Commit::to(session.id.clone(), tenure.epoch);
        let (now_ms, mut added) = ((self.world.unix_ms)(), Vec::new());
        for (said, turn) in follow(place.turn, Walk::of_what_was_said(items, link)) {
            added.extend(listed(said.canonical.id, &turn));
            add(&mut commit, said, (now_ms, State::Complete), None, String::new());
        }
        self.store.commit(commit).await.map_err(|error| refusal(&error))?;
        Ok(added)
    }

    /// Deletes an item of a conversation.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see, or somebody else holds it.
    pub async fn delete_item(&self, principal: &str, id: &str, item: &str) -> Result<Conversation, Refusal> {
        let _edit = self.edits.lock().await;
        let session = self.session_of(principal, id).await?;
        self.tenure(principal, &session.id).await?;
        if !self.conversation_items(principal, id).await?.iter().any(|listed| listed.id == item) {
            return Err(not_found("Item", item));
        }
        let mut deleted: Vec<String> = self.deleted_items(&session).await?.into_iter().collect();
        deleted.push(item.to_owned());
        deleted.sort_unstable();
        let body = Bytes::from(deleted.join("\n"));
        let noted = self.store.put_derived(&session.id, session.root, DELETED, body).await;
        noted.map_err(|error| refusal(&error))?;
        self.described(&session).await
    }

    /// What is deleted of a session's items.
    pub(super) async fn deleted_items(&self, session: &Session) -> Result<HashSet<String>, Refusal> {
        let kept = self.store.derived(&session.id, session.root, DELETED).await.map_err(|error| refusal(&error))?;
        let kept = kept.unwrap_or_default();
        let ids = std::str::from_utf8(&kept).unwrap_or_default().lines();
        Ok(ids.map(str::to_owned).collect())
    }

    async fn described(&self, session: &Session) -> Result<Conversation, Refusal> {
        let metadata =
            self.store.derived(&session.id, session.root, METADATA).await.map_err(|error| refusal(&error))?;
        Ok(Conversation {
            id: format!("{CONVERSATION}{}", session.id),
            created_unix_s: session.created_ms / 1_000,
            metadata: RawJson(metadata.unwrap_or_else(|| Bytes::from_static(b"{}"))),
        })
    }

    /// The session that is the caller's conversation of that id.
    pub(super) async fn session_of(&self, principal: &str, conversation: &str) -> Result<Session, Refusal> {
        let missing = || not_found("Conversation", conversation);
        let id = conversation.strip_prefix(CONVERSATION).ok_or_else(missing)?;
        let found = self.store.session(&SessionId(id.into()), principal).await.map_err(|error| refusal(&error))?;
        found.filter(|session| session.erased_ms.is_none()).ok_or_else(missing)
    }
}

/// The turns that a walk adds after another.
fn follow(mut parent: TurnId, walk: Walk) -> Vec<(Said, Turn)> {
    let mut turns = Vec::with_capacity(walk.steps.len());
    for Step { party, items, link, .. } in walk.steps {
        let turn = Turn { parent, party, dialect: Dialect::OpenAiResponses.word(), items };
        let canonical = canonical(&turn);
        let id = canonical.id;
        turns.push((Said { party, parent, canonical, link }, turn));
        parent = id;
    }
    turns
}

/// A kept turn without its deleted items.
pub(super) fn left_of(id: TurnId, turn: Turn, deleted: &HashSet<String>) -> Turn {
    if deleted.is_empty() { turn } else { without(id, turn, deleted) }
}
