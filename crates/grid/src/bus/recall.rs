//! Recall: which session a call belongs to, and what it adds to it.

use bytes::Bytes;
use commonwatt_core::call::{Item, Part};
use commonwatt_core::fault::Fault;
use commonwatt_core::refusal::{Refusal, RefusalKind};
use commonwatt_core::turn::{Epoch, Party, SessionId, Turn, TurnId};
use commonwatt_upstream::body::KeptBody;
use commonwatt_wire::turns::{Canonical, canonical, localised, root};
use commonwatt_wire::{BadInput, Continued, Dialect, Envelope, Hints, Keeping, continued, decode, open};

use super::link::Link;
use super::walk::{Step, Stone, Walk, opening};
use super::warm::{Beginning, Mark, Opening, Place};
use super::{Bus, CONVERSATION, Wish};
use crate::detached::Detach;
use crate::request::{Arrival, Underway};

/// A call's place in its session, from its request to its answer.
pub(crate) struct Thread {
    pub(crate) session: SessionId,
    /// The session, where the store may not have it yet.
    pub(crate) begin: Option<Beginning>,
    pub(crate) epoch: Epoch,
    /// The turn that the answer follows.
    pub(crate) parent: TurnId,
    /// What was said up to it.
    pub(crate) link: Link,
    /// What the request adds, oldest first.
    pub(crate) said: Vec<Said>,
    /// Whether the answer may be fetched by its id later.
    pub(crate) is_stored: bool,
    /// Whether the caller does not wait for the answer (Responses).
    pub(crate) is_background: bool,
    /// The conversation that the caller named, by its id (Responses).
    pub(crate) conversation: Option<String>,
    pub(crate) opening: Option<Opening>,
    pub(crate) marks: Vec<Mark>,
}

/// A turn that is new to the bus.
pub(crate) struct Said {
    pub(crate) party: Party,
    pub(crate) parent: TurnId,
    pub(crate) canonical: Canonical,
    pub(crate) link: Link,
}

/// What recall found.
struct Recalled {
    thread: Thread,
    /// The request with the history before it, where the caller left that to the bus.
    continued: Option<Continued>,
}

/// Who asks, and what for.
struct Asking<'a> {
    principal: &'a str,
    wish: &'a Wish,
    dialect: Dialect,
    envelope: &'a Envelope,
    body: &'a Bytes,
}

/// How many of a history's newest turns are looked up in the store, when nothing of it is at hand: as many as a client
/// may have changed since it was last heard here.
const LOOKED_UP_MAX: usize = 16;
/// Letters of a title.
const TITLE_CHARS: usize = 80;

impl Bus {
    /// Finds the session of a call, and gives it the history that its caller left to the bus.
    ///
    /// # Errors
    /// A refusal when the caller names what is not there, or somebody else holds the session.
    pub(crate) async fn recall(&self, call: Underway) -> Result<Underway, Refusal> {
        let internal = |fault: Fault| Refusal::new(RefusalKind::Internal, fault.message);
        let asked = call.arrival.body.bytes().await.map_err(internal)?;
        let asking = Asking {
            principal: &call.arrival.principal.name,
            wish: &call.arrival.wish,
            dialect: call.arrival.dialect,
            envelope: &call.envelope,
            body: &asked,
        };
        let Some(Recalled { thread, continued }) = self.find(&asking).await? else { return Ok(call) };
        let call = Underway { thread: Some(thread), ..call };
        let Some(Continued { body, lossy }) = continued else { return unattended(call, asked) };
        let original = Some(asked);
        let bad = |error: BadInput| Refusal::new(RefusalKind::BadRequest, error.to_string());
        let envelope = open(call.arrival.dialect, call.arrival.in_path.as_ref(), &body).map_err(bad)?;
        let arrival = Arrival { body: KeptBody::Memory(body.clone()), ..call.arrival };
        unattended(Underway { arrival, envelope, lossy, original, ..call }, body)
    }

    /// `None` when the caller wants nothing kept, or its request cannot be read.
    async fn find(&self, asking: &Asking<'_>) -> Result<Option<Recalled>, Refusal> {
        let hints = Hints::read(asking.dialect, asking.envelope, asking.body);
        let named = match asking.wish {
            Wish::Unkept if hints.background => return Err(needs_keeping()),
            Wish::Unkept => return Ok(None),
            Wish::Continued(name) => {
                let place = self.head_of(asking.principal, name).await?;
                return Box::pin(self.resume(asking, &hints, place)).await.map(Some);
            }
            Wish::Named(name) => Some(name.as_str()),
            Wish::Recognised => None,
        };
        if hints.previous_response.is_some() && hints.conversation.is_some() {
            let message = "`previous_response_id` and `conversation` each name what the request follows: send one";
            return Err(Refusal::new(RefusalKind::BadRequest, message));
        }
        if let Some(response) = &hints.previous_response {
            let place = self.place_of_previous(asking.principal, response).await?;
            return Box::pin(self.resume(asking, &hints, place)).await.map(Some);
        }
        if let Some(conversation) = &hints.conversation {
            let place = self.head_of_conversation(asking.principal, conversation).await?;
            let Recalled { thread, continued } = Box::pin(self.resume(asking, &hints, place)).await?;
            let conversation = format!("{CONVERSATION}{}", thread.session);
            return Ok(Some(Recalled { thread: Thread { conversation: Some(conversation), ..thread }, continued }));
        }
        self.recognise(asking, &hints, named.or(hints.session.as_deref())).await
    }

    /// The caller leaves the history to the bus: it is put before what the request says.
    async fn resume(&self, asking: &Asking<'_>, hints: &Hints, place: Place) -> Result<Recalled, Refusal> {
        let tenure = self.tenure(asking.principal, &place.session).await?;
        let turns = self.path(asking.principal, &place).await?;
        let (mut link, mut lossy, mut history) = (seed(asking, hints), Vec::new(), Vec::new());
        for turn in turns {
            link = link.after(turn.party, &turn.items);
            history.extend(localised(turn, asking.dialect, &mut lossy));
        }
        let bad = |error: BadInput| Refusal::new(RefusalKind::BadRequest, error.to_string());
        let said = decode(asking.dialect, asking.body).map_err(bad)?.items;
        let mut continued = continued(asking.dialect, asking.body, history).map_err(bad)?;
        lossy.append(&mut continued.lossy);
        let base = Base { place, link, is_answered: true, messages: None };
        let thread = self.thread(asking, (hints, tenure.epoch), base, Walk::of_what_was_said(said, link));
        Ok(Recalled { thread, continued: Some(Continued { lossy, ..continued }) })
    }

    /// The caller resends its history, and the bus recognises it.
    async fn recognise(
        &self,
        asking: &Asking<'_>,
        hints: &Hints,
        named: Option<&str>,
    ) -> Result<Option<Recalled>, Refusal> {
        let seed = seed(asking, hints);
        let opening = opening(asking.dialect, asking.envelope, seed);
        let named = match named {
            Some(name) => Some((name, self.root_of(asking.principal, name).await?)),
            None => None,
        };
        let is_wanted = |place: &Place| match &named {
            Some((_, Some(session))) => place.session == session.session,
            Some((_, None)) => false,
            None => true,
        };
        let mut marks = opening.map_or_else(Vec::new, |opening| self.warm.marks(&opening));
        marks.retain(|mark| is_wanted(&mark.place));
        let walk = Walk::through(asking.dialect, asking.envelope, asking.body, seed, (opening, marks));
        let Some(mut walk) = walk else { return Ok(None) };
        let base = match (self.known(&walk, is_wanted).await?, named) {
            (Some((base, known)), _) => {
                walk.steps.drain(..known);
                base
            }
            // Nothing of it is known there: a branch of its own, from the root.
            (None, Some((_, Some(root)))) => Base { place: root, link: seed, is_answered: false, messages: None },
            (None, Some((name, None))) => return Ok(Some(self.begin(asking, hints, Some(name.to_owned()), walk))),
            (None, None) => return Ok(Some(self.begin(asking, hints, None, walk))),
        };
        let tenure = self.tenure(asking.principal, &base.place.session).await?;
        let thread = self.thread(asking, (hints, tenure.epoch), base, walk);
        Ok(Some(Recalled { thread, continued: None }))
    }

    /// The longest known part of a history: where it ends, and how many steps of the walk it takes. A history in which
    /// no model has spoken yet is nobody's in particular.
    async fn known(&self, walk: &Walk, is_wanted: impl Fn(&Place) -> bool) -> Result<Option<(Base, usize)>, Refusal> {
        let mark = walk.known.as_ref();
        let first_answer = walk.steps.iter().position(|step| step.party == Party::Model);
        let from = if mark.is_some() { 0 } else { first_answer.unwrap_or(walk.steps.len()) };
        let candidates: Vec<(usize, Link)> =
            walk.steps.iter().enumerate().skip(from).map(|(at, step)| (at, step.link)).rev().collect();
        let base = |at: usize, link: Link, place: Place| {
            let step = walk.steps.get(at).filter(|step| step.party != Party::Model);
            Base { place, link, is_answered: true, messages: step.map(|step| step.messages) }
        };
        let warm = candidates.iter().find_map(|(at, link)| {
            let place = self.warm.place(link).filter(&is_wanted)?;
            Some((base(*at, *link, place), at + 1))
        });
        if warm.is_some() {
            return Ok(warm);
        }
        if let Some(Mark { link, place, .. }) = mark {
            return Ok(Some((Base { place: place.clone(), link: *link, is_answered: true, messages: None }, 0)));
        }
        let asked: Vec<Link> = candidates.iter().take(LOOKED_UP_MAX).map(|(_, link)| *link).collect();
        let found = self.look_up(&asked).await?.filter(|(_, place)| is_wanted(place));
        Ok(found.and_then(|(newest, place)| {
            let (at, link) = candidates.get(newest)?;
            Some((base(*at, *link, place), at + 1))
        }))
    }

    /// A session that begins with this call.
    fn begin(&self, asking: &Asking<'_>, hints: &Hints, name: Option<String>, walk: Walk) -> Recalled {
        let salt = self.chance();
        let asked = walk.steps.iter().find(|step| step.party == Party::User);
        let title = asked.map(|step| title(&step.items)).unwrap_or_default();
        let session = SessionId((self.world.new_id)().0);
        let begin = self
            .warm
            .begin(asking.principal, Beginning { session, name, salt, root: root(&salt), title, is_stored: false });
        let place = Place { session: begin.session, turn: begin.root };
        let base = Base { place, link: seed(asking, hints), is_answered: false, messages: None };
        Recalled { thread: self.thread(asking, (hints, Epoch(0)), base, walk), continued: None }
    }

    fn thread(&self, asking: &Asking<'_>, (hints, epoch): (&Hints, Epoch), base: Base, walk: Walk) -> Thread {
        let begin = self.warm.beginning(&base.place.session);
        let (is_stored, is_background) = (hints.store, hints.background);
        Thread { begin, epoch, is_stored, is_background, ..Thread::new(asking.dialect, base, walk) }
    }
}

/// The call as it is answered where its caller does not wait; others stay as they are. `body` is its request.
fn unattended(call: Underway, body: Bytes) -> Result<Underway, Refusal> {
    let Some(thread) = call.thread.as_ref().filter(|thread| thread.is_background) else { return Ok(call) };
    if !thread.is_stored {
        return Err(needs_keeping());
    }
    let detach = Some(Detach::Background { is_streamed: call.envelope.stream });
    let apart = call.envelope.unattended(&body);
    let bad = |error: BadInput| Refusal::new(RefusalKind::BadRequest, error.to_string());
    let envelope = open(call.arrival.dialect, call.arrival.in_path.as_ref(), &apart).map_err(bad)?;
    let arrival = Arrival { body: KeptBody::Memory(apart), ..call.arrival };
    Ok(Underway { arrival, envelope, detach, original: call.original.or(Some(body)), ..call })
}

fn needs_keeping() -> Refusal {
    let message =
        "an answer in the background is fetched later, so it must be kept: send `store` true, or no `background`";
    Refusal::new(RefusalKind::BadRequest, message)
}

fn seed(asking: &Asking<'_>, hints: &Hints) -> Link {
    Link::seed(asking.principal, hints.user.as_deref())
}

/// What a list shows of a session that begins with these words.
pub(crate) fn title(asked: &[Item]) -> String {
    let words = words(asked);
    let words: Vec<&str> = words.split_whitespace().take(TITLE_CHARS).collect();
    words.join(" ").chars().take(TITLE_CHARS).collect()
}

fn words(items: &[Item]) -> String {
    let mut said = String::new();
    for item in items {
        if let Item::Message { content, .. } = item {
            for part in content {
                if let Part::Text(text) = part {
                    said.push_str(&text.as_str());
                    said.push(' ');
                }
            }
        }
    }
    said
}

/// The known part of a history.
struct Base {
    place: Place,
    link: Link,
    /// Whether a model has spoken in it.
    is_answered: bool,
    /// So many messages of the request it takes, where the last of them is a beginning to rely upon.
    messages: Option<usize>,
}

impl Thread {
    /// The place of a call whose history is known up to `base` and goes on with `walk`.
    fn new(dialect: Dialect, base: Base, walk: Walk) -> Self {
        let known = base.messages.map(|messages| Mark {
            messages,
            bytes: 0,
            hash: [0; 32],
            link: base.link,
            place: base.place.clone(),
        });
        let Base { place: Place { session, turn: mut parent }, mut link, mut is_answered, .. } = base;
        let (mut said, mut reached) = (Vec::with_capacity(walk.steps.len()), Vec::from_iter(known));
        for Step { party, items, link: after, messages } in walk.steps {
            let canonical = canonical(&Turn { parent, party, dialect: dialect.word(), items });
            let turn = canonical.id;
            said.push(Said { party, parent, canonical, link: after });
            (parent, link) = (turn, after);
            is_answered |= party == Party::Model;
            // A model may go on speaking in the next message, so what it said is not a beginning to rely upon; and what no
            // model has answered yet is nobody's in particular, so it is read again.
            if party != Party::Model && is_answered {
                let place = Place { session: session.clone(), turn };
                reached.push(Mark { messages, bytes: 0, hash: [0; 32], link, place });
            }
        }
        let mark = |stone: &Stone| {
            let mark = reached.iter().rev().find(|mark| mark.messages == stone.messages)?;
            Some(Mark { bytes: stone.bytes, hash: stone.hash, ..mark.clone() })
        };
        let marks = walk.stones.iter().filter_map(mark).collect();
        let (epoch, opening) = (Epoch(0), walk.opening);
        Self {
            session,
            begin: None,
            epoch,
            parent,
            link,
            said,
            is_stored: false,
            is_background: false,
            conversation: None,
            opening,
            marks,
        }
    }

    /// What an answer of Responses tells of what becomes of it.
    pub(crate) fn keeping(&self) -> Keeping {
        Keeping { store: self.is_stored, conversation: self.conversation.clone(), background: self.is_background }
    }
}
