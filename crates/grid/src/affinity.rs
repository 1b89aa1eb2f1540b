//! Which deployment a session went to last: while it is well, the session stays there, since there its prompt lies in
//! the provider's cache and its sealed thinking is taken back.
//!
//! A session is known by how it begins: the key that calls, and the first message. Sessions that begin alike share the
//! beginning of their prompts, so they may as well share the deployment.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use commonwatt_core::fleet::{Deployment, DeploymentId, Tier};
use commonwatt_core::plan::Plan;

use crate::request::Underway;

/// Sessions in each of the two halves of the memory.
const HALF: usize = 8_192;
/// So much of the first message tells sessions apart.
const OPENING_BYTES: usize = 1_024;

/// A session's name in a tier: the hash of how it begins.
type Opening = [u8; 32];

/// The newest sessions and those before them. What has not been asked for while a half filled up is forgotten.
#[derive(Default)]
struct Memory {
    young: HashMap<Opening, DeploymentId>,
    old: HashMap<Opening, DeploymentId>,
}

/// Where sessions went.
#[derive(Default)]
pub(crate) struct Affinity {
    memory: Mutex<Memory>,
}

impl Affinity {
    /// Puts the deployment that the session knows before the others of its tier.
    pub(crate) fn steer(&self, call: &Underway, plan: &mut Plan) {
        let Some(opening) = plan.contested_tier().and_then(|tier| opening(call, tier)) else { return };
        let known = self.memory().recall(&opening);
        if let Some(known) = known {
            plan.prefer(&known);
        }
    }

    /// Remembers who answered, where others of the same tier could have.
    pub(crate) fn answered(&self, call: &Underway, plan: &Plan, by: &Deployment) {
        let contested = plan.contested_tier().filter(|tier| *tier == by.tier);
        if let Some(opening) = contested.and_then(|tier| opening(call, tier)) {
            self.memory().remember(opening, by.id.clone());
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn recall(&mut self, opening: &Opening) -> Option<DeploymentId> {
        if let Some(known) = self.young.get(opening) {
            return Some(known.clone());
        }
        let known = self.old.remove(opening)?;
        self.remember(*opening, known.clone());
        Some(known)
    }

    fn remember(&mut self, opening: Opening, deployment: DeploymentId) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(opening, deployment);
    }
}

/// Each tier remembers for itself: a call that keeps to this machine makes the session's cloud forget nothing.
fn opening(call: &Underway, tier: Tier) -> Option<Opening> {
    let said = call.envelope.opening.as_ref()?;
    let said = said.get(..said.len().min(OPENING_BYTES))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(call.arrival.principal.name.as_bytes()).update(&[0]).update(tier.word().as_bytes()).update(said);
    Some(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_kept_and_what_is_not_is_forgotten() {
        let mut memory = Memory::default();
        let opening = |n: usize| *blake3::hash(&n.to_le_bytes()).as_bytes();
        let here = DeploymentId::new("p", "m");
        memory.remember(opening(0), here.clone());
        memory.remember(opening(1), here.clone());
        for n in 2..3 * HALF {
            memory.remember(opening(n), here.clone());
            assert!(memory.recall(&opening(0)).is_some(), "after {n}");
        }
        assert_eq!(memory.recall(&opening(1)), None);
        assert!(memory.young.len() + memory.old.len() <= 2 * HALF);
    }
}
