//! Looking into the bus: what the admin API and the stateful part of Responses show, and what is forgotten on request.

use bytes::Bytes;
use commonwatt_core::answer::Answer;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Party, SessionId, Turn, TurnId};
use commonwatt_store::{
    Commit, Cursor, Journal, JournalHead, NewResponse, Node, PATH_MAX, Page, Session, State, StoredTurn,
};
use commonwatt_wire::items::{Listed, listed};
use commonwatt_wire::turns::canonical;
use commonwatt_wire::{Dialect, Head, Hints, Keeping, Standing, journal, open, response_id, write_standing};

use super::keep::{By, Meta, add};
use super::link::Link;
use super::recall::Said;
use super::{Bus, not_found, refusal, unknown};

/// A kept turn: what is known of it, and what it says.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Who made it, when, and whether it is whole.
    pub node: Node,
    /// What it says.
    pub turn: Turn,
    /// What else is known of it: how it ended and what it cost, as JSON; nothing where a caller said it.
    pub meta: Bytes,
}

/// Journals that are read at once.
const JOURNALS_MAX: usize = 1_024;

impl Bus {
    /// A caller's sessions, newest first.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn sessions(&self, principal: &str, from: Option<Cursor>, limit: usize) -> Result<Page, Refusal> {
        self.store.sessions(Some(principal), from, limit).await.map_err(|error| refusal(&error))
    }

    /// The caller's session of that name or id.
    ///
    /// # Errors
    /// A refusal when there is none that the caller may see.
    pub async fn session(&self, principal: &str, name: &str) -> Result<Session, Refusal> {
        self.found(principal, name).await?.ok_or_else(unknown)
    }

    /// What was said in a session up to a turn, or up to its head.
    ///
    /// # Errors
    /// A refusal when the caller may not see it, or the turn is not in it.
    pub async fn said(&self, session: &Session, until: Option<TurnId>) -> Result<Vec<Shown>, Refusal> {
        let turn = until.unwrap_or(session.head);
        let kept = self.store.path(&session.id, turn, PATH_MAX).await.map_err(|error| refusal(&error))?;
        self.shown(session, kept).await
    }

    /// The last turns of what was said up to a turn, or up to the head.
    ///
    /// # Errors
    /// A refusal when the caller may not see it, or the turn is not in it.
    pub async fn tail(&self, session: &Session, until: Option<TurnId>, limit: usize) -> Result<Vec<Shown>, Refusal> {
        let turn = until.unwrap_or(session.head);
        let kept = self.store.tail(&session.id, turn, limit).await.map_err(|error| refusal(&error))?;
        self.shown(session, kept).await
    }

    async fn shown(&self, session: &Session, kept: Vec<StoredTurn>) -> Result<Vec<Shown>, Refusal> {
        let mut shown = Vec::with_capacity(kept.len());
        for kept in kept {
            let turn = self.read(&session.id, &kept.body).await?;
            shown.push(Shown { node: kept.node, turn, meta: kept.meta });
        }
        Ok(shown)
    }

    /// All turns of a session with their parents, without what they say.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn tree(&self, session: &Session) -> Result<Vec<Node>, Refusal> {
        self.store.tree(&session.id).await.map_err(|error| refusal(&error))
    }

    /// Forgets what was said in a session; the shape of its graph stays.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn erase(&self, session: &Session) -> Result<(), Refusal> {
        self.warm.erase(&session.id);
        self.store.erase(&session.id).await.map_err(|error| refusal(&error))?;
        // What was under way meanwhile may have put something back at hand.
        self.warm.erase(&session.id);
        Ok(())
    }

    /// Forgets the sessions whose time has come, and says which.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn expire(&self) -> Result<Vec<SessionId>, Refusal> {
        let expired = self.store.expire((self.world.unix_ms)()).await.map_err(|error| refusal(&error))?;
        expired.iter().for_each(|session| self.warm.erase(session));
        Ok(expired)
    }

    /// A kept response, as it was given (Responses).
    ///
    /// # Errors
    /// A refusal when the caller has no such response.
    pub async fn response(&self, principal: &str, id: &str) -> Result<Bytes, Refusal> {
        let found = self.store.response(principal, id).await.map_err(|error| refusal(&error))?;
        found.map(|response| response.body).ok_or_else(|| not_found("Response", id))
    }

    /// Deletes a response; its turn stays in its session.
    ///
    /// # Errors
    /// A refusal when the caller has no such response.
    pub async fn delete_response(&self, principal: &str, id: &str) -> Result<(), Refusal> {
        let deleted = self.store.delete_response(principal, id).await.map_err(|error| refusal(&error))?;
        if deleted { Ok(()) } else { Err(not_found("Response", id)) }
    }

    /// What a response answered, as items of Responses, oldest first.
    ///
    /// # Errors
    /// A refusal when the caller has no such response.
    pub async fn input_items(&self, principal: &str, response: &str) -> Result<Vec<Listed>, Refusal> {
        let place = self.place_of_response(principal, response).await?;
        let kept = self.store.path(&place.session, place.turn, PATH_MAX).await.map_err(|error| refusal(&error))?;
        let mut items = Vec::new();
        // A response to which nobody said anything stands at the last turn of what it was asked.
        let is_answer = |node: &Node| node.id == place.turn && node.party == Party::Model;
        let session = self.store.session(&place.session, principal).await.map_err(|error| refusal(&error))?;
        let deleted = self.deleted_items(&session.ok_or_else(unknown)?).await?;
        for kept in kept.iter().filter(|kept| !is_answer(&kept.node)) {
            items.extend(listed(kept.node.id, &self.read(&place.session, &kept.body).await?));
        }
        items.retain(|item: &Listed| !deleted.contains(&item.id));
        Ok(items)
    }

    /// Keeps what was half said when the process died: as turns that are marked unfinished. How many there were.
    ///
    /// # Errors
    /// The store's trouble, as a refusal.
    pub async fn recover(&self) -> Result<usize, Refusal> {
        let open = self.store.open_journals(JOURNALS_MAX).await.map_err(|error| refusal(&error))?;
        let found = open.len();
        for journal in open {
            self.recover_one(journal).await?;
        }
        Ok(found)
    }

    async fn recover_one(&self, Journal { head, parts }: Journal) -> Result<(), Refusal> {
        let mut answer = Answer::default();
        journal::read(&parts.concat().into()).into_iter().for_each(|delta| answer.push(delta));
        let Meta { made_in, request } = Meta::read(&head.meta);
        let mut promised = request.map(|request| broken_promise(&head, request, &answer));
        let items = answer.into_items();
        let mut commit = Commit::to(head.session.clone(), head.epoch);
        commit.end_journal = Some(head.call.clone());
        if !items.is_empty() {
            let dialect = Dialect::from_word(made_in).map_or("", Dialect::word);
            let by = By {
                deployment: head.by.clone().unwrap_or_default(),
                model: head.model.clone().unwrap_or_default(),
                dialect,
                is_verbatim: false,
            };
            let parent = head.parent;
            let canonical = canonical(&Turn { parent, party: Party::Model, dialect, items });
            let turn = canonical.id;
            let said = Said { party: Party::Model, parent, canonical, link: Link([0; 32]) };
            add(&mut commit, said, (head.made_ms, State::Unfinished), Some(&by), String::new());
            // Its caller never saw its end, so nobody will send it back.
            commit.links.clear();
            promised = promised.map(|promised| NewResponse { turn, ..promised });
        }
        commit.responses.extend(promised);
        match self.store.commit(commit).await {
            Ok(()) => Ok(()),
            // Erased or handed over meanwhile: nobody may add to it, so the journal goes.
            Err(commonwatt_store::StoreError::Erased | commonwatt_store::StoreError::Fenced { .. }) => {
                self.store.journal_end(&head.call).await.map_err(|error| refusal(&error))
            }
            Err(error) => Err(refusal(&error)),
        }
    }
}

/// The response that was promised to a caller who did not wait, when the daemon died before it was whole.
fn broken_promise(journal: &JournalHead, request: Bytes, answer: &Answer) -> NewResponse {
    let envelope = open(Dialect::OpenAiResponses, None, &request).ok();
    let hints = envelope.as_ref().map(|envelope| Hints::read(Dialect::OpenAiResponses, envelope, &request));
    let asked_model = envelope.map(|envelope| envelope.model).unwrap_or_default();
    let id = response_id(&journal.call);
    let head = Head {
        id: id.clone(),
        model: journal.model.clone().unwrap_or(asked_model),
        created_unix_s: journal.made_ms / 1_000,
        stream_usage: false,
        request: Some(request),
        keeping: Keeping { store: true, conversation: hints.and_then(|hints| hints.conversation), background: true },
    };
    let why = Refusal::new(RefusalKind::Internal, "the daemon ended before the answer was whole");
    let body = write_standing(&Standing::Failed(why), answer, &head).into();
    NewResponse { id, turn: journal.parent, body }
}
