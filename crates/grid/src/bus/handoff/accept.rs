//! Accepting: a token is opened, what was said is projected, and the lease moves or a copy begins.
//!
//! What was said is immutable, so it is read and projected before anything is changed: whoever is told yes has what it
//! came for. Everything here may be asked for again with the same key.

use std::collections::HashMap;

use commonwatt_core::call::Item;
use commonwatt_core::lease::{Claim, Holder};
use commonwatt_core::refusal::Refusal;
use commonwatt_core::turn::{Epoch, Party, SessionId, Turn, TurnId};
use commonwatt_pass::{Asked, Opened, Refused, Scope, open};
use commonwatt_store::{Accept, Commit, Link as StoredLink, NewBlob, NewSession, NewTurn, PATH_MAX};
use commonwatt_wire::turns::{Canonical, canonical, root};

use super::project::{Format, Projected, Told, projected, title_of};
use super::{not_handed, not_opened};
use crate::bus::link::Link;
use crate::bus::walk::Walk;
use crate::bus::warm::Place;
use crate::bus::{Bus, refusal};

/// The newest turns by which a client of the new holder's is recognised, when it sends back what it was given: a client
/// that changed more than these has begun something else.
const LINKED_MAX: usize = 4_096;

/// Somebody who brings a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taking {
    /// The token.
    pub token: String,
    /// What it is to be used for; the most that it allows where nothing is said.
    pub scope: Option<Scope>,
    /// How what was said is to be told.
    pub format: Format,
    /// Drawn once by whoever accepts, and repeated when it asks again; without it, a lost answer is lost.
    pub key: Option<[u8; 16]>,
    /// What the new holder's client calls its end user, if it does: with it, it is recognised by what it sends back.
    pub user: Option<String>,
}

/// What a token was good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What it was used for.
    pub scope: Scope,
    /// The session that is to be continued: the one that was offered, or the copy.
    pub session: SessionId,
    /// The turn where it goes on.
    pub head: TurnId,
    /// The epoch in which the caller holds it; `None` when it was only read.
    pub epoch: Option<Epoch>,
    /// Whether this was done before: the caller had not learned of it and asked again.
    pub again: bool,
    /// How much may be spent, in millionths of the account's currency. It is stated, not yet counted.
    pub spend_micros: Option<u64>,
    /// What was said.
    pub projected: Projected,
}

impl Bus {
    /// Uses a handoff: to read, to begin a session of one's own, or to take the session over.
    ///
    /// # Errors
    /// A refusal when the token is not good for it, or not any more. Nothing has changed then.
    pub async fn accept(&self, principal: &str, taking: &Taking) -> Result<Taken, Refusal> {
        let by = Holder(principal.into());
        let (scope, opened) = self.opened(&by, taking)?;
        let offered = Place { session: opened.session.clone(), turn: opened.head };
        let told = self.told(&offered).await?;
        let known = Known::of(principal, taking.user.as_deref(), &told);
        let copy = (scope == Scope::Branch).then(|| self.copied(principal, &told));
        let (projected, resent) = projected(taking.format, told)?;
        let known = known.and_resent(resent);
        let token_revocation_ids = opened.revocation_ids.iter().map(|id| id.0.to_vec()).collect();
        let claim = Claim { by, key: taking.key.unwrap_or_else(|| self.key()) };
        let accept = Accept { handoff: opened.handoff, token_revocation_ids, claim };
        let (place, epoch, again) = match copy {
            Some(copy) => self.branch_off(accept, copy, &known).await?,
            None if scope == Scope::Continue => self.take_over(accept, &known).await?,
            None => {
                self.store.read_offered(accept).await.map_err(|error| not_handed(&error))?;
                (offered, None, false)
            }
        };
        let Place { session, turn: head } = place;
        Ok(Taken { scope, session, head, epoch, again, spend_micros: opened.spend_micros, projected })
    }

    /// The token, opened for what is asked, or for the most that it allows.
    fn opened(&self, by: &Holder, taking: &Taking) -> Result<(Scope, Opened), Refusal> {
        let now_s = self.now_s();
        let ask = |scope| {
            let asked = Asked { now_s, audience: Some(by.clone()), scope };
            open(&self.keys.public(), &taking.token, &asked).map(|opened| (scope, opened))
        };
        let opened = match taking.scope {
            Some(scope) => ask(scope),
            None => [Scope::Branch, Scope::Read].into_iter().fold(ask(Scope::Continue), |opened, less| match opened {
                Err(Refused::ScopeMissing { .. }) => ask(less),
                other => other,
            }),
        };
        opened.map_err(not_opened)
    }

    async fn told(&self, place: &Place) -> Result<Vec<Told>, Refusal> {
        let path = self.store.path(&place.session, place.turn, PATH_MAX).await.map_err(|error| refusal(&error))?;
        let mut told = Vec::with_capacity(path.len());
        for kept in path {
            let turn = self.read(&place.session, &kept.body).await?;
            told.push(Told { kept, turn });
        }
        Ok(told)
    }

    /// The lease moves. Whoever held it is refused from here on, before anything of its next call is sent.
    async fn take_over(&self, accept: Accept, known: &Known) -> Result<(Place, Option<Epoch>, bool), Refusal> {
        let accepted = self.store.accept(accept).await.map_err(|error| not_handed(&error))?;
        let (lease, again) = (accepted.lease, accepted.again);
        self.warm.hold(lease.session.clone(), lease.tenure.clone());
        let links = known.links.iter().map(|(link, turn)| StoredLink { hash: link.0, turn: *turn }).collect();
        let commit = Commit { links, ..Commit::to(lease.session.clone(), lease.tenure.epoch) };
        self.store.commit(commit).await.map_err(|error| refusal(&error))?;
        for (link, turn) in &known.links {
            self.warm.put(*link, Place { session: lease.session.clone(), turn: *turn });
        }
        Ok((Place { session: lease.session, turn: accepted.offer.head }, Some(lease.tenure.epoch), again))
    }

    /// A session of the claimant's own begins with a copy of what was said.
    async fn branch_off(
        &self,
        accept: Accept,
        mut copy: Commit,
        known: &Known,
    ) -> Result<(Place, Option<Epoch>, bool), Refusal> {
        // The copy's turns have ids of their own, in the same order.
        let renamed: HashMap<TurnId, TurnId> =
            known.path.iter().zip(&copy.turns).map(|(turn, copied)| (*turn, copied.id)).collect();
        let renamed = |(link, turn): &(Link, TurnId)| Some(StoredLink { hash: link.0, turn: *renamed.get(turn)? });
        copy.links = known.links.iter().filter_map(renamed).collect();
        let branched = self.store.branch(accept, copy).await.map_err(|error| not_handed(&error))?;
        let begun = self.store.session(&branched.session, &known.principal).await.map_err(|error| refusal(&error))?;
        let begun = begun.ok_or_else(crate::bus::unknown)?;
        Ok((Place { session: branched.session, turn: begun.head }, Some(begun.epoch), branched.again))
    }

    /// The change that begins a copy: each turn as it was, after a root of its own.
    fn copied(&self, principal: &str, told: &[Told]) -> Commit {
        let salt = self.chance();
        let root = root(&salt);
        let mut commit = Commit::to(SessionId((self.world.new_id)().0), Epoch(0));
        commit.begin = Some(NewSession {
            principal: principal.to_owned(),
            name: None,
            salt,
            root,
            holder: principal.to_owned(),
            title: Some(title_of(told)).filter(|title| !title.is_empty()),
            expires_ms: None,
            data_class: None,
        });
        let mut parent = root;
        for Told { kept, turn } in told {
            let Canonical { id, bytes, attachments } = canonical(&Turn { parent, ..turn.clone() });
            let blobs = attachments.into_iter().map(|kept| NewBlob { sha256: kept.sha256, bytes: kept.bytes });
            commit.blobs.extend(blobs);
            let node = kept.node.clone();
            commit.turns.push(NewTurn {
                id,
                parent,
                party: node.party,
                made_ms: node.made_ms,
                by: node.by,
                model: node.model,
                state: node.state,
                body: bytes,
                meta: kept.meta.clone(),
            });
            parent = id;
        }
        commit.head = commit.turns.last().map(|turn| turn.id);
        commit
    }
}

/// By what a client of the new holder's is recognised.
struct Known {
    principal: String,
    seeds: Vec<Link>,
    path: Vec<TurnId>,
    links: Vec<(Link, TurnId)>,
}

impl Known {
    /// By what was said, turn by turn.
    fn of(principal: &str, user: Option<&str>, told: &[Told]) -> Self {
        let mut seeds = vec![Link::seed(principal, None)];
        seeds.extend(user.map(|user| Link::seed(principal, Some(user))));
        let path = told.iter().map(|told| told.kept.node.id).collect();
        let skipped = told.len().saturating_sub(LINKED_MAX);
        let links = seeds.iter().flat_map(|seed| chain(*seed, told).into_iter().skip(skipped)).collect();
        Self { principal: principal.to_owned(), seeds, path, links }
    }

    /// And by what the client will send, where its dialect could not be told all of it.
    fn and_resent(mut self, resent: Option<Vec<Item>>) -> Self {
        let (Some(resent), Some(head)) = (resent, self.path.last()) else { return self };
        for seed in &self.seeds {
            let walk = Walk::of_what_was_said(resent.clone(), *seed);
            self.links.extend(walk.steps.last().map(|step| (step.link, *head)));
        }
        self
    }
}

/// The link after each turn. A model that speaks in several turns in a row has spoken once.
fn chain(seed: Link, told: &[Told]) -> Vec<(Link, TurnId)> {
    let (mut before, mut link, mut said) = (seed, seed, Vec::new());
    let mut links = Vec::with_capacity(told.len());
    for Told { kept, turn } in told {
        if turn.party != Party::Model {
            said.clear();
        }
        if said.is_empty() {
            before = link;
        }
        said.extend(turn.items.iter().cloned());
        link = before.after(turn.party, &said);
        if turn.party != Party::Model {
            said.clear();
        }
        links.push((link, kept.node.id));
    }
    links
}
