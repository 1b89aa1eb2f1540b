//! Whether sessions hold together: ids are hashes, parents and heads are there, blobs are named. Writer and reader ask the
//! same, so nothing is written that would be refused.

use std::collections::BTreeSet;

use bytes::Bytes;
use commonwatt_core::turn::TurnId;
use commonwatt_wire::turns;

use crate::bad::{BadBundle, Wrong};
use crate::bundle::{Blobs, Bundle, Session, StoredTurn};
use crate::manifest::{Kind, is_session_id};
use crate::seal::sha256;

pub(crate) fn bundle(bundle: &Bundle) -> Result<(), BadBundle> {
    for (hash, bytes) in &bundle.blobs {
        if sha256(bytes) != *hash {
            return Err(BadBundle::new(&Kind::Blob(*hash).name(), Wrong::Hash));
        }
    }
    let mut ids = BTreeSet::new();
    let mut named = BTreeSet::new();
    for session in &bundle.sessions {
        let file = Kind::Session(session.id.to_string()).name();
        if !is_session_id(&session.id.0) {
            return Err(BadBundle::new(&file, Wrong::Name));
        }
        if !ids.insert(&session.id) {
            return Err(BadBundle::new(&file, Wrong::SessionTwice));
        }
        self::session(&file, session, &bundle.blobs, &mut named)?;
    }
    match bundle.blobs.keys().find(|hash| !named.contains(*hash)) {
        Some(hash) => Err(BadBundle::new(&Kind::Blob(*hash).name(), Wrong::Unnamed)),
        None => Ok(()),
    }
}

fn session(file: &str, session: &Session, blobs: &Blobs, named: &mut BTreeSet<[u8; 32]>) -> Result<(), BadBundle> {
    let mut known = BTreeSet::from([session.root()]);
    for stored in &session.turns {
        if !known.insert(stored.id) {
            return Err(BadBundle::new(file, Wrong::Twice(stored.id)));
        }
    }
    for stored in &session.turns {
        let parent = turn(file, stored, blobs, named)?;
        if !known.contains(&parent) {
            return Err(BadBundle::new(file, Wrong::Parent { turn: stored.id, parent }));
        }
    }
    let mut heads = std::iter::once(&session.head).chain(session.branches.values());
    match heads.find(|head| !known.contains(head)) {
        Some(head) => Err(BadBundle::new(file, Wrong::Head(*head))),
        None => Ok(()),
    }
}

/// The parent of a turn that is what it claims to be.
fn turn(file: &str, stored: &StoredTurn, blobs: &Blobs, named: &mut BTreeSet<[u8; 32]>) -> Result<TurnId, BadBundle> {
    let id = stored.id;
    if turns::id_of(&stored.canonical) != id {
        return Err(BadBundle::new(file, Wrong::Id(id)));
    }
    let attachment = |hash: &[u8; 32]| -> Option<Bytes> { blobs.get(hash).cloned() };
    let turn = turns::read_turn(&stored.canonical, &attachment)
        .map_err(|bad| BadBundle::new(file, Wrong::Turn { turn: id, bad }))?;
    let again = turns::canonical(&turn);
    if again.bytes != stored.canonical {
        let form = format!("the turn {id} says more than its canonical form may");
        return Err(BadBundle::new(file, Wrong::Form(form)));
    }
    named.extend(again.attachments.iter().map(|attachment| attachment.sha256));
    Ok(turn.parent)
}
